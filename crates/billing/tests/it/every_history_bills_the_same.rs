//! A history comes in other batches, some of it twice, to one, seven or sixty-four partitions, and the
//! machine that counts and bills it dies anywhere: the ledger is the same, entry by entry.
//!
//! All of it is switched on: ids of every class, real duplicates, refusals of the edge, rules told and
//! swapped for the past, budgets that change within hours, clicks that come when their day is closed.
//! Log, counter, rollup and books are the real ones. The ledger must be that of every other variant of
//! the history, and what a judge says that shares no code with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use reckon_billing::{
    Adjusted, Cause, CloseOptions, Closed, Counting, Error, Figures, Names, Progress, Reconciled,
    adjust, close, rollup_figures,
};
use reckon_books::{
    Accounts, Books, Entry, EntryKind, FrozenFigure, Slice, SqliteBooks, all_entries, all_figures,
};
use reckon_event::{AdjustmentReason, Day, Kind, Reason, Verdict};
use reckon_pipeline::Snapshot;
use reckon_rollup::Files;
use tempfile::TempDir;

use crate::accounts_that_fail::{Cut, Failing};
use crate::history::{History, IdClass, Stop, TENANTS};
use crate::machine::{Machine, Storm};
use crate::market::{NOW, post_from_log};
use crate::world::{Owed, World};

const HISTORIES: usize = 12;
const PARTITIONS: [u16; 3] = [1, 7, 64];
const RULES: [Reason; 4] =
    [Reason::DoubleClick, Reason::RapidUser, Reason::RapidIp, Reason::RapidIpAgent];

/// Every history, every variant of it.
#[tokio::test]
async fn the_ledger_is_the_same_each_time() {
    let mut tally = Tally::default();
    let histories = (0..).filter_map(|seed| Some((seed, History::new(seed)?)));
    for (seed, history) in histories.take(HISTORIES) {
        tally.tell(&history);
        let registered = Registered::new(&history.world).await;
        let mut first: Option<Bill> = None;
        for partitions in PARTITIONS {
            let bill = bill(&history, &registered, (seed, partitions), &mut tally).await;
            match &first {
                None => first = Some(bill),
                Some(first) => tally.compare(first, &bill, (seed, partitions)),
            }
        }
    }
    tally.print();
    tally.check();
}

/// What is in the books in the end.
struct Bill {
    /// But for the epoch up to which each knows: how many there were is a matter of batches.
    entries: Vec<Entry>,
    frozen: Vec<FrozenFigure>,
}

/// Lets a machine count a history and bills it at each of its stops.
async fn bill(
    history: &History,
    registered: &Registered,
    (seed, partitions): (u64, u16),
    tally: &mut Tally,
) -> Bill {
    let mut machine = Machine::new(history, seed << 8 | u64::from(partitions), partitions);
    let desk = Desk { world: &history.world, books: registered.copy(partitions).await };
    let mut closed: Vec<Day> = Vec::new();
    for stop in &history.stops {
        machine.run_to(stop.at);
        desk.check_counted(&machine, stop);
        for &day in &closed {
            tally.amounts += desk.adjust(&machine, day).await;
        }
        for &day in &stop.days {
            desk.close(&mut machine, stop, day, tally).await;
        }
        closed.extend(&stop.days);
        for &day in &closed {
            tally.owed += desk.check(stop, day).await;
        }
    }
    machine.check();
    tally.storm.add(&machine.storm);
    let bill = desk.read(&closed).await;
    desk.books.close().await;
    let found = SqliteBooks::verify(&registered.path(partitions)).await.expect("can be checked");
    assert!(found.is_sound(), "{:?}", found.findings);
    bill
}

/// Books in which the contracts are registered, to be copied: that takes longer than billing them.
struct Registered {
    folder: TempDir,
}

impl Registered {
    async fn new(world: &World) -> Self {
        let registered = Registered { folder: TempDir::new().expect("a folder") };
        let books = SqliteBooks::open(&registered.path(0)).await.expect("opens");
        world.register(&books, &books).await;
        books.close().await;
        registered
    }

    fn path(&self, partitions: u16) -> PathBuf {
        self.folder.path().join(format!("books-{partitions}.db"))
    }

    async fn copy(&self, partitions: u16) -> Arc<SqliteBooks> {
        let path: &Path = &self.path(partitions);
        std::fs::copy(self.path(0), path).expect("there is room");
        Arc::new(SqliteBooks::open(path).await.expect("opens"))
    }
}

/// Who bills.
struct Desk<'a> {
    world: &'a World,
    books: Arc<SqliteBooks>,
}

