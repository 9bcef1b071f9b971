//! Choices against their propensities, over many seeds.

use super::*;
use crate::sigmoid;

fn arms() -> Vec<Arm> {
    let arm = |logit, variance, value| Arm { logit, variance, value };
    vec![
        arm(-2.0, 0.05, 1.0),
        arm(-2.2, 0.4, 1.0),
        arm(-4.0, 1.0, 1.5),
        arm(-2.5, 0.0, 1.0),
        arm(-3.0, 0.3, 2.0),
    ]
}

/// For each arm and place: how often it was chosen, the sum of its propensities then, and the sum of
/// their inverses.
fn tally(exploration: &Exploration, seeds: u64) -> Vec<[(f64, f64, f64); 3]> {
    let arms = arms();
    let mut sums = vec![[(0.0, 0.0, 0.0); 3]; arms.len()];
    for seed in 0..seeds {
        let chosen = choose(&arms, 3, exploration, seed, sigmoid);
        for (place, choice) in chosen.iter().enumerate() {
            let propensity = f64::from(choice.propensity);
            let (count, propensities, weights) = &mut sums[choice.index][place];
            *count += 1.0;
            *propensities += propensity;
            *weights += 1.0 / propensity;
        }
    }
    sums
}

#[test]
fn propensities_are_frequencies() {
    let seeds = 4_000;
    let exploration = Exploration { draws: 1_000, floor: 0.1, width: 1.0 };
    let mut compared = 0;
    for (arm, places) in tally(&exploration, seeds).into_iter().enumerate() {
        for (place, (count, propensities, _)) in places.into_iter().enumerate() {
            let frequency = count / seeds as f64;
            assert!(frequency > 0.01, "every arm is seen at every place: {arm} at {place}");
            let mean = propensities / count;
            let noise = 4.0 * (frequency / seeds as f64).sqrt() + 0.05 * frequency;
            assert!((mean - frequency).abs() < noise, "{arm} at {place}: {mean} {frequency}");
            compared += 1;
        }
    }
    assert_eq!(compared, 15);
}

#[test]
fn inverse_propensities_are_right_however_few_the_draws() {
    for draws in [1, 3, 20] {
        let seeds = 100_000;
        let exploration = Exploration { draws, floor: 0.2, width: 1.0 };
        for (arm, places) in tally(&exploration, seeds).into_iter().enumerate() {
            for (place, (_, _, weights)) in places.into_iter().enumerate() {
                // Each arm's indicator over its propensity has the mean 1; the weight is at most
                // 5 arms / 0.2, so the mean of 100,000 is known to some 0.015.
                let mean = weights / seeds as f64;
                assert!((mean - 1.0).abs() < 0.07, "{draws} draws, {arm} at {place}: {mean}");
            }
        }
    }
}

#[test]
fn weighting_recovers_what_each_ad_would_have_earned() {
    let rates = [0.30, 0.20, 0.25, 0.10, 0.15];
    let exploration = Exploration { draws: 50, floor: 0.1, width: 1.0 };
    let arms = arms();
    let mut world = Random::new(77);
    let (mut weighted, mut naive_clicks) = ([0.0; 5], 0.0);
    let rounds = 200_000;
    for seed in 0..rounds {
        let first = choose(&arms, 1, &exploration, seed, sigmoid)[0];
        if world.uniform() < rates[first.index] {
            weighted[first.index] += 1.0 / f64::from(first.propensity);
            naive_clicks += 1.0;
        }
    }
    for (arm, (sum, rate)) in weighted.iter().zip(rates).enumerate() {
        let estimate = sum / rounds as f64;
        assert!((estimate - rate).abs() < 0.025, "arm {arm}: {estimate}, really {rate}");
    }
    // The policy "each ad equally often" was never run; its mean is recovered all the same.
    let even = weighted.iter().sum::<f64>() / rounds as f64 / 5.0;
    assert!((even - 0.2).abs() < 0.01, "{even}");
    assert!((naive_clicks / rounds as f64 - 0.2).abs() > 0.01, "unweighted it would be wrong");
}

