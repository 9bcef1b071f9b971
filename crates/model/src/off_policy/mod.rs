//! What another policy would have brought, from the log of the one that was served.
//!
//! The log says what was chosen, with what chance, and what came of it. Weighed with how much likelier the
//! other policy would have chosen it (`weight = target / propensity`), the same rows speak for that one:
//!
//! ```text
//! IPW        mean of weight x reward, weights clipped        no bias unclipped; noisy (Horvitz, Thompson 1952)
//! SNIPW      the same over the mean weight                   bounded by the rewards (Swaminathan, Joachims 2015)
//! DM         mean of what a model expects                    no noise; as wrong as the model
//! DR         DM + mean of weight x (reward - model's)        right if either is right (Dudik et al. 2011)
//! switch-DR  DR whose weights above a bound count 0          gives up large weights to the model (Wang et al. 2017)
//! ```
//!
//! # When it refuses
//!
//! A log can only speak of what it tried. Over a log that could have shown everything the target chooses,
//! weights have the mean 1. So an estimate by weights is refused where a row's chance is not known, where the
//! mean weight is further below 1 than chance explains, and where few rows carry all the weight.

use crate::Random;
use crate::statistics::Interval;

/// One row of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logged {
    /// What came of it: 1 for a click, say.
    pub reward: f64,
    /// The chance with which the served policy chose what it chose, within (0, 1].
    pub propensity: f64,
    /// The chance with which the other policy chooses the same, within [0, 1].
    pub target: f64,
    /// What a model expects of what was chosen; 0 where there is no model.
    pub predicted: f64,
    /// What it expects of the other policy: over all choices the sum of chance x prediction.
    pub expected: f64,
}

impl Logged {
    fn weight(&self) -> f64 {
        self.target / self.propensity
    }
}

/// How to estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Estimator {
    /// Inverse propensity weights; larger ones count as `clip` (infinite clips none).
    Weighted {
        /// Above 0.
        clip: f64,
    },
    /// Inverse propensity weights over their sum.
    SelfNormalized,
    /// The model alone.
    Direct,
    /// The model, put right by weighted rows.
    DoublyRobust,
    /// The same, but where a weight is above `bound` the model alone.
    Switch {
        /// 0 or more.
        bound: f64,
    },
}

/// When an estimate is refused, and how its interval is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OffPolicyOptions {
    /// The least effective number of rows.
    pub effective_rows_min: f64,
    /// How many of its deviations the mean weight may be below 1.
    pub deviations_max: f64,
    /// Resamples of the bootstrap, at least 1.
    pub resamples: usize,
    /// Chooses them.
    pub seed: u64,
}

impl Default for OffPolicyOptions {
    fn default() -> Self {
        OffPolicyOptions {
            effective_rows_min: 50.0,
            deviations_max: 4.0,
            resamples: 1_000,
            seed: 1,
        }
    }
}

/// What the other policy would have brought a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// With the interval that 95 of 100 resamples of the rows fall into.
    pub value: Interval,
    /// The deviation of the value among resamples.
    pub deviation: f64,
    /// Rows that would say as much if all weighed alike: `(sum of w)^2 / sum of w^2` (Kish).
    pub effective_rows: f64,
    /// The mean weight: the share of the target's choices that the log could have shown.
    pub mean_weight: f64,
}

/// A log that cannot answer.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum OffPolicyError {
    /// There are no rows.
    #[error("the log has no rows: take a longer span")]
    Empty,
    /// A number that cannot be.
    #[error("row {row}: {field} must be {range}")]
    Row {
        /// Which.
        row: usize,
        /// Of what.
        field: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// An argument that cannot be.
    #[error("{field} must be {range}")]
    Option {
        /// Its name.
        field: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// The target does what the log never tried.
    #[error(
        "the log lacks support: it could have shown only {mean_weight:.3} of what the policy chooses; \
         explore more, or judge a policy nearer to the one that was served"
    )]
    Support {
        /// The mean weight, which should be 1.
        mean_weight: f64,
    },
    /// A few rows carry all the weight.
    #[error(
        "{effective_rows:.0} of the rows carry all the weight, at least {least:.0} are needed: take a longer \
         span, or judge a policy nearer to the one that was served"
    )]
    FewRows {
        /// How many.
        effective_rows: f64,
        /// How many are needed.
        least: f64,
    },
}

