//! Figures that differ from those of everyone else's tools.
//!
//! A test, an interval or an estimate that is wrong in its fourth digit looks like one that is right. So each
//! is held against scikit-learn, scipy, statsmodels or obp on the very same numbers: `fixtures/peers.py` makes
//! them, `fixtures/peers.txt` keeps them, and each test says how many it compared.

use std::collections::HashMap;

use reckon_model::calibration::{Isotonic, Observation, Platt};
use reckon_model::off_policy::{Estimator, Logged, OffPolicyOptions, estimate};
use reckon_model::statistics::{
    Proportion, always_valid_mean, chi_squared_above, chi_squared_quantile, cuped, kendall_tau,
    kullback_leibler, normal_cdf, normal_quantile, population_stability, sample_ratio, sample_size,
    student_cdf, student_quantile, two_proportions,
};
use reckon_model::{auc, expected_calibration_error, log_loss, sigmoid};

/// The lists of the fixture, and how many numbers were compared.
struct Peers {
    lists: HashMap<&'static str, Vec<f64>>,
    compared: usize,
}

impl Peers {
    fn read() -> Self {
        let line = |line: &'static str| {
            let (name, numbers) = line.split_once(' ').expect("a name and numbers");
            let numbers = numbers.split(' ').map(|number| number.parse().expect("a number"));
            (name, numbers.collect())
        };
        let lists = include_str!("fixtures/peers.txt").lines().map(line).collect();
        Peers { lists, compared: 0 }
    }

    fn list(&self, name: &str) -> Vec<f64> {
        self.lists.get(name).unwrap_or_else(|| panic!("the fixture has {name}")).clone()
    }

    fn singles(&self, name: &str) -> Vec<f32> {
        self.list(name).iter().map(|&number| number as f32).collect()
    }

    fn flags(&self, name: &str) -> Vec<bool> {
        self.list(name).iter().map(|&number| number == 1.0).collect()
    }

    fn counts(&self, name: &str) -> Vec<u64> {
        self.list(name).iter().map(|&number| number as u64).collect()
    }

    /// Ours and theirs, apart by at most `tolerance` of a large number or of 1.
    fn hold(&mut self, name: &str, ours: &[f64], tolerance: f64) {
        let theirs = self.list(name);
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (index, (our, their)) in ours.iter().zip(&theirs).enumerate() {
            let distance = (our - their).abs() / their.abs().max(1.0);
            assert!(distance <= tolerance, "{name} {index}: {our}, peer {their}");
            self.compared += 1;
        }
    }
}

#[test]
fn distributions_are_those_of_scipy() {
    let mut peers = Peers::read();
    let (chances, points) = (peers.list("chances"), peers.list("points"));
    let freedoms = peers.list("freedoms");
    let each = |arguments: &[f64], work: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        let of =
            |freedom: &f64| arguments.iter().map(|&argument| work(argument, *freedom)).collect();
        freedoms.iter().flat_map(|freedom| -> Vec<f64> { of(freedom) }).collect()
    };
    let all = |arguments: &[f64], work: &dyn Fn(f64) -> f64| -> Vec<f64> {
        arguments.iter().map(|&argument| work(argument)).collect()
    };
    peers.hold("normal_quantile", &all(&chances, &normal_quantile), 1e-9);
    peers.hold("normal_cdf", &all(&points, &normal_cdf), 1e-12);
    peers.hold("student_quantile", &each(&chances, &student_quantile), 1e-8);
    peers.hold("student_cdf", &each(&points, &student_cdf), 1e-11);
    peers.hold("chi_quantile", &each(&chances, &chi_squared_quantile), 1e-7);
    let above = |x: f64, freedom: f64| chi_squared_above(x.abs() * 5.0, freedom);
    peers.hold("chi_above", &each(&points, &above), 1e-11);
    assert_eq!(peers.compared, 220);
}

#[test]
fn experiments_are_those_of_statsmodels_and_scipy() {
    let mut peers = Peers::read();
    let arm = |clicks: f64, rows: f64| Proportion { clicks: clicks as u64, rows: rows as u64 };
    let test = |arms: &[f64]| {
        let (control, treatment) = (arm(arms[0], arms[1]), arm(arms[2], arms[3]));
        let seen = two_proportions(control, treatment, 0.05).expect("two arms");
        [seen.z, seen.p_value, seen.low, seen.high]
    };
    let tests: Vec<_> = peers.list("arms").chunks(4).flat_map(test).collect();
    peers.hold("two_proportions", &tests, 1e-10);
    let size = |plan: &[f64]| sample_size(plan[0], plan[1], plan[2], plan[3]).expect("a plan");
    let sizes: Vec<_> = peers.list("plans").chunks(4).map(size).collect();
    peers.hold("sample_size", &sizes, 1e-9);
    for index in 0..4 {
        let rows = peers.counts(&format!("ratio_rows_{index}"));
        let shares = peers.list(&format!("ratio_shares_{index}"));
        let seen = sample_ratio(&rows, &shares).expect("arms");
        peers.hold(&format!("ratio_{index}"), &[seen.chi_squared, seen.p_value], 1e-10);
    }
    let rows: Vec<_> = peers.list("cuped_y").into_iter().zip(peers.list("cuped_x")).collect();
    let seen = cuped(&rows[..200], &rows[200..], 0.05).expect("two arms");
    let ours = [seen.theta, seen.difference.middle, seen.difference.z, seen.variance_reduction];
    peers.hold("cuped", &ours, 1e-9);
    assert_eq!(peers.compared, 16 + 4 + 8 + 4);
}

