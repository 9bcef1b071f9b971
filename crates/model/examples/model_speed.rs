//! What the parts of the online model cost: learning a row, publishing, scoring, choosing.
//!
//! ```sh
//! cargo run --release -p reckon-model --example model_speed
//! ```
//!
//! Rows are like those of an ad server: 40 features, users and ads by Zipf. The table has 2^22 weights
//! and has seen a million rows before anything is measured. Each figure is the middle of many short
//! windows: where the machine is shared, most of them see it undisturbed.

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

/// The middle of `windows` windows, in nanoseconds for each of the `count` things done in one.
fn middle(windows: usize, count: usize, mut work: impl FnMut(usize)) -> f64 {
    let mut times: Vec<_> = (0..windows)
        .map(|window| {
            let began = Instant::now();
            work(window);
            began.elapsed().as_nanos() as f64 / count as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[windows / 2]
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

    let learning = middle(ROWS / 64, 64 * FEATURES, |window| {
        learn(&mut model, &rows[window * 64..][..64], &mut random);
    });
    println!("learn                        {learning:8.1} ns a feature");
    publish(&mut model, &rows, &mut random);
    score(&mut model, &rows);
    calibrate(&mut random);
    for (draws, count) in [(10, 1), (32, 1), (32, 10), (100, 10)] {
        bandit(&mut random, draws, count);
    }
}

fn publish(model: &mut Linear, rows: &[Vec<Feature>], random: &mut Random) {
    for count in [1, 256, 5_000] {
        let parts = rows.chunks(count).take(20);
        let mut times: Vec<_> = parts
            .map(|part| {
                learn(model, part, random);
                middle(1, 1, |_| drop(black_box(model.publish())))
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("publish after {count:6} rows   {:8.2} ms", times[times.len() / 2] / 1e6);
    }
}

fn score(model: &mut Linear, rows: &[Vec<Feature>]) {
    let weights = model.publish();
    let scoring = middle(ROWS / 64, 64 * FEATURES, |window| {
        let part = &rows[window * 64..][..64];
        for (index, row) in part.iter().enumerate() {
            weights.prefetch(part.get(index + 1).unwrap_or(row));
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
    let fitting = middle(500, 1, |_| drop(black_box(calibrator.fit())));
    let curve = calibrator.fit();
    let logits: Vec<_> = (0..10_000).map(|_| random.normal() - 4.0).collect();
    let looking = middle(100, 100, |window| {
        for &logit in &logits[window * 100..][..100] {
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
    let choosing = middle(500, 1, |seed| {
        black_box(choose(&arms, count, &exploration, seed as u64, sigmoid));
    });
    println!("choose {count:2} of 200, {draws:3} draws {:9.1} us", choosing / 1e3);
}
