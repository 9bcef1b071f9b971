//! Counters by dimension and time window, and questions on them: in own files, or on a ClickHouse server.
//!
//! An epoch of counting goes in as a set of small sums by cell ([`reckon_event::Deltas`]); questions
//! come out as rows of figures by time bucket and dimension. Everything here is additive: a window is
//! a sum of panes, a coarse cube is a sum of a fine one, a revision is a pair of sums that cancel.
//! That is why an engine may store, merge and answer in any order it likes and still be exact.
//!
//! Two things go wrong in two different ways and never look alike: a question that cannot be answered
//! names the field and the fix ([`Error::Question`]), a store that is broken names its kind
//! ([`Error::Broken`]).
//!
//! # Marks
//!
//! ```text
//!   epochs   1 ........ persisted ........ applied | applied + 1
//!            durable              visible          | the only one taken next
//! ```
//!
//! After a crash exactly the epochs up to `persisted` are visible, and the counter hands over the rest
//! again; what was in already is answered with [`Applied::Again`].

mod answer;
#[cfg(feature = "clickhouse")]
pub mod clickhouse;
mod error;
mod export;
pub mod files;
mod question;
mod subscriber;
mod sums;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

use reckon_event::{Applied, Deltas, Epoch, Kind, TenantId, Timestamp, Verdict};

#[cfg(feature = "clickhouse")]
pub use self::clickhouse::ClickHouse;
pub use answer::{Answer, Counts, Keys, Row, Spend, Text};
pub use error::{BrokenKind, Error, Field, Refusal};
pub use export::{Export, Exported};
pub use files::{Cube, Dimensions, Files, Options, Pane};
pub use question::{
    Dimension, Direction, Filter, Granularity, Metric, Order, OrderBy, Query, ROWS_MAX,
};
pub use subscriber::RollupSubscriber;

/// How far a store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The last epoch that questions see; `None` before the first.
    pub applied: Option<u64>,
    /// The last epoch that would survive a crash now; `None` before the first.
    pub persisted: Option<u64>,
    /// The highest generation that has handed over an epoch; lower ones are fenced.
    pub generation: u32,
    /// The start of the latest second anything has been counted in; `None` while empty. Retention
    /// and [`RollupStore::live`] are measured from here, never from a clock.
    pub newest: Option<Timestamp>,
}

/// The number of records of one kind and verdict over all time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Total {
    /// Whose.
    pub tenant: TenantId,
    /// What happened.
    pub kind: Kind,
    /// What it is worth.
    pub verdict: Verdict,
    /// How many, revisions included.
    pub count: i64,
}

/// The counts of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSecond {
    /// The start of the second.
    pub second: Timestamp,
    /// What was counted in it so far.
    pub counts: Counts,
}

/// The seam: own files and ClickHouse keep these promises, and one conformance suite proves it.
///
/// A store takes one line of epochs: one stage of one slot group, bound by the first epoch it takes.
///
/// Where two stores are open on the same sums, which own files do not allow and a server does, the one
/// that was handed an epoch of the higher generation is the one that writes, and of the same generation
/// the later one. The other is told so at the latest when it persists ([`Refusal::Fenced`], or
/// [`BrokenKind::Poisoned`] within one generation), nobody but itself ever sees what it has not
/// persisted, and from then on it answers what the one that writes has persisted.
pub trait RollupStore: Send + Sync {
    /// Takes an epoch. It becomes visible whole or not at all.
    ///
    /// The same epoch twice counts once ([`Applied::Again`]). An epoch of a lower generation than
    /// the highest seen is refused as [`Refusal::Fenced`], one that does not follow the last as
    /// [`Refusal::Gap`]; neither changes anything. Numbers count from 1.
    fn apply(&self, epoch: &Epoch, deltas: &Deltas) -> Result<Applied, Error>;

    /// Makes everything applied so far durable and returns its last epoch (0: none yet). What is
    /// visible after a crash is exactly the epochs up to the last marker, never part of one.
    ///
    /// After an error it may be asked again: a store that cannot know any more what is durable says
    /// [`BrokenKind::Poisoned`] from then on, takes nothing more and must be opened anew; any other goes
    /// on where it was. Questions are still answered.
    fn persist(&self) -> Result<u64, Error>;

    /// How far the store has come.
    fn marks(&self) -> Marks;

    /// Answers a question from one consistent state: all of every epoch up to
    /// [`Answer::applied`], nothing of a later one. May run beside `apply` and `persist`.
    fn query(&self, query: &Query) -> Result<Answer, Error>;

    /// The last `seconds` seconds of a tenant, or of one of its ads, up to [`Marks::newest`]: oldest
    /// first, exactly as many entries as asked for (1 to 3,600), empty seconds included; nothing
    /// while the store is empty.
    fn live(
        &self,
        tenant: TenantId,
        ad: Option<u64>,
        seconds: u32,
    ) -> Result<Vec<LiveSecond>, Error>;

    /// Sums as they are kept, all of one state: what an audit compares and what is billed. Refused
    /// like a question where nothing keeps them, or where they are too many for one answer.
    fn export(&self, export: &Export) -> Result<Exported, Error>;

    /// Replaces all sums of a tenant from `from` to before `to`, both in whole minutes, by `figures`,
    /// whose cells lie in there; coarser figures follow. Returns how many kept sums were wrong (0:
    /// none was). Everything applied is durable when it returns, and so is a mark of the span; a crash
    /// leaves all of it or nothing.
    ///
    /// For mending what an independent recount has found damaged. Epochs are not touched: one that
    /// comes again still counts once.
    fn rebuild(
        &self,
        tenant: TenantId,
        from: Timestamp,
        to: Timestamp,
        figures: &Deltas,
    ) -> Result<u64, Error>;

    /// Records by tenant, kind and verdict over all time, sorted, without zeros. Retention never
    /// touches them: their sum is the number of records counted.
    fn totals(&self) -> Result<Vec<Total>, Error>;
}
