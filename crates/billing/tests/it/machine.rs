//! The house from log to rollup on disks that fail: it is fed a history in any batches, some of it sent
//! again, and dies anywhere.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reckon_disk::{Disk, SimDisk};
use reckon_event::Slot;
use reckon_eventlog::{DiskLog, EventLog, Outcome};
use reckon_pipeline::{Error, Options, Pipeline, Snapshot, Stepped};
use reckon_rollup::files::Merging;
use reckon_rollup::{Files, RollupSubscriber};

use crate::history::{History, Item, POLICY, decode};
use crate::traffic::Random;

/// What has happened to a machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Storm {
    /// Batches that were appended.
    pub batches: u64,
    /// Epochs that were applied, again after a restart or not.
    pub epochs: u64,
    pub checkpoints: u64,
    /// Prefixes that were sent again, and how many items stood in them.
    pub prefixes: u64,
    pub sent_again: u64,
    /// Batches of which nobody could say whether the log had them: they were sent again.
    pub unanswered: u64,
    /// Records that counting dropped because the same append had come before.
    pub redelivered: u64,
    pub power_cuts: u64,
    pub kills: u64,
    /// Ends by a failed sync or write.
    pub faults: u64,
    /// Records that the log has let go of.
    pub retired: u64,
}

impl Storm {
    pub const fn add(&mut self, other: &Storm) {
        self.batches += other.batches;
        self.epochs += other.epochs;
        self.checkpoints += other.checkpoints;
        self.prefixes += other.prefixes;
        self.sent_again += other.sent_again;
        self.unanswered += other.unanswered;
        self.redelivered += other.redelivered;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.faults += other.faults;
        self.retired += other.retired;
    }
}

/// A process that counts.
struct Counter {
    pipeline: Pipeline,
    rollup: Arc<Files>,
}

pub struct Machine<'a> {
    history: &'a History,
    pub random: Random,
    /// By partition, its first slot.
    slots: Vec<Slot>,
    /// The counter's and the rollup's.
    disk: SimDisk,
    log_disk: SimDisk,
    log: Option<Arc<DiskLog>>,
    counter: Option<Counter>,
    incarnation: u32,
    generation: u32,
    batch_max: u64,
    retires: bool,
    fed: usize,
    pub storm: Storm,
}

impl<'a> Machine<'a> {
    pub fn new(history: &'a History, seed: u64, partitions: u16) -> Self {
        let mut random = Random::new(seed);
        let slots: Vec<Slot> = (0..partitions)
            .filter_map(|partition| Slot::new(Slot::range(partition, partitions).start))
            .collect();
        assert_eq!(slots.len(), usize::from(partitions), "every partition has slots");
        let mut machine = Machine {
            history,
            slots,
            disk: SimDisk::new(random.next()),
            log_disk: SimDisk::new(random.next()),
            log: None,
            counter: None,
            incarnation: 0,
            generation: 0,
            batch_max: random.pick(&[20, 150, 900]),
            retires: random.percent(50),
            fed: 0,
            storm: Storm::default(),
            random,
        };
        machine.open_log();
        machine
    }

    /// Goes on to a place of the history, through whatever happens, and counts all before it.
    pub fn run_to(&mut self, at: usize) {
        while self.fed < at {
            self.set_traps();
            self.feed(at);
            if self.random.percent(15) {
                self.send_a_prefix_again();
            }
            if let Err(error) = self.work() {
                self.fail(&error);
            } else if self.random.percent(30) {
                self.die();
            }
        }
        self.count_all();
    }

    /// The process dies and another takes up its work.
    pub fn restart(&mut self) {
        self.die();
        self.count_all();
    }

    /// What counting says of itself, and the rollup.
    pub fn counted(&self) -> (Arc<Snapshot>, Arc<Files>) {
        let counter = self.counter.as_ref().expect("it counts");
        (counter.pipeline.progress().snapshot(), Arc::clone(&counter.rollup))
    }

    /// Every record in the log has been read and was counted, skipped, or dropped as another copy of
    /// an append.
    pub fn check(&mut self) {
        let log = self.log.as_ref().expect("is open");
        let records: u64 = (0..log.partitions()).map(|one| log.range(one).end).sum();
        let (snapshot, _) = self.counted();
        assert_eq!(snapshot.totals.seen(), records);
        self.storm.redelivered = snapshot.totals.redelivered;
    }

    /// For one of the next syncs or writes, of the counter or of the log.
    fn set_traps(&mut self) {
        let nth = 1 + self.random.below(12);
        match self.random.below(14) {
            0..=2 => self.disk.cut_power_at_sync(nth),
            3 => self.disk.fail_sync(nth),
            4 => self.disk.fail_write(nth),
            5 => self.log_disk.cut_power_at_sync(nth.min(4)),
            _ => {}
        }
    }

    /// Appends the next batch, as often as it takes.
    fn feed(&mut self, to: usize) {
        let count = 1 + self.random.below(self.batch_max) as usize;
        let batch = self.fed..to.min(self.fed + count);
        while !self.append(batch.clone()) {
            self.storm.unanswered += 1;
            self.storm.sent_again += batch.len() as u64;
            self.cut_power();
        }
        self.storm.batches += 1;
        self.fed = batch.end;
    }

    /// A sender that does not know how far it came begins anew, with the same record ids: at the start,
    /// or a while ago.
    fn send_a_prefix_again(&mut self) {
        let reach = self.random.pick(&[50, 400, usize::MAX]).min(self.fed);
        let count = 1 + self.random.below(500.min(reach) as u64) as usize;
        let from = self.fed - reach;
        if self.append(from..from + count) {
            self.storm.prefixes += 1;
            self.storm.sent_again += count as u64;
        } else {
            self.cut_power();
        }
    }

