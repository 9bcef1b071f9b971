//! Policies on a market whose truth is known. What obp makes of the same rows stands in
//! `tests/peers_disagree.rs`.

use super::*;

const ADS: usize = 4;
/// The click rate of each ad, in each of two contexts.
const RATES: [[f64; ADS]; 2] = [[0.3, 0.1, 0.2, 0.05], [0.05, 0.25, 0.1, 0.2]];
const SERVED: [f64; ADS] = [0.4, 0.3, 0.2, 0.1];
const TARGET: [[f64; ADS]; 2] = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.1, 0.6]];

fn truth() -> f64 {
    let of = |context: usize| {
        RATES[context].iter().zip(TARGET[context]).map(|(a, b)| a * b).sum::<f64>()
    };
    (of(0) + of(1)) / 2.0
}

/// A log; the model is off by `error` everywhere.
fn log(rows: usize, served: &[f64; ADS], error: f64, seed: u64) -> Vec<Logged> {
    let mut random = Random::new(seed);
    let row = |_| {
        let context = random.below(2) as usize;
        let mut left = random.uniform();
        let past = |chance: &&f64| {
            left -= **chance;
            left >= 0.0
        };
        let ad = served.iter().take_while(past).count().min(ADS - 1);
        let click = random.uniform() < RATES[context][ad];
        let model = |ad: usize| RATES[context][ad] + error;
        let expected = (0..ADS).map(|ad| TARGET[context][ad] * model(ad)).sum();
        Logged {
            reward: f64::from(u8::from(click)),
            propensity: served[ad],
            target: TARGET[context][ad],
            predicted: model(ad),
            expected,
        }
    };
    (0..rows).map(row).collect()
}

fn all() -> [Estimator; 5] {
    [
        Estimator::Weighted { clip: f64::INFINITY },
        Estimator::SelfNormalized,
        Estimator::Direct,
        Estimator::DoublyRobust,
        Estimator::Switch { bound: 100.0 },
    ]
}

#[test]
fn all_find_the_truth_and_the_model_alone_its_own_error() {
    let options = OffPolicyOptions { resamples: 50, ..OffPolicyOptions::default() };
    for error in [0.0, 0.2] {
        let log = log(100_000, &SERVED, error, 1);
        for estimator in all() {
            let seen = estimate(&log, estimator, &options).expect("support").value.middle;
            let bias = if estimator == Estimator::Direct { error } else { 0.0 };
            assert!(
                (seen - truth() - bias).abs() < 0.01,
                "{estimator:?} {error}: {seen} {}",
                truth()
            );
        }
    }
}

#[test]
fn intervals_cover_the_truth() {
    let options = OffPolicyOptions { resamples: 200, ..OffPolicyOptions::default() };
    let mut covered = [0; 5];
    for seed in 0..60 {
        let log = log(1_500, &SERVED, 0.0, 10 + seed);
        for (estimator, covered) in all().into_iter().zip(&mut covered) {
            let Interval { low, high, .. } =
                estimate(&log, estimator, &options).expect("support").value;
            *covered += usize::from(low <= truth() && truth() <= high);
        }
    }
    assert!(covered.iter().all(|covered| (52..=60).contains(covered)), "{covered:?} of 60");
}

#[test]
fn a_shift_of_all_rewards_shifts_what_is_normalized_by_as_much() {
    let options = OffPolicyOptions { resamples: 1, ..OffPolicyOptions::default() };
    let log = log(2_000, &SERVED, 0.0, 2);
    let shifted: Vec<_> =
        log.iter().map(|row| Logged { reward: row.reward + 5.0, ..*row }).collect();
    let value = |log: &[Logged], estimator| {
        estimate(log, estimator, &options).expect("support").value.middle
    };
    let shift = |estimator| value(&shifted, estimator) - value(&log, estimator);
    assert!((shift(Estimator::SelfNormalized) - 5.0).abs() < 1e-9);
    assert!((shift(Estimator::Weighted { clip: f64::INFINITY }) - 5.0).abs() > 1e-3);
    // A policy held against itself is its own mean.
    let same: Vec<_> = log.iter().map(|row| Logged { target: row.propensity, ..*row }).collect();
    let mean = log.iter().map(|row| row.reward).sum::<f64>() / log.len() as f64;
    for estimator in [Estimator::SelfNormalized, Estimator::Weighted { clip: 1.0 }] {
        assert!((value(&same, estimator) - mean).abs() < 1e-12);
    }
    let none = Estimator::Switch { bound: 0.0 };
    let model = value(&log, Estimator::Direct);
    let switched: Vec<_> = log.iter().filter(|row| row.target > 0.0).copied().collect();
    assert!((value(&switched, none) - model).abs() < 1e-12, "no weight is left, only the model");
}

#[test]
fn a_log_without_support_is_refused() {
    let options = OffPolicyOptions { resamples: 1, ..OffPolicyOptions::default() };
    // The fourth ad, which the target shows most in one context, was never served.
    let log_without = log(20_000, &[0.5, 0.3, 0.2, 0.0], 0.0, 3);
    for estimator in all() {
        match estimate(&log_without, estimator, &options) {
            Ok(_) => assert_eq!(estimator, Estimator::Direct),
            Err(OffPolicyError::Support { mean_weight }) => {
                assert!((mean_weight - 0.65).abs() < 0.02, "{mean_weight}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let few = estimate(&log(40, &SERVED, 0.0, 4), Estimator::SelfNormalized, &options);
    let error = few.expect_err("too few");
    assert!(error.to_string().contains("longer span"), "{error}");
    let mut broken = log(1_000, &SERVED, 0.0, 5);
    broken[7].propensity = 0.0;
    let error = estimate(&broken, Estimator::Direct, &options).expect_err("no chance");
    assert!(error.to_string().starts_with("row 7: propensity must be within (0, 1]"), "{error}");
    assert_eq!(estimate(&[], Estimator::Direct, &options), Err(OffPolicyError::Empty));
}
