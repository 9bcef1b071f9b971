//! Invoices: what an advertiser owes for days of its own time zone, by campaign and day, as CSV or
//! JSON.
//!
//! An invoice is a regrouping of the ledger's hours ([`crate::Zone`]): its sums are the ledger's. It is
//! written only where every UTC day it touches is closed; what becomes known later stands, as an
//! adjustment of the day it happened in, in the same invoice asked for again.

use std::collections::BTreeMap;

use reckon_books::{Accounts, Advertiser, Books, Page, Slice, all_entries, all_figures};
use reckon_event::{Currency, Day, Micros, TenantId};
use serde::Serialize;

use crate::answer::{CurrencySum, check_range};
use crate::close::period;
use crate::error::Error;
use crate::sum::Sum;
use crate::zone::Zone;

/// How many advertisers are listed at a time.
const ADVERTISERS_A_PAGE: u32 = 1_000;

/// What one advertiser owes for some days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invoice {
    /// Who pays.
    pub advertiser_id: String,
    /// IANA name of the zone whose days these are.
    pub time_zone: String,
    /// The first day.
    pub from: String,
    /// The last day.
    pub to: String,
    /// The UTC days it is made of, each with the epoch it was closed at.
    pub periods: Vec<InvoicePeriod>,
    /// By day and campaign.
    pub lines: Vec<InvoiceLine>,
    /// The sums of all lines, by currency.
    pub totals: Vec<CurrencySum>,
}

/// A closed day behind an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InvoicePeriod {
    /// The UTC day.
    pub day: String,
    /// The epoch it was closed at.
    pub cut: u64,
}

/// What a campaign's day came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InvoiceLine {
    /// Who pays.
    pub advertiser_id: String,
    /// The day, in the invoice's zone.
    pub day: String,
    /// For what.
    pub campaign_id: String,
    /// ISO 4217.
    pub currency: String,
    /// All clicks that came: counted, duplicate and invalid ones, as of close.
    pub clicks_gross: i64,
    /// Those that were not valid.
    pub invalid: i64,
    /// Those that had come before.
    pub duplicates: i64,
    /// Those that count: gross less invalid and duplicates.
    pub clicks: i64,
    /// What came or went after close.
    pub adjusted_clicks: i64,
    /// Clicks with adjustments.
    pub net_clicks: i64,
    /// Their price at close.
    pub charge_micros: Micros,
    /// Given back at close, for what was delivered beyond the day's budget.
    pub credit_micros: Micros,
    /// Owed more, or less, by what became known after close.
    pub adjustment_micros: Micros,
    /// What is owed.
    pub total_micros: Micros,
}

/// Of a line, what is summed: the counts at close, and the ledger.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    duplicates: i64,
    invalid: i64,
    ledger: Sum,
}

/// The invoice of an advertiser for the days `first` to `last` of its time zone.
pub async fn invoice(
    accounts: &dyn Accounts,
    tenant: TenantId,
    advertiser_id: &str,
    first: Day,
    last: Day,
) -> Result<Invoice, Error> {
    check_range(first, last)?;
    let profile = accounts.billing_profile(tenant, advertiser_id).await?;
    let zone = Zone::parse(&profile.time_zone)?;
    let mut lines: BTreeMap<(Day, String, Currency), Work> = BTreeMap::new();
    let mut periods: BTreeMap<Day, u64> = BTreeMap::new();
    for date in (first.number()..=last.number()).filter_map(Day::new) {
        let (from, to) = zone.day(date)?;
        closed(accounts, Day::of(from), &mut periods).await?;
        closed(accounts, Day::of(to.plus(-1)), &mut periods).await?;
        let hours = Slice { from, to, tenant: None, advertiser_id: None };
        let slice = hours.of_advertiser(tenant, advertiser_id);
        for figure in all_figures(accounts, &slice).await? {
            let work = lines.entry((date, figure.campaign_id, figure.currency)).or_default();
            work.duplicates += figure.duplicates;
            work.invalid += figure.invalid;
        }
        for entry in all_entries(accounts, &slice).await? {
            let place = (date, entry.campaign_id.clone(), entry.currency);
            lines.entry(place).or_default().ledger.add(&entry);
        }
    }
    let period = |(day, cut): (Day, u64)| InvoicePeriod { day: day.to_string(), cut };
    Ok(Invoice {
        advertiser_id: advertiser_id.to_owned(),
        time_zone: profile.time_zone,
        from: first.to_string(),
        to: last.to_string(),
        periods: periods.into_iter().map(period).collect(),
        totals: totals(&lines),
        lines: lines.into_iter().map(|(place, work)| line(advertiser_id, place, work)).collect(),
    })
}

