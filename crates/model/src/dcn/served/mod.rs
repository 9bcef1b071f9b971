//! A network as it serves: immutable, packed for the processor, many candidates of one request at once.
//!
//! Inputs are put in another order than the trainer's: the user's columns and embeddings first, then
//! the candidate's, each half padded to whole panels. What the first cross layer and (parallel) the
//! first hidden layer make of the user's half is the same for all candidates, so it is computed once
//! and is where their sums begin. Sums are finished where they are made: bias, product with x0 and
//! ReLU are applied while they still lie in the nearest cache.

mod kernel;
mod packed;
#[cfg(test)]
mod tests;

pub(super) use kernel::prefetch;
use kernel::{Bf16, COLUMNS, Machine, Portable, Stored};
use packed::{Finish, Levels, Packed, Rows, padded};

use super::head::{Head, NO_ROW};
use super::inputs::Column;
use super::layout::{Cross, Layout};
use super::pass::dot;
use super::{BatchError, Shape, Weights};

/// How weights and embeddings are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As they were learned.
    F32,
    /// The upper half of an f32; computed in f32. Half the memory.
    Bf16,
    /// One byte with a step for each output and each embedding; activations are 16-bit integers with a
    /// step for each row. A quarter of the memory, and twice as many products at once.
    Int8,
}

/// A network that serves.
pub struct Served {
    shape: Shape,
    head: Head,
    columns: Vec<Column>,
    missing: Vec<f32>,
    linear_columns: Vec<f32>,
    embeddings: Embeddings,
    linear: Vec<f32>,
    user: usize,
    width: usize,
    cross: Vec<CrossLayer>,
    hidden: Vec<HiddenLayer>,
    of_cross: Vec<f32>,
    of_deep: Vec<f32>,
    bias: f32,
    has_avx2: bool,
}

enum Embeddings {
    Full(Vec<f32>),
    Half(Vec<Bf16>),
    Byte(Vec<i8>, Vec<f32>),
}

/// One matrix; of a layer that reads x0 two, for the user's half and the candidate's.
enum Input {
    Whole(Packed),
    Halves { user: Packed, candidate: Packed },
}

struct CrossLayer {
    /// To the low rank; or, with full rank, all there is.
    first: Input,
    second: Option<Packed>,
    bias: Vec<f32>,
}

struct HiddenLayer {
    input: Input,
    bias: Vec<f32>,
}

/// What a request needs besides the model; kept by the caller, one a thread.
#[derive(Default)]
pub struct Scratch {
    rows: Vec<u32>,
    first: Vec<f32>,
    x: Vec<f32>,
    low: Vec<f32>,
    start: Vec<f32>,
    hidden: [Vec<f32>; 2],
    levels: Levels,
}

/// Where each padded input comes from in the trainer's order: all, and how many are the user's.
fn order(shape: &Shape) -> (Vec<Option<usize>>, usize) {
    let half = |columns: std::ops::Range<usize>, fields: std::ops::Range<usize>| {
        let start = |field| shape.columns + field * shape.embedding;
        padded(columns.chain(start(fields.start)..start(fields.end)))
    };
    let mut places = half(0..shape.user_columns, 0..shape.user_fields);
    let user = places.len();
    places.extend(half(shape.user_columns..shape.columns, shape.user_fields..shape.fields));
    (places, user)
}

fn reorder(numbers: &[f32], places: &[Option<usize>]) -> Vec<f32> {
    places.iter().map(|place| place.map_or(0.0, |place| numbers[place])).collect()
}

impl Embeddings {
    fn new(numbers: &[f32], width: usize, precision: Precision) -> Self {
        match precision {
            Precision::F32 => Embeddings::Full(numbers.to_vec()),
            Precision::Bf16 => Embeddings::Half(numbers.iter().copied().map(Bf16::new).collect()),
            Precision::Int8 => {
                let (mut codes, mut steps) = (Vec::with_capacity(numbers.len()), Vec::new());
                for row in numbers.chunks_exact(width) {
                    let largest = row.iter().fold(0.0f32, |most, number| most.max(number.abs()));
                    let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
                    codes.extend(row.iter().map(|number| (number / step).round() as i8));
                    steps.push(step);
                }
                Embeddings::Byte(codes, steps)
            }
        }
    }

    #[inline(always)]
    fn copy(&self, row: usize, out: &mut [f32]) {
        let range = row * out.len()..(row + 1) * out.len();
        match self {
            Embeddings::Full(numbers) => out.copy_from_slice(&numbers[range]),
            Embeddings::Half(numbers) => {
                out.iter_mut().zip(&numbers[range]).for_each(|(out, half)| *out = half.number());
            }
            Embeddings::Byte(codes, steps) => {
                let codes = out.iter_mut().zip(&codes[range]);
                codes.for_each(|(out, &code)| *out = f32::from(code) * steps[row]);
            }
        }
    }

