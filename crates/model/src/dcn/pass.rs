//! Forward and backward through the cross and hidden layers, for some rows at once.
//!
//! Both are written once for f32 and f64: what learns is what the gradient check proves. Rows come a
//! few hundred at a time, so that all that lies between forward and backward stays in the caches.

use super::layout::{Cross, Hidden, Layout};
use super::product::{Real, View, multiply};
use crate::Random;

/// Rows that pass at once.
pub(super) const ROWS: usize = 256;

/// What one pass keeps; all row after row.
#[derive(Default)]
pub(super) struct Pass<T> {
    /// x0 and each cross layer's result.
    pub(super) x: Vec<Vec<T>>,
    /// V x of each cross layer of low rank.
    low: Vec<Vec<T>>,
    /// What x0 is multiplied with in each cross layer.
    factors: Vec<Vec<T>>,
    /// Each hidden layer's result.
    hidden: Vec<Vec<T>>,
    /// The rows' log odds: bias and wide term before forward, whole after it.
    pub(super) logits: Vec<T>,
    /// Gradient by x0, after backward.
    pub(super) x_gradient: Vec<T>,
    x_last: Vec<T>,
    scratch: Vec<T>,
    low_scratch: Vec<T>,
    above: Vec<T>,
    below: Vec<T>,
    /// What kept results of hidden layers were multiplied with.
    kept_scale: T,
}

/// Results of hidden layers that are left out while learning, so that no one of them is relied upon; the
/// others stand for them.
pub(super) struct Dropout {
    /// The share that is left out, 0 up to below 1.
    pub(super) share: f32,
    /// Chooses them.
    pub(super) random: Random,
}

fn size<T: Real>(numbers: &mut Vec<T>, length: usize) {
    numbers.resize(length, T::default());
}

impl<T: Real> Pass<T> {
    /// Makes room for so many rows.
    pub(super) fn resize(&mut self, layout: &Layout, rows: usize) {
        let width = layout.shape.width();
        self.x.resize_with(layout.cross.len() + 1, Vec::new);
        self.low.resize_with(layout.cross.len(), Vec::new);
        self.factors.resize_with(layout.cross.len(), Vec::new);
        self.hidden.resize_with(layout.hidden.len(), Vec::new);
        self.x.iter_mut().for_each(|x| size(x, rows * width));
        self.low.iter_mut().for_each(|low| size(low, rows * layout.shape.rank));
        self.factors.iter_mut().for_each(|factors| size(factors, rows * width));
        for (hidden, layer) in self.hidden.iter_mut().zip(&layout.hidden) {
            size(hidden, rows * layer.outputs);
        }
        size(&mut self.logits, rows);
    }

    /// From x0 to the log odds.
    pub(super) fn forward(&mut self, layout: &Layout, dense: &[T]) {
        let mut none = Dropout { share: 0.0, random: Random::new(0) };
        self.forward_without(layout, dense, &mut none);
    }

    /// The same while some results of hidden layers are left out.
    pub(super) fn forward_without(&mut self, layout: &Layout, dense: &[T], dropout: &mut Dropout) {
        let rows = self.logits.len();
        self.kept_scale = T::from(1.0 / (1.0 - dropout.share));
        for layer in 0..layout.cross.len() {
            self.cross_forward(layout, dense, layer, rows);
        }
        for layer in 0..layout.hidden.len() {
            self.hidden_forward(layout, dense, layer, rows);
            if dropout.share > 0.0 {
                self.leave_out(layer, dropout);
            }
        }
        let output = &dense[layout.output.clone()];
        let (cross, deep) = self.outputs(layout);
        let (of_cross, of_deep) = output.split_at(cross.map_or(0, |_| layout.shape.width()));
        let mut sums = std::mem::take(&mut self.logits);
        let (cross, deep) =
            (cross.map(|index| &self.x[index]), deep.map(|index| &self.hidden[index]));
        for (numbers, weights) in [(cross, of_cross), (deep, of_deep)] {
            let Some(numbers) = numbers else { continue };
            for (sum, numbers) in sums.iter_mut().zip(numbers.chunks_exact(weights.len())) {
                *sum += dot(numbers, weights);
            }
        }
        self.logits = sums;
    }

    /// What the output layer reads: which x, which hidden layer.
    fn outputs(&self, layout: &Layout) -> (Option<usize>, Option<usize>) {
        let deep = layout.hidden.len().checked_sub(1);
        let reads_cross = layout.is_parallel() || deep.is_none();
        (reads_cross.then_some(layout.cross.len()), deep)
    }

