//! The learner against a naive model, the published weights against the learner, and its kept form.

use std::collections::BTreeMap;

use super::*;
use crate::{Random, StateError, log_odds};

/// The algorithm as the module describes it, coordinate by coordinate, in `f64` and without a table.
struct Naive {
    options: LinearOptions,
    sums: BTreeMap<u32, (f64, f64)>,
    lengths: f64,
    rows: f64,
}

const BIAS: u32 = u32::MAX;

impl Naive {
    fn denominator(&self, key: u32, n: f64) -> f64 {
        let LinearOptions { alpha, bias_alpha, beta, l2, .. } = self.options;
        let (alpha, l2) = if key == BIAS { (bias_alpha, 0.0) } else { (alpha, l2) };
        (f64::from(beta) + n.powf(0.75)) / f64::from(alpha) + f64::from(l2)
    }

    fn weight(&self, key: u32) -> f64 {
        let (z, n) = self.sums.get(&key).copied().unwrap_or_default();
        let l1 = if key == BIAS { 0.0 } else { f64::from(self.options.l1) };
        if z.abs() <= l1 {
            return 0.0;
        }
        -(z - z.signum() * l1) / self.denominator(key, n)
    }

    fn row(&self, row: &[Feature]) -> Vec<(u32, f64)> {
        let mask = (1 << self.options.bits) - 1;
        let features = row.iter().map(|feature| (feature.hash & mask, f64::from(feature.value)));
        features.chain([(BIAS, 1.0)]).collect()
    }

    fn logit(&self, row: &[Feature]) -> f64 {
        let start = f64::from(log_odds(self.options.start));
        start + self.row(row).iter().map(|&(key, x)| self.weight(key) * x).sum::<f64>()
    }

    fn probability(&self, row: &[Feature]) -> f64 {
        1.0 / (1.0 + (-self.logit(row)).exp())
    }

    fn step(&mut self, row: &[Feature], gradient: f64, information: f64) {
        for (key, x) in self.row(row) {
            let (z, n) = self.sums.get(&key).copied().unwrap_or_default();
            let fading = n * information / f64::from(self.options.memory);
            let after = n - fading + information * x * x;
            let growth = self.denominator(key, after) - self.denominator(key, n);
            let share = if key == BIAS { 1.0 } else { self.rows / self.lengths };
            self.sums.insert(key, (z + gradient * share * x - growth * self.weight(key), after));
        }
    }

    fn learn(&mut self, row: &[Feature], label: bool, weight: f64) {
        self.rows += 1.0;
        self.lengths += row.len().max(1) as f64;
        let error = self.probability(row) - f64::from(u8::from(label));
        self.step(row, error * weight, error.abs() / 2.0 * weight);
    }

    fn correct(&mut self, row: &[Feature], weight: f64) {
        let more = 0.5 - self.probability(row);
        self.step(row, -weight, more.max(0.0) * weight);
    }
}

fn options() -> LinearOptions {
    LinearOptions { bits: 12, ..LinearOptions::default() }
}

/// A row of up to 40 features, now and then with a number; no two of them the same coordinate.
fn row(random: &mut Random) -> Vec<Feature> {
    let length = random.below(40) as u32;
    let feature = |index: u32| {
        let hash = (random.bits() as u32 & !0xfff) | (index * 100 + random.below(100) as u32);
        let value = if random.below(4) == 0 { random.normal() } else { 1.0 };
        Feature { hash, value }
    };
    (0..length).map(feature).collect()
}

/// Learns some hundred rows and a few late clicks.
fn trained(options: LinearOptions, rows: u32) -> Linear {
    let mut model = Linear::new(options);
    let mut random = Random::new(5);
    for _ in 0..rows {
        let row = row(&mut random);
        model.learn(&row, random.below(10) == 0, 1.0);
        if random.below(20) == 0 {
            model.correct(&row, 1.0);
        }
    }
    model
}

