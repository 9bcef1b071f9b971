//! The mathematics: linear models, calibration, bandits, statistics. No I/O, no clock, no threads.
