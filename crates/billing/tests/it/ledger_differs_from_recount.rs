//! Whatever happens in whatever order (late clicks, revised verdicts, budgets changed within an hour,
//! closes repeated and cut off, adjustments lost, repeated, reordered and stale), the ledger ends equal
//! to a naive recount of the list of clicks.

use std::collections::BTreeMap;
use std::sync::Arc;

use reckon_billing::{
    Adjusted, Known, Names, adjustment_entry, charges, differences, freezable, period,
};
use reckon_books::{Accounts, Entry, Slice};
use reckon_event::Timestamp;

use crate::accounts_that_fail::{Cut, Failing};
use crate::market::{Market, NOW};
use crate::world::{DAYS, Owed, World, day};

const HISTORIES: u64 = 40;
const PURE_HISTORIES: u64 = 3_000;

/// The whole of it, in real books and from a real rollup.
#[tokio::test]
async fn any_history_ends_with_the_recount() {
    let (mut amounts, mut adjustments, mut stale) = (0, 0, 0);
    for seed in 0..HISTORIES {
        let mut market = Market::open(World::new(seed)).await;
        for _ in 0..30 {
            let told = step(&mut market).await;
            adjustments += told.0;
            stale += told.1;
        }
        let told = end(&market).await;
        amounts += told.0;
        adjustments += told.1;
        market.verify().await;
    }
    eprintln!(
        "{amounts} amounts of {HISTORIES} histories agree; {adjustments} adjustments, {stale} stale"
    );
    assert!(amounts > 1_000 && adjustments > 500 && stale > 10, "too little was compared");
}

/// One thing that happens; answers how many adjustments were posted, and how many were stale.
async fn step(market: &mut Market) -> (usize, usize) {
    let number = market.world.random.below(DAYS);
    match market.world.random.below(4) {
        0 | 1 => {
            let (clicks, revisions) = (market.world.random.below(60), market.world.random.below(6));
            market.count(clicks, revisions);
            (0, 0)
        }
        2 => {
            close_or_die(market, number).await;
            (0, 0)
        }
        _ => adjust_somehow(market, number).await,
    }
}

/// A close that may be cut off at any call, or run to its end.
async fn close_or_die(market: &mut Market, number: usize) {
    let (fails_at, before) = (market.world.random.below(12), market.world.random.chance(2));
    let cut = if before { Cut::Before } else { Cut::After };
    let failing = Failing::new(Arc::clone(&market.books), fails_at, cut);
    if let Ok(closed) = market.close(&failing, number).await {
        assert!(closed.period.closed_at.is_some());
        let again = market.close(&*market.books, number).await.expect("is closed");
        assert_eq!(again.period, closed.period, "closing again changes nothing");
        assert_eq!((again.posted.new, again.posted.same), (0, 0));
    }
}

/// Adjustments of a day, some posted twice, some lost, in any order; and those that somebody else
/// reckoned before another epoch was counted come after them.
async fn adjust_somehow(market: &mut Market, number: usize) -> (usize, usize) {
    let Ok(early) = market.differences(number).await else { return (0, 0) };
    let clicks = market.world.random.below(20);
    market.count(clicks, 2);
    let mut adjustments = market.differences(number).await.expect("is closed").adjustments;
    adjustments.retain(|_| !market.world.random.chance(5));
    for at in (1..adjustments.len()).rev() {
        adjustments.swap(at, market.world.random.below(at + 1));
    }
    let names = market.names().await;
    for adjustment in &adjustments {
        assert_eq!(market.post(&names, adjustment).await, Adjusted::New);
        assert_eq!(market.post(&names, adjustment).await, Adjusted::Same);
    }
    let mut stale = 0;
    for adjustment in early.adjustments.iter().take(3) {
        stale += usize::from(market.post(&names, adjustment).await == Adjusted::Stale);
    }
    (adjustments.len(), stale)
}

