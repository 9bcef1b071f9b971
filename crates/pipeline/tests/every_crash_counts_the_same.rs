//! Power cuts, failed syncs, kills and restarts anywhere: every record is counted once.
//!
//! The story: the machine dies between the journal and the fold, between two subscribers, in the
//! middle of a checkpoint or of writing opaque ids; a sync fails and the process goes on with what
//! only the page cache has; a subscriber takes an epoch and its answer is lost. Whatever happens, a
//! durable subscriber ends with exactly what a naive recount of the log gives, and is never handed an
//! epoch in two forms.

#![expect(clippy::print_stdout, reason = "the test tells how much it compared")]

#[path = "../../count/tests/traffic/mod.rs"]
mod traffic;

mod ledger;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledger::{Book, Ledger, Live, lock};
use reckon_count::naive::Recount;
use reckon_count::rules::{RapidKey, Rule, RuleSet};
use reckon_count::{Policy, Totals};
use reckon_disk::{Disk, SimDisk};
use reckon_event::{
    Control, Kind, Position, Reason, Record, RecordId, Slot, Timestamp, Verdict, stamp,
};
use reckon_eventlog::{DiskLog, EventLog, Outcome};
use reckon_pipeline::{Error, Options, Pipeline, Stepped, recount, verify};
use traffic::{Random, Traffic};

const DIR: &str = "/counter";
const RECORDS: usize = 3_000;

const POLICY: Policy = Policy {
    minted_horizon: 3 * Timestamp::HOUR,
    opaque_horizon: 5 * Timestamp::HOUR,
    unsigned_window: 10 * Timestamp::SECOND,
    appender_horizon: 4 * Timestamp::HOUR,
    rules_horizon: 1_000 * Timestamp::DAY,
};

/// How much was gone through.
#[derive(Debug, Default)]
struct Tally {
    verdicts: u64,
    power_cuts: u64,
    failed: u64,
    kills: u64,
    checkpoints: u64,
    again: u64,
    replayed: u64,
    ids_on_disk: u64,
    retired: u64,
    revisions: u64,
    occurred: Totals,
}

/// One history with everything it needs to go on after a crash.
struct World {
    random: Random,
    partitions: u16,
    disk: SimDisk,
    log_disk: SimDisk,
    log: Arc<dyn EventLog>,
    incarnation: u32,
    generation: u32,
    history: Vec<Vec<u8>>,
    fed: usize,
    /// By position, the record's place in the history.
    places: BTreeMap<Position, usize>,
    retires: bool,
    rules_version: u32,
    book: Arc<Mutex<Book>>,
    tally: Tally,
}

impl World {
    fn new(seed: u64, partitions: u16) -> Self {
        let log_disk = SimDisk::new(seed);
        let log = open_log(&log_disk, partitions, 1);
        World {
            random: Random::new(seed ^ 0x5EED),
            partitions,
            disk: SimDisk::new(seed + 1),
            log_disk,
            log,
            incarnation: 1,
            generation: 0,
            history: Traffic::new(seed, true).take(RECORDS),
            fed: 0,
            places: BTreeMap::new(),
            retires: seed % 2 == 1,
            rules_version: 0,
            book: Arc::default(),
            tally: Tally::default(),
        }
    }

    /// Appends the next records, durably.
    fn feed(&mut self) {
        if self.random.percent(40) {
            self.tick();
        }
        self.feed_records();
    }

    fn feed_records(&mut self) {
        let count = (1 + self.random.below(250) as usize).min(self.history.len() - self.fed);
        for at in self.fed..self.fed + count {
            let bytes = &self.history[at];
            let record = Record::decode(bytes).expect("encoded here").0;
            let partition = self.log.partition_of(record.kind, record.slot);
            let before = self.log.range(partition).end;
            let outcome = self.log.append(partition, bytes, 1).wait();
            assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
            let chunk = self.log.read(partition, before, 1).expect("durable");
            let position = Position { partition, offset: chunk.entries[0].offset };
            assert_eq!(self.places.insert(position, at), None);
        }
        self.fed += count;
    }

    /// Puts what everybody must see before the next record: ticks, sometimes other rules, sometimes
    /// the wish that everything be judged now.
    fn tick(&mut self) {
        let before = &self.history[..self.fed];
        let received = before.iter().map(|bytes| decode(bytes).received).max();
        let now = received.unwrap_or(Timestamp(1_795_255_200_000_000));
        self.rules_version += 1;
        let set = self.rules(now);
        let rules = set.encode();
        let control = match self.random.below(10) {
            0..=2 => Control::Rules { version: set.version, from: set.from, rules: &rules },
            3 => Control::Settle,
            _ => Control::Tick,
        };
        self.broadcast(&control, now);
    }

