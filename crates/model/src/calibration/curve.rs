//! The curve: a monotone function of the log odds, piecewise linear between evenly spaced knots.
//!
//! Even spacing makes a lookup one multiplication and one step of interpolation, without a search.

use std::sync::Arc;

use super::isotonic::Step;
use super::platt::Line;
use super::{BINS, BINS_PER_LOGIT, LOGIT_MIN};
use crate::frame::{self, Label};
use crate::{StateError, sigmoid};

/// Knots of the curve, 1/16 apart from log odds of -12 on.
const KNOTS: usize = BINS;

const LABEL: Label = Label { magic: *b"RKCC", version: 1, name: "a calibration" };

/// Turns predicted log odds into calibrated ones; cheap to clone. Beyond its knots it goes on with
/// the slope 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Calibrated log odds at each knot, rising.
    knots: Arc<[f32]>,
}

impl Calibration {
    /// Changes nothing.
    pub fn identity() -> Self {
        Calibration { knots: (0..KNOTS).map(knot).collect() }
    }

    /// The probability of a click at these predicted log odds.
    pub fn probability(&self, logit: f32) -> f32 {
        sigmoid(self.logit(logit))
    }

    /// The calibrated log odds.
    pub fn logit(&self, logit: f32) -> f32 {
        let place = (logit - LOGIT_MIN) * BINS_PER_LOGIT;
        let inner = place.clamp(0.0, (KNOTS - 1) as f32);
        let left = (inner as usize).min(KNOTS - 2);
        let (low, high) = (self.knots[left], self.knots[left + 1]);
        low + (high - low) * (inner - left as f32) + (place - inner) / BINS_PER_LOGIT
    }

    /// The curve through pooled steps; outside of them it runs parallel to the line.
    pub(super) fn through(pools: &[Step], line: Line) -> Self {
        let value = |index: usize| through(pools, line, f64::from(knot(index))) as f32;
        Calibration { knots: (0..KNOTS).map(value).collect() }
    }

    /// Appends the durable form: the knots as `f32`, within a frame with a checksum.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::seal(out, LABEL, |out| {
            for knot in self.knots.iter() {
                out.extend_from_slice(&knot.to_le_bytes());
            }
        });
    }

    /// Reads the durable form back.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = frame::open(bytes, LABEL)?;
        let knots = (0..KNOTS).map(|_| reader.f32("knot")).collect::<Result<Arc<[f32]>, _>>()?;
        reader.end()?;
        if !knots.is_sorted() {
            return Err(StateError::Field("knot"));
        }
        Ok(Calibration { knots })
    }
}

/// The log odds at a knot.
fn knot(index: usize) -> f32 {
    LOGIT_MIN + index as f32 / BINS_PER_LOGIT
}

fn through(pools: &[Step], line: Line, logit: f64) -> f64 {
    let next = pools.partition_point(|pool| pool.logit < logit);
    let beyond = |pool: &Step| height(pool) + line.at(logit) - line.at(pool.logit);
    match (next.checked_sub(1).map(|last| &pools[last]), pools.get(next)) {
        (None, None) => line.at(logit),
        (Some(last), None) => beyond(last),
        (None, Some(first)) => beyond(first),
        (Some(left), Some(right)) => {
            let share = (logit - left.logit) / (right.logit - left.logit);
            height(left) + (height(right) - height(left)) * share
        }
    }
}

/// The log odds of a step's rate.
fn height(step: &Step) -> f64 {
    (step.rate / (1.0 - step.rate)).ln()
}
