//! What a linear model is made with.

/// How a [`crate::Linear`] learns. The defaults were chosen on three streams at once: Criteo's and
/// Avazu's logs and a simulated market (see `bench/learn.sh`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearOptions {
    /// The table has `2^bits` coordinates, 8 to 28; 8 bytes each in the learner, and as many again in
    /// the published weights. Rows carry 32 bits of hash.
    pub bits: u8,
    /// How fast the features of a row learn together: the rate of one is
    /// `alpha / length / (beta + n^(3/4))`, with `length` the mean number of features in a row.
    pub alpha: f32,
    /// How much a coordinate must have seen before its rate falls.
    pub beta: f32,
    /// Pull that a coordinate must show before it weighs anything: makes the model sparse.
    pub l1: f32,
    /// Pull of every weight towards 0.
    pub l2: f32,
    /// `alpha` of the bias, which is in every row; l1 and l2 leave it alone.
    pub bias_alpha: f32,
    /// How much information a coordinate remembers: of what it has seen, `1 / memory` fades with each
    /// unit seen anew. A unit is about one click of a rare kind. Rates do not fall below what belongs
    /// to this much.
    pub memory: f32,
    /// The probability of a click before anything was seen, within (0, 1).
    pub start: f32,
    /// The variance of a row's log odds before anything was seen, for [`crate::Partial::variance`].
    pub prior_variance: f32,
}

impl Default for LinearOptions {
    fn default() -> Self {
        LinearOptions {
            bits: 22,
            alpha: 4.0,
            beta: 1.5,
            l1: 0.0,
            l2: 0.0,
            bias_alpha: 0.3,
            memory: 5_000.0,
            start: 0.1,
            prior_variance: 4.0,
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
    /// The share of what a coordinate has seen that stays when it sees this much more.
    pub(super) fn keep(&self, information: f32) -> f32 {
        (1.0 - information / self.memory).max(0.0)
    }

    /// Whether every option is in its range.
    pub fn check(&self) -> Result<(), OptionError> {
        let positive = |number: f32| number.is_finite() && number > 0.0;
        let at_least_0 = |number: f32| number.is_finite() && number >= 0.0;
        let rules = [
            ("bits", (8..=28).contains(&self.bits), "8 to 28"),
            ("alpha", positive(self.alpha), "above 0"),
            ("beta", positive(self.beta), "above 0"),
            ("l1", at_least_0(self.l1), "0 or more"),
            ("l2", at_least_0(self.l2), "0 or more"),
            ("bias_alpha", positive(self.bias_alpha), "above 0"),
            ("memory", self.memory >= 1.0, "1 or more"),
            ("start", self.start > 0.0 && self.start < 1.0, "between 0 and 1"),
            ("prior_variance", positive(self.prior_variance), "above 0"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, range)) => Err(OptionError { field, range }),
            None => Ok(()),
        }
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
        assert_eq!(fault(|options| options.memory = 0.5), "memory");
        assert_eq!(fault(|options| options.start = 1.0), "start");
        assert_eq!(fault(|options| options.prior_variance = 0.0), "prior_variance");
    }
}