    /// From a minute soon, or long past.
    fn rules(&mut self, now: Timestamp) -> RuleSet {
        let rapid = |by, most: u64| Rule::Rapid { by, most: most as u32 };
        let mut rules = vec![
            Rule::DoubleClick { within: self.random.below(30_000_000) as i64 },
            rapid(RapidKey::IpAgent, 1 + self.random.below(3)),
            rapid(RapidKey::User, 1 + self.random.below(5)),
            rapid(RapidKey::Ip, 1 + self.random.below(6)),
        ];
        rules.truncate(1 + self.random.below(4) as usize);
        let turn = self.random.below(rules.len() as u64) as usize;
        rules.rotate_left(turn);
        let minutes = self.random.below(300) as i64 - 240;
        let from = now.plus(minutes * Timestamp::MINUTE).floor(Timestamp::MINUTE);
        RuleSet { version: self.rules_version, from, rules }
    }

    /// A copy for every partition, behind what was fed.
    fn broadcast(&mut self, control: &Control<'_>, received: Timestamp) {
        let mut payload = Vec::new();
        control.encode(&mut payload);
        for partition in 0..self.partitions {
            let slot =
                Slot::new(self.log.slots(partition).start).expect("every partition has slots");
            let record = Record { payload: &payload, ..Record::new(Kind::Control, slot, received) };
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            stamp(&mut bytes, RecordId::default()).expect("encoded here");
            self.history.insert(self.fed, bytes);
        }
    }

    fn open(&mut self) -> Result<Pipeline, Error> {
        self.generation += 1;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let eager = self.random.below(4);
        let flaky = self.random.pick(&[0, 3, 5]);
        let ledger = Ledger::open(Arc::clone(&disk), eager, flaky)
            .map_err(|error| Error::Halted(error.to_string()))?;
        self.book = Arc::clone(&ledger.book);
        let live = Live { book: Arc::default() };
        let options = self.options();
        let pipeline = Pipeline::open(
            Arc::clone(&self.log),
            disk,
            Path::new(DIR),
            options,
            self.generation,
            vec![Box::new(ledger), Box::new(live)],
        )?;
        Ok(pipeline)
    }

    /// Of any size: it must not matter.
    fn options(&mut self) -> Options {
        Options {
            policy: POLICY,
            epoch_records_max: self.random.pick(&[1, 20, 200, 10_000])
                * usize::from(self.partitions),
            retry_pause: Duration::ZERO,
            attempts_max: 3,
            ..Options::default()
        }
    }

    /// Sets a trap for one of the next syncs or writes.
    fn set_trap(&mut self) {
        let nth = 1 + self.random.below(9);
        match self.random.below(10) {
            0..=3 => self.disk.cut_power_at_sync(nth),
            4 => self.disk.fail_sync(nth),
            5 => self.disk.fail_write(nth),
            _ => {}
        }
    }

    /// After the pipeline is gone: the machine dies, or only the process.
    fn die(&mut self, pipeline: Option<Pipeline>, failed: bool) {
        drop(pipeline);
        if !self.disk.has_power() || self.random.percent(40) {
            self.tally.power_cuts += 1;
            let seed = self.random.next();
            self.disk.crash(seed);
            self.reopen_log(seed);
        } else if failed {
            self.tally.failed += 1;
        } else {
            self.tally.kills += 1;
        }
    }

    fn reopen_log(&mut self, seed: u64) {
        let placeholder = open_log(&SimDisk::new(0), self.partitions, 1);
        drop(std::mem::replace(&mut self.log, placeholder));
        self.log_disk.crash(seed);
        self.incarnation += 1;
        self.log = open_log(&self.log_disk, self.partitions, self.incarnation);
    }

    /// Some steps, some checkpoints.
    fn work(&mut self, pipeline: &mut Pipeline) -> Result<(), Error> {
        for _ in 0..1 + self.random.below(6) {
            if let Stepped::Applied { number, .. } = pipeline.step()? {
                self.tally.replayed += u64::from(number <= lock(&self.book).last());
            }
            if self.random.percent(25) {
                pipeline.checkpoint()?;
                self.tally.checkpoints += 1;
                self.retire(pipeline);
            }
        }
        Ok(())
    }

    /// Lets go of what the pipeline says it will never read again.
    fn retire(&mut self, pipeline: &Pipeline) {
        if !self.retires {
            return;
        }
        let snapshot = pipeline.progress().snapshot();
        for (partition, &before) in (0_u16..).zip(&snapshot.retirable) {
            let start = self.log.retire(partition, before).expect("the disk works");
            assert!(start <= before);
            self.tally.retired = self.tally.retired.max(start);
        }
    }

    fn run(mut self) -> Tally {
        let mut pipeline = None;
        while self.fed < self.history.len() || self.random.percent(60) {
            if self.random.percent(50) {
                self.set_trap();
            }
            if self.fed < self.history.len() {
                self.feed();
            }
            let mut open = match pipeline.take().map_or_else(|| self.open(), Ok) {
                Ok(open) => open,
                Err(error) => {
                    self.expect_disk_fault(&error);
                    self.die(None, true);
                    continue;
                }
            };
            match self.work(&mut open) {
                Ok(()) if self.random.percent(70) => pipeline = Some(open),
                Ok(()) => self.die(Some(open), false),
                Err(error) => {
                    self.expect_disk_fault(&error);
                    self.die(Some(open), true);
                }
            }
        }
        self.finish(pipeline)
    }

