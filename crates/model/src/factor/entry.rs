//! A row, and what is there in it.

#![expect(clippy::needless_range_loop, reason = "adapters of iterators stay out of the wide form")]

use super::FactorOptions;
use super::table::Table;

/// Values beyond count as this: a stray one must not drown all others.
const VALUE_MAX: f32 = 100.0;

/// What is known of one candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// One a numeric column, NaN where it is missing.
    pub numeric: &'a [f32],
    /// One a categorical field, 0 where it is missing.
    pub keys: &'a [u64],
}

/// Memory of a thread that scores, so that a request allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// For each field what the shared fields multiply it with.
    pub(super) shared: Vec<f32>,
    /// Which fields the shared row has.
    pub(super) has: Vec<bool>,
}

/// A field that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Entry {
    pub(super) slot: u32,
    pub(super) field: u32,
    pub(super) value: f32,
}

/// Where the fields of rows lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    fields: usize,
    columns: usize,
    mask: u64,
}

impl Places {
    pub(super) fn of(options: &FactorOptions) -> Self {
        let FactorOptions { fields, columns, bits, .. } = *options;
        Places { fields, columns, mask: (1 << bits) - 1 }
    }

    /// The number of slots.
    pub(super) fn slots(&self) -> usize {
        self.mask as usize + 1 + self.columns
    }

    /// # Panics
    /// Where the row is of another width.
    #[inline(always)]
    pub(super) fn check(&self, row: Row<'_>) {
        assert_eq!(row.keys.len(), self.fields, "one key a field");
        assert_eq!(row.numeric.len(), self.columns, "one number a column");
    }

    /// Fields and columns.
    #[inline(always)]
    pub(super) fn total(&self) -> usize {
        self.fields + self.columns
    }

    /// What is there in this field of a row; the columns follow the fields. Asked for by number instead
    /// of by an iterator, whose adapters are not compiled into the wide form of a loop.
    #[inline(always)]
    pub(super) fn entry(&self, row: Row<'_>, field: usize) -> Option<Entry> {
        if field < self.fields {
            let key = row.keys[field];
            if key == 0 {
                return None;
            }
            return Some(Entry { slot: (key & self.mask) as u32, field: field as u32, value: 1.0 });
        }
        let column = field - self.fields;
        let value = row.numeric[column];
        if value.is_nan() {
            return None;
        }
        let slot = (self.mask as usize + 1 + column) as u32;
        Some(Entry { slot, field: field as u32, value: value.clamp(-VALUE_MAX, VALUE_MAX) })
    }

    /// All that is there.
    pub(super) fn entries(&self, row: Row<'_>, entries: &mut Vec<Entry>) {
        entries.clear();
        entries.extend((0..self.total()).filter_map(|field| self.entry(row, field)));
    }

    /// Row `index` of row-major slices.
    #[inline(always)]
    pub(super) fn row<'a>(&self, numeric: &'a [f32], keys: &'a [u64], index: usize) -> Row<'a> {
        Row {
            numeric: &numeric[index * self.columns..][..self.columns],
            keys: &keys[index * self.fields..][..self.fields],
        }
    }

    /// # Panics
    /// Where the slices do not hold so many rows.
    pub(super) fn check_many(&self, numeric: &[f32], keys: &[u64], rows: usize) {
        assert_eq!(keys.len(), rows * self.fields, "one key a field and row");
        assert_eq!(numeric.len(), rows * self.columns, "one number a column and row");
    }

    /// Asks for the fields that `has` lacks.
    #[inline(always)]
    pub(super) fn prefetch_own(&self, table: &Table, row: Row<'_>, has: &[bool]) {
        for field in 0..self.total() {
            if !has[field]
                && let Some(entry) = self.entry(row, field)
            {
                table.prefetch(entry.slot as usize);
            }
        }
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, table: &Table, row: Row<'_>) {
        for field in 0..self.total() {
            if let Some(entry) = self.entry(row, field) {
                table.prefetch(entry.slot as usize);
            }
        }
    }

    #[inline(always)]
    pub(super) fn prefetch_whole(&self, table: &Table, row: Row<'_>) {
        for field in 0..self.total() {
            if let Some(entry) = self.entry(row, field) {
                table.prefetch_whole(entry.slot as usize);
            }
        }
    }
}

/// One weight learns: Adagrad.
#[inline(always)]
pub(super) fn adagrad(weight: &mut f32, accumulator: &mut f32, gradient: f32, alpha: f32) {
    *accumulator += gradient * gradient;
    *weight -= alpha * gradient / accumulator.sqrt();
}
