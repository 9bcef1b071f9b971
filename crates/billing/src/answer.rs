//! What the API tells of periods and accounts, ready to be written as JSON.

use std::collections::BTreeMap;

use reckon_books::{Accounts, Entry, EntryKind, Period, Slice, all_entries, all_figures};
use reckon_event::{Currency, Day, Micros, TenantId};
use serde::Serialize;

use crate::close::period;
use crate::error::Error;
use crate::sum::Sum;

/// The most adjustments one answer lists; how many there are stands beside.
pub const ADJUSTMENTS_LISTED_MAX: usize = 10_000;

/// A day of a tenant, as `GET /v1/billing/periods/{day}` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeriodAnswer {
    /// The UTC day.
    pub day: String,
    /// `open`, `closing` (frozen, entries are being posted) or `closed`.
    pub state: &'static str,
    /// The epoch it was closed at.
    pub cut: Option<u64>,
    /// When its figures were frozen.
    pub frozen_at: Option<String>,
    /// When it was closed.
    pub closed_at: Option<String>,
    /// What was counted when it was frozen.
    pub frozen: FrozenAnswer,
    /// What is owed, by currency.
    pub totals: Vec<CurrencySum>,
    /// How many adjustments there are.
    pub adjustment_count: usize,
    /// The first [`ADJUSTMENTS_LISTED_MAX`] of them.
    pub adjustments: Vec<AdjustmentAnswer>,
}

/// Clicks of a day as they were frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FrozenAnswer {
    /// All.
    pub clicks_gross: i64,
    /// Counted.
    pub clicks: i64,
    /// Duplicates.
    pub duplicates: i64,
    /// Of any other verdict.
    pub invalid: i64,
}

/// A sum and its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CurrencySum {
    /// ISO 4217.
    pub currency: String,
    /// What is owed.
    #[serde(flatten)]
    pub sum: Sum,
}

/// An adjustment in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdjustmentAnswer {
    /// Its key.
    pub key: String,
    /// The key of what it corrects.
    pub corrects: String,
    /// Why.
    pub reason: &'static str,
    /// The hour it is for.
    pub hour: String,
    /// Who pays.
    pub advertiser_id: String,
    /// For what.
    pub campaign_id: String,
    /// For which ad; absent for a whole campaign.
    pub ad_id: Option<String>,
    /// ISO 4217.
    pub currency: String,
    /// Clicks that came or went.
    pub clicks: i64,
    /// Owed more, or less.
    pub amount_micros: Micros,
    /// The epoch up to which it knows.
    pub cut: u64,
}

/// Answers for a day of a tenant.
pub async fn period_answer(
    accounts: &dyn Accounts,
    tenant: TenantId,
    day: Day,
) -> Result<PeriodAnswer, Error> {
    let period = period(accounts, day).await?;
    let slice = Slice::of_day(day).of_tenant(tenant);
    let entries = all_entries(accounts, &slice).await?;
    let mut frozen = FrozenAnswer::default();
    for figure in all_figures(accounts, &slice).await? {
        frozen.clicks += figure.clicks;
        frozen.duplicates += figure.duplicates;
        frozen.invalid += figure.invalid;
        frozen.clicks_gross += figure.clicks + figure.duplicates + figure.invalid;
    }
    let adjustments = entries.iter().filter(|entry| entry.kind == EntryKind::Adjustment);
    Ok(PeriodAnswer {
        day: day.to_string(),
        state: state_of(period.as_ref()),
        cut: period.map(|period| period.cut),
        frozen_at: period.map(|period| period.frozen_at.to_string()),
        closed_at: period.and_then(|period| period.closed_at).map(|at| at.to_string()),
        frozen,
        totals: sums(&entries),
        adjustment_count: adjustments.clone().count(),
        adjustments: adjustments.take(ADJUSTMENTS_LISTED_MAX).map(adjustment).collect(),
    })
}

fn state_of(period: Option<&Period>) -> &'static str {
    match period.map(|period| period.closed_at) {
        None => "open",
        Some(None) => "closing",
        Some(Some(_)) => "closed",
    }
}

