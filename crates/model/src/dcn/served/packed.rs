//! Matrices as serving reads them: panels of sixteen outputs, in the chosen precision.

use super::Precision;
use super::kernel::{Bf16, COLUMNS, Machine, ROWS, levels};

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

/// What becomes of sums. A trait and no closure: what is done with them has to be compiled for the
/// machine that made them, and a closure is not inlined for sure.
pub(super) trait Finish {
    /// A row's sums of the outputs of a panel.
    fn finish(&mut self, row: usize, panel: usize, sums: &[f32; COLUMNS]);
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

    /// Gives each row's sums of each panel's outputs, begun from `start`, or from 0.
    #[inline(always)]
    pub(super) fn multiply<M: Machine>(
        &self,
        rows: Rows<'_, M>,
        start: Option<&[f32]>,
        levels: &mut Levels,
        finish: &mut impl Finish,
    ) {
        let start = start.map(|start| start.as_chunks::<COLUMNS>().0);
        let start = |block: usize| start.map_or([0.0; COLUMNS], |start| start[block]);
        match &self.panels {
            Panels::Full(panels) => {
                for (block, panel) in panels.chunks_exact(self.inputs).enumerate() {
                    let task = Task { rows, panel, start: start(block), block };
                    for (first, count) in blocks(rows.count) {
                        of_rows!(count, full(&task, first, finish));
                    }
                }
            }
            Panels::Half(panels) => {
                for (block, panel) in panels.chunks_exact(self.inputs).enumerate() {
                    let task = Task { rows, panel, start: start(block), block };
                    for (first, count) in blocks(rows.count) {
                        of_rows!(count, half(&task, first, finish));
                    }
                }
            }
            Panels::Byte(panels, steps) => {
                levels.take(rows, self.inputs);
                let blocks_of = panels.chunks_exact(self.inputs / 2).zip(steps);
                for (block, (panel, steps)) in blocks_of.enumerate() {
                    let task = Task { rows, panel, start: start(block), block };
                    for (first, count) in blocks(rows.count) {
                        of_rows!(count, byte(&task, levels, steps, first, finish));
                    }
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

/// A panel for all rows.
struct Task<'a, M, W> {
    rows: Rows<'a, M>,
    panel: &'a [W],
    start: [f32; COLUMNS],
    block: usize,
}

#[inline(always)]
fn full<M: Machine, const R: usize>(
    task: &Task<'_, M, [f32; COLUMNS]>,
    first: usize,
    finish: &mut impl Finish,
) {
    let Task { rows, panel, start, block } = task;
    let mut sums = [*start; R];
    let inputs = &rows.numbers[first * rows.stride..];
    rows.machine.full::<R>(inputs, rows.stride, panel, &mut sums);
    for (row, sums) in sums.iter().enumerate() {
        finish.finish(first + row, *block, sums);
    }
}

#[inline(always)]
fn half<M: Machine, const R: usize>(
    task: &Task<'_, M, [Bf16; COLUMNS]>,
    first: usize,
    finish: &mut impl Finish,
) {
    let Task { rows, panel, start, block } = task;
    let mut sums = [*start; R];
    let inputs = &rows.numbers[first * rows.stride..];
    rows.machine.half::<R>(inputs, rows.stride, panel, &mut sums);
    for (row, sums) in sums.iter().enumerate() {
        finish.finish(first + row, *block, sums);
    }
}

/// `steps` are those of the panel's outputs.
#[inline(always)]
fn byte<M: Machine, const R: usize>(
    task: &Task<'_, M, [[i8; 2]; COLUMNS]>,
    levels: &Levels,
    steps: &[f32; COLUMNS],
    first: usize,
    finish: &mut impl Finish,
) {
    let Task { rows, panel, start, block } = task;
    let stride = panel.len() * 2;
    let mut sums = [[0; COLUMNS]; R];
    rows.machine.byte::<R>(&levels.numbers[first * stride..], stride, panel, &mut sums);
    for (row, sums) in sums.iter().enumerate() {
        let step = levels.steps[first + row];
        let mut whole = *start;
        for column in 0..COLUMNS {
            whole[column] += sums[column] as f32 * (step * steps[column]);
        }
        finish.finish(first + row, *block, &whole);
    }
}
