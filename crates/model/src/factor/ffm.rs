//! The field-aware factorisation machine.
//!
//! A row with fields `f` and `g` multiplies the vector that `f`'s key keeps for `g` with the one that
//! `g`'s key keeps for `f`. Learning turns this around once: for each key that is there, what its
//! whole slot is multiplied with is gathered into one line of numbers beside it, and the step is then
//! one pass over two slices of the same width. Shared fields of a request are turned around the same
//! way, so that a candidate's key meets all of them in one product of two slices.

#![expect(clippy::needless_range_loop, reason = "adapters of iterators stay out of the wide form")]

use super::entry::{Entry, Places, Row, Scratch, adagrad};
use super::fm::{AHEAD, Bias, total};
use super::options::FFM_FIELDS_MAX;
use super::table::{Start, Table};
use super::wide::{self, Work};
use super::{FactorError, FactorOptions};
use crate::sigmoid;

const FACTORS_MAX: usize = 16;
/// Slots begin at cache lines.
const LINE: usize = 16;
/// Sums that run beside each other: one would make each addition wait for the last.
const SUMS: usize = 8;

/// A field-aware factorisation machine; it has a single writer, and any number score with a copy.
#[derive(Clone, Debug)]
pub struct Ffm {
    pub(super) options: FactorOptions,
    pub(super) bias: Bias,
    pub(super) table: Table,
    places: Places,
    entries: Vec<Entry>,
    /// For each entry what its slot is multiplied with.
    others: Vec<f32>,
}

/// The room of a vector within a slot.
fn room(factors: usize) -> usize {
    match factors {
        ..=4 => 4,
        5..=8 => 8,
        _ => 16,
    }
}

impl Ffm {
    /// A machine that has seen nothing. Fields and columns together are at most 64.
    pub fn new(options: FactorOptions) -> Result<Self, FactorError> {
        let width = options.total().saturating_mul(room(options.factors));
        let width = width.checked_next_multiple_of(LINE).unwrap_or(width);
        options.check(FACTORS_MAX, width)?;
        if options.total() > FFM_FIELDS_MAX {
            let field = "number of fields and columns";
            return Err(FactorError { field, range: "at most 64 where it is field-aware" });
        }
        let places = Places::of(&options);
        let table = Table::new(places.slots(), width);
        let bias = Bias::of(&options);
        Ok(Ffm { options, bias, table, places, entries: Vec::new(), others: Vec::new() })
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
        match room(self.options.factors) {
            4 => wide::run(Score::<4> { model: self, row }),
            8 => wide::run(Score::<8> { model: self, row }),
            _ => wide::run(Score::<16> { model: self, row }),
        }
    }

    /// The log odds of rows that share fields: what `shared` says by itself is computed once, its keys
    /// are fetched once, and a field that it has is not looked at in the rows.
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
        match room(self.options.factors) {
            4 => wide::run(Wide::<4>(many)),
            8 => wide::run(Wide::<8>(many)),
            _ => wide::run(Wide::<16>(many)),
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
    /// Returns the log odds from before, the same that [`Ffm::score`] gives. A row whose log odds or
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
        match room(self.options.factors) {
            4 => wide::run(Learn::<4> { model: self, gradient }),
            8 => wide::run(Learn::<8> { model: self, gradient }),
            _ => wide::run(Learn::<16> { model: self, gradient }),
        }
        self.bias.learn(gradient, self.options.linear_alpha);
        logit
    }

    /// Keys that are new get their start.
    fn begin(&mut self, row: Row<'_>) {
        let FactorOptions { factors, .. } = self.options;
        let (room, total) = (room(factors), self.options.total());
        self.places.entries(row, &mut self.entries);
        for entry in &self.entries {
            let own = entry.field as usize;
            let mut slot = self.table.slot(entry.slot as usize);
            if slot.accumulators[own * room] == 0.0 {
                let vectors = (0..total).filter(|&field| field != own).map(|field| field * room);
                slot.begin(vectors, factors, Start::of(&self.options, entry.slot as usize));
            }
        }
    }

    /// The step of [`Ffm::learn`] with the loops for every processor.
    #[cfg(test)]
    pub(super) fn plain_learn(&mut self, row: Row<'_>, label: bool) {
        let gradient = sigmoid(self.plain_score(row)) - f32::from(u8::from(label));
        self.begin(row);
        match room(self.options.factors) {
            4 => wide::plain(Learn::<4> { model: self, gradient }),
            8 => wide::plain(Learn::<8> { model: self, gradient }),
            _ => wide::plain(Learn::<16> { model: self, gradient }),
        }
        self.bias.learn(gradient, self.options.linear_alpha);
    }

