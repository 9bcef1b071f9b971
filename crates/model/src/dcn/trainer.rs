//! Learns a network: sparse Adagrad for keys, Adam for everything else.

use super::inputs::Inputs;
use super::layout::{Cross, Layout};
use super::pass::{Dropout, Pass, ROWS};
use super::sparse::{Gradients, Rates, Table, order};
use super::{Shape, TensorError, Weights};
use crate::Random;

/// How a [`Trainer`] learns. The defaults, for small logs, were chosen for batches of 500 rows and several passes over
/// tens of thousands: a large sum of squares at the start, so that rare keys are not learned by heart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainerOptions {
    /// Adam's rate.
    pub rate: f32,
    /// Adagrad's rate of embeddings.
    pub embedding_rate: f32,
    /// Adagrad's rate of the wide term's weights of keys.
    pub wide_rate: f32,
    /// Adagrad's sum of squares before anything was seen: the larger, the slower a new key begins.
    pub squares: f32,
    /// Pull of a key's numbers towards 0, each time the key is seen in a batch.
    pub l2: f32,
    /// Pull of the dense weights towards 0, a share of the rate (AdamW); biases and missing numbers
    /// are left alone.
    pub decay: f32,
    /// Steps in which the rates rise to their full size.
    pub warm_up: u32,
    /// Deviation of embeddings before anything was seen.
    pub spread: f32,
    /// The share of hidden results that is left out of each row while learning, 0 up to below 1: which
    /// ones depends on the number of the step.
    pub dropout: f32,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        TrainerOptions {
            rate: 5e-4,
            embedding_rate: 1.0,
            wide_rate: 0.5,
            squares: 30.0,
            l2: 0.01,
            decay: 0.3,
            warm_up: 100,
            spread: 0.2,
            dropout: 0.0,
        }
    }
}

impl TrainerOptions {
    /// For a long stream that is learned once, in which most keys come a few times. What a single row says of
    /// such a key is not believed far: its weight moves a third as far as by default. The network, which sees
    /// every row, learns faster, at once, and from smaller embeddings.
    ///
    /// Chosen on the last fifth of the rows that `bench/dcn.sh` learns from, never on those that judge.
    pub const ONCE: TrainerOptions = TrainerOptions {
        rate: 3e-3,
        embedding_rate: 1.0,
        wide_rate: 0.1,
        squares: 10.0,
        l2: 0.0,
        decay: 0.3,
        warm_up: 10,
        spread: 0.05,
        dropout: 0.0,
    };

    /// The numbers in the order of checkpoints; the first five must be above 0.
    pub(super) fn numbers(&mut self) -> [&mut f32; 8] {
        let TrainerOptions {
            rate,
            embedding_rate,
            wide_rate,
            squares,
            l2,
            decay,
            warm_up: _,
            spread,
            dropout,
        } = self;
        [rate, embedding_rate, wide_rate, squares, spread, l2, decay, dropout]
    }

    /// Whether every option is in its range.
    pub fn check(mut self) -> Result<(), crate::OptionError> {
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(crate::OptionError { field: "dropout", range: "0 up to below 1" });
        }
        const FIELDS: [&str; 8] =
            ["rate", "embedding_rate", "wide_rate", "squares", "spread", "l2", "decay", "dropout"];
        for (index, number) in self.numbers().into_iter().enumerate() {
            let may_be_0 = index >= 5;
            if !(number.is_finite() && (*number > 0.0 || may_be_0 && *number == 0.0)) {
                let range = if may_be_0 { "0 or more" } else { "above 0" };
                return Err(crate::OptionError { field: FIELDS[index], range });
            }
        }
        Ok(())
    }
}

/// Rows to learn.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Row after row; NaN is missing.
    pub numeric: &'a [f32],
    /// Row after row; 0 is missing.
    pub keys: &'a [u64],
    /// One a row: 1 clicked, 0 not; anything between is a share.
    pub labels: &'a [f32],
    /// One a row, or none at all: every row counts 1.
    pub weights: &'a [f32],
}

/// Rows that cannot be learned or scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The slices are not of the same rows.
    #[error(
        "numeric ({numeric}), keys ({keys}) and labels or scores do not hold the same number of rows"
    )]
    Size {
        /// Numbers given.
        numeric: usize,
        /// Keys given.
        keys: usize,
    },
    /// A label outside of 0 to 1, or a weight that is negative or not finite.
    #[error("{field} of row {row} is out of its range: labels are 0 to 1, weights 0 or more")]
    Range {
        /// `label` or `weight`.
        field: &'static str,
        /// The first such row.
        row: usize,
    },
}

/// Learns a network, one batch after another.
pub struct Trainer {
    pub(super) options: TrainerOptions,
    pub(super) layout: Layout,
    pub(super) inputs: Inputs,
    pub(super) steps: u64,
    pub(super) dense: Vec<f32>,
    /// Adam's means of gradients and of their squares.
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
    pub(super) table: Table,
    pub(super) scratch: Scratch,
}

