//! The ledger in a file: what cannot be edited even by hand, and what the check finds where somebody
//! did it all the same.

use std::path::PathBuf;

use reckon_event::{AdjustmentReason, Currency, Day, Micros, TenantId, Timestamp};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

use super::SqliteBooks;
use crate::books::{Ads, Advertisers, Books, Campaigns};
use crate::catalog::{Ad, Advertiser, Campaign, Status};
use crate::ledger::{Account, Entry, EntryKind, FrozenFigure, Ledger, Periods};

const TENANT: TenantId = TenantId::DEFAULT;
const HOUR: Timestamp = Timestamp::from_seconds(1_795_262_400);
const BUDGET: Micros = 100;

fn day() -> Day {
    Day::of(HOUR)
}

struct Folder(TempDir);

impl Folder {
    fn file(&self) -> PathBuf {
        self.0.path().join("books.db")
    }

    /// Changes the file behind the books' back, past every trigger.
    async fn tamper(&self, sql: &str) {
        let options = SqliteConnectOptions::new().filename(self.file()).foreign_keys(false);
        let mut connection = SqliteConnection::connect_with(&options).await.expect("opens");
        let triggers = "SELECT 'DROP TRIGGER ' || name FROM sqlite_master WHERE type = 'trigger'";
        let drops: Vec<(String,)> =
            sqlx::query_as(triggers).fetch_all(&mut connection).await.expect("listed");
        for (drop,) in drops {
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await.expect("dropped");
        }
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("runs");
        connection.close().await.expect("closes");
    }

    async fn findings(&self) -> Vec<String> {
        SqliteBooks::verify(&self.file()).await.expect("can be checked").findings
    }
}

/// A closed day: 60 and 70 micros in two hours on a budget of 100, of which 30 are credited, and one
/// adjustment.
async fn closed_day() -> (Folder, SqliteBooks) {
    let folder = Folder(TempDir::new().expect("a folder"));
    let books = SqliteBooks::open(&folder.file()).await.expect("opens");
    register(&books).await;
    let figures = vec![figure("charge/1", 0, 60), figure("charge/2", 1, 70)];
    books.freeze(day(), 9, figures, HOUR).await.expect("freezes");
    let credit = Entry {
        ad_id: None,
        debit: Account::OverDelivery,
        credit: Account::Receivable,
        clicks: 0,
        kind: EntryKind::Credit,
        ..charge("credit/2", 1, 30)
    };
    let charges = vec![charge("charge/1", 0, 60), charge("charge/2", 1, 70), credit];
    books.post(charges).await.expect("posts");
    books.finish(day(), HOUR).await.expect("closes");
    let taken_back = Entry {
        debit: Account::Revenue,
        credit: Account::Receivable,
        clicks: -1,
        kind: EntryKind::Adjustment,
        reason: Some(AdjustmentReason::Recounted),
        corrects: Some("charge/1".to_owned()),
        ..charge("adjust/1/1", 0, 60)
    };
    books.post(vec![taken_back]).await.expect("posts");
    (folder, books)
}

async fn register(books: &SqliteBooks) {
    let advertiser = Advertiser {
        advertiser_id: "acme".to_owned(),
        name: "Acme".to_owned(),
        currency: Currency::EUR,
        created_at: HOUR,
    };
    let campaign = Campaign {
        campaign_id: "spring".to_owned(),
        advertiser_id: "acme".to_owned(),
        name: "Spring".to_owned(),
        cpc_micros: 10,
        daily_budget_micros: Some(BUDGET),
        targeting: None,
        status: Status::Active,
        created_at: HOUR,
    };
    let ad = Ad {
        ad_id: "shoe".to_owned(),
        campaign_id: "spring".to_owned(),
        destination_url: "https://shop.example/".to_owned(),
        category: None,
        creative_size: None,
        append_click_id: None,
        locale: None,
        quality_micros: None,
        status: Status::Active,
        created_at: HOUR,
    };
    books.create_advertisers(TENANT, vec![advertiser]).await.expect("works").remove(0).expect("ok");
    books.create_campaigns(TENANT, vec![campaign]).await.expect("works").remove(0).expect("ok");
    books.create_ads(TENANT, vec![ad]).await.expect("works").remove(0).expect("ok");
}

fn figure(key: &str, hour: i64, spend: Micros) -> FrozenFigure {
    FrozenFigure {
        key: key.to_owned(),
        hour: HOUR.plus(hour * Timestamp::HOUR),
        tenant: TENANT,
        advertiser_id: "acme".to_owned(),
        campaign_id: "spring".to_owned(),
        ad_id: "shoe".to_owned(),
        currency: Currency::EUR,
        clicks: 1,
        duplicates: 0,
        invalid: 0,
        spend,
        daily_budget: Some(BUDGET),
    }
}

