//! Learns how likely each place is looked at, beside a model that learns what is liked.

use super::examination::{Examination, probabilities};
use super::{PLACES, class};
use crate::Rows;

/// The rate of a place begins with as much weight as so many expected clicks.
const PRIOR_CLICKS: f64 = 4.0;
/// What was seen with a model that knew less fades: half an epoch, and no fewer rows, is remembered.
const ROWS_MIN: f64 = 10_000.0;

/// Clicks of each place, and those that would have been at place 1.
#[derive(Clone, Debug)]
pub(super) struct Tower {
    start: Examination,
    clicks: Vec<f64>,
    expected: Vec<f64>,
    /// Rows after which what was seen has faded to 1 / e.
    memory: f64,
    examination: Examination,
}

impl Tower {
    /// Begins at what the rates of places say; an epoch has so many rows.
    pub fn new(start: Examination, rows: u64) -> Self {
        let memory = (rows as f64 / 2.0).max(ROWS_MIN);
        let (clicks, expected) = (vec![0.0; PLACES], vec![0.0; PLACES]);
        Tower { examination: start.clone(), start, clicks, expected, memory }
    }

    /// Takes in rows with the log odds that the model, not knowing their clicks yet, gives each at place
    /// 1; a row that is not clicked stands for `1 / kept`.
    pub fn see(&mut self, rows: &Rows, logits: &[f32], kept: f64) {
        let fade = (-(rows.len() as f64) / self.memory).exp();
        self.clicks.iter_mut().chain(&mut self.expected).for_each(|sum| *sum *= fade);
        for (row, &logit) in rows.iter().zip(logits) {
            let weight = f64::from(row.weight);
            let stands_for = if row.label { weight } else { weight / kept };
            let place = class(row.position);
            self.clicks[place] += if row.label { weight } else { 0.0 };
            self.expected[place] += stands_for * probabilities(logit).0;
        }
        self.examination = self.examine();
    }

    /// Clicks over expected ones, beside those of place 1: a model that gives too much gives it everywhere.
    fn examine(&self) -> Examination {
        let ratio = |place: usize| {
            let start = self.start.chances()[place];
            let expected = self.expected[place] + PRIOR_CLICKS;
            (self.clicks[place] + PRIOR_CLICKS * start) / expected
        };
        let first = ratio(1);
        Examination::of((0..PLACES).map(|place| ratio(place) / first))
    }

    pub fn examination(&self) -> &Examination {
        &self.examination
    }

    /// Bytes of [`Tower::encode`].
    pub const BYTES: usize = 2 * PLACES * 8;

    /// Appends what it goes on from.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let sums = self.clicks.iter().chain(&self.expected);
        sums.for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()));
    }

    /// Goes on from there; the bytes are [`Tower::BYTES`].
    pub fn resume(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len(), Self::BYTES, "two sums a place");
        let sums = bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
        let sums: Vec<f64> = sums.collect();
        self.clicks.copy_from_slice(&sums[..PLACES]);
        self.expected.copy_from_slice(&sums[PLACES..]);
        self.examination = self.examine();
    }
}
