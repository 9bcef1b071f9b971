//! The mathematics: linear models, calibration, bandits, statistics. No I/O, no clock, no threads.
//!
//! A probability of a click comes about in this order: [`Weights`] give the log odds of a row and how
//! sure they are, [`Calibration`] turns log odds into the probability that was really seen at such
//! log odds, [`bandit`] chooses among candidates so that the unsure ones are tried too, and [`Judge`]
//! says afterwards how good the probabilities were. [`Linear`] and [`Calibrator`] are the learning
//! halves: each has one writer, which publishes immutable values for any number of readers.
//!
//! A click comes late: the row was shown, learned as not clicked, and then is clicked after all. So
//! whatever learns here takes the two halves apart: once for the row that was shown, once for its
//! click.

pub mod bandit;
pub mod calibration;
pub mod dcn;
mod decay;
pub mod factor;
mod frame;
mod judge;
mod linear;
mod odds;
pub mod off_policy;
mod random;
pub mod statistics;
pub mod trees;

pub use calibration::{Calibration, Calibrator, CalibratorOptions};
pub use frame::StateError;
pub use judge::{Judge, Judgement};
pub use linear::{Linear, LinearOptions, OptionError, Partial, Weights};
pub use odds::{log_odds, sigmoid};
pub use random::Random;
pub use statistics::{
    Interval, auc, auc_difference, calibration_ratio, expected_calibration_error, log_loss,
};
