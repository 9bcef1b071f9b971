//! Figures: what was counted of each ad in each hour of a day, at one cut.
//!
//! They come from the rollup in one question a tenant; where epochs came in between two tenants, all
//! are asked again, so that a day has one cut. What names no registered ad is nobody's and not billed.

use reckon_event::{Currency, Day, Micros, TenantId, Timestamp};
use reckon_rollup::{Dimension, Granularity, Query, RollupStore, Row};

use crate::error::Error;
use crate::line::Line;
use crate::names::Names;

/// How often a day is read until no epoch comes in between.
const READS_MAX: usize = 100;

/// What was counted of one ad in one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Where. The currency is [`Currency::NONE`] where nothing was spent.
    pub line: Line,
    /// Counted clicks.
    pub clicks: i64,
    /// Duplicate clicks.
    pub duplicates: i64,
    /// Clicks of any other verdict.
    pub invalid: i64,
    /// Price of the counted clicks.
    pub spend: Micros,
}

/// What was counted of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The day.
    pub day: Day,
    /// The last epoch in it.
    pub cut: u64,
    /// The figures, in no order, each line once.
    pub rows: Vec<Figure>,
}

impl Figures {
    /// Where nothing was spent, the currency is the advertiser's.
    pub fn priced(mut self, names: &Names) -> Result<Self, Error> {
        for Figure { line, .. } in &mut self.rows {
            if line.currency == Currency::NONE {
                line.currency = names.campaign(line.tenant, line.campaign)?.currency;
            }
        }
        Ok(self)
    }
}

/// Reads a day of all `tenants` from a rollup, at one cut.
///
/// A day of one tenant must fit one answer, that is a million ads by hour; the rollup says so where it
/// does not.
pub fn rollup_figures(
    rollup: &dyn RollupStore,
    tenants: &[TenantId],
    day: Day,
) -> Result<Figures, Error> {
    for _ in 0..READS_MAX {
        let cut = rollup.marks().applied;
        let mut rows = Vec::new();
        let mut is_one_cut = true;
        for &tenant in tenants {
            let answer = rollup.query(&question(tenant, day))?;
            is_one_cut &= answer.applied == cut;
            for row in &answer.rows {
                rows.extend(figure(tenant, row)?);
            }
        }
        if is_one_cut {
            return Ok(Figures { day, cut: cut.unwrap_or(0), rows });
        }
    }
    Err(Error::Moving(day))
}

fn question(tenant: TenantId, day: Day) -> Query {
    Query {
        group_by: vec![Dimension::Campaign, Dimension::Ad],
        ..Query::new(tenant, day.start(), day.end(), Granularity::Hour)
    }
}

/// What a row says of an ad; `None` where it holds no click, or names no ad.
fn figure(tenant: TenantId, row: &Row) -> Result<Option<Figure>, Error> {
    let (campaign, ad) = (row.keys.campaign.unwrap_or(0), row.keys.ad.unwrap_or(0));
    let hour = row.bucket.unwrap_or(Timestamp::MIN);
    let (currency, spend) = match row.spend.as_slice() {
        [] => (Currency::NONE, 0),
        &[(currency, spend)] => (currency, spend),
        _ => return Err(Error::MixedCurrencies { campaign, ad, hour }),
    };
    if campaign == 0 || ad == 0 {
        let what = if campaign == 0 { "campaign" } else { "ad" };
        return if spend == 0 { Ok(None) } else { Err(Error::Unknown { what, tenant, key: 0 }) };
    }
    if row.counts.clicks_gross() == 0 && spend == 0 {
        return Ok(None);
    }
    Ok(Some(Figure {
        line: Line { tenant, campaign, currency, hour, ad },
        clicks: row.counts.clicks,
        duplicates: row.counts.duplicates,
        invalid: row.counts.invalid,
        spend,
    }))
}
