//! What was seen before a row: counts and click rates by key, all of them or fading.

use std::collections::HashMap;

/// Keys that are counted at most; later ones count as never seen.
const KEYS_MAX: usize = 1 << 24;
/// A rate stands at the mean of all until as many rows were seen.
const PRIOR_ROWS: f32 = 10.0;

/// Rows and clicks by key.
#[derive(Debug)]
pub(super) struct Tally {
    /// After so many milliseconds what was seen counts half; infinite where it does not fade.
    half_life: f64,
    by_key: HashMap<u64, Seen>,
    all: Seen,
}

/// What was seen of one key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub shown: f32,
    pub clicked: f32,
    /// When it was brought up to date.
    at: i64,
}

impl Tally {
    /// Counts that stay.
    pub fn lasting() -> Self {
        Tally::fading(f64::INFINITY)
    }

    /// Counts that fade by half in so many milliseconds.
    pub fn fading(half_life: f64) -> Self {
        Tally { half_life, by_key: HashMap::new(), all: Seen::default() }
    }

    /// What was seen of a key, as of a moment.
    pub fn seen(&self, key: u64, at: i64) -> Seen {
        self.by_key.get(&key).map_or_else(Seen::default, |seen| self.faded(*seen, at))
    }

    /// The click rate of what was seen, held towards the mean of all.
    pub fn rate(&self, seen: Seen) -> f32 {
        let mean = (self.all.clicked + 0.5) / (self.all.shown + 10.0);
        (seen.clicked + PRIOR_ROWS * mean) / (seen.shown + PRIOR_ROWS)
    }

    /// A row was shown, and perhaps clicked.
    pub fn count(&mut self, key: u64, clicked: bool, at: i64) {
        self.add(key, 1.0, f32::from(u8::from(clicked)), at);
    }

    /// Adds to both.
    pub fn add(&mut self, key: u64, shown: f32, clicked: f32, at: i64) {
        if key == 0 {
            return;
        }
        self.all = self.faded(self.all, at).plus(shown, clicked);
        if self.by_key.len() < KEYS_MAX || self.by_key.contains_key(&key) {
            let now = self.seen(key, at).plus(shown, clicked);
            self.by_key.insert(key, Seen { at, ..now });
        }
    }

    fn faded(&self, seen: Seen, at: i64) -> Seen {
        if self.half_life.is_infinite() {
            return seen;
        }
        let keep = (-((at - seen.at).max(0) as f64) / self.half_life).exp2() as f32;
        Seen { shown: seen.shown * keep, clicked: seen.clicked * keep, at }
    }
}

impl Seen {
    fn plus(self, shown: f32, clicked: f32) -> Seen {
        Seen { shown: self.shown + shown, clicked: self.clicked + clicked, ..self }
    }
}

/// Count and rate of each field's key, for logs of single rows.
#[derive(Debug)]
pub(super) struct Ordered {
    tallies: Vec<Tally>,
}

impl Ordered {
    /// Nothing was seen yet of any of so many fields.
    pub fn new(fields: usize) -> Self {
        Ordered { tallies: (0..fields).map(|_| Tally::lasting()).collect() }
    }

    /// Names of the columns, by the fields' names.
    pub fn names<'a>(fields: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let names = |field: &str| [format!("{field} seen"), format!("{field} rate")];
        fields.into_iter().flat_map(names).collect()
    }

    /// Appends count (its logarithm) and rate of each key, as known before this row.
    pub fn append(&self, keys: &[u64], columns: &mut Vec<f32>) {
        for (tally, &key) in self.tallies.iter().zip(keys) {
            let seen = tally.seen(key, 0);
            let known = |number: f32| if key == 0 { f32::NAN } else { number };
            columns.extend([known(seen.shown.ln_1p()), known(tally.rate(seen))]);
        }
    }

    /// The row's outcome is known now.
    pub fn count(&mut self, keys: &[u64], label: bool) {
        for (tally, &key) in self.tallies.iter_mut().zip(keys) {
            tally.count(key, label, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_knows_what_came_before_it_and_not_itself() {
        let mut ordered = Ordered::new(1);
        let mut columns = Vec::new();
        for label in [true, false, true] {
            ordered.append(&[7], &mut columns);
            ordered.count(&[7], label);
        }
        let seen: Vec<_> = columns.iter().step_by(2).copied().collect();
        assert_eq!(seen, [0.0, 2f32.ln(), 3f32.ln()]);
        let rates: Vec<_> = columns.iter().skip(1).step_by(2).copied().collect();
        assert!((rates[0] - 0.05).abs() < 1e-6, "nothing known: {rates:?}");
        assert!(rates[1] > rates[0] && rates[2] < rates[1], "{rates:?}");
        ordered.append(&[0], &mut columns);
        assert!(columns[6].is_nan() && columns[7].is_nan(), "missing is not rare");
    }

    #[test]
    fn what_fades_is_half_after_its_half_life() {
        let mut tally = Tally::fading(1_000.0);
        tally.count(1, true, 0);
        tally.count(1, false, 1_000);
        let seen = tally.seen(1, 2_000);
        assert!((seen.shown - 0.75).abs() < 1e-6 && (seen.clicked - 0.25).abs() < 1e-6, "{seen:?}");
    }
}
