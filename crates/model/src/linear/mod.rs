//! A hashed logistic regression that learns online.
//!
//! FTRL-Proximal with a rate of its own for each coordinate (McMahan et al., "Ad Click Prediction: a
//! View from the Trenches", KDD 2013). A coordinate keeps two sums and no weight; the weight follows
//! from them where it is needed:
//!
//! ```text
//! pull         z = sum of gradients, less what the weight has already answered
//! information  n = what the coordinate has seen of the outcome
//! weight       w = -(z - sign(z) l1) / ((beta + n^(3/4)) / alpha + l2), and 0 where |z| <= l1
//! ```
//!
//! Both stand side by side in one table of `2^bits` coordinates: a feature costs one cache line.
//!
//! # Where this leaves the paper
//!
//! Each is a matter of measurement, on Criteo's and Avazu's logs and simulated ones, as they are, with
//! few of their features and with all pairs of them (2 to 230 features a row).
//!
//! - A row's gradient is shared out among its features: it is divided by the mean length of a row.
//!   The best alpha of the paper's own rule is 4 / length throughout, so here it is 4, whatever the
//!   length.
//! - The rate falls with the power 3/4 of `n`, not 1/2. One half is right against an adversary, 1 for
//!   a world that never changes; clicks are between, and 3/4 was better than either.
//! - `n` grows by half the absolute error times `x^2`, not by the squared gradient. For a click of
//!   probability p both have the mean p (1 - p), the Fisher information, but this one varies less; so
//!   `n` says how sure a weight is ([`Partial::variance`]).
//! - `n` fades, so that no rate falls to nothing and a world that changes is followed
//!   ([`LinearOptions::memory`]). It also keeps the sums where `f32` still has digits for a gradient.
//!
//! # Groups
//!
//! Neighbours in the table form groups, and each has a byte of marks: what readers or the disk do not
//! have yet. So a publication or a save touches what was learned and nothing else.

mod kernel;
mod options;
mod prefetch;
mod state;
mod weights;

use reckon_event::Feature;

pub use options::{LinearOptions, OptionError};
pub use weights::{Partial, Weights};

use crate::{log_odds, sigmoid};
use kernel::{Rates, Row, Step};
use weights::{Learned, Publisher};

/// Coordinates in a group: two cache lines. Hashes scatter, so what is learned between two
/// publications lies in as many groups as there were features; larger ones would hold bystanders.
const GROUP: usize = 1 << GROUP_BITS;
const GROUP_BITS: u8 = 4;

/// A group was learned since the last [`Linear::encode_changes`].
const UNSAVED: u8 = 4;
/// A group was learned: neither of the published tables has it, nor the disk.
const LEARNED: u8 = Publisher::MARKS[0] | Publisher::MARKS[1] | UNSAVED;

/// What one coordinate has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Coordinate {
    /// `z`.
    pull: f32,
    /// `n`.
    information: f32,
}

/// The learner; it has a single writer.
#[derive(Clone, Debug)]
pub struct Linear {
    options: LinearOptions,
    rates: Rates,
    bias: Bias,
    length: Length,
    table: Vec<Coordinate>,
    /// One byte for each group.
    marks: Vec<u8>,
    /// The current row, kept between the two passes over it.
    row: Row,
    publisher: Publisher,
}

/// Larger values count as this.
const VALUE_MAX: f32 = 1e6;

/// The mean number of features of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Length {
    mean: f64,
    /// Rows it is the mean of, at most [`LENGTH_ROWS`].
    rows: f64,
}

/// After this many rows the mean follows the latest, so that rows may grow.
const LENGTH_ROWS: f64 = 10_000.0;
/// How long rows are thought to be before one was seen.
const LENGTH_START: f64 = 32.0;

/// The coordinate that is in every row. It sees more than any other, so it keeps more digits.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bias {
    weight: f64,
    information: f64,
}

impl Linear {
    /// A model that has seen nothing.
    ///
    /// # Panics
    /// Where [`LinearOptions::check`] finds a fault.
    pub fn new(options: LinearOptions) -> Self {
        if let Err(error) = options.check() {
            panic!("{error}");
        }
        let size = 1usize << options.bits;
        Linear {
            rates: Rates::of(&options),
            bias: Bias { weight: f64::from(log_odds(options.start)), information: 0.0 },
            length: Length::default(),
            table: vec![Coordinate::default(); size],
            marks: vec![0; size >> GROUP_BITS],
            row: Row::default(),
            publisher: Publisher::new(&options),
            options,
        }
    }

