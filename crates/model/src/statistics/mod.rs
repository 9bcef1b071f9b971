//! How good probabilities were, and whether a difference is more than chance.
//!
//! Labels are whether a row was clicked. Everything here takes whole slices; [`crate::Judge`] keeps
//! the same figures of a stream.
//!
//! Beside them stands what experiments need ([`two_proportions`], [`always_valid`], [`sample_size`],
//! [`sample_ratio`], [`cuped`]), what tells that a distribution moved ([`population_stability`],
//! [`kullback_leibler`]) and that two orders agree ([`kendall_tau`]).

mod distribution;
mod drift;
mod experiment;
mod rank;
mod sequential;

pub use distribution::{
    chi_squared_above, chi_squared_quantile, normal_cdf, normal_quantile, student_cdf,
    student_quantile,
};
pub use drift::{Bins, kullback_leibler, population_stability};
pub use experiment::{
    Adjusted, Difference, Measured, Proportion, RatioMismatch, StatisticsError, cuped,
    sample_ratio, sample_size, two_proportions,
};
pub use rank::kendall_tau;
pub use sequential::{AlwaysValid, always_valid, always_valid_mean};

use crate::Random;
use crate::odds::softplus;

/// The probability that a clicked row has a higher score than one that was not clicked, ties counting
/// half (the Mann-Whitney statistic). `None` where one of the two kinds is missing.
pub fn auc(scores: &[f32], labels: &[bool]) -> Option<f64> {
    let order = Ranking::of(scores);
    order.auc(labels, |_| 1)
}

/// The mean log loss of predicted log odds; 0 of no rows.
pub fn log_loss(logits: &[f32], labels: &[bool]) -> f64 {
    check_lengths(logits, labels);
    let loss = |(&logit, &label): (&f32, &bool)| {
        let logit = f64::from(logit);
        softplus(if label { -logit } else { logit })
    };
    logits.iter().zip(labels).map(loss).sum::<f64>() / logits.len().max(1) as f64
}

/// Predicted clicks over clicks; `None` without clicks. Above 1 the predictions were too high.
pub fn calibration_ratio(probabilities: &[f32], labels: &[bool]) -> Option<f64> {
    check_lengths(probabilities, labels);
    let clicks = labels.iter().filter(|&&label| label).count();
    let predicted: f64 = probabilities.iter().map(|&p| f64::from(p)).sum();
    (clicks > 0).then(|| predicted / clicks as f64)
}

/// The mean distance of predicted and real click rates over `bins` bins of equal mass, each weighted
/// by its rows (ECE). Rows are cut where the order is, so equal scores may fall into two bins.
pub fn expected_calibration_error(probabilities: &[f32], labels: &[bool], bins: usize) -> f64 {
    check_lengths(probabilities, labels);
    assert!(bins > 0, "at least one bin");
    let order = Ranking::of(probabilities).order;
    let bin = order.len().div_ceil(bins).max(1);
    let distance = |rows: &[u32]| {
        let predicted: f64 = rows.iter().map(|&row| f64::from(probabilities[row as usize])).sum();
        let clicks = rows.iter().filter(|&&row| labels[row as usize]).count();
        (predicted - clicks as f64).abs()
    };
    order.chunks(bin).map(distance).sum::<f64>() / order.len().max(1) as f64
}

/// A figure and the interval that 95 of 100 resamples of the same rows fall into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// 2.5 of 100 resamples are below it.
    pub low: f64,
    /// The figure of the rows as they are.
    pub middle: f64,
    /// 2.5 of 100 resamples are above it.
    pub high: f64,
}