/// What a step needs besides; holds nothing between steps.
#[derive(Default)]
pub(super) struct Scratch {
    pass: Pass<f32>,
    rows: Vec<u32>,
    order: Vec<u64>,
    gradient: Vec<f32>,
    x_gradient: Vec<f32>,
    by_logit: Vec<f32>,
}

impl Trainer {
    /// A network that knows nothing: numbers as they are, no key with a row of its own.
    pub fn new(shape: &Shape, options: TrainerOptions, seed: u64) -> Result<Self, TensorError> {
        Ok(Self::with_inputs(shape, options, Inputs::plain(shape)?, seed))
    }

    /// A network that knows what a [`super::Survey`] has measured with the same shape.
    pub fn with_inputs(shape: &Shape, options: TrainerOptions, inputs: Inputs, seed: u64) -> Self {
        assert_eq!(inputs.columns.len(), shape.columns, "the survey was made with this shape");
        let layout = Layout::new(shape);
        let mut random = Random::new(seed);
        let dense = start(&layout, &mut random);
        let stride = Table::stride(shape.embedding);
        let mut numbers = vec![0.0; inputs.head.rows() * stride];
        for row in numbers.chunks_exact_mut(stride) {
            row[..shape.embedding].fill_with(|| random.normal() * options.spread);
            row[shape.embedding + 1..].fill(options.squares);
        }
        let (first, second) = (vec![0.0; dense.len()], vec![0.0; dense.len()]);
        let table = Table { embedding: shape.embedding, numbers };
        let scratch = Scratch::default();
        Trainer { options, layout, inputs, steps: 0, dense, first, second, table, scratch }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Learns a batch; 512 to 4,096 rows are usual. Gives its mean log loss before it was learned.
    pub fn step(&mut self, batch: &Batch<'_>) -> Result<f64, BatchError> {
        let rows = self.check(batch)?;
        if rows == 0 {
            return Ok(0.0);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let (loss, weight) = self.gradients(batch, rows, &mut scratch);
        self.steps += 1;
        let warm_up = self.steps as f32 / self.options.warm_up.max(1) as f32;
        let factor = warm_up.min(1.0);
        if weight > 0.0 {
            self.learn_dense(&scratch.gradient, (1.0 / weight) as f32, factor);
            self.learn_keys(&mut scratch, factor);
        }
        self.scratch = scratch;
        Ok(if weight > 0.0 { loss / weight } else { 0.0 })
    }

    /// Log odds of rows with what it has learned so far.
    pub fn score(
        &mut self,
        numeric: &[f32],
        keys: &[u64],
        out: &mut [f32],
    ) -> Result<(), BatchError> {
        let shape = &self.layout.shape;
        if shape.rows(numeric, keys) != Some(out.len()) {
            return Err(BatchError::Size { numeric: numeric.len(), keys: keys.len() });
        }
        let Scratch { pass, rows, .. } = &mut self.scratch;
        rows.clear();
        rows.extend(keys.iter().map(|&key| self.inputs.head.row(key)));
        let row = |row| self.table.row(row);
        for (block, out) in out.chunks_mut(ROWS).enumerate() {
            let numeric = &numeric[block * ROWS * shape.columns..][..out.len() * shape.columns];
            let rows = &rows[block * ROWS * shape.fields..][..out.len() * shape.fields];
            pass.resize(&self.layout, out.len());
            self.inputs.gather(&self.layout, &self.dense, numeric, rows, row, pass);
            pass.forward(&self.layout, &self.dense);
            out.copy_from_slice(&pass.logits);
        }
        Ok(())
    }

    fn check(&self, batch: &Batch<'_>) -> Result<usize, BatchError> {
        let Batch { numeric, keys, labels, weights } = *batch;
        let rows = labels.len();
        let fits = self.layout.shape.rows(numeric, keys) == Some(rows)
            && (weights.is_empty() || weights.len() == rows);
        if !fits {
            return Err(BatchError::Size { numeric: numeric.len(), keys: keys.len() });
        }
        if let Some(row) = labels.iter().position(|label| !(0.0..=1.0).contains(label)) {
            return Err(BatchError::Range { field: "label", row });
        }
        match weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            Some(row) => Err(BatchError::Range { field: "weight", row }),
            None => Ok(rows),
        }
    }

    /// Sums of the batch's gradients, a block of rows at a time; gives the sums of losses and weights.
    fn gradients(&self, batch: &Batch<'_>, rows: usize, scratch: &mut Scratch) -> (f64, f64) {
        let Layout { shape, .. } = &self.layout;
        scratch.rows.clear();
        scratch.rows.extend(batch.keys.iter().map(|&key| self.inputs.head.row(key)));
        scratch.gradient.clear();
        scratch.gradient.resize(self.dense.len(), 0.0);
        scratch.x_gradient.clear();
        scratch.by_logit.clear();
        let (mut loss, mut weight) = (0.0, 0.0);
        let random = Random::new(self.steps ^ 0x6472_6f70);
        let mut dropout = Dropout { share: self.options.dropout, random };
        for start in (0..rows).step_by(ROWS) {
            let count = ROWS.min(rows - start);
            let numeric = &batch.numeric[start * shape.columns..][..count * shape.columns];
            let keys = &scratch.rows[start * shape.fields..][..count * shape.fields];
            let pass = &mut scratch.pass;
            pass.resize(&self.layout, count);
            let row = |row| self.table.row(row);
            self.inputs.gather(&self.layout, &self.dense, numeric, keys, row, pass);
            pass.forward_without(&self.layout, &self.dense, &mut dropout);
            for (index, &logit) in pass.logits.iter().enumerate() {
                let label = batch.labels[start + index];
                let one = batch.weights.get(start + index).copied().unwrap_or(1.0);
                let (row_loss, by) = log_loss(logit, label);
                loss += row_loss * f64::from(one);
                weight += f64::from(one);
                scratch.by_logit.push(by * one);
            }
            let by_logit = &scratch.by_logit[start..];
            pass.backward(&self.layout, &self.dense, by_logit, &mut scratch.gradient);
            let gradient = &mut scratch.gradient;
            self.inputs.backward(&self.layout, &self.dense, numeric, by_logit, pass, gradient);
            scratch.x_gradient.extend_from_slice(&pass.x_gradient);
        }
        (loss, weight)
    }

    /// Adam, with the gradient's sum made a mean.
    fn learn_dense(&mut self, gradient: &[f32], scale: f32, factor: f32) {
        const FIRST: f32 = 0.9;
        const SECOND: f32 = 0.999;
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let rate = self.options.rate * factor / (1.0 - FIRST.powi(steps));
        let correction = 1.0 / (1.0 - SECOND.powi(steps));
        for place in &self.layout.places {
            let is_decayed = place.shape.len() == 2;
            let keep = 1.0 - if is_decayed { self.options.decay * self.options.rate } else { 0.0 };
            for index in place.range.clone() {
                let by = gradient[index] * scale;
                let first = &mut self.first[index];
                *first = FIRST * *first + (1.0 - FIRST) * by;
                let second = &mut self.second[index];
                *second = SECOND * *second + (1.0 - SECOND) * by * by;
                let step = rate * *first / ((*second * correction).sqrt() + 1e-8);
                self.dense[index] = keep * self.dense[index] - step;
            }
        }
    }

    fn learn_keys(&mut self, scratch: &mut Scratch, factor: f32) {
        order(&scratch.rows, &mut scratch.order);
        let rates = Rates {
            embedding: self.options.embedding_rate * factor,
            wide: self.options.wide_rate * factor,
            l2: self.options.l2,
        };
        let Shape { columns, fields, embedding, .. } = self.layout.shape;
        let (x, by_logit) = (&scratch.x_gradient[..], &scratch.by_logit[..]);
        let gradients = Gradients { x, by_logit, fields, columns, embedding };
        gradients
            .each(&scratch.order, |row, by, by_wide| self.table.learn(row, by, by_wide, rates));
    }

    /// What it has learned so far.
    pub fn weights(&self) -> Weights {
        let rows = self.inputs.head.rows();
        let mut embedding = Vec::with_capacity(rows * self.table.embedding);
        let mut linear = Vec::with_capacity(rows);
        for row in 0..rows {
            let (numbers, weight) = self.table.row(row);
            embedding.extend_from_slice(numbers);
            linear.push(weight);
        }
        let (layout, inputs) = (self.layout.clone(), self.inputs.clone());
        Weights { layout, inputs, dense: self.dense.clone(), embedding, linear }
    }
}

/// A row's loss, and its gradient by the log odds.
fn log_loss(logit: f32, label: f32) -> (f64, f32) {
    let logit = f64::from(logit);
    let probability = 1.0 / (1.0 + (-logit).exp());
    let loss = logit.max(0.0) - logit * f64::from(label) + (-logit.abs()).exp().ln_1p();
    (loss, (probability - f64::from(label)) as f32)
}

/// Weights before anything was seen: matrices uniform within a bound that keeps the size of what
/// passes through (Glorot; He before a ReLU), everything else 0.
fn start(layout: &Layout, random: &mut Random) -> Vec<f32> {
    let mut dense = vec![0.0; layout.length()];
    let mut fill = |range: std::ops::Range<usize>, bound: f64| {
        dense[range].fill_with(|| ((random.uniform() * 2.0 - 1.0) * bound) as f32);
    };
    let glorot = |inputs: usize, outputs: usize| (6.0 / (inputs + outputs) as f64).sqrt();
    let (width, rank) = (layout.shape.width(), layout.shape.rank);
    for cross in &layout.cross {
        match cross {
            Cross::Full { weight, .. } => fill(weight.clone(), glorot(width, width)),
            Cross::Low { v, u, .. } => {
                fill(v.clone(), glorot(width, rank));
                fill(u.clone(), glorot(width, rank));
            }
        }
    }
    for hidden in &layout.hidden {
        fill(hidden.weight.clone(), (6.0 / hidden.inputs as f64).sqrt());
    }
    fill(layout.output.clone(), glorot(layout.output.len(), 1));
    dense
}
