//! How far columns have moved since a model was trained.

use std::collections::HashMap;
use std::ops::Range;

use reckon_model::statistics::{Bins, population_stability};
use serde::Serialize;

use crate::{Order, Rows, Share, Table, TrainError};

/// Rows of each side that are looked at.
const ROWS: usize = 100_000;
/// Bins of a number.
const BINS: usize = 10;
/// Keys of a field that have a bin of their own; all others share one.
const KEYS: usize = 50;

/// How far a column or field has moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moved {
    /// Its name.
    pub name: String,
    /// The population stability index: below 0.1 nothing has moved, above 0.25 much has.
    pub index: f64,
    /// Shares of rows without a value, then and now.
    pub missing: [f64; 2],
}

/// The columns and fields that have moved farthest, at most so many.
pub fn drift(
    table: &Table,
    before: &Range<u64>,
    now: &Range<u64>,
    told: usize,
) -> Result<Vec<Moved>, TrainError> {
    let (before, now) = (sample(table, before)?, sample(table, now)?);
    if before.is_empty() || now.is_empty() {
        return Ok(Vec::new());
    }
    let schema = table.schema();
    let columns = schema.numeric.iter().enumerate();
    let mut moved: Vec<_> = columns
        .map(|(at, name)| of_column(name, &column(&before, at), &column(&now, at)))
        .collect();
    let fields = schema.fields.iter().enumerate();
    moved.extend(fields.map(|(at, name)| of_field(name, &field(&before, at), &field(&now, at))));
    moved.sort_by(|left, right| right.index.total_cmp(&left.index));
    moved.truncate(told);
    Ok(moved)
}

fn sample(table: &Table, rows: &Range<u64>) -> Result<Rows, TrainError> {
    let mut sample = Rows::new(table.schema());
    table.read(&Share::all(rows.clone()), Order::Shuffled(0xd2))?.next(&mut sample, ROWS)?;
    Ok(sample)
}

fn column(rows: &Rows, at: usize) -> Vec<f64> {
    rows.iter().map(|row| f64::from(row.numeric[at])).collect()
}

fn field(rows: &Rows, at: usize) -> Vec<u64> {
    rows.iter().map(|row| row.keys[at]).collect()
}

fn of_column(name: &str, before: &[f64], now: &[f64]) -> Moved {
    let missing = |values: &[f64]| {
        values.iter().filter(|value| value.is_nan()).count() as f64 / values.len() as f64
    };
    let counts = match Bins::of(before, BINS) {
        Ok(bins) => (bins.counts(before), bins.counts(now)),
        // It had no value at all: only whether it has one now can be told.
        Err(_) => (there(before), there(now)),
    };
    let index = population_stability(&counts.0, &counts.1).unwrap_or(0.0);
    Moved { name: name.to_owned(), index, missing: [missing(before), missing(now)] }
}

fn there(values: &[f64]) -> Vec<u64> {
    let missing = values.iter().filter(|value| value.is_nan()).count();
    vec![(values.len() - missing) as u64, missing as u64]
}

fn of_field(name: &str, before: &[u64], now: &[u64]) -> Moved {
    let missing =
        |keys: &[u64]| keys.iter().filter(|key| **key == 0).count() as f64 / keys.len() as f64;
    let mut counts: HashMap<u64, u64> = HashMap::new();
    before.iter().for_each(|key| *counts.entry(*key).or_default() += 1);
    let mut frequent: Vec<_> = counts.into_iter().collect();
    frequent.sort_unstable_by_key(|&(key, count)| (std::cmp::Reverse(count), key));
    frequent.truncate(KEYS);
    let places: HashMap<u64, usize> = frequent.into_iter().map(|one| one.0).zip(0..).collect();
    let counts = |keys: &[u64]| {
        let mut counts = vec![0; places.len() + 1];
        keys.iter().for_each(|key| counts[places.get(key).copied().unwrap_or(places.len())] += 1);
        counts
    };
    let index = population_stability(&counts(before), &counts(now)).unwrap_or(0.0);
    Moved { name: name.to_owned(), index, missing: [missing(before), missing(now)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_has_not_moved_and_what_moves_has() {
        let before: Vec<f64> = (0..1_000).map(f64::from).collect();
        let later: Vec<f64> = (0..1_000).map(|value| f64::from(value) + 500.0).collect();
        assert_eq!(of_column("a", &before, &before).index, 0.0);
        assert!(of_column("a", &before, &later).index > 0.25);
        let gone = vec![f64::NAN; 1_000];
        let moved = of_column("a", &gone, &before);
        assert!(moved.index > 0.25 && moved.missing == [1.0, 0.0], "{moved:?}");
        let keys: Vec<u64> = (0..1_000).map(|row| row % 7 + 1).collect();
        let others: Vec<u64> = (0..1_000).map(|row| row % 7 + 5).collect();
        assert_eq!(of_field("b", &keys, &keys).index, 0.0);
        assert!(of_field("b", &keys, &others).index > 0.25);
    }
}
