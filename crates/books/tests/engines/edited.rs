//! What cannot be edited even by hand, and what the check finds where somebody did it all the same.

use reckon_books::{Ads, Books, Campaigns, ErrorKind, Ledger, Periods, PostgresBooks};
use sqlx::AssertSqlSafe;

use crate::place::Place;
use crate::things::{HOUR, TENANT, ad, adjustment, charge, credit, day, figure, register};

/// A closed day: 60 and 70 micros in two hours on a budget of 100, of which 30 are credited, and one
/// adjustment.
async fn closed_day() -> (Place, PostgresBooks) {
    let place = Place::new().await;
    let books = place.postgres().await;
    register(&books).await;
    let figures = vec![figure("charge/1", 0, 60), figure("charge/2", 1, 70)];
    books.freeze(day(), 9, figures, HOUR).await.expect("freezes");
    let entries =
        vec![charge("charge/1", 0, 60), charge("charge/2", 1, 70), credit("credit/2", 1, 30)];
    books.post(entries).await.expect("posts");
    books.finish(day(), HOUR).await.expect("closes");
    let taken_back = adjustment("adjust/1/1", "charge/1", 0, 60);
    books.post(vec![taken_back]).await.expect("posts");
    (place, books)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_cannot_be_edited_even_by_hand() {
    let (place, _books) = closed_day().await;
    let mut beside = place.beside().await;
    let mut refused = 0;
    for table in
        ["campaign_terms", "ledger_entries", "periods", "period_figures", "period_closings"]
    {
        let column = if table == "campaign_terms" { "sequence" } else { "day" };
        for sql in [
            format!("UPDATE {table} SET {column} = {column}"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table} CASCADE"),
        ] {
            let done = sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut beside).await;
            let said = done.expect_err(&sql).to_string();
            assert!(said.contains("never") || said.contains("are history"), "{sql}: {said}");
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
        sqlx::query(sql).execute(&mut beside).await.expect_err(sql);
        refused += 1;
    }
    assert_eq!(refused, 17);
    assert!(place.findings().await.is_empty(), "nothing came of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_books_are_found_sound_while_they_are_open() {
    let (place, books) = closed_day().await;
    let found = place.verify().await;
    assert!(found.is_sound(), "{:?}", found.findings);
    assert_eq!(found.rows_checked, 4 + 4 + 2, "the catalog, the entries and the figures");
    books.close().await;
    assert_eq!(place.verify().await, found);
}

/// Damages sound books in one way, and expects exactly what is said of them.
async fn check(sql: &str, expected: &[&str]) {
    let (place, _books) = closed_day().await;
    place.tamper(sql).await;
    let mut findings = place.findings().await;
    findings.sort_unstable();
    assert_eq!(findings, expected, "{sql}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_ledger_is_found() {
    check(
        "UPDATE ledger_entries SET amount_micros = 61 WHERE entry_key = 'charge/1'",
        &["ledger: charge/1 is frozen in a closed period, but not charged as it was counted"],
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
    let uncredited = "ledger: campaign `spring` in hour 1795266000000000 is credited otherwise \
        than its budget tells";
    check("DELETE FROM ledger_entries WHERE kind = 'credit'", &[uncredited]).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_catalog_is_found() {
    check(
        "UPDATE ads SET name_key = 5 WHERE ad_id = 'shoe'",
        &["ad `shoe` of tenant 1: its stored key is not the key of its name"],
    )
    .await;
    check(
        "UPDATE campaigns SET cpc_micros = 5, created_at = 7",
        &[
            "campaign `spring` of tenant 1 has a price or budget other than its last terms",
            "campaign `spring` of tenant 1 has first terms that do not hold from its making",
        ],
    )
    .await;
    check(
        "UPDATE campaigns SET cpc_micros = 9, daily_budget_micros = NULL; \
         INSERT INTO campaign_terms VALUES (1, 'spring', 4, 1, 9, NULL)",
        &["campaign `spring` of tenant 1 has a gap or a step back in its terms"],
    )
    .await;
    check(
        "UPDATE ads SET destination_url = 'gone'",
        &["ad `shoe` of tenant 1: destination_url must be absolute: https://host/path"],
    )
    .await;
    check(
        "UPDATE ads SET campaign_id = 'gone'",
        &["a row of ads names a row of campaigns that is not there"],
    )
    .await;
    check(
        "UPDATE advertisers SET currency = 'usd'",
        &["advertiser `acme` of tenant 1: `usd` is no currency"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_not_served() {
    let (place, books) = closed_day().await;
    place.tamper("UPDATE advertisers SET currency = 'usd'").await;
    let refused = books.load_catalog().await.expect_err("not served");
    assert_eq!(refused.kind, ErrorKind::Damaged, "{refused}");
    // A table that is gone is damage as well, and told with its place.
    place.tamper("DROP TABLE campaign_terms").await;
    let refused = books.terms(TENANT, "spring").await.expect_err("gone");
    assert_eq!(refused.kind, ErrorKind::Damaged, "{refused}");
    assert!(refused.to_string().contains("postgres://127.0.0.1:"), "{refused}");
    assert_eq!(books.ad(TENANT, "shoe").await.expect("there"), ad("shoe", "spring"));
}