/// `auc(ours) - auc(theirs)` on the same rows, with its bootstrap interval. Each resample draws rows
/// with replacement and judges both on the same draw, so what is hard in a row is hard for both and
/// cancels. `None` where there are no clicks, or nothing but clicks.
pub fn auc_difference(
    ours: &[f32],
    theirs: &[f32],
    labels: &[bool],
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    assert!(resamples > 0, "at least one resample");
    let (ours, theirs) = (Ranking::of(ours), Ranking::of(theirs));
    let difference = |counts: &[u32]| {
        let count = |row: usize| u64::from(counts[row]);
        Some(ours.auc(labels, count)? - theirs.auc(labels, count)?)
    };
    let mut counts = vec![1; labels.len()];
    let middle = difference(&counts)?;
    let mut random = Random::new(seed);
    let mut differences = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        resample(&mut counts, &mut random);
        differences.extend(difference(&counts));
    }
    differences.sort_by(f64::total_cmp);
    let at = |share: f64| differences.get((share * differences.len() as f64) as usize).copied();
    Some(Interval { low: at(0.025)?, middle, high: at(0.975)? })
}

/// How often each row is in one draw of as many rows with replacement.
fn resample(counts: &mut [u32], random: &mut Random) {
    counts.fill(0);
    for _ in 0..counts.len() {
        counts[random.below(counts.len() as u64) as usize] += 1;
    }
}

/// Rows by score, and where the score changes: sorted once, judged under any weights.
struct Ranking {
    /// Rows, lowest score first.
    order: Vec<u32>,
    /// The end of each run of equal scores within `order`.
    ends: Vec<u32>,
}

impl Ranking {
    fn of(scores: &[f32]) -> Self {
        let count = u32::try_from(scores.len()).expect("at most 2^32 rows are judged at once");
        let mut order: Vec<u32> = (0..count).collect();
        let score = |row: u32| scores[row as usize];
        order.sort_unstable_by(|&a, &b| score(a).total_cmp(&score(b)).then(a.cmp(&b)));
        let is_end = |place: &u32| {
            let next = order.get(*place as usize);
            next.is_none_or(|&next| score(next) != score(order[*place as usize - 1]))
        };
        let ends = (1..=count).filter(is_end).collect();
        Ranking { order, ends }
    }

    /// The statistic with each row counted as often as `count` says.
    fn auc(&self, labels: &[bool], count: impl Fn(usize) -> u64) -> Option<f64> {
        assert_eq!(self.order.len(), labels.len(), "one label a score");
        // Twice the pairs in which the clicked row is higher, so that a tie is a whole number.
        let (mut pairs, mut misses_below, mut clicks) = (0u128, 0u64, 0u64);
        let mut start = 0;
        for &end in &self.ends {
            let mut of_run = [0u64; 2];
            for &row in &self.order[start..end as usize] {
                of_run[usize::from(labels[row as usize])] += count(row as usize);
            }
            let [misses, hits] = of_run;
            pairs += u128::from(hits) * u128::from(2 * misses_below + misses);
            misses_below += misses;
            clicks += hits;
            start = end as usize;
        }
        let all = 2.0 * clicks as f64 * misses_below as f64;
        (all > 0.0).then(|| pairs as f64 / all)
    }
}

fn check_lengths(predictions: &[f32], labels: &[bool]) {
    assert_eq!(predictions.len(), labels.len(), "one label a prediction");
}

