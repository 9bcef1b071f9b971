//! One counter: it makes epochs, folds them, hands them on and writes checkpoints.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_count::{Asked, Folded, State, Totals, fold_into, opaque_key};
use reckon_disk::{Disk, Lock};
use reckon_event::{
    Bound, Counted, Epoch, Position, Record, Revision, Subscriber, SubscriberError,
};
use reckon_eventlog::EventLog;

use crate::checkpoint::{Checkpoints, Head};
use crate::epoch::{Decoded, Input};
use crate::journal::{self, Journal, Logged};
use crate::judgement::Judgement;
use crate::progress::{Snapshot, Status};
use crate::{Error, OpaqueIds, Options, Progress};

/// The stage of epochs that follow from the records by themselves.
const STAGE: u8 = 1;
/// Records decoded and folded at a time.
const PART_RECORDS: usize = 1_000;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// Nothing new was in the log.
    Idle,
    /// An epoch was made and every subscriber has it.
    Applied {
        /// Its number.
        number: u64,
        /// How many records it read.
        records: u64,
        /// The log has more already.
        has_more: bool,
    },
}

/// A counter and everyone it feeds.
pub struct Pipeline {
    pub(crate) log: Arc<dyn EventLog>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub(crate) options: Options,
    generation: u32,
    subscribers: Vec<Box<dyn Subscriber>>,
    state: State,
    ids: OpaqueIds,
    judgement: Judgement,
    journal: Journal,
    checkpoints: Checkpoints,
    pub(crate) position: Vec<u64>,
    /// The last epoch that was applied.
    number: u64,
    /// Epochs that were logged before a restart and are to be applied again.
    pending: VecDeque<Logged>,
    since: SinceCheckpoint,
    progress: Arc<Progress>,
    halted: Option<String>,
    _lock: Lock,
}

/// What the next checkpoint will cover.
#[derive(Default)]
struct SinceCheckpoint {
    epochs: u64,
    records: u64,
}

impl Pipeline {
    /// Takes up counting where the newest checkpoint left it. `generation` is the counter's lease:
    /// higher than that of any counter that wrote to `dir` or fed these subscribers before.
    pub fn open(
        log: Arc<dyn EventLog>,
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        generation: u32,
        subscribers: Vec<Box<dyn Subscriber>>,
    ) -> Result<Self, Error> {
        let lock = prepare(&*disk, dir)?;
        let (checkpoints, restored, damage) = Checkpoints::open(Arc::clone(&disk), dir)?;
        let (head, state) = match restored {
            Some(restored) => (restored.head, restored.state),
            None => (start_of(&*log, options.group), State::new()),
        };
        check_partitions(&*log, &head)?;
        let ids = OpaqueIds::open(Arc::clone(&disk), dir, &head.runs)?;
        ids.remove_unnamed(checkpoints.kept().map(|head| head.runs.as_slice()))?;
        let partitions = head.position.len();
        let judgement = Judgement::open(Arc::clone(&disk), dir, partitions, &head.judgement)?;
        judgement.remove_unnamed(checkpoints.kept().map(|head| head.judgement.as_slice()))?;
        let found = journal::find(&*disk, dir)?;
        let pending = pending_after(&head, found.epochs, generation, dir)?;
        let last_logged = pending.last().map_or(head.number, |last| last.epoch.number);
        check_subscribers(&subscribers, head.number, last_logged)?;
        let journal = Journal::start(Arc::clone(&disk), dir, found.files, &pending)?;
        let pipeline = Pipeline {
            log,
            disk,
            dir: dir.to_owned(),
            options,
            generation,
            subscribers,
            state,
            ids,
            judgement,
            journal,
            checkpoints,
            position: head.position,
            number: head.number,
            pending: pending.into(),
            since: SinceCheckpoint::default(),
            progress: Arc::default(),
            halted: None,
            _lock: lock,
        };
        pipeline.tell_opened(damage);
        Ok(pipeline)
    }

    /// How far it is; shared, and kept up to date.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Makes one epoch of what is in the log, or makes a logged one again, and gives it to everyone.
    /// After an error it stays halted: open it anew.
    pub fn step(&mut self) -> Result<Stepped, Error> {
        self.guarded(Self::try_step)
    }