impl Desk<'_> {
    /// Verdict by verdict as many records as the judge says, up to the same time.
    fn check_counted(&self, machine: &Machine<'_>, stop: &Stop) {
        let (snapshot, _) = machine.counted();
        assert_eq!(snapshot.watermark, stop.watermark);
        assert_eq!(snapshot.lag(), 0);
        let (found, expected) = (snapshot.totals.iter(), stop.judge.totals.iter());
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    /// Closes a day, and dies at any of the calls it takes; another process closes it then.
    async fn close(&self, machine: &mut Machine<'_>, stop: &Stop, day: Day, tally: &mut Tally) {
        let at = machine.random.below(8) as usize;
        let cut = if machine.random.percent(50) { Cut::Before } else { Cut::After };
        let failing = Failing::new(Arc::clone(&self.books), at, cut);
        if self.try_close(&failing, machine, stop, day, tally).await.is_err() {
            tally.closes_cut_off += 1;
            machine.restart();
        }
        let closed = self.try_close(&*self.books, machine, stop, day, tally).await;
        assert!(closed.expect("closes").period.closed_at.is_some());
    }

    async fn try_close(
        &self,
        accounts: &dyn Accounts,
        machine: &Machine<'_>,
        stop: &Stop,
        day: Day,
        tally: &mut Tally,
    ) -> Result<Closed, Error> {
        let (snapshot, rollup) = machine.counted();
        let counting = Counted { snapshot, rollup, world: self.world, stop };
        let closed =
            close(accounts, &*self.books, &counting, &CloseOptions::default(), day, NOW).await?;
        tally.closes += 1;
        Ok(closed)
    }

    /// Posts what a closed day lacks, each twice; answers in how many amounts it was compared.
    async fn adjust(&self, machine: &Machine<'_>, day: Day) -> usize {
        let (_, rollup) = machine.counted();
        let figures = rollup_figures(&*rollup, &TENANTS, day).expect("is read");
        let names = Names::of(self.books.load_catalog().await.expect("loads"));
        let books = &*self.books;
        let found = adjust(books, books, figures.clone(), Vec::new()).await.expect("is closed");
        for adjustment in &found.adjustments {
            assert_eq!(post_from_log(books, &names, adjustment).await, Adjusted::New);
        }
        if let Some(adjustment) = found.adjustments.first() {
            assert_eq!(post_from_log(books, &names, adjustment).await, Adjusted::Same);
        }
        let left = adjust(books, books, figures, Vec::new()).await.expect("is closed");
        assert_eq!(left.adjustments, [], "once posted, nothing is missing");
        found.compared
    }

    /// The ledger of a day is what the judge says; answers in how many amounts.
    async fn check(&self, stop: &Stop, day: Day) -> usize {
        let entries = all_entries(&*self.books, &Slice::of_day(day)).await.expect("is read");
        let (ledger, owed) = (Owed::of(&entries), stop.judge.owed(self.world, day));
        assert_eq!(ledger, owed, "{day}");
        owed.amounts()
    }

    async fn read(&self, days: &[Day]) -> Bill {
        let mut bill = Bill { entries: Vec::new(), frozen: Vec::new() };
        for &day in days {
            let slice = Slice::of_day(day);
            bill.entries.extend(all_entries(&*self.books, &slice).await.expect("is read"));
            bill.frozen.extend(all_figures(&*self.books, &slice).await.expect("is read"));
        }
        bill.entries.iter_mut().for_each(|entry| entry.cut = 0);
        bill
    }
}

/// The rollup's figures, recounted by the judge.
struct Counted<'a> {
    snapshot: Arc<Snapshot>,
    rollup: Arc<Files>,
    world: &'a World,
    stop: &'a Stop,
}

#[async_trait]
impl Counting for Counted<'_> {
    fn progress(&self) -> Progress {
        let Snapshot { epoch, watermark, .. } = *self.snapshot;
        Progress { epoch, watermark, lake: None }
    }

    async fn figures(&self, day: Day) -> Result<Figures, Cause> {
        Ok(rollup_figures(&*self.rollup, &TENANTS, day)?)
    }

    async fn reconcile(&self, figures: &Figures) -> Result<Reconciled, Cause> {
        Ok(match self.stop.judge.compare(self.world, figures) {
            Ok(rows) => Reconciled::Agrees { rows_compared: rows as u64 },
            Err(difference) => Reconciled::Differs { differences: vec![difference] },
        })
    }
}

/// How much occurred, and how much was compared.
#[derive(Default)]
struct Tally {
    storm: Storm,
    histories: u64,
    variants: u64,
    /// By verdict: all records, and clicks.
    verdicts: BTreeMap<Verdict, (u64, u64)>,
    /// By class of id: records, and duplicates.
    classes: BTreeMap<IdClass, (u64, u64)>,
    /// What rules have taken, by verdict.
    taken: BTreeMap<Verdict, u64>,
    late_clicks: u64,
    closes: u64,
    closes_cut_off: u64,
    entries: u64,
    figures: u64,
    /// Amounts that ledger and judge agreed in.
    owed: usize,
    /// Amounts that ledger and counting agreed in, once adjusted.
    amounts: usize,
    charges: u64,
    credits: u64,
    adjustments: BTreeMap<(AdjustmentReason, bool), u64>,
}

