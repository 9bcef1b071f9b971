//! Gradients against differences, resuming against never having stopped, damage against its name.

use super::inputs::{Column, Inputs};
use super::layout::Layout;
use super::pass::{Dropout, Pass};
use super::sparse::{Gradients, order};
use super::*;
use crate::{Random, StateError};

fn shapes() -> Vec<Shape> {
    let shape = |rank, hidden: &[usize], structure| Shape {
        columns: 3,
        fields: 4,
        user_columns: 1,
        user_fields: 2,
        embedding: 3,
        buckets: 4,
        cross_layers: 2,
        rank,
        hidden: hidden.to_vec(),
        structure,
    };
    let mut shapes = Vec::new();
    for structure in [Structure::Stacked, Structure::Parallel] {
        for rank in [0, 2] {
            shapes.extend([&[5, 4][..], &[6], &[]].map(|hidden| shape(rank, hidden, structure)));
        }
    }
    shapes.push(Shape { cross_layers: 0, ..shape(0, &[4], Structure::Stacked) });
    shapes
}

/// A network and rows in f64, and its loss.
struct Net {
    layout: Layout,
    inputs: Inputs,
    dense: Vec<f64>,
    /// Embeddings, and behind each its wide weight.
    table: Vec<f64>,
    numeric: Vec<f32>,
    rows: Vec<u32>,
    labels: Vec<f64>,
    dropout: f32,
}

impl Net {
    fn new(shape: &Shape, seed: u64, dropout: f32) -> Self {
        let mut random = Random::new(seed);
        let layout = Layout::new(shape);
        let column = |index| Column { is_log: index == 0, mean: 0.3, scale: 0.7 };
        let columns = (0..shape.columns).map(column).collect();
        let inputs = Inputs::new(shape, columns, vec![101, 102]).expect("inputs");
        let dense = (0..layout.length()).map(|_| f64::from(random.normal()) * 0.4).collect();
        let table = inputs.head.rows() * (shape.embedding + 1);
        let table = (0..table).map(|_| f64::from(random.normal()) * 0.5).collect();
        let count = 7;
        let numeric = (0..count * shape.columns).map(|_| match random.below(4) {
            0 => f32::NAN,
            _ => random.normal() * 3.0,
        });
        let numeric = numeric.collect();
        let rows = (0..count * shape.fields)
            .map(|_| inputs.head.row([0, 101, 102, 7, 9][random.below(5) as usize]));
        let rows = rows.collect();
        let labels = (0..count).map(|_| random.below(2) as f64).collect();
        Net { layout, inputs, dense, table, numeric, rows, labels, dropout }
    }

    fn pass(&self) -> Pass<f64> {
        let width = self.layout.shape.embedding;
        let row = |row: usize| {
            let numbers = &self.table[row * (width + 1)..][..width + 1];
            (&numbers[..width], numbers[width])
        };
        let mut pass = Pass::default();
        pass.resize(&self.layout, self.labels.len());
        let (layout, dense) = (&self.layout, &self.dense);
        self.inputs.gather(layout, dense, &self.numeric, &self.rows, row, &mut pass);
        let mut dropout = Dropout { share: self.dropout, random: Random::new(3) };
        pass.forward_without(&self.layout, &self.dense, &mut dropout);
        pass
    }

    fn loss(&self) -> f64 {
        let pass = self.pass();
        let pairs = pass.logits.iter().zip(&self.labels);
        pairs.map(|(&logit, &label)| (1.0 + logit.exp()).ln() - logit * label).sum()
    }