    /// Only what the disk did may stop it.
    fn expect_disk_fault(&self, error: &Error) {
        let is_fault =
            matches!(error, Error::Disk { .. } | Error::Subscriber { .. } | Error::Halted(_));
        assert!(is_fault, "{error}");
    }

    fn finish(mut self, pipeline: Option<Pipeline>) -> Tally {
        self.die(pipeline, false);
        let end = self.history.iter().map(|bytes| decode(bytes).received).max();
        let end = end.expect("there is a history").plus(Timestamp::HOUR);
        self.broadcast(&Control::Settle, end);
        while self.fed < self.history.len() {
            self.feed_records();
        }
        self.disk.crash(7);
        let mut pipeline = self.open().expect("nothing fails any more");
        while pipeline.step().expect("nothing fails any more") != Stepped::Idle {}
        pipeline.checkpoint().expect("nothing fails any more");
        self.compare(&pipeline);
        drop(pipeline);
        let report = verify(&self.disk, Path::new(DIR)).expect("the disk works");
        assert_eq!(report.damage, Vec::<String>::new());
        assert!(report.checkpoints > 0);
        self.tally
    }

    fn compare(&mut self, pipeline: &Pipeline) {
        let mut judge = Recount::default();
        let mut expect: Vec<Option<Verdict>> =
            self.history.iter().map(|bytes| judge.take(&decode(bytes), &POLICY)).collect();
        for (number, verdict) in judge.settle(pipeline.progress().snapshot().watermark) {
            expect[number as usize] = Some(verdict);
        }
        let book = lock(&self.book);
        assert_eq!(book.verdicts.len(), self.history.len());
        for (position, verdict) in &book.verdicts {
            assert_eq!(*verdict, expect[self.places[position]], "{position:?}");
            self.tally.verdicts += 1;
        }
        assert_eq!(book.lines, judge.lines);
        let snapshot = pipeline.progress().snapshot();
        assert_eq!(pipeline.totals(), judge.totals);
        assert_eq!(snapshot.totals, judge.totals);
        assert_eq!(snapshot.lag(), 0);
        if !self.retires {
            let mut again = recount(&*self.log, None, &POLICY).expect("the log is whole");
            again.settle(snapshot.watermark);
            assert_eq!(again.totals, judge.totals);
            assert_eq!(again.lines, judge.lines);
        }
        self.tally.again += book.again;
        self.tally.revisions += book.revisions;
        self.tally.ids_on_disk += snapshot.opaque.on_disk;
        self.tally.occurred.merge(&judge.totals);
    }
}

fn decode(bytes: &[u8]) -> Record<'_> {
    Record::decode(bytes).expect("encoded here").0
}

fn open_log(disk: &SimDisk, partitions: u16, incarnation: u32) -> Arc<dyn EventLog> {
    let options = reckon_eventlog::Options {
        lanes: partitions,
        segment_bytes: 16 * 1_024,
        preallocate_bytes: 0,
        commit_delay_max: Duration::ZERO,
        ..reckon_eventlog::Options::default()
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = DiskLog::open(disk, Path::new("/log"), options, incarnation);
    Arc::new(opened.expect("the log's disk is sound").0)
}

fn check(partitions: u16, seeds: std::ops::Range<u64>) {
    let mut all = Tally::default();
    for seed in seeds {
        let tally = World::new(seed, partitions).run();
        all.verdicts += tally.verdicts;
        all.power_cuts += tally.power_cuts;
        all.failed += tally.failed;
        all.kills += tally.kills;
        all.checkpoints += tally.checkpoints;
        all.again += tally.again;
        all.replayed += tally.replayed;
        all.ids_on_disk += tally.ids_on_disk;
        all.retired += tally.retired;
        all.revisions += tally.revisions;
        all.occurred.merge(&tally.occurred);
    }
    println!("{partitions} partitions: {all:?}");
    assert!(all.verdicts > 0 && all.power_cuts > 0 && all.failed > 0 && all.kills > 0);
    assert!(all.checkpoints > 0 && all.again > 0 && all.replayed > 0 && all.ids_on_disk > 0);
    assert!(all.revisions > 0);
    let reasons = [Reason::DoubleClick, Reason::RapidUser, Reason::RapidIp, Reason::RapidIpAgent];
    let others = [Verdict::Counted, Verdict::Duplicate, Verdict::Conflict, Verdict::Expired];
    for verdict in reasons.map(Verdict::Invalid).into_iter().chain(others) {
        let count: u64 =
            all.occurred.iter().filter(|&(_, v, _)| v == verdict).map(|(.., count)| count).sum();
        assert!(count > 0, "{verdict} never occurred");
    }
}

#[test]
fn in_one_partition() {
    check(1, 0..30);
}

#[test]
fn in_seven_partitions() {
    check(7, 100..112);
}

#[test]
fn in_sixty_four_partitions() {
    check(64, 200..208);
}