    /// The same with the loops for every processor.
    #[cfg(test)]
    pub(super) fn plain_score(&self, row: Row<'_>) -> f32 {
        match room(self.options.factors) {
            4 => wide::plain(Score::<4> { model: self, row }),
            8 => wide::plain(Score::<8> { model: self, row }),
            _ => wide::plain(Score::<16> { model: self, row }),
        }
    }
}

/// A field that is there, and its slot.
#[derive(Clone, Copy)]
struct Seen<'a> {
    weights: &'a [f32],
    field: usize,
    value: f32,
}

/// The fields that are there, without a heap.
struct Present<'a> {
    seen: [Seen<'a>; FFM_FIELDS_MAX],
    count: usize,
}

impl<'a> Present<'a> {
    /// What a row has, but for the fields in `but`.
    #[inline(always)]
    fn of(table: &'a Table, places: &Places, row: Row<'_>, but: &[bool]) -> Self {
        const NONE: Seen<'static> = Seen { weights: &[], field: 0, value: 0.0 };
        let mut present = Present { seen: [NONE; FFM_FIELDS_MAX], count: 0 };
        for field in 0..places.total() {
            if !but.is_empty() && but[field] {
                continue;
            }
            if let Some(entry) = places.entry(row, field) {
                let weights = table.weights(entry.slot as usize);
                present.seen[present.count] = Seen { weights, field, value: entry.value };
                present.count += 1;
            }
        }
        present
    }

    #[inline(always)]
    fn slice(&self) -> &[Seen<'a>] {
        &self.seen[..self.count]
    }

    /// Linear weights, and all pairs among these.
    #[inline(always)]
    fn logit<const K: usize>(&self) -> f32 {
        // Two sums run beside each other: one would make each addition wait for the last.
        let (mut lanes, mut odd) = ([0.0; K], [0.0; K]);
        let mut linear = 0.0;
        let seen = self.slice();
        for index in 0..seen.len() {
            let one = seen[index];
            linear += one.weights[one.field * K] * one.value;
            let mut next = index + 1;
            while next + 1 < seen.len() {
                add_pair(&mut lanes, one, seen[next]);
                add_pair(&mut odd, one, seen[next + 1]);
                next += 2;
            }
            if next < seen.len() {
                add_pair(&mut lanes, one, seen[next]);
            }
        }
        linear + total(&lanes) + total(&odd)
    }
}

#[inline(always)]
fn add_pair<const K: usize>(lanes: &mut [f32; K], one: Seen<'_>, other: Seen<'_>) {
    let value = one.value * other.value;
    let ours = vector::<K>(one.weights, other.field);
    let theirs = vector::<K>(other.weights, one.field);
    for lane in 0..K {
        lanes[lane] += ours[lane] * theirs[lane] * value;
    }
}

/// The vector that a slot keeps for a field.
#[inline(always)]
fn vector<const K: usize>(weights: &[f32], field: usize) -> &[f32; K] {
    weights[field * K..].first_chunk().expect("a slot has a vector for each field")
}

struct Score<'a, const K: usize> {
    model: &'a Ffm,
    row: Row<'a>,
}

impl<const K: usize> Work for Score<'_, K> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let Score { model: Ffm { places, table, bias, .. }, row } = self;
        places.prefetch(table, row);
        bias.weight + Present::of(table, places, row, &[]).logit::<K>()
    }
}

struct Many<'a> {
    model: &'a Ffm,
    shared: Row<'a>,
    numeric: &'a [f32],
    keys: &'a [u64],
    scratch: &'a mut Scratch,
    logits: &'a mut [f32],
}

struct Wide<'a, const K: usize>(Many<'a>);

impl<const K: usize> Work for Wide<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Many { model, shared, numeric, keys, scratch, logits } = self.0;
        let Ffm { options, places, table, bias, .. } = model;
        let (fields, width) = (options.total(), table.width());
        let Scratch { shared: turned, has, .. } = scratch;
        has.clear();
        has.resize(fields, false);
        turned.clear();
        turned.resize(fields * width, 0.0);
        places.prefetch(table, shared);
        let present = Present::of(table, places, shared, &[]);
        let base = bias.weight + present.logit::<K>();
        turn::<K>(present.slice(), turned, width, fields, has);
        let first = present.slice().iter().map(|seen| seen.field).min().unwrap_or(0);
        let end = present.slice().iter().map(|seen| seen.field + 1).max().unwrap_or(0);
        let span = first * K..end.max(first) * K;
        let has = &has[..];
        for ahead in 0..logits.len().min(AHEAD) {
            places.prefetch_own(table, places.row(numeric, keys, ahead), has);
        }
        for index in 0..logits.len() {
            if index + AHEAD < logits.len() {
                places.prefetch_own(table, places.row(numeric, keys, index + AHEAD), has);
            }
            let present = Present::of(table, places, places.row(numeric, keys, index), has);
            let mut sum = base + present.logit::<K>();
            let seen = present.slice();
            for place in 0..seen.len() {
                let Seen { weights, field, value } = seen[place];
                let others = &turned[field * width..][..width];
                sum += value * dot(&weights[span.clone()], &others[span.clone()]);
            }
            logits[index] = sum;
        }
    }
}