impl Tally {
    /// What occurs in a history, all told.
    fn tell(&mut self, history: &History) {
        self.histories += 1;
        self.late_clicks += history.late_clicks;
        for told in &history.stops.last().expect("it ends").judge.told {
            let (records, clicks) = self.verdicts.entry(told.verdict).or_default();
            *records += 1;
            *clicks += u64::from(told.kind == Kind::Click);
            let (records, duplicates) = self.classes.entry(told.class).or_default();
            *records += 1;
            *duplicates += u64::from(told.verdict == Verdict::Duplicate);
            *self.taken.entry(told.verdict).or_default() += u64::from(told.is_revised);
        }
    }

    /// Two variants of a history ended with the same books.
    fn compare(&mut self, first: &Bill, other: &Bill, variant: (u64, u16)) {
        self.variants += 1;
        assert_eq!(first.entries.len(), other.entries.len(), "{variant:?}");
        for (one, other) in first.entries.iter().zip(&other.entries) {
            assert_eq!(one, other, "{variant:?}");
            self.entries += 1;
            match (one.kind, one.reason) {
                (EntryKind::Charge, _) => self.charges += 1,
                (EntryKind::Credit, _) => self.credits += 1,
                (EntryKind::Adjustment, reason) => {
                    let reason = reason.expect("the books take none without");
                    *self.adjustments.entry((reason, one.owed() < 0)).or_default() += 1;
                }
            }
        }
        assert_eq!(first.frozen, other.frozen, "{variant:?}");
        self.figures += first.frozen.len() as u64;
    }

    fn print(&self) {
        eprintln!("{:<16} {:>8} {:>8} {:>8}", "verdict", "records", "clicks", "by rules");
        for verdict in Verdict::all() {
            let (records, clicks) = self.verdicts.get(&verdict).copied().unwrap_or_default();
            let taken = self.taken.get(&verdict).copied().unwrap_or_default();
            eprintln!("{:<16} {records:>8} {clicks:>8} {taken:>8}", verdict.name());
        }
        for (class, (records, duplicates)) in &self.classes {
            eprintln!("ids {class:?}: {records} records, {duplicates} of them duplicates");
        }
        eprintln!("{:?}", self.storm);
        let (closes, cut_off) = (self.closes, self.closes_cut_off);
        eprintln!("{} late clicks; {closes} closes, {cut_off} more cut off", self.late_clicks);
        for ((reason, is_less), count) in &self.adjustments {
            let which = if *is_less { "less" } else { "more, or only clicks" };
            eprintln!("adjustments, {} ({which}): {count}", reason.name());
        }
        eprintln!(
            "{} histories: {} entries ({} charges, {} credits) and {} figures are those of {} other \
             variants; {} amounts are the judge's, {} were compared by adjusting",
            self.histories,
            self.entries,
            self.charges,
            self.credits,
            self.figures,
            self.variants,
            self.owed,
            self.amounts
        );
    }

    /// Whatever never occurred was not proved.
    fn check(&self) {
        for verdict in Verdict::all() {
            let (_, clicks) = self.verdicts.get(&verdict).copied().unwrap_or_default();
            assert!(clicks > 0, "{verdict} never occurred");
        }
        for reason in RULES.map(Verdict::Invalid) {
            assert!(self.taken.get(&reason).is_some_and(|&count| count > 0), "no rule of {reason}");
        }
        for class in IdClass::ALL {
            let (records, duplicates) = self.classes.get(&class).copied().unwrap_or_default();
            let is_known = !matches!(class, IdClass::Unsigned | IdClass::None);
            assert!(records > 0 && (duplicates > 0) == is_known, "{class:?}");
        }
        let Storm { prefixes, unanswered, redelivered, power_cuts, kills, faults, .. } = self.storm;
        let happened = [
            ("prefix sent again", prefixes),
            ("batch without an answer", unanswered),
            ("record that was appended twice", redelivered),
            ("power cut", power_cuts),
            ("kill", kills),
            ("failed disk", faults),
            ("checkpoint", self.storm.checkpoints),
            ("record that the log let go of", self.storm.retired),
            ("late click", self.late_clicks),
            ("close that was cut off", self.closes_cut_off),
            ("charge", self.charges),
            ("credit", self.credits),
            ("frozen figure", self.figures),
        ];
        for (what, count) in happened {
            assert!(count > 0, "no {what} occurred");
        }
        for reason in [AdjustmentReason::Recounted, AdjustmentReason::OverDelivery] {
            for is_less in [false, true] {
                let there = self.adjustments.contains_key(&(reason, is_less));
                assert!(there, "no adjustment by {} (less: {is_less})", reason.name());
            }
        }
        assert!(self.owed > 10_000 && self.amounts > 3_000, "too little was compared");
    }
}
