//! Whether two arms of an experiment differ, and how many rows it takes to see it.

use super::distribution::{chi_squared_above, normal_cdf, normal_quantile};

/// Arguments that have no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {range}")]
pub struct StatisticsError {
    /// Its name.
    pub field: &'static str,
    /// What it may be.
    pub range: &'static str,
}

pub(super) fn must(
    holds: bool,
    field: &'static str,
    range: &'static str,
) -> Result<(), StatisticsError> {
    if holds { Ok(()) } else { Err(StatisticsError { field, range }) }
}

/// What was seen of an arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proportion {
    /// At most as many as rows.
    pub clicks: u64,
    /// At least 1.
    pub rows: u64,
}

impl Proportion {
    /// Clicks over rows.
    pub fn rate(self) -> f64 {
        self.clicks as f64 / self.rows as f64
    }

    pub(super) fn check(self) -> Result<(), StatisticsError> {
        must(self.rows > 0, "an arm's number of rows", "at least 1")?;
        must(self.clicks <= self.rows, "an arm's number of clicks", "at most its number of rows")
    }

    pub(super) fn variance(self) -> f64 {
        self.rate() * (1.0 - self.rate()) / self.rows as f64
    }
}

/// How two arms differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The treatment's rate or mean less the control's.
    pub middle: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end of its interval.
    pub high: f64,
    /// The difference over its deviation, if there were none.
    pub z: f64,
    /// The chance of a difference as large, if there were none.
    pub p_value: f64,
}

fn two_sided(z: f64) -> f64 {
    (2.0 * normal_cdf(-z.abs())).min(1.0)
}

/// The two-proportion z test: `z` with the pooled variance, the interval with that of each arm (Wald).
/// Valid for one look at a number of rows that was set before; else see [`super::always_valid`].
pub fn two_proportions(
    control: Proportion,
    treatment: Proportion,
    alpha: f64,
) -> Result<Difference, StatisticsError> {
    control.check()?;
    treatment.check()?;
    must(alpha > 0.0 && alpha < 1.0, "alpha", "within (0, 1)")?;
    let middle = treatment.rate() - control.rate();
    let (ours, theirs) = (treatment.rows as f64, control.rows as f64);
    let pooled = (control.clicks + treatment.clicks) as f64 / (ours + theirs);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / ours + 1.0 / theirs)).sqrt();
    // Where all or none were clicked the arms do not differ.
    let z = if deviation > 0.0 { middle / deviation } else { 0.0 };
    let reach = normal_quantile(1.0 - alpha / 2.0);
    let reach = reach * (control.variance() + treatment.variance()).sqrt();
    Ok(Difference { middle, low: middle - reach, high: middle + reach, z, p_value: two_sided(z) })
}

/// Rows that each of two arms needs to see `lift` (an absolute difference) on a rate of `base`, two-sided:
/// where it is there it is found with the chance `power`, where it is not with the chance `alpha`.
pub fn sample_size(base: f64, lift: f64, alpha: f64, power: f64) -> Result<f64, StatisticsError> {
    let other = base + lift;
    must(base > 0.0 && base < 1.0, "the base rate", "within (0, 1)")?;
    must(lift != 0.0 && other > 0.0 && other < 1.0, "the lift", {
        "other than 0, and leave the rate within (0, 1)"
    })?;
    must(alpha > 0.0 && alpha < 1.0, "alpha", "within (0, 1)")?;
    must(power > alpha && power < 1.0, "the power", "above alpha and below 1")?;
    let mean = (base + other) / 2.0;
    let null = (2.0 * mean * (1.0 - mean)).sqrt();
    let real = (base * (1.0 - base) + other * (1.0 - other)).sqrt();
    let reach = normal_quantile(1.0 - alpha / 2.0) * null + normal_quantile(power) * real;
    Ok((reach / lift).powi(2))
}