    /// Lets everyone persist, then writes the fold's memory at the same epoch.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        self.guarded(Self::try_checkpoint)
    }

    /// True where enough has come together for a checkpoint.
    pub fn is_checkpoint_due(&self) -> bool {
        self.since.epochs >= self.options.checkpoint_epochs
            || self.since.records >= self.options.checkpoint_records
            || self.ids.in_memory() >= self.options.opaque_memory_max
            || self.judgement.in_memory() >= self.options.survivors_memory_max
    }

    /// True where epochs were applied since the last checkpoint.
    pub const fn is_dirty(&self) -> bool {
        self.since.epochs > 0
    }

    fn guarded<T>(&mut self, work: fn(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if let Some(reason) = &self.halted {
            return Err(Error::Halted(reason.clone()));
        }
        let result = work(self);
        if let Err(error) = &result {
            self.halt(error.to_string());
        }
        result
    }

    pub(crate) fn halt(&mut self, reason: String) {
        self.halted = Some(reason.clone());
        self.progress.update(|now| {
            now.last_error = Some(reason.clone());
            now.status = Status::Failed(reason);
        });
    }

    fn try_step(&mut self) -> Result<Stepped, Error> {
        let (logged, input) = match self.pending.front() {
            Some(again) => {
                let Epoch { number, bounds, .. } = &again.epoch;
                let input = Input::read_again(&*self.log, *number, bounds)?;
                (self.pending.pop_front().expect("there is a front"), input)
            }
            None => {
                let input = Input::gather(&*self.log, &self.position, &self.options)?;
                if input.bounds.is_empty() {
                    return Ok(Stepped::Idle);
                }
                (self.log_epoch(&input.bounds)?, input)
            }
        };
        let records = self.apply(&logged, &input)?;
        let has_more = self.advance(&logged.epoch, records);
        Ok(Stepped::Applied { number: self.number, records, has_more })
    }

    /// From here on the epoch is this and no other.
    fn log_epoch(&mut self, bounds: &[Bound]) -> Result<Logged, Error> {
        let epoch = Epoch {
            stage: STAGE,
            group: self.options.group,
            generation: self.generation,
            number: self.number + 1,
            bounds: bounds.to_vec(),
        };
        let logged = Logged { epoch, policy: self.options.policy };
        self.journal.append(std::slice::from_ref(&logged))?;
        Ok(logged)
    }

    /// Folds an epoch and gives it to everyone; gives how many records it read.
    fn apply(&mut self, logged: &Logged, input: &Input) -> Result<u64, Error> {
        let mut decoded = Decoded::default();
        let mut folded = self.fold(logged, input, &mut decoded)?;
        let revisions = self.judgement.judge(logged.policy.rules_horizon)?;
        for revision in &revisions {
            revision.add_to(&mut folded.deltas);
            self.state.revise(revision);
        }
        let counted = Counted {
            records: &decoded.records,
            verdicts: &folded.verdicts,
            revisions: &revisions,
            watermark: self.judgement.watermark(),
            deltas: &folded.deltas,
        };
        for subscriber in &mut self.subscribers {
            let name = subscriber.name();
            let number = logged.epoch.number;
            attempt(&self.options, &self.progress, name, number, &mut || {
                subscriber.apply(&logged.epoch, &counted).map(drop)
            })?;
        }
        let mut totals = folded.totals;
        totals.unknown += decoded.unknown.len() as u64;
        let records = totals.seen();
        self.progress.update(|now| {
            now.totals.merge(&totals);
            now.revisions += revisions.len() as u64;
            for Revision { cell, verdict, .. } in &revisions {
                now.totals.revise(cell.kind, cell.verdict, *verdict);
            }
        });
        Ok(records)
    }

    /// Decodes and folds an epoch part by part: a part stays in the cache until it is done.
    fn fold<'a>(
        &mut self,
        logged: &Logged,
        input: &'a Input,
        decoded: &mut Decoded<'a>,
    ) -> Result<Folded, Error> {
        let partitions = self.log.partitions();
        let mut folded = Folded::default();
        let mut entries = input.entries();
        decoded.records.reserve(input.len());
        for _ in 0..input.len().div_ceil(PART_RECORDS) {
            let (first, first_id) = (decoded.records.len(), folded.new_ids.len());
            for (position, bytes) in entries.by_ref().take(PART_RECORDS) {
                decoded.take(position, bytes, partitions)?;
            }
            let part = &decoded.records[first..];
            for (position, record) in part {
                self.judgement.note(*position, record)?;
            }
            let seen = ask_all(&mut self.ids, part)?;
            fold_into(&mut self.state, part, &seen, &logged.policy, &mut folded);
            self.ids.insert(&folded.new_ids[first_id..]);
            self.judgement.add(&folded.survivors);
            folded.survivors.clear();
        }
        for &slot in &decoded.unknown {
            self.state.skip_unknown(slot);
        }
        Ok(folded)
    }

    fn advance(&mut self, epoch: &Epoch, records: u64) -> bool {
        self.number = epoch.number;
        for bound in &epoch.bounds {
            self.position[usize::from(bound.partition)] = bound.to;
        }
        self.since.epochs += 1;
        self.since.records += records;
        let log_end = ends(&*self.log);
        let has_more = log_end.iter().zip(&self.position).any(|(end, at)| end > at);
        self.progress.update(|now| {
            now.position.clone_from(&self.position);
            now.log_end = log_end;
            now.epoch = self.number;
            now.opaque = self.ids.stats();
            tell_judgement(now, &self.judgement);
        });
        has_more || !self.pending.is_empty()
    }

    fn try_checkpoint(&mut self) -> Result<(), Error> {
        if !self.is_dirty() {
            return Ok(());
        }
        self.persist_subscribers()?;
        let state = &self.state;
        let runs = self.ids.persist(&self.options.policy, &|strand| state.clock(strand))?;
        let judgement = self.judgement.persist()?;
        let head = Head {
            number: self.number,
            base: 0,
            generation: self.generation,
            group: self.options.group,
            position: self.position.clone(),
            runs,
            judgement,
        };
        self.checkpoints.write(head, &mut self.state)?;
        self.ids.remove_unnamed(self.checkpoints.kept().map(|head| head.runs.as_slice()))?;
        let judged = self.checkpoints.kept().map(|head| head.judgement.as_slice());
        self.judgement.remove_unnamed(judged)?;
        self.journal.trim(self.checkpoints.oldest_kept())?;
        self.since = SinceCheckpoint::default();
        self.tell_checkpoint();
        Ok(())
    }

    /// The checkpoint must never be newer than what a durable subscriber would have after a crash.
    fn persist_subscribers(&mut self) -> Result<(), Error> {
        let number = self.number;
        for subscriber in &mut self.subscribers {
            let name = subscriber.name();
            attempt(&self.options, &self.progress, name, number, &mut || subscriber.persist())?;
            if let Some(persisted) = subscriber.persisted().filter(|&has| has < number) {
                return Err(Error::Behind { name, persisted, checkpoint: number });
            }
        }
        Ok(())
    }

    fn tell_opened(&self, damage: Option<String>) {
        let log_end = ends(&*self.log);
        self.progress.update(|now| {
            now.position.clone_from(&self.position);
            now.log_end = log_end;
            tell_judgement(now, &self.judgement);
            now.totals = self.state.totals();
            now.epoch = self.number;
            now.generation = self.generation;
            now.opaque = self.ids.stats();
            now.last_error = damage;
        });
        self.tell_checkpoint();
    }

    fn tell_checkpoint(&self) {
        let oldest = self.checkpoints.kept().min_by_key(|head| head.number);
        let retirable = match oldest {
            Some(head) if self.checkpoints.kept().count() > 1 => head.position.clone(),
            _ => vec![0; self.position.len()],
        };
        let checkpoint = self.checkpoints.kept().map(|head| head.number).max().unwrap_or(0);
        self.progress.update(|now| {
            now.retirable = retirable;
            now.checkpoint = checkpoint;
            now.state_bytes = self.state.heap_bytes() as u64;
            now.opaque = self.ids.stats();
        });
    }

    /// How many records got which verdict.
    pub fn totals(&self) -> Totals {
        self.state.totals()
    }

    /// The subscribers, to look at what they have.
    pub fn subscribers(&self) -> &[Box<dyn Subscriber>] {
        &self.subscribers
    }

    /// Where its files are.
    pub fn place(&self) -> (&Arc<dyn Disk>, &Path) {
        (&self.disk, &self.dir)
    }
}

