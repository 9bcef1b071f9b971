//! Why a model is refused.

use serde::{Deserialize, Serialize};

use super::{Difference, Figures, JudgeOptions, Verdict};

/// A reason against a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// It does not answer.
    #[error("its log odds of {rows} rows are no finite numbers")]
    NoNumbers {
        /// How many.
        rows: u64,
    },
    /// The rows cannot tell.
    #[error("the test rows are all clicked, or none is: take more of them")]
    OneKind,
    /// It knows nothing.
    #[error(
        "its log loss of {log_loss:.6} is not below {constant:.6}, that of the click rate alone"
    )]
    NoBetterThanConstant {
        /// The model's.
        log_loss: f64,
        /// The click rate's.
        constant: f64,
    },
    /// Its probabilities are off.
    #[error("it predicts {ratio:.4} times the clicks that came; {min} to {max} times are allowed")]
    CalibrationRatio {
        /// Predicted clicks over clicks.
        ratio: f64,
        /// The least that is allowed.
        min: f64,
        /// The most.
        max: f64,
    },
    /// It orders worse.
    #[error("its AUC is below the champion's by {:.6} (95 of 100 draws: {low:.6} to {high:.6})", -middle)]
    WorseAuc {
        /// Of all draws' interval, the low end of the difference.
        low: f64,
        /// The difference.
        middle: f64,
        /// The high end, below 0.
        high: f64,
    },
    /// Its probabilities are worse.
    #[error(
        "its log loss is above the champion's by {middle:.6} (95 of 100 draws: {low:.6} to {high:.6})"
    )]
    WorseLogLoss {
        /// Of all draws' interval, the low end of the difference, above 0.
        low: f64,
        /// The difference.
        middle: f64,
        /// The high end.
        high: f64,
    },
}

/// All that is against a model of which there are figures.
pub(super) fn refusals(
    figures: &Figures,
    verdict: &Verdict,
    options: &JudgeOptions,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let (log_loss, constant) = (figures.log_loss, verdict.constant_log_loss);
    if log_loss >= constant {
        refusals.push(Refusal::NoBetterThanConstant { log_loss, constant });
    }
    let (ratio, min, max) = (figures.calibration_ratio, options.ratio_min, options.ratio_max);
    if !(min..=max).contains(&ratio) {
        refusals.push(Refusal::CalibrationRatio { ratio, min, max });
    }
    if let Some(comparison) = verdict.comparison {
        let Difference { low, middle, high } = comparison.auc;
        if high < 0.0 {
            refusals.push(Refusal::WorseAuc { low, middle, high });
        }
        let Difference { low, middle, high } = comparison.log_loss;
        if low > 0.0 {
            refusals.push(Refusal::WorseLogLoss { low, middle, high });
        }
    }
    refusals
}