    /// The place of a hidden layer's inputs: another hidden layer, or an x.
    fn below(layout: &Layout, layer: usize) -> Result<usize, usize> {
        match layer.checked_sub(1) {
            Some(below) => Ok(below),
            None if layout.is_parallel() => Err(0),
            None => Err(layout.cross.len()),
        }
    }

    fn cross_forward(&mut self, layout: &Layout, dense: &[T], layer: usize, rows: usize) {
        let (width, rank) = (layout.shape.width(), layout.shape.rank);
        let (done, next) = self.x.split_at_mut(layer + 1);
        let (first, x) = (&done[0], &done[layer]);
        let (factors, low) = (&mut self.factors[layer], &mut self.low[layer]);
        let input = View::new(x, rows, width);
        let bias = match &layout.cross[layer] {
            Cross::Full { weight, bias } => {
                let weight = View::new(&dense[weight.clone()], width, width);
                multiply(factors, false, input, weight.transposed());
                bias
            }
            Cross::Low { v, u, bias } => {
                let v = View::new(&dense[v.clone()], rank, width);
                let u = View::new(&dense[u.clone()], width, rank);
                multiply(low, false, input, v.transposed());
                multiply(factors, false, View::new(low, rows, rank), u.transposed());
                bias
            }
        };
        let bias = &dense[bias.clone()];
        for (row, factors) in factors.chunks_exact_mut(width).enumerate() {
            let place = row * width..(row + 1) * width;
            let (first, x) = (&first[place.clone()], &x[place.clone()]);
            let next = &mut next[0][place];
            for column in 0..width {
                factors[column] += bias[column];
                next[column] = first[column] * factors[column] + x[column];
            }
        }
    }

    fn hidden_forward(&mut self, layout: &Layout, dense: &[T], layer: usize, rows: usize) {
        let Hidden { inputs, outputs, weight, bias } = &layout.hidden[layer];
        let (done, next) = self.hidden.split_at_mut(layer);
        let input = match Self::below(layout, layer) {
            Ok(below) => &done[below],
            Err(x) => &self.x[x],
        };
        let weight = View::new(&dense[weight.clone()], *outputs, *inputs);
        multiply(&mut next[0], false, View::new(input, rows, *inputs), weight.transposed());
        let bias = &dense[bias.clone()];
        for row in next[0].chunks_exact_mut(*outputs) {
            for (number, &bias) in row.iter_mut().zip(bias) {
                let sum = *number + bias;
                *number = if sum > T::default() { sum } else { T::default() };
            }
        }
    }

    fn leave_out(&mut self, layer: usize, dropout: &mut Dropout) {
        let scale = self.kept_scale;
        for number in &mut self.hidden[layer] {
            let is_kept = dropout.random.uniform() >= f64::from(dropout.share);
            *number = if is_kept { *number * scale } else { T::default() };
        }
    }

    /// Adds to the gradient by the weights, and leaves that by x0 in `x_gradient`; `by_logit` is that
    /// by the rows' log odds. Wide term and missing numbers are the caller's.
    pub(super) fn backward(
        &mut self,
        layout: &Layout,
        dense: &[T],
        by_logit: &[T],
        gradient: &mut [T],
    ) {
        let (rows, width) = (by_logit.len(), layout.shape.width());
        let (cross, deep) = self.outputs(layout);
        self.x_gradient.clear();
        size(&mut self.x_gradient, rows * width);
        self.x_last.clear();
        size(&mut self.x_last, rows * width);
        let mut output = layout.output.clone();
        if let Some(cross) = cross {
            let range = output.start..output.start + width;
            output.start += width;
            spread(&mut self.x_last, by_logit, &dense[range.clone()]);
            gather(&mut gradient[range], by_logit, &self.x[cross]);
        }
        if let Some(deep) = deep {
            size(&mut self.above, rows * output.len());
            spread(&mut self.above, by_logit, &dense[output.clone()]);
            gather(&mut gradient[output], by_logit, &self.hidden[deep]);
        }
        for layer in (0..layout.hidden.len()).rev() {
            self.hidden_backward(layout, dense, layer, rows, gradient);
        }
        for layer in (0..layout.cross.len()).rev() {
            self.cross_backward(layout, dense, layer, rows, gradient);
        }
        add(&mut self.x_gradient, &self.x_last);
    }