fn tell_judgement(now: &mut Snapshot, judgement: &Judgement) {
    now.received.clear();
    now.received.extend_from_slice(judgement.received());
    now.watermark = judgement.watermark();
    now.unjudged = judgement.unjudged();
    now.rules = Arc::clone(judgement.rules());
}

fn prepare(disk: &dyn Disk, dir: &Path) -> Result<Lock, Error> {
    disk.create_dir_all(dir)
        .map_err(|error| Error::disk(format!("create {}", dir.display()), error))?;
    let path = dir.join("lock");
    disk.lock(&path).map_err(|error| Error::disk(format!("lock {}", path.display()), error))
}

/// Where a counter begins that has counted nothing yet. A log that has let go of its beginning
/// refuses to be read from there, and so it should: its first records would go uncounted.
fn start_of(log: &dyn EventLog, group: u16) -> Head {
    let position = vec![0; usize::from(log.partitions())];
    let (runs, judgement) = (Vec::new(), Vec::new());
    Head { number: 0, base: 0, generation: 0, group, position, runs, judgement }
}

fn check_partitions(log: &dyn EventLog, head: &Head) -> Result<(), Error> {
    let (now, then) = (log.partitions(), head.position.len() as u16);
    if now == then { Ok(()) } else { Err(Error::Repartitioned { now, then }) }
}

