//! A close is cut off at every single call, before and after it took effect, and run again: the ledger
//! is the one that an undisturbed close leaves. So it is where two close at the same time.

use std::sync::Arc;

use async_trait::async_trait;
use reckon_billing::{Cause, CloseOptions, Counting, Figures, Progress, Reconciled, close};
use reckon_books::{Books, Entry, LEDGER_ROWS_MAX, Slice, SqliteBooks, all_entries};
use reckon_event::{Day, Timestamp, Verdict};
use tempfile::TempDir;

use crate::accounts_that_fail::{Cut, Failing};
use crate::market::NOW;
use crate::world::{Click, World, day};

/// Figures from the list of clicks, at an epoch that goes on.
struct Moving<'a> {
    world: &'a World,
    epoch: u64,
}

#[async_trait]
impl Counting for Moving<'_> {
    fn progress(&self) -> Progress {
        Progress { epoch: self.epoch, watermark: NOW, lake: None }
    }

    async fn figures(&self, day: Day) -> Result<Figures, Cause> {
        Ok(self.world.figures(day, self.epoch))
    }

    async fn reconcile(&self, figures: &Figures) -> Result<Reconciled, Cause> {
        Ok(Reconciled::Agrees { rows_compared: figures.rows.len() as u64 })
    }
}

struct Fresh {
    books: Arc<SqliteBooks>,
    _folder: TempDir,
}

impl Fresh {
    async fn new(world: &World) -> Self {
        let folder = TempDir::new().expect("a folder");
        let books = SqliteBooks::open(&folder.path().join("books.db")).await.expect("opens");
        world.register(&books, &books).await;
        Fresh { books: Arc::new(books), _folder: folder }
    }

    async fn entries(&self) -> Vec<Entry> {
        all_entries(&*self.books, &Slice::of_day(day(1))).await.expect("is read")
    }
}

/// So many ads that charges go in several batches.
fn large_world() -> World {
    let mut world = World::new(7);
    let ads = LEDGER_ROWS_MAX / 24 + 10;
    world.contracts.truncate(1);
    world.contracts[0].ads = (0..ads).map(|ad| format!("ad-{ad}")).collect();
    let sample = world.click();
    world.clicks.clear();
    for ad in 0..ads {
        for hour in day(1).hours() {
            let (price, verdict) = (1 + ad as i64 % 7, Verdict::Counted);
            let at = hour.plus(Timestamp::MINUTE);
            world.clicks.push(Click { contract: 0, ad, at, price, verdict, ..sample });
        }
    }
    world.contracts[0].terms.truncate(1);
    world.contracts[0].terms[0].daily_budget_micros = Some(20_000);
    world
}

async fn try_close(fresh: &Fresh, accounts: &Failing, world: &World, epoch: u64) -> bool {
    let counting = Moving { world, epoch };
    let options = CloseOptions::default();
    close(accounts, &*fresh.books, &counting, &options, day(1), NOW).await.is_ok()
}

#[tokio::test]
async fn a_close_that_is_cut_off_anywhere_is_finished_by_the_next() {
    let world = large_world();
    let undisturbed = Fresh::new(&world).await;
    let whole = Failing::new(Arc::clone(&undisturbed.books), usize::MAX, Cut::Before);
    assert!(try_close(&undisturbed, &whole, &world, 5).await);
    let (calls, expected) = (whole.calls(), undisturbed.entries().await);
    assert!(expected.len() > LEDGER_ROWS_MAX, "{} entries are one batch", expected.len());
    assert!(expected.iter().any(|entry| entry.ad_id.is_none()), "nothing is credited");
    let mut compared = 0;
    for fails_at in 0..calls {
        for cut in [Cut::Before, Cut::After] {
            let fresh = Fresh::new(&world).await;
            let dying = Failing::new(Arc::clone(&fresh.books), fails_at, cut);
            assert!(!try_close(&fresh, &dying, &world, 5).await, "call {fails_at} was not made");
            let alive = Failing::new(Arc::clone(&fresh.books), usize::MAX, Cut::Before);
            assert!(try_close(&fresh, &alive, &world, 5).await);
            assert_eq!(fresh.entries().await, expected, "cut off {cut:?} call {fails_at}");
            fresh.books.close().await;
            compared += expected.len();
        }
    }
    eprintln!("{compared} entries after {} cuts are those of an undisturbed close", 2 * calls);
    // Look for the period, freeze it, read its figures in two pages, post two batches, finish.
    assert!(calls == 7 && compared > 100_000, "{calls} calls were cut off");
}

/// What is frozen stays frozen: counting that has gone on between the crash and the next try does not
/// come into the day any more.
#[tokio::test]
async fn what_was_frozen_before_a_crash_is_what_is_charged() {
    let mut world = World::new(3);
    world.clicks_come(200);
    let mut compared = 0;
    for fails_at in 0..8 {
        let fresh = Fresh::new(&world).await;
        let dying = Failing::new(Arc::clone(&fresh.books), fails_at, Cut::After);
        try_close(&fresh, &dying, &world, 5).await;
        let frozen = reckon_billing::period(&*fresh.books, day(1)).await.expect("is read");
        let clicks = world.clicks.len();
        let mut later = World::new(3);
        later.clicks = world.clicks.clone();
        later.clicks_come(50);
        let alive = Failing::new(Arc::clone(&fresh.books), usize::MAX, Cut::Before);
        assert!(try_close(&fresh, &alive, &later, 6).await);
        let closed = reckon_billing::period(&*fresh.books, day(1)).await.expect("is read");
        let cut = closed.expect("is closed").cut;
        assert_eq!(cut, frozen.map_or(6, |period| period.cut));
        let truth = if cut == 5 { &world } else { &later };
        let charged: i64 = fresh.entries().await.iter().map(|entry| entry.clicks).sum();
        let counted: i64 = truth.figures(day(1), cut).rows.iter().map(|row| row.clicks).sum();
        assert_eq!(charged, counted, "{clicks} clicks, cut {cut}");
        compared += charged;
    }
    assert!(compared > 200, "only {compared} clicks were compared");
}

/// Two who close at the same time, at two cuts: one of them freezes, both finish it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_close_at_once_leave_one_ledger() {
    let mut compared = 0;
    for seed in 0..10 {
        let mut world = World::new(seed);
        world.clicks_come(100);
        let fresh = Fresh::new(&world).await;
        let (one, two) = (Moving { world: &world, epoch: 5 }, Moving { world: &world, epoch: 6 });
        let options = CloseOptions::default();
        let books = &*fresh.books;
        let (one, two) = tokio::join!(
            close(books, books, &one, &options, day(1), NOW),
            close(books, books, &two, &options, day(1), NOW),
        );
        let (one, two) = (one.expect("closes"), two.expect("closes"));
        assert_eq!(one.period, two.period);
        let entries = fresh.entries().await;
        let charged: i64 = entries.iter().map(|entry| entry.clicks).sum();
        let counted: i64 = world.figures(day(1), 0).rows.iter().map(|row| row.clicks).sum();
        assert_eq!(charged, counted);
        assert!(entries.iter().all(|entry| entry.cut == one.period.cut), "of one cut");
        compared += charged;
    }
    assert!(compared > 100, "only {compared} clicks were compared");
}
