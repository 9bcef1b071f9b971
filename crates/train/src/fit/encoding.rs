//! How rows become what a kind of model takes; the same in training and in scoring.
//!
//! - A linear model and factorisation machines take categories: each number falls into one of some
//!   buckets with equally many training rows, and the bucket is a category of the column. So a curve
//!   that is no line is learned all the same, and "missing" is a bucket of its own.
//! - A network brings its own (`reckon_model::dcn::Inputs`), and takes rows as they are; or the buckets
//!   besides, so that what a number means need not be a curve that its layers can bend to.

use reckon_event::name_key;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Order, Rows, Schema, Share, Table, TrainError};

/// Buckets of a column.
const BUCKETS: usize = 32;
/// Rows from which quantiles are taken.
const SAMPLE_ROWS: usize = 200_000;

/// How rows become a model's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// Each column a category; no numbers are left.
    Buckets(Vec<Buckets>),
    /// Each column a number and, behind the fields, a category as well.
    Both(Vec<Buckets>),
}

/// A column's buckets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buckets {
    /// [`name_key`] of the column.
    name: u64,
    /// Where each bucket but the first begins, rising.
    edges: Vec<f32>,
}

impl Encoding {
    /// Buckets for every column, by the quantiles of a share.
    pub fn buckets(table: &Table, share: &Share) -> Result<Self, TrainError> {
        Ok(Encoding::Buckets(buckets(table, share)?))
    }

    /// The same besides the numbers.
    pub fn both(table: &Table, share: &Share) -> Result<Self, TrainError> {
        Ok(Encoding::Both(buckets(table, share)?))
    }

    /// What encoded rows look like.
    pub fn schema(&self, schema: &Schema) -> Schema {
        let mut encoded = schema.clone();
        match self {
            Encoding::Plain => {}
            Encoding::Buckets(_) => {
                let numbers = std::mem::take(&mut encoded.numeric);
                encoded.fields.extend(numbers);
                encoded.user_numeric = 0;
            }
            Encoding::Both(_) => encoded.fields.extend_from_slice(&schema.numeric),
        }
        encoded
    }

    /// Puts the encoded rows in place of what `out` holds.
    pub fn encode(&self, rows: &Rows, out: &mut Rows) {
        let numeric = std::mem::take(&mut out.numeric);
        let keys = std::mem::take(&mut out.keys);
        *out = Rows { numeric, keys, ..Rows::default() };
        out.numeric.clear();
        out.keys.clear();
        (out.columns, out.fields) = self.shape(rows);
        for row in rows.iter() {
            self.row(row.numeric, row.keys, &mut out.numeric, &mut out.keys);
        }
        out.labels.extend_from_slice(&rows.labels);
        out.weights.extend_from_slice(&rows.weights);
        out.times.extend_from_slice(&rows.times);
        out.groups.extend_from_slice(&rows.groups);
        out.positions.extend_from_slice(&rows.positions);
        out.truths.extend_from_slice(&rows.truths);
    }

    /// Appends one encoded row.
    pub fn row(&self, numbers: &[f32], keys: &[u64], numeric: &mut Vec<f32>, out: &mut Vec<u64>) {
        match self {
            Encoding::Plain => {
                numeric.extend_from_slice(numbers);
                out.extend_from_slice(keys);
            }
            Encoding::Buckets(columns) => {
                out.extend_from_slice(keys);
                out.extend(columns.iter().zip(numbers).map(|(column, &value)| column.key(value)));
            }
            Encoding::Both(columns) => {
                numeric.extend_from_slice(numbers);
                out.extend_from_slice(keys);
                out.extend(columns.iter().zip(numbers).map(|(column, &value)| column.key(value)));
            }
        }
    }

    fn shape(&self, rows: &Rows) -> (usize, usize) {
        match self {
            Encoding::Plain => (rows.columns, rows.fields),
            Encoding::Buckets(_) => (0, rows.fields + rows.columns),
            Encoding::Both(_) => (rows.columns, rows.fields + rows.columns),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and keys are JSON")
    }

    /// Back from JSON.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TrainError> {
        serde_json::from_slice(bytes)
            .map_err(|error| TrainError::option("encoding", error.to_string()))
    }
}

impl Buckets {
    /// The category of a number.
    fn key(&self, value: f32) -> u64 {
        let bucket = match value.is_nan() {
            true => u64::MAX,
            false => self.edges.partition_point(|edge| *edge <= value) as u64,
        };
        xxh3_64_with_seed(&bucket.to_le_bytes(), self.name).max(1)
    }
}

/// Buckets of every column.
fn buckets(table: &Table, share: &Share) -> Result<Vec<Buckets>, TrainError> {
    let schema = table.schema();
    let sample = sample(table, share, SAMPLE_ROWS)?;
    let column = |(at, name): (usize, &String)| {
        let values = sample.numeric.iter().skip(at).step_by(sample.columns.max(1));
        Buckets { name: name_key(name), edges: edges(values.copied().collect()) }
    };
    Ok(schema.numeric.iter().enumerate().map(column).collect())
}

/// The first rows of a share in an order that depends on nothing but the table.
pub(super) fn sample(table: &Table, share: &Share, count: usize) -> Result<Rows, TrainError> {
    let mut rows = Rows::new(table.schema());
    table.read(share, Order::Shuffled(0x5a3))?.next(&mut rows, count)?;
    Ok(rows)
}

/// Edges of buckets with equally many values; a value that fills several buckets has one.
fn edges(mut values: Vec<f32>) -> Vec<f32> {
    values.retain(|value| !value.is_nan());
    values.sort_unstable_by(f32::total_cmp);
    let at = |bucket: usize| values.get(bucket * values.len() / BUCKETS).copied();
    let mut edges: Vec<_> = (1..BUCKETS).filter_map(at).collect();
    edges.dedup();
    // What is not above the least value parts nothing.
    edges.retain(|edge| values.first().is_some_and(|least| edge > least));
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_part_values_evenly_and_equal_ones_not() {
        let even = edges((0..3_200).map(|value| value as f32).collect());
        assert_eq!(even.len(), BUCKETS - 1);
        assert_eq!(even[0], 100.0);
        assert_eq!(edges(vec![0.0; 50]), Vec::<f32>::new());
        let mostly: Vec<f32> = (0..100).map(|value| if value < 90 { 0.0 } else { 1.0 }).collect();
        assert_eq!(edges(mostly), [1.0]);
        assert_eq!(edges(vec![f32::NAN; 3]), Vec::<f32>::new());
    }

    #[test]
    fn buckets_survive_json() {
        let buckets = Buckets { name: 7, edges: vec![-1.5, 0.0, 3.25e-20] };
        let encoding = Encoding::Buckets(vec![buckets]);
        let read = Encoding::from_json(&encoding.to_json()).expect("JSON");
        assert_eq!(read, encoding);
        let (mut numeric, mut keys) = (Vec::new(), Vec::new());
        let numbers = [-2.0, -1.5, -0.1, 1.0, f32::NAN];
        numbers.iter().for_each(|&number| read.row(&[number], &[], &mut numeric, &mut keys));
        assert!(numeric.is_empty());
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(
            distinct.len(),
            4,
            "-1.5 and -0.1 share a bucket, missing has its own: {keys:?}"
        );
        assert_eq!(keys[1], keys[2]);
    }
}
