//! Invoices in zones of their own: every line is the recount of its day in that zone, and their sums are
//! the ledger's.

use std::collections::BTreeMap;

use reckon_billing::{
    Error, Invoice, Zone, account_answer, invoice, invoices, invoices_csv, period_answer,
};
use reckon_books::{BillingProfile, Entry, Periods, Profiles};
use reckon_event::{Day, Timestamp};

use crate::market::{Market, NOW};
use crate::world::{Contract, DAYS, World, day};

/// A market whose days are closed, the days around them too, with adjustments in the ledger.
async fn closed_market(seed: u64) -> Market {
    let mut market = Market::open(World::new(seed)).await;
    market.count(150, 5);
    for number in 0..DAYS {
        market.close(&*market.books, number).await.expect("closes");
    }
    for around in [day(0).number() - 1, day(DAYS - 1).number() + 1] {
        let around = Day::new(around).expect("a day");
        market.books.freeze(around, 1, Vec::new(), NOW).await.expect("freezes");
        market.books.finish(around, NOW).await.expect("closes");
    }
    market.count(40, 10);
    let names = market.names().await;
    for number in 0..DAYS {
        for adjustment in market.differences(number).await.expect("is closed").adjustments {
            market.post(&names, &adjustment).await;
        }
    }
    market
}

async fn set_zone(market: &Market, contract: &Contract, zone: &str) {
    let profile = market.books.billing_profile(contract.tenant, &contract.advertiser).await;
    let profile = BillingProfile { time_zone: zone.to_owned(), ..profile.expect("is there") };
    let set = market.books.set_billing_profile(contract.tenant, &contract.advertiser, profile);
    set.await.expect("is set");
}

/// The zones' days begin at other hours; the offset is right for November.
const ZONES: [(&str, i64); 5] = [
    ("UTC", 0),
    ("Europe/Berlin", 1),
    ("America/Los_Angeles", -8),
    ("Pacific/Auckland", 13),
    ("Asia/Tokyo", 9),
];

#[tokio::test]
async fn every_line_is_the_recount_of_a_day_of_its_zone() {
    let (mut lines, mut adjusted) = (0, 0);
    for seed in 0..12 {
        let market = closed_market(seed).await;
        for (at, contract) in market.world.contracts.iter().enumerate() {
            for (zone, offset) in ZONES {
                set_zone(&market, contract, zone).await;
                let Contract { tenant, advertiser, .. } = contract;
                let invoice =
                    invoice(&*market.books, *tenant, advertiser, day(0), day(DAYS - 1)).await;
                let invoice = invoice.expect("is closed");
                check_sums(&invoice);
                for line in &invoice.lines {
                    let date = Day::parse(&line.day).expect("a day");
                    check_line(&market, at, offset, date, line).await;
                    adjusted += usize::from(line.adjustment_micros != 0);
                }
                lines += invoice.lines.len();
            }
        }
    }
    eprintln!("{lines} lines agree, {adjusted} of them with adjustments");
    assert!(lines > 200 && adjusted > 50, "only {lines} lines were compared");
}

/// The lines' sums are the totals, and the columns of each come to its total.
fn check_sums(invoice: &Invoice) {
    for total in &invoice.totals {
        let lines = || invoice.lines.iter().filter(|line| line.currency == total.currency);
        assert_eq!(lines().map(|line| line.total_micros).sum::<i64>(), total.sum.total_micros);
        assert_eq!(lines().map(|line| line.net_clicks).sum::<i64>(), total.sum.net_clicks());
    }
    for line in &invoice.lines {
        assert_eq!(line.clicks_gross, line.clicks + line.duplicates + line.invalid);
        assert_eq!(line.net_clicks, line.clicks + line.adjusted_clicks);
        let total = line.charge_micros - line.credit_micros + line.adjustment_micros;
        assert_eq!(line.total_micros, total);
        assert!(line.net_clicks >= 0 && line.total_micros >= 0 && line.credit_micros >= 0);
    }
}

/// What a line says is what the recount owes for the hours of its day.
async fn check_line(
    market: &Market,
    contract: usize,
    offset: i64,
    date: Day,
    line: &reckon_billing::InvoiceLine,
) {
    let from = date.start().plus(-offset * Timestamp::HOUR);
    let hours = from..from.plus(Timestamp::DAY);
    let Contract { tenant, campaign, ads, .. } = &market.world.contracts[contract];
    let (mut owed, mut clicks) = (0, 0);
    for number in 0..DAYS {
        let recount = market.world.owed(day(number));
        for ((of, id, hour, _), amount) in recount.by_campaign {
            owed +=
                if of == *tenant && id == *campaign && hours.contains(&hour) { amount } else { 0 };
        }
        for ((of, id, hour, _), (count, _)) in recount.by_ad {
            let is_here = of == *tenant && ads.contains(&id) && hours.contains(&hour);
            clicks += if is_here { count } else { 0 };
        }
    }
    assert_eq!((line.total_micros, line.net_clicks), (owed, clicks), "{line:?}");
}

