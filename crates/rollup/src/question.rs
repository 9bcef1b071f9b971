//! Questions: what may be asked of a rollup, and the checks every engine makes before it answers.
//!
//! A question is plain data with integer keys; reading texts and names is the server's. Rounding is
//! decided here, once, so that no two engines round differently.

use reckon_event::{TenantId, Timestamp};

use crate::{Error, Field};

/// The most rows one answer holds.
pub const ROWS_MAX: usize = 1_000_000;

/// The width of time buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// One second. Stores keep seconds for a short while only.
    Second,
    /// One minute.
    Minute,
    /// Five minutes.
    FiveMinutes,
    /// One hour.
    Hour,
    /// One UTC day.
    Day,
    /// One bucket for all of `from..to`, which are rounded to minutes; rows carry no bucket.
    Total,
    /// Overlapping windows. A row's bucket is its window's exclusive end `e`, a multiple of `step`
    /// with `from < e <= to`; the window `e - window .. e` is always whole, so it may begin before
    /// `from`.
    Sliding {
        /// Width of a window in seconds.
        window: u32,
        /// Distance of two windows in seconds.
        step: u32,
    },
}

impl Granularity {
    /// What `from` and `to` are rounded to, in seconds.
    pub const fn rounding(self) -> i64 {
        match self {
            Granularity::Second => 1,
            Granularity::Minute | Granularity::Total => 60,
            Granularity::FiveMinutes => 300,
            Granularity::Hour => 3_600,
            Granularity::Day => 86_400,
            Granularity::Sliding { step, .. } => step as i64,
        }
    }
}

/// What rows can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The ad.
    Ad,
    /// The campaign.
    Campaign,
    /// The region.
    Region,
    /// The device type.
    Device,
    /// The placement.
    Placement,
    /// The position on the page.
    Position,
    /// The verdict. Each row then holds only what has that verdict.
    Reason,
}

/// A figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Counted impressions.
    Impressions,
    /// Counted viewable impressions.
    Views,
    /// Counted clicks: net.
    Clicks,
    /// Net, duplicate and invalid clicks.
    ClicksGross,
    /// Duplicate clicks.
    Duplicates,
    /// Clicks of every verdict but counted and duplicate.
    Invalid,
    /// Counted conversions.
    Conversions,
    /// Clicks per impression; rows without impressions have none and rank below any.
    Ctr,
    /// Price of the counted clicks.
    SpendMicros,
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By a figure.
    Metric(Metric),
    /// By time.
    Bucket,
    /// By a dimension that is grouped by: keys as numbers, texts as texts, verdicts by code.
    Dimension(Dimension),
}

/// Upwards or downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// An order. Ties are broken by bucket, then by the dimensions in the order of [`Dimension`], all
/// upwards, so an answer has one order only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderBy {
    /// By what.
    pub by: Order,
    /// Which way.
    pub direction: Direction,
}

/// Only rows of these. Texts are given as [`reckon_event::name_key`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One ad.
    pub ad: Option<u64>,
    /// One campaign.
    pub campaign: Option<u64>,
    /// One region.
    pub region: Option<u64>,
    /// One device type.
    pub device: Option<u64>,
    /// One placement.
    pub placement: Option<u64>,
    /// One position.
    pub position: Option<u16>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Whose figures.
    pub tenant: TenantId,
    /// The first instant asked for; rounded down.
    pub from: Timestamp,
    /// The first instant no longer asked for; rounded up.
    pub to: Timestamp,
    /// Time buckets.
    pub granularity: Granularity,
    /// Which rows.
    pub filter: Filter,
    /// Which dimensions rows are split by; the order does not matter.
    pub group_by: Vec<Dimension>,
    /// Order of the answer; by bucket, then dimensions, where not given.
    pub order_by: Option<OrderBy>,
    /// The most rows wanted, at most [`ROWS_MAX`]. Without a limit all rows come; more than
    /// [`ROWS_MAX`] are an error, never a short answer.
    pub limit: Option<u32>,
}

impl Query {
    /// All of a tenant between two instants, in buckets of `granularity`.
    pub fn new(tenant: TenantId, from: Timestamp, to: Timestamp, granularity: Granularity) -> Self {
        Query {
            tenant,
            from,
            to,
            granularity,
            filter: Filter::default(),
            group_by: Vec::new(),
            order_by: None,
            limit: None,
        }
    }

    /// The `limit` ads with most of `by` in the `window` seconds that end with the minute of `now`.
    pub fn top(tenant: TenantId, now: Timestamp, window: u32, by: Metric, limit: u32) -> Self {
        let to = now.ceil(Timestamp::MINUTE);
        let from = to.plus(-i64::from(window) * Timestamp::SECOND);
        Query {
            group_by: vec![Dimension::Ad],
            order_by: Some(OrderBy { by: Order::Metric(by), direction: Direction::Descending }),
            limit: Some(limit),
            ..Query::new(tenant, from, to, Granularity::Total)
        }
    }

    /// True where rows are split by `dimension`.
    pub fn groups_by(&self, dimension: Dimension) -> bool {
        self.group_by.contains(&dimension)
    }

    /// `from` and `to` in whole seconds, rounded to the granularity; or what is wrong with the
    /// question, whatever the store holds.
    pub fn bounds(&self) -> Result<(i64, i64), Error> {
        self.check_windows()?;
        self.check_order()?;
        let width = self.granularity.rounding();
        let micros = width * Timestamp::SECOND;
        if self.from < Timestamp::MIN || self.to > Timestamp::MAX {
            return Err(Error::question(Field::From, "give times in the years 1970 to 2200"));
        }
        if self.from >= self.to {
            return Err(Error::question(Field::To, "give a `to` later than `from`"));
        }
        Ok((self.from.floor(micros).seconds(), self.to.ceil(micros).seconds()))
    }

    fn check_windows(&self) -> Result<(), Error> {
        const DAYS_31: u32 = 31 * 86_400;
        let Granularity::Sliding { window, step } = self.granularity else { return Ok(()) };
        if !(1..=DAYS_31).contains(&window) {
            return Err(Error::question(Field::Window, "give a window of 1 s to 31 d"));
        }
        if !(1..=window).contains(&step) {
            return Err(Error::question(Field::Step, "give a step of 1 s up to the window"));
        }
        Ok(())
    }

    fn check_order(&self) -> Result<(), Error> {
        if self.limit.is_some_and(|limit| limit == 0 || limit as usize > ROWS_MAX) {
            return Err(Error::question(Field::Limit, format!("give a limit of 1 to {ROWS_MAX}")));
        }
        match self.order_by.map(|order| order.by) {
            Some(Order::Bucket) if self.granularity == Granularity::Total => Err(Error::question(
                Field::OrderBy,
                "a total has no buckets: order by a metric, or choose a granularity",
            )),
            Some(Order::Dimension(dimension)) if !self.groups_by(dimension) => {
                Err(Error::question(Field::OrderBy, "add the dimension to `group_by`"))
            }
            _ => Ok(()),
        }
    }
}
