//! Turns rows that were served into a model: data set, fit, calibrate, judge. Batch only.

pub mod lake;