    /// Gradients by the dense weights and by the table.
    fn gradients(&self) -> (Vec<f64>, Vec<f64>) {
        let mut pass = self.pass();
        let pairs = pass.logits.iter().zip(&self.labels);
        let by_logit: Vec<f64> =
            pairs.map(|(&logit, &label)| 1.0 / (1.0 + (-logit).exp()) - label).collect();
        let mut dense = vec![0.0; self.dense.len()];
        pass.backward(&self.layout, &self.dense, &by_logit, &mut dense);
        let (layout, weights) = (&self.layout, &self.dense);
        self.inputs.backward(layout, weights, &self.numeric, &by_logit, &mut pass, &mut dense);
        let Shape { columns, fields, embedding, .. } = self.layout.shape;
        let gradients =
            Gradients { x: &pass.x_gradient, by_logit: &by_logit, fields, columns, embedding };
        let (mut places, mut table) = (Vec::new(), vec![0.0; self.table.len()]);
        order(&self.rows, &mut places);
        gradients.each(&places, |row, by, wide| {
            let row = &mut table[row * (embedding + 1)..][..embedding + 1];
            row[..embedding].copy_from_slice(by);
            row[embedding] = wide;
        });
        (dense, table)
    }
}

/// Compares each weight's gradient with a central difference; gives how many.
fn check(
    net: &mut Net,
    numbers: fn(&mut Net) -> &mut Vec<f64>,
    gradient: &[f64],
    name: &str,
) -> usize {
    const STEP: f64 = 1e-6;
    for (index, &gradient) in gradient.iter().enumerate() {
        let before = numbers(net)[index];
        numbers(net)[index] = before + STEP;
        let above = net.loss();
        numbers(net)[index] = before - STEP;
        let below = net.loss();
        numbers(net)[index] = before;
        let difference = (above - below) / (2.0 * STEP);
        let error = (difference - gradient).abs() / (1.0 + gradient.abs());
        assert!(error < 1e-6, "{name} {index}: {gradient} but {difference}");
    }
    gradient.iter().filter(|gradient| **gradient != 0.0).count()
}

#[test]
fn gradients_are_those_of_differences() {
    let with = |dropout| shapes().into_iter().map(move |shape| (shape, dropout));
    for (seed, (shape, dropout)) in with(0.0).chain(with(0.3)).enumerate() {
        let mut net = Net::new(&shape, seed as u64 + 1, dropout);
        let (dense, table) = net.gradients();
        let moved = check(&mut net, |net| &mut net.table, &table, "table");
        assert!(moved > 10, "of the table only {moved} have a gradient");
        check(&mut net, |net| &mut net.dense, &dense, &format!("{shape:?}"));
        for place in &net.layout.places {
            let moved = dense[place.range.clone()].iter().filter(|by| **by != 0.0).count();
            assert!(moved > 0, "{} has no gradient in {shape:?}", place.name);
        }
    }
}

/// Rows in which two keys matter only together, and a column is missing now and then.
fn rows(shape: &Shape, count: usize, seed: u64) -> (Vec<f32>, Vec<u64>, Vec<f32>) {
    let mut random = Random::new(seed);
    let (mut numeric, mut keys, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        numeric.extend((0..shape.columns).map(|_| match random.below(5) {
            0 => f32::NAN,
            _ => random.normal() * 2.0,
        }));
        let row: Vec<u64> =
            (0..shape.fields as u64).map(|field| field * 1_000 + 1 + random.below(20)).collect();
        labels.push(f32::from(u8::from((row[0] ^ row[1]) & 1 == 0)));
        keys.extend(row);
    }
    (numeric, keys, labels)
}

fn trainer(shape: &Shape) -> Trainer {
    let (numeric, keys, _) = rows(shape, 500, 1);
    let options = SurveyOptions { seen_min: 20, ..SurveyOptions::default() };
    let mut survey = Survey::new(shape, options).expect("a survey");
    survey.see(&numeric, &keys);
    let inputs = survey.inputs().expect("inputs");
    assert!(!inputs.head().is_empty());
    let options = TrainerOptions { warm_up: 3, ..TrainerOptions::default() };
    Trainer::with_inputs(shape, options, inputs, 5)
}

