//! Prices and budgets: what is true of a time stays true of it.

use std::sync::Arc;

use reckon_event::{Currency, Micros, Timestamp};

use super::{Bench, NOON, TENANT, campaign, expect_kind, only, register_parents};
use crate::books::Books;
use crate::catalog::{Campaign, CampaignPatch, Price, Terms, terms_at};
use crate::error::ErrorKind;

fn price(cpc_micros: Micros) -> CampaignPatch {
    CampaignPatch { cpc_micros: Some(cpc_micros), ..CampaignPatch::default() }
}

fn budget(daily_budget_micros: Option<Micros>) -> CampaignPatch {
    CampaignPatch { daily_budget_micros: Some(daily_budget_micros), ..CampaignPatch::default() }
}

async fn change(books: &dyn Books, patch: CampaignPatch, at: Timestamp) {
    books.patch_campaign(TENANT, "spring", patch, at).await.expect("a sound patch");
}

async fn cpc_at(books: &dyn Books, time: Timestamp) -> Micros {
    let price = books.price_at(TENANT, "spring", time).await.expect("there");
    assert_eq!(price, Price { cpc_micros: price.cpc_micros, currency: Currency::EUR });
    let history = books.terms(TENANT, "spring").await.expect("there");
    let in_memory = terms_at(&history, time).expect("never empty").cpc_micros;
    assert_eq!(price.cpc_micros, in_memory, "the snapshot's lookup agrees at {time}");
    price.cpc_micros
}

/// At a border the new price holds; before the first price, the first.
pub async fn a_price_holds_from_its_time(bench: &dyn Bench) {
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    let hour = |n: i64| NOON.plus(n * Timestamp::HOUR);
    change(&*books, price(300_000), hour(1)).await;
    change(&*books, price(0), hour(2)).await;
    let borders = [
        (Timestamp::MIN, 250_000),
        (NOON.plus(-1), 250_000),
        (NOON, 250_000),
        (hour(1).plus(-1), 250_000),
        (hour(1), 300_000),
        (hour(2).plus(-1), 300_000),
        (hour(2), 0),
        (hour(2).plus(1), 0),
        (Timestamp::MAX, 0),
    ];
    for (time, expected) in borders {
        assert_eq!(cpc_at(&*books, time).await, expected, "at {time}");
    }
    let negative = books.patch_campaign(TENANT, "spring", price(-1), hour(3)).await;
    expect_kind(negative, ErrorKind::Invalid { field: "cpc_micros" });
    let absurd = books.patch_campaign(TENANT, "spring", price(i64::MAX), hour(3)).await;
    expect_kind(absurd, ErrorKind::Invalid { field: "cpc_micros" });
    assert_eq!(books.campaign(TENANT, "spring").await.expect("there").cpc_micros, 0);
}

/// Terms are added, never edited: what already stands adds nothing, and a clock that stepped back
/// moves no price into the past.
pub async fn a_history_never_goes_back(bench: &dyn Bench) {
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    let later = NOON.plus(Timestamp::MINUTE);
    change(&*books, budget(None), later).await;
    change(&*books, budget(None), later.plus(5)).await;
    change(&*books, price(250_000), later.plus(6)).await;
    change(&*books, price(400_000), NOON.plus(1)).await;
    change(&*books, price(500_000), later).await;
    books.close().await;

    let books = bench.open().await;
    let first_budget = campaign("spring", "acme").daily_budget_micros;
    let expected = [
        Terms { from: NOON, cpc_micros: 250_000, daily_budget_micros: first_budget },
        Terms { from: later, cpc_micros: 250_000, daily_budget_micros: None },
        Terms { from: later, cpc_micros: 400_000, daily_budget_micros: None },
        Terms { from: later, cpc_micros: 500_000, daily_budget_micros: None },
    ];
    assert_eq!(books.terms(TENANT, "spring").await.expect("there"), expected);
    assert_eq!(cpc_at(&*books, later.plus(-1)).await, 250_000);
    assert_eq!(cpc_at(&*books, later).await, 500_000, "of one time, the last written");
}

/// Many changes at many times, against a list that is searched from its end.
pub async fn prices_agree_with_a_naive_history(bench: &dyn Bench) {
    const CHANGES: i64 = 60;
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    let mut naive: Vec<(Timestamp, Micros)> = vec![(NOON, 250_000)];
    let mut seed = 12_345_u64;
    let mut at = NOON;
    for _ in 0..CHANGES {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        at = at.plus(((seed >> 33) % 3).cast_signed());
        let cpc = ((seed >> 40) % 5).cast_signed();
        change(&*books, price(cpc), at).await;
        naive.push((at, cpc));
    }
    let mut compared = 0;
    for time in NOON.0 - 2..at.0 + 3 {
        let begun = naive.iter().rev().find(|(from, _)| from.0 <= time);
        let expected = begun.unwrap_or(&naive[0]).1;
        assert_eq!(cpc_at(&*books, Timestamp(time)).await, expected, "at {time}");
        compared += 1;
    }
    assert!(compared > CHANGES / 2, "only {compared} times were compared");
}

/// Two clients change one price at the same time: every change is in the history, once, and the
/// last of it is what stands.
pub async fn racing_prices_are_all_in_the_history(bench: &dyn Bench) {
    const CHANGES: i64 = 30;
    let (one, two) = (bench.open().await, bench.open().await);
    register_parents(&*one, TENANT).await;
    let free = Campaign { cpc_micros: 0, ..campaign("free", "acme") };
    assert!(only(one.create_campaigns(TENANT, vec![free]).await).is_ok());
    let racer = |books: Arc<dyn Books>, parity: i64| {
        tokio::spawn(async move {
            for n in 0..CHANGES {
                let at = NOON.plus(n);
                let changed =
                    books.patch_campaign(TENANT, "free", price(1 + 2 * n + parity), at).await;
                changed.expect("a sound patch");
            }
        })
    };
    let racers = (racer(Arc::clone(&one), 0), racer(Arc::clone(&two), 1));
    racers.0.await.expect("no panic");
    racers.1.await.expect("no panic");
    let history = one.terms(TENANT, "free").await.expect("there");
    assert!(history.is_sorted_by_key(|terms| terms.from));
    let mut prices: Vec<Micros> = history.iter().map(|terms| terms.cpc_micros).collect();
    let last = *prices.last().expect("not empty");
    assert_eq!(two.campaign(TENANT, "free").await.expect("there").cpc_micros, last);
    prices.sort_unstable();
    assert_eq!(prices, (0..=2 * CHANGES).collect::<Vec<_>>());
}
