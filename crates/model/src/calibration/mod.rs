//! Turns log odds into the probability that was really seen at such log odds.
//!
//! A model that ranks well may still be wrong in scale, and money is paid by scale. [`Calibrator`]
//! counts impressions and clicks in narrow bins of the predicted log odds; [`Calibration`] is the
//! monotone curve through them, so that it changes probabilities but never an order.
//!
//! The curve is made in three steps, so that little data moves it little:
//!
//! 1. Platt's line (shift and slope in log odds) through all bins, held towards the identity.
//! 2. Each bin's click rate, held towards that line by as many impressions as make its log odds
//!    uncertain by [`CalibratorOptions::deviation`].
//! 3. Isotonic regression of these rates (pool adjacent violators), joined by straight lines.

mod batch;
mod batch_state;
mod curve;
mod isotonic;
mod platt;

use crate::StateError;
use crate::decay::Decay;
use crate::frame::{self, Label};

pub use batch::{
    CalibrationError, Curve, Isotonic, KNOTS_MAX, Observation, Platt, SegmentOptions, Segmented,
    sampling_correction,
};
pub use curve::Calibration;

const BINS: usize = 256;
const BINS_PER_LOGIT: f32 = 16.0;
/// Lower log odds fall into the first bin; those above 4 into the last.
const LOGIT_MIN: f32 = -12.0;

const LABEL: Label = Label { magic: *b"RKCA", version: 1, name: "a calibrator's state" };

/// How a [`Calibrator`] learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibratorOptions {
    /// After this many impressions what was seen counts half.
    pub half_life: f64,
    /// How far a bin is thought to lie off Platt's line before anything was seen: a standard
    /// deviation in log odds, above 0.
    pub deviation: f64,
}

impl Default for CalibratorOptions {
    fn default() -> Self {
        CalibratorOptions { half_life: 1_000_000.0, deviation: 0.1 }
    }
}

/// Learns a calibration online.
///
/// Impressions and clicks fade alike, each from when it came. So a curve fitted while both run evenly
/// is right, although the latest impressions still wait for their clicks.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrator {
    decay: Decay,
    deviation: f64,
    bins: Vec<Bin>,
}

/// What was seen at some log odds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bin {
    impressions: f64,
    clicks: f64,
    /// Sum of the impressions' log odds.
    logits: f64,
}

impl Calibrator {
    /// A calibrator that has seen nothing.
    ///
    /// # Panics
    /// Where an option is not above 0.
    pub fn new(options: CalibratorOptions) -> Self {
        assert!(options.deviation > 0.0, "a calibrator's deviation is above 0");
        Calibrator {
            decay: Decay::new(options.half_life),
            deviation: options.deviation,
            bins: vec![Bin::default(); BINS],
        }
    }

    /// An impression with these predicted log odds; `weight` is how many it stands for.
    pub fn observe(&mut self, logit: f32, weight: f32) {
        let weight = f64::from(weight);
        let shrink = self.decay.pass(weight);
        if shrink != 1.0 {
            self.bins.iter_mut().for_each(|bin| bin.shrink(shrink));
        }
        let amount = weight * self.decay.unit();
        let bin = &mut self.bins[index(logit)];
        bin.impressions += amount;
        bin.logits += amount * f64::from(logit);
    }

    /// The click of an earlier impression, with the log odds predicted for that.
    pub fn click(&mut self, logit: f32, weight: f32) {
        self.bins[index(logit)].clicks += f64::from(weight) * self.decay.unit();
    }

    /// Impressions in sight, faded.
    pub fn impressions(&self) -> f64 {
        self.bins.iter().map(|bin| bin.impressions).sum::<f64>() / self.decay.unit()
    }

    /// The curve of what was seen so far.
    pub fn fit(&self) -> Calibration {
        let points = self.points();
        let line = platt::fit(&points);
        let held = points.iter().map(|point| isotonic::Step::held(point, line, self.deviation));
        Calibration::through(&isotonic::pool(held), line)
    }

    /// The bins that have seen something, by rising log odds.
    fn points(&self) -> Vec<Point> {
        let unit = self.decay.unit();
        let point = |bin: &Bin| {
            (bin.impressions > 0.0).then(|| Point {
                logit: bin.logits / bin.impressions,
                impressions: bin.impressions / unit,
                clicks: bin.clicks.min(bin.impressions) / unit,
            })
        };
        self.bins.iter().filter_map(point).collect()
    }

    /// Appends the durable form: half-life, unit, deviation, then each bin's three sums, all `f64`,
    /// within a frame with a checksum.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let head = [self.decay.half_life(), self.decay.unit(), self.deviation];
        let bins = self.bins.iter().flat_map(|bin| [bin.impressions, bin.clicks, bin.logits]);
        frame::seal(out, LABEL, |out| {
            for number in head.into_iter().chain(bins) {
                out.extend_from_slice(&number.to_le_bytes());
            }
        });
    }

    /// Reads the durable form back.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = frame::open(bytes, LABEL)?;
        let (half_life, unit) = (reader.f64("half-life")?, reader.f64("unit")?);
        let decay = Decay::resume(half_life, unit).ok_or(StateError::Field("unit"))?;
        let deviation = reader.f64("deviation")?;
        if deviation <= 0.0 {
            return Err(StateError::Field("deviation"));
        }
        let mut bins = vec![Bin::default(); BINS];
        for bin in &mut bins {
            bin.impressions = reader.f64("impressions")?;
            bin.clicks = reader.f64("clicks")?;
            bin.logits = reader.f64("logits")?;
        }
        reader.end()?;
        Ok(Calibrator { decay, deviation, bins })
    }
}

impl Bin {
    fn shrink(&mut self, factor: f64) {
        self.impressions *= factor;
        self.clicks *= factor;
        self.logits *= factor;
    }
}

/// What was seen in one bin.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// The mean of the predicted log odds.
    logit: f64,
    impressions: f64,
    clicks: f64,
}

fn index(logit: f32) -> usize {
    (((logit - LOGIT_MIN) * BINS_PER_LOGIT).max(0.0) as usize).min(BINS - 1)
}

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod tests;