fn sums<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<CurrencySum> {
    let mut by_currency: BTreeMap<Currency, Sum> = BTreeMap::new();
    for entry in entries {
        by_currency.entry(entry.currency).or_default().add(entry);
    }
    let named =
        |(currency, sum): (Currency, Sum)| CurrencySum { currency: currency.to_string(), sum };
    by_currency.into_iter().map(named).collect()
}

fn adjustment(entry: &Entry) -> AdjustmentAnswer {
    AdjustmentAnswer {
        key: entry.key.clone(),
        corrects: entry.corrects.clone().unwrap_or_default(),
        reason: entry.reason.map_or("", |reason| reason.name()),
        hour: entry.hour.to_string(),
        advertiser_id: entry.advertiser_id.clone(),
        campaign_id: entry.campaign_id.clone(),
        ad_id: entry.ad_id.clone(),
        currency: entry.currency.to_string(),
        clicks: entry.clicks,
        amount_micros: entry.owed(),
        cut: entry.cut,
    }
}

/// An advertiser's accounts, as `GET /v1/billing/accounts/{advertiser}` tells them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountAnswer {
    /// Who pays.
    pub advertiser_id: String,
    /// Zone of its invoices.
    pub time_zone: String,
    /// `pay` or `credit`: what clicks cost whose impression never came.
    pub unseen_clicks: &'static str,
    /// The first UTC day of all that follows.
    pub from: String,
    /// The last.
    pub to: String,
    /// The sums of each account.
    pub balances: Vec<BalanceAnswer>,
    /// What is owed by day and currency.
    pub days: Vec<DayAnswer>,
}

/// The sums of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BalanceAnswer {
    /// `receivable`, `revenue` or `over_delivery`.
    pub account: &'static str,
    /// ISO 4217.
    pub currency: String,
    /// All that was debited.
    pub debit_micros: Micros,
    /// All that was credited.
    pub credit_micros: Micros,
    /// The first less the second.
    pub balance_micros: Micros,
}

/// A day of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DayAnswer {
    /// The UTC day.
    pub day: String,
    /// Its sums.
    #[serde(flatten)]
    pub total: CurrencySum,
}

/// The most days of one answer.
pub const DAYS_MAX: u32 = 366;

/// The days from `first` to `last` are at most [`DAYS_MAX`], and in order.
pub(crate) fn check_range(first: Day, last: Day) -> Result<(), Error> {
    let is_in_order = first <= last && last.number() - first.number() < DAYS_MAX;
    if is_in_order { Ok(()) } else { Err(Error::Range) }
}

/// Answers for an advertiser's accounts from `first` to `last`, both included.
pub async fn account_answer(
    accounts: &dyn Accounts,
    tenant: TenantId,
    advertiser_id: &str,
    first: Day,
    last: Day,
) -> Result<AccountAnswer, Error> {
    check_range(first, last)?;
    let profile = accounts.billing_profile(tenant, advertiser_id).await?;
    let everything = Slice { to: last.end(), ..Slice::of_day(first) };
    let slice = everything.of_advertiser(tenant, advertiser_id);
    let balances = accounts.balances(&slice).await?.into_iter().map(|balance| BalanceAnswer {
        account: balance.account.as_str(),
        currency: balance.currency.to_string(),
        debit_micros: balance.debits,
        credit_micros: balance.credits,
        balance_micros: balance.debits - balance.credits,
    });
    let mut by_day: BTreeMap<(Day, Currency), Sum> = BTreeMap::new();
    for entry in all_entries(accounts, &slice).await? {
        by_day.entry((entry.day(), entry.currency)).or_default().add(&entry);
    }
    let days = by_day.into_iter().map(|((day, currency), sum)| DayAnswer {
        day: day.to_string(),
        total: CurrencySum { currency: currency.to_string(), sum },
    });
    Ok(AccountAnswer {
        advertiser_id: advertiser_id.to_owned(),
        time_zone: profile.time_zone,
        unseen_clicks: profile.unseen_clicks.as_str(),
        from: first.to_string(),
        to: last.to_string(),
        balances: balances.collect(),
        days: days.collect(),
    })
}