/// Whether arms got the shares of traffic they should have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioMismatch {
    /// Pearson's statistic, with one degree of freedom less than there are arms.
    pub chi_squared: f64,
    /// The chance of shares as far off. Below 0.001 or so the experiment is broken: find out why before
    /// anything else of it is read.
    pub p_value: f64,
}

/// Holds the rows of each arm against the shares they should have, which need not sum to 1.
pub fn sample_ratio(rows: &[u64], shares: &[f64]) -> Result<RatioMismatch, StatisticsError> {
    must(
        rows.len() >= 2 && rows.len() == shares.len(),
        "the arms",
        "at least 2, each with a share",
    )?;
    must(shares.iter().all(|&share| share > 0.0 && share.is_finite()), "a share", "above 0")?;
    let all: f64 = rows.iter().map(|&rows| rows as f64).sum();
    must(all > 0.0, "the number of rows", "at least 1")?;
    let whole: f64 = shares.iter().sum();
    let part = |(&rows, &share): (&u64, &f64)| {
        let expected = all * share / whole;
        (rows as f64 - expected).powi(2) / expected
    };
    let chi_squared = rows.iter().zip(shares).map(part).sum();
    let p_value = chi_squared_above(chi_squared, (rows.len() - 1) as f64);
    Ok(RatioMismatch { chi_squared, p_value })
}

/// A difference of means after what was known before the experiment is taken out (CUPED; Deng, Xu, Kohavi
/// and Walker, WSDM 2013).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adjusted {
    /// The difference of adjusted means.
    pub difference: Difference,
    /// How much of the covariate is taken out.
    pub theta: f64,
    /// The share of the variance that went with it: 0.5 halves the rows needed.
    pub variance_reduction: f64,
}

/// One person of an arm: what was measured, and a covariate from before the experiment.
pub type Measured = (f64, f64);

/// The difference of two arms' means, adjusted by a covariate that the experiment cannot have changed.
/// `theta` is the covariance over the variance within all rows together.
pub fn cuped(
    control: &[Measured],
    treatment: &[Measured],
    alpha: f64,
) -> Result<Adjusted, StatisticsError> {
    must(control.len() >= 2 && treatment.len() >= 2, "the rows of an arm", "at least 2")?;
    must(alpha > 0.0 && alpha < 1.0, "alpha", "within (0, 1)")?;
    let all = || control.iter().chain(treatment);
    must(all().all(|(y, x)| y.is_finite() && x.is_finite()), "a row", "two finite numbers")?;
    let count = (control.len() + treatment.len()) as f64;
    let mean_x = all().map(|row| row.1).sum::<f64>() / count;
    let mean_y = all().map(|row| row.0).sum::<f64>() / count;
    let covariance: f64 = all().map(|(y, x)| (y - mean_y) * (x - mean_x)).sum();
    let variance: f64 = all().map(|(_, x)| (x - mean_x).powi(2)).sum();
    let theta = if variance > 0.0 { covariance / variance } else { 0.0 };
    let adjust = |(y, x): &Measured| y - theta * (x - mean_x);
    let ours = moments(treatment.iter().map(adjust));
    let theirs = moments(control.iter().map(adjust));
    let raw =
        moments(treatment.iter().map(|row| row.0)).1 + moments(control.iter().map(|row| row.0)).1;
    let (middle, variance) = (ours.0 - theirs.0, ours.1 + theirs.1);
    let deviation = variance.sqrt();
    let z = if deviation > 0.0 { middle / deviation } else { 0.0 };
    let reach = normal_quantile(1.0 - alpha / 2.0) * deviation;
    let difference =
        Difference { middle, low: middle - reach, high: middle + reach, z, p_value: two_sided(z) };
    let variance_reduction = if raw > 0.0 { 1.0 - variance / raw } else { 0.0 };
    Ok(Adjusted { difference, theta, variance_reduction })
}

/// The mean, and the variance of the mean.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    (mean, squares / (count - 1.0) / count)
}
