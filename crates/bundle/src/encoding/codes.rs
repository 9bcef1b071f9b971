//! A category as numbers, for trees: which one it is, and how it did.

/// What the column of a field's log odds has behind the field's name.
const ODDS: &str = " odds";

/// One key of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Code {
    /// The key.
    pub key: u64,
    /// Its rank by frequency, from 0; NaN where it is too rare to be a category of its own.
    pub rank: f32,
    /// Log odds of its clicks, drawn to those of all rows.
    pub odds: f32,
}

/// A field's keys: its rank and, where wanted, its log odds.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// By rising key, each once.
    keys: Vec<u64>,
    /// Rank and log odds of each.
    values: Vec<[f32; 2]>,
    /// The log odds of a key that is not among them; NaN where log odds are no column.
    base: f32,
}

impl Codes {
    /// Codes of these keys. Where `base` is NaN, a field becomes its rank alone.
    ///
    /// # Panics
    /// Where a key is 0, or comes twice.
    pub fn new(mut codes: Vec<Code>, base: f32) -> Self {
        codes.sort_unstable_by_key(|code| code.key);
        let keys: Vec<_> = codes.iter().map(|code| code.key).collect();
        assert!(keys.is_sorted_by(|left, right| left < right), "each key once");
        assert!(keys.first() != Some(&0), "0 is no key");
        Codes { keys, values: codes.iter().map(|code| [code.rank, code.odds]).collect(), base }
    }

    /// Keys it knows.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The log odds of a key that it does not know; NaN where log odds are no column.
    pub const fn base(&self) -> f32 {
        self.base
    }

    /// Columns that a field becomes: 1 or 2.
    pub const fn width(&self) -> usize {
        if self.base.is_nan() { 1 } else { 2 }
    }

    /// Its keys with their codes.
    pub fn iter(&self) -> impl Iterator<Item = Code> {
        let code = |(&key, &[rank, odds]): (&u64, &[f32; 2])| Code { key, rank, odds };
        self.keys.iter().zip(&self.values).map(code)
    }

    /// The rank of a key; NaN where it is rare, unknown or missing.
    pub fn rank(&self, key: u64) -> f32 {
        self.find(key).map_or(f32::NAN, |[rank, _]| rank)
    }

    fn find(&self, key: u64) -> Option<[f32; 2]> {
        self.keys.binary_search(&key).ok().map(|place| self.values[place])
    }

    /// Appends a key's columns. What is missing stays missing.
    pub(super) fn push(&self, key: u64, out: &mut Vec<f32>) {
        let found = self.find(key);
        out.push(found.map_or(f32::NAN, |[rank, _]| rank));
        if !self.base.is_nan() {
            let unknown = if key == 0 { f32::NAN } else { self.base };
            out.push(found.map_or(unknown, |[_, odds]| odds));
        }
    }

    /// The names of a field's columns.
    pub(super) fn names(&self, name: &str) -> impl Iterator<Item = String> + use<> {
        let odds = (!self.base.is_nan()).then(|| format!("{name}{ODDS}"));
        std::iter::once(name.to_owned()).chain(odds)
    }
}