#[cfg(test)]
mod experiment_tests;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigmoid;

    /// Pair by pair.
    fn naive_auc(scores: &[f32], labels: &[bool]) -> f64 {
        let (mut sum, mut pairs) = (0.0, 0.0);
        for (hit, _) in scores.iter().zip(labels).filter(|(_, label)| **label) {
            for (miss, _) in scores.iter().zip(labels).filter(|(_, label)| !**label) {
                pairs += 1.0;
                sum += if hit > miss { 1.0 } else { f64::from(u8::from(hit == miss)) * 0.5 };
            }
        }
        sum / pairs
    }

    #[test]
    fn auc_counts_pairs_and_ties() {
        let mut random = Random::new(1);
        for size in [2usize, 3, 10, 200] {
            for _ in 0..20 {
                let mut labels: Vec<_> = (0..size).map(|_| random.below(3) == 0).collect();
                (labels[0], labels[1]) = (true, false);
                let scores: Vec<_> = (0..size).map(|_| random.below(20) as f32).collect();
                let seen = auc(&scores, &labels).expect("both kinds");
                assert!((seen - naive_auc(&scores, &labels)).abs() < 1e-12);
            }
        }
        assert_eq!(auc(&[1.0, 2.0], &[true, true]), None);
        assert_eq!(auc(&[], &[]), None);
        assert_eq!(auc(&[-0.0, 0.0], &[true, false]), Some(0.5));
    }

    /// Rows whose labels follow their probabilities.
    fn stream(rows: usize, seed: u64) -> (Vec<f32>, Vec<bool>) {
        let mut random = Random::new(seed);
        let logits: Vec<f32> = (0..rows).map(|_| random.normal() - 2.0).collect();
        let labels =
            logits.iter().map(|&logit| random.uniform() < f64::from(sigmoid(logit))).collect();
        (logits, labels)
    }

    #[test]
    fn the_truth_is_calibrated_and_a_shift_is_not() {
        let (logits, labels) = stream(200_000, 4);
        let truth: Vec<_> = logits.iter().map(|&logit| sigmoid(logit)).collect();
        let ratio = calibration_ratio(&truth, &labels).expect("clicks");
        assert!((ratio - 1.0).abs() < 0.02, "{ratio}");
        assert!(expected_calibration_error(&truth, &labels, 20) < 0.004);
        let doubled: Vec<_> = truth.iter().map(|p| p * 2.0).collect();
        let mean = labels.iter().filter(|&&label| label).count() as f64 / 200_000.0;
        let error = expected_calibration_error(&doubled, &labels, 20);
        assert!((error / mean - 1.0).abs() < 0.03, "{error}: all of it is one click rate off");
        assert_eq!(calibration_ratio(&[0.5], &[false]), None);
    }

    #[test]
    fn log_loss_is_least_at_the_truth() {
        let (logits, labels) = stream(50_000, 5);
        let truth = log_loss(&logits, &labels);
        for shift in [-0.2, 0.2] {
            let shifted: Vec<_> = logits.iter().map(|logit| logit + shift).collect();
            assert!(log_loss(&shifted, &labels) > truth);
        }
        let even = log_loss(&[0.0, 0.0], &[true, false]);
        assert!((even - std::f64::consts::LN_2).abs() < 1e-12);
        assert_eq!(log_loss(&[1000.0], &[false]), 1000.0);
    }

    #[test]
    fn the_interval_tells_a_difference_from_none() {
        let (logits, labels) = stream(5_000, 6);
        let mut random = Random::new(7);
        let mut noisy = |noise: f32| -> Vec<f32> {
            logits.iter().map(|logit| logit + noise * random.normal()).collect()
        };
        let (one, other, worse) = (noisy(0.5), noisy(0.5), noisy(2.0));
        let none = auc_difference(&one, &other, &labels, 300, 1).expect("both kinds");
        assert!(none.low < 0.0 && none.high > 0.0, "{none:?}");
        let real = auc_difference(&one, &worse, &labels, 300, 1).expect("both kinds");
        assert!(real.low > 0.0 && real.low < real.middle && real.middle < real.high, "{real:?}");
        assert_eq!(auc_difference(&one, &worse, &labels, 300, 1), Some(real));
        assert_eq!(auc_difference(&[1.0], &[1.0], &[true], 10, 1), None);
    }

    #[test]
    fn the_interval_covers_the_real_difference() {
        // The real difference is that of very many rows; of 60 samples, nearly all must cover it.
        let scores = |rows, seed| {
            let (logits, labels) = stream(rows, seed);
            let mut random = Random::new(seed + 1_000);
            let worse: Vec<f32> = logits.iter().map(|logit| logit + random.normal()).collect();
            (logits, worse, labels)
        };
        let (logits, worse, labels) = scores(400_000, 1);
        let truth = auc_difference(&logits, &worse, &labels, 1, 1).expect("both kinds").middle;
        let covers = |seed: &u64| {
            let (logits, worse, labels) = scores(1_000, 2 + seed);
            let seen = auc_difference(&logits, &worse, &labels, 200, 1).expect("both kinds");
            seen.low <= truth && truth <= seen.high
        };
        let covered = (0..60).filter(covers).count();
        assert!((52..=60).contains(&covered), "{covered} of 60 intervals cover {truth}");
    }
}