fn charge(key: &str, hour: i64, amount: Micros) -> Entry {
    Entry {
        key: key.to_owned(),
        hour: HOUR.plus(hour * Timestamp::HOUR),
        tenant: TENANT,
        advertiser_id: "acme".to_owned(),
        campaign_id: "spring".to_owned(),
        ad_id: Some("shoe".to_owned()),
        currency: Currency::EUR,
        debit: Account::Receivable,
        credit: Account::Revenue,
        amount,
        clicks: 1,
        kind: EntryKind::Charge,
        reason: None,
        corrects: None,
        cut: 9,
        created_at: HOUR,
    }
}

#[tokio::test]
async fn the_ledger_cannot_be_edited_even_by_hand() {
    let (_folder, books) = closed_day().await;
    let mut refused = 0;
    for table in ["ledger_entries", "periods", "period_figures", "period_closings"] {
        for sql in [format!("UPDATE {table} SET day = day"), format!("DELETE FROM {table}")] {
            let done = sqlx::query(AssertSqlSafe(sql.clone())).execute(&books.writer).await;
            let said = done.expect_err(&sql).to_string();
            assert!(said.contains("never"), "{sql}: {said}");
            refused += 1;
        }
    }
    let late_charge = "INSERT INTO ledger_entries SELECT 'x', day, hour, tenant, advertiser_id, \
        campaign_id, ad_id, currency, debit, credit, amount_micros, clicks, kind, reason, \
        corrects, cut, created_at FROM ledger_entries WHERE entry_key = 'charge/1'";
    let late_figure = "INSERT INTO period_figures SELECT 'x', day, hour, tenant, advertiser_id, \
        campaign_id, ad_id, currency, clicks, duplicates, invalid, spend_micros, \
        daily_budget_micros FROM period_figures WHERE figure_key = 'charge/1'";
    for sql in [late_charge, late_figure] {
        sqlx::query(sql).execute(&books.writer).await.expect_err(sql);
        refused += 1;
    }
    assert_eq!(refused, 10);
}

#[tokio::test]
async fn a_sound_ledger_is_found_sound() {
    let (folder, books) = closed_day().await;
    books.close().await;
    let found = SqliteBooks::verify(&folder.file()).await.expect("can be checked");
    assert!(found.is_sound(), "{:?}", found.findings);
    assert_eq!(found.rows_checked, 4 + 4 + 2, "the catalog, the entries and the figures");
}

/// Damages a sound ledger in one way, and expects exactly what is said of it.
async fn check(sql: &str, expected: &[&str]) {
    let (folder, books) = closed_day().await;
    books.close().await;
    folder.tamper(sql).await;
    let mut findings = folder.findings().await;
    findings.sort_unstable();
    assert_eq!(findings, expected, "{sql}");
}

#[tokio::test]
async fn whatever_somebody_edits_is_found() {
    check(
        "UPDATE ledger_entries SET amount_micros = 61 WHERE entry_key = 'charge/1'",
        &["ledger: charge/1 is frozen in a closed period, but not charged as it was counted"],
    )
    .await;
    check(
        "DELETE FROM ledger_entries WHERE entry_key = 'charge/2'",
        &["ledger: charge/2 is frozen in a closed period, but not charged as it was counted"],
    )
    .await;
    check(
        "UPDATE ledger_entries SET entry_key = 'charge/3' WHERE entry_key = 'charge/2'",
        &[
            "ledger: charge/2 is frozen in a closed period, but not charged as it was counted",
            "ledger: charge/3 is a charge without a frozen figure",
        ],
    )
    .await;
    let credit = "ledger: campaign `spring` in hour 1795266000000000 is credited otherwise than \
        its budget tells";
    check("DELETE FROM ledger_entries WHERE kind = 'credit'", &[credit]).await;
    check("UPDATE ledger_entries SET amount_micros = 29 WHERE kind = 'credit'", &[credit]).await;
    check(
        "UPDATE ledger_entries SET debit = 'over_delivery' WHERE entry_key = 'charge/1'",
        &["ledger: charge/1 takes from and to accounts that its kind does not have"],
    )
    .await;
    check(
        "UPDATE ledger_entries SET debit = 'over_delivery' WHERE kind = 'adjustment'",
        &["ledger: adjust/1/1 takes from and to accounts that its kind does not have"],
    )
    .await;
    check(
        "UPDATE ledger_entries SET corrects = 'adjust/9/1' WHERE kind = 'adjustment'",
        &["ledger: adjust/1/1 corrects an adjustment that is not there"],
    )
    .await;
    check(
        "UPDATE ledger_entries SET clicks = -2 WHERE kind = 'adjustment'",
        &["ledger: ad `shoe` in hour 1795262400000000 has a net of less than no clicks"],
    )
    .await;
    check(
        "UPDATE period_figures SET duplicates = 5 WHERE figure_key = 'charge/1'",
        &["ledger: the figures of 2026-11-21 are not those it was frozen with"],
    )
    .await;
    check(
        "DELETE FROM period_closings",
        &["ledger: adjust/1/1 is posted to a day in a state that does not take it"],
    )
    .await;
}