/// For each field what a key of it is multiplied with: the shared fields' vectors for it.
#[inline(always)]
fn turn<const K: usize>(
    present: &[Seen<'_>],
    turned: &mut [f32],
    width: usize,
    fields: usize,
    has: &mut [bool],
) {
    for index in 0..present.len() {
        let seen = present[index];
        has[seen.field] = true;
        for field in 0..fields {
            if field != seen.field {
                let ours = vector::<K>(seen.weights, field);
                put(&mut turned[field * width + seen.field * K..], ours, seen.value);
            }
        }
    }
}

/// A vector times a value.
#[inline(always)]
fn put<const K: usize>(place: &mut [f32], vector: &[f32; K], value: f32) {
    let place: &mut [f32; K] = place.first_chunk_mut().expect("room for a vector");
    for lane in 0..K {
        place[lane] = vector[lane] * value;
    }
}

/// The sum of the products.
#[inline(always)]
fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (lefts, left_rest) = left.as_chunks::<SUMS>();
    let (rights, right_rest) = right.as_chunks::<SUMS>();
    let mut sums = [0.0f32; SUMS];
    for chunk in 0..lefts.len().min(rights.len()) {
        for lane in 0..SUMS {
            sums[lane] += lefts[chunk][lane] * rights[chunk][lane];
        }
    }
    let mut rest = 0.0;
    for lane in 0..left_rest.len().min(right_rest.len()) {
        rest += left_rest[lane] * right_rest[lane];
    }
    total(&sums) + rest
}

struct Learn<'a, const K: usize> {
    model: &'a mut Ffm,
    gradient: f32,
}

impl<const K: usize> Work for Learn<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Learn { model: Ffm { options, table, entries, others, .. }, gradient } = self;
        let width = table.width();
        others.clear();
        others.resize(entries.len() * width, 0.0);
        for index in 0..entries.len() {
            gather::<K>(table, entries, entries[index], &mut others[index * width..][..width]);
        }
        for index in 0..entries.len() {
            let (entry, others) = (entries[index], &others[index * width..][..width]);
            let scale = gradient * entry.value;
            let slot = table.slot(entry.slot as usize);
            let place = entry.field as usize * K;
            step(slot.weights, slot.accumulators, others, scale, options);
            let (weight, accumulator) = (&mut slot.weights[place], &mut slot.accumulators[place]);
            let gradient = scale + options.l2 * *weight;
            adagrad(weight, accumulator, gradient, options.linear_alpha);
        }
    }
}

/// What this entry's slot is multiplied with: the vectors that the other entries keep for its field.
#[inline(always)]
fn gather<const K: usize>(table: &Table, entries: &[Entry], entry: Entry, others: &mut [f32]) {
    for index in 0..entries.len() {
        let other = entries[index];
        if other.field != entry.field {
            let theirs = vector::<K>(table.weights(other.slot as usize), entry.field as usize);
            put(&mut others[other.field as usize * K..], theirs, other.value);
        }
    }
}

/// One pass over a slot. Where nothing is multiplied nothing is learned.
#[inline(always)]
fn step(
    weights: &mut [f32],
    accumulators: &mut [f32],
    others: &[f32],
    scale: f32,
    options: &FactorOptions,
) {
    let weights = weights.as_chunks_mut::<SUMS>().0;
    let accumulators = accumulators.as_chunks_mut::<SUMS>().0;
    let others = others.as_chunks::<SUMS>().0;
    for chunk in 0..weights.len().min(accumulators.len()).min(others.len()) {
        let (weights, accumulators) = (&mut weights[chunk], &mut accumulators[chunk]);
        let others = others[chunk];
        for lane in 0..SUMS {
            let pull = if others[lane] == 0.0 { 0.0 } else { options.l2 * weights[lane] };
            let gradient = scale * others[lane] + pull;
            accumulators[lane] += gradient * gradient;
            weights[lane] -= options.alpha * gradient / accumulators[lane].sqrt();
        }
    }
}