/// Estimates what the other policy would have brought.
pub fn estimate(
    log: &[Logged],
    estimator: Estimator,
    options: &OffPolicyOptions,
) -> Result<Estimate, OffPolicyError> {
    check(log, estimator, options)?;
    let weights: Vec<_> = log.iter().map(Logged::weight).collect();
    let (mean_weight, effective_rows) = support(&weights);
    if !matches!(estimator, Estimator::Direct) {
        refuse(&weights, mean_weight, effective_rows, options)?;
    }
    let parts: Vec<_> = log.iter().map(|row| part(row, estimator)).collect();
    let middle = value(parts.iter().copied());
    let (value, deviation) = bootstrap(&parts, middle, options);
    Ok(Estimate { value, deviation, effective_rows, mean_weight })
}

/// What a row adds to the sum, and to what the sum is divided by.
fn part(row: &Logged, estimator: Estimator) -> (f64, f64) {
    let Logged { reward, predicted, expected, .. } = *row;
    let weight = row.weight();
    match estimator {
        Estimator::Weighted { clip } => (weight.min(clip) * reward, 1.0),
        Estimator::SelfNormalized => (weight * reward, weight),
        Estimator::Direct => (expected, 1.0),
        Estimator::DoublyRobust => (expected + weight * (reward - predicted), 1.0),
        Estimator::Switch { bound } if weight > bound => (expected, 1.0),
        Estimator::Switch { .. } => (expected + weight * (reward - predicted), 1.0),
    }
}

fn value(parts: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (above, below) = parts.fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    // A resample without any weight says nothing.
    if below > 0.0 { above / below } else { 0.0 }
}

fn support(weights: &[f64]) -> (f64, f64) {
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
    let effective = if squares > 0.0 { sum * sum / squares } else { 0.0 };
    (sum / weights.len() as f64, effective)
}

fn refuse(
    weights: &[f64],
    mean_weight: f64,
    effective_rows: f64,
    options: &OffPolicyOptions,
) -> Result<(), OffPolicyError> {
    let rows = weights.len() as f64;
    let variance = weights.iter().map(|weight| (weight - mean_weight).powi(2)).sum::<f64>() / rows;
    let reach = options.deviations_max * (variance / rows).sqrt();
    if mean_weight + reach < 1.0 {
        return Err(OffPolicyError::Support { mean_weight });
    }
    let least = options.effective_rows_min;
    if effective_rows < least {
        return Err(OffPolicyError::FewRows { effective_rows, least });
    }
    Ok(())
}

/// The interval of 95 in 100, and the deviation, over draws of as many rows with replacement.
fn bootstrap(parts: &[(f64, f64)], middle: f64, options: &OffPolicyOptions) -> (Interval, f64) {
    let mut random = Random::new(options.seed);
    let resample = |_| {
        let draw = |_| parts[random.below(parts.len() as u64) as usize];
        value((0..parts.len()).map(draw))
    };
    let mut values: Vec<_> = (0..options.resamples).map(resample).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((share * values.len() as f64) as usize).min(values.len() - 1)];
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let interval = Interval { low: at(0.025), middle, high: at(0.975) };
    (interval, (squares / values.len() as f64).sqrt())
}

fn check(
    log: &[Logged],
    estimator: Estimator,
    options: &OffPolicyOptions,
) -> Result<(), OffPolicyError> {
    if log.is_empty() {
        return Err(OffPolicyError::Empty);
    }
    let sound = match estimator {
        Estimator::Weighted { clip } => clip > 0.0,
        Estimator::Switch { bound } => bound >= 0.0,
        _ => true,
    };
    if !sound {
        return Err(OffPolicyError::Option { field: "clip or bound", range: "above 0" });
    }
    if options.resamples == 0 {
        return Err(OffPolicyError::Option { field: "resamples", range: "at least 1" });
    }
    log.iter().enumerate().try_for_each(|(row, logged)| check_row(row, logged))
}

fn check_row(row: usize, logged: &Logged) -> Result<(), OffPolicyError> {
    let Logged { reward, propensity, target, predicted, expected } = *logged;
    let faults = [
        ("propensity", "within (0, 1]: serve with logged chances", {
            !(propensity > 0.0 && propensity <= 1.0)
        }),
        ("target", "within [0, 1]", !(0.0..=1.0).contains(&target)),
        ("reward", "finite", !reward.is_finite()),
        ("predicted", "finite", !predicted.is_finite()),
        ("expected", "finite", !expected.is_finite()),
    ];
    let fault = faults.into_iter().find(|fault| fault.2);
    fault.map_or(Ok(()), |(field, range, _)| Err(OffPolicyError::Row { row, field, range }))
}

#[cfg(test)]
mod tests;
