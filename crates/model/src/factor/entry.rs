//! A row, and what is there in it.

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

    /// What is there in a row, keys first.
    #[inline(always)]
    pub(super) fn entries<'a>(&self, row: Row<'a>) -> impl Iterator<Item = Entry> + use<'a> {
        let Places { fields, mask, .. } = *self;
        let keys = row.keys.iter().enumerate().filter(|(_, key)| **key != 0);
        let keys = keys.map(move |(field, key)| Entry {
            slot: (key & mask) as u32,
            field: field as u32,
            value: 1.0,
        });
        let numeric = row.numeric.iter().enumerate().filter(|(_, value)| !value.is_nan());
        keys.chain(numeric.map(move |(column, value)| Entry {
            slot: (mask as usize + 1 + column) as u32,
            field: (fields + column) as u32,
            value: value.clamp(-VALUE_MAX, VALUE_MAX),
        }))
    }

    /// Row `index` of row-major slices.
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

    #[inline(always)]
    pub(super) fn prefetch(&self, table: &Table, row: Row<'_>) {
        self.entries(row).for_each(|entry| table.prefetch(entry.slot as usize));
    }

    #[inline(always)]
    pub(super) fn prefetch_whole(&self, table: &Table, row: Row<'_>) {
        self.entries(row).for_each(|entry| table.prefetch_whole(entry.slot as usize));
    }
}

/// One weight learns: Adagrad.
#[inline(always)]
pub(super) fn adagrad(weight: &mut f32, accumulator: &mut f32, gradient: f32, alpha: f32) {
    *accumulator += gradient * gradient;
    *weight -= alpha * gradient / accumulator.sqrt();
}
