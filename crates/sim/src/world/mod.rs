//! One history: records come, the counter steps, things fail, processes end and begin again.

mod feeding;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reckon_count::{Policy, Totals};
use reckon_disk::Disk;
use reckon_event::{Kind, Subscriber, Timestamp};
use reckon_eventlog::EventLog;
use reckon_lake::{LakeHandle, LakeOptions, LakePlace, LakeSubscriber};
use reckon_pipeline::{Options, Pipeline, Stepped};
use reckon_rollup::files::Merging;
use reckon_rollup::{Files, RollupStore, RollupSubscriber};

use crate::decisions::{Decisions, settle};
use crate::feeds::{LakeFeed, Mutation, Tampered, Witness, lock};
use crate::machine::{Ending, Machine};
use crate::random::Random;
use crate::story::Story;
use crate::traffic::Traffic;
use crate::truth::Truth;
use crate::{Happening, Tally, judge};

pub(crate) const COUNTER_DIR: &str = "/counter";
pub(crate) const ROLLUP_DIR: &str = "/rollup";
const LAKE: &str = "lake";

/// Horizons that a short history passes.
const SHORT: Policy = Policy {
    minted_horizon: 3 * Timestamp::HOUR,
    opaque_horizon: 5 * Timestamp::HOUR,
    unsigned_window: 10 * Timestamp::SECOND,
    appender_horizon: 4 * Timestamp::HOUR,
    rules_horizon: 1_000 * Timestamp::DAY,
};

/// The counter and whom it feeds, as long as their process lives.
pub(crate) struct Running {
    pub pipeline: Pipeline,
    pub rollup: Arc<Files>,
    pub lake: LakeHandle,
}

/// One history with everything it needs to go on after a crash.
pub(crate) struct World<'a> {
    random: Random,
    pub machine: Machine,
    traffic: Traffic,
    decisions: Decisions,
    /// How many records are still to come.
    left: u64,
    generation: u32,
    policy: Policy,
    retires: bool,
    running: Option<Running>,
    pub truth: Arc<Mutex<Truth>>,
    pub tally: Arc<Mutex<Tally>>,
    mutation: Option<Mutation>,
    target: Arc<Mutex<Option<u64>>>,
    story: Story<'a>,
}

impl<'a> World<'a> {
    pub fn new(seed: u64, mutation: Option<Mutation>, story: Story<'a>) -> Self {
        let mut random = Random::new(seed);
        let partitions = random.pick(&[1, 1, 1, 1, 1, 7, 7, 7, 7, 64]);
        let policy = if random.percent(70) { SHORT } else { Policy::default() };
        let policy = Policy { rules_horizon: SHORT.rules_horizon, ..policy };
        let segment_bytes = random.pick(&[2_048, 8_192, 65_536]);
        World {
            machine: Machine::new(random.next(), partitions, segment_bytes),
            traffic: Traffic::new(random.next()),
            decisions: Decisions::default(),
            left: 120 + random.below(200),
            generation: 0,
            retires: random.percent(50),
            running: None,
            truth: Arc::new(Mutex::new(Truth::new(policy, partitions))),
            policy,
            tally: Arc::default(),
            mutation,
            target: Arc::default(),
            story,
            random,
        }
    }

    /// To the end, or to the first thing that is not as it should be.
    pub fn run(mut self) -> Result<Tally, String> {
        let World { machine, left, retires, .. } = &self;
        let partitions = machine.partitions;
        let opening = format!("{partitions} partitions, {left} records, retires: {retires}");
        self.story.tell(|| opening);
        while self.left > 0 || self.random.percent(50) {
            self.round()?;
        }
        self.finish()?;
        let mut tally = lock(&self.tally).clone();
        tally.histories = 1;
        tally.tampered = u64::from(lock(&self.target).is_some());
        match tally.compared.nothing() {
            Some(what) => Err(format!("no {what} were compared")),
            None => Ok(tally),
        }
    }

    fn note(&mut self, what: Happening) {
        lock(&self.tally).note(what);
        self.story.tell(|| what.name().to_owned());
    }

    fn round(&mut self) -> Result<(), String> {
        if self.random.percent(50) {
            let armed = self.machine.arm_counter(&mut self.random);
            self.story.tell(|| format!("armed: {armed:?}"));
        }
        if self.left > 0 {
            self.feed()?;
        }
        let mut running = match self.running.take().map_or_else(|| self.open(), Ok) {
            Ok(running) => running,
            Err(error) => return self.fail(&error, None),
        };
        match self.work(&mut running) {
            Ok(()) if self.random.percent(65) => self.running = Some(running),
            Ok(()) => self.end_somehow(Some(running)),
            Err(Stumble::Failed(error)) => return self.fail(&error, Some(running)),
            Err(Stumble::Breach(what)) => return Err(what),
        }
        for what in self.machine.take_struck(false) {
            self.note(what);
        }
        Ok(())
    }