/// The logged epochs behind a checkpoint, now in this generation's name: their input is the same,
/// and whoever kept something of them is fenced against older counters from the first one on.
fn pending_after(
    head: &Head,
    mut logged: BTreeMap<u64, Logged>,
    generation: u32,
    dir: &Path,
) -> Result<Vec<Logged>, Error> {
    let highest =
        logged.values().map(|logged| logged.epoch.generation).chain([head.generation]).max();
    if let Some(other) = highest.filter(|&other| other > generation) {
        return Err(Error::Fenced { by: dir.display().to_string(), generation: other });
    }
    let mut pending: Vec<Logged> = logged.split_off(&(head.number + 1)).into_values().collect();
    for (expected, logged) in (head.number + 1..).zip(&mut pending) {
        let number = logged.epoch.number;
        if number != expected {
            let what = format!("epoch {expected} is missing before {number}");
            return Err(Error::damaged(dir.display().to_string(), what));
        }
        logged.epoch.generation = generation;
    }
    Ok(pending)
}

fn check_subscribers(
    subscribers: &[Box<dyn Subscriber>],
    checkpoint: u64,
    logged: u64,
) -> Result<(), Error> {
    for subscriber in subscribers {
        let name = subscriber.name();
        match subscriber.persisted() {
            Some(persisted) if persisted < checkpoint => {
                return Err(Error::Behind { name, persisted, checkpoint });
            }
            Some(persisted) if persisted > logged => {
                return Err(Error::Ahead { name, persisted, logged });
            }
            _ => {}
        }
    }
    Ok(())
}

fn ask_all(
    ids: &mut OpaqueIds,
    records: &[(Position, Record<'_>)],
) -> Result<Vec<Option<Asked>>, Error> {
    let mut seen = Vec::with_capacity(records.len());
    for (position, record) in records {
        seen.push(match opaque_key(record) {
            Some(key) => Some(Asked { key, first: ids.look(key, *position)? }),
            None => None,
        });
    }
    Ok(seen)
}

/// Tries until it works, as often as may be. Fencing is final at once.
fn attempt(
    options: &Options,
    progress: &Progress,
    name: &'static str,
    number: u64,
    work: &mut dyn FnMut() -> Result<(), SubscriberError>,
) -> Result<(), Error> {
    let mut pause = options.retry_pause;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let last = match work() {
            Ok(()) => return Ok(()),
            Err(SubscriberError::Fenced(generation)) => {
                return Err(Error::Fenced { by: name.to_owned(), generation });
            }
            Err(SubscriberError::Failed(error)) => error.to_string(),
        };
        if attempts >= options.attempts_max {
            return Err(Error::Subscriber { name, number, attempts, last });
        }
        progress.update(|now| {
            now.retries += 1;
            now.last_error = Some(format!("{name} at epoch {number}: {last}"));
        });
        std::thread::sleep(pause);
        pause = pause.saturating_mul(2);
    }
}

fn ends(log: &dyn EventLog) -> Vec<u64> {
    (0..log.partitions()).map(|partition| log.range(partition).end).collect()
}
