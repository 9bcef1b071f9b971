//! The ledger: what is posted stands, once, whole, and sums to its balances.

use std::sync::Arc;

use reckon_event::{AdjustmentReason, Currency, Day, Micros, Timestamp};

use super::{Bench, NOON, TENANT, ad, advertiser, campaign, expect_kind, only, register_parents};
use crate::books::{Books, Created};
use crate::error::ErrorKind;
use crate::ledger::{
    Account, Accounts, Balance, BillingProfile, Entry, EntryKind, FrozenFigure, LEDGER_ROWS_MAX,
    Period, Posted, Slice, UnseenClicks, all_entries, all_figures,
};

const CUT: u64 = 42;

fn day() -> Day {
    Day::of(NOON)
}

fn figure(key: &str, spend: Micros) -> FrozenFigure {
    FrozenFigure {
        key: key.to_owned(),
        hour: NOON.floor(Timestamp::HOUR),
        tenant: TENANT,
        advertiser_id: "acme".to_owned(),
        campaign_id: "spring".to_owned(),
        ad_id: "shoe".to_owned(),
        currency: Currency::EUR,
        clicks: 1,
        duplicates: 2,
        invalid: 3,
        spend,
        daily_budget: Some(50_000_000),
    }
}

fn charge(key: &str, amount: Micros) -> Entry {
    Entry {
        key: key.to_owned(),
        hour: NOON.floor(Timestamp::HOUR),
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
        cut: CUT,
        created_at: NOON,
    }
}

fn adjustment(key: &str, corrects: &str, amount: Micros) -> Entry {
    Entry {
        debit: Account::Revenue,
        credit: Account::Receivable,
        clicks: -1,
        kind: EntryKind::Adjustment,
        reason: Some(AdjustmentReason::Recounted),
        corrects: Some(corrects.to_owned()),
        ..charge(key, amount)
    }
}

/// Books with an advertiser, a campaign and an ad, and their ledger.
async fn open(bench: &dyn Bench) -> (Arc<dyn Books>, Arc<dyn Accounts>) {
    let books = bench.open().await;
    register_parents(&*books, TENANT).await;
    only(books.create_ads(TENANT, vec![ad("shoe", "spring")]).await).expect("a sound ad");
    (books, bench.accounts().await)
}

async fn freeze(accounts: &dyn Accounts, figures: Vec<FrozenFigure>) -> Period {
    accounts.freeze(day(), CUT, figures, NOON).await.expect("freezes").into_inner()
}

async fn entries(accounts: &dyn Accounts) -> Vec<Entry> {
    all_entries(accounts, &Slice::of_day(day())).await.expect("reads")
}

/// The same figures again are the same period; others are refused, and those that stand stand.
pub async fn a_day_is_frozen_once(bench: &dyn Bench) {
    let (_books, accounts) = open(bench).await;
    let figures = vec![figure("b", 7), figure("a", 5)];
    let new = accounts.freeze(day(), CUT, figures.clone(), NOON).await.expect("freezes");
    assert!(new.is_new());
    let again = accounts.freeze(day(), CUT, figures.clone(), NOON.plus(9)).await.expect("same");
    assert_eq!(again, Created::Same(new.into_inner()));
    let other = accounts.freeze(day(), CUT, vec![figure("a", 6)], NOON).await;
    expect_kind(other, ErrorKind::Conflict);
    let later = accounts.freeze(day(), CUT + 1, figures.clone(), NOON).await;
    expect_kind(later, ErrorKind::Conflict);
    let accounts = bench.accounts().await;
    let there = all_figures(&*accounts, &Slice::of_day(day())).await.expect("reads");
    assert_eq!(there, [figure("a", 5), figure("b", 7)]);
    let next = Day::of(NOON.plus(Timestamp::DAY));
    for (field, wrong) in [
        ("ad_id", FrozenFigure { ad_id: "gone".to_owned(), ..figure("a", 5) }),
        ("campaign_id", FrozenFigure { advertiser_id: "other".to_owned(), ..figure("a", 5) }),
        ("figures", FrozenFigure { clicks: -1, ..figure("a", 5) }),
    ] {
        let wrong = FrozenFigure { hour: wrong.hour.plus(Timestamp::DAY), ..wrong };
        let refused = accounts.freeze(next, CUT, vec![wrong], NOON).await;
        expect_kind(refused, ErrorKind::Invalid { field });
    }
    let elsewhere = accounts.freeze(next, 1, figures, NOON).await;
    expect_kind(elsewhere, ErrorKind::Invalid { field: "hour" });
    assert_eq!(accounts.periods(day(), next).await.expect("reads").len(), 1, "nothing is left");
}

