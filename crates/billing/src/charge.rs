//! What a frozen day is charged: pure, so that doing it again is doing the same.

use std::collections::BTreeMap;

use reckon_books::{Account, Entry, EntryKind, FrozenFigure};
use reckon_event::{Currency, Micros, TenantId, Timestamp, name_key};

use crate::budget::{budget_in_force, credits};
use crate::error::Error;
use crate::figure::{Figure, Figures};
use crate::line::{Amount, Line};
use crate::names::Names;

/// A campaign's money of one currency.
pub(crate) type Purse = (TenantId, u64, Currency);

/// Spend and budget of each hour of a campaign's day.
pub(crate) type Hours = BTreeMap<Timestamp, (Micros, Option<Micros>)>;

/// The figures of a day with their names and the budgets in force: what is frozen.
pub fn freezable(figures: &Figures, names: &Names) -> Result<Vec<FrozenFigure>, Error> {
    figures.rows.iter().map(|figure| frozen(figure, names)).collect()
}

fn frozen(figure: &Figure, names: &Names) -> Result<FrozenFigure, Error> {
    let Figure { line, clicks, duplicates, invalid, spend } = *figure;
    if clicks < 0 || spend < 0 {
        return Err(Error::Negative { line, clicks, spend });
    }
    let campaign = names.campaign(line.tenant, line.campaign)?;
    Ok(FrozenFigure {
        key: line.charge_key(),
        hour: line.hour,
        tenant: line.tenant,
        advertiser_id: campaign.campaign.advertiser_id.clone(),
        campaign_id: campaign.campaign.campaign_id.clone(),
        ad_id: names.ad(line.tenant, line.ad)?.to_owned(),
        currency: line.currency,
        clicks,
        duplicates,
        invalid,
        spend,
        daily_budget: budget_of(names, line)?,
    })
}

/// The budget in force for a line's campaign in its hour. A budget is of the advertiser's currency and
/// bounds nothing else.
pub(crate) fn budget_of(names: &Names, line: Line) -> Result<Option<Micros>, Error> {
    let campaign = names.campaign(line.tenant, line.campaign)?;
    let is_its_currency = campaign.currency == line.currency;
    Ok(budget_in_force(&campaign.terms, line.hour).filter(|_| is_its_currency))
}

/// Where a frozen figure stands.
pub(crate) fn line_of(figure: &FrozenFigure) -> Line {
    Line {
        tenant: figure.tenant,
        campaign: name_key(&figure.campaign_id),
        currency: figure.currency,
        hour: figure.hour,
        ad: name_key(&figure.ad_id),
    }
}

/// Every charge and credit that follows from the figures a day was frozen with: each ad's clicks at
/// their price, less, by campaign and hour, what was delivered beyond the day's budget.
pub fn charges(figures: &[FrozenFigure], cut: u64, at: Timestamp) -> Vec<Entry> {
    let charged = figures.iter().filter(|figure| !amount_of(figure).is_zero());
    let mut entries: Vec<Entry> = charged.map(|figure| charge(figure, cut, at)).collect();
    entries.extend(credit_entries(figures, cut, at));
    entries
}

pub(crate) const fn amount_of(figure: &FrozenFigure) -> Amount {
    Amount { clicks: figure.clicks, spend: figure.spend }
}

fn charge(figure: &FrozenFigure, cut: u64, at: Timestamp) -> Entry {
    Entry {
        key: figure.key.clone(),
        hour: figure.hour,
        tenant: figure.tenant,
        advertiser_id: figure.advertiser_id.clone(),
        campaign_id: figure.campaign_id.clone(),
        ad_id: Some(figure.ad_id.clone()),
        currency: figure.currency,
        debit: Account::Receivable,
        credit: Account::Revenue,
        amount: figure.spend,
        clicks: figure.clicks,
        kind: EntryKind::Charge,
        reason: None,
        corrects: None,
        cut,
        created_at: at,
    }
}

fn credit_entries(figures: &[FrozenFigure], cut: u64, at: Timestamp) -> Vec<Entry> {
    let mut of_purse: BTreeMap<Purse, (&FrozenFigure, Hours)> = BTreeMap::new();
    for figure in figures {
        let line = line_of(figure);
        let purse = (line.tenant, line.campaign, line.currency);
        let (_, hours) = of_purse.entry(purse).or_insert_with(|| (figure, Hours::new()));
        hours.entry(line.hour).or_insert((0, figure.daily_budget)).0 += figure.spend;
    }
    let mut entries = Vec::new();
    for (figure, hours) in of_purse.into_values() {
        for (hour, amount) in due(&hours) {
            entries.push(credit(figure, hour, amount, cut, at));
        }
    }
    entries
}

/// What is credited of a campaign's day, by hour, without zeros.
pub(crate) fn due(hours: &Hours) -> impl Iterator<Item = (Timestamp, Micros)> {
    let in_order = hours.iter().map(|(&hour, &(spend, budget))| (hour, spend, budget));
    credits(in_order).into_iter().filter(|&(_, amount)| amount != 0)
}

fn credit(
    figure: &FrozenFigure,
    hour: Timestamp,
    amount: Micros,
    cut: u64,
    at: Timestamp,
) -> Entry {
    Entry {
        key: Line { hour, ..line_of(figure) }.credit_key(),
        hour,
        ad_id: None,
        debit: Account::OverDelivery,
        credit: Account::Receivable,
        amount,
        clicks: 0,
        kind: EntryKind::Credit,
        ..charge(figure, cut, at)
    }
}
