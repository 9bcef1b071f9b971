//! The factorisation machine.
//!
//! The pairs need no loop over pairs: with `s` the sum of all `x v`, lane by lane, they add
//! `(s^2 - sum of (x v)^2) / 2`. Lane 0 of a slot is the linear weight; its sum is added as it is.

#![expect(clippy::needless_range_loop, reason = "adapters of iterators stay out of the wide form")]

use super::entry::{Entry, Places, Row, Scratch, adagrad};
use super::table::{Start, Table};
use super::wide::{self, Work};
use super::{FactorError, FactorOptions};
use crate::{log_odds, sigmoid};

const FACTORS_MAX: usize = 31;

/// A factorisation machine; it has a single writer, and any number score with a copy.
#[derive(Clone, Debug)]
pub struct Fm {
    pub(super) options: FactorOptions,
    pub(super) bias: Bias,
    pub(super) table: Table,
    places: Places,
    entries: Vec<Entry>,
}

/// The weight that is in every row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bias {
    pub(super) weight: f32,
    pub(super) accumulator: f32,
}

impl Bias {
    pub(super) fn of(options: &FactorOptions) -> Self {
        Bias { weight: log_odds(options.start), accumulator: options.beta }
    }

    pub(super) fn learn(&mut self, gradient: f32, alpha: f32) {
        adagrad(&mut self.weight, &mut self.accumulator, gradient, alpha);
    }
}

/// What some fields of a row add up to, lane by lane.
#[derive(Clone, Copy)]
pub(super) struct Sums<const W: usize> {
    sums: [f32; W],
    squares: [f32; W],
}

impl<const W: usize> Sums<W> {
    const NONE: Self = Sums { sums: [0.0; W], squares: [0.0; W] };

    #[inline(always)]
    fn add(&mut self, weights: &[f32], value: f32) {
        let weights: &[f32; W] = weights.first_chunk().expect("a slot has the width of its table");
        for lane in 0..W {
            let part = weights[lane] * value;
            self.sums[lane] += part;
            self.squares[lane] += part * part;
        }
    }

    #[inline(always)]
    fn logit(&self) -> f32 {
        let mut pairs = [0.0; W];
        for lane in 0..W {
            pairs[lane] = self.sums[lane] * self.sums[lane] - self.squares[lane];
        }
        pairs[0] = 0.0;
        self.sums[0] + 0.5 * total(&pairs)
    }
}

/// The sum of all lanes.
#[inline(always)]
pub(super) fn total<const W: usize>(lanes: &[f32; W]) -> f32 {
    let mut total = 0.0;
    for lane in 0..W {
        total += lanes[lane];
    }
    total
}

impl Fm {
    /// A machine that has seen nothing.
    pub fn new(options: FactorOptions) -> Result<Self, FactorError> {
        // The linear weight is one of the lanes.
        let width = match options.factors {
            ..8 => 8,
            8..16 => 16,
            _ => 32,
        };
        options.check(FACTORS_MAX, width)?;
        let places = Places::of(&options);
        let table = Table::new(places.slots(), width);
        let bias = Bias::of(&options);
        Ok(Fm { options, bias, table, places, entries: Vec::new() })
    }

    /// What it was made with.
    pub fn options(&self) -> &FactorOptions {
        &self.options
    }

    /// The log odds of a click.
    ///
    /// # Panics
    /// Where the row is of another width.
    pub fn score(&self, row: Row<'_>) -> f32 {
        self.places.check(row);
        match self.table.width() {
            8 => wide::run(Score::<8> { model: self, row }),
            16 => wide::run(Score::<16> { model: self, row }),
            _ => wide::run(Score::<32> { model: self, row }),
        }
    }

    /// The log odds of rows that share fields: the sums of `shared` are computed once, and a field that
    /// it has is not looked at in the rows.
    ///
    /// # Panics
    /// Where `shared` or the rows are of another width, or there are not `logits.len()` of them.
    pub fn score_many(
        &self,
        shared: Row<'_>,
        numeric: &[f32],
        keys: &[u64],
        scratch: &mut Scratch,
        logits: &mut [f32],
    ) {
        self.places.check(shared);
        self.places.check_many(numeric, keys, logits.len());
        let many = Many { model: self, shared, numeric, keys, scratch, logits };
        match self.table.width() {
            8 => wide::run(Wide::<8>(many)),
            16 => wide::run(Wide::<16>(many)),
            _ => wide::run(Wide::<32>(many)),
        }
    }

    /// Says that this row is scored soon.
    pub fn prefetch(&self, row: Row<'_>) {
        self.places.prefetch(&self.table, row);
    }

    /// Says that this row is learned soon.
    pub fn prefetch_whole(&self, row: Row<'_>) {
        self.places.prefetch_whole(&self.table, row);
    }

    /// Predicts with the weights as they are, then learns; `weight` is how many rows it stands for.
    /// Returns the log odds from before, the same that [`Fm::score`] gives. A row whose log odds or
    /// weight are not finite teaches nothing.
    ///
    /// # Panics
    /// Where the row is of another width.
    pub fn learn(&mut self, row: Row<'_>, label: bool, weight: f32) -> f32 {
        self.places.check(row);
        self.places.prefetch_whole(&self.table, row);
        let logit = self.score(row);
        let gradient = (sigmoid(logit) - f32::from(u8::from(label))) * weight;
        if !(logit.is_finite() && gradient.is_finite()) {
            return logit;
        }
        self.begin(row);
        match self.table.width() {
            8 => wide::run(Learn::<8> { model: self, gradient }),
            16 => wide::run(Learn::<16> { model: self, gradient }),
            _ => wide::run(Learn::<32> { model: self, gradient }),
        }
        self.bias.learn(gradient, self.options.linear_alpha);
        logit
    }

