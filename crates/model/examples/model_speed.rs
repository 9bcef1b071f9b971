//! What the parts of the online model cost: learning a row, publishing, scoring, choosing.
//!
//! ```sh
//! cargo run --release -p reckon-model --example model_speed
//! ```
//!
//! Rows are like those of an ad server: 40 features, users and ads by Zipf. The table has 2^22 weights
//! and has seen a million rows before anything is measured. Each figure is the best of five, since the
//! machine is shared and everything else only adds.

#![expect(clippy::print_stdout, reason = "this prints figures")]

use std::hint::black_box;
use std::time::Instant;

use reckon_event::Feature;
use reckon_model::bandit::{Arm, Exploration, choose};
use reckon_model::{Calibrator, CalibratorOptions, Linear, LinearOptions, Random, sigmoid};

const FEATURES: usize = 40;
const ROWS: usize = 50_000;

/// A number below `bound`, small ones more often.
fn zipf(random: &mut Random, bound: u32) -> u32 {
    (f64::from(bound).powf(random.uniform()) - 1.0) as u32
}

/// Users, ads, what crosses them, and some of few values.
fn row(random: &mut Random) -> Vec<Feature> {
    let (user, ad) = (zipf(random, 1_000_000), zipf(random, 100_000));
    let feature = |index: usize| {
        let value = match index % 4 {
            0 => user / (1 << (index / 8)),
            1 => ad / (1 << (index / 8)),
            2 => (user ^ ad << 7) >> (index / 8),
            _ => random.below(20) as u32,
        };
        let hash = (u64::from(value) << 8 | index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Feature::flag((hash >> 32) as u32)
    };
    (0..FEATURES).map(feature).collect()
}

/// The best of five, in nanoseconds for each of `count`.
fn best(count: usize, mut work: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let began = Instant::now();
        work();
        least = least.min(began.elapsed().as_nanos() as f64 / count as f64);
    }
    least
}

fn learn(model: &mut Linear, rows: &[Vec<Feature>], random: &mut Random) {
    for (index, row) in rows.iter().enumerate() {
        if let Some(next) = rows.get(index + 1) {
            model.prefetch(next);
        }
        model.learn(row, random.below(50) == 0, 1.0);
    }
}

fn main() {
    let mut random = Random::new(1);
    let mut model = Linear::new(LinearOptions::default());
    for _ in 0..20 {
        let rows: Vec<_> = (0..ROWS).map(|_| row(&mut random)).collect();
        learn(&mut model, &rows, &mut random);
    }
    let rows: Vec<_> = (0..ROWS).map(|_| row(&mut random)).collect();

    let learning = best(ROWS * FEATURES, || learn(&mut model, &rows, &mut random));
    println!("learn                        {learning:8.1} ns a feature");
    publish(&mut model, &rows, &mut random);
    score(&mut model, &rows);
    calibrate(&mut random);
    for (draws, count) in [(10, 1), (100, 1), (100, 10)] {
        bandit(&mut random, draws, count);
    }
}

fn publish(model: &mut Linear, rows: &[Vec<Feature>], random: &mut Random) {
    for count in [1, 256, ROWS] {
        let mut least = f64::INFINITY;
        for part in rows.chunks(count).take(5) {
            learn(model, part, random);
            least = least.min(publication(model));
        }
        println!("publish after {count:6} rows   {:8.2} ms", least / 1e6);
    }
}

fn publication(model: &mut Linear) -> f64 {
    let began = Instant::now();
    black_box(model.publish());
    began.elapsed().as_nanos() as f64
}

fn score(model: &mut Linear, rows: &[Vec<Feature>]) {
    let weights = model.publish();
    let scoring = best(ROWS * FEATURES, || {
        for row in rows {
            black_box(weights.partial(row));
        }
    });
    println!("score                        {scoring:8.1} ns a feature");
}

fn calibrate(random: &mut Random) {
    let mut calibrator = Calibrator::new(CalibratorOptions::default());
    for _ in 0..100_000 {
        let logit = random.normal() - 4.0;
        calibrator.observe(logit, 1.0);
        if random.uniform() < f64::from(sigmoid(logit)) {
            calibrator.click(logit, 1.0);
        }
    }
    let fitting = best(1, || {
        black_box(calibrator.fit());
    });
    let curve = calibrator.fit();
    let logits: Vec<_> = (0..10_000).map(|_| random.normal() - 4.0).collect();
    let looking = best(logits.len(), || {
        for &logit in &logits {
            black_box(curve.probability(logit));
        }
    });
    println!("fit a calibration            {:8.1} us", fitting / 1e3);
    println!("calibrated probability       {looking:8.1} ns");
}

fn bandit(random: &mut Random, draws: u32, count: usize) {
    let arms: Vec<_> =
        (0..200).map(|_| Arm { logit: random.normal() - 4.0, variance: 0.3, value: 1.0 }).collect();
    let exploration = Exploration { draws, ..Exploration::default() };
    let mut seed = 0;
    let choosing = best(200, || {
        for _ in 0..200 {
            seed += 1;
            black_box(choose(&arms, count, &exploration, seed, sigmoid));
        }
    });
    println!("choose {count:2} of 200, {draws:3} draws {:9.1} us", choosing / 1e3);
}
