//! What belongs to keys, as it is learned: embeddings and weights of the wide term, by Adagrad.
//!
//! ```text
//! row of the table: embedding | wide weight | sum of squares of both: 2 numbers
//! ```
//!
//! A row's numbers lie together, so learning it waits for memory once. The embedding has one sum of
//! squares (their mean), as recommenders at scale have it: a quarter less memory than one each, and no
//! worse here. Only rows of keys that were seen are touched.

use super::head::NO_ROW;
use super::product::Real;

/// The rates of a step.
#[derive(Clone, Copy)]
pub(super) struct Rates {
    pub(super) embedding: f32,
    pub(super) wide: f32,
    pub(super) l2: f32,
}

/// The rows.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) embedding: usize,
    pub(super) numbers: Vec<f32>,
}

impl Table {
    /// Numbers of a row.
    pub(super) fn stride(embedding: usize) -> usize {
        embedding + 3
    }

    /// Embedding and wide weight of a row.
    pub(super) fn row(&self, row: usize) -> (&[f32], f32) {
        let stride = Self::stride(self.embedding);
        let row = &self.numbers[row * stride..][..stride];
        (&row[..self.embedding], row[self.embedding])
    }

    /// One step of a row; the gradients are sums over the batch's rows, not means: how fast a key
    /// learns should not depend on who else is in the batch.
    pub(super) fn learn(&mut self, row: usize, by: &[f32], by_wide: f32, rates: Rates) {
        let stride = Self::stride(self.embedding);
        let row = &mut self.numbers[row * stride..][..stride];
        let (numbers, rest) = row.split_at_mut(self.embedding);
        let [wide, squares, wide_squares] = rest else { return };
        let pulled = |number: f32, by: f32| by + rates.l2 * number;
        let sum: f32 =
            numbers.iter().zip(by).map(|(&number, &by)| pulled(number, by).powi(2)).sum();
        *squares += sum / by.len() as f32;
        let rate = rates.embedding / squares.sqrt();
        for (number, &by) in numbers.iter_mut().zip(by) {
            *number -= rate * pulled(*number, by);
        }
        let by = pulled(*wide, by_wide);
        *wide_squares += by * by;
        *wide -= rates.wide * by / wide_squares.sqrt();
    }
}

/// The places of a batch's keys, those of one row together; in the order of the rows.
pub(super) fn order(rows: &[u32], order: &mut Vec<u64>) {
    order.clear();
    let places = rows.iter().zip(0u64..).filter(|&(&row, _)| row != NO_ROW);
    order.extend(places.map(|(&row, place)| u64::from(row) << 32 | place));
    order.sort_unstable();
}

/// Where the gradients of a batch lie.
pub(super) struct Gradients<'a, T> {
    /// By x0, all rows.
    pub(super) x: &'a [T],
    /// By the log odds.
    pub(super) by_logit: &'a [T],
    pub(super) fields: usize,
    pub(super) columns: usize,
    pub(super) embedding: usize,
}

impl<T: Real> Gradients<'_, T> {
    /// Gives each row that was seen, in order, with its gradient and that of its wide weight.
    pub(super) fn each(&self, order: &[u64], mut learn: impl FnMut(usize, &[T], T)) {
        let width = self.columns + self.fields * self.embedding;
        let mut sum = vec![T::default(); self.embedding];
        for same in order.chunk_by(|left, right| left >> 32 == right >> 32) {
            sum.fill(T::default());
            let mut wide = T::default();
            for place in same {
                let place = (place & 0xffff_ffff) as usize;
                let (row, field) = (place / self.fields, place % self.fields);
                let start = row * width + self.columns + field * self.embedding;
                for (sum, &one) in sum.iter_mut().zip(&self.x[start..][..self.embedding]) {
                    *sum += one;
                }
                wide += self.by_logit[row];
            }
            learn((same[0] >> 32) as usize, &sum, wide);
        }
    }
}