/// Invoices of every advertiser of a tenant who had a click or an entry in those days.
pub async fn invoices(
    accounts: &dyn Accounts,
    books: &dyn Books,
    tenant: TenantId,
    first: Day,
    last: Day,
) -> Result<Vec<Invoice>, Error> {
    let mut invoices = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = Page { after: after.take(), limit: ADVERTISERS_A_PAGE };
        let advertisers: Vec<Advertiser> = books.list_advertisers(tenant, page).await?;
        for Advertiser { advertiser_id, .. } in &advertisers {
            let invoice = invoice(accounts, tenant, advertiser_id, first, last).await?;
            if !invoice.lines.is_empty() {
                invoices.push(invoice);
            }
        }
        if advertisers.len() < ADVERTISERS_A_PAGE as usize {
            return Ok(invoices);
        }
        after = advertisers.into_iter().next_back().map(|advertiser| advertiser.advertiser_id);
    }
}

async fn closed(
    accounts: &dyn Accounts,
    day: Day,
    periods: &mut BTreeMap<Day, u64>,
) -> Result<(), Error> {
    if periods.contains_key(&day) {
        return Ok(());
    }
    let closed = period(accounts, day).await?.filter(|period| period.closed_at.is_some());
    periods.insert(day, closed.ok_or(Error::NotClosed(day))?.cut);
    Ok(())
}

fn line(
    advertiser_id: &str,
    (day, campaign_id, currency): (Day, String, Currency),
    Work { duplicates, invalid, ledger }: Work,
) -> InvoiceLine {
    InvoiceLine {
        advertiser_id: advertiser_id.to_owned(),
        day: day.to_string(),
        campaign_id,
        currency: currency.to_string(),
        clicks_gross: ledger.clicks + duplicates + invalid,
        invalid,
        duplicates,
        clicks: ledger.clicks,
        adjusted_clicks: ledger.adjusted_clicks,
        net_clicks: ledger.net_clicks(),
        charge_micros: ledger.charge_micros,
        credit_micros: ledger.credit_micros,
        adjustment_micros: ledger.adjustment_micros,
        total_micros: ledger.total_micros,
    }
}

fn totals(lines: &BTreeMap<(Day, String, Currency), Work>) -> Vec<CurrencySum> {
    let mut totals: BTreeMap<Currency, Sum> = BTreeMap::new();
    for ((_, _, currency), work) in lines {
        totals.entry(*currency).or_default().merge(&work.ledger);
    }
    let named =
        |(currency, sum): (Currency, Sum)| CurrencySum { currency: currency.to_string(), sum };
    totals.into_iter().map(named).collect()
}

/// The lines of invoices as CSV (RFC 4180) with a header line.
pub fn invoices_csv(invoices: &[Invoice]) -> Result<String, Error> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .has_headers(false)
        .from_writer(Vec::new());
    let written = |error: csv::Error| Error::Written(Box::new(error));
    writer.write_record(CSV_HEADER).map_err(written)?;
    for line in invoices.iter().flat_map(|invoice| &invoice.lines) {
        writer.serialize(line).map_err(written)?;
    }
    let bytes =
        writer.into_inner().map_err(|error| Error::Written(Box::new(error.into_error())))?;
    String::from_utf8(bytes).map_err(|error| Error::Written(Box::new(error)))
}

/// The columns, in the order of [`InvoiceLine`]'s fields.
const CSV_HEADER: [&str; 14] = [
    "advertiser_id",
    "day",
    "campaign_id",
    "currency",
    "clicks_gross",
    "invalid",
    "duplicates",
    "clicks",
    "adjusted_clicks",
    "net_clicks",
    "charge_micros",
    "credit_micros",
    "adjustment_micros",
    "total_micros",
];
