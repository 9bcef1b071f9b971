//! Which rows are learned from, which calibrate, and which judge.
//!
//! By time: a model answers for what comes after it was made, so it is judged by what came after it
//! was made. The last fifth of the rows is the test, the tenth before it the validation, on which
//! rounds are chosen and calibrations fitted. A group (the list of one request) is never torn: a cut
//! that would fall into one falls before it, and so do cuts between rows of one moment.
//!
//! Where clicks are rare, most rows tell the same. [`Sampling`] takes all that were clicked and one in
//! `n` of the others, by a hash of the row's number, so the same rows each time; a model that learned
//! from them has log odds that are too high by `-ln w`, with `w` the share of the others that was taken.

use std::ops::Range;

use reckon_model::Random;
use serde::{Deserialize, Serialize};

use crate::{Order, Rows, Table, TrainError};

/// Takes all clicked rows and some of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// One of so many rows that were not clicked is taken; 1 takes all.
    pub one_in: u32,
    /// Which ones.
    pub seed: u64,
}

impl Sampling {
    /// Takes all.
    pub const NONE: Sampling = Sampling { one_in: 1, seed: 0 };

    fn takes(self, row: u64) -> bool {
        let own = self.seed ^ row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.one_in <= 1 || Random::new(own).below(u64::from(self.one_in)) == 0
    }
}

/// Neighbouring rows of a table, all or sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Numbers of the rows.
    pub rows: Range<u64>,
    /// Which of those that were not clicked.
    pub sampling: Sampling,
}

impl Share {
    /// All of these rows.
    pub fn all(rows: Range<u64>) -> Self {
        Share { rows, sampling: Sampling::NONE }
    }

    pub(crate) fn takes(&self, row: u64, label: bool) -> bool {
        self.rows.contains(&row) && (label || self.sampling.takes(row))
    }

    /// Counts what is taken.
    pub fn count(&self, table: &Table) -> Result<Counted, TrainError> {
        let mut counted = Counted::default();
        let whole = Share::all(self.rows.clone());
        let mut row = self.rows.start;
        for_each_batch(table, &whole, Order::Logged, |batch| {
            for &label in &batch.labels {
                counted.see(label, self.takes(row, label));
                row += 1;
            }
            Ok(())
        })?;
        Ok(counted)
    }
}

/// What a share takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rows taken.
    pub rows: u64,
    /// Of those, clicked.
    pub clicks: u64,
    /// Rows not clicked, taken or not.
    pub misses: u64,
}

impl Counted {
    fn see(&mut self, label: bool, is_taken: bool) {
        self.misses += u64::from(!label);
        self.rows += u64::from(is_taken);
        self.clicks += u64::from(label);
    }

    /// `w`: the share of rows not clicked that was taken.
    pub fn kept(&self) -> f64 {
        if self.misses == 0 { 1.0 } else { (self.rows - self.clicks) as f64 / self.misses as f64 }
    }
}

/// The three parts of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Learned from.
    pub train: Range<u64>,
    /// Rounds are chosen and calibrations fitted on it.
    pub validation: Range<u64>,
    /// Judged by it.
    pub test: Range<u64>,
}

impl Parts {
    /// The usual parts: 7 tenths, 1 tenth, 2 tenths.
    pub fn usual(table: &Table) -> Result<Parts, TrainError> {
        Parts::by_time(table, 0.1, 0.2)
    }

    /// Cuts a table by time, so that about these shares of the rows are validation and test.
    pub fn by_time(table: &Table, validation: f64, test: f64) -> Result<Parts, TrainError> {
        if !(validation > 0.0 && test > 0.0 && validation + test < 1.0) {
            let problem = "validation and test are each above 0, and together below 1";
            return Err(TrainError::option("split", problem));
        }
        if !table.is_sorted() {
            let problem = "rows are not in the order of time: sort the log by its time column";
            return Err(TrainError::content(table.path(), problem));
        }
        let rows = table.len();
        let at = |share: f64| cut(table, (rows as f64 * share).round() as u64);
        let (first, second) = (at(1.0 - validation - test)?, at(1.0 - test)?);
        if first == 0 || second <= first || second >= rows {
            let problem = format!("{rows} rows are too few lists or moments to be cut into three");
            return Err(TrainError::content(table.path(), problem));
        }
        Ok(Parts { train: 0..first, validation: first..second, test: second..rows })
    }
}

/// The last place at or before a row at which neither a group nor a moment is torn.
fn cut(table: &Table, row: u64) -> Result<u64, TrainError> {
    let holds = |chunk: &usize| table.start(chunk + 1) > row;
    let Some(chunk) = (0..table.entries().len()).find(holds) else { return Ok(row) };
    for first in (0..=chunk).rev() {
        // One chunk back is enough unless a group fills a whole one.
        let start = table.start(first);
        let mut rows = Rows::new(table.schema());
        let count = (row - start + 1) as usize;
        table.read(&Share::all(start..row + 1), Order::Logged)?.next(&mut rows, count)?;
        let is_edge = |&place: &usize| {
            rows.groups[place - 1] != rows.groups[place]
                && rows.times[place - 1] != rows.times[place]
        };
        if let Some(place) = (1..rows.len()).rev().find(is_edge) {
            return Ok(start + place as u64);
        }
    }
    Ok(0)
}

/// Goes through a share in batches of a few thousand rows.
pub fn for_each_batch(
    table: &Table,
    share: &Share,
    order: Order,
    mut see: impl FnMut(&Rows) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let mut cursor = table.read(share, order)?;
    let mut batch = Rows::new(table.schema());
    while cursor.next(&mut batch, 4_096)? {
        see(&batch)?;
    }
    Ok(())
}
