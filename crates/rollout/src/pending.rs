//! Served rows that wait for what becomes of them.
//!
//! An impression mostly comes before its click. What is known of a candidate only grows, so events
//! that come in another order, or twice, end in the same state. Rows go after the attribution window,
//! and before it where they would take more room than they may: by when they were received and where
//! they stand, never by the order they were read in, which is another after a restart.

use std::collections::{BTreeMap, HashMap};

use reckon_event::{Feature, Position, ServedCandidate, ServedRows, Timestamp};

/// What is known of one candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// Its impression, where that has come.
    pub shown: Option<Shown>,
    /// Its click has come.
    pub clicked: bool,
}

/// An impression of a served row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// When it was received.
    pub at: Timestamp,
    /// Where on the page.
    pub place: u16,
    /// The served log odds, moved to that place, before calibration.
    pub logit: f32,
    /// The calibrated probability at that place.
    pub probability: f32,
}

/// The rows of one request.
#[derive(Clone, Debug)]
struct Request {
    rows: ServedRows,
    known: Vec<Known>,
    position: Position,
    bytes: usize,
}

/// All rows that wait.
#[derive(Debug, Default)]
pub struct Pending {
    requests: HashMap<u64, Vec<Request>, foldhash::fast::RandomState>,
    /// Requests by when they were received and where they stand in the log.
    order: BTreeMap<(Timestamp, Position), u64>,
    bytes: usize,
    rows: u64,
    dropped: u64,
}

impl Pending {
    /// Takes the rows of a request in; one request may come in several parts. Rows that are there
    /// already were appended twice, and stay as they are.
    pub fn insert(&mut self, rows: ServedRows, position: Position, received: Timestamp) {
        let first = rows.candidates.first().map(|candidate| candidate.index);
        if first.is_none_or(|index| self.get_mut(rows.request, index).is_some()) {
            return;
        }
        let inputs: usize = rows.candidates.iter().map(|candidate| candidate.features.len()).sum();
        let bytes = size_of::<Request>()
            + (rows.shared.len() + inputs) * size_of::<Feature>()
            + rows.candidates.len() * (size_of::<ServedCandidate>() + size_of::<Known>());
        let known = vec![Known::default(); rows.candidates.len()];
        self.bytes += bytes;
        self.rows += known.len() as u64;
        self.order.insert((received, position), rows.request);
        let parts = self.requests.entry(rows.request).or_default();
        parts.push(Request { rows, known, position, bytes });
    }

    /// The row of a candidate and what is known of it.
    pub fn get_mut(
        &mut self,
        request: u64,
        index: u16,
    ) -> Option<(&ServedRows, &ServedCandidate, &mut Known)> {
        self.requests.get_mut(&request)?.iter_mut().find_map(|part| {
            let place = part.rows.candidates.iter().position(|one| one.index == index)?;
            Some((&part.rows, &part.rows.candidates[place], &mut part.known[place]))
        })
    }

    /// Lets go of what came before a time, and of the oldest beyond so many bytes.
    pub fn expire(&mut self, before: Timestamp, bytes_max: usize) {
        while let Some(first) = self.order.first_entry() {
            let (received, position) = *first.key();
            let is_old = received < before;
            if !is_old && self.bytes <= bytes_max {
                break;
            }
            let request = first.remove();
            self.remove(request, position, !is_old);
        }
    }

    fn remove(&mut self, request: u64, position: Position, is_early: bool) {
        let Some(parts) = self.requests.get_mut(&request) else {
            return;
        };
        let Some(place) = parts.iter().position(|part| part.position == position) else {
            return;
        };
        let part = parts.swap_remove(place);
        if parts.is_empty() {
            self.requests.remove(&request);
        }
        self.bytes -= part.bytes;
        self.rows -= part.known.len() as u64;
        if is_early {
            self.dropped += part.known.len() as u64;
        }
    }

    /// Rows that wait.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows that were let go of before their time.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Where the rows stand in the log, oldest first.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.order.keys().map(|&(_, position)| position)
    }

    /// What is known of every candidate, in no order.
    pub fn known(&self) -> impl Iterator<Item = (u64, u16, Known)> {
        let parts = self.requests.values().flatten();
        parts.flat_map(|part| {
            let indexes = part.rows.candidates.iter().map(|candidate| candidate.index);
            let request = part.rows.request;
            indexes.zip(&part.known).map(move |(index, known)| (request, index, *known))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(request: u64, indexes: &[u16]) -> ServedRows {
        let candidate = |&index| ServedCandidate { index, ..ServedCandidate::default() };
        ServedRows {
            request,
            candidates: indexes.iter().map(candidate).collect(),
            ..ServedRows::default()
        }
    }

    fn at(offset: u64) -> Position {
        Position { partition: 0, offset }
    }

    #[test]
    fn rows_wait_for_the_window_and_no_longer() {
        let mut pending = Pending::default();
        pending.insert(rows(2, &[0]), at(3), Timestamp(20));
        pending.insert(rows(1, &[0, 1]), at(1), Timestamp(10));
        pending.insert(rows(1, &[2]), at(2), Timestamp(10));
        assert!(pending.get_mut(1, 2).is_some() && pending.get_mut(1, 3).is_none());
        pending.expire(Timestamp(11), usize::MAX);
        assert!(pending.get_mut(1, 0).is_none());
        assert_eq!((pending.rows(), pending.dropped()), (1, 0));
        pending.expire(Timestamp(11), 0);
        assert_eq!((pending.rows(), pending.dropped(), pending.bytes), (0, 1, 0));
    }

    #[test]
    fn rows_that_were_appended_twice_wait_once() {
        let mut pending = Pending::default();
        pending.insert(rows(1, &[0, 1]), at(1), Timestamp(10));
        pending.get_mut(1, 1).expect("it is there").2.clicked = true;
        pending.insert(rows(1, &[0, 1]), at(2), Timestamp(10));
        assert_eq!((pending.rows(), pending.positions().collect()), (2, vec![at(1)]));
        assert!(pending.get_mut(1, 1).expect("it is there").2.clicked);
    }
}
