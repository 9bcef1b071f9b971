//! What an answer covers: the cut it was counted up to, and whether it can still change.

use std::fmt;

use reckon_event::Timestamp;
use reckon_pipeline::{Snapshot, Unjudged};

/// Positions of the log, by partition: everything below them has been counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut(pub Vec<u64>);

impl fmt::Display for Cut {
    /// `PARTITION-POSITION`, separated by commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (partition, position) in self.0.iter().enumerate() {
            let comma = if partition > 0 { "," } else { "" };
            write!(f, "{comma}{partition}-{position}")?;
        }
        Ok(())
    }
}

/// Whether figures can still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// Events are still expected.
    No,
    /// Clicks and pixels are whole; batches may still bring something.
    Server,
    /// Whole. What comes later is a revision.
    All,
}

impl Finality {
    /// Of figures up to `to`, as of a moment of counting: the watermark is past their lateness, in
    /// seconds, and rules have judged all there is.
    pub fn at(to: Timestamp, counted: &Snapshot, server_s: i64, client_s: i64) -> Self {
        let is_past = |lateness: i64, unjudged: Option<Timestamp>| {
            let is_judged = unjudged.is_none_or(|from| from >= to);
            is_judged && to.plus(lateness * Timestamp::SECOND) <= counted.watermark
        };
        let Unjudged { server, client } = counted.unjudged;
        match (is_past(server_s, server), is_past(client_s, client)) {
            (true, true) => Finality::All,
            (true, false) => Finality::Server,
            (false, _) => Finality::No,
        }
    }

    /// As JSON: false or a text.
    pub const fn json(self) -> &'static str {
        match self {
            Finality::No => "false",
            Finality::Server => "\"server\"",
            Finality::All => "\"all\"",
        }
    }

    /// As a header's value.
    pub const fn name(self) -> &'static str {
        match self {
            Finality::No => "false",
            Finality::Server => "server",
            Finality::All => "all",
        }
    }
}

/// The receive time up to which everything has been counted: by partition that of the latest record
/// counted, or `now` where nothing durable waits; the least of them.
pub fn watermark(snapshot: &Snapshot, log_end: &[u64], now: Timestamp) -> Timestamp {
    let of = |(partition, end): (usize, &u64)| {
        let position = snapshot.position.get(partition).copied().unwrap_or_default();
        if position >= *end {
            return now;
        }
        snapshot.received.get(partition).copied().unwrap_or_default()
    };
    log_end.iter().enumerate().map(of).min().unwrap_or(now)
}

/// The cut of an answer that holds the epochs up to `applied`, of the snapshots taken before and
/// after it. Between two epochs one of them names it; else the earlier one, which it holds whole.
pub fn cut_of(applied: Option<u64>, before: &Snapshot, after: &Snapshot) -> Cut {
    let exact = applied.unwrap_or_default() == after.epoch;
    Cut(if exact { after.position.clone() } else { before.position.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = Timestamp::MINUTE;

    fn snapshot(epoch: u64, position: &[u64], received: &[i64]) -> Snapshot {
        Snapshot {
            epoch,
            position: position.to_vec(),
            received: received.iter().map(|&time| Timestamp(time)).collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn figures_become_final_in_two_steps() {
        let judged = |watermark, unjudged| {
            let watermark = Timestamp(watermark);
            let counted = Snapshot { watermark, unjudged, ..Snapshot::default() };
            Finality::at(Timestamp(0), &counted, 60, 120)
        };
        let at = |watermark| judged(watermark, Unjudged::default());
        let steps = [at(MINUTE - 1), at(MINUTE), at(2 * MINUTE - 1), at(2 * MINUTE)];
        let expect = [Finality::No, Finality::Server, Finality::Server, Finality::All];
        assert_eq!(steps, expect);
        let (before, after) = (Some(Timestamp(-MINUTE)), Some(Timestamp(0)));
        let late = |server, client| judged(2 * MINUTE, Unjudged { server, client });
        assert_eq!(late(before, None), Finality::No);
        assert_eq!(late(after, before), Finality::Server);
        assert_eq!(late(after, after), Finality::All);
    }

    #[test]
    fn who_is_behind_holds_the_watermark() {
        let now = Timestamp(1_000);
        let of = |position: &[u64], received: &[i64]| {
            watermark(&snapshot(1, position, received), &[10, 20], now)
        };
        assert_eq!(of(&[10, 20], &[0, 7]), now);
        assert_eq!(of(&[10, 19], &[3, 7]), Timestamp(7));
        assert_eq!(of(&[9, 19], &[3, 7]), Timestamp(3));
        assert_eq!(of(&[10], &[3]), Timestamp::MIN);
    }

    #[test]
    fn a_cut_never_claims_more_than_the_answer_holds() {
        let (before, after) = (snapshot(4, &[40], &[]), snapshot(6, &[60], &[]));
        assert_eq!(cut_of(Some(4), &before, &after).to_string(), "0-40");
        assert_eq!(cut_of(Some(5), &before, &after).to_string(), "0-40");
        assert_eq!(cut_of(Some(6), &before, &after).to_string(), "0-60");
        assert_eq!(Cut(vec![1, 2]).to_string(), "0-1,1-2");
    }
}
