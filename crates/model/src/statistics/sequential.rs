//! Intervals that may be looked at all the time.
//!
//! Who looks at a usual interval each hour, and stops when it leaves 0 out, is wrong far more often than it
//! says. These are the mixture sequential probability ratio test with a normal mixture (mSPRT; Johari,
//! Pekelis and Walsh 2017), whose interval is the normal-mixture confidence sequence of Howard, Ramdas,
//! McAuliffe and Sekhon (2021): with the chance `1 - alpha` it covers the truth at all looks together. The
//! price is width: about half again as wide at the rows it is tuned for.
//!
//! It takes means for normal ones with the variance that was seen, so do not look before each arm has some
//! tens of clicks.

use super::experiment::{Proportion, StatisticsError, must};

/// An interval that holds at every look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlwaysValid {
    /// The treatment's rate less the control's.
    pub middle: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The chance that any look ever shows as much, if there is no difference. The least of all looks so
    /// far holds as well.
    pub p_value: f64,
}

/// The always-valid interval of a difference of click rates. `scale` is the deviation of the normal mixture:
/// how large differences usually are. The width is least for differences near it, and holds for all.
pub fn always_valid(
    control: Proportion,
    treatment: Proportion,
    scale: f64,
    alpha: f64,
) -> Result<AlwaysValid, StatisticsError> {
    control.check()?;
    treatment.check()?;
    let middle = treatment.rate() - control.rate();
    always_valid_mean(middle, control.variance() + treatment.variance(), scale, alpha)
}

/// The same of any mean or difference, with the variance of that estimate (not of one row).
pub fn always_valid_mean(
    middle: f64,
    variance: f64,
    scale: f64,
    alpha: f64,
) -> Result<AlwaysValid, StatisticsError> {
    must(middle.is_finite(), "the estimate", "finite")?;
    must(variance > 0.0 && variance.is_finite(), "the variance", {
        "above 0: wait until both kinds of rows were seen"
    })?;
    must(scale > 0.0 && scale.is_finite(), "the scale", "above 0")?;
    must(alpha > 0.0 && alpha < 1.0, "alpha", "within (0, 1)")?;
    let mixture = scale * scale;
    let spread = variance + mixture;
    let log_widening = (spread / variance).ln();
    let reach = (variance * spread / mixture * (log_widening - 2.0 * alpha.ln())).sqrt();
    let log_ratio = 0.5 * (mixture * middle * middle / (variance * spread) - log_widening);
    let p_value = (-log_ratio).exp().min(1.0);
    Ok(AlwaysValid { middle, low: middle - reach, high: middle + reach, p_value })
}