    fn ask(&self, row: usize, width: usize) {
        match self {
            Embeddings::Full(numbers) => prefetch(numbers, row * width),
            Embeddings::Half(numbers) => prefetch(numbers, row * width),
            Embeddings::Byte(codes, steps) => {
                prefetch(codes, row * width);
                prefetch(steps, row);
            }
        }
    }
}

impl Served {
    /// Packs a network.
    pub fn new(weights: &Weights, precision: Precision) -> Self {
        let Weights { layout, inputs, dense, .. } = weights;
        let shape = &layout.shape;
        let (places, user) = order(shape);
        let width = places.len();
        let of_cross =
            if layout.is_parallel() || shape.hidden.is_empty() { shape.width() } else { 0 };
        let (of_cross, of_deep) = dense[layout.output.clone()].split_at(of_cross);
        let of_cross = if of_cross.is_empty() { Vec::new() } else { reorder(of_cross, &places) };
        let of_deep = reorder(of_deep, &padded(0..of_deep.len()));
        let pack = Pack { layout, dense, places: &places, user, precision };
        Served {
            head: inputs.head.clone(),
            columns: inputs.columns.clone(),
            missing: dense[layout.missing.clone()].to_vec(),
            linear_columns: dense[layout.columns.clone()].to_vec(),
            embeddings: Embeddings::new(&weights.embedding, shape.embedding, precision),
            linear: weights.linear.clone(),
            user,
            width,
            cross: (0..layout.cross.len()).map(|layer| pack.cross(layer)).collect(),
            hidden: (0..layout.hidden.len()).map(|layer| pack.hidden(layer)).collect(),
            of_cross,
            of_deep,
            bias: dense[layout.bias],
            has_avx2: has_avx2(),
            shape: shape.clone(),
        }
    }

    /// Log odds of the candidates of one request, as many as `out` is long. `user_numeric` and
    /// `user_keys` are the user's; of each candidate come the columns and fields that are not the
    /// user's, row after row.
    pub fn score(
        &self,
        user_numeric: &[f32],
        user_keys: &[u64],
        numeric: &[f32],
        keys: &[u64],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), BatchError> {
        let shape = &self.shape;
        let fits = user_numeric.len() == shape.user_columns
            && user_keys.len() == shape.user_fields
            && numeric.len() == out.len() * (shape.columns - shape.user_columns)
            && keys.len() == out.len() * (shape.fields - shape.user_fields);
        if !fits {
            let (numeric, keys) =
                (numeric.len() + user_numeric.len(), keys.len() + user_keys.len());
            return Err(BatchError::Size { numeric, keys });
        }
        self.gather(user_numeric, user_keys, numeric, keys, scratch, out);
        #[cfg(target_arch = "x86_64")]
        if self.has_avx2 && kernel::with_avx2(|machine| self.run(machine, scratch, out)).is_some() {
            return Ok(());
        }
        self.run(Portable, scratch, out);
        Ok(())
    }

    /// x0 of all candidates; `out` becomes bias and wide term.
    fn gather(
        &self,
        user_numeric: &[f32],
        user_keys: &[u64],
        numeric: &[f32],
        keys: &[u64],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let Shape { columns, fields, user_columns, user_fields, embedding, .. } = self.shape;
        scratch.rows.clear();
        // Each lookup is one line of memory, and each embedding another: all are asked for before the
        // first is waited for.
        for &key in user_keys.iter().chain(keys) {
            self.head.ask(key);
        }
        for &key in user_keys.iter().chain(keys) {
            let row = self.head.row(key);
            self.embeddings.ask(row as usize, embedding);
            prefetch(&self.linear, row as usize);
            scratch.rows.push(row);
        }
        scratch.first.resize(out.len() * self.width, 0.0);
        let Some((first, others)) = scratch.first.split_at_mut_checked(self.width) else { return };
        let (user_rows, rows) = scratch.rows.split_at(user_fields);
        let (user, candidate) = first.split_at_mut(self.user);
        let wide = self.bias + self.half(0, user_numeric, user_rows, user);
        let of_candidate = |row: usize, x: &mut [f32]| {
            let (columns, fields) = (columns - user_columns, fields - user_fields);
            let numeric = &numeric[row * columns..][..columns];
            wide + self.half(user_columns, numeric, &rows[row * fields..][..fields], x)
        };
        out[0] = of_candidate(0, candidate);
        for (row, x) in others.chunks_exact_mut(self.width).enumerate() {
            let (user_half, candidate) = x.split_at_mut(self.user);
            user_half.copy_from_slice(user);
            out[row + 1] = of_candidate(row + 1, candidate);
        }
    }

