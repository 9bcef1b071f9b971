//! A hashed logistic regression that learns online.
//!
//! FTRL-Proximal with a rate of its own for each coordinate (McMahan et al., "Ad Click Prediction: a
//! View from the Trenches", KDD 2013). A coordinate keeps two sums and no weight; the weight follows
//! from them where it is needed, so what an idle coordinate would be is never stored:
//!
//! ```text
//! pull         z = sum of gradients, less what the weight has already answered
//! information  n = sum of squared gradients
//! weight       w = -(z - sign(z) l1) / ((beta + sqrt n) / alpha + l2), and 0 where |z| <= l1
//! ```
//!
//! Both stand side by side in one table of `2^bits` coordinates: a feature costs one cache line. `n`
//! is also the Fisher information the coordinate has seen (for a click with probability p the squared
//! gradient is p (1 - p) in the mean), so the same table says how sure each weight is.
//!
//! The table is cut into blocks. A touched block is copied for readers at the next publication, and
//! written down at the next save; all others are shared, or left as they were written.

mod options;
mod state;
mod weights;

use reckon_event::Feature;

pub use options::{LinearOptions, OptionError};
pub use weights::{Partial, Weights};

use crate::sigmoid;
use options::Rates;

/// Coordinates in a block.
const BLOCK: usize = 1 << BLOCK_BITS;
const BLOCK_BITS: u8 = 8;

/// A block was touched since the last publication.
const UNPUBLISHED: u8 = 1;
/// A block was touched since the last [`Linear::encode_changes`].
const UNSAVED: u8 = 2;

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
    bias_rates: Rates,
    bias: Coordinate,
    table: Vec<Coordinate>,
    /// One byte of marks for each block.
    touched: Vec<u8>,
    /// What the current row's features weigh, kept between the two passes over them.
    weights: Vec<f32>,
    published: Weights,
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
            rates: Rates::of_features(&options),
            bias_rates: Rates::of_bias(&options),
            bias: Coordinate::default(),
            table: vec![Coordinate::default(); size],
            touched: vec![0; size >> BLOCK_BITS],
            weights: Vec::new(),
            published: Weights::untrained(&options),
            options,
        }
    }

    /// What it was made with.
    pub fn options(&self) -> &LinearOptions {
        &self.options
    }

    /// The log odds of a click on this row.
    pub fn logit(&self, row: &[Feature]) -> f32 {
        let sum: f32 = row
            .iter()
            .map(|feature| self.rates.weight(self.table[self.place(feature)]) * feature.value)
            .sum();
        self.bias_logit() + sum
    }

    /// Predicts with the weights as they are, then learns; `weight` is how many rows it stands for.
    /// Returns the log odds from before.
    pub fn learn(&mut self, row: &[Feature], label: bool, weight: f32) -> f32 {
        let logit = self.weigh(row);
        let error = sigmoid(logit) - f32::from(u8::from(label));
        self.step(row, error * weight);
        logit
    }

    /// A row that was learned as "not clicked" turned out to be clicked: adds the difference of the
    /// two losses' gradients, which is -1 times the row, whatever the weights have become since.
    pub fn correct(&mut self, row: &[Feature], weight: f32) {
        self.weigh(row);
        self.step(row, -weight);
    }

    /// Immutable weights for readers. Copies only what was touched since the last publication.
    pub fn publish(&mut self) -> Weights {
        let mut blocks = self.published.blocks().to_vec();
        for (index, marks) in self.touched.iter_mut().enumerate() {
            if *marks & UNPUBLISHED != 0 {
                *marks &= !UNPUBLISHED;
                let start = index << BLOCK_BITS;
                let block = &self.table[start..start + BLOCK];
                blocks[index] = weights::block(block, &self.rates, self.options.precision);
            }
        }
        let bias = self.bias_logit();
        let bias_variance = self.bias_variance();
        self.published = Weights::new(self.options.bits, bias, bias_variance, blocks);
        self.published.clone()
    }

    fn bias_logit(&self) -> f32 {
        self.bias_rates.start + self.bias_rates.weight(self.bias)
    }

    fn bias_variance(&self) -> f32 {
        1.0 / (self.options.precision + self.bias.information)
    }

    fn place(&self, feature: &Feature) -> usize {
        feature.hash as usize & (self.table.len() - 1)
    }

    /// First pass over a row: its log odds, and each feature's weight into `self.weights`.
    fn weigh(&mut self, row: &[Feature]) -> f32 {
        self.weights.clear();
        let mut sum = 0.0;
        for feature in row {
            let weight = self.rates.weight(self.table[self.place(feature)]);
            self.weights.push(weight);
            sum += weight * feature.value;
        }
        self.bias_logit() + sum
    }

    /// Second pass: every coordinate of the row learns from its share of the gradient.
    fn step(&mut self, row: &[Feature], gradient: f32) {
        let bias_weight = self.bias_rates.weight(self.bias);
        self.bias_rates.learn(&mut self.bias, bias_weight, gradient);
        let mask = self.table.len() - 1;
        for (feature, &weight) in row.iter().zip(&self.weights) {
            let place = feature.hash as usize & mask;
            self.touched[place >> BLOCK_BITS] = UNPUBLISHED | UNSAVED;
            self.rates.learn(&mut self.table[place], weight, gradient * feature.value);
        }
    }
}

#[cfg(test)]
mod tests;
