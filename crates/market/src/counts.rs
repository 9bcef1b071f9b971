//! What must have been counted, in the words of the counts.

use std::collections::BTreeMap;

use reckon_event::{Kind, Verdict};

/// What records are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Index of the ad; `None` for records that name none that is registered.
    pub ad: Option<usize>,
    /// The second at which the minute (or after [`Counts::by`] the longer bucket) begins that it
    /// happened in.
    pub bucket: i64,
    /// What happened.
    pub kind: Kind,
    /// What it is worth.
    pub verdict: Verdict,
}

/// Records, counted by cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Cell, u64>);

impl Counts {
    /// Takes one record in.
    pub fn add(&mut self, cell: Cell) {
        *self.0.entry(cell).or_default() += 1;
    }

    /// Gives one record of a cell another verdict.
    ///
    /// # Panics
    /// Where the cell holds none.
    pub fn revise(&mut self, cell: Cell, verdict: Verdict) {
        let count = self.0.get_mut(&cell).expect("what is revised was counted");
        *count -= 1;
        if *count == 0 {
            self.0.remove(&cell);
        }
        self.add(Cell { verdict, ..cell });
    }

    /// Takes all of another's records in.
    pub fn merge(&mut self, other: &Counts) {
        for (cell, count) in &other.0 {
            *self.0.entry(*cell).or_default() += count;
        }
    }

    /// All cells that hold something, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Cell, u64)> {
        self.0.iter().map(|(cell, count)| (*cell, *count))
    }

    /// The same records in buckets of this many seconds, a multiple of a minute.
    pub fn by(&self, seconds: i64) -> Self {
        let mut wider = Counts::default();
        for (cell, count) in &self.0 {
            let bucket = cell.bucket.div_euclid(seconds) * seconds;
            *wider.0.entry(Cell { bucket, ..*cell }).or_default() += count;
        }
        wider
    }

    /// All records.
    pub fn records(&self) -> u64 {
        self.0.values().sum()
    }

    /// Records of a kind and verdict.
    pub fn total(&self, kind: Kind, verdict: Verdict) -> u64 {
        let of = |cell: &Cell| cell.kind == kind && cell.verdict == verdict;
        self.0.iter().filter(|(cell, _)| of(cell)).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_cell() {
        let cell = |ad, kind, verdict| Cell { ad, bucket: 420, kind, verdict };
        let mut counts = Counts::default();
        counts.add(cell(Some(1), Kind::Click, Verdict::Counted));
        counts.add(cell(None, Kind::Click, Verdict::UnknownAd));
        let mut other = counts.clone();
        other.add(cell(Some(1), Kind::View, Verdict::Counted));
        counts.merge(&other);
        assert_eq!(counts.records(), 5);
        assert_eq!(counts.total(Kind::Click, Verdict::Counted), 2);
        let cells: Vec<_> = counts.iter().map(|(cell, count)| (cell.ad, count)).collect();
        assert_eq!(cells, [(None, 2), (Some(1), 1), (Some(1), 2)]);
    }

    #[test]
    fn minutes_add_up_to_hours() {
        let mut counts = Counts::default();
        for bucket in [0, 60, 3_540, 3_600, -60] {
            let (kind, verdict) = (Kind::Click, Verdict::Counted);
            counts.add(Cell { ad: Some(0), bucket, kind, verdict });
        }
        let hours: Vec<_> = counts.by(3_600).iter().map(|(cell, n)| (cell.bucket, n)).collect();
        assert_eq!(hours, [(-3_600, 1), (0, 3), (3_600, 1)]);
        assert_eq!(counts.by(60), counts);
    }
}
