//! Exports: sums as they are kept, for those who compare or bill them.

use reckon_event::{Cell, Measure, TenantId, Timestamp};

use crate::files::{Dimensions, Pane};
use crate::{Dimension, Error, Field};

/// Which sums are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// One tenant, or all.
    pub tenant: Option<TenantId>,
    /// The first instant; rounded down to the pane.
    pub from: Timestamp,
    /// The first instant no longer wanted; rounded up to the pane.
    pub to: Timestamp,
    /// What sums are kept apart by, beside tenant, kind, verdict and currency.
    pub dimensions: Dimensions,
    /// The width of the buckets.
    pub pane: Pane,
}

impl Export {
    /// By ad, campaign and minute: what an audit compares.
    pub fn ads_by_minute(tenant: Option<TenantId>, from: Timestamp, to: Timestamp) -> Self {
        let dimensions = Dimensions::of(&[Dimension::Ad, Dimension::Campaign]);
        Export { tenant, from, to, dimensions, pane: Pane::Minute }
    }

    /// By campaign and hour: what is billed.
    pub fn campaigns_by_hour(tenant: Option<TenantId>, from: Timestamp, to: Timestamp) -> Self {
        let dimensions = Dimensions::of(&[Dimension::Campaign]);
        Export { tenant, from, to, dimensions, pane: Pane::Hour }
    }

    /// `from` and `to` in whole seconds, rounded to the pane.
    pub fn bounds(&self) -> Result<(i64, i64), Error> {
        let micros = self.pane.seconds() * Timestamp::SECOND;
        if self.from < Timestamp::MIN || self.to > Timestamp::MAX {
            return Err(Error::question(Field::From, "give times in the years 1970 to 2200"));
        }
        if self.from >= self.to {
            return Err(Error::question(Field::To, "give a `to` later than `from`"));
        }
        Ok((self.from.floor(micros).seconds(), self.to.ceil(micros).seconds()))
    }
}

/// Sums of one consistent state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// All of every epoch up to this one is in, nothing of a later one; `None` before the first.
    pub applied: Option<u64>,
    /// `from`, rounded down.
    pub from: Timestamp,
    /// `to`, rounded up.
    pub to: Timestamp,
    /// What is not zero, sorted by tenant, ad, campaign, region, device, placement, position, kind,
    /// verdict, currency, second. The second is the start of the bucket; dimensions that are not asked
    /// for are 0.
    pub figures: Vec<(Cell, Measure)>,
}
