//! How far a distribution has moved: of a feature, or of the predictions.

use super::experiment::{StatisticsError, must};

/// Bins of equal mass, cut from what a number was when the model was trained; what is missing (NaN) has a
/// bin of its own, the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    /// The upper ends of all but the last bin of numbers, rising.
    edges: Vec<f64>,
}

impl Bins {
    /// At most `count` bins: fewer where many numbers are the same.
    pub fn of(values: &[f64], count: usize) -> Result<Self, StatisticsError> {
        must((2..=10_000).contains(&count), "the number of bins", "2 to 10000")?;
        let mut sorted: Vec<_> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        must(!sorted.is_empty(), "the values", "at least one number")?;
        sorted.sort_by(f64::total_cmp);
        let edge = |bin: usize| sorted[(bin * sorted.len() / count).max(1) - 1];
        let mut edges: Vec<_> = (1..count).map(edge).collect();
        edges.dedup();
        Ok(Bins { edges })
    }

    /// How many bins there are, with the one for what is missing.
    pub fn count(&self) -> usize {
        self.edges.len() + 2
    }

    /// How many values fall into each bin.
    pub fn counts(&self, values: &[f64]) -> Vec<u64> {
        let mut counts = vec![0; self.count()];
        for value in values {
            let bin = if value.is_nan() {
                self.edges.len() + 1
            } else {
                self.edges.partition_point(|edge| edge < value)
            };
            counts[bin] += 1;
        }
        counts
    }
}

/// The population stability index: the sum of `(p - q) ln(p / q)`. By custom below 0.1 nothing has moved and
/// above 0.25 much has. Each bin counts half a row more, so that an empty one is no infinity.
pub fn population_stability(before: &[u64], now: &[u64]) -> Result<f64, StatisticsError> {
    let (before, now) = shares(before, now)?;
    Ok(before.iter().zip(&now).map(|(q, p)| (p - q) * (p / q).ln()).sum())
}

/// What it costs to take what is now for what was before, in nats: the sum of `p ln(p / q)`, with half a row
/// more in each bin.
pub fn kullback_leibler(now: &[u64], before: &[u64]) -> Result<f64, StatisticsError> {
    let (before, now) = shares(before, now)?;
    Ok(before.iter().zip(&now).map(|(q, p)| p * (p / q).ln()).sum())
}

fn shares(before: &[u64], now: &[u64]) -> Result<(Vec<f64>, Vec<f64>), StatisticsError> {
    must(!before.is_empty() && before.len() == now.len(), "the bins", "the same on both sides")?;
    let shares = |counts: &[u64]| -> Vec<f64> {
        let all: f64 = counts.iter().map(|&count| count as f64 + 0.5).sum();
        counts.iter().map(|&count| (count as f64 + 0.5) / all).collect()
    };
    Ok((shares(before), shares(now)))
}
