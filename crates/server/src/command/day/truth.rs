//! What truly happened, in the words of the counts: by ad, kind and verdict.

use std::collections::BTreeMap;

use reckon_event::{Kind, Verdict};

/// The ad of records that name none that is registered, as `/v1/metrics` tells it.
pub const UNKNOWN_AD: &str = "(unknown)";

/// What records are counted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The ad.
    pub ad_id: String,
    /// What happened.
    pub kind: Kind,
    /// What it must become.
    pub verdict: Verdict,
}

/// Acknowledged records, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    counts: BTreeMap<(String, u8, Verdict), u64>,
    /// Events that were not acknowledged: each may count or not. 0 on a healthy server.
    pub uncertain: u64,
}

impl Truth {
    /// Takes one record in.
    pub fn add(&mut self, cell: Cell) {
        *self.counts.entry((cell.ad_id, cell.kind.code(), cell.verdict)).or_default() += 1;
    }

    /// Takes another's records in.
    pub fn merge(&mut self, other: Truth) {
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
        self.uncertain += other.uncertain;
    }

    /// All records.
    pub fn records(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Records of a kind and verdict, of all ads.
    pub fn total(&self, kind: Kind, verdict: Verdict) -> u64 {
        let of_kind =
            self.counts.iter().filter(|((_, code, of), _)| *code == kind.code() && *of == verdict);
        of_kind.map(|(_, count)| count).sum()
    }

    /// Records of one kind by ad and verdict, in order.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&str, Verdict, u64)> {
        let of_kind = self.counts.iter().filter(move |((_, code, _), _)| *code == kind.code());
        of_kind.map(|((ad_id, _, verdict), count)| (ad_id.as_str(), *verdict, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_ad_kind_and_verdict() {
        let cell = |ad_id: &str, kind, verdict| Cell { ad_id: ad_id.to_owned(), kind, verdict };
        let mut truth = Truth::default();
        truth.add(cell("b", Kind::Click, Verdict::Counted));
        truth.add(cell("a", Kind::Click, Verdict::Duplicate));
        truth.add(cell("a", Kind::Impression, Verdict::Counted));
        let mut other = Truth { uncertain: 2, ..Truth::default() };
        other.add(cell("b", Kind::Click, Verdict::Counted));
        truth.merge(other);
        let clicks: Vec<_> = truth.of_kind(Kind::Click).collect();
        assert_eq!(clicks, [("a", Verdict::Duplicate, 1), ("b", Verdict::Counted, 2)]);
        assert_eq!((truth.records(), truth.uncertain), (4, 2));
        assert_eq!(truth.total(Kind::Click, Verdict::Counted), 2);
    }
}
