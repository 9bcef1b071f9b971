//! Labels that were read before their row.
//!
//! In one log a row stands before everything that names it. Where rows, impressions and clicks are
//! topics of their own, order is known only within each, so a label may be read some epochs before its
//! row. It waits here until the row comes, and is an orphan only once it is let go of.
//!
//! Labels wait as long as rows do, and as there the watermark tells how long, not the newest record:
//! while the rows' topic is behind, as when a backlog is read, the watermark is behind with it.

use std::collections::{BTreeSet, HashMap};

use reckon_event::{ServedRows, Timestamp, prediction_id};

/// At most so many wait, some 20 MiB.
pub const LABELS_MAX: usize = 1 << 18;

/// What an impression or a click says of a row. Labels are ordered by time, then by what they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// When it was received.
    pub at: Timestamp,
    /// The prediction it names.
    pub prediction: u64,
    /// What has happened.
    pub sign: Sign,
    /// Where on the page; 0 where that is unknown.
    pub place: u16,
}

/// What has happened to a served row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sign {
    /// It was seen.
    Shown,
    /// It was clicked.
    Clicked,
}

/// All labels that wait for their row.
#[derive(Debug, Default)]
pub struct Early {
    labels: HashMap<(u64, Sign), Label, foldhash::fast::RandomState>,
    order: BTreeSet<Label>,
    orphans: u64,
}

impl Early {
    /// Goes on with labels that waited before.
    pub fn of(labels: &[Label]) -> Self {
        let mut early = Early::default();
        for &label in labels {
            early.hold(label);
        }
        early
    }

    /// Takes a label in; of two alike the first is kept. The oldest goes where there is no room.
    pub fn hold(&mut self, label: Label) {
        let key = (label.prediction, label.sign);
        if self.labels.contains_key(&key) {
            return;
        }
        self.labels.insert(key, label);
        self.order.insert(label);
        if self.order.len() > LABELS_MAX {
            self.let_go_of_first();
        }
    }

    /// Gives what waited for these rows: for each candidate its impression, then its click.
    pub fn take(&mut self, rows: &ServedRows) -> Vec<Label> {
        if self.order.is_empty() {
            return Vec::new();
        }
        let mut taken = Vec::new();
        for candidate in &rows.candidates {
            let prediction = prediction_id(rows.request, candidate.index);
            for sign in [Sign::Shown, Sign::Clicked] {
                taken.extend(self.labels.remove(&(prediction, sign)));
            }
        }
        for label in &taken {
            self.order.remove(label);
        }
        taken
    }

    /// Lets go of what was received before a time.
    pub fn expire(&mut self, before: Timestamp) {
        while self.order.first().is_some_and(|label| label.at < before) {
            self.let_go_of_first();
        }
    }

    fn let_go_of_first(&mut self) {
        if let Some(label) = self.order.pop_first() {
            self.labels.remove(&(label.prediction, label.sign));
            self.orphans += 1;
        }
    }

    /// Labels that were let go of: their rows were lost, or are too late or too old.
    pub const fn orphans(&self) -> u64 {
        self.orphans
    }

    /// Everything that waits, oldest first.
    pub fn labels(&self) -> impl Iterator<Item = Label> {
        self.order.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use reckon_event::ServedCandidate;

    use super::*;

    fn label(at: i64, request: u64, index: u16, sign: Sign) -> Label {
        Label { at: Timestamp(at), prediction: prediction_id(request, index), sign, place: 1 }
    }

    fn rows(request: u64, indexes: &[u16]) -> ServedRows {
        let candidate = |&index| ServedCandidate { index, ..ServedCandidate::default() };
        ServedRows {
            request,
            candidates: indexes.iter().map(candidate).collect(),
            ..ServedRows::default()
        }
    }

    #[test]
    fn a_row_gets_its_labels_once_and_only_its_own() {
        let clicked = label(5, 1, 0, Sign::Clicked);
        let shown = label(7, 1, 0, Sign::Shown);
        let other = label(6, 2, 0, Sign::Shown);
        let mut early = Early::of(&[clicked, shown, other]);
        early.hold(label(9, 1, 0, Sign::Shown));
        assert_eq!(early.take(&rows(1, &[1, 0])), [shown, clicked]);
        assert_eq!(early.take(&rows(1, &[0])), []);
        assert_eq!(early.labels().collect::<Vec<_>>(), [other]);
        assert_eq!(early.orphans(), 0);
    }

    #[test]
    fn labels_wait_for_their_time_and_no_longer() {
        let mut early = Early::default();
        for at in [30, 10, 20] {
            early.hold(label(at, at.cast_unsigned(), 0, Sign::Shown));
        }
        early.expire(Timestamp(20));
        let left: Vec<i64> = early.labels().map(|label| label.at.0).collect();
        assert_eq!((left, early.orphans()), (vec![20, 30], 1));
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room() {
        let mut early = Early::default();
        let more = 100;
        for request in 0..(LABELS_MAX + more) as u64 {
            let at = request.cast_signed();
            early.hold(label(at, request, 0, Sign::Clicked));
        }
        assert_eq!((early.order.len(), early.labels.len()), (LABELS_MAX, LABELS_MAX));
        assert_eq!(early.orphans(), more as u64);
        assert_eq!(early.take(&rows(99, &[0])), []);
        assert_eq!(early.take(&rows(100, &[0])).len(), 1);
    }
}
