//! Curves fitted on batches: what they promise whatever the batch. What scikit-learn makes of the same
//! rows stands in `tests/peers_disagree.rs`.

use super::batch::*;
use crate::{Random, StateError, sigmoid};

fn batch(rows: usize, slope: f32, shift: f32, seed: u64) -> Vec<Observation> {
    let mut random = Random::new(seed);
    let row = |_| {
        let logit = 1.5 * random.normal() - 2.0;
        let label = random.uniform() < f64::from(sigmoid(slope * logit + shift));
        Observation { logit, label, weight: 1.0 }
    };
    (0..rows).map(row).collect()
}

#[test]
fn the_line_is_found() {
    for (slope, shift) in [(1.0, 0.0), (0.5, -1.0), (2.0, 1.5)] {
        let found = Platt::fit(&batch(200_000, slope, shift, 1)).expect("a line");
        assert!(
            (found.slope - slope).abs() < 0.04 && (found.shift - shift).abs() < 0.06,
            "{found:?}"
        );
    }
}

#[test]
fn the_curve_rises_and_has_few_knots() {
    for rows in [40, 1_000, 300_000] {
        let curve = Isotonic::fit(&batch(rows, 0.7, 0.3, 2)).expect("a curve");
        assert!((2..=KNOTS_MAX).contains(&curve.knots()), "{}", curve.knots());
        let seen: Vec<_> = (-200..200).map(|step| curve.probability(step as f32 / 20.0)).collect();
        assert!(seen.is_sorted() && seen[0] > 0.0 && seen[399] < 1.0);
        if rows == 300_000 {
            for logit in [-4.0, -2.0, 0.0] {
                let truth = sigmoid(0.7 * logit + 0.3);
                assert!((curve.probability(logit) / truth - 1.0).abs() < 0.1, "{logit}");
            }
        }
    }
}

/// The definition: the highest over starts of the lowest over ends of the mean between them.
#[test]
fn pooling_is_the_definition() {
    let mut random = Random::new(3);
    let mut compared = 0;
    for _ in 0..200 {
        let row = |place: usize| Observation {
            logit: place as f32,
            label: random.below(20) < 6 + place as u64,
            weight: 0.1 + random.uniform() as f32,
        };
        let rows: Vec<_> = (0..12).map(row).collect();
        let Ok(curve) = Isotonic::fit(&rows) else { continue };
        let mean = |from: usize, to: usize| {
            let weight = |row: &Observation| f64::from(row.weight);
            let clicked = rows[from..=to].iter().filter(|row| row.label).map(weight).sum::<f64>();
            clicked / rows[from..=to].iter().map(weight).sum::<f64>()
        };
        for at in 0..rows.len() {
            let lowest =
                |from| (at..rows.len()).map(|to| mean(from, to)).fold(f64::INFINITY, f64::min);
            let expected = (0..=at).map(lowest).fold(0.0, f64::max);
            let seen = f64::from(curve.probability(at as f32));
            assert!((seen - expected).abs() < 2e-6, "{at}: {seen} {expected}");
            compared += 1;
        }
    }
    assert!(compared > 2_000, "{compared}");
}

#[test]
fn a_small_segment_has_what_all_have() {
    let mut rows = batch(20_000, 1.0, 0.0, 4);
    rows.extend(batch(20_000, 1.0, -2.0, 5));
    rows.extend(batch(100, 1.0, 3.0, 6));
    let segments: Vec<_> = (0..40_100).map(|row| row / 20_000).collect();
    for is_isotonic in [true, false] {
        let options = SegmentOptions { is_isotonic, ..SegmentOptions::default() };
        let fitted = Segmented::fit(&rows, &segments, &options).expect("curves");
        assert!(
            fitted.curve(0).is_some() && fitted.curve(1).is_some() && fitted.curve(2).is_none()
        );
        let at = |segment| fitted.probability(segment, -1.0);
        assert_eq!(at(2), at(999));
        assert!((at(0) / sigmoid(-1.0) - 1.0).abs() < 0.15, "{}", at(0));
        assert!((at(1) / sigmoid(-3.0) - 1.0).abs() < 0.3, "{}", at(1));
        let mut bytes = Vec::new();
        fitted.encode(&mut bytes);
        assert_eq!(Segmented::decode(&bytes), Ok(fitted));
        bytes[9] ^= 1;
        assert!(matches!(Segmented::decode(&bytes), Err(StateError::Checksum(_))));
    }
    assert_eq!(
        Segmented::fit(&rows, &[1], &SegmentOptions::default()),
        Err(CalibrationError::Segments)
    );
}

#[test]
fn what_cannot_be_fitted_is_named() {
    let row = |logit, label, weight| Observation { logit, label, weight };
    let one_kind = [row(0.0, true, 1.0), row(1.0, true, 1.0)];
    assert_eq!(Isotonic::fit(&one_kind), Err(CalibrationError::OneKind));
    assert_eq!(Platt::fit(&[]), Err(CalibrationError::OneKind));
    let broken = [row(0.0, true, 1.0), row(f32::NAN, false, 1.0)];
    assert_eq!(Platt::fit(&broken), Err(CalibrationError::Row(1)));
    let weightless = [row(0.0, true, 0.0)];
    assert_eq!(Isotonic::fit(&weightless), Err(CalibrationError::Row(0)));
    let backwards: Vec<_> = (0..100).map(|at| row(at as f32 / 10.0, at < 50, 1.0)).collect();
    assert_eq!(Platt::fit(&backwards), Err(CalibrationError::Backwards));
}

#[test]
fn sampling_is_taken_back() {
    // Of a click rate of 2 %, one negative in ten is kept: 16.9 % of what is left are clicks.
    let (truth, kept) = (0.02f32, 0.1f32);
    let seen = truth / (truth + (1.0 - truth) * kept);
    let back = sigmoid(crate::log_odds(seen) + sampling_correction(kept).expect("a share"));
    assert!((back - truth).abs() < 1e-6, "{back}");
    let formula = seen * kept / (seen * kept + 1.0 - seen);
    assert!((back - formula).abs() < 1e-6);
    for kept in [0.0, -1.0, 1.1, f32::NAN] {
        assert_eq!(sampling_correction(kept), None);
    }
}
