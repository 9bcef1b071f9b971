//! Rows of advertisers, campaigns, ads and terms.

use reckon_event::{Currency, Timestamp};

use super::currency_of;
use super::entity::{Entity, Parent};
use crate::catalog::{Ad, Advertiser, Campaign, Price, Status, Targeting, Terms};
use crate::check::{self, TERMS_MAX};
use crate::error::Error;

impl Entity for Advertiser {
    type Columns = (String, String, String, i64);
    const WHAT: &'static str = "advertiser";
    const TABLE: &'static str = "advertisers";
    const ID: &'static str = "advertiser_id";
    const COLUMNS: &'static str = "advertiser_id, name, currency, created_at";
    const WIDTH: usize = 4;
    const PARENT: Option<Parent> = None;

    fn id(&self) -> &str {
        &self.advertiser_id
    }

    fn parent_id(&self) -> &str {
        ""
    }

    fn check(&self) -> Result<(), Error> {
        check::advertiser(self)
    }

    fn same(&self, other: &Self) -> bool {
        *self == Advertiser { created_at: self.created_at, ..other.clone() }
    }

    fn of((advertiser_id, name, currency, at): Self::Columns) -> Result<Self, Error> {
        let currency = currency_of(&currency)?;
        Ok(Advertiser { advertiser_id, name, currency, created_at: Timestamp(at) })
    }
}

impl Entity for Campaign {
    type Columns = (String, String, String, i64, Option<i64>, Option<String>, String, i64);
    const WHAT: &'static str = "campaign";
    const TABLE: &'static str = "campaigns";
    const ID: &'static str = "campaign_id";
    const COLUMNS: &'static str = "campaign_id, advertiser_id, name, cpc_micros, \
        daily_budget_micros, targeting, status, created_at";
    const WIDTH: usize = 8;
    const PARENT: Option<Parent> = Some(Parent { table: "advertisers", id: "advertiser_id" });

    fn id(&self) -> &str {
        &self.campaign_id
    }

    fn parent_id(&self) -> &str {
        &self.advertiser_id
    }

    fn check(&self) -> Result<(), Error> {
        check::campaign(self)
    }

    fn same(&self, other: &Self) -> bool {
        *self == Campaign { created_at: self.created_at, ..other.clone() }
    }

    fn of(columns: Self::Columns) -> Result<Self, Error> {
        let (campaign_id, advertiser_id, name, cpc, budget, targeting, status, at) = columns;
        Ok(Campaign {
            campaign_id,
            advertiser_id,
            name,
            cpc_micros: cpc,
            daily_budget_micros: budget,
            targeting: targeting.map(Targeting::stored),
            status: status_of(&status)?,
            created_at: Timestamp(at),
        })
    }
}

impl Entity for Ad {
    type Columns = (
        String,
        String,
        String,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<i64>,
        String,
        i64,
    );
    const WHAT: &'static str = "ad";
    const TABLE: &'static str = "ads";
    const ID: &'static str = "ad_id";
    const COLUMNS: &'static str = "ad_id, campaign_id, destination_url, category, creative_size, \
        append_click_id, locale, quality_micros, status, created_at";
    const WIDTH: usize = 10;
    const PARENT: Option<Parent> = Some(Parent { table: "campaigns", id: "campaign_id" });

    fn id(&self) -> &str {
        &self.ad_id
    }

    fn parent_id(&self) -> &str {
        &self.campaign_id
    }

    fn check(&self) -> Result<(), Error> {
        check::ad(self)
    }

    fn same(&self, other: &Self) -> bool {
        *self == Ad { created_at: self.created_at, ..other.clone() }
    }

    fn of(columns: Self::Columns) -> Result<Self, Error> {
        let (ad_id, campaign_id, url, category, size, parameter, locale, quality, status, at) =
            columns;
        Ok(Ad {
            ad_id,
            campaign_id,
            destination_url: url,
            category,
            creative_size: size,
            append_click_id: parameter,
            locale,
            quality_micros: quality,
            status: status_of(&status)?,
            created_at: Timestamp(at),
        })
    }
}

fn status_of(text: &str) -> Result<Status, Error> {
    Status::parse(text).map_err(|_| Error::damaged(format!("`{text}` is no status")))
}

/// `effective_at, cpc_micros, daily_budget_micros`.
pub(crate) type TermsColumns = (i64, i64, Option<i64>);

pub(crate) fn terms_of((from, cpc_micros, daily_budget_micros): TermsColumns) -> Terms {
    Terms { from: Timestamp(from), cpc_micros, daily_budget_micros }
}

/// The price of a click in the currency of this code.
pub(crate) fn price_of((cpc_micros, currency): (i64, String)) -> Result<Price, Error> {
    let currency: Currency = currency_of(&currency)?;
    Ok(Price { cpc_micros, currency })
}

/// Whether a patch changed what has a history.
pub(crate) fn is_repriced(before: &Campaign, after: &Campaign) -> bool {
    (after.cpc_micros, after.daily_budget_micros) != (before.cpc_micros, before.daily_budget_micros)
}

/// Where the next terms of a campaign go, given the `sequence, effective_at` of its last: their
/// sequence, and from when they hold, never from before those.
pub(crate) fn next_terms(
    campaign: &Campaign,
    last: Option<(i64, i64)>,
    at: Timestamp,
) -> Result<(i64, i64), Error> {
    let (sequence, last_at) = last.ok_or_else(|| {
        Error::damaged(format!("campaign `{}` has no terms", campaign.campaign_id))
    })?;
    if sequence >= i64::from(TERMS_MAX) {
        let problem = "was changed 65536 times, which is the bound: register a new campaign";
        return Err(Error::invalid("cpc_micros", problem));
    }
    Ok((sequence + 1, at.0.max(last_at)))
}
