//! The weights as readers have them: immutable, cheap to clone, shared between publications.
//!
//! A reader needs a weight and how unsure it is, not the sums they follow from: both are computed once
//! at publication and stand side by side. Blocks that nothing was learned in are all one block.

use std::sync::Arc;

use reckon_event::Feature;

use super::options::Rates;
use super::{BLOCK, BLOCK_BITS, Coordinate, LinearOptions};

/// What a reader needs of one coordinate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    weight: f32,
    variance: f32,
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
    mask: u32,
    blocks: Box<[Block]>,
}

/// What some features of a row add to its log odds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Partial {
    /// The log odds they add, without the bias.
    pub logit: f32,
    /// How unsure that is: the variance under a diagonal Laplace approximation, the sum of
    /// `x^2 / (precision before anything was seen + Fisher information seen)`.
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
            sum.logit += known.weight * feature.value;
            sum.variance += known.variance * feature.value * feature.value;
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
        let rates = Rates::of_features(options);
        let empty = block(&[Coordinate::default(); BLOCK], &rates, options.precision);
        let blocks = vec![empty; 1 << (options.bits - BLOCK_BITS)];
        let start = Rates::of_bias(options).start;
        Weights::new(options.bits, start, 1.0 / options.precision, blocks)
    }

    pub(super) fn new(bits: u8, bias: f32, bias_variance: f32, blocks: Vec<Block>) -> Self {
        assert_eq!(blocks.len(), 1 << (bits - BLOCK_BITS), "one block for each of the table");
        let mask = u32::try_from((1u64 << bits) - 1).expect("a table has at most 2^28 coordinates");
        let blocks = blocks.into_boxed_slice();
        Weights { shared: Arc::new(Shared { bias, bias_variance, mask, blocks }) }
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.shared.blocks
    }
}

/// What readers need of a block of the learner's.
pub(super) fn block(coordinates: &[Coordinate], rates: &Rates, precision: f32) -> Block {
    Arc::new(std::array::from_fn(|index| {
        let coordinate = coordinates[index];
        Known {
            weight: rates.weight(coordinate),
            variance: 1.0 / (precision + coordinate.information),
        }
    }))
}