    /// Keys that are new get their start.
    fn begin(&mut self, row: Row<'_>) {
        self.places.entries(row, &mut self.entries);
        for entry in &self.entries {
            let mut slot = self.table.slot(entry.slot as usize);
            if slot.accumulators[0] == 0.0 {
                let start = Start::of(&self.options, entry.slot as usize);
                slot.begin(std::iter::once(1), self.options.factors, start);
            }
        }
    }

    /// The step of [`Fm::learn`] with the loops for every processor.
    #[cfg(test)]
    pub(super) fn plain_learn(&mut self, row: Row<'_>, label: bool) {
        let gradient = sigmoid(self.plain_score(row)) - f32::from(u8::from(label));
        self.begin(row);
        match self.table.width() {
            8 => wide::plain(Learn::<8> { model: self, gradient }),
            16 => wide::plain(Learn::<16> { model: self, gradient }),
            _ => wide::plain(Learn::<32> { model: self, gradient }),
        }
        self.bias.learn(gradient, self.options.linear_alpha);
    }

    /// The same with the loops for every processor.
    #[cfg(test)]
    pub(super) fn plain_score(&self, row: Row<'_>) -> f32 {
        match self.table.width() {
            8 => wide::plain(Score::<8> { model: self, row }),
            16 => wide::plain(Score::<16> { model: self, row }),
            _ => wide::plain(Score::<32> { model: self, row }),
        }
    }
}

struct Score<'a, const W: usize> {
    model: &'a Fm,
    row: Row<'a>,
}

impl<const W: usize> Work for Score<'_, W> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let Score { model: Fm { places, table, bias, .. }, row } = self;
        places.prefetch(table, row);
        let mut sums = Sums::<W>::NONE;
        for field in 0..places.total() {
            if let Some(entry) = places.entry(row, field) {
                sums.add(table.weights(entry.slot as usize), entry.value);
            }
        }
        bias.weight + sums.logit()
    }
}

struct Many<'a> {
    model: &'a Fm,
    shared: Row<'a>,
    numeric: &'a [f32],
    keys: &'a [u64],
    scratch: &'a mut Scratch,
    logits: &'a mut [f32],
}

struct Wide<'a, const W: usize>(Many<'a>);

impl<const W: usize> Work for Wide<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Many { model, shared, numeric, keys, scratch, logits } = self.0;
        let Fm { options, places, table, bias, .. } = model;
        scratch.has.clear();
        scratch.has.resize(options.total(), false);
        let mut base = Sums::<W>::NONE;
        places.prefetch(table, shared);
        for field in 0..places.total() {
            if let Some(entry) = places.entry(shared, field) {
                scratch.has[field] = true;
                base.add(table.weights(entry.slot as usize), entry.value);
            }
        }
        let has = &scratch.has[..];
        for ahead in 0..logits.len().min(AHEAD) {
            places.prefetch_own(table, places.row(numeric, keys, ahead), has);
        }
        for index in 0..logits.len() {
            if index + AHEAD < logits.len() {
                places.prefetch_own(table, places.row(numeric, keys, index + AHEAD), has);
            }
            let row = places.row(numeric, keys, index);
            let mut sums = base;
            for field in 0..places.total() {
                if !has[field]
                    && let Some(entry) = places.entry(row, field)
                {
                    sums.add(table.weights(entry.slot as usize), entry.value);
                }
            }
            logits[index] = bias.weight + sums.logit();
        }
    }
}

/// How many rows before its turn a row is asked for.
pub(super) const AHEAD: usize = 2;

struct Learn<'a, const W: usize> {
    model: &'a mut Fm,
    gradient: f32,
}

impl<const W: usize> Work for Learn<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Learn { model: Fm { options, table, entries, .. }, gradient } = self;
        let mut all = Sums::<W>::NONE;
        for index in 0..entries.len() {
            let entry = entries[index];
            all.add(table.weights(entry.slot as usize), entry.value);
        }
        let mut alphas = [options.alpha; W];
        alphas[0] = options.linear_alpha;
        for index in 0..entries.len() {
            let entry = entries[index];
            let slot = table.slot(entry.slot as usize);
            let weights: &mut [f32; W] = slot.weights.first_chunk_mut().expect("the table's width");
            let accumulators: &mut [f32; W] =
                slot.accumulators.first_chunk_mut().expect("the table's width");
            let scale = gradient * entry.value;
            // What each lane is multiplied with: the others' sum, and 1 for the linear weight.
            let mut others = [0.0; W];
            for lane in 0..W {
                others[lane] = all.sums[lane] - weights[lane] * entry.value;
            }
            others[0] = 1.0;
            for lane in 0..W {
                let gradient = scale * others[lane] + options.l2 * weights[lane];
                adagrad(&mut weights[lane], &mut accumulators[lane], gradient, alphas[lane]);
            }
        }
    }
}