#[test]
fn the_floor_reaches_everyone() {
    let hopeless = Arm { logit: -9.0, variance: 0.0, value: 1.0 };
    let hopeful = Arm { logit: -1.0, variance: 0.5, value: 1.0 };
    let mut arms = vec![hopeless; 100];
    arms.extend([hopeful; CONTENDERS]);
    let exploration = Exploration { draws: 10, floor: 0.25, width: 1.0 };
    let least = 0.25 / arms.len() as f32;
    let mut of_hopeless = 0;
    for seed in 0..20_000 {
        let choice = choose(&arms, 1, &exploration, seed, sigmoid)[0];
        assert!(choice.propensity >= least * 0.999);
        if choice.index < 100 {
            of_hopeless += 1;
            assert_eq!(choice.propensity, least);
        }
    }
    let expected = 20_000.0 * 0.25 * 100.0 / arms.len() as f64;
    assert!((f64::from(of_hopeless) / expected - 1.0).abs() < 0.06, "{of_hopeless} {expected}");
}

#[test]
fn without_doubt_it_ranks_by_worth() {
    let arms: Vec<_> = (0..300)
        .map(|index| Arm { logit: -((index * 7 % 300) as f32) / 50.0, variance: 1.0, value: 1.0 })
        .collect();
    let exploration = Exploration { draws: 5, floor: 0.0, width: 0.0 };
    let chosen = choose(&arms, 100, &exploration, 1, sigmoid);
    assert_eq!(chosen.len(), 100);
    let logits: Vec<_> = chosen.iter().map(|choice| arms[choice.index].logit).collect();
    assert!(logits.is_sorted_by(|a, b| a > b) && logits[99] == -99.0 / 50.0);
    assert!(chosen.iter().all(|choice| choice.propensity == 1.0));
}

#[test]
fn choices_are_distinct_bounded_and_repeatable() {
    let arms = arms();
    for seed in 0..200 {
        let exploration = Exploration { floor: 0.5, ..Exploration::default() };
        let chosen = choose(&arms, 9, &exploration, seed, sigmoid);
        let mut indices: Vec<_> = chosen.iter().map(|choice| choice.index).collect();
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2, 3, 4]);
        assert_eq!(chosen, choose(&arms, 9, &exploration, seed, sigmoid));
    }
    assert_eq!(choose(&arms, 0, &Exploration::default(), 1, sigmoid), []);
    assert_eq!(choose(&[], 3, &Exploration::default(), 1, sigmoid), []);
}

#[test]
fn what_is_not_a_number_comes_last() {
    let mut arms = arms();
    arms[0].logit = f32::NAN;
    arms[1].variance = f32::NAN;
    let exploration = Exploration { floor: 0.0, ..Exploration::default() };
    for seed in 0..50 {
        let chosen = choose(&arms, 3, &exploration, seed, sigmoid);
        assert!(chosen.iter().all(|choice| choice.index >= 1), "{chosen:?}");
        assert_eq!(chosen.len(), 3);
    }
}

#[test]
fn upper_bounds_try_what_is_unsure_and_say_how_often() {
    let arm = |logit: f32, variance: f32| Arm { logit, variance, value: 1.0 };
    let arms = [arm(-2.0, 0.0), arm(-2.5, 1.0), arm(-3.0, 0.1), arm(f32::NAN, 0.0)];
    let order = |deviations| -> Vec<_> {
        choose_upper(&arms, 4, deviations, 0.0, 1, sigmoid)
            .iter()
            .map(|choice| choice.index)
            .collect()
    };
    assert_eq!(order(0.0), [0, 1, 2, 3]);
    assert_eq!(order(1.0), [1, 0, 2, 3], "the unsure one may be the best");
    let rounds = 40_000;
    let mut shown = [0.0f64; 4];
    let mut weighed = [0.0f64; 4];
    for seed in 0..rounds {
        let first = choose_upper(&arms, 1, 1.0, 0.4, seed, sigmoid)[0];
        shown[first.index] += 1.0;
        weighed[first.index] += 1.0 / f64::from(first.propensity);
    }
    for index in 0..4 {
        let share = if index == 1 { 0.7 } else { 0.1 };
        assert!((shown[index] / rounds as f64 - share).abs() < 0.01, "{shown:?}");
        assert!((weighed[index] / rounds as f64 - 1.0).abs() < 0.05, "{weighed:?}");
    }
}
