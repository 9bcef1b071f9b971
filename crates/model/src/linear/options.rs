//! What a linear model is made with, and the rates that follow from it.

use super::{BLOCK_BITS, Coordinate};
use crate::log_odds;

/// How a [`crate::Linear`] learns. The defaults were chosen on three streams at once: Criteo's and
/// Avazu's logs and a simulated market (see `bench/learn.sh`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearOptions {
    /// The table has `2^bits` coordinates, 8 to 28; 8 bytes each in the learner, and as many again in
    /// the published weights. Rows carry 32 bits of hash.
    pub bits: u8,
    /// How fast a coordinate learns: its rate is `alpha / (beta + sqrt(n))`.
    pub alpha: f32,
    /// How much a coordinate must have seen before its rate falls.
    pub beta: f32,
    /// Pull that a coordinate must show before it weighs anything: makes the model sparse.
    pub l1: f32,
    /// Pull of every weight towards 0.
    pub l2: f32,
    /// `alpha` of the bias, which is in every row.
    pub bias_alpha: f32,
    /// The probability of a click before anything was seen, within (0, 1).
    pub start: f32,
    /// Precision of a weight before anything was seen, for [`crate::Partial::variance`]: 1 / variance.
    pub precision: f32,
}

impl Default for LinearOptions {
    fn default() -> Self {
        LinearOptions {
            bits: 22,
            alpha: 0.05,
            beta: 1.0,
            l1: 0.0,
            l2: 0.0,
            bias_alpha: 0.2,
            start: 0.1,
            precision: 10.0,
        }
    }
}

/// An option out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the linear model's {field} must be {range}")]
pub struct OptionError {
    /// Its name.
    pub field: &'static str,
    /// What it may be.
    pub range: &'static str,
}

impl LinearOptions {
    /// Whether every option is in its range.
    pub fn check(&self) -> Result<(), OptionError> {
        let positive = |number: f32| number.is_finite() && number > 0.0;
        let at_least_0 = |number: f32| number.is_finite() && number >= 0.0;
        let rules = [
            ("bits", (BLOCK_BITS..=28).contains(&self.bits), "8 to 28"),
            ("alpha", positive(self.alpha), "above 0"),
            ("beta", positive(self.beta), "above 0"),
            ("l1", at_least_0(self.l1), "0 or more"),
            ("l2", at_least_0(self.l2), "0 or more"),
            ("bias_alpha", positive(self.bias_alpha), "above 0"),
            ("start", self.start > 0.0 && self.start < 1.0, "between 0 and 1"),
            ("precision", positive(self.precision), "above 0"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, range)) => Err(OptionError { field, range }),
            None => Ok(()),
        }
    }
}

/// The options as the kernels need them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    inverse_alpha: f32,
    /// `beta / alpha + l2`.
    floor: f32,
    l1: f32,
    /// Log odds before anything was seen.
    pub(super) start: f32,
}

impl Rates {
    pub(super) fn of_features(options: &LinearOptions) -> Self {
        let inverse_alpha = 1.0 / options.alpha;
        let floor = options.beta * inverse_alpha + options.l2;
        Rates { inverse_alpha, floor, l1: options.l1, start: 0.0 }
    }

    /// The bias is neither made sparse nor drawn to 0: it is where the model starts.
    pub(super) fn of_bias(options: &LinearOptions) -> Self {
        let inverse_alpha = 1.0 / options.bias_alpha;
        let floor = options.beta * inverse_alpha;
        Rates { inverse_alpha, floor, l1: 0.0, start: log_odds(options.start) }
    }

    /// The weight that follows from what was seen.
    pub(super) fn weight(&self, coordinate: Coordinate) -> f32 {
        let root = coordinate.information.sqrt();
        let excess = (coordinate.pull.abs() - self.l1).max(0.0).copysign(coordinate.pull);
        -excess / (root * self.inverse_alpha + self.floor)
    }

    /// Takes in one gradient; `weight` is what followed from the coordinate before.
    pub(super) fn learn(&self, coordinate: &mut Coordinate, weight: f32, gradient: f32) {
        let information = coordinate.information + gradient * gradient;
        let growth = (information.sqrt() - coordinate.information.sqrt()) * self.inverse_alpha;
        coordinate.pull += gradient - growth * weight;
        coordinate.information = information;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_option_is_named() {
        assert_eq!(LinearOptions::default().check(), Ok(()));
        let fault = |change: fn(&mut LinearOptions)| {
            let mut options = LinearOptions::default();
            change(&mut options);
            options.check().expect_err("out of range").field
        };
        assert_eq!(fault(|options| options.bits = 29), "bits");
        assert_eq!(fault(|options| options.alpha = 0.0), "alpha");
        assert_eq!(fault(|options| options.beta = f32::NAN), "beta");
        assert_eq!(fault(|options| options.l1 = -1.0), "l1");
        assert_eq!(fault(|options| options.l2 = f32::INFINITY), "l2");
        assert_eq!(fault(|options| options.bias_alpha = -0.1), "bias_alpha");
        assert_eq!(fault(|options| options.start = 1.0), "start");
        assert_eq!(fault(|options| options.precision = 0.0), "precision");
    }
}