/// A key is one entry for ever: again it changes nothing, with other values it is refused.
pub async fn an_entry_is_posted_once(bench: &dyn Bench) {
    let (_books, accounts) = open(bench).await;
    freeze(&*accounts, vec![figure("a", 5)]).await;
    let posted = accounts.post(vec![charge("a", 5)]).await.expect("posts");
    assert_eq!(posted, Posted { new: 1, same: 0 });
    let later = Entry { created_at: NOON.plus(7), ..charge("a", 5) };
    let posted = accounts.post(vec![later.clone(), charge("b", 6), later]).await.expect("posts");
    assert_eq!(posted, Posted { new: 1, same: 2 });
    let accounts = bench.accounts().await;
    assert_eq!(entries(&*accounts).await, [charge("a", 5), charge("b", 6)]);
    let said = expect_kind(accounts.post(vec![charge("a", 6)]).await, ErrorKind::Conflict);
    assert!(said.contains("`a`"), "{said}");
    assert_eq!(entries(&*accounts).await, [charge("a", 5), charge("b", 6)]);
}

/// One entry that is refused leaves nothing of its batch, wherever it stands in it.
pub async fn a_batch_is_whole_or_not_at_all(bench: &dyn Bench) {
    let (_books, accounts) = open(bench).await;
    freeze(&*accounts, vec![figure("a", 5)]).await;
    accounts.post(vec![charge("taken", 5)]).await.expect("posts");
    let wrong = [
        charge("taken", 6),
        Entry { amount: -1, ..charge("w", 5) },
        Entry { clicks: -1, ..charge("w", 5) },
        Entry { credit: Account::Receivable, ..charge("w", 5) },
        Entry { hour: NOON.plus(1), ..charge("w", 5) },
        Entry { hour: NOON.floor(Timestamp::HOUR).plus(Timestamp::DAY), ..charge("w", 5) },
        Entry { campaign_id: "gone".to_owned(), ..charge("w", 5) },
        Entry { advertiser_id: "other".to_owned(), ..charge("w", 5) },
        Entry { ad_id: Some("gone".to_owned()), ..charge("w", 5) },
        Entry { corrects: Some("a".to_owned()), ..charge("w", 5) },
        Entry { key: String::new(), ..charge("w", 5) },
        adjustment("w", "a", 5),
    ];
    for entry in wrong {
        for at in [0, 1_000, 2_000] {
            let mut batch: Vec<Entry> = (0..2_000).map(|n| charge(&format!("n{n}"), 1)).collect();
            batch.insert(at, entry.clone());
            let error = accounts.post(batch).await.expect_err("must be refused");
            let is_refusal = matches!(error.kind, ErrorKind::Conflict | ErrorKind::Invalid { .. });
            assert!(is_refusal, "{entry:?}: {error}");
        }
    }
    assert_eq!(entries(&*accounts).await, [charge("taken", 5)]);
    let full: Vec<Entry> = (0..LEDGER_ROWS_MAX).map(|n| charge(&format!("n{n}"), 1)).collect();
    let mut more = full.clone();
    more.push(charge("more", 1));
    expect_kind(accounts.post(more).await, ErrorKind::Invalid { field: "entries" });
    assert_eq!(accounts.post(full).await.expect("fits").new, LEDGER_ROWS_MAX as u64);
    assert_eq!(entries(&*accounts).await.len(), LEDGER_ROWS_MAX + 1, "over two pages");
}

