//! Calibration of models that are off in known ways, and of none.

use super::*;
use crate::{Random, auc, calibration_ratio, expected_calibration_error, sigmoid};

/// How a model is off: from its log odds to the true ones.
type Truth = fn(f32) -> f32;

const OFF: [(&str, Truth); 4] = [
    ("too high", |logit| logit - 0.8),
    ("too sure", |logit| 0.5 * (logit + 3.0) - 3.0),
    ("bent", |logit| if logit < -3.0 { logit * 0.7 - 0.9 } else { logit * 1.4 + 1.2 }),
    ("right", |logit| logit),
];

/// Predicted log odds and labels that follow the true ones.
fn stream(rows: usize, truth: Truth, seed: u64) -> (Vec<f32>, Vec<bool>) {
    let mut random = Random::new(seed);
    let row = |_| {
        let logit = 1.2 * random.normal() - 3.0;
        (logit, random.uniform() < f64::from(sigmoid(truth(logit))))
    };
    (0..rows).map(row).unzip()
}

fn calibrator(half_life: f64) -> Calibrator {
    Calibrator::new(CalibratorOptions { half_life, ..CalibratorOptions::default() })
}

/// Every click comes 1,000 impressions late.
fn feed(calibrator: &mut Calibrator, (logits, labels): &(Vec<f32>, Vec<bool>)) {
    const WAIT: usize = 1_000;
    for now in 0..logits.len() + WAIT {
        if let Some(&logit) = logits.get(now) {
            calibrator.observe(logit, 1.0);
        }
        if let Some(then) = now.checked_sub(WAIT)
            && labels[then]
        {
            calibrator.click(logits[then], 1.0);
        }
    }
}

#[test]
fn fresh_rows_are_calibrated() {
    for (name, truth) in OFF {
        let mut calibrator = calibrator(1e6);
        feed(&mut calibrator, &stream(400_000, truth, 1));
        let curve = calibrator.fit();
        let (logits, labels) = stream(400_000, truth, 2);
        let calibrated: Vec<_> = logits.iter().map(|&logit| curve.probability(logit)).collect();
        let error = expected_calibration_error(&calibrated, &labels, 50);
        let ratio = calibration_ratio(&calibrated, &labels).expect("clicks");
        assert!(error < 0.005, "{name}: {error}");
        assert!((ratio - 1.0).abs() < 0.03, "{name}: {ratio}");
        let before = auc(&logits, &labels).expect("both kinds");
        let after = auc(&calibrated, &labels).expect("both kinds");
        assert!((before - after).abs() < 1e-4, "{name}: the order changed, {before} {after}");
    }
}

#[test]
fn little_data_is_held_towards_the_identity() {
    let start = calibrator(1e6).fit();
    for step in 0..300 {
        let logit = step as f32 / 15.0 - 14.0;
        assert!((start.logit(logit) - logit).abs() < 1e-4, "{logit}");
    }
    // A right model must not be made worse by the noise of a few rows.
    let mut few = calibrator(1e6);
    feed(&mut few, &stream(500, OFF[3].1, 3));
    let curve = few.fit();
    for logit in [-6.0, -4.0, -3.0, -2.0, 0.0] {
        assert!((curve.logit(logit) - logit).abs() < 0.8, "{logit} {}", curve.logit(logit));
    }
}

#[test]
fn the_curve_rises_whatever_was_seen() {
    let mut random = Random::new(8);
    for _ in 0..50 {
        let mut calibrator = calibrator(1e4);
        for _ in 0..random.below(3_000) {
            let logit = 5.0 * random.normal() - 3.0;
            calibrator.observe(logit, random.uniform() as f32);
            if random.uniform() < f64::from(sigmoid(-logit)) {
                calibrator.click(logit, 1.0);
            }
        }
        let curve = calibrator.fit();
        let values: Vec<_> = (-400..400).map(|step| curve.logit(step as f32 / 20.0)).collect();
        assert!(values.is_sorted() && values.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn the_old_fades() {
    let mut calibrator = calibrator(20_000.0);
    feed(&mut calibrator, &stream(100_000, |logit| logit + 1.0, 4));
    assert!((calibrator.fit().logit(-3.0) + 2.0).abs() < 0.2);
    feed(&mut calibrator, &stream(3_000_000, |logit| logit - 1.0, 5));
    assert!((calibrator.fit().logit(-3.0) + 4.0).abs() < 0.2);
    assert!(calibrator.impressions() < 30_000.0);
}

#[test]
fn curve_and_calibrator_come_back() {
    let mut before = calibrator(1e5);
    feed(&mut before, &stream(20_000, OFF[2].1, 6));
    let mut bytes = Vec::new();
    before.encode(&mut bytes);
    assert_eq!(Calibrator::decode(&bytes), Ok(before.clone()));
    assert!(Calibrator::decode(&bytes[1..]).is_err());
    let mut knots = Vec::new();
    before.fit().encode(&mut knots);
    assert_eq!(Calibration::decode(&knots), Ok(before.fit()));
    assert_eq!(Calibration::decode(&bytes), Err(StateError::Magic("a calibration")));
}
