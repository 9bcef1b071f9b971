//! A network that does not fall behind what is simpler where effects are crossed.
//!
//! An earlier network without normalised numbers and without a wide term lost to a factorisation
//! machine on data like these: half of what decides lies in single keys, half in keys that meet and in a
//! number whose meaning a key decides; numbers are skewed, and missing where it matters. Logistic
//! regression, a factorisation machine and the network learn the same rows; later rows judge them.
//! Then the network serves in each precision, and must not lose by it.

use reckon_event::Feature;
use reckon_model::dcn::{
    Batch, Precision, Scratch, Served, Shape, Structure, Survey, SurveyOptions, Trainer,
    TrainerOptions, Weights,
};
use reckon_model::{Linear, LinearOptions, Random, auc, sigmoid};

const FIELDS: usize = 6;
const COLUMNS: usize = 2;
const TRAIN: usize = 30_000;
const TEST: usize = 12_000;

struct Log {
    numeric: Vec<f32>,
    keys: Vec<u64>,
    labels: Vec<f32>,
    truth: Vec<f32>,
}

/// A number of the standard normal that belongs to these values for ever.
fn effect(values: [u64; 3]) -> f32 {
    let mix =
        |hash: u64, value: u64| (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    Random::new(values.into_iter().fold(7, mix)).normal()
}

fn log(rows: usize, seed: u64) -> Log {
    let mut random = Random::new(seed);
    let mut log = Log { numeric: vec![], keys: vec![], labels: vec![], truth: vec![] };
    for _ in 0..rows {
        let sizes = [12, 12, 12, 12, 300, 3_000];
        let values = sizes.map(|size: u64| (size as f64).powf(random.uniform()) as u64);
        let money = (random.normal() * 2.0).exp() * 100.0;
        let age = if random.below(6) == 0 { f32::NAN } else { 40.0 + random.normal() * 12.0 };
        let single: f32 =
            (0..FIELDS).map(|field| effect([1, field as u64, values[field]]) * 0.35).sum();
        let pairs = effect([2, values[0], values[1]]) + effect([3, values[2], values[3]]);
        let turned = effect([4, 0, values[0]]).signum() * (money / 100.0).ln() * 0.4;
        let missing = if age.is_nan() { 0.8 } else { (age - 40.0) / 40.0 };
        let three = effect([5 + values[0] % 4, values[2] % 4, values[1] % 4]);
        let truth = -1.5 + single + pairs * 0.5 + three * 0.7 + turned + missing;
        log.labels.push(f32::from(u8::from(random.uniform() < f64::from(sigmoid(truth)))));
        log.truth.push(truth);
        log.numeric.extend([money, age]);
        log.keys.extend((0..FIELDS as u64).zip(values).map(|(field, value)| {
            ((value << 8) | (field + 1)).wrapping_mul(0xd6e8_feb8_6659_fd93)
        }));
    }
    log
}

fn quality(scores: &[f32], log: &Log) -> f64 {
    let labels: Vec<_> = log.labels.iter().map(|&label| label == 1.0).collect();
    auc(scores, &labels).expect("clicks and others")
}

fn logistic(train: &Log, test: &Log) -> f64 {
    let mut model = Linear::new(LinearOptions { bits: 18, ..LinearOptions::default() });
    let row = |log: &Log, row: usize| -> Vec<Feature> {
        let keys = log.keys[row * FIELDS..][..FIELDS].iter();
        keys.map(|&key| Feature::flag((key >> 32) as u32)).collect()
    };
    for _ in 0..3 {
        for index in 0..TRAIN {
            model.learn(&row(train, index), train.labels[index] == 1.0, 1.0);
        }
    }
    let scores: Vec<_> = (0..TEST).map(|index| model.logit(&row(test, index))).collect();
    quality(&scores, test)
}

/// A factorisation machine of rank 8 over the keys and the numbers' logarithms, by Adagrad.
struct Machine {
    weights: Vec<[f32; 9]>,
    squares: Vec<[f32; 9]>,
}

impl Machine {
    fn inputs(log: &Log, row: usize) -> Vec<(usize, f32)> {
        let keys =
            log.keys[row * FIELDS..][..FIELDS].iter().map(|key| ((key >> 48) as usize + 8, 1.0));
        let [money, age] = [log.numeric[row * COLUMNS], log.numeric[row * COLUMNS + 1]];
        let known = (1, (money / 100.0).ln() / 2.0);
        let age = if age.is_nan() { (2, 1.0) } else { (3, (age - 40.0) / 12.0) };
        keys.chain([(0, 1.0), known, age]).collect()
    }

    fn sums(&self, inputs: &[(usize, f32)]) -> (f32, [f32; 9]) {
        let (mut logit, mut sums) = (0.0, [0.0; 9]);
        for &(index, x) in inputs {
            let weights = &self.weights[index];
            logit += weights[0] * x;
            for factor in 1..9 {
                sums[factor] += weights[factor] * x;
                logit -= 0.5 * (weights[factor] * x).powi(2);
            }
        }
        (logit + sums.iter().map(|sum| 0.5 * sum * sum).sum::<f32>(), sums)
    }

    fn learn(&mut self, inputs: &[(usize, f32)], label: f32) {
        let (logit, sums) = self.sums(inputs);
        let by = sigmoid(logit) - label;
        for &(index, x) in inputs {
            for (factor, sum) in sums.into_iter().enumerate() {
                let weight = &mut self.weights[index][factor];
                let inner = if factor == 0 { 1.0 } else { sum - *weight * x };
                let gradient = by * x * inner + 1e-4 * *weight;
                let squares = &mut self.squares[index][factor];
                *squares += gradient * gradient;
                *weight -= 0.1 * gradient / squares.sqrt();
            }
        }
    }
}

fn factors(train: &Log, held: &Log, test: &Log) -> f64 {
    let mut random = Random::new(1);
    let mut start =
        || std::array::from_fn(|factor| if factor == 0 { 0.0 } else { random.normal() * 0.05 });
    let size = (1 << 16) + 8;
    let weights = (0..size).map(|_| start()).collect();
    let mut machine = Machine { weights, squares: vec![[1.0; 9]; size] };
    let (mut best, mut told) = (0.0, 0.0);
    for _ in 0..6 {
        (0..TRAIN).for_each(|row| machine.learn(&Machine::inputs(train, row), train.labels[row]));
        let score = |log: &Log, row| machine.sums(&Machine::inputs(log, row)).0;
        let judge = |log| quality(&(0..TEST).map(|row| score(log, row)).collect::<Vec<_>>(), log);
        if judge(held) > best {
            (best, told) = (judge(held), judge(test));
        }
    }
    told
}

fn shape() -> Shape {
    Shape {
        columns: COLUMNS,
        fields: FIELDS,
        user_columns: 1,
        user_fields: 3,
        embedding: 8,
        buckets: 1 << 10,
        cross_layers: 2,
        rank: 16,
        hidden: vec![64, 16],
        structure: Structure::Parallel,
    }
}

/// Stops when rows held out are no longer told better.
fn network(train: &Log, held: &Log) -> Weights {
    let shape = shape();
    let options = SurveyOptions { seen_min: 5, sketch_bits: 16, ..SurveyOptions::default() };
    let mut survey = Survey::new(&shape, options).expect("a survey");
    survey.see(&train.numeric, &train.keys);
    let inputs = survey.inputs().expect("inputs");
    assert!(inputs.columns()[0].is_log && !inputs.columns()[1].is_log);
    let mut trainer = Trainer::with_inputs(&shape, TrainerOptions::default(), inputs, 3);
    let mut best: Option<(f64, Weights)> = None;
    for _ in 0..12 {
        for start in (0..TRAIN).step_by(500) {
            let batch = Batch {
                numeric: &train.numeric[start * COLUMNS..][..500 * COLUMNS],
                keys: &train.keys[start * FIELDS..][..500 * FIELDS],
                labels: &train.labels[start..][..500],
                weights: &[],
            };
            trainer.step(&batch).expect("a batch");
        }
        let weights = trainer.weights();
        let mut scores = vec![0.0; held.labels.len()];
        weights.score(&held.numeric, &held.keys, &mut scores).expect("rows");
        let quality = quality(&scores, held);
        match &best {
            Some((before, _)) if quality < *before => break,
            _ => best = Some((quality, weights)),
        }
    }
    best.expect("an epoch").1
}

fn served(weights: &Weights, precision: Precision, log: &Log) -> Vec<f32> {
    let model = Served::new(weights, precision);
    let mut scratch = Scratch::default();
    let score = |row: usize| {
        let (user_numeric, numeric) = log.numeric[row * COLUMNS..][..COLUMNS].split_at(1);
        let (user_keys, keys) = log.keys[row * FIELDS..][..FIELDS].split_at(3);
        let mut out = [0.0];
        model
            .score(user_numeric, user_keys, numeric, keys, &mut scratch, &mut out)
            .expect("a request");
        out[0]
    };
    (0..log.labels.len()).map(score).collect()
}

#[test]
fn crossed_effects_are_seen_and_served_in_every_precision() {
    let (train, held, test) = (log(TRAIN, 1), log(TEST, 2), log(TEST, 3));
    let weights = network(&train, &held);
    let mut plain = vec![0.0; TEST];
    weights.score(&test.numeric, &test.keys, &mut plain).expect("rows");
    let (ours, truth) = (quality(&plain, &test), quality(&test.truth, &test));
    let (logistic, factors) = (logistic(&train, &test), factors(&train, &held, &test));
    let all =
        format!("truth {truth:.4}, network {ours:.4}, FM {factors:.4}, logistic {logistic:.4}");
    assert!(ours > logistic + 0.08, "{all}");
    // A factorisation machine has the very form of most of these effects: with so few rows it is a hair
    // ahead, and the network may not be further behind than that.
    assert!(ours > factors - 0.005, "{all}");
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        let served = quality(&served(&weights, precision, &test), &test);
        assert!((served - ours).abs() <= 0.0002, "{precision:?}: {served} for {ours}");
    }
}