    /// Appends items, all those of a partition at once; true where all of them are durable.
    fn append(&self, items: Range<usize>) -> bool {
        let mut appends: BTreeMap<u16, (Vec<u8>, u32)> = BTreeMap::new();
        let mut add = |slot: Slot, bytes: &[u8]| {
            let (records, count) =
                appends.entry(slot.range_of(self.slots.len() as u16)).or_default();
            records.extend_from_slice(bytes);
            *count += 1;
        };
        for item in &self.history.items[items] {
            match item {
                Item::Record(bytes) => add(decode(bytes).slot, bytes),
                Item::Control { .. } => {
                    self.slots.iter().for_each(|&slot| add(slot, &item.bytes(slot)));
                }
            }
        }
        let log = self.log.as_ref().expect("is open");
        let receipts: Vec<_> = appends
            .iter()
            .map(|(&partition, (records, count))| log.append(partition, records, *count))
            .collect();
        let outcomes: Vec<Outcome> = receipts.into_iter().map(|receipt| receipt.wait()).collect();
        outcomes.iter().all(|outcome| matches!(outcome, Outcome::Durable(_)))
    }

    /// Some steps, some checkpoints.
    fn work(&mut self) -> Result<(), Error> {
        for _ in 0..1 + self.random.below(6) {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Stepped, Error> {
        if self.counter.is_none() {
            self.counter = Some(self.open()?);
        }
        let counter = self.counter.as_mut().expect("was opened");
        let stepped = counter.pipeline.step()?;
        self.storm.epochs += u64::from(stepped != Stepped::Idle);
        if self.random.percent(20) {
            counter.pipeline.checkpoint()?;
            self.storm.checkpoints += 1;
            self.retire();
        }
        Ok(stepped)
    }

    /// Lets go of what the pipeline says it will never read again.
    fn retire(&mut self) {
        if !self.retires {
            return;
        }
        let (snapshot, _) = self.counted();
        let log = self.log.as_ref().expect("is open");
        for (partition, &before) in (0_u16..).zip(&snapshot.retirable) {
            let start = log.range(partition).start;
            let now = log.retire(partition, before).unwrap_or(start);
            assert!(now <= before.max(start), "it was asked to keep what is from {before} on");
            self.storm.retired += now - start;
        }
    }

    fn count_all(&mut self) {
        loop {
            match self.step() {
                Ok(Stepped::Idle) => return,
                Ok(_) => {}
                Err(error) => self.fail(&error),
            }
        }
    }

    fn open(&mut self) -> Result<Counter, Error> {
        self.generation += 1;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let rollup = Files::open(Arc::clone(&disk), Path::new("/rollup"), self.rollup_options())
            .map_err(|error| Error::Halted(error.to_string()))?;
        let rollup = Arc::new(rollup);
        let options = Options {
            policy: POLICY,
            epoch_records_max: self.random.pick(&[4, 30, 200, 10_000]) * self.slots.len(),
            retry_pause: Duration::ZERO,
            attempts_max: 2,
            ..Options::default()
        };
        let log: Arc<dyn EventLog> = Arc::clone(self.log.as_ref().expect("is open")) as _;
        let pipeline = Pipeline::open(
            log,
            disk,
            Path::new("/counter"),
            options,
            self.generation,
            vec![Box::new(RollupSubscriber::new(Arc::clone(&rollup) as _))],
        )?;
        Ok(Counter { pipeline, rollup })
    }

    /// Small enough that files are made and merged; in turn, so that what fails does not depend on
    /// threads.
    fn rollup_options(&mut self) -> reckon_rollup::Options {
        reckon_rollup::Options {
            hot_rows_max: self.random.pick(&[400, 1_000_000]),
            segment_rows: self.random.pick(&[64, 1 << 14]),
            fan_in: self.random.pick(&[2, 4, 8]),
            merging: Merging::Inline,
            ..reckon_rollup::Options::new(1 << 20)
        }
    }

    /// Only what the disk did may stop it.
    fn fail(&mut self, error: &Error) {
        let is_fault =
            matches!(error, Error::Disk { .. } | Error::Subscriber { .. } | Error::Halted(_));
        assert!(is_fault || !self.log_disk.has_power(), "{error}");
        self.storm.faults += 1;
        self.die();
    }

    /// The machine dies, or only the process, or the counter in it.
    fn die(&mut self) {
        if !self.has_power() || self.random.percent(40) {
            self.cut_power();
            return;
        }
        self.storm.kills += 1;
        self.counter = None;
        if self.random.percent(50) {
            self.log = None;
            self.open_log();
        }
    }

    fn has_power(&self) -> bool {
        self.disk.has_power() && self.log_disk.has_power()
    }

    fn cut_power(&mut self) {
        self.storm.power_cuts += 1;
        (self.counter, self.log) = (None, None);
        self.disk.crash(self.random.next());
        self.log_disk.crash(self.random.next());
        self.open_log();
    }

    fn open_log(&mut self) {
        self.incarnation += 1;
        let options = reckon_eventlog::Options {
            lanes: self.slots.len() as u16,
            segment_bytes: 16 * 1_024,
            preallocate_bytes: 0,
            commit_delay_max: Duration::ZERO,
            // No sync comes by a clock.
            seal_delay: Duration::from_secs(3_600),
            ..reckon_eventlog::Options::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(self.log_disk.clone());
        match DiskLog::open(disk, Path::new("/log"), options, self.incarnation) {
            Ok((log, _)) => self.log = Some(Arc::new(log)),
            // It was to be cut at a sync of closing, or of opening.
            Err(error) => {
                assert!(!self.log_disk.has_power(), "{error}");
                self.cut_power();
            }
        }
    }
}
