//! A day is not closed before its time, not before everyone has reached the cut, and not while a
//! recount differs; and each refusal says so and freezes nothing.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use reckon_billing::{
    Cause, CloseOptions, Counting, Error, Figures, Progress, Reconciled, close, period,
};
use reckon_books::SqliteBooks;
use reckon_event::{Currency, Day, Timestamp};
use tempfile::TempDir;

use crate::market::NOW;
use crate::world::{World, day};

/// Counting that says what it is told to say.
struct Scripted {
    progress: Progress,
    figures: Mutex<Figures>,
    recounts: Mutex<VecDeque<Reconciled>>,
}

#[async_trait]
impl Counting for Scripted {
    fn progress(&self) -> Progress {
        self.progress
    }

    async fn figures(&self, _day: Day) -> Result<Figures, Cause> {
        Ok(self.figures.lock().expect("no panic").clone())
    }

    async fn reconcile(&self, _figures: &Figures) -> Result<Reconciled, Cause> {
        let next = self.recounts.lock().expect("no panic").pop_front();
        next.ok_or_else(|| "the lake cannot be read".into())
    }
}

struct Bench {
    world: World,
    books: SqliteBooks,
    _folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let mut world = World::new(11);
        world.clicks_come(100);
        let folder = TempDir::new().expect("a folder");
        let books = SqliteBooks::open(&folder.path().join("books.db")).await.expect("opens");
        world.register(&books, &books).await;
        Bench { world, books, _folder: folder }
    }

    fn scripted(&self, recounts: Vec<Reconciled>) -> Scripted {
        let watermark = day(1).end().plus(Timestamp::MINUTE);
        Scripted {
            progress: Progress { epoch: 5, watermark, lake: Some(5) },
            figures: Mutex::new(self.world.figures(day(1), 5)),
            recounts: Mutex::new(recounts.into()),
        }
    }

    async fn close(&self, counting: &Scripted) -> Result<u64, Error> {
        let options = CloseOptions::default();
        let closed = close(&self.books, &self.books, counting, &options, day(1), NOW).await?;
        Ok(closed.posted.new)
    }

    /// Refused with these words, and nothing frozen.
    async fn refused(&self, counting: &Scripted, words: &str) {
        let error = self.close(counting).await.expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
        let frozen = period(&self.books, day(1)).await.expect("is read");
        assert_eq!(frozen, None, "{error}");
    }
}

fn agrees() -> Reconciled {
    Reconciled::Agrees { rows_compared: 50 }
}

#[tokio::test]
async fn a_day_is_closed_when_its_last_events_are_in_and_not_before() {
    let bench = Bench::new().await;
    let mut counting = bench.scripted(vec![agrees(), agrees()]);
    let in_time = counting.progress.watermark;
    for early in [in_time.plus(-1), day(1).end(), day(1).start(), Timestamp(0)] {
        counting.progress.watermark = early;
        bench.refused(&counting, "2026-11-22 cannot be closed yet").await;
    }
    counting.progress.watermark = in_time;
    assert!(bench.close(&counting).await.expect("closes") > 10);
    counting.progress.watermark = Timestamp(0);
    assert_eq!(bench.close(&counting).await.expect("is closed"), 0);
}

#[tokio::test]
async fn a_store_behind_the_cut_is_named() {
    let bench = Bench::new().await;
    let mut counting = bench.scripted(vec![agrees(), agrees()]);
    counting.progress.epoch = 6;
    bench.refused(&counting, "the rollup has epoch 5, and the day is closed at epoch 6").await;
    counting.progress.epoch = 4;
    counting.progress.lake = Some(4);
    bench.refused(&counting, "the lake has epoch 4, and the day is closed at epoch 5").await;
    counting.progress.lake = None;
    bench.close(&counting).await.expect("closes without a lake");
}

#[tokio::test]
async fn an_unexplained_difference_freezes_nothing() {
    let bench = Bench::new().await;
    let differs = || Reconciled::Differs { differences: vec!["hour 3".into(), "hour 4".into()] };
    let rebuilt = || Reconciled::Rebuilt { panes: 2 };
    let counting = bench.scripted(vec![differs()]);
    bench.refused(&counting, "differs in 2 places, the first is: hour 3").await;
    let counting = bench.scripted(vec![rebuilt(), differs()]);
    bench.refused(&counting, "differs in 2 places").await;
    let counting = bench.scripted(vec![rebuilt(), rebuilt(), rebuilt(), agrees()]);
    bench.refused(&counting, "again and again").await;
    let counting = bench.scripted(vec![Reconciled::Agrees { rows_compared: 0 }]);
    bench.refused(&counting, "compared none of them").await;
    bench.refused(&bench.scripted(vec![]), "the lake cannot be read").await;
    let counting = bench.scripted(vec![rebuilt(), agrees()]);
    assert!(bench.close(&counting).await.expect("closes once rebuilt") > 10);
}

#[tokio::test]
async fn figures_that_cannot_be_freeze_nothing() {
    let bench = Bench::new().await;
    let change = |how: &dyn Fn(&mut Figures)| {
        let counting = bench.scripted(vec![agrees()]);
        how(&mut counting.figures.lock().expect("no panic"));
        counting
    };
    let counting = change(&|figures| figures.rows[0].clicks = -1);
    bench.refused(&counting, "nothing is ever below zero").await;
    let counting = change(&|figures| figures.rows[0].line.campaign = 5);
    bench.refused(&counting, "campaign of key 0000000000000005 of tenant").await;
    let counting = change(&|figures| figures.rows[0].line.ad = 6);
    bench.refused(&counting, "ad of key 0000000000000006 of tenant").await;
    let counting = change(&|figures| {
        let twice = figures.rows[0];
        figures.rows.push(twice);
    });
    bench.refused(&counting, "stands there twice").await;
    // Where nothing was spent the currency is the advertiser's.
    let counting = change(&|figures| {
        figures.rows.iter_mut().for_each(|row| row.line.currency = Currency::NONE);
    });
    bench.close(&counting).await.expect("closes");
}
