//! The weights as readers have them: immutable and cheap to clone.
//!
//! Two whole tables take turns. Readers hold the current one; at a publication the other, which nobody
//! reads any more, is brought up to date in those groups of coordinates that were learned since it was
//! current itself, and becomes the current one. So a publication costs what was learned and not the
//! size of the table, and a reader finds a weight with one load. Whoever still holds the other table
//! keeps it; then the current one is copied instead, once.
//!
//! A reader needs a weight, not the sums it follows from: it is computed once, at publication, and
//! stands beside what the coordinate has seen.

use std::sync::Arc;

use reckon_event::Feature;

use super::kernel::Rates;
use super::{Bias, Coordinate, GROUP, Length, LinearOptions, bounded, prefetch};
use crate::log_odds;

/// Marks looked at together.
const STRETCH: usize = 64;

/// What a reader needs of one coordinate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    weight: f32,
    information: f32,
}

/// Published weights: log odds and their variance for any row.
#[derive(Clone, Debug)]
pub struct Weights {
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
struct Shared {
    bias: f32,
    bias_variance: f32,
    prior: Prior,
    table: Vec<Known>,
}

/// What turns a coordinate's information into the variance of its weight.
#[derive(Clone, Copy, Debug)]
struct Prior {
    /// Precision before anything was seen: the row's, shared out among its features.
    precision: f32,
    /// What a unit of information is worth.
    worth: f32,
}

/// What some features of a row add to its log odds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Partial {
    /// The log odds they add, without the bias.
    pub logit: f32,
    /// How unsure that is: the variance under a diagonal Laplace approximation, the sum of
    /// `x^2 / (length / prior variance + n sqrt(length))`, with `length` the mean number of features
    /// in a row. Taken alone each feature would have seen `n`; but those of a row tell much the same
    /// (an ad, its campaign, its category), and their variances do not simply add up. The root is
    /// between "nothing in common" (1) and "all the same" (`length`), and fits what is seen where the
    /// true probability is known.
    pub variance: f32,
}

impl std::ops::Add for Partial {
    type Output = Partial;

    /// Parts of one row, joined.
    fn add(self, other: Partial) -> Partial {
        Partial { logit: self.logit + other.logit, variance: self.variance + other.variance }
    }
}

impl Weights {
    /// The log odds of a row without features.
    pub fn bias(&self) -> f32 {
        self.shared.bias
    }

    /// How unsure the bias is.
    pub fn bias_variance(&self) -> f32 {
        self.shared.bias_variance
    }

    /// What these features add to the log odds, without the bias: what a request's candidates share
    /// is computed once, and each candidate adds its own.
    pub fn partial(&self, row: &[Feature]) -> Partial {
        let Shared { table, prior, .. } = &*self.shared;
        let mask = table.len() - 1;
        let mut sum = Partial::default();
        for feature in row {
            let known = table[feature.hash as usize & mask];
            let value = bounded(feature.value);
            sum.logit += known.weight * value;
            sum.variance += prior.variance(known) * value * value;
        }
        sum
    }

    /// The log odds of a whole row: those of [`Weights::partial`], without the division that each
    /// feature's variance costs.
    pub fn logit(&self, row: &[Feature]) -> f32 {
        let Shared { bias, table, .. } = &*self.shared;
        let mask = table.len() - 1;
        let mut logit = 0.0;
        for feature in row {
            logit += table[feature.hash as usize & mask].weight * bounded(feature.value);
        }
        bias + logit
    }

    /// Says that this row is scored soon: its weights are on their way while another is scored.
    pub fn prefetch(&self, row: &[Feature]) {
        prefetch::prefetch(&self.shared.table, row);
    }
}

impl Prior {
    fn of(options: &LinearOptions, length: Length) -> Self {
        let length = length.mean as f32;
        Prior { precision: length / options.prior_variance, worth: length.sqrt() }
    }

    fn variance(self, known: Known) -> f32 {
        1.0 / (self.precision + known.information * self.worth)
    }
}

/// The two tables. Each has a mark of its own, which a group bears while that table lacks it.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    current: Marked,
    other: Marked,
}

#[derive(Clone, Debug)]
struct Marked {
    weights: Weights,
    mark: u8,
}

/// What the learner knows at a publication.
pub(super) struct Learned<'a> {
    pub(super) options: &'a LinearOptions,
    pub(super) rates: &'a Rates,
    pub(super) bias: Bias,
    pub(super) length: Length,
    pub(super) table: &'a [Coordinate],
}

impl Publisher {
    pub(super) const MARKS: [u8; 2] = [1, 2];

    /// Tables of a model that has seen nothing.
    pub(super) fn new(options: &LinearOptions) -> Self {
        let bias = Bias { weight: f64::from(log_odds(options.start)), information: 0.0 };
        let marked = |mark| Marked { weights: Weights::untrained(options, bias), mark };
        let [current, other] = Self::MARKS.map(marked);
        Publisher { current, other }
    }

    /// Someone still reads the table that is not current: the next publication copies.
    #[cfg(test)]
    pub(super) fn is_other_read(&self) -> bool {
        Arc::strong_count(&self.other.weights.shared) > 1
    }

    /// Publishes what was learned; `marks` has one byte a group.
    pub(super) fn publish(&mut self, learned: &Learned<'_>, marks: &mut [u8]) -> Weights {
        if Arc::get_mut(&mut self.other.weights.shared).is_none() {
            // Someone still reads it. What the copy of the current table lacks bears that one's mark.
            self.other.weights.shared = Arc::new(self.current.weights.shared.as_ref().clone());
            for marks in marks.iter_mut() {
                let lacks = u8::from(*marks & self.current.mark != 0) * self.other.mark;
                *marks = *marks & !self.other.mark | lacks;
            }
        }
        let shared = Arc::get_mut(&mut self.other.weights.shared).expect("nobody else has it");
        shared.update(learned, marks, self.other.mark);
        std::mem::swap(&mut self.current, &mut self.other);
        self.current.weights.clone()
    }
}

impl Weights {
    fn untrained(options: &LinearOptions, bias: Bias) -> Self {
        let shared = Shared {
            bias: bias.weight as f32,
            bias_variance: bias.variance(options),
            prior: Prior::of(options, Length::default()),
            table: vec![Known::default(); 1 << options.bits],
        };
        Weights { shared: Arc::new(shared) }
    }
}

impl Shared {
    /// Takes over every group that bears the mark, and takes the mark off.
    fn update(&mut self, learned: &Learned<'_>, marks: &mut [u8], mark: u8) {
        for (stretch, marks) in marks.chunks_mut(STRETCH).enumerate() {
            // Most of a table rests: looking at many marks at once is most of the work.
            if marks.iter().fold(0, |all, marks| all | marks) & mark == 0 {
                continue;
            }
            for (index, marks) in (stretch * STRETCH..).zip(marks) {
                if *marks & mark != 0 {
                    *marks &= !mark;
                    let group = index * GROUP..(index + 1) * GROUP;
                    take_over(&mut self.table[group.clone()], &learned.table[group], learned.rates);
                }
            }
        }
        self.bias = learned.bias.weight as f32;
        self.bias_variance = learned.bias.variance(learned.options);
        self.prior = Prior::of(learned.options, learned.length);
    }
}

fn take_over(group: &mut [Known], coordinates: &[Coordinate], rates: &Rates) {
    for (known, coordinate) in group.iter_mut().zip(coordinates) {
        known.weight = rates.weight(*coordinate);
        known.information = coordinate.information;
    }
}
