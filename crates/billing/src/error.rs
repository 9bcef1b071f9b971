//! Why something was not billed: what a person can do about it, with the place.

use reckon_event::{AdjustmentReason, Day, TenantId, Timestamp};

use crate::line::Line;

/// Whatever the engine of the other side has to say.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A refusal or a failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Events that belong to the day may still be on their way.
    #[error(
        "{day} cannot be closed yet: everything received before {watermark} is counted, and it takes all before {until}"
    )]
    TooEarly {
        /// Which day.
        day: Day,
        /// How far counting has come, by receive time.
        watermark: Timestamp,
        /// How far it must have come.
        until: Timestamp,
    },
    /// A store has not reached the cut.
    #[error("the {store} has epoch {has}, and the day is closed at epoch {cut}: try again shortly")]
    Behind {
        /// `rollup` or `lake`.
        store: &'static str,
        /// What it has.
        has: u64,
        /// What it must have.
        cut: u64,
    },
    /// Figures and recount differ, and nobody knows why: nothing is frozen.
    #[error("{day} is not closed: the recount differs in {count} places, the first is: {first}")]
    Unexplained {
        /// Which day.
        day: Day,
        /// In how many places.
        count: usize,
        /// The first.
        first: String,
    },
    /// A recount that compared nothing proves nothing.
    #[error("{day} is not closed: it has {figures} figures, and the recount compared none of them")]
    NothingCompared {
        /// Which day.
        day: Day,
        /// How many figures it has.
        figures: usize,
    },
    /// Panes were rebuilt and damaged again.
    #[error("{0} is not closed: panes were rebuilt again and again: run `reckon verify`")]
    NeverSettled(Day),
    /// The day is not closed.
    #[error("{0} is not closed: run `reckon close --day {0}` first")]
    NotClosed(Day),
    /// Figures came from several epochs.
    #[error("counting moves too fast to read {0} at one cut: try again")]
    Moving(Day),
    /// A sum over currencies would be needed.
    #[error(
        "clicks of several currencies stand in one row (campaign {campaign:016x}, ad {ad:016x}, hour {hour}): they cannot be told apart"
    )]
    MixedCurrencies {
        /// Key of the campaign.
        campaign: u64,
        /// Key of the ad.
        ad: u64,
        /// The hour.
        hour: Timestamp,
    },
    /// Spend nobody pays for.
    #[error("{what} of key {key:016x} of tenant {} is not in the books, but has clicks", tenant.0)]
    Unknown {
        /// `ad` or `campaign`.
        what: &'static str,
        /// Whose.
        tenant: TenantId,
        /// Its key.
        key: u64,
    },
    /// Fewer than no clicks, or less than no money.
    #[error("{line} would come to {clicks} clicks and {spend} micros: nothing is ever below zero")]
    Negative {
        /// Where.
        line: Line,
        /// How many clicks.
        clicks: i64,
        /// How much money.
        spend: i64,
    },
    /// A reason that counting does not take from outside.
    #[error("{} is worked out here, not told: leave it out", .0.name())]
    NotTold(AdjustmentReason),
    /// A zone nobody knows.
    #[error("time_zone `{0}` is no IANA zone: use a name such as Europe/Berlin")]
    UnknownZone(String),
    /// A zone whose days do not begin with an hour of the ledger.
    #[error(
        "{day} in {zone} does not begin and end with an hour of UTC, which is what the ledger keeps: bill this advertiser in UTC or a zone of whole hours"
    )]
    NotWholeHours {
        /// The zone.
        zone: String,
        /// The day in that zone.
        day: Day,
    },
    /// Too many days at once, or none.
    #[error("to must be the day of from or up to 366 days later")]
    Range,
    /// The books.
    #[error(transparent)]
    Books(#[from] reckon_books::Error),
    /// The rollup.
    #[error(transparent)]
    Rollup(#[from] reckon_rollup::Error),
    /// Counting or the recount.
    #[error("{0}")]
    Counting(#[source] Cause),
    /// An invoice that could not be written.
    #[error("the invoice could not be written: {0}")]
    Written(#[source] Cause),
}