#[test]
fn it_learns_what_it_says() {
    for (l1, l2, memory) in [(0.0, 0.0, 5e3), (0.05, 0.0, 5e3), (0.0, 0.5, 5e3), (0.01, 0.1, 20.0)]
    {
        let options = LinearOptions { l1, l2, memory, ..options() };
        let mut model = Linear::new(options);
        let mut naive = Naive { options, sums: BTreeMap::new(), lengths: 0.0, rows: 0.0 };
        let mut random = Random::new(1);
        for _ in 0..3_000 {
            let row = row(&mut random);
            let (label, weight) =
                (random.below(10) == 0, [1.0, 0.5, 2.0][random.below(3) as usize]);
            let expected = naive.logit(&row) as f32;
            assert!((model.logit(&row) - expected).abs() < 1e-3, "{expected}");
            let before = model.learn(&row, label, weight);
            assert!((before - expected).abs() < 1e-3, "{before} {expected}");
            naive.learn(&row, label, f64::from(weight));
            if !label && random.below(5) == 0 {
                model.correct(&row, weight);
                naive.correct(&row, f64::from(weight));
            }
        }
        assert!(naive.sums.len() > 3_000, "compared {} coordinates", naive.sums.len());
    }
}

#[test]
fn fetching_ahead_changes_nothing() {
    let rows: Vec<_> = {
        let mut random = Random::new(6);
        (0..500).map(|_| (row(&mut random), random.below(5) == 0)).collect()
    };
    let (mut plain, mut ahead) = (Linear::new(options()), Linear::new(options()));
    for (index, (row, label)) in rows.iter().enumerate() {
        if let Some((next, _)) = rows.get(index + 1) {
            ahead.prefetch(next);
        }
        assert_eq!(ahead.learn(row, *label, 1.0), plain.learn(row, *label, 1.0));
    }
    assert_eq!(ahead.table, plain.table);
}

#[test]
fn it_finds_known_weights() {
    let truth = |feature: u32| (feature as f32 / 16.0 - 1.0) * 1.5;
    let mut model = Linear::new(options());
    let mut random = Random::new(2);
    for _ in 0..200_000 {
        let row: Vec<_> = (0..32).filter(|_| random.below(4) == 0).map(Feature::flag).collect();
        let logit = -2.0 + row.iter().map(|feature| truth(feature.hash)).sum::<f32>();
        model.learn(&row, random.uniform() < f64::from(sigmoid(logit)), 1.0);
    }
    for feature in 0..32 {
        let weight = model.logit(&[Feature::flag(feature)]) - model.logit(&[]);
        assert!((weight - truth(feature)).abs() < 0.15, "{feature}: {weight}");
    }
    assert!((model.logit(&[]) + 2.0).abs() < 0.15, "{}", model.logit(&[]));
}

#[test]
fn a_world_that_changes_is_followed() {
    // After a long time the rates of ten ads turn round. How far predictions are off a while later,
    // with a memory and without one.
    let rate = |ad: u32| 0.1 + 0.05 * f64::from(ad);
    let off = |memory: f32| {
        let mut model = Linear::new(LinearOptions { memory, ..options() });
        let mut random = Random::new(4);
        for now in 0..2_050_000 {
            let ad = random.below(10) as u32;
            let truth = if now < 2_000_000 { rate(ad) } else { rate(9 - ad) };
            model.learn(&[Feature::flag(ad)], random.uniform() < truth, 1.0);
        }
        let distance = |ad| {
            let predicted = f64::from(sigmoid(model.logit(&[Feature::flag(ad)])));
            (predicted / rate(9 - ad)).ln().abs()
        };
        (0..10).map(distance).sum::<f64>() / 10.0
    };
    let (with, without) = (off(options().memory), off(1e9));
    assert!(with < 0.08 && without > 2.0 * with, "{with} with a memory, {without} without");
}

