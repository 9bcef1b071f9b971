//! The durable log of events, in slots: where a click becomes a fact.
//!
//! The log is split into partitions, each a contiguous range of slots of one topic or of all topics
//! (a disk keeps them together, Kafka apart). Within a partition offsets rise strictly; they may have
//! holes (Kafka's have), so nobody may add one to an offset and expect a record there.
//!
//! ```text
//!            start                         end
//!   retired    |  durable, readable         |  staged, in flight
//!  ------------+----------------------------+--------------------->  offsets
//!   read: Gone |  read: records             |  read: nothing yet
//! ```

use std::ops::Range;
use std::time::Duration;

use reckon_event::{ENVELOPE_BYTES, Kind, RecordId, Slot, peek};

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod copy;
mod disk;
#[cfg(feature = "kafka")]
pub mod kafka;
mod receipt;

pub use copy::{Copied, CopyError, copy};
pub use disk::{DiskLog, Error, LaneHealth, LaneRecovery, Options, Recovery, Report, verify};
pub use receipt::{Completion, Receipt};

/// What has happened to the bytes when an append is answered "durable".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced to one disk.
    Disk,
    /// In the memory of this many brokers.
    Replicated(u8),
}

/// Why an append certainly left nothing behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The staging buffer is full: come back later.
    Overloaded,
    /// The disk is full.
    Full,
    /// A write or sync failed and the log is being reopened.
    Fenced,
    /// The log is shutting down.
    Closed,
}

/// The answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All records of the append are durable.
    Durable(Durability),
    /// None of them is in the log or ever will be, unless appended again.
    NotWritten(Refusal),
    /// Nobody can say. Append the same records again with the same ids: readers drop the second.
    /// One append after the other, each when the one before it is durable: whoever counts drops what
    /// is overtaken by a later record of its appender.
    Unknown,
}

/// Where the records of one chunk lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record's offset.
    pub offset: u64,
    /// Its bytes within [`Chunk::bytes`].
    pub bytes: Range<usize>,
}

/// Some consecutive records of one partition.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// The bytes of all of them; checksums have been verified.
    pub bytes: Vec<u8>,
    /// One entry a record, offsets rising.
    pub entries: Vec<Entry>,
    /// Where to read on.
    pub next: u64,
}

/// A read that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Below retention: the lake has it.
    #[error("offset {asked} has been retired; the log begins at {start}")]
    Gone {
        /// What was asked for.
        asked: u64,
        /// The first offset still there.
        start: u64,
    },
    /// Bytes that were durable are damaged. Never skipped.
    #[error("damage in {place}: {what}")]
    Damaged {
        /// File and byte.
        place: String,
        /// What was found.
        what: String,
    },
    /// The engine cannot answer now. Nothing is lost: ask again.
    #[error("the log cannot be read now: {0}")]
    Unavailable(String),
    /// The engine failed.
    #[error("cannot read the log: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The seam: disk and Kafka keep these promises, and one conformance suite proves it.
pub trait EventLog: Send + Sync {
    /// How many partitions there are; fixed for the life of a log.
    fn partitions(&self) -> u16;

    /// The partition of events of this kind in this slot.
    fn partition_of(&self, kind: Kind, slot: Slot) -> u16;

    /// The numbers of a partition's slots, of which there is at least one.
    fn slots(&self, partition: u16) -> Range<u16>;

    /// True where a record is in its place: an event in the partition of its kind and slot. Control
    /// records have a copy in every partition, and of kinds of later builds (any other number) only
    /// the slot is known.
    fn holds(&self, partition: u16, kind_code: u8, slot: Slot) -> bool {
        match Kind::from_code(kind_code) {
            None | Some(Kind::Control) => self.slots(partition).contains(&slot.number()),
            Some(kind) => self.partition_of(kind, slot) == partition,
        }
    }

    /// Appends `count` encoded records (see [`reckon_event::Record::encode`]) that `partition`
    /// [`holds`](EventLog::holds). Records without an id are stamped in order; records with one keep it. Never
    /// blocks: a full staging buffer is an answer ([`Refusal::Overloaded`]).
    fn append(&self, partition: u16, records: &[u8], count: u32) -> Receipt;

    /// Reads records from the first offset at or after `from`, at least one record where there is
    /// one, else up to `bytes_max` bytes. An empty chunk means: nothing durable there yet.
    fn read(&self, partition: u16, from: u64, bytes_max: usize) -> Result<Chunk, ReadError>;

    /// `start..end`: the first offset that is kept, and the offset the next durable record will not
    /// be below.
    fn range(&self, partition: u16) -> Range<u64>;

    /// Blocks until `range(partition).end > beyond`, or `timeout` has passed; returns the end.
    fn wait(&self, partition: u16, beyond: u64, timeout: Duration) -> u64;

    /// Lets go of whole segments below `before`; returns the new start. Called only when checkpoint
    /// and lake cover them and both are synced.
    fn retire(&self, partition: u16, before: u64) -> Result<u64, ReadError>;
}

/// # Panics
/// Where the bytes are not `count` whole records of this partition: the caller encoded them.
fn check_records(log: &dyn EventLog, partition: u16, records: &[u8], count: u32) {
    let (mut at, mut found) = (0, 0);
    while at < records.len() {
        let peeked = peek(&records[at..]).expect("an append holds whole records");
        let (kind, slot) = (peeked.kind_code, peeked.slot.number());
        assert!(
            log.holds(partition, kind, peeked.slot),
            "a record of kind {kind} and slot {slot} was appended to partition {partition}"
        );
        at += peeked.bytes;
        found += 1;
    }
    assert!(found == count, "an append of {count} records holds {found}");
}

/// The id the first record carries, where it has one: it is appended again.
fn own_id(records: &[u8]) -> Option<RecordId> {
    let at = |at: usize| {
        let bytes = records[ENVELOPE_BYTES + at..].first_chunk().expect("a record has an id");
        u64::from_le_bytes(*bytes)
    };
    let id = RecordId { appender: at(0), sequence: at(8) };
    (id != RecordId::default()).then_some(id)
}
