//! Which questions are plain top lists: they need not sum everything to be exact.

use crate::{Counts, Dimension, Direction, Filter, Granularity, Metric, Order, OrderBy, Query};

/// The place of gross clicks, behind the six counts.
pub(crate) const GROSS: usize = 6;

/// Longer lists are summed in full.
pub(crate) const LIMIT_MAX: usize = 1_024;

/// A question for the ads with most of a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranking {
    /// The place of the figure among those ads are ranked by.
    pub figure: usize,
    pub limit: usize,
}

impl Ranking {
    /// The ads with most of a count, over one window, of everything.
    pub(crate) fn of(query: &Query) -> Option<Self> {
        let Some(OrderBy { by: Order::Metric(by), direction: Direction::Descending }) =
            query.order_by
        else {
            return None;
        };
        let is_plain = query.granularity == Granularity::Total
            && query.group_by == [Dimension::Ad]
            && query.filter == Filter::default();
        let limit = query.limit.filter(|_| is_plain)? as usize;
        let figure = match by {
            Metric::Impressions => 0,
            Metric::Views => 1,
            Metric::Clicks => 2,
            Metric::Duplicates => 3,
            Metric::Invalid => 4,
            Metric::Conversions => 5,
            Metric::ClicksGross => GROSS,
            Metric::Ctr | Metric::SpendMicros => return None,
        };
        (limit <= LIMIT_MAX).then_some(Ranking { figure, limit })
    }

    /// The figure ads are ranked by.
    pub(crate) const fn value(self, counts: &Counts) -> i64 {
        match self.figure {
            0 => counts.impressions,
            1 => counts.views,
            2 => counts.clicks,
            3 => counts.duplicates,
            4 => counts.invalid,
            5 => counts.conversions,
            _ => counts.clicks_gross(),
        }
    }
}