#[tokio::test]
async fn a_day_that_is_not_closed_is_not_invoiced() {
    let mut market = Market::open(World::new(5)).await;
    market.count(50, 0);
    market.close(&*market.books, 1).await.expect("closes");
    let contract = &market.world.contracts[0];
    let of = async |first, last| {
        invoice(&*market.books, contract.tenant, &contract.advertiser, first, last).await
    };
    of(day(1), day(1)).await.expect("is closed");
    let error = of(day(1), day(2)).await.expect_err("is open");
    assert!(matches!(error, Error::NotClosed(open) if open == day(2)), "{error}");
    set_zone(&market, contract, "Asia/Tokyo").await;
    let error = of(day(1), day(1)).await.expect_err("begins the day before");
    assert!(matches!(error, Error::NotClosed(open) if open == day(0)), "{error}");
    set_zone(&market, contract, "Asia/Kolkata").await;
    let error = of(day(1), day(1)).await.expect_err("half an hour");
    assert!(error.to_string().contains("bill this advertiser in UTC"), "{error}");
    for (first, last) in [(day(1), day(0)), (day(0), Day::parse("2027-11-22").expect("a day"))] {
        assert!(matches!(of(first, last).await, Err(Error::Range)));
    }
}

#[tokio::test]
async fn tables_and_answers_say_what_the_ledger_says() {
    let market = closed_market(2).await;
    let mut compared = 0;
    for tenant in crate::market::TENANTS {
        let all = invoices(&*market.books, &*market.books, tenant, day(1), day(1)).await;
        let all = all.expect("is closed");
        let entries: Vec<Entry> =
            market.entries(1).await.into_iter().filter(|entry| entry.tenant == tenant).collect();
        let mut owed: BTreeMap<String, i64> = BTreeMap::new();
        for entry in &entries {
            *owed.entry(entry.currency.to_string()).or_default() += entry.owed();
        }
        check_csv(&all, &owed);
        let answer = period_answer(&*market.books, tenant, day(1)).await.expect("is read");
        assert_eq!((answer.state, answer.cut), ("closed", Some(1)));
        let totals = answer.totals.iter().map(|t| (t.currency.clone(), t.sum.total_micros));
        assert_eq!(totals.collect::<BTreeMap<_, _>>(), owed);
        let is_adjustment = |entry: &&Entry| entry.reason.is_some();
        assert_eq!(answer.adjustments.len(), entries.iter().filter(is_adjustment).count());
        assert_eq!(answer.frozen.clicks_gross, gross(&market, tenant));
        serde_json::to_string(&answer).expect("is JSON");
        for invoice in &all {
            let id = &invoice.advertiser_id;
            let account = account_answer(&*market.books, tenant, id, day(1), day(1)).await;
            let account = account.expect("is read");
            let receivable = account.balances.iter().filter(|one| one.account == "receivable");
            let owed: i64 = receivable.map(|one| one.balance_micros).sum();
            assert_eq!(
                owed,
                invoice.totals.iter().map(|total| total.sum.total_micros).sum::<i64>()
            );
            assert_eq!(account.balances.iter().map(|one| one.balance_micros).sum::<i64>(), 0);
            compared += account.days.len();
        }
    }
    assert!(compared >= 2, "only {compared} accounts were compared");
}

/// Clicks of day 1 that were known when it was closed: the first 150 of the list.
fn gross(market: &Market, tenant: reckon_event::TenantId) -> i64 {
    let known = market.world.clicks[..150].iter().filter(|click| {
        market.world.contracts[click.contract].tenant == tenant && Day::of(click.at) == day(1)
    });
    known.count() as i64
}

fn check_csv(invoices: &[Invoice], owed: &BTreeMap<String, i64>) {
    let text = invoices_csv(invoices).expect("is written");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns: Vec<String> =
        reader.headers().expect("a header").iter().map(str::to_owned).collect();
    let json = serde_json::to_value(invoices).expect("is JSON");
    let lines: Vec<&serde_json::Value> = json
        .as_array()
        .expect("invoices")
        .iter()
        .flat_map(|invoice| invoice["lines"].as_array().expect("lines"))
        .collect();
    let mut sums: BTreeMap<String, i64> = owed.keys().map(|key| (key.clone(), 0)).collect();
    let mut rows = 0;
    for (row, line) in reader.records().zip(&lines) {
        let row = row.expect("a row");
        for (column, cell) in columns.iter().zip(&row) {
            let said = &line[column];
            assert_eq!(said.as_str().map_or(said.to_string(), str::to_owned), cell, "{column}");
        }
        *sums.get_mut(&row[3]).expect("a currency of the ledger") +=
            row[13].parse::<i64>().expect("a number");
        rows += 1;
    }
    assert_eq!((rows, &sums), (lines.len(), owed));
    assert!(text.starts_with("advertiser_id,day,campaign_id,currency,clicks_gross,"), "{text}");
}

#[test]
fn zones_are_checked_where_people_name_them() {
    assert_eq!(Zone::parse("Europe/Berlin").expect("a zone").name(), "Europe/Berlin");
    assert!(Zone::parse("Europe/Springfield").is_err());
}
