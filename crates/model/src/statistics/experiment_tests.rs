//! Promises about many experiments at once. What scipy and statsmodels make of single ones stands in
//! `tests/peers_disagree.rs`.

use super::*;
use crate::Random;

/// Clicks of two arms, looked at after each `step` rows; whether any look claims a difference: by the usual
/// interval, and by the one that is always valid.
fn peek(rates: [f64; 2], looks: usize, step: u64, random: &mut Random) -> [bool; 2] {
    let mut arms = [Proportion { clicks: 0, rows: 0 }; 2];
    let mut claimed = [false; 2];
    let difference = rates[1] - rates[0];
    for _ in 0..looks {
        for (arm, rate) in arms.iter_mut().zip(rates) {
            arm.rows += step;
            arm.clicks += (0..step).filter(|_| random.uniform() < rate).count() as u64;
        }
        let usual = two_proportions(arms[0], arms[1], 0.05).expect("two arms");
        let always = always_valid(arms[0], arms[1], 0.02, 0.05).expect("both kinds");
        claimed[0] |= !(usual.low..=usual.high).contains(&difference);
        claimed[1] |= !(always.low..=always.high).contains(&difference);
    }
    claimed
}

#[test]
fn looking_all_the_time_fools_the_usual_interval_alone() {
    let mut random = Random::new(1);
    for rates in [[0.1, 0.1], [0.1, 0.12]] {
        let mut wrong = [0; 2];
        for _ in 0..300 {
            let claimed = peek(rates, 40, 500, &mut random);
            wrong[0] += u32::from(claimed[0]);
            wrong[1] += u32::from(claimed[1]);
        }
        // 5 % of 300 are 15, with a deviation of 4.
        assert!(wrong[0] > 45, "the usual interval is fooled: {wrong:?}");
        assert!(wrong[1] <= 24, "the other must not be: {wrong:?}");
    }
}

#[test]
fn a_planned_experiment_finds_what_it_was_planned_for() {
    let (base, lift) = (0.1, 0.03);
    let rows = sample_size(base, lift, 0.05, 0.8).expect("a plan").ceil() as u64;
    let mut random = Random::new(2);
    let mut found = 0;
    for _ in 0..400 {
        let mut arm = |rate: f64| {
            let clicks = (0..rows).filter(|_| random.uniform() < rate).count() as u64;
            Proportion { clicks, rows }
        };
        let (control, treatment) = (arm(base), arm(base + lift));
        let seen = two_proportions(control, treatment, 0.05).expect("two arms");
        found += u32::from(seen.p_value < 0.05 && seen.middle > 0.0);
    }
    // 80 % of 400 are 320, with a deviation of 8.
    assert!((296..=344).contains(&found), "{found} of 400");
}

#[test]
fn quantiles_are_where_the_chance_is_reached() {
    let mut compared = 0;
    for step in 1..100 {
        let chance = f64::from(step) / 100.0;
        assert!((normal_cdf(normal_quantile(chance)) - chance).abs() < 1e-12);
        for freedom in [1.0, 3.0, 80.0] {
            assert!(
                (student_cdf(student_quantile(chance, freedom), freedom) - chance).abs() < 1e-10
            );
            let above = chi_squared_above(chi_squared_quantile(chance, freedom), freedom);
            assert!((1.0 - above - chance).abs() < 1e-10);
            compared += 2;
        }
    }
    assert_eq!(compared, 594);
    assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
    assert_eq!(normal_quantile(1.0), f64::INFINITY);
}

#[test]
fn tau_counts_pairs() {
    let mut random = Random::new(3);
    let mut compared = 0;
    for size in [2usize, 3, 10, 60] {
        for _ in 0..20 {
            let mut side = || (0..size).map(|_| random.below(6) as f64).collect::<Vec<_>>();
            let (x, y) = (side(), side());
            let sign = |a: f64, b: f64| f64::from(i8::from(a > b) - i8::from(a < b));
            let (mut score, mut of_x, mut of_y) = (0.0, 0.0, 0.0);
            for i in 0..size {
                for j in 0..i {
                    let (a, b) = (sign(x[i], x[j]), sign(y[i], y[j]));
                    score += a * b;
                    of_x += a * a;
                    of_y += b * b;
                }
            }
            let scale: f64 = f64::sqrt(of_x * of_y);
            match kendall_tau(&x, &y) {
                Some(tau) => assert!((tau - score / scale).abs() < 1e-12),
                None => assert_eq!(scale, 0.0),
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 80);
    assert_eq!(kendall_tau(&[], &[]), None);
}

#[test]
fn a_moved_feature_shows_and_an_unmoved_does_not() {
    let mut random = Random::new(4);
    let mut draw = |shift: f64, missing: u64| -> Vec<f64> {
        let value = |_| {
            let value = f64::from(random.normal()) + shift;
            if random.below(100) < missing { f64::NAN } else { value }
        };
        (0..20_000).map(value).collect()
    };
    let before = draw(0.0, 5);
    let bins = Bins::of(&before, 10).expect("numbers");
    let counts = bins.counts(&before);
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (11, 20_000));
    let moved = |now: &[f64]| population_stability(&counts, &bins.counts(now)).expect("bins");
    assert!(moved(&draw(0.0, 5)) < 0.01);
    assert!(moved(&draw(1.0, 5)) > 0.25);
    assert!(moved(&draw(0.0, 60)) > 0.25, "what is missing is a bin as well");
    assert_eq!(Bins::of(&[1.0; 50], 10).expect("numbers").count(), 3);
    assert!(Bins::of(&[f64::NAN], 10).is_err());
}

#[test]
fn what_has_no_answer_is_named() {
    let arm = |clicks, rows| Proportion { clicks, rows };
    let error = two_proportions(arm(1, 0), arm(1, 2), 0.05).expect_err("no rows");
    assert_eq!(error.to_string(), "an arm's number of rows must be at least 1");
    assert!(two_proportions(arm(3, 2), arm(1, 2), 0.05).is_err());
    assert!(two_proportions(arm(1, 2), arm(1, 2), 1.5).is_err());
    assert!(always_valid(arm(0, 10), arm(0, 10), 0.1, 0.05).is_err());
    assert!(sample_size(0.1, 0.0, 0.05, 0.8).is_err());
    assert!(sample_size(0.1, 0.95, 0.05, 0.8).is_err());
    assert!(sample_ratio(&[1], &[1.0]).is_err() && sample_ratio(&[0, 0], &[1.0, 1.0]).is_err());
    assert!(cuped(&[(1.0, 1.0)], &[], 0.05).is_err());
    assert!(population_stability(&[1], &[1, 2]).is_err());
}