    /// Fills one half of x0 and gives its wide term. `column` is the half's first.
    fn half(&self, column: usize, numeric: &[f32], rows: &[u32], x: &mut [f32]) -> f32 {
        let mut wide = 0.0;
        let (numbers, rest) = x.split_at_mut(numeric.len());
        for ((index, out), &number) in (column..).zip(numbers).zip(numeric) {
            let normal = self.columns[index].normal(number);
            *out = if normal.is_nan() { self.missing[index] } else { normal };
            wide += *out * self.linear_columns[index];
        }
        let (embeddings, padding) = rest.split_at_mut(rows.len() * self.shape.embedding);
        for (&row, out) in rows.iter().zip(embeddings.chunks_exact_mut(self.shape.embedding)) {
            if row == NO_ROW {
                out.fill(0.0);
            } else {
                self.embeddings.copy(row as usize, out);
                wide += self.linear[row as usize];
            }
        }
        padding.fill(0.0);
        wide
    }

    #[inline(always)]
    fn run<M: Machine>(&self, machine: M, scratch: &mut Scratch, out: &mut [f32]) {
        if out.is_empty() {
            return;
        }
        self.run_cross(machine, scratch, out.len());
        if !self.of_cross.is_empty() {
            let x = if self.cross.is_empty() { &scratch.first } else { &scratch.x };
            for (out, x) in out.iter_mut().zip(x.chunks_exact(self.width)) {
                *out += dot(x, &self.of_cross);
            }
        }
        self.run_hidden(machine, scratch, out.len());
        if !self.hidden.is_empty() {
            let deep = scratch.hidden[0].chunks_exact(self.of_deep.len());
            out.iter_mut().zip(deep).for_each(|(out, deep)| *out += dot(deep, &self.of_deep));
        }
    }

    #[inline(always)]
    fn run_cross<M: Machine>(&self, machine: M, scratch: &mut Scratch, count: usize) {
        let Scratch { first, x, low, start, levels, .. } = scratch;
        x.resize(count * self.width, 0.0);
        for (index, layer) in self.cross.iter().enumerate() {
            let rank = layer.first.outputs();
            low.resize(count * rank, 0.0);
            let input = Rows {
                machine,
                numbers: if index == 0 { first } else { x },
                stride: self.width,
                count,
            };
            let none = layer.second.as_ref().map_or(&layer.bias[..], |_| &[]);
            let mut kept = Kept { out: low, stride: rank };
            layer.first.multiply(self.user, input, none, start, levels, &mut kept);
            let mut crossed = Crossed { first, x, stride: self.width, is_first: index == 0 };
            match &layer.second {
                Some(second) => {
                    let low = Rows { machine, numbers: low, stride: rank, count };
                    second.multiply(low, Some(&layer.bias), levels, &mut crossed);
                }
                None => {
                    for (row, low) in low.chunks_exact(rank).enumerate() {
                        for (block, sums) in low.as_chunks::<COLUMNS>().0.iter().enumerate() {
                            crossed.finish(row, block, sums);
                        }
                    }
                }
            }
        }
    }

    /// Leaves the last layer's result in the first of the two.
    #[inline(always)]
    fn run_hidden<M: Machine>(&self, machine: M, scratch: &mut Scratch, count: usize) {
        let Scratch { first, x, start, hidden: [below, above], levels, .. } = scratch;
        let reads_first = self.cross.is_empty() || !self.of_cross.is_empty();
        let mut stride = self.width;
        for (index, layer) in self.hidden.iter().enumerate() {
            let outputs = layer.input.outputs();
            above.resize(count * outputs, 0.0);
            let numbers: &[f32] = match index {
                0 if reads_first => first,
                0 => x,
                _ => below,
            };
            let input = Rows { machine, numbers, stride, count };
            let bias = &layer.bias;
            let mut rectified = Rectified { out: above, stride: outputs };
            layer.input.multiply(self.user, input, bias, start, levels, &mut rectified);
            std::mem::swap(below, above);
            stride = outputs;
        }
    }
}

/// Sums as they are.
struct Kept<'a> {
    out: &'a mut [f32],
    stride: usize,
}

impl Finish for Kept<'_> {
    #[inline(always)]
    fn finish(&mut self, row: usize, panel: usize, sums: &[f32; COLUMNS]) {
        *chunk_mut(self.out, row * self.stride + panel * COLUMNS) = *sums;
    }
}

/// Sums of one row, added to what is there.
struct Added<'a> {
    out: &'a mut [f32],
}

impl Finish for Added<'_> {
    #[inline(always)]
    fn finish(&mut self, _row: usize, panel: usize, sums: &[f32; COLUMNS]) {
        let out = chunk_mut(self.out, panel * COLUMNS);
        for column in 0..COLUMNS {
            out[column] += sums[column];
        }
    }
}

/// What is above 0.
struct Rectified<'a> {
    out: &'a mut [f32],
    stride: usize,
}

