//! Matrices as serving reads them: panels of sixteen outputs, in the chosen precision.

use super::Precision;
use super::kernel::{Bf16, COLUMNS, Machine, ROWS, Sums, levels};

/// A number of the original for each padded place, or none where there is only padding.
pub(super) type Places = [Option<usize>];

/// `places` padded to a multiple of a panel's outputs.
pub(super) fn padded(places: impl Iterator<Item = usize>) -> Vec<Option<usize>> {
    let mut places: Vec<_> = places.map(Some).collect();
    places.resize(places.len().next_multiple_of(COLUMNS), None);
    places
}

/// A matrix of outputs x inputs.
pub(super) struct Packed {
    inputs: usize,
    outputs: usize,
    panels: Panels,
}

enum Panels {
    Full(Vec<[f32; COLUMNS]>),
    Half(Vec<[Bf16; COLUMNS]>),
    /// And the step of each output's weights.
    Byte(Vec<[[i8; 2]; COLUMNS]>, Vec<[f32; COLUMNS]>),
}

/// Some rows of inputs; row `r` begins at `r * stride`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, M> {
    pub(super) machine: M,
    pub(super) numbers: &'a [f32],
    pub(super) stride: usize,
    pub(super) count: usize,
}

/// Activations as integers, and the step of each row.
#[derive(Default)]
pub(super) struct Levels {
    numbers: Vec<i16>,
    steps: Vec<f32>,
}