#[test]
fn a_resumed_trainer_goes_on_as_if_it_had_never_stopped() {
    for shape in shapes() {
        let (numeric, keys, labels) = rows(&shape, 700, 2);
        let batch = Batch { numeric: &numeric, keys: &keys, labels: &labels, weights: &[] };
        let [mut straight, mut stopped, mut again] = [(); 3].map(|()| trainer(&shape));
        for round in 0..4 {
            let losses = [&mut straight, &mut stopped, &mut again].map(|one| one.step(&batch));
            assert!(losses.iter().all(|loss| loss == &losses[0]), "{losses:?}");
            if round == 1 {
                let mut bytes = Vec::new();
                stopped.checkpoint(&mut bytes);
                stopped = Trainer::resume(&bytes).expect("its own checkpoint");
                let mut written = Vec::new();
                stopped.checkpoint(&mut written);
                assert_eq!(bytes, written);
            }
        }
        let [one, two, three] = [&straight, &stopped, &again].map(|trainer| {
            let mut bytes = Vec::new();
            trainer.checkpoint(&mut bytes);
            bytes
        });
        assert!(one == two && one == three);
    }
}

#[test]
fn weights_are_their_bytes_and_their_tensors() {
    for shape in shapes() {
        let mut trainer = trainer(&shape);
        let (numeric, keys, labels) = rows(&shape, 600, 3);
        let batch = Batch { numeric: &numeric, keys: &keys, labels: &labels, weights: &[] };
        trainer.step(&batch).expect("a batch");
        let weights = trainer.weights();
        let mut bytes = Vec::new();
        weights.to_bytes(&mut bytes);
        let read = Weights::from_bytes(&bytes).expect("its own bytes");
        let tensors: Vec<_> = weights.tensors().collect();
        let tensors = tensors.iter().map(|one| (&one.name[..], &one.shape[..], &one.numbers[..]));
        let head = weights.inputs().head().to_vec();
        let imported = Weights::from_tensors(&shape, head, tensors).expect("its own tensors");
        let scores = [&weights, &read, &imported].map(|weights| {
            let mut out = vec![0.0; labels.len()];
            weights.score(&numeric, &keys, &mut out).expect("rows");
            out
        });
        assert!(scores[0] == scores[1] && scores[0] == scores[2]);
        assert!(scores[0].iter().any(|score| *score != scores[0][0]));
    }
}

#[test]
fn damage_is_named() {
    let shape = &shapes()[1];
    let mut bytes = Vec::new();
    trainer(shape).weights().to_bytes(&mut bytes);
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 32;
        assert!(Weights::from_bytes(&damaged).is_err(), "{place}");
        assert!(Weights::from_bytes(&bytes[..place]).is_err(), "{place}");
    }
    let error = Trainer::resume(&bytes).err();
    assert_eq!(error, Some(StateError::Magic("a checkpoint of a DCN-v2")));
    let size = TensorError::Size { name: "embedding".into(), found: vec![2], expected: vec![4, 3] };
    let found = Weights::from_tensors(shape, Vec::new(), [("embedding", &[2][..], &[0.0; 2][..])]);
    assert_eq!(found.err(), Some(size));
    let none = Weights::from_tensors(shape, Vec::new(), []);
    assert_eq!(none.err(), Some(TensorError::Missing("embedding".into())));
}

#[test]
fn bad_rows_are_named() {
    let shape = &shapes()[0];
    let mut trainer = trainer(shape);
    let (numeric, keys, labels) = rows(shape, 3, 2);
    let batch = Batch { numeric: &numeric, keys: &keys, labels: &labels, weights: &[] };
    let mut refused = |batch: Batch<'_>| trainer.step(&batch).expect_err("bad rows");
    let size = BatchError::Size { numeric: 9, keys: 12 };
    assert_eq!(refused(Batch { labels: &labels[1..], ..batch }), size);
    assert_eq!(refused(Batch { weights: &[1.0], ..batch }), size);
    let range = |field, row| BatchError::Range { field, row };
    assert_eq!(refused(Batch { labels: &[0.0, f32::NAN, 1.0], ..batch }), range("label", 1));
    assert_eq!(refused(Batch { weights: &[1.0, 1.0, -1.0], ..batch }), range("weight", 2));
    let fault = Shape { buckets: 3, ..shape.clone() }.check().expect_err("no power of two");
    assert_eq!(fault.field, "buckets");
}
