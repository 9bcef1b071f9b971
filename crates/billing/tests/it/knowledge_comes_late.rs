//! What becomes known after a day was closed: each kind of knowledge in an example that can be reckoned
//! by hand.

use std::sync::Arc;

use reckon_billing::{
    Adjusted, Amount, Error, Figure, Figures, Finding, Line, Names, adjust, charges, freezable,
    post_adjustment, post_all,
};
use reckon_books::{
    Account, BillingProfile, Books, Periods, Profiles, Slice, SqliteBooks, Terms, UnseenClicks,
    all_entries,
};
use reckon_event::{Adjustment, AdjustmentReason, Currency, TenantId, Timestamp, name_key};
use tempfile::TempDir;

use crate::market::NOW;
use crate::world::{Contract, Random, World, day};

const BUDGET: i64 = 100;

struct Bench {
    books: Arc<SqliteBooks>,
    names: Names,
    _folder: TempDir,
}

/// `clicks` of 10 micros each in hour `hour` of ad `a`.
fn figure(hour: i64, clicks: i64) -> Figure {
    let line = Line {
        tenant: TenantId(1),
        campaign: name_key("spring"),
        currency: Currency::EUR,
        hour: day(1).start().plus(hour * Timestamp::HOUR),
        ad: name_key("a"),
    };
    Figure { line, clicks, duplicates: 0, invalid: 0, spend: 10 * clicks }
}

fn figures(cut: u64, of_hours: &[(i64, i64)]) -> Figures {
    let rows = of_hours.iter().map(|&(hour, clicks)| figure(hour, clicks)).collect();
    Figures { day: day(1), cut, rows }
}

fn finding(reason: AdjustmentReason, hour: i64, clicks: i64) -> Finding {
    let amount = Amount { clicks, spend: 10 * clicks };
    Finding { reason, lines: vec![(figure(hour, 0).line, amount)], except: Default::default() }
}

impl Bench {
    /// A day on a budget of 100: 6 clicks in hour 3, 6 in hour 5 (of which 2 are credited).
    async fn closed() -> Self {
        let from = day(0).start();
        let contract = Contract {
            tenant: TenantId(1),
            advertiser: "acme".into(),
            campaign: "spring".into(),
            ads: vec!["a".into()],
            currency: Currency::EUR,
            terms: vec![Terms { from, cpc_micros: 10, daily_budget_micros: Some(BUDGET) }],
            pays_unseen: true,
        };
        let world = World { random: Random(0), contracts: vec![contract], clicks: Vec::new() };
        let folder = TempDir::new().expect("a folder");
        let books = SqliteBooks::open(&folder.path().join("books.db")).await.expect("opens");
        world.register(&books, &books).await;
        let names = Names::of(books.load_catalog().await.expect("loads"));
        let frozen = freezable(&figures(1, &[(3, 6), (5, 6)]), &names).expect("sound");
        books.freeze(day(1), 1, frozen.clone(), NOW).await.expect("freezes");
        post_all(&books, charges(&frozen, 1, NOW)).await.expect("posts");
        books.finish(day(1), NOW).await.expect("closes");
        Bench { books: Arc::new(books), names, _folder: folder }
    }

    async fn found(&self, now: Figures, findings: Vec<Finding>) -> Result<Vec<Adjustment>, Error> {
        Ok(adjust(&*self.books, &*self.books, now, findings).await?.adjustments)
    }

    async fn post(&self, adjustments: &[Adjustment]) {
        for adjustment in adjustments {
            let posted = post_adjustment(&*self.books, &self.names, adjustment, NOW).await;
            assert_eq!(posted.expect("posts"), Adjusted::New);
        }
    }

    async fn owed(&self) -> i64 {
        let entries = all_entries(&*self.books, &Slice::of_day(day(1))).await.expect("reads");
        entries.iter().map(|entry| entry.owed()).sum()
    }
}

/// (reason, hour, clicks, spend) of each.
fn told(adjustments: &[Adjustment]) -> Vec<(AdjustmentReason, i64, i64, i64)> {
    let of = |one: &Adjustment| {
        let hour = one.hour.since(day(1).start()) / Timestamp::HOUR;
        (one.reason, hour, one.clicks, one.spend)
    };
    let mut told: Vec<_> = adjustments.iter().map(of).collect();
    told.sort_unstable();
    told
}

use AdjustmentReason::{
    ClickWithoutImpression, DuplicateBeyondHorizon, OverDelivery, Recounted, RuleFound,
};

