//! Probabilities and their log odds.
//!
//! Losses are computed from log odds, never from probabilities: `1 - p` of a probability near 1 has
//! lost its digits, its log odds have not.

/// The probability with these log odds.
pub fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// The log odds of a probability; infinite at 0 and 1.
pub fn log_odds(probability: f32) -> f32 {
    let probability = f64::from(probability);
    (probability / (1.0 - probability)).ln() as f32
}

/// `ln(1 + exp(x))`: the log loss of "not clicked" at log odds of `x`, of "clicked" at `-x`.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_come_back() {
        for step in -200..=200 {
            let logit = step as f32 / 20.0;
            assert!((log_odds(sigmoid(logit)) - logit).abs() < 2e-3, "{logit}");
        }
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!((sigmoid(-200.0), sigmoid(200.0)), (0.0, 1.0));
    }

    #[test]
    fn the_loss_has_no_cliff() {
        assert!((softplus(0.0) - std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!(softplus(1000.0), 1000.0);
        assert_eq!(softplus(-1000.0), 0.0);
        assert!((softplus(2.0) - (1.0 + 2.0f64.exp()).ln()).abs() < 1e-12);
    }
}