    fn hidden_backward(
        &mut self,
        layout: &Layout,
        dense: &[T],
        layer: usize,
        rows: usize,
        gradient: &mut [T],
    ) {
        let Hidden { inputs, outputs, weight, bias } = &layout.hidden[layer];
        // What was left out is 0, like what the ReLU has cut.
        for (above, &result) in self.above.iter_mut().zip(&self.hidden[layer]) {
            *above = if result <= T::default() { T::default() } else { *above * self.kept_scale };
        }
        sum_rows(&mut gradient[bias.clone()], &self.above);
        let above = View::new(&self.above, rows, *outputs);
        let below = Self::below(layout, layer);
        let input = match below {
            Ok(below) => &self.hidden[below],
            Err(x) => &self.x[x],
        };
        let input = View::new(input, rows, *inputs);
        multiply(&mut gradient[weight.clone()], true, above.transposed(), input);
        let weight = View::new(&dense[weight.clone()], *outputs, *inputs);
        match below {
            Ok(_) => {
                size(&mut self.below, rows * inputs);
                multiply(&mut self.below, false, above, weight);
                std::mem::swap(&mut self.above, &mut self.below);
            }
            Err(0) => multiply(&mut self.x_gradient, true, above, weight),
            Err(_) => multiply(&mut self.x_last, true, above, weight),
        }
    }

    /// `x_last` is the gradient by this layer's result before, and by its input after.
    fn cross_backward(
        &mut self,
        layout: &Layout,
        dense: &[T],
        layer: usize,
        rows: usize,
        gradient: &mut [T],
    ) {
        let (width, rank) = (layout.shape.width(), layout.shape.rank);
        size(&mut self.scratch, rows * width);
        let parts = self.x[0].iter().zip(&self.factors[layer]).zip(&self.x_last);
        let results = self.scratch.iter_mut().zip(&mut self.x_gradient);
        for (((&first, &factor), &above), (by_factor, by_first)) in parts.zip(results) {
            *by_factor = above * first;
            *by_first += above * factor;
        }
        let by_factors = View::new(&self.scratch, rows, width);
        let input = View::new(&self.x[layer], rows, width);
        match &layout.cross[layer] {
            Cross::Full { weight, bias } => {
                sum_rows(&mut gradient[bias.clone()], &self.scratch);
                multiply(&mut gradient[weight.clone()], true, by_factors.transposed(), input);
                let weight = View::new(&dense[weight.clone()], width, width);
                multiply(&mut self.x_last, true, by_factors, weight);
            }
            Cross::Low { v, u, bias } => {
                sum_rows(&mut gradient[bias.clone()], &self.scratch);
                let low = View::new(&self.low[layer], rows, rank);
                multiply(&mut gradient[u.clone()], true, by_factors.transposed(), low);
                size(&mut self.low_scratch, rows * rank);
                let u = View::new(&dense[u.clone()], width, rank);
                multiply(&mut self.low_scratch, false, by_factors, u);
                let by_low = View::new(&self.low_scratch, rows, rank);
                multiply(&mut gradient[v.clone()], true, by_low.transposed(), input);
                let v = View::new(&dense[v.clone()], rank, width);
                multiply(&mut self.x_last, true, by_low, v);
            }
        }
    }
}

/// The sum of products, in eight sums that do not wait for each other.
pub(super) fn dot<T: Real>(left: &[T], right: &[T]) -> T {
    let mut sums = [T::default(); 8];
    let (lefts, rights) = (left.chunks_exact(8), right.chunks_exact(8));
    let mut rest = T::default();
    for (&left, &right) in lefts.remainder().iter().zip(rights.remainder()) {
        rest += left * right;
    }
    for (left, right) in lefts.zip(rights) {
        for place in 0..8 {
            sums[place] += left[place] * right[place];
        }
    }
    sums.into_iter().fold(rest, |sum, one| sum + one)
}

/// Each row of `out` is the weights, by the row's gradient.
fn spread<T: Real>(out: &mut [T], by_logit: &[T], weights: &[T]) {
    for (row, &by) in out.chunks_exact_mut(weights.len()).zip(by_logit) {
        for (out, &weight) in row.iter_mut().zip(weights) {
            *out = by * weight;
        }
    }
}

/// Adds the rows, each by its gradient.
fn gather<T: Real>(out: &mut [T], by_logit: &[T], rows: &[T]) {
    for (row, &by) in rows.chunks_exact(out.len()).zip(by_logit) {
        for (out, &number) in out.iter_mut().zip(row) {
            *out += by * number;
        }
    }
}

fn sum_rows<T: Real>(out: &mut [T], rows: &[T]) {
    for row in rows.chunks_exact(out.len()) {
        add(out, row);
    }
}

fn add<T: Real>(out: &mut [T], numbers: &[T]) {
    for (out, &number) in out.iter_mut().zip(numbers) {
        *out += number;
    }
}