    /// Something has failed: only what was armed may be behind it.
    fn fail(&mut self, error: &str, running: Option<Running>) -> Result<(), String> {
        self.check_truth()?;
        let mut struck = self.machine.take_struck(true);
        struck.extend(self.machine.log_disk.take_struck(true));
        // A fault that has struck before may only now be noticed.
        if struck.is_empty() && !self.machine.store.is_gone() && self.machine.has_power() {
            return Err(format!("it failed though nothing was to fail: {error}"));
        }
        self.story.tell(|| format!("failed: {error}"));
        for what in struck {
            self.note(what);
        }
        self.end_somehow(running);
        Ok(())
    }

    fn check_truth(&self) -> Result<(), String> {
        lock(&self.truth).breach.take().map_or(Ok(()), Err)
    }

    /// The process ends, one way or another.
    fn end_somehow(&mut self, running: Option<Running>) {
        let ending = match self.random.below(4) {
            _ if !self.machine.has_power() => Ending::PowerCut,
            0 => Ending::PowerCut,
            1 => Ending::Kill,
            // Lanes close side by side: which of them a fault would strike is nobody's choice.
            2 if !self.machine.log_disk.is_armed() => Ending::Stop,
            _ => Ending::CounterOnly,
        };
        self.end(ending, running);
    }

    fn end(&mut self, ending: Ending, running: Option<Running>) {
        match ending {
            Ending::PowerCut => self.note(Happening::PowerCut),
            Ending::Kill => self.note(Happening::Killed),
            Ending::Stop => self.note(Happening::Stopped),
            Ending::CounterOnly => self.story.tell(|| "the counter alone ends".to_owned()),
        }
        let counter = (running, self.running.take());
        self.machine.end(ending, counter, &mut self.random);
    }

    /// A new process: everything is opened as the disks have it.
    fn open(&mut self) -> Result<Running, String> {
        let log = self.log()?;
        self.generation += 1;
        lock(&self.tally).starts += 1;
        let generation = self.generation;
        self.story.tell(|| format!("start: generation {generation}"));
        let disk: Arc<dyn Disk> = Arc::new(self.machine.disk.disk.clone());
        let options = self.rollup_options();
        let rollup = Files::open(Arc::clone(&disk), Path::new(ROLLUP_DIR), options);
        let rollup = Arc::new(rollup.map_err(|error| error.to_string())?);
        let lake = self.open_lake()?;
        let handle = lake.handle.clone();
        let store: Arc<dyn RollupStore> = Arc::clone(&rollup) as _;
        let witness = Witness { truth: Arc::clone(&self.truth), tally: Arc::clone(&self.tally) };
        let subscribers: Vec<Box<dyn Subscriber>> = vec![
            self.tampered(Box::new(RollupSubscriber::new(store))),
            self.tampered(Box::new(lake)),
            Box::new(witness),
        ];
        let options = self.options();
        let dir = Path::new(COUNTER_DIR);
        let pipeline = Pipeline::open(log, disk, dir, options, generation, subscribers);
        let pipeline = pipeline.map_err(|error| error.to_string())?;
        Ok(Running { pipeline, rollup, lake: handle })
    }

    fn open_lake(&mut self) -> Result<LakeFeed, String> {
        let is_eager = self.random.percent(40);
        let options = LakeOptions {
            buffer_bytes_max: if is_eager { 3_000 } else { 64 << 20 },
            states_kept: self.random.pick(&[1, 8]),
            ..LakeOptions::new(u64::from(self.generation))
        };
        let lake = LakeSubscriber::open(self.lake_place(), options);
        Ok(LakeFeed::new(lake.map_err(|error| error.to_string())?, is_eager))
    }

    pub fn lake_place(&self) -> LakePlace {
        LakePlace::store(Arc::clone(&self.machine.store) as _, LAKE)
    }

    fn tampered(&self, inner: Box<dyn Subscriber>) -> Box<dyn Subscriber> {
        match self.mutation {
            Some(mutation) if mutation.whom() == inner.name() => {
                Box::new(Tampered { inner, mutation, target: Arc::clone(&self.target) })
            }
            _ => inner,
        }
    }

    /// Small enough that files are made, merged and let go of.
    fn rollup_options(&mut self) -> reckon_rollup::Options {
        reckon_rollup::Options {
            hot_rows_max: self.random.pick(&[40, 1_000_000]),
            segment_rows: self.random.pick(&[8, 1 << 14]),
            fan_in: self.random.pick(&[2, 4]),
            // On a thread merging would meet a fault now in this epoch, now in that one.
            merging: Merging::Inline,
            ..reckon_rollup::Options::new(1 << 20)
        }
    }

    /// Of any size: it must not matter.
    fn options(&mut self) -> Options {
        Options {
            policy: self.policy,
            epoch_records_max: self.random.pick(&[3, 20, 100, 10_000])
                * usize::from(self.machine.partitions),
            retry_pause: Duration::ZERO,
            attempts_max: 3,
            ..Options::default()
        }
    }