/// Everything is closed, and adjusted until nothing is missing; answers how many amounts agree, and how
/// many adjustments it took.
async fn end(market: &Market) -> (usize, usize) {
    let names = market.names().await;
    let (mut amounts, mut adjustments) = (0, 0);
    for number in 0..DAYS {
        market.close(&*market.books, number).await.expect("closes");
        for adjustment in market.differences(number).await.expect("is closed").adjustments {
            assert_eq!(market.post(&names, &adjustment).await, Adjusted::New);
            adjustments += 1;
        }
        let left = market.differences(number).await.expect("is closed");
        assert_eq!(left.adjustments, [], "once posted, nothing is missing");
        amounts += market.check(number).await;
        check_balances(market, number).await;
        let there = period(&*market.books, day(number)).await.expect("is read");
        assert!(there.is_some_and(|period| period.closed_at.is_some()));
    }
    (amounts, adjustments)
}

/// What was debited was credited, in each currency.
async fn check_balances(market: &Market, number: usize) {
    let accounts: &dyn Accounts = &*market.books;
    let mut by_currency: BTreeMap<_, i64> = BTreeMap::new();
    for balance in accounts.balances(&Slice::of_day(day(number))).await.expect("sums") {
        *by_currency.entry(balance.currency).or_default() += balance.debits - balance.credits;
    }
    assert!(by_currency.values().all(|&left| left == 0), "{by_currency:?}");
}

/// The pure core alone, in many more histories: freeze, adjust and adjust again.
#[test]
fn the_rule_is_the_recounts_in_any_world() {
    let (mut amounts, mut credits, mut adjusted) = (0, 0, 0);
    for seed in 0..PURE_HISTORIES {
        let mut world = World::new(seed + 1_000_000);
        // Whom a finding does not concern is the books' to say, and they are not asked here.
        world.contracts.iter_mut().for_each(|contract| contract.pays_unseen = false);
        let names = Names::of(world.snapshot());
        for _ in 0..world.random.below(150) {
            world.click();
        }
        let day = day(1);
        let frozen = freezable(&world.figures(day, 1), &names).expect("is sound");
        let mut entries = charges(&frozen, 1, NOW);
        assert_eq!(entries, charges(&frozen, 1, NOW), "pure");
        credits += entries.iter().filter(|entry| entry.ad_id.is_none()).count();
        for cut in 2..5 {
            for _ in 0..world.random.below(40) {
                world.click();
            }
            world.revise();
            let (now, findings) = (world.figures(day, cut), world.findings(day));
            let known = Known { figures: &now, findings: &findings };
            let found = differences(&frozen, &entries, &known, &names).expect("sound");
            adjusted += found.adjustments.len();
            let new = found.adjustments.iter().map(|one| adjustment_entry(one, &names, NOW));
            entries.extend(new.collect::<Result<Vec<Entry>, _>>().expect("named"));
            let owed = world.owed(day);
            assert_eq!(Owed::of(&entries), owed, "seed {seed}");
            amounts += owed.amounts();
            let left = differences(&frozen, &entries, &known, &names).expect("sound");
            assert_eq!(left.adjustments, [], "seed {seed}");
        }
        check_chains(&entries);
    }
    eprintln!(
        "{amounts} amounts of {PURE_HISTORIES} worlds agree; {credits} credits, {adjusted} adjustments"
    );
    assert!(amounts > 50_000 && credits > 1_000 && adjusted > 20_000, "too little was compared");
}

/// Every key once; each adjustment corrects a charge, a credit, or the adjustment before it.
fn check_chains(entries: &[Entry]) {
    let mut keys = std::collections::HashSet::new();
    assert!(entries.iter().all(|entry| keys.insert(entry.key.as_str())), "a key stands twice");
    let mut corrected = std::collections::HashSet::new();
    for entry in entries.iter().filter(|entry| entry.reason.is_some()) {
        let corrects = entry.corrects.as_deref().expect("an adjustment");
        assert!(corrected.insert((corrects, entry.reason)), "{corrects} is corrected twice");
        assert!(!corrects.starts_with("adjust/") || keys.contains(corrects), "{corrects}");
        assert!(entry.hour == entry.hour.floor(Timestamp::HOUR) && entry.amount >= 0);
    }
}
