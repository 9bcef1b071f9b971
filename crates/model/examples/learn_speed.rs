//! What linear models and factorisation machines cost: learning and scoring a row.
//!
//! ```sh
//! cargo run --release -p reckon-model --example learn_speed
//! ```
//!
//! Keys are drawn evenly, so nearly every slot of the larger tables comes from memory: no cache helps
//! as it would with real keys, of which few are frequent. Each figure is the middle of many windows.

#![expect(clippy::print_stdout, reason = "this prints figures")]

use std::hint::black_box;
use std::time::Instant;

use reckon_event::Feature;
use reckon_model::factor::{FactorOptions, Ffm, Fm, Row, Scratch};
use reckon_model::{Linear, LinearOptions, Random};

const FIELDS: usize = 20;
const SHARED: usize = 12;
const ROWS: usize = 20_000;
const WINDOW: usize = 64;

/// The middle of the windows, in nanoseconds for each of the `count` things done in one.
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

fn rows(values: u64, random: &mut Random) -> Vec<u64> {
    let key = |index: usize| {
        let value = random.below(values) << 8 | (index % FIELDS) as u64;
        (value + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11 | 1 << 60
    };
    (0..ROWS * FIELDS).map(key).collect()
}

fn main() {
    linear();
    println!(
        "{:34} {:>9} {:>9} {:>9} {:>9}",
        "20 fields, vectors of 4", "table", "learn", "score", "shared"
    );
    for (bits, values) in [(12, 100), (20, 1_000_000)] {
        fm(bits, values);
        ffm(bits, values);
    }
}

macro_rules! machine {
    ($name:ident, $machine:ty, $title:literal, $slot:literal) => {
        fn $name(bits: u8, values: u64) {
            let mut random = Random::new(1);
            let mut model =
                <$machine>::new(FactorOptions { bits, ..FactorOptions::new(FIELDS, 0) })
                    .expect("sound options");
            let row = |keys: &'static [u64], index: usize| Row {
                numeric: &[],
                keys: &keys[index * FIELDS..][..FIELDS],
            };
            for _ in 0..10 {
                let keys: &'static [u64] = rows(values, &mut random).leak();
                for index in 0..ROWS {
                    model.learn(row(keys, index), false, 1.0);
                }
            }
            let keys: &'static [u64] = rows(values, &mut random).leak();
            let learning = middle(ROWS / WINDOW, WINDOW, |window| {
                for index in window * WINDOW..(window + 1) * WINDOW {
                    model.prefetch_whole(row(keys, (index + 1) % ROWS));
                    model.learn(row(keys, index), index % 30 == 0, 1.0);
                }
            });
            let keys: &'static [u64] = rows(values, &mut random).leak();
            let scoring = middle(ROWS / WINDOW, WINDOW, |window| {
                for index in window * WINDOW..(window + 1) * WINDOW {
                    model.prefetch(row(keys, (index + 1) % ROWS));
                    black_box(model.score(row(keys, index)));
                }
            });
            let mut keys = rows(values, &mut random);
            let mut shared = keys[..FIELDS].to_vec();
            shared[SHARED..].fill(0);
            keys.chunks_mut(FIELDS).for_each(|keys| keys[..SHARED].fill(0));
            let shared = Row { numeric: &[], keys: &shared };
            let (mut scratch, mut logits) = (Scratch::default(), vec![0.0; 200]);
            let sharing = middle(ROWS / 200, 200, |window| {
                let keys = &keys[window * 200 * FIELDS..][..200 * FIELDS];
                model.score_many(shared, &[], keys, &mut scratch, &mut logits);
                black_box(&logits);
            });
            let megabytes = ($slot << bits) as f64 / 1e6;
            println!(
                "{:34} {megabytes:6.0} MB {learning:6.0} ns {scoring:6.0} ns {sharing:6.0} ns",
                $title
            );
        }
    };
}

machine!(fm, Fm, "FM", 64u64);
machine!(ffm, Ffm, "FFM", 640u64);

/// Rows of 12 features, in a table of 2^22.
fn linear() {
    const FEATURES: usize = 12;
    let mut random = Random::new(1);
    let mut model = Linear::new(LinearOptions::default());
    let mut rows = || -> Vec<Vec<Feature>> {
        let mut feature = || Feature::flag((random.bits() >> 32) as u32);
        (0..ROWS).map(|_| (0..FEATURES).map(|_| feature()).collect()).collect()
    };
    for _ in 0..10 {
        for row in rows() {
            model.learn(&row, false, 1.0);
        }
    }
    let (learned, scored) = (rows(), rows());
    let learning = middle(ROWS / WINDOW, WINDOW * FEATURES, |window| {
        for index in window * WINDOW..(window + 1) * WINDOW {
            model.prefetch(&learned[(index + 1) % ROWS]);
            model.learn(&learned[index], index % 30 == 0, 1.0);
        }
    });
    let weights = model.publish();
    let scoring = |ahead: bool| {
        middle(ROWS / WINDOW, WINDOW, |window| {
            for index in window * WINDOW..(window + 1) * WINDOW {
                if ahead {
                    weights.prefetch(&scored[(index + 1) % ROWS]);
                }
                black_box(weights.logit(&scored[index]));
            }
        })
    };
    println!(
        "logistic, 12 features: learn {learning:.1} ns a feature; score {:.0} ns a row, {:.0} ns asked for ahead",
        scoring(false),
        scoring(true)
    );
}
