//! Epochs: how counting moves, and how everyone who keeps something of it gets each step once.

use crate::{Cell, Deltas, Measure, Micros, Record, Slot, Timestamp, Verdict};

/// A record's place in the log. Offsets rise strictly within a partition; they may have holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition: a contiguous range of slots.
    pub partition: u16,
    /// The offset within it.
    pub offset: u64,
}

/// What an epoch reads of one partition: offsets in `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The partition.
    pub partition: u16,
    /// The first offset.
    pub from: u64,
    /// The offset behind the last.
    pub to: u64,
}

/// A step of counting. Its bounds are durable before it is applied, so a retry is the same epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// 1 for what the records say by themselves; 2 for rules on closed minutes.
    pub stage: u8,
    /// The slot group it covers.
    pub group: u16,
    /// The counter's lease: a higher one fences a lower.
    pub generation: u32,
    /// Counts from 1 within the group, without holes.
    pub number: u64,
    /// What it reads.
    pub bounds: Vec<Bound>,
}

/// An epoch with all that follows from it, as subscribers get it.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// The records, in the order of their positions within each partition.
    pub records: &'a [(Position, Record<'a>)],
    /// The verdict of each record; `None` for one that is not counted at all: a control record, or
    /// a repeated append that was dropped.
    pub verdicts: &'a [Option<Verdict>],
    /// The verdicts of earlier records, or of these, that rules on closed minutes have changed.
    pub revisions: &'a [Revision],
    /// What verdicts and revisions add up to. Names of the dimensions of a revision may stand in an
    /// earlier epoch only.
    pub deltas: &'a Deltas,
    /// Everything received before this has been read, as far as records and ticks tell; never falls.
    pub watermark: Timestamp,
}

/// A verdict in force that is no longer: a rule on a closed minute has judged the record, or has
/// judged it anew because its minute has changed. The last revision of a record is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Which record.
    pub position: Position,
    /// Its slot.
    pub slot: Slot,
    /// When it happened.
    pub happened: Timestamp,
    /// What it was summed under; the verdict in here is the one that is no longer in force.
    pub cell: Cell,
    /// The verdict now in force.
    pub verdict: Verdict,
    /// What it costs where it counts.
    pub price: Micros,
    /// The rule set that has judged.
    pub rules_version: u32,
}

impl Revision {
    /// Takes it from one cell and adds it to another.
    pub fn add_to(&self, deltas: &mut Deltas) {
        let cost = |verdict| if verdict == Verdict::Counted { self.price } else { 0 };
        let before = Measure { count: -1, spend: -cost(self.cell.verdict) };
        let after = Measure { count: 1, spend: cost(self.verdict) };
        deltas.add(self.cell, before);
        deltas.add(Cell { verdict: self.verdict, ..self.cell }, after);
    }
}

/// What became of an epoch that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was new, and is in.
    Fresh,
    /// It was in already; nothing changed.
    Again,
}

/// A subscriber that could not take an epoch.
#[derive(Debug, thiserror::Error)]
pub enum SubscriberError {
    /// A counter with a higher generation has taken over: stop.
    #[error("fenced: generation {0} has taken over")]
    Fenced(u32),
    /// Its store failed.
    #[error("{0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Someone who keeps something of what is counted: the rollup, the lake, a learner, a live view.
pub trait Subscriber: Send {
    /// For messages and metrics.
    fn name(&self) -> &'static str;

    /// The highest epoch that would survive a crash now, 0 before the first; `None` only for one that
    /// keeps nothing durable (it is then fed from the checkpoint on).
    fn persisted(&self) -> Option<u64>;

    /// Takes an epoch. Epochs come in order; one may come again after a restart, identical.
    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError>;

    /// Makes everything applied so far durable.
    fn persist(&mut self) -> Result<(), SubscriberError>;
}
