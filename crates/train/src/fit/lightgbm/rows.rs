//! Rows as trees take them: numbers only, some of which are codes of categories.
//!
//! They are encoded anew on each of the two passes, one for the sample that bins are found from, one for
//! the bins themselves, so that nothing but a batch of them is ever in memory.

use std::collections::HashSet;

use super::library::{Batch, Sample};
use crate::fit::batches::Task;
use crate::fit::encoding::Encoder;
use crate::{Order, Progress, Rows, TrainError};

/// Rows from which bins are found, at most.
const SAMPLE_ROWS: u64 = 200_000;
/// Values from which bins are found, at most: they lie in memory with 12 bytes each.
const SAMPLE_VALUES: u64 = 16 << 20;
/// The greatest code: up to here f32 holds every whole number.
const CODE_MAX: f32 = 16_777_216.0;

/// Rows that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Learned from: log odds of categories are of earlier rows alone.
    Train,
    /// Not learned from.
    Validation,
}

/// Where rows come from.
pub struct Source<'a> {
    task: &'a Task<'a>,
    encoder: &'a Encoder,
    /// A name for each column, such as LightGBM takes.
    pub names: Vec<String>,
    /// The columns that hold codes, rising.
    pub categorical: Vec<usize>,
}

impl<'a> Source<'a> {
    /// The rows of a task, encoded.
    pub fn new(
        task: &'a Task<'a>,
        encoder: &'a Encoder,
        categorical: Vec<usize>,
    ) -> Result<Self, TrainError> {
        let names = &encoder.schema().numeric;
        if names.is_empty() {
            let problem = "trees take numbers, and these rows have neither numbers nor categories";
            return Err(TrainError::option("schema", problem));
        }
        Ok(Source { task, encoder, names: safe(names), categorical })
    }

    /// How many rows a part has.
    pub fn rows(&self, part: Part) -> u64 {
        let validation = &self.task.validation.rows;
        if part == Part::Train { self.task.rows } else { validation.end - validation.start }
    }

    /// Rows from which bins are found: as many as there may be, evenly from all over the training rows.
    pub fn sample(&self, progress: &mut dyn Progress) -> Result<Sample, TrainError> {
        let (rows, columns) = (self.rows(Part::Train), self.names.len());
        let wanted = SAMPLE_ROWS.min(SAMPLE_VALUES / columns as u64).min(rows);
        let (mut sample, mut row) = (Sample::new(columns), 0);
        self.for_each(Part::Train, "sample", progress, |batch| {
            for values in batch.values.chunks_exact(columns) {
                if is_sampled(row, wanted, rows) {
                    sample.push(values);
                }
                row += 1;
            }
            Ok(())
        })?;
        Ok(sample)
    }

    /// Goes over a part in the order of its rows, in batches.
    pub fn for_each(
        &self,
        part: Part,
        step: &str,
        progress: &mut dyn Progress,
        mut see: impl FnMut(&Batch<'_>) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let Task { table, train, validation, options, .. } = self.task;
        let share = if part == Part::Train { train } else { validation };
        let mut cursor = table.read(share, Order::Logged)?;
        let mut ordered = self.encoder.ordered();
        let (mut batch, mut encoded) = (Rows::new(table.schema()), Rows::default());
        let (mut labels, mut done) = (Vec::new(), 0);
        while cursor.next(&mut batch, options.learner.epochs().batch)? {
            if progress.is_stopped() {
                return Err(TrainError::Stopped);
            }
            match part {
                Part::Train => ordered.encode(&batch, &mut encoded),
                Part::Validation => self.encoder.encode(&batch, &mut encoded),
            }
            self.check(&encoded)?;
            labels.clear();
            labels.extend(batch.labels.iter().map(|&label| f32::from(u8::from(label))));
            let (values, weights) = (&encoded.numeric, &encoded.weights);
            see(&Batch { values, labels: &labels, weights, scores: None })?;
            done += batch.len() as u64;
            progress.advance(step, done, self.rows(part));
        }
        Ok(())
    }

    /// What LightGBM would take silently, and for something else.
    fn check(&self, rows: &Rows) -> Result<(), TrainError> {
        if let Some(weight) = rows.weights.iter().find(|weight| !(0.0..=f32::MAX).contains(*weight))
        {
            let problem = format!("a row weighs {weight}: weights are 0 or more, and finite");
            return Err(TrainError::Data(problem));
        }
        for row in rows.numeric.chunks_exact(self.names.len()) {
            for &column in &self.categorical {
                let code = row[column];
                let is_code = (0.0..=CODE_MAX).contains(&code) && code.fract() == 0.0;
                if !is_code && !code.is_nan() {
                    let name = &self.names[column];
                    return Err(TrainError::Data(format!(
                        "{name}: {code} is no category; those are whole numbers from 0 to 16777216, or \
                         missing"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Whether a row is one of so many of all, evenly: the share of those taken steps up behind it.
fn is_sampled(row: u64, wanted: u64, rows: u64) -> bool {
    let taken = |row: u64| u128::from(row) * u128::from(wanted) / u128::from(rows);
    taken(row) != taken(row + 1)
}

/// Names without what LightGBM's text cannot hold, all different.
fn safe(names: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let is_odd =
        |sign: char| sign.is_whitespace() || sign.is_control() || "\",:[]{}=".contains(sign);
    let one = |(place, name): (usize, &String)| {
        let mut safe = name.replace(is_odd, "_");
        // The place is no other column's: at the second time the name is new.
        while safe.is_empty() || !seen.insert(safe.clone()) {
            safe = format!("{safe}_{place}");
        }
        safe
    };
    names.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_as_large_as_it_should_be_and_even() {
        for (wanted, rows) in [(200_000, 200_000), (7, 1_000), (199_999, 1_000_003), (1, 5)] {
            let taken: Vec<_> = (0..rows).filter(|row| is_sampled(*row, wanted, rows)).collect();
            assert_eq!(taken.len() as u64, wanted);
            let gaps = taken.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.clone().max().unwrap_or(1) - gaps.min().unwrap_or(1) <= 1);
        }
    }

    #[test]
    fn names_are_safe_and_all_different() {
        let names = ["price", "a b", "a:b", "price", "a_b_2", "", "Größe", "x=\"1\""];
        let safe = safe(&names.map(str::to_owned));
        assert_eq!(safe, ["price", "a_b", "a_b_2", "price_3", "a_b_2_4", "_5", "Größe", "x__1_"]);
    }
}
