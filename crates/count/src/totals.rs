//! How many records got which verdict: the sums that must equal the records, always.

use reckon_event::{Kind, Verdict};

const KINDS: usize = 8;
const VERDICTS: usize = 16;

/// Counts by kind and verdict, and of the records that get none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    counts: [[u64; VERDICTS]; KINDS],
    /// Dropped before verdicts: the same append came a second time.
    pub redelivered: u64,
    /// Not counted at all: control records and predictions.
    pub skipped: u64,
    /// Of a kind this build does not know.
    pub unknown: u64,
}

impl Totals {
    /// How many records of `kind` got `verdict`.
    pub fn get(&self, kind: Kind, verdict: Verdict) -> u64 {
        kind_index(kind).map_or(0, |kind| self.counts[kind][verdict_index(verdict)])
    }

    /// Everything that is not zero, in the order of the codes.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, Verdict, u64)> + '_ {
        (1..=KINDS as u8)
            .filter_map(Kind::from_code)
            .flat_map(|kind| Verdict::all().map(move |verdict| (kind, verdict)))
            .map(|(kind, verdict)| (kind, verdict, self.get(kind, verdict)))
            .filter(|&(.., count)| count > 0)
    }

    /// How many records got a verdict.
    pub fn judged(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// How many records were seen: those with a verdict and those without.
    pub const fn seen(&self) -> u64 {
        let mut sum = self.redelivered + self.skipped + self.unknown;
        let mut kind = 0;
        while kind < KINDS {
            let mut verdict = 0;
            while verdict < VERDICTS {
                sum += self.counts[kind][verdict];
                verdict += 1;
            }
            kind += 1;
        }
        sum
    }

    /// Adds `count` records.
    ///
    /// # Panics
    /// Where the kind never gets a verdict.
    pub fn add(&mut self, kind: Kind, verdict: Verdict, count: u64) {
        let kind = kind_index(kind).expect("only kinds that are counted get a verdict");
        self.counts[kind][verdict_index(verdict)] += count;
    }

    /// Moves one record from the verdict it had to the one now in force.
    ///
    /// # Panics
    /// Where there is none to move.
    pub fn revise(&mut self, kind: Kind, from: Verdict, to: Verdict) {
        let counts = &mut self.counts[kind_index(kind).expect("it had a verdict")];
        let before = &mut counts[verdict_index(from)];
        *before = before.checked_sub(1).expect("what is revised was counted before");
        counts[verdict_index(to)] += 1;
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Totals) {
        for (mine, theirs) in self.counts.iter_mut().flatten().zip(other.counts.iter().flatten()) {
            *mine += theirs;
        }
        self.redelivered += other.redelivered;
        self.skipped += other.skipped;
        self.unknown += other.unknown;
    }
}

/// `None` for kinds that never get a verdict.
const fn kind_index(kind: Kind) -> Option<usize> {
    let index = kind.code() as usize - 1;
    if index < KINDS { Some(index) } else { None }
}

/// Codes 1 to 7, then the reasons from 16 on, without the gap.
const fn verdict_index(verdict: Verdict) -> usize {
    let code = verdict.code() as usize;
    if code < 16 { code - 1 } else { code - 9 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_verdict_has_a_place_of_its_own() {
        let places: BTreeSet<usize> = Verdict::all().map(verdict_index).collect();
        assert_eq!(places, (0..VERDICTS).collect());
    }

    #[test]
    fn sums_hold() {
        let mut totals = Totals { redelivered: 2, skipped: 3, unknown: 1, ..Totals::default() };
        totals.add(Kind::Click, Verdict::Counted, 5);
        totals.add(Kind::Hide, Verdict::Duplicate, 1);
        let mut twice = totals.clone();
        twice.merge(&totals);
        assert_eq!((totals.judged(), totals.seen(), twice.seen()), (6, 12, 24));
        assert_eq!(
            totals.iter().collect::<Vec<_>>(),
            [(Kind::Click, Verdict::Counted, 5), (Kind::Hide, Verdict::Duplicate, 1)]
        );
    }
}