    /// Some steps, some checkpoints.
    fn work(&mut self, running: &mut Running) -> Result<(), Stumble> {
        for _ in 0..1 + self.random.below(6) {
            self.step(running)?;
            if self.random.percent(25) {
                self.checkpoint(running)?;
                self.retire(running)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, running: &mut Running) -> Result<Stepped, Stumble> {
        let stepped = running.pipeline.step()?;
        if let Stepped::Applied { number, records, .. } = stepped {
            self.story.tell(|| format!("epoch {number}: {records} records"));
        }
        self.check_truth().and_then(|()| self.check_sums(running)).map_err(Stumble::Breach)?;
        Ok(stepped)
    }

    fn checkpoint(&mut self, running: &mut Running) -> Result<(), Stumble> {
        running.pipeline.checkpoint()?;
        let epoch = running.pipeline.progress().snapshot().epoch;
        self.story.tell(|| format!("checkpoint at epoch {epoch}"));
        lock(&self.tally).note(Happening::Checkpoint);
        Ok(())
    }

    /// Verdicts in force sum to the records that were read, here and in the rollup.
    fn check_sums(&mut self, running: &Running) -> Result<(), String> {
        let totals = running.pipeline.totals();
        let snapshot = running.pipeline.progress().snapshot();
        let read: u64 = snapshot.position.iter().sum();
        if totals.seen() != read || totals != snapshot.totals {
            let found = words_of(&totals);
            return Err(format!("{read} records were read, verdicts are {found}"));
        }
        lock(&self.tally).compared.sums += 1;
        if running.rollup.marks().applied.unwrap_or(0) != snapshot.epoch {
            // It is ahead of a checkpoint that the counter goes on from.
            return Ok(());
        }
        let found = sums_of(&running.rollup)?;
        let mut expected = Totals::default();
        for (kind, verdict, count) in totals.iter().filter(|(kind, ..)| *kind != Kind::Adjustment) {
            expected.add(kind, verdict, count);
        }
        if found != expected {
            let (found, expected) = (words_of(&found), words_of(&expected));
            return Err(format!("the rollup sums to {found}, the counter to {expected}"));
        }
        Ok(())
    }

    /// Lets go of what the pipeline says it will never read again, and the lake must have.
    fn retire(&mut self, running: &Running) -> Result<(), Stumble> {
        if !self.retires {
            return Ok(());
        }
        let log = self.machine.log().map_err(|error| Stumble::Breach(error.to_string()))?;
        let covered = running.lake.covered();
        for (partition, &before) in (0_u16..).zip(&running.pipeline.progress().snapshot().retirable)
        {
            let kept = covered.positions.iter().find(|at| at.partition == partition);
            if kept.map_or(0, |at| at.to) < before {
                let what = format!("{partition} may go below {before}, the lake has {kept:?}");
                return Err(Stumble::Breach(what));
            }
            let start = log.range(partition).start;
            let now = log.retire(partition, before);
            let now = now.map_err(|error| Stumble::Failed(error.to_string()))?;
            if now > before {
                return Err(Stumble::Breach(format!("{now} was retired, {before} was asked for")));
            }
            if now > start {
                self.note(Happening::Retired);
            }
        }
        Ok(())
    }

    /// Everything is fed, judged, stopped, opened once more, and held against the truth.
    fn finish(&mut self) -> Result<(), String> {
        self.end(Ending::PowerCut, None);
        let last = lock(&self.truth).told.iter().map(|told| told.record().received).max();
        let end = last.unwrap_or(self.traffic.now).plus(Timestamp::HOUR);
        self.decide(settle(end, self.machine.partitions))?;
        let mut running = self.open()?;
        while self.step(&mut running).map_err(Stumble::into_words)? != Stepped::Idle {}
        self.checkpoint(&mut running).map_err(Stumble::into_words)?;
        self.end(Ending::PowerCut, Some(running));
        let mut running = self.open()?;
        if self.step(&mut running).map_err(Stumble::into_words)? != Stepped::Idle {
            return Err("after a checkpoint there was something left to do".to_owned());
        }
        judge::compare(self, &running)?;
        self.end(Ending::Stop, Some(running));
        judge::verify(self)
    }
}

/// Why work has stopped.
enum Stumble {
    /// Something failed.
    Failed(String),
    /// Something is not as it should be.
    Breach(String),
}

impl From<reckon_pipeline::Error> for Stumble {
    fn from(error: reckon_pipeline::Error) -> Self {
        use reckon_pipeline::Error;
        match error {
            Error::Disk { .. } | Error::Subscriber { .. } | Error::Log(_) | Error::Halted(_) => {
                Stumble::Failed(error.to_string())
            }
            other => Stumble::Breach(other.to_string()),
        }
    }
}

impl Stumble {
    fn into_words(self) -> String {
        match self {
            Stumble::Failed(words) | Stumble::Breach(words) => words,
        }
    }
}

/// What is not zero.
pub(crate) fn words_of(totals: &Totals) -> String {
    let words =
        totals.iter().map(|(kind, verdict, count)| format!("{count} {} {verdict}", kind.name()));
    words.collect::<Vec<_>>().join(", ")
}

fn sums_of(rollup: &Files) -> Result<Totals, String> {
    let mut sums = Totals::default();
    for total in rollup.totals().map_err(|error| error.to_string())? {
        let count = u64::try_from(total.count).map_err(|_| format!("{total:?} is negative"))?;
        sums.add(total.kind, total.verdict, count);
    }
    Ok(sums)
}
