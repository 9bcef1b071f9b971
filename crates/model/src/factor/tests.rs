//! What goes wrong with a kernel: it computes something else than the definition, on some widths, on
//! some processors, or only where a field is missing. So everything here is held against sums over
//! pairs in `f64`, with gradients from differences, over random rows with holes.

use super::*;
use crate::{Random, StateError, auc, sigmoid};

const FIELDS: usize = 7;
const COLUMNS: usize = 3;

/// The two machines behind one face.
trait Machine: Clone {
    fn make(options: FactorOptions) -> Self;
    fn learn(&mut self, row: Row<'_>, label: bool, weight: f32) -> f32;
    fn score(&self, row: Row<'_>) -> f32;
    fn plain(&self, row: Row<'_>) -> f32;
    fn learn_plainly(&mut self, row: Row<'_>, label: bool);
    fn many(&self, shared: Row<'_>, numeric: &[f32], keys: &[u64], logits: &mut [f32]);
    fn bytes(&self) -> Vec<u8>;
    fn of(bytes: &[u8]) -> Result<Self, StateError>;
    /// The definition, pair by pair.
    fn naive(&self, row: Row<'_>) -> f64;
    /// The same with one weight of one key moved.
    fn moved(&self, slot: usize, lane: usize, by: f32) -> Self;
    fn weights(&self, slot: usize) -> Vec<f32>;
    fn accumulators(&self, slot: usize) -> Vec<f32>;
    /// Where the slot of this field's key has its linear weight.
    fn linear_lane(&self, field: usize) -> usize;
}

/// What is there: slot, field, value.
fn present(options: &FactorOptions, row: Row<'_>) -> Vec<(usize, usize, f64)> {
    let size = 1usize << options.bits;
    let keys = row.keys.iter().enumerate().filter(|(_, key)| **key != 0);
    let keys = keys.map(|(field, &key)| (key as usize % size, field, 1.0));
    let numeric = row.numeric.iter().enumerate().filter(|(_, value)| !value.is_nan());
    let numeric =
        numeric.map(|(column, &value)| (size + column, options.fields + column, f64::from(value)));
    keys.chain(numeric).collect()
}

macro_rules! machine {
    ($machine:ty, $naive:expr, $lane:expr) => {
        impl Machine for $machine {
            fn make(options: FactorOptions) -> Self {
                <$machine>::new(options).expect("sound options")
            }
            fn learn(&mut self, row: Row<'_>, label: bool, weight: f32) -> f32 {
                <$machine>::learn(self, row, label, weight)
            }
            fn score(&self, row: Row<'_>) -> f32 {
                <$machine>::score(self, row)
            }
            fn plain(&self, row: Row<'_>) -> f32 {
                self.plain_score(row)
            }
            fn learn_plainly(&mut self, row: Row<'_>, label: bool) {
                self.plain_learn(row, label);
            }
            fn many(&self, shared: Row<'_>, numeric: &[f32], keys: &[u64], logits: &mut [f32]) {
                self.score_many(shared, numeric, keys, &mut Scratch::default(), logits);
            }
            fn bytes(&self) -> Vec<u8> {
                let mut bytes = Vec::new();
                self.encode(&mut bytes);
                bytes
            }
            fn of(bytes: &[u8]) -> Result<Self, StateError> {
                <$machine>::decode(bytes)
            }
            fn naive(&self, row: Row<'_>) -> f64 {
                $naive(self, row)
            }
            fn moved(&self, slot: usize, lane: usize, by: f32) -> Self {
                let mut moved = self.clone();
                moved.table.slot(slot).weights[lane] += by;
                moved
            }
            fn weights(&self, slot: usize) -> Vec<f32> {
                self.table.weights(slot).to_vec()
            }
            fn linear_lane(&self, field: usize) -> usize {
                field * $lane
            }
            fn accumulators(&self, slot: usize) -> Vec<f32> {
                self.table.accumulators(slot).to_vec()
            }
        }
    };
}

fn naive_fm(model: &Fm, row: Row<'_>) -> f64 {
    let present = present(&model.options, row);
    let at = |slot: usize, lane: usize| f64::from(model.table.weights(slot)[lane]);
    let mut logit = f64::from(model.bias.weight);
    for (index, &(slot, _, x)) in present.iter().enumerate() {
        logit += at(slot, 0) * x;
        for &(other, _, y) in &present[index + 1..] {
            logit += (1..=model.options.factors).map(|k| at(slot, k) * at(other, k)).sum::<f64>()
                * x
                * y;
        }
    }
    logit
}

fn naive_ffm(model: &Ffm, row: Row<'_>) -> f64 {
    let present = present(&model.options, row);
    let room = model.options.factors.next_power_of_two().max(4);
    let at = |slot: usize, lane: usize| f64::from(model.table.weights(slot)[lane]);
    let mut logit = f64::from(model.bias.weight);
    for (index, &(slot, field, x)) in present.iter().enumerate() {
        logit += at(slot, field * room) * x;
        for &(other, its, y) in &present[index + 1..] {
            let product = |k| at(slot, its * room + k) * at(other, field * room + k);
            logit += (0..model.options.factors).map(product).sum::<f64>() * x * y;
        }
    }
    logit
}

// The step is tested with vectors of 4, which have room for 4.
machine!(Fm, naive_fm, 0);
machine!(Ffm, naive_ffm, 4);

/// Rows with holes, row-major.
fn rows(count: usize, holes: bool, random: &mut Random) -> (Vec<f32>, Vec<u64>) {
    let hole = |random: &mut Random| holes && random.below(4) == 0;
    let mut numeric = Vec::new();
    let mut keys = Vec::new();
    for _ in 0..count {
        for _ in 0..COLUMNS {
            numeric.push(if hole(random) { f32::NAN } else { random.normal() });
        }
        for field in 0..FIELDS as u64 {
            let key = (random.below(12) << 8 | field).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            keys.push(if hole(random) { 0 } else { key });
        }
    }
    (numeric, keys)
}

fn row<'a>(rows: &'a (Vec<f32>, Vec<u64>), index: usize) -> Row<'a> {
    Row {
        numeric: &rows.0[index * COLUMNS..][..COLUMNS],
        keys: &rows.1[index * FIELDS..][..FIELDS],
    }
}

fn options(factors: usize) -> FactorOptions {
    FactorOptions { factors, bits: 14, spread: 1.0, ..FactorOptions::new(FIELDS, COLUMNS) }
}

fn taught<M: Machine>(options: FactorOptions, count: usize, seed: u64) -> M {
    let mut random = Random::new(seed);
    let rows = rows(count, true, &mut random);
    let mut model = M::make(options);
    for index in 0..count {
        model.learn(row(&rows, index), random.below(3) == 0, 1.0);
    }
    model
}

fn scores_are_the_definition<M: Machine>(factors_max: usize) -> usize {
    let mut compared = 0;
    for factors in 1..=factors_max {
        let model: M = taught(options(factors), 300, 1);
        let rows = rows(100, true, &mut Random::new(2));
        for index in 0..100 {
            let row = row(&rows, index);
            let (score, naive) = (model.score(row), model.naive(row));
            let distance = (f64::from(score) - naive).abs();
            assert!(distance < 2e-5 * (1.0 + naive.abs()), "{factors} {score} {naive}");
            assert_eq!(
                score.to_bits(),
                model.plain(row).to_bits(),
                "both forms give the same bits"
            );
            compared += 1;
        }
    }
    compared
}

#[test]
fn scores_are_the_sums_over_pairs() {
    assert_eq!(scores_are_the_definition::<Fm>(31), 3_100);
    assert_eq!(scores_are_the_definition::<Ffm>(16), 1_600);
}

fn both_forms_learn_alike<M: Machine>(factors: &[usize]) -> usize {
    let rows = rows(300, true, &mut Random::new(12));
    for &factors in factors {
        let (mut wide, mut plain) = (M::make(options(factors)), M::make(options(factors)));
        for index in 0..300 {
            let (row, label) = (row(&rows, index), index % 3 == 0);
            wide.learn(row, label, 1.0);
            plain.learn_plainly(row, label);
        }
        assert!(wide.bytes() == plain.bytes(), "{factors}: both forms learn the same bits");
    }
    factors.len()
}

#[test]
fn every_processor_learns_the_same() {
    assert_eq!(both_forms_learn_alike::<Fm>(&[1, 4, 7, 8, 15, 16, 31]), 7);
    assert_eq!(both_forms_learn_alike::<Ffm>(&[1, 3, 4, 5, 8, 9, 16]), 7);
}

fn shared_rows_score_alike<M: Machine>() -> usize {
    let model: M = taught(options(4), 500, 3);
    let mut random = Random::new(4);
    let mut compared = 0;
    for shared_count in 0..=FIELDS {
        let candidates = rows(20, true, &mut random);
        let shared = rows(1, true, &mut random);
        let (mut shared_numeric, mut shared_keys) = (shared.0, shared.1);
        shared_keys[shared_count..].fill(0);
        shared_numeric[shared_count.min(COLUMNS)..].fill(f32::NAN);
        let shared = Row { numeric: &shared_numeric, keys: &shared_keys };
        let mut logits = vec![0.0; 20];
        model.many(shared, &candidates.0, &candidates.1, &mut logits);
        for (index, logit) in logits.iter().enumerate() {
            let own = row(&candidates, index);
            let keys = shared.keys.iter().zip(own.keys);
            let keys: Vec<_> = keys.map(|(&a, &b)| if a == 0 { b } else { a }).collect();
            let numeric = shared.numeric.iter().zip(own.numeric);
            let numeric: Vec<_> = numeric.map(|(&a, &b)| if a.is_nan() { b } else { a }).collect();
            let whole = model.naive(Row { numeric: &numeric, keys: &keys });
            assert!(
                (f64::from(*logit) - whole).abs() < 2e-5 * (1.0 + whole.abs()),
                "{logit} {whole}"
            );
            compared += 1;
        }
    }
    compared
}

#[test]
fn a_shared_context_changes_no_score() {
    assert_eq!(shared_rows_score_alike::<Fm>() + shared_rows_score_alike::<Ffm>(), 320);
}

/// One step moves each weight along the gradient of the log loss, whose size is found by differences
/// of the definition, and divides by the root of the accumulator.
fn steps_follow_the_gradient<M: Machine>(options: FactorOptions) -> usize {
    let model: M = taught(options, 400, 5);
    let mut random = Random::new(6);
    let rows = rows(20, true, &mut random);
    let mut compared = 0;
    for index in 0..20 {
        let (row, label) = (row(&rows, index), index % 2 == 0);
        let mut after = model.clone();
        let before = after.learn(row, label, 2.0);
        assert_eq!(before.to_bits(), model.score(row).to_bits());
        let error = 2.0 * (f64::from(sigmoid(before)) - f64::from(u8::from(label)));
        let entries = present(&options, row);
        let mut slots: Vec<_> = entries.iter().map(|entry| entry.0).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), entries.len(), "no two of a row share a slot here");
        for (slot, field, _) in entries {
            if model.accumulators(slot)[0] == 0.0 {
                continue;
            }
            for lane in 0..model.weights(slot).len() {
                let at = |by| model.moved(slot, lane, by).naive(row);
                let slope = error * (at(0.5) - at(-0.5));
                let accumulator = f64::from(model.accumulators(slot)[lane]) + slope * slope;
                let is_linear = lane == model.linear_lane(field);
                let alpha = if is_linear { options.linear_alpha } else { options.alpha };
                let step = f64::from(alpha) * slope / accumulator.sqrt();
                let moved = f64::from(model.weights(slot)[lane] - after.weights(slot)[lane]);
                assert!((moved - step).abs() < 1e-4, "{slot} {lane}: {moved} {step}");
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn a_step_is_adagrad_along_the_gradient() {
    let seen = steps_follow_the_gradient::<Fm>(options(7));
    let aware = steps_follow_the_gradient::<Ffm>(options(4));
    assert!(seen > 1_000 && aware > 5_000, "{seen} {aware}");
}

fn it_comes_back<M: Machine>() {
    let (one, again): (M, M) = (taught(options(4), 200, 7), taught(options(4), 200, 7));
    let bytes = one.bytes();
    assert_eq!(bytes, again.bytes(), "one seed, one state");
    let mut other = options(4);
    other.seed = 2;
    assert_ne!(bytes, taught::<M>(other, 200, 7).bytes());
    let (mut back, mut ours) = (M::of(&bytes).expect("what was written"), one);
    let more = rows(50, true, &mut Random::new(8));
    for index in 0..50 {
        let row = row(&more, index);
        assert_eq!(back.learn(row, index % 3 == 0, 1.0), ours.learn(row, index % 3 == 0, 1.0));
    }
    assert_eq!(back.bytes(), ours.bytes());
    for place in (0..bytes.len()).step_by(997) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        assert!(M::of(&damaged).is_err() && M::of(&bytes[..place]).is_err());
    }
}

#[test]
fn a_state_comes_back_and_goes_on() {
    it_comes_back::<Fm>();
    it_comes_back::<Ffm>();
    assert_eq!(Fm::decode(&taught::<Ffm>(options(4), 1, 1).bytes()).err(), {
        Some(StateError::Magic("a factorisation machine"))
    });
}

fn the_unknown_says_nothing<M: Machine>() {
    let model: M = taught(options(4), 200, 9);
    let known = rows(1, false, &mut Random::new(10));
    let mut with = known.1.clone();
    let mut without = known.1.clone();
    // A slot that no key of the rows has.
    let never = (1u64..).find(|&slot| model.accumulators(slot as usize).iter().all(|&a| a == 0.0));
    (with[2], without[2]) = (never.expect("a slot"), 0);
    let score = |keys: &[u64]| model.score(Row { numeric: &known.0, keys });
    assert!((score(&with) - score(&without)).abs() < 1e-5);
    let mut model = model;
    let empty = Row { numeric: &[f32::NAN; COLUMNS], keys: &[0; FIELDS] };
    let before = model.bytes();
    model.learn(Row { numeric: &[f32::INFINITY; COLUMNS], ..empty }, true, f32::NAN);
    assert_eq!(model.bytes(), before, "a weight that is no number teaches nothing");
    model.learn(Row { numeric: &[f32::INFINITY; COLUMNS], ..empty }, true, 1.0);
    assert!(model.score(empty).is_finite());
}

#[test]
fn what_was_never_seen_or_is_no_number_does_no_harm() {
    the_unknown_says_nothing::<Fm>();
    the_unknown_says_nothing::<Ffm>();
}

/// Clicks depend on a product of two fields alone: no sum of weights can know it.
fn it_learns_pairs<M: Machine>() -> f64 {
    let mut random = Random::new(11);
    let mut model = M::make(FactorOptions { bits: 14, ..FactorOptions::new(3, 0) });
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    for index in 0..60_000u32 {
        let drawn: [u64; 3] = std::array::from_fn(|_| random.below(20));
        let keys: Vec<_> = drawn.iter().zip(1..).map(|(value, field)| value << 2 | field).collect();
        let same = (drawn[0] + drawn[1]).is_multiple_of(2);
        let logit = if same { 1.0 } else { -3.0 };
        let label = random.uniform() < f64::from(sigmoid(logit));
        let logit = model.learn(Row { numeric: &[], keys: &keys }, label, 1.0);
        if index >= 40_000 {
            scores.push(logit);
            labels.push(label);
        }
    }
    auc(&scores, &labels).expect("both kinds")
}

#[test]
fn pairs_are_learned() {
    // Who knows the truth has 0.881 here, who knows single fields 0.5.
    let (fm, ffm) = (it_learns_pairs::<Fm>(), it_learns_pairs::<Ffm>());
    assert!(fm > 0.85 && ffm > 0.85, "{fm} {ffm}");
}

#[test]
fn options_out_of_range_are_named() {
    let refused = |change: fn(&mut FactorOptions)| {
        let mut options = options(4);
        change(&mut options);
        let (one, other) = (Fm::new(options).err(), Ffm::new(options).err());
        assert_eq!(one.map(|error| error.field), other.map(|error| error.field));
        one.expect("a fault").field
    };
    assert_eq!(refused(|options| options.bits = 40), "number of bits");
    assert_eq!(refused(|options| options.alpha = 0.0), "alpha");
    assert_eq!(refused(|options| options.factors = 99), "number of factors");
    assert_eq!(refused(|options| options.start = f32::NAN), "start");
    let wide = FactorOptions::new(60, 10);
    assert!(Fm::new(wide).is_ok());
    let error = Ffm::new(wide).expect_err("too many fields");
    assert!(error.to_string().contains("at most 64"), "{error}");
    let large = FactorOptions { bits: 28, factors: 16, ..FactorOptions::new(60, 0) };
    assert_eq!(Ffm::new(large).err().map(|error| error.field), Some("table"));
}