#[test]
fn a_late_click_ends_where_a_known_one_does() {
    // Ten ads of known rates: once the clicks are known at once, once a hundred rows later. What
    // they predict over the second half is compared with the clicks there were.
    const ROWS: u32 = 300_000;
    let rate = |ad: u32| 0.02 + 0.02 * f64::from(ad);
    let (mut at_once, mut late) = (Linear::new(options()), Linear::new(options()));
    let mut predicted = [(0.0, [0.0; 2]); 10];
    let mut random = Random::new(3);
    let mut waiting = std::collections::VecDeque::new();
    for now in 0..ROWS {
        let row = [Feature::flag(random.below(10) as u32)];
        let label = random.uniform() < rate(row[0].hash);
        let logits = [at_once.learn(&row, label, 1.0), late.learn(&row, false, 1.0)];
        waiting.push_back((row, label));
        if waiting.len() > 100
            && let Some((row, true)) = waiting.pop_front()
        {
            late.correct(&row, 1.0);
        }
        if now >= ROWS / 2 {
            let (clicks, sums) = &mut predicted[row[0].hash as usize];
            *clicks += f64::from(u8::from(label));
            *sums = [0, 1].map(|which| sums[which] + f64::from(sigmoid(logits[which])));
        }
    }
    for (ad, (clicks, [known, corrected])) in predicted.into_iter().enumerate() {
        assert!(clicks > 250.0, "{ad}: {clicks}");
        assert!((corrected / known - 1.0).abs() < 0.03, "{ad}: {known} {corrected}");
        assert!((corrected / clicks - 1.0).abs() < 0.15, "{ad}: {clicks} {corrected}");
    }
}

#[test]
fn wild_values_do_not_spoil_the_model() {
    let mut model = Linear::new(options());
    let mut random = Random::new(4);
    let wild = [f32::NAN, f32::INFINITY, f32::MIN, 1e30, f32::MIN_POSITIVE, -0.0, 1e5];
    for round in 0..20_000 {
        let value = wild[round % wild.len()] * random.normal();
        let row = [Feature::flag(random.below(4) as u32), Feature { hash: 9, value }];
        let label = random.uniform() < 0.1 + 0.1 * f64::from(row[0].hash);
        model.learn(&row, label, 1.0);
        model.learn(&row[..1], label, 1.0);
    }
    let weights = model.publish();
    let logits = [0, 1, 2, 3].map(|ad| weights.logit(&[Feature::flag(ad)]));
    assert!(
        logits.is_sorted_by(|a, b| a < b) && logits[0] > -10.0 && logits[3] < 10.0,
        "{logits:?}"
    );
    let part = weights.partial(&[Feature { hash: 9, value: 1.0 }]);
    assert!(part.logit.is_finite() && part.variance.is_finite());
}

#[test]
fn published_weights_are_the_learners() {
    let mut model = trained(options(), 2_000);
    let weights = model.publish();
    let mut random = Random::new(9);
    let mut surer = 0;
    for _ in 0..500 {
        let row = row(&mut random);
        let (shared, own) = row.split_at(row.len() / 2);
        let partial = weights.partial(shared) + weights.partial(own);
        assert!((weights.bias() + partial.logit - model.logit(&row)).abs() < 1e-4);
        let whole = weights.bias() + weights.partial(&row).logit;
        assert_eq!(weights.logit(&row).to_bits(), whole.to_bits());
        assert!((weights.logit(&row) - model.logit(&row)).abs() < 1e-4);
        let squares: f32 = row.iter().map(|feature| feature.value * feature.value).sum();
        let prior = squares * model.options().prior_variance / model.length.mean as f32;
        assert!(partial.variance <= prior * 1.0001 && partial.variance >= 0.0);
        surer += usize::from(partial.variance < prior * 0.999);
    }
    assert!(surer > 400, "{surer} of 500 rows are surer than at the start");
    assert!(weights.bias_variance() < model.options().prior_variance);
}

#[test]
fn every_publication_is_whole_and_stays_as_it_was() {
    // Some are held for a while, so that both ways to publish are taken; all are held against the
    // learner as it was then.
    let mut model = Linear::new(options());
    let mut random = Random::new(8);
    let rows: Vec<_> = (0..40).map(|_| row(&mut random)).collect();
    let mut held: Vec<(Weights, Vec<f32>)> = Vec::new();
    let (mut compared, mut copied) = (0, 0);
    for round in 0..300 {
        for _ in 0..random.below(20) {
            let row = &rows[random.below(40) as usize];
            model.learn(row, random.below(4) == 0, 1.0);
        }
        copied += usize::from(model.publisher.is_other_read());
        let weights = model.publish();
        held.push((weights, rows.iter().map(|row| model.logit(row)).collect()));
        for (weights, logits) in &held {
            for (row, logit) in rows.iter().zip(logits) {
                assert!((weights.logit(row) - logit).abs() < 1e-4, "round {round}");
                compared += 1;
            }
        }
        if random.below(3) == 0 {
            held.clear();
        }
    }
    assert!(compared > 20_000 && copied > 50 && copied < 250, "{compared} {copied}");
}