/// An open day takes nothing, a frozen one charges, a closed one adjustments only.
pub async fn a_closed_day_takes_adjustments_only(bench: &dyn Bench) {
    let (_books, accounts) = open(bench).await;
    let invalid = ErrorKind::Invalid { field: "hour" };
    expect_kind(accounts.post(vec![charge("a", 5)]).await, invalid);
    expect_kind(accounts.finish(day(), NOON).await, ErrorKind::NotFound);
    freeze(&*accounts, vec![figure("a", 5)]).await;
    expect_kind(accounts.post(vec![adjustment("x", "a", 2)]).await, invalid);
    accounts.post(vec![charge("a", 5)]).await.expect("posts");
    let closed = accounts.finish(day(), NOON.plus(1)).await.expect("closes");
    assert_eq!(closed.closed_at, Some(NOON.plus(1)));
    let again = accounts.finish(day(), NOON.plus(2)).await.expect("is closed");
    assert_eq!(again, closed, "closing again changes nothing");
    assert_eq!(accounts.periods(day(), day()).await.expect("reads"), [closed]);
    expect_kind(accounts.post(vec![charge("b", 6)]).await, invalid);
    let same = accounts.post(vec![charge("a", 5)]).await.expect("what is there is there");
    assert_eq!(same, Posted { new: 0, same: 1 });
    accounts.post(vec![adjustment("x", "a", 2)]).await.expect("posts");
    assert_eq!(entries(&*accounts).await, [charge("a", 5), adjustment("x", "a", 2)]);
}

/// Balances are the sums of entries, by account and currency, of exactly the slice asked for.
pub async fn balances_are_the_sums_of_entries(bench: &dyn Bench) {
    let (books, accounts) = open(bench).await;
    only(books.create_advertisers(TENANT, vec![advertiser("bolt")]).await).expect("sound");
    only(books.create_campaigns(TENANT, vec![campaign("screws", "bolt")]).await).expect("sound");
    freeze(&*accounts, Vec::new()).await;
    let mut batch = Vec::new();
    for n in 0..300_i64 {
        let hour = day().start().plus(n % 24 * Timestamp::HOUR);
        let of_acme = n % 3 != 0;
        let currency = if n % 5 == 0 { Currency::USD } else { Currency::EUR };
        let base = Entry { hour, currency, ..charge(&format!("n{n}"), n * n) };
        batch.push(if of_acme {
            base
        } else {
            let (debit, credit) = (Account::OverDelivery, Account::Receivable);
            let (advertiser_id, campaign_id) = ("bolt".to_owned(), "screws".to_owned());
            let kind = EntryKind::Credit;
            Entry { advertiser_id, campaign_id, ad_id: None, debit, credit, kind, ..base }
        });
    }
    accounts.post(batch.clone()).await.expect("posts");
    let mut compared = 0;
    let whole = Slice::of_day(day());
    let noon = Slice { from: NOON, to: NOON.plus(3 * Timestamp::HOUR), ..whole.clone() };
    for slice in
        [whole.clone(), noon.clone(), whole.of_tenant(TENANT), noon.of_advertiser(TENANT, "bolt")]
    {
        let found = accounts.balances(&slice).await.expect("sums");
        let expected = naive_balances(&batch, &slice);
        assert_eq!(found, expected);
        compared += found.len();
    }
    assert!(compared > 20, "only {compared} balances were compared");
    let lost = Slice { tenant: None, ..Slice::of_day(day()).of_advertiser(TENANT, "bolt") };
    expect_kind(accounts.balances(&lost).await, ErrorKind::Invalid { field: "advertiser_id" });
}

