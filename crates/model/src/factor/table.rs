//! The slots: for each key all its weights, then all their accumulators.
//!
//! ```text
//! slot: weights width x f32 | accumulators width x f32        from the beginning of a cache line on
//! FM   weights: linear | vector | zeros                                        width 8, 16 or 32
//! FFM  weights: a vector for each field; that of its own field is never multiplied with anything,
//!               and its first number is the linear weight        width fields x (4, 8 or 16), to 16
//! ```
//!
//! Behind the `2^bits` slots of keys stands one for each numeric column. The accumulator of the linear
//! weight is 0 where nothing was learned.

use super::wide;
use crate::Random;

/// Numbers in a cache line.
const LINE: usize = 16;

#[derive(Debug)]
pub(super) struct Table {
    numbers: Vec<f32>,
    /// Where the first cache line begins.
    start: usize,
    width: usize,
    slots: usize,
}

/// One slot to learn in.
pub(super) struct Slot<'a> {
    pub(super) weights: &'a mut [f32],
    pub(super) accumulators: &'a mut [f32],
}

impl Table {
    /// Nothing was learned. The memory is zeroed by the operating system when it is first touched.
    pub(super) fn new(slots: usize, width: usize) -> Self {
        let numbers = vec![0.0f32; slots * width * 2 + LINE];
        // Where it cannot tell, lines are crossed, and nothing else is different.
        let start = numbers.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Table { numbers, start, width, slots }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    #[inline(always)]
    pub(super) fn weights(&self, slot: usize) -> &[f32] {
        let from = self.start + slot * self.width * 2;
        &self.numbers[from..from + self.width]
    }

    pub(super) fn accumulators(&self, slot: usize) -> &[f32] {
        let from = self.start + slot * self.width * 2 + self.width;
        &self.numbers[from..from + self.width]
    }

    #[inline(always)]
    pub(super) fn slot(&mut self, slot: usize) -> Slot<'_> {
        let from = self.start + slot * self.width * 2;
        let numbers = &mut self.numbers[from..from + self.width * 2];
        let (weights, accumulators) = numbers.split_at_mut(self.width);
        Slot { weights, accumulators }
    }

    /// Asks for what scoring needs of a slot.
    #[inline(always)]
    pub(super) fn prefetch(&self, slot: usize) {
        wide::prefetch(self.weights(slot));
    }

    /// Asks for the whole slot.
    #[inline(always)]
    pub(super) fn prefetch_whole(&self, slot: usize) {
        let from = self.start + slot * self.width * 2;
        wide::prefetch(&self.numbers[from..from + self.width * 2]);
    }

    /// Every number of every slot but zeros, as it is.
    pub(super) fn is_learned(&self, slot: usize) -> bool {
        self.accumulators(slot).iter().any(|&accumulator| accumulator != 0.0)
    }
}

impl Clone for Table {
    /// The copy lies elsewhere, so its first cache line begins elsewhere.
    fn clone(&self) -> Self {
        let mut copy = Table::new(self.slots, self.width);
        let length = self.slots * self.width * 2;
        let ours = &self.numbers[self.start..self.start + length];
        copy.numbers[copy.start..copy.start + length].copy_from_slice(ours);
        copy
    }
}

impl Slot<'_> {
    /// Gives the slot its start: `vectors` are where they lie in it, each `factors` long.
    pub(super) fn begin(
        &mut self,
        vectors: impl Iterator<Item = usize>,
        factors: usize,
        start: Start,
    ) {
        let mut random = Random::new(start.seed);
        self.accumulators.fill(start.beta);
        let reach = start.spread / (factors as f32).sqrt();
        for vector in vectors {
            for weight in &mut self.weights[vector..vector + factors] {
                *weight = reach * (2.0 * random.uniform() as f32 - 1.0);
            }
        }
    }
}

/// How a slot begins.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub(super) seed: u64,
    pub(super) spread: f32,
    pub(super) beta: f32,
}

impl Start {
    pub(super) fn of(options: &super::FactorOptions, slot: usize) -> Self {
        let seed = options.seed ^ (slot as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Start { seed, spread: options.spread, beta: options.beta }
    }
}