/// Two clicks come late in hour 4: they take their share of the budget before hour 5 does.
#[tokio::test]
async fn a_late_click_moves_the_credit_of_later_hours() {
    let bench = Bench::closed().await;
    assert_eq!(bench.owed().await, BUDGET);
    let late = bench.found(figures(2, &[(3, 6), (4, 2), (5, 6)]), vec![]).await.expect("sound");
    assert_eq!(told(&late), [(Recounted, 4, 2, 20), (OverDelivery, 5, 0, -20)]);
    let over = late.iter().find(|one| one.reason == OverDelivery).expect("there");
    assert!(over.ad == 0 && over.corrects.starts_with("credit/2026-11-22T05/1/"), "{over:?}");
    bench.post(&late).await;
    assert_eq!(bench.owed().await, BUDGET, "the budget is what is paid");
    let none = bench.found(figures(2, &[(3, 6), (4, 2), (5, 6)]), vec![]).await.expect("sound");
    assert_eq!(told(&none), []);
}

/// Three clicks turn out to be invalid: less is over the budget, and what was credited is owed again.
#[tokio::test]
async fn a_rule_found_later_frees_budget() {
    let bench = Bench::closed().await;
    let found = vec![finding(RuleFound, 3, -3)];
    let now = || figures(2, &[(3, 6), (5, 6)]);
    let adjustments = bench.found(now(), found.clone()).await.expect("sound");
    assert_eq!(told(&adjustments), [(RuleFound, 3, -3, -30), (OverDelivery, 5, 0, 20)]);
    bench.post(&adjustments).await;
    assert_eq!(bench.owed().await, 90, "nine clicks");
    let entries = all_entries(&*bench.books, &Slice::of_day(day(1))).await.expect("reads");
    let over = entries.iter().find(|entry| entry.reason == Some(OverDelivery)).expect("there");
    assert_eq!((over.debit, over.credit), (Account::Receivable, Account::OverDelivery));
    // Whoever does not tell of the rule again takes nothing back; whoever tells that there was no such
    // click does.
    assert_eq!(told(&bench.found(now(), vec![]).await.expect("sound")), []);
    let none = vec![Finding { lines: vec![], ..found[0].clone() }];
    let adjustments = bench.found(now(), none).await.expect("sound");
    assert_eq!(told(&adjustments), [(RuleFound, 3, 3, 30), (OverDelivery, 5, 0, -20)]);
    assert_eq!(adjustments[0].number, 2);
    assert!(adjustments[0].corrects.ends_with("/rule_found/1"), "{:?}", adjustments[0]);
}

/// A click without an impression is taken back only where the advertiser does not pay for such.
#[tokio::test]
async fn the_policy_of_the_advertiser_decides_on_unseen_clicks() {
    let bench = Bench::closed().await;
    let unseen = || vec![finding(ClickWithoutImpression, 5, -2)];
    let now = || figures(2, &[(3, 6), (5, 6)]);
    assert_eq!(told(&bench.found(now(), unseen()).await.expect("sound")), []);
    let set = async |unseen_clicks| {
        let profile = BillingProfile { unseen_clicks, ..BillingProfile::default() };
        bench.books.set_billing_profile(TenantId(1), "acme", profile).await.expect("is set");
    };
    set(UnseenClicks::Credit).await;
    let adjustments = bench.found(now(), unseen()).await.expect("sound");
    assert_eq!(
        told(&adjustments),
        [(ClickWithoutImpression, 5, -2, -20), (OverDelivery, 5, 0, 20)]
    );
    bench.post(&adjustments).await;
    // What was given back stays given back, whatever the policy is later.
    set(UnseenClicks::Pay).await;
    assert_eq!(told(&bench.found(now(), unseen()).await.expect("sound")), []);
}

/// Nothing comes below zero, whoever says so.
#[tokio::test]
async fn less_than_nothing_is_refused() {
    let bench = Bench::closed().await;
    let now = || figures(2, &[(3, 6), (5, 6)]);
    let too_many = vec![finding(DuplicateBeyondHorizon, 3, -7)];
    let error = bench.found(now(), too_many).await.expect_err("seven of six");
    assert!(matches!(error, Error::Negative { clicks: -1, spend: -10, .. }), "{error}");
    let both = vec![finding(DuplicateBeyondHorizon, 3, -4), finding(RuleFound, 3, -4)];
    let error = bench.found(now(), both).await.expect_err("eight of six");
    assert!(matches!(error, Error::Negative { clicks: -2, .. }), "{error}");
    let lost = bench.found(figures(2, &[(5, 6)]), vec![]).await.expect("counting took them back");
    assert_eq!(told(&lost), [(Recounted, 3, -6, -60), (OverDelivery, 5, 0, 20)]);
    let worked_out = vec![finding(OverDelivery, 3, 0)];
    let error = bench.found(now(), worked_out).await.expect_err("not told");
    assert!(error.to_string().contains("over_delivery is worked out here"), "{error}");
}

#[tokio::test]
async fn an_open_day_is_not_adjusted() {
    let bench = Bench::closed().await;
    let open = Figures { day: day(2), cut: 2, rows: vec![] };
    let error = bench.found(open, vec![]).await.expect_err("open");
    assert_eq!(
        error.to_string(),
        "2026-11-23 is not closed: run `reckon close --day 2026-11-23` first"
    );
}