    /// What it was made with.
    pub fn options(&self) -> &LinearOptions {
        &self.options
    }

    /// The log odds of a click on this row.
    pub fn logit(&self, row: &[Feature]) -> f32 {
        let mask = self.table.len() - 1;
        let part = |feature: &Feature| {
            self.rates.weight(self.table[feature.hash as usize & mask]) * bounded(feature.value)
        };
        self.bias.weight as f32 + row.iter().map(part).sum::<f32>()
    }

    /// Predicts with the weights as they are, then learns; `weight` is how many rows it stands for.
    /// Returns the log odds from before. A row with a value that is not a number teaches nothing.
    pub fn learn(&mut self, row: &[Feature], label: bool, weight: f32) -> f32 {
        self.length.see(row);
        let logit = self.weigh(row);
        let error = sigmoid(logit) - f32::from(u8::from(label));
        self.step(row, error * weight, 0.5 * error.abs() * weight);
        logit
    }

    /// Says that this row is learned soon: its coordinates are on their way while another is learned.
    pub fn prefetch(&self, row: &[Feature]) {
        prefetch::prefetch(&self.table, row);
    }

    /// A row that was learned as "not clicked" turned out to be clicked: adds the difference of the
    /// two losses' gradients, which is -1 times the row, whatever the weights have become since; and
    /// the difference of what was seen.
    pub fn correct(&mut self, row: &[Feature], weight: f32) {
        let probability = sigmoid(self.weigh(row));
        self.step(row, -weight, (0.5 - probability).max(0.0) * weight);
    }

    /// Immutable weights for readers. Costs what was learned since the last publications; where
    /// someone still reads the weights of the last but one, the whole table is copied.
    pub fn publish(&mut self) -> Weights {
        let Linear { options, rates, bias, length, table, .. } = self;
        let learned = Learned { options, rates, bias: *bias, length: *length, table };
        self.publisher.publish(&learned, &mut self.marks)
    }

    /// First pass over a row: its log odds, and what the second pass needs.
    fn weigh(&mut self, row: &[Feature]) -> f32 {
        self.row.gather(&self.table, row);
        self.bias.weight as f32 + self.row.weigh(&self.rates)
    }

    /// Second pass: every coordinate of the row learns from its share of the gradient.
    fn step(&mut self, row: &[Feature], gradient: f32, information: f32) {
        if gradient.is_nan() || information.is_nan() {
            return;
        }
        let keep = self.options.keep(information);
        let shared_out = gradient / self.length.mean as f32;
        self.row.step(&self.rates, &Step { gradient: shared_out, information, keep });
        self.row.scatter(&mut self.table, &mut self.marks, row);
        self.bias.step(&self.options, &Step { gradient, information, keep });
    }
}

/// Values are numbers of a scale that a model can learn from; a stray one must not drown all others.
fn bounded(value: f32) -> f32 {
    value.clamp(-VALUE_MAX, VALUE_MAX)
}

impl Default for Length {
    fn default() -> Self {
        Length { mean: LENGTH_START, rows: 0.0 }
    }
}

impl Length {
    fn see(&mut self, row: &[Feature]) {
        self.rows = (self.rows + 1.0).min(LENGTH_ROWS);
        self.mean += (row.len().max(1) as f64 - self.mean) / self.rows;
    }
}

impl Bias {
    fn variance(self, options: &LinearOptions) -> f32 {
        1.0 / (1.0 / options.prior_variance + self.information as f32)
    }

    /// With neither l1 nor l2 the paper's step is one along the gradient, at the rate that follows
    /// from the information afterwards.
    fn step(&mut self, options: &LinearOptions, step: &Step) {
        self.information = self.information * f64::from(step.keep) + f64::from(step.information);
        let power = (self.information * self.information.sqrt()).sqrt();
        let rate = f64::from(options.bias_alpha) / (f64::from(options.beta) + power);
        self.weight -= rate * f64::from(step.gradient);
    }
}

#[cfg(test)]
mod tests;