#[test]
fn before_anything_is_learned_weights_say_so() {
    let mut model = Linear::new(options());
    let row = [Feature::flag(3), Feature::flag(1 << 8)];
    let start = model.publish();
    assert!((start.bias() - log_odds(model.options().start)).abs() < 1e-6);
    assert_eq!(start.partial(&row).logit, 0.0);
    model.learn(&row, true, 1.0);
    assert_eq!(start.partial(&row).logit, 0.0, "readers keep what they have");
    let next = model.publish();
    assert!(next.partial(&row).logit > 0.0);
    // Now rows are known to be short, and this one has been seen.
    assert!(next.partial(&row).variance < model.options().prior_variance);
}

#[test]
fn a_state_comes_back_to_the_bit() {
    let mut model = trained(options(), 500);
    let mut bytes = Vec::new();
    model.encode_state(&mut bytes);
    let mut again = Linear::decode_state(&bytes).expect("a state");
    assert_eq!((again.table.as_slice(), again.bias), (model.table.as_slice(), model.bias));
    assert_eq!(again.options, model.options);
    let rows = [Feature::flag(17), Feature::flag(900)];
    assert_eq!(again.learn(&rows, true, 1.0), model.learn(&rows, true, 1.0));
    assert_eq!(again.publish().logit(&rows), model.publish().logit(&rows));
    let mut untouched = Vec::new();
    Linear::new(options()).encode_state(&mut untouched);
    assert_eq!(untouched.len(), 79, "nothing seen, nothing written");
}

#[test]
fn changes_carry_a_state_forward() {
    let mut model = trained(LinearOptions { bits: 16, ..options() }, 300);
    let (mut whole, mut changes) = (Vec::new(), Vec::new());
    model.encode_changes(&mut Vec::new());
    model.encode_state(&mut whole);
    model.learn(&[Feature::flag(7), Feature::flag(40_000)], true, 1.0);
    model.encode_changes(&mut changes);
    assert!(changes.len() < whole.len() / 4, "{} of {} bytes", changes.len(), whole.len());
    let mut again = Linear::decode_state(&whole).expect("a state");
    assert_ne!(again.table, model.table);
    for _ in 0..2 {
        again.apply_changes(&changes).expect("changes");
        assert_eq!((again.table.as_slice(), again.bias), (model.table.as_slice(), model.bias));
    }
    assert_eq!(Linear::decode_state(&changes).err(), Some(StateError::Field("kind")));
    assert_eq!(again.apply_changes(&whole).err(), Some(StateError::Field("kind")));
    let mut other = Linear::new(LinearOptions { alpha: 0.5, ..*model.options() });
    assert_eq!(other.apply_changes(&changes).err(), Some(StateError::OtherModel));
}

#[test]
fn damage_to_a_state_is_seen() {
    let model = trained(LinearOptions { bits: 9, ..options() }, 3);
    let mut bytes = Vec::new();
    model.encode_state(&mut bytes);
    assert!(bytes.len() > 200);
    for place in 0..bytes.len() {
        assert!(Linear::decode_state(&bytes[..place]).is_err(), "cut at {place}");
        let mut damaged = bytes.clone();
        damaged[place] ^= 4;
        let error = Linear::decode_state(&damaged).expect_err("damage is seen");
        match place {
            0..4 => assert_eq!(error, StateError::Magic("a linear model's state")),
            4 => assert_eq!(error, StateError::Version(5)),
            5..79 => assert_eq!(error, StateError::Checksum(75)),
            _ => assert!(
                matches!(error, StateError::Checksum(_) | StateError::Truncated),
                "at {place}: {error}"
            ),
        }
    }
    bytes.push(0);
    assert_eq!(Linear::decode_state(&bytes).err(), Some(StateError::Field("length")));
}