#[test]
fn the_mixture_is_what_integration_finds() {
    let mut peers = Peers::read();
    let p_value = |case: &[f64]| {
        always_valid_mean(case[0], case[1], case[2], 0.05).expect("an estimate").p_value
    };
    let ours: Vec<_> = peers.list("mixtures").chunks(3).map(p_value).collect();
    peers.hold("mixture_p", &ours, 1e-8);
    assert_eq!(peers.compared, 4);
}

#[test]
fn drift_and_ranks_are_those_of_scipy() {
    let mut peers = Peers::read();
    let (before, now) = (peers.counts("before"), peers.counts("now"));
    peers.hold("kl", &[kullback_leibler(&now, &before).expect("bins")], 1e-12);
    peers.hold("psi", &[population_stability(&before, &now).expect("bins")], 1e-12);
    for index in 0..4 {
        let list = |side: &str| peers.list(&format!("tau_{side}_{index}"));
        let tau = kendall_tau(&list("x"), &list("y")).expect("no side is all ties");
        peers.hold(&format!("tau_{index}"), &[tau], 1e-12);
    }
    assert_eq!(peers.compared, 6);
}

#[test]
fn calibrations_are_those_of_scikit_learn() {
    let mut peers = Peers::read();
    let (logits, labels) = (peers.singles("logits"), peers.flags("labels"));
    let (weights, asked) = (peers.singles("weights"), peers.singles("asked"));
    let rows = logits.iter().zip(&labels).zip(&weights);
    let weighted: Vec<_> =
        rows.map(|((&logit, &label), &weight)| Observation { logit, label, weight }).collect();
    let alike: Vec<_> = weighted.iter().map(|row| Observation { weight: 1.0, ..*row }).collect();
    let curve = Isotonic::fit(&weighted).expect("a curve");
    let of = |probability: &dyn Fn(f32) -> f32| -> Vec<f64> {
        asked.iter().map(|&logit| f64::from(probability(logit))).collect()
    };
    // Never and always are held a millionth away.
    peers.hold("isotonic", &of(&|logit| curve.probability(logit)), 2e-6);
    // scikit-learn ends its search where the gradient is below 1e-5 of the sum.
    for (name, rows) in [("platt", &alike), ("platt_weighted", &weighted)] {
        let line = Platt::fit(rows).expect("a line");
        peers.hold(name, &of(&|logit| line.probability(logit)), 1e-4);
    }
    let probabilities: Vec<_> = logits.iter().map(|&logit| sigmoid(logit)).collect();
    peers.hold("auc", &[auc(&logits, &labels).expect("both kinds")], 1e-12);
    peers.hold("log_loss", &[log_loss(&logits, &labels)], 1e-9);
    peers.hold("ece", &[expected_calibration_error(&probabilities, &labels, 10)], 1e-6);
    assert_eq!(peers.compared, 306);
}

#[test]
fn estimates_are_those_of_obp() {
    let mut peers = Peers::read();
    let [reward, propensity, target, predicted, expected] =
        ["reward", "propensity", "target", "predicted", "expected"].map(|name| peers.list(name));
    let row = |index: usize| Logged {
        reward: reward[index],
        propensity: propensity[index],
        target: target[index],
        predicted: predicted[index],
        expected: expected[index],
    };
    let log: Vec<_> = (0..reward.len()).map(row).collect();
    let estimators = [
        Estimator::Weighted { clip: f64::INFINITY },
        Estimator::Weighted { clip: 2.0 },
        Estimator::SelfNormalized,
        Estimator::Direct,
        Estimator::DoublyRobust,
        Estimator::Switch { bound: 1.5 },
    ];
    let options = OffPolicyOptions { resamples: 10, ..OffPolicyOptions::default() };
    let value = |estimator| estimate(&log, estimator, &options).expect("support").value.middle;
    peers.hold("off_policy", &estimators.map(value), 1e-10);
    assert_eq!((peers.compared, log.len()), (6, 600));
}