impl Packed {
    /// `weights` is row after row of `width` numbers.
    pub(super) fn new(
        weights: &[f32],
        width: usize,
        outputs: &Places,
        inputs: &Places,
        precision: Precision,
    ) -> Self {
        let at = |output: Option<usize>, input: Option<usize>| match (output, input) {
            (Some(output), Some(input)) => weights[output * width + input],
            _ => 0.0,
        };
        let blocks = outputs.chunks_exact(COLUMNS);
        let column = |block: &Places, input| {
            std::array::from_fn::<f32, COLUMNS, _>(|place| at(block[place], input))
        };
        let full =
            || blocks.clone().flat_map(|block| inputs.iter().map(|&input| column(block, input)));
        let panels = match precision {
            Precision::F32 => Panels::Full(full().collect()),
            Precision::Bf16 => Panels::Half(full().map(|weights| weights.map(Bf16::new)).collect()),
            Precision::Int8 => {
                let steps: Vec<_> = blocks.clone().map(|block| steps(block, inputs, at)).collect();
                let code = |weight: f32, step: f32| (weight / step).round() as i8;
                let pair = |block: &Places, steps: &[f32; COLUMNS], pair: &Places| {
                    std::array::from_fn(|place| {
                        [0, 1].map(|one| code(at(block[place], pair[one]), steps[place]))
                    })
                };
                let panels = blocks.zip(&steps).flat_map(|(block, steps)| {
                    inputs.chunks_exact(2).map(move |two| pair(block, steps, two))
                });
                Panels::Byte(panels.collect(), steps)
            }
        };
        Packed { inputs: inputs.len(), outputs: outputs.len(), panels }
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Gives `done` each row's sums of each panel's outputs, begun from `start`, or from 0.
    #[inline(always)]
    pub(super) fn multiply<M: Machine>(
        &self,
        rows: Rows<'_, M>,
        start: Option<&[f32]>,
        levels: &mut Levels,
        mut done: impl FnMut(usize, usize, &[f32; COLUMNS]),
    ) {
        let start = start.map(|start| start.as_chunks::<COLUMNS>().0);
        let start = |block: usize| start.map_or([0.0; COLUMNS], |start| start[block]);
        match &self.panels {
            Panels::Full(panels) => {
                for (block, panel) in panels.chunks_exact(self.inputs).enumerate() {
                    full(rows, panel, &start(block), |row, sums| done(row, block, sums));
                }
            }
            Panels::Half(panels) => {
                for (block, panel) in panels.chunks_exact(self.inputs).enumerate() {
                    half(rows, panel, &start(block), |row, sums| done(row, block, sums));
                }
            }
            Panels::Byte(panels, steps) => {
                levels.take(rows, self.inputs);
                let blocks = panels.chunks_exact(self.inputs / 2).zip(steps);
                for (block, (panel, steps)) in blocks.enumerate() {
                    let start = start(block);
                    byte(rows.machine, levels, self.inputs, panel, |row, sums| {
                        let step = levels.steps[row];
                        let whole: [f32; COLUMNS] = std::array::from_fn(|place| {
                            start[place] + sums[place] as f32 * (step * steps[place])
                        });
                        done(row, block, &whole);
                    });
                }
            }
        }
    }
}

/// The step of each output's weights: its largest is 127 steps.
fn steps(
    block: &Places,
    inputs: &Places,
    at: impl Fn(Option<usize>, Option<usize>) -> f32,
) -> [f32; COLUMNS] {
    std::array::from_fn(|place| {
        let largest = inputs.iter().map(|&input| at(block[place], input).abs()).fold(0.0, f32::max);
        if largest > 0.0 { largest / 127.0 } else { 1.0 }
    })
}

impl Levels {
    /// Takes rows as integers; NaN becomes 0.
    #[inline(always)]
    fn take<M: Copy>(&mut self, rows: Rows<'_, M>, inputs: usize) {
        /// Added and taken off, it rounds: numbers of this size have no fraction.
        const ROUND: f32 = 12_582_912.0;
        let most = levels(inputs);
        self.numbers.resize(rows.count * inputs, 0);
        self.steps.resize(rows.count, 0.0);
        let outs = self.numbers.chunks_exact_mut(inputs).zip(&mut self.steps);
        for (row, (out, step)) in outs.enumerate() {
            let numbers = &rows.numbers[row * rows.stride..][..inputs];
            let mut largest = [0.0f32; COLUMNS];
            for numbers in numbers.as_chunks::<COLUMNS>().0 {
                for (largest, number) in largest.iter_mut().zip(numbers) {
                    let size = number.abs();
                    *largest = if size > *largest { size } else { *largest };
                }
            }
            let largest = largest.into_iter().fold(f32::MIN_POSITIVE, f32::max).min(1e30);
            *step = largest / most;
            let by = most / largest;
            for (out, &number) in out.iter_mut().zip(numbers) {
                *out = (number * by + ROUND).to_bits() as u16 as i16;
            }
        }
    }
}

/// The rows of each block, nearly equal: none is small while others are large.
#[inline(always)]
fn blocks(count: usize) -> impl Iterator<Item = (usize, usize)> {
    let blocks = count.div_ceil(ROWS);
    let place = move |block: usize| block * count / blocks.max(1);
    (0..blocks).map(move |block| (place(block), place(block + 1) - place(block)))
}

/// Calls a function whose number of rows is known when it is compiled.
macro_rules! of_rows {
    ($rows:expr, $function:ident($($argument:expr),*)) => {
        match $rows {
            1 => $function::<_, 1>($($argument),*),
            2 => $function::<_, 2>($($argument),*),
            3 => $function::<_, 3>($($argument),*),
            4 => $function::<_, 4>($($argument),*),
            5 => $function::<_, 5>($($argument),*),
            _ => $function::<_, ROWS>($($argument),*),
        }
    };
}

#[inline(always)]
fn full<M: Machine>(
    rows: Rows<'_, M>,
    panel: &[[f32; COLUMNS]],
    start: &[f32; COLUMNS],
    mut done: impl FnMut(usize, &[f32; COLUMNS]),
) {
    for (first, count) in blocks(rows.count) {
        let inputs = &rows.numbers[first * rows.stride..];
        let sums = of_rows!(count, full_block(rows.machine, inputs, rows.stride, panel, start));
        (first..).zip(&sums[..count]).for_each(|(row, sums)| done(row, sums));
    }
}

#[inline(always)]
fn full_block<M: Machine, const R: usize>(
    machine: M,
    inputs: &[f32],
    stride: usize,
    panel: &[[f32; COLUMNS]],
    start: &[f32; COLUMNS],
) -> Sums<f32, ROWS> {
    let mut sums = [*start; R];
    machine.full::<R>(inputs, stride, panel, &mut sums);
    widen(&sums)
}

#[inline(always)]
fn half<M: Machine>(
    rows: Rows<'_, M>,
    panel: &[[Bf16; COLUMNS]],
    start: &[f32; COLUMNS],
    mut done: impl FnMut(usize, &[f32; COLUMNS]),
) {
    for (first, count) in blocks(rows.count) {
        let inputs = &rows.numbers[first * rows.stride..];
        let sums = of_rows!(count, half_block(rows.machine, inputs, rows.stride, panel, start));
        (first..).zip(&sums[..count]).for_each(|(row, sums)| done(row, sums));
    }
}

#[inline(always)]
fn half_block<M: Machine, const R: usize>(
    machine: M,
    inputs: &[f32],
    stride: usize,
    panel: &[[Bf16; COLUMNS]],
    start: &[f32; COLUMNS],
) -> Sums<f32, ROWS> {
    let mut sums = [*start; R];
    machine.half::<R>(inputs, stride, panel, &mut sums);
    widen(&sums)
}

#[inline(always)]
fn byte<M: Machine>(
    machine: M,
    levels: &Levels,
    inputs: usize,
    panel: &[[[i8; 2]; COLUMNS]],
    mut done: impl FnMut(usize, &[i32; COLUMNS]),
) {
    for (first, count) in blocks(levels.steps.len()) {
        let numbers = &levels.numbers[first * inputs..];
        let sums = of_rows!(count, byte_block(machine, numbers, inputs, panel));
        (first..).zip(&sums[..count]).for_each(|(row, sums)| done(row, sums));
    }
}

#[inline(always)]
fn byte_block<M: Machine, const R: usize>(
    machine: M,
    inputs: &[i16],
    stride: usize,
    panel: &[[[i8; 2]; COLUMNS]],
) -> Sums<i32, ROWS> {
    let mut sums = [[0; COLUMNS]; R];
    machine.byte::<R>(inputs, stride, panel, &mut sums);
    widen(&sums)
}

#[inline(always)]
fn widen<T: Copy + Default, const R: usize>(sums: &Sums<T, R>) -> Sums<T, ROWS> {
    let mut all = [[T::default(); COLUMNS]; ROWS];
    all[..R].copy_from_slice(sums);
    all
}
