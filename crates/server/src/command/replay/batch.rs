//! Events on their way: what a line becomes, and the batches that lines are collected in.

use std::fmt::Write as _;

use reckon_event::Kind;
use xxhash_rust::xxh3::xxh3_64;

use crate::command::client::figures::Span;

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of the files, from 0.
    pub file: usize,
    /// Which line of it, from 1.
    pub line: u64,
}

/// An ad that must be registered before an event that names it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ad {
    /// Its id.
    pub ad_id: String,
    /// Where its clicks go.
    pub destination_url: String,
}

/// One event, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// Its JSON, without a line end.
    pub json: String,
    /// What happened.
    pub kind: Kind,
    /// Events with equal lanes are sent in order.
    pub lane: u64,
    /// When it happened, if the log says so.
    pub span: Option<Span>,
}

/// What one line of a log becomes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// Events, in order. None for a heading.
    pub events: Vec<Outgoing>,
    /// The ad they name, if it has not been named before.
    pub ad: Option<Ad>,
}

/// Events of one lane, as the body of a request.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// NDJSON.
    pub body: Vec<u8>,
    /// Where each event came from.
    pub places: Vec<Place>,
    /// Clicks among them.
    pub clicks: usize,
    /// Ads to register first.
    pub ads: Vec<Ad>,
}

impl Batch {
    /// Takes an event in.
    pub fn push(&mut self, place: Place, event: &Outgoing) {
        self.body.extend_from_slice(event.json.as_bytes());
        self.body.push(b'\n');
        self.places.push(place);
        self.clicks += usize::from(event.kind == Kind::Click);
    }

    /// How many events are in it.
    pub fn len(&self) -> usize {
        self.places.len()
    }
}

/// The id of an event that has none of its own: the same line at the same place gives the same id.
pub fn event_id(line: u64, content: &[u8], suffix: &str) -> String {
    let mut id = String::with_capacity(40);
    write!(id, "{line}-{:016x}{suffix}", xxh3_64(content)).expect("a string takes everything");
    id
}

/// The lane of a person or an id.
pub fn lane_of(text: &[u8]) -> u64 {
    xxh3_64(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_tell_lines_and_contents_apart() {
        assert_eq!(event_id(3, b"a", ""), event_id(3, b"a", ""));
        let ids = [
            event_id(3, b"a", ""),
            event_id(4, b"a", ""),
            event_id(3, b"b", ""),
            event_id(3, b"a", "-c"),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn a_batch_is_lines() {
        let event = |kind| Outgoing { json: "{}".to_owned(), kind, lane: 0, span: None };
        let mut batch = Batch::default();
        batch.push(Place { file: 0, line: 1 }, &event(Kind::Click));
        batch.push(Place { file: 0, line: 2 }, &event(Kind::View));
        assert_eq!(
            (batch.body.as_slice(), batch.len(), batch.clicks),
            (b"{}\n{}\n".as_slice(), 2, 1)
        );
    }
}
