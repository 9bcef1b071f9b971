//! Rows in memory, as every learner takes them: numbers and keys row by row, in two long slices.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::COLUMNS_MAX;
use crate::TrainError;

/// What the columns of a row are called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Names of the numeric columns.
    pub numeric: Vec<String>,
    /// Names of the categorical fields.
    pub fields: Vec<String>,
    /// How many of the numeric columns, the first ones, are the same for all rows of a request.
    pub user_numeric: usize,
    /// How many of the fields, the first ones, are the same for all rows of a request.
    pub user_fields: usize,
}

impl Schema {
    /// Whether it can be the schema of a table.
    pub fn check(&self) -> Result<(), TrainError> {
        let (numeric, fields) = (self.numeric.len(), self.fields.len());
        if numeric + fields == 0 || numeric + fields > COLUMNS_MAX {
            let problem = format!("{} columns; a table has 1 to {COLUMNS_MAX}", numeric + fields);
            return Err(TrainError::option("schema", problem));
        }
        if self.user_numeric > numeric || self.user_fields > fields {
            return Err(TrainError::option("schema", "more columns of the user than columns"));
        }
        // A number and a category may well have one name, such as the weekday.
        for (kind, names) in [("columns", &self.numeric), ("fields", &self.fields)] {
            let mut names: Vec<_> = names.iter().collect();
            names.sort_unstable();
            if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                let problem = format!("two {kind} are called {:?}", pair[0]);
                return Err(TrainError::option("schema", problem));
            }
        }
        Ok(())
    }

    /// The place of a numeric column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.numeric.iter().position(|column| column == name)
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct RowRef<'a> {
    /// One a numeric column; NaN is missing.
    pub numeric: &'a [f32],
    /// One a field; 0 is missing.
    pub keys: &'a [u64],
    /// Whether it was clicked.
    pub label: bool,
    /// How many rows it stands for.
    pub weight: f32,
    /// When it was served, in milliseconds.
    pub time: i64,
    /// The request or list it stood in: rows of one group follow each other.
    pub group: u64,
    /// Where it stood, from 1 on; 0 where nobody knows.
    pub position: u16,
    /// The true probability of a click, where a simulation knows it; NaN elsewhere.
    pub truth: f32,
}

/// Many rows.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Numeric columns of a row.
    pub columns: usize,
    /// Fields of a row.
    pub fields: usize,
    /// `len * columns` numbers, row by row.
    pub numeric: Vec<f32>,
    /// `len * fields` keys, row by row.
    pub keys: Vec<u64>,
    /// One a row, like all that follow.
    pub labels: Vec<bool>,
    /// How many rows each stands for.
    pub weights: Vec<f32>,
    /// Milliseconds.
    pub times: Vec<i64>,
    /// The lists they stood in.
    pub groups: Vec<u64>,
    /// Where they stood.
    pub positions: Vec<u16>,
    /// True probabilities.
    pub truths: Vec<f32>,
}

impl Rows {
    /// None yet, of this shape.
    pub fn new(schema: &Schema) -> Self {
        Rows { columns: schema.numeric.len(), fields: schema.fields.len(), ..Rows::default() }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// One of them.
    pub fn row(&self, index: usize) -> RowRef<'_> {
        RowRef {
            numeric: &self.numeric[index * self.columns..(index + 1) * self.columns],
            keys: &self.keys[index * self.fields..(index + 1) * self.fields],
            label: self.labels[index],
            weight: self.weights[index],
            time: self.times[index],
            group: self.groups[index],
            position: self.positions[index],
            truth: self.truths[index],
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = RowRef<'_>> + Clone {
        (0..self.len()).map(|index| self.row(index))
    }

    /// Appends one.
    pub fn push(&mut self, row: RowRef<'_>) {
        debug_assert_eq!((row.numeric.len(), row.keys.len()), (self.columns, self.fields));
        self.numeric.extend_from_slice(row.numeric);
        self.keys.extend_from_slice(row.keys);
        self.labels.push(row.label);
        self.weights.push(row.weight);
        self.times.push(row.time);
        self.groups.push(row.group);
        self.positions.push(row.position);
        self.truths.push(row.truth);
    }

    /// Appends neighbours of other rows of the same shape.
    pub fn extend(&mut self, other: &Rows, range: Range<usize>) {
        let (columns, fields) = (self.columns, self.fields);
        let numeric = range.start * columns..range.end * columns;
        self.numeric.extend_from_slice(&other.numeric[numeric]);
        self.keys.extend_from_slice(&other.keys[range.start * fields..range.end * fields]);
        self.labels.extend_from_slice(&other.labels[range.clone()]);
        self.weights.extend_from_slice(&other.weights[range.clone()]);
        self.times.extend_from_slice(&other.times[range.clone()]);
        self.groups.extend_from_slice(&other.groups[range.clone()]);
        self.positions.extend_from_slice(&other.positions[range.clone()]);
        self.truths.extend_from_slice(&other.truths[range]);
    }

    /// Lets go of all, and keeps the memory.
    pub fn clear(&mut self) {
        self.numeric.clear();
        self.keys.clear();
        self.labels.clear();
        self.weights.clear();
        self.times.clear();
        self.groups.clear();
        self.positions.clear();
        self.truths.clear();
    }
}
