//! Reads the training rows once, before learning: how each column's numbers lie, which keys are
//! frequent.
//!
//! Numbers are summed to their third powers, as they are and as logarithms: a column is skewed when
//! its third moment is large and the logarithm's is smaller. Keys are counted in a sketch (two hashed
//! counters each, the smaller counts), so memory is bounded however many there are; a key whose count
//! reaches the bound is frequent. The sketch may count too many, never too few.

use super::inputs::{Column, Inputs, signed_log};
use super::{Shape, TensorError};

/// What a survey counts as frequent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurveyOptions {
    /// A key seen so often has a row of its own; at most 255. 0: none has.
    pub seen_min: u8,
    /// At most so many keys have.
    pub head_max: usize,
    /// The sketch has `2^sketch_bits` counters of one byte, 10 to 30.
    pub sketch_bits: u32,
}

impl Default for SurveyOptions {
    fn default() -> Self {
        SurveyOptions { seen_min: 8, head_max: 4_000_000, sketch_bits: 24 }
    }
}

/// Looks at rows and ends as [`Inputs`].
pub struct Survey {
    shape: Shape,
    options: SurveyOptions,
    columns: Vec<(Moments, Moments)>,
    sketch: Vec<u8>,
    head: Vec<u64>,
}

/// Sums of powers.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    sums: [f64; 3],
}

impl Moments {
    fn add(&mut self, number: f64) {
        self.count += 1.0;
        for (sum, power) in self.sums.iter_mut().zip(1..) {
            *sum += number.powi(power);
        }
    }

    /// Mean, deviation, and the third moment by the deviation's third power.
    fn summary(&self) -> (f64, f64, f64) {
        let [first, second, third] = self.sums.map(|sum| sum / self.count.max(1.0));
        let variance = (second - first * first).max(0.0);
        // Below what rounding leaves, the column is constant.
        if variance <= second * 1e-12 {
            return (first, 0.0, 0.0);
        }
        let deviation = variance.sqrt();
        let skew = third - 3.0 * first * second + 2.0 * first.powi(3);
        (first, deviation, skew / deviation.powi(3))
    }
}

/// A column this skewed is taken as its logarithm.
const SKEW: f64 = 1.0;

fn column((plain, log): &(Moments, Moments)) -> Column {
    let (mut mean, mut deviation, skew) = plain.summary();
    let (log_mean, log_deviation, log_skew) = log.summary();
    let is_log = skew.abs() > SKEW && log_skew.abs() < skew.abs();
    if is_log {
        (mean, deviation) = (log_mean, log_deviation);
    }
    let scale = if deviation > 0.0 { (1.0 / deviation) as f32 } else { 0.0 };
    let scale = if scale.is_finite() { scale } else { 0.0 };
    Column { is_log, mean: mean as f32, scale }
}

impl Survey {
    /// A survey that has seen nothing. An error names the option out of its range.
    pub fn new(shape: &Shape, options: SurveyOptions) -> Result<Self, TensorError> {
        shape.check()?;
        let sketch = if options.seen_min == 0 { 0 } else { options.sketch_bits.clamp(10, 30) };
        Ok(Survey {
            shape: shape.clone(),
            options,
            columns: vec![Default::default(); shape.columns],
            sketch: vec![0; 1 << sketch],
            head: Vec::new(),
        })
    }

    /// Looks at rows; infinite numbers are passed over like missing ones.
    pub fn see(&mut self, numeric: &[f32], keys: &[u64]) {
        if self.shape.columns > 0 {
            for row in numeric.chunks_exact(self.shape.columns) {
                for (&number, (plain, log)) in row.iter().zip(&mut self.columns) {
                    if number.is_finite() {
                        plain.add(f64::from(number));
                        log.add(f64::from(signed_log(number)));
                    }
                }
            }
        }
        if self.options.seen_min > 0 {
            keys.iter().filter(|&&key| key != 0).for_each(|&key| self.count(key));
        }
    }

    fn count(&mut self, key: u64) {
        let mask = self.sketch.len() - 1;
        let hash = key.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let places = [(hash >> 32) as usize & mask, (hash ^ key.rotate_left(23)) as usize & mask];
        let count = places.iter().map(|&place| self.sketch[place]).min().unwrap_or(0);
        if count >= self.options.seen_min {
            return;
        }
        for place in places {
            if self.sketch[place] == count {
                self.sketch[place] += 1;
            }
        }
        let is_frequent = count + 1 == self.options.seen_min;
        if is_frequent && self.head.len() < self.options.head_max {
            self.head.push(key);
        }
    }

    /// What was measured.
    pub fn inputs(&self) -> Result<Inputs, TensorError> {
        let columns = self.columns.iter().map(column).collect();
        Inputs::new(&self.shape, columns, self.head.clone())
    }
}