fn naive_balances(entries: &[Entry], slice: &Slice) -> Vec<Balance> {
    let is_asked = |entry: &&Entry| {
        (slice.from..slice.to).contains(&entry.hour)
            && slice.advertiser_id.as_ref().is_none_or(|id| *id == entry.advertiser_id)
    };
    let mut balances = Vec::new();
    for advertiser_id in ["acme", "bolt"] {
        for currency in [Currency::EUR, Currency::USD] {
            let mut of_currency: Vec<Balance> = Vec::new();
            for account in Account::ALL {
                let asked = || {
                    let of = |entry: &&Entry| {
                        entry.advertiser_id == advertiser_id && entry.currency == currency
                    };
                    entries.iter().filter(is_asked).filter(of)
                };
                let debits = asked().filter(|entry| entry.debit == account);
                let credits = asked().filter(|entry| entry.credit == account);
                if debits.clone().count() + credits.clone().count() == 0 {
                    continue;
                }
                of_currency.push(Balance {
                    tenant: TENANT,
                    advertiser_id: advertiser_id.to_owned(),
                    currency,
                    account,
                    debits: debits.map(|entry| entry.amount).sum(),
                    credits: credits.map(|entry| entry.amount).sum(),
                });
            }
            of_currency.sort_by_key(|balance| balance.account.as_str());
            balances.extend(of_currency);
        }
    }
    balances
}

/// Two who post the same entries at the same time leave each once; two who post different ones under
/// one key leave one of them, and the other is told.
pub async fn racing_posts_leave_each_entry_once(bench: &dyn Bench) {
    const ENTRIES: usize = 60;
    let (_books, one) = open(bench).await;
    let two = bench.accounts().await;
    freeze(&*one, Vec::new()).await;
    let racer = |accounts: Arc<dyn Accounts>, racer: i64| {
        tokio::spawn(async move {
            let mut won = Vec::new();
            for n in 0..ENTRIES {
                let same = accounts.post(vec![charge(&format!("same-{n}"), 1)]).await;
                same.expect("the same is never refused");
                match accounts.post(vec![charge(&format!("own-{n}"), racer)]).await {
                    Ok(posted) => assert_eq!(posted.new, 1),
                    Err(error) => {
                        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
                        continue;
                    }
                }
                won.push((format!("own-{n}"), racer));
            }
            won
        })
    };
    let racers = (racer(Arc::clone(&one), 10), racer(two, 20));
    let mut won = racers.0.await.expect("no panic");
    won.extend(racers.1.await.expect("no panic"));
    won.sort_unstable();
    let there = entries(&*one).await;
    let mut own: Vec<(String, i64)> = there
        .iter()
        .filter(|entry| entry.key.starts_with("own"))
        .map(|entry| (entry.key.clone(), entry.amount))
        .collect();
    own.sort_unstable();
    assert_eq!(own, won, "what was acknowledged is what stands");
    assert_eq!((own.len(), there.len()), (ENTRIES, 2 * ENTRIES));
}

/// How an advertiser is billed is what was set last, and the default before.
pub async fn a_profile_is_what_was_set_last(bench: &dyn Bench) {
    let (_books, accounts) = open(bench).await;
    let profile = |accounts: Arc<dyn Accounts>| async move {
        accounts.billing_profile(TENANT, "acme").await.expect("reads")
    };
    assert_eq!(profile(Arc::clone(&accounts)).await, BillingProfile::default());
    let berlin = BillingProfile {
        time_zone: "Europe/Berlin".to_owned(),
        unseen_clicks: UnseenClicks::Credit,
    };
    for set in [BillingProfile::default(), berlin.clone(), berlin.clone()] {
        accounts.set_billing_profile(TENANT, "acme", set).await.expect("is set");
    }
    assert_eq!(profile(bench.accounts().await).await, berlin);
    let wrong = BillingProfile { time_zone: "Berlin!".to_owned(), ..berlin.clone() };
    let refused = accounts.set_billing_profile(TENANT, "acme", wrong).await;
    expect_kind(refused, ErrorKind::Invalid { field: "time_zone" });
    let nobody = accounts.set_billing_profile(TENANT, "gone", berlin).await;
    expect_kind(nobody, ErrorKind::NotFound);
    expect_kind(accounts.billing_profile(TENANT, "gone").await, ErrorKind::NotFound);
}
