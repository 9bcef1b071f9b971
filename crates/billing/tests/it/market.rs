//! A world that is counted by a real rollup and billed in real books.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use reckon_billing::{
    Adjusted, Cause, CloseOptions, Closed, Counting, Differences, Error, Figures, Names, Progress,
    Reconciled, adjust, adjustment_record, close, post_adjustment, rollup_figures,
};
use reckon_books::{Accounts, Books, Entry, Slice, SqliteBooks, all_entries};
use reckon_disk::SimDisk;
use reckon_event::{Adjustment, Day, Deltas, Epoch, Record, TenantId, Timestamp, stamp};
use reckon_rollup::{Files, Options, RollupStore};
use tempfile::TempDir;

use crate::world::{Owed, World, day};

pub const TENANTS: [TenantId; 2] = [TenantId(1), TenantId(2)];

/// When everything is closed and posted.
pub const NOW: Timestamp = Timestamp::from_seconds(1_799_000_000);

pub struct Market {
    pub world: World,
    pub books: Arc<SqliteBooks>,
    pub rollup: Arc<Files>,
    pub epoch: u64,
    pub folder: TempDir,
}

impl Market {
    pub async fn open(world: World) -> Self {
        let folder = TempDir::new().expect("a folder");
        let books = SqliteBooks::open(&folder.path().join("books.db")).await.expect("opens");
        world.register(&books, &books).await;
        let disk = Arc::new(SimDisk::new(1));
        let rollup = Files::open(disk, Path::new("/rollup"), Options::default()).expect("opens");
        let (books, rollup) = (Arc::new(books), Arc::new(rollup));
        Market { world, books, rollup, epoch: 0, folder }
    }

    /// Counts an epoch of new clicks and revised verdicts.
    pub fn count(&mut self, clicks: usize, revisions: usize) {
        let mut deltas = Deltas::default();
        for _ in 0..clicks {
            let click = self.world.click();
            self.world.add_to(&click, 1, &mut deltas);
        }
        for _ in 0..revisions {
            if let Some((before, after)) = self.world.revise() {
                self.world.add_to(&before, -1, &mut deltas);
                self.world.add_to(&after, 1, &mut deltas);
            }
        }
        self.epoch += 1;
        let number = self.epoch;
        let epoch = Epoch { stage: 1, group: 0, generation: 1, number, bounds: Vec::new() };
        self.rollup.apply(&epoch, &deltas).expect("is taken");
    }

    pub async fn close(&self, accounts: &dyn Accounts, number: usize) -> Result<Closed, Error> {
        let counting = Recount { market: self };
        let options = CloseOptions::default();
        close(accounts, &*self.books, &counting, &options, day(number), NOW).await
    }

    pub fn figures(&self, day: Day) -> Figures {
        rollup_figures(&*self.rollup, &TENANTS, day).expect("is read")
    }

    /// What a closed day lacks.
    pub async fn differences(&self, number: usize) -> Result<Differences, Error> {
        let day = day(number);
        let figures = self.figures(day);
        adjust(&*self.books, &*self.books, figures, self.world.findings(day)).await
    }

    pub async fn names(&self) -> Names {
        Names::of(self.books.load_catalog().await.expect("loads"))
    }

    /// See [`post_from_log`].
    pub async fn post(&self, names: &Names, adjustment: &Adjustment) -> Adjusted {
        post_from_log(&self.books, names, adjustment).await
    }

    pub async fn entries(&self, number: usize) -> Vec<Entry> {
        all_entries(&*self.books, &Slice::of_day(day(number))).await.expect("is read")
    }

    /// The ledger of a day equals the naive recount; answers in how many amounts.
    pub async fn check(&self, number: usize) -> usize {
        let (ledger, owed) = (Owed::of(&self.entries(number).await), self.world.owed(day(number)));
        assert_eq!(ledger, owed);
        owed.amounts()
    }

    /// Nothing is wrong with the file.
    pub async fn verify(&self) {
        let path = self.folder.path().join("books.db");
        let found = SqliteBooks::verify(&path).await.expect("can be checked");
        assert!(found.is_sound(), "{:?}", found.findings);
    }
}

/// Takes an adjustment through the bytes of a log record, and posts what comes out.
pub async fn post_from_log(
    books: &SqliteBooks,
    names: &Names,
    adjustment: &Adjustment,
) -> Adjusted {
    let mut payload = Vec::new();
    adjustment.encode(&mut payload);
    let mut bytes = Vec::new();
    let record = adjustment_record(adjustment, &payload, NOW);
    record.encode(&mut bytes);
    stamp(&mut bytes, Default::default()).expect("a record");
    let (read, _) = Record::decode(&bytes).expect("reads back");
    let read = Adjustment::decode(read.payload).expect("is sound").expect("is known");
    assert_eq!(read, *adjustment);
    post_adjustment(books, names, &read, NOW).await.expect("is posted")
}

/// Reads the rollup, and recounts what it says from the list of clicks.
struct Recount<'a> {
    market: &'a Market,
}

#[async_trait]
impl Counting for Recount<'_> {
    fn progress(&self) -> Progress {
        let epoch = self.market.rollup.marks().applied.unwrap_or(0);
        Progress { epoch, watermark: NOW, lake: Some(epoch) }
    }

    async fn figures(&self, day: Day) -> Result<Figures, Cause> {
        Ok(rollup_figures(&*self.market.rollup, &TENANTS, day)?)
    }

    async fn reconcile(&self, figures: &Figures) -> Result<Reconciled, Cause> {
        let names = self.market.names().await;
        let mut counted = figures.clone().priced(&names)?.rows;
        counted.sort_unstable_by_key(|figure| figure.line);
        let recounted = self.market.world.figures(figures.day, figures.cut).rows;
        let rows_compared = recounted.len() as u64;
        Ok(if counted == recounted {
            Reconciled::Agrees { rows_compared }
        } else {
            Reconciled::Differs { differences: vec![format!("{counted:?} / {recounted:?}")] }
        })
    }
}