impl Finish for Rectified<'_> {
    #[inline(always)]
    fn finish(&mut self, row: usize, panel: usize, sums: &[f32; COLUMNS]) {
        let out = chunk_mut(self.out, row * self.stride + panel * COLUMNS);
        for column in 0..COLUMNS {
            out[column] = if sums[column] > 0.0 { sums[column] } else { 0.0 };
        }
    }
}

/// The end of a cross layer: x grows by x0 times the sums.
struct Crossed<'a> {
    first: &'a [f32],
    x: &'a mut [f32],
    stride: usize,
    /// x is still x0.
    is_first: bool,
}

impl Finish for Crossed<'_> {
    #[inline(always)]
    fn finish(&mut self, row: usize, panel: usize, sums: &[f32; COLUMNS]) {
        let place = row * self.stride + panel * COLUMNS;
        let first: &[f32; COLUMNS] =
            self.first[place..].first_chunk().expect("rows are whole panels");
        let x = chunk_mut(self.x, place);
        if self.is_first {
            *x = *first;
        }
        for column in 0..COLUMNS {
            x[column] += first[column] * sums[column];
        }
    }
}

#[inline(always)]
fn chunk_mut(numbers: &mut [f32], place: usize) -> &mut [f32; COLUMNS] {
    numbers[place..].first_chunk_mut().expect("rows are whole panels")
}

fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return kernel::with_avx2(|_| ()).is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl Input {
    fn outputs(&self) -> usize {
        match self {
            Input::Whole(packed) => packed.outputs(),
            Input::Halves { candidate, .. } => candidate.outputs(),
        }
    }

    /// The user's half once, then each candidate's from there; or all of each row. An empty `bias` is
    /// none.
    #[inline(always)]
    fn multiply<M: Machine>(
        &self,
        split: usize,
        rows: Rows<'_, M>,
        bias: &[f32],
        start: &mut Vec<f32>,
        levels: &mut Levels,
        finish: &mut impl Finish,
    ) {
        start.clear();
        start.extend_from_slice(bias);
        start.resize(self.outputs(), 0.0);
        match self {
            Input::Whole(packed) => packed.multiply(rows, Some(start), levels, finish),
            Input::Halves { user, candidate } => {
                let (one, rest) = (Rows { count: 1, ..rows }, &rows.numbers[split..]);
                user.multiply(one, None, levels, &mut Added { out: start });
                candidate.multiply(Rows { numbers: rest, ..rows }, Some(start), levels, finish);
            }
        }
    }
}

struct Pack<'a> {
    layout: &'a Layout,
    dense: &'a [f32],
    places: &'a [Option<usize>],
    user: usize,
    precision: Precision,
}

impl Pack<'_> {
    /// A matrix that reads x0 or what the cross layers made of it.
    fn input(&self, weights: &[f32], outputs: &[Option<usize>], reads_first: bool) -> Input {
        let pack = |inputs: &[Option<usize>]| {
            Packed::new(weights, self.layout.shape.width(), outputs, inputs, self.precision)
        };
        // With nothing of the user's, or nothing else, there are no halves.
        if !reads_first || self.user == 0 || self.user == self.places.len() {
            return Input::Whole(pack(self.places));
        }
        let (user, candidate) = self.places.split_at(self.user);
        Input::Halves { user: pack(user), candidate: pack(candidate) }
    }

    fn cross(&self, layer: usize) -> CrossLayer {
        let dense = |range: &std::ops::Range<usize>| &self.dense[range.clone()];
        match &self.layout.cross[layer] {
            Cross::Full { weight, bias } => CrossLayer {
                first: self.input(dense(weight), self.places, layer == 0),
                second: None,
                bias: reorder(dense(bias), self.places),
            },
            Cross::Low { v, u, bias } => {
                let rank = self.layout.shape.rank;
                let low = padded(0..rank);
                CrossLayer {
                    first: self.input(dense(v), &low, layer == 0),
                    second: Some(Packed::new(dense(u), rank, self.places, &low, self.precision)),
                    bias: reorder(dense(bias), self.places),
                }
            }
        }
    }

    fn hidden(&self, layer: usize) -> HiddenLayer {
        let hidden = &self.layout.hidden[layer];
        let weight = &self.dense[hidden.weight.clone()];
        let outputs = padded(0..hidden.outputs);
        let bias = reorder(&self.dense[hidden.bias.clone()], &outputs);
        let input = if layer == 0 {
            let reads_first = self.layout.is_parallel() || self.layout.cross.is_empty();
            self.input(weight, &outputs, reads_first)
        } else {
            let inputs = padded(0..hidden.inputs);
            Input::Whole(Packed::new(weight, hidden.inputs, &outputs, &inputs, self.precision))
        };
        HiddenLayer { input, bias }
    }
}
