//! What serves, against the plain network: every shape, every precision, any number of candidates.

use super::super::{Column, Inputs, Structure, Trainer, TrainerOptions};
use super::*;
use crate::Random;

/// A network whose weights are all of some size, none of them where training begins.
fn network(random: &mut Random) -> Weights {
    let mut below = |bound: u64| random.below(bound) as usize;
    let (columns, fields) = (below(6), 1 + below(7));
    let shape = Shape {
        columns,
        fields,
        user_columns: below(columns as u64 + 1),
        user_fields: below(fields as u64 + 1),
        embedding: 1 + below(20),
        buckets: 16,
        cross_layers: below(4),
        rank: below(3) * (1 + below(20)),
        hidden: (0..below(3)).map(|_| 1 + below(40)).collect(),
        structure: if below(2) == 0 { Structure::Stacked } else { Structure::Parallel },
    };
    let column = |index| Column { is_log: index % 2 == 0, mean: 0.2, scale: 0.8 };
    let columns = (0..columns).map(column).collect();
    let inputs = Inputs::new(&shape, columns, vec![1, 2, 3, 4]).expect("inputs");
    let options = TrainerOptions { spread: 0.5, ..TrainerOptions::default() };
    let trainer = Trainer::with_inputs(&shape, options, inputs, random.bits());
    let mut weights = trainer.weights();
    weights.dense.iter_mut().for_each(|number| *number += random.normal() * 0.05);
    weights.linear.iter_mut().for_each(|number| *number += random.normal() * 0.1);
    weights
}

struct Request {
    user_numeric: Vec<f32>,
    user_keys: Vec<u64>,
    numeric: Vec<f32>,
    keys: Vec<u64>,
    count: usize,
}

impl Request {
    fn new(shape: &Shape, random: &mut Random) -> Self {
        let count = random.below(40) as usize;
        let mut numbers = |count: usize| -> Vec<f32> {
            let number = |random: &mut Random| match random.below(8) {
                0 => f32::NAN,
                1 => f32::INFINITY,
                _ => random.normal() * 4.0,
            };
            (0..count).map(|_| number(random)).collect()
        };
        let user_numeric = numbers(shape.user_columns);
        let numeric = numbers(count * (shape.columns - shape.user_columns));
        let mut keys = |count: usize| (0..count).map(|_| random.below(30)).collect::<Vec<_>>();
        let user_keys = keys(shape.user_fields);
        let keys = keys(count * (shape.fields - shape.user_fields));
        Request { user_numeric, user_keys, numeric, keys, count }
    }

    fn plain(&self, weights: &Weights) -> Vec<f32> {
        let shape = weights.shape();
        let (mut numeric, mut keys) = (Vec::new(), Vec::new());
        for row in 0..self.count {
            let (columns, fields) =
                (shape.columns - shape.user_columns, shape.fields - shape.user_fields);
            numeric.extend_from_slice(&self.user_numeric);
            numeric.extend_from_slice(&self.numeric[row * columns..][..columns]);
            keys.extend_from_slice(&self.user_keys);
            keys.extend_from_slice(&self.keys[row * fields..][..fields]);
        }
        let mut out = vec![0.0; self.count];
        weights.score(&numeric, &keys, &mut out).expect("rows");
        out
    }

    fn served(&self, served: &Served, scratch: &mut Scratch) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.count];
        served
            .score(
                &self.user_numeric,
                &self.user_keys,
                &self.numeric,
                &self.keys,
                scratch,
                &mut out,
            )
            .expect("a request");
        out
    }
}

#[test]
fn what_serves_is_the_network() {
    let mut random = Random::new(3);
    let mut scratch = Scratch::default();
    let (mut compared, mut errors) = (0, [0.0f32; 3]);
    for _ in 0..150 {
        let weights = network(&mut random);
        let requests = [(); 2].map(|()| Request::new(weights.shape(), &mut random));
        for (index, precision) in
            [Precision::F32, Precision::Bf16, Precision::Int8].into_iter().enumerate()
        {
            let mut served = Served::new(&weights, precision);
            for request in &requests {
                let plain = request.plain(&weights);
                let fast = request.served(&served, &mut scratch);
                served.has_avx2 = false;
                let portable = request.served(&served, &mut scratch);
                served.has_avx2 = has_avx2();
                for ((plain, fast), portable) in plain.iter().zip(&fast).zip(&portable) {
                    let size = 1.0 + plain.abs();
                    let bound = [2e-5, 0.3, 0.3][index];
                    assert!(
                        (plain - fast).abs() < bound * size,
                        "{precision:?} {plain} {fast} {:?}",
                        weights.shape()
                    );
                    assert!(
                        (portable - fast).abs() < 2e-4 * size,
                        "{precision:?} {portable} {fast} {:?}",
                        weights.shape()
                    );
                    errors[index] += (plain - fast).abs() / size;
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
    // Two bytes and one are coarser, but not by much: a panel in a wrong place would show here.
    let means = errors.map(|error| error * 3.0 / compared as f32);
    assert!(means[0] < 1e-6 && means[1] > 1e-5 && means[2] > 1e-5, "{means:?}");
    assert!(means[1] < 0.01 && means[2] < 0.01, "{means:?}");
}

#[test]
fn a_request_of_another_shape_is_refused() {
    let weights = network(&mut Random::new(1));
    let served = Served::new(&weights, Precision::F32);
    let mut out = [0.0; 3];
    let refused = served.score(&[], &[], &[], &[1], &mut Scratch::default(), &mut out);
    assert_eq!(refused, Err(BatchError::Size { numeric: 0, keys: 1 }));
}
