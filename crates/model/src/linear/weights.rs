//! The weights as readers have them: immutable, cheap to clone, shared between publications.
//!
//! A reader needs a weight, not the sums it follows from: it is computed once at publication and stands
//! beside what the coordinate has seen. Blocks that nothing was learned in are all one block.

use std::sync::Arc;

use reckon_event::Feature;

use super::kernel::Rates;
use super::{BLOCK, BLOCK_BITS, Bias, Coordinate, Length, LinearOptions, bounded};
use crate::log_odds;

/// What a reader needs of one coordinate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    weight: f32,
    information: f32,
}

/// The published part of the coordinates of one block.
pub(super) type Block = Arc<[Known; BLOCK]>;

/// Published weights: log odds and their variance for any row.
#[derive(Clone, Debug)]
pub struct Weights {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bias: f32,
    bias_variance: f32,
    prior: Prior,
    mask: u32,
    blocks: Box<[Block]>,
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
        let shared = &*self.shared;
        let mut sum = Partial::default();
        for feature in row {
            let place = (feature.hash & shared.mask) as usize;
            let known = shared.blocks[place >> BLOCK_BITS][place & (BLOCK - 1)];
            let value = bounded(feature.value);
            sum.logit += known.weight * value;
            sum.variance += shared.prior.variance(known) * value * value;
        }
        sum
    }

    /// The log odds of a whole row.
    pub fn logit(&self, row: &[Feature]) -> f32 {
        self.bias() + self.partial(row).logit
    }

    /// How many blocks hold the same memory as in `other`: what a publication did not copy.
    pub fn blocks_shared_with(&self, other: &Weights) -> usize {
        let pairs = self.blocks().iter().zip(other.blocks());
        pairs.filter(|(ours, theirs)| Arc::ptr_eq(ours, theirs)).count()
    }

    pub(super) fn untrained(options: &LinearOptions) -> Self {
        let coordinates = [Coordinate::default(); BLOCK];
        let empty = block(&coordinates, &Rates::of(options));
        let blocks = vec![empty; 1 << (options.bits - BLOCK_BITS)];
        let bias = Bias { weight: f64::from(log_odds(options.start)), information: 0.0 };
        Weights::new(options, bias, Length::default(), blocks)
    }

    pub(super) fn new(
        options: &LinearOptions,
        bias: Bias,
        length: Length,
        blocks: Vec<Block>,
    ) -> Self {
        assert_eq!(blocks.len(), 1 << (options.bits - BLOCK_BITS), "one for each of the table");
        Weights {
            shared: Arc::new(Shared {
                bias: bias.weight as f32,
                bias_variance: 1.0 / (1.0 / options.prior_variance + bias.information as f32),
                prior: Prior::of(options, length),
                mask: (1 << options.bits) - 1,
                blocks: blocks.into_boxed_slice(),
            }),
        }
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.shared.blocks
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

/// What readers need of a block of the learner's.
pub(super) fn block(coordinates: &[Coordinate], rates: &Rates) -> Block {
    Arc::new(std::array::from_fn(|index| {
        let coordinate = coordinates[index];
        Known { weight: rates.weight(coordinate), information: coordinate.information }
    }))
}
