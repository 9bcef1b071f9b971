//! Pasts of all entities, in this process, behind files.
//!
//! Counting hands over epochs; requests look at batches of keys, all at one cut. The store is cut into
//! shards, each behind a lock that an epoch holds only while it changes that shard; what it changes
//! leaves a copy of how it was until the next epoch, so whoever reads meanwhile still finds the cut
//! before ([`shard`]). Only what an epoch changes is held twice.
//!
//! It is a cache of what the log can rebuild: checkpoints spare that ([`files`]).

mod files;
mod index;
mod look;
mod memory;
mod shard;
mod slab;
mod subscriber;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use reckon_disk::Disk;
use reckon_event::{Applied, Epoch, Kind, Position, Pseudonym, TenantId};

use self::files::Files;
use self::shard::{Admitted, Event, Shard, Step};
pub use self::subscriber::PastsSubscriber;
use crate::happened::{Happened, Parts, hour_of_day};
use crate::plan::Plan;
use crate::row::{Candidate, Request, Views, second_of};
use crate::{Error, Marks};

const SHARDS: usize = 16;
/// Steps of an epoch that a shard takes before readers get their turn.
const STEPS: usize = 128;

/// Bounds of the store.
#[derive(Clone, Copy, Debug)]
pub struct PastsOptions {
    /// The most bytes of memory; beyond it those longest without an event go.
    pub bytes_max: usize,
    /// For so many seconds a click is remembered, so that a rule may take it back.
    pub revised_seconds_max: u32,
    /// The most clicks remembered for that; beyond it the oldest stand as they are.
    pub clicks_max: usize,
}

impl Default for PastsOptions {
    fn default() -> Self {
        PastsOptions { bytes_max: 4 << 30, revised_seconds_max: 2 * 86_400, clicks_max: 1_000_000 }
    }
}

/// What an epoch tells of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It counts.
    Counted(Position, Happened),
    /// A rule has judged it anew: it counts from now on, or does not.
    Revised(Position, bool),
}

/// The cut a look was of.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The epoch.
    pub epoch: u64,
    /// The offset behind the last record of each partition that is counted in it.
    pub cut: Arc<[u64]>,
    /// The second of the latest event in it; 0 before the first.
    pub clock: u32,
}

/// A click that a rule may still take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Click {
    happened: Happened,
    /// The user's own pasts have it.
    is_users: bool,
    counts: bool,
    /// Which event of the epoch that is going on has brought it.
    event: Option<u32>,
}

/// The store.
pub struct Pasts {
    plan: Arc<Plan>,
    options: PastsOptions,
    shards: Vec<RwLock<Shard>>,
    seen: RwLock<Arc<Seen>>,
    writer: Mutex<Writer>,
}

struct Writer {
    generation: u32,
    clicks: BTreeMap<Position, Click>,
    /// With so many, those are let go of that no rule takes back any more.
    clicks_due: usize,
    /// Clicks that are not in a file yet.
    changed: Vec<Position>,
    files: Option<Files>,
    steps: Vec<Vec<Step>>,
    events: Vec<Event>,
    positions: Vec<Position>,
    evicted: u64,
}

fn shard_of(owner: u64) -> usize {
    (owner >> 60) as usize
}

impl Pasts {
    /// A store without files: for backfill, and for training by replay.
    pub fn new(plan: Arc<Plan>, options: PastsOptions) -> Self {
        Pasts {
            plan,
            options,
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            seen: RwLock::default(),
            writer: Mutex::new(Writer {
                generation: 0,
                clicks: BTreeMap::new(),
                clicks_due: 0,
                changed: Vec::new(),
                files: None,
                steps: vec![Vec::new(); SHARDS],
                events: Vec::new(),
                positions: Vec::new(),
                evicted: 0,
            }),
        }
    }

    /// Opens the store in a folder. Damaged files, and those of another plan, are told and left out:
    /// it is then to be fed from the log's beginning.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        plan: Arc<Plan>,
        options: PastsOptions,
    ) -> Result<(Self, Option<String>), Error> {
        let pasts = Pasts::new(plan, options);
        let (files, kept, damage) = Files::open(disk, dir, &pasts.plan, &mut |key, past| {
            pasts.shards[shard_of(key.owner)].write().restore(key, past);
        })?;
        if damage.is_some() {
            pasts.shards.iter().for_each(|shard| *shard.write() = Shard::default());
        }
        let mut writer = pasts.writer.lock();
        writer.files = Some(files);
        writer.clicks = kept.clicks;
        writer.prune(&pasts.options, kept.seen.clock);
        *pasts.seen.write() = Arc::new(kept.seen);
        drop(writer);
        Ok((pasts, damage))
    }

    /// The plan it keeps pasts for.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Looks at everything a request and its candidates ask for, all at one cut.
    pub fn look(
        &self,
        request: &Request<'_>,
        candidates: &[Candidate],
        views: &mut Views,
    ) -> Arc<Seen> {
        views.ask(&self.plan, request, candidates);
        loop {
            let seen = Arc::clone(&self.seen.read());
            views.moment = second_of(request.now).max(seen.clock);
            views.begin(&self.plan);
            if self.look_at(&seen, request, views).is_some() {
                views.end();
                return seen;
            }
        }
    }

    /// Takes an epoch: all of it or, where it was in already, nothing.
    ///
    /// # Errors
    /// Where a higher generation has taken over, or an epoch is missing in between.
    pub fn apply(&self, epoch: &Epoch, changes: &[Change]) -> Result<Applied, Error> {
        let mut writer = self.writer.lock();
        let seen = Arc::clone(&self.seen.read());
        if epoch.generation < writer.generation {
            return Err(Error::Fenced(writer.generation));
        }
        writer.generation = epoch.generation;
        if epoch.number <= seen.epoch {
            return Ok(Applied::Again);
        }
        if seen.epoch != 0 && epoch.number != seen.epoch + 1 {
            return Err(Error::Gap { has: seen.epoch, got: epoch.number });
        }
        let clock = writer.take(&self.plan, &self.options, changes, seen.clock);
        let evicted_before = writer.evicted;
        let Writer { steps, events, evicted, .. } = &mut *writer;
        for (steps, shard) in steps.iter().zip(&self.shards) {
            if steps.is_empty() {
                continue;
            }
            shard.write().begin(epoch.number);
            for steps in steps.chunks(STEPS) {
                shard.write().apply(&self.plan, steps, events);
            }
            let mut shard = shard.write();
            if shard.bytes() > self.options.bytes_max / SHARDS {
                *evicted += shard.evict() as u64;
            }
        }
        if *evicted > evicted_before {
            // Files say what there is, and not what there is no more.
            writer.files_are_stale();
        }
        // One shard an epoch loses what has had no event for long. Whoever reads at the cut before has its clock.
        self.shards[epoch.number as usize % SHARDS].write().expire(&self.plan, seen.clock);
        writer.remember();
        *self.seen.write() =
            Arc::new(Seen { epoch: epoch.number, cut: cut_after(&seen.cut, epoch), clock });
        Ok(Applied::Fresh)
    }

    /// Lets go of a person at once, with all crosses; says of how many pasts. After the next persist no
    /// file has them.
    pub fn forget(&self, tenant: TenantId, user: Pseudonym) -> usize {
        let mut writer = self.writer.lock();
        let (gone, _) = self.let_go(&mut writer, &[(tenant, user)]);
        // Also where none are here any more: a file may have what was let go of since.
        writer.files_are_stale();
        gone
    }

    /// Lets go of persons who were to be forgotten before, and came in again from a file or with an event that
    /// was on its way; says of how many pasts.
    pub fn forget_all(&self, persons: &[(TenantId, Pseudonym)]) -> usize {
        let mut writer = self.writer.lock();
        let (gone, clicks) = self.let_go(&mut writer, persons);
        if gone + clicks > 0 {
            writer.files_are_stale();
        }
        gone
    }

    /// Everything is looked at once, however many persons they are. Says how many pasts and clicks were theirs.
    fn let_go(&self, writer: &mut Writer, persons: &[(TenantId, Pseudonym)]) -> (usize, usize) {
        let persons: HashSet<_> = persons.iter().filter(|(_, user)| user.is_some()).collect();
        let mut clicks = 0;
        for click in writer.clicks.values_mut() {
            let parts = &mut click.happened.parts;
            if persons.contains(&(parts.tenant, parts.user)) {
                (parts.user, click.is_users) = (Pseudonym::NONE, false);
                clicks += 1;
            }
        }
        let mut owners: [HashSet<u64>; SHARDS] = Default::default();
        for owner in
            persons.iter().filter_map(|&&(tenant, user)| Parts::owner_of_user(tenant, user))
        {
            owners[shard_of(owner)].insert(owner);
        }
        let shards = self.shards.iter().zip(&owners).filter(|(_, owners)| !owners.is_empty());
        (shards.map(|(shard, owners)| shard.write().forget(owners)).sum(), clicks)
    }

    /// Makes everything applied so far durable; without files, does nothing.
    ///
    /// # Errors
    /// Where the disk fails: everything is then to be persisted again.
    pub fn persist(&self) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        let seen = Arc::clone(&self.seen.read());
        let Writer { files, clicks, changed, .. } = &mut *writer;
        let Some(files) = files else {
            return Ok(());
        };
        files.persist(&self.plan, &seen, clicks, changed, &self.shards)?;
        changed.clear();
        Ok(())
    }

    /// How far it has come.
    pub fn marks(&self) -> Marks {
        let writer = self.writer.lock();
        let persisted = writer.files.as_ref().and_then(Files::persisted);
        Marks { applied: self.seen.read().epoch, persisted }
    }

    /// How many pasts there are, and how many bytes of memory they and the clicks take.
    pub fn size(&self) -> (usize, usize) {
        let clicks = self.writer.lock().clicks.len() * size_of::<(Position, Click)>() * 3 / 2;
        let shards = self.shards.iter().map(|shard| {
            let shard = shard.read();
            (shard.len(), shard.bytes())
        });
        shards.fold((0, clicks), |(count, bytes), (more, taken)| (count + more, bytes + taken))
    }

    /// How many pasts were let go of for want of room, since it was opened.
    pub fn evicted(&self) -> u64 {
        self.writer.lock().evicted
    }
}

fn cut_after(cut: &[u64], epoch: &Epoch) -> Arc<[u64]> {
    let partitions = epoch.bounds.iter().map(|bound| usize::from(bound.partition) + 1);
    let mut cut = cut.to_vec();
    cut.resize(partitions.max().unwrap_or(0).max(cut.len()), 0);
    for bound in &epoch.bounds {
        cut[usize::from(bound.partition)] = bound.to;
    }
    cut.into()
}

impl Writer {
    /// Makes steps of changes; says what time it is after them.
    fn take(
        &mut self,
        plan: &Plan,
        options: &PastsOptions,
        changes: &[Change],
        mut clock: u32,
    ) -> u32 {
        self.steps.iter_mut().for_each(Vec::clear);
        self.events.clear();
        self.positions.clear();
        for change in changes {
            let (position, event) = match *change {
                Change::Counted(position, happened) => {
                    clock = clock.max(happened.second);
                    (position, Event { happened, is_added: true, admitted: Admitted::Ask })
                }
                Change::Revised(position, counts) => {
                    let Some(event) = self.revise(position, counts) else { continue };
                    (position, event)
                }
            };
            if event.happened.kind == Kind::Click && event.admitted == Admitted::Ask {
                let number = Some(self.events.len() as u32);
                let happened = event.happened;
                let click = Click { happened, is_users: true, counts: true, event: number };
                self.clicks.insert(position, click);
            }
            self.step(plan, event);
            self.positions.push(position);
        }
        self.prune(options, clock);
        clock
    }

    /// The event that a revision adds or takes back; `None` where nothing changes.
    fn revise(&mut self, position: Position, counts: bool) -> Option<Event> {
        let click = self.clicks.get_mut(&position)?;
        if click.counts == counts {
            return None;
        }
        click.counts = counts;
        self.changed.push(position);
        let admitted = match click.event {
            // Revised in the epoch it came in: the steps of both come in this order.
            Some(event) => Admitted::As(event),
            None if click.is_users => Admitted::Yes,
            None => Admitted::No,
        };
        Some(Event { happened: click.happened, is_added: counts, admitted })
    }

    fn step(&mut self, plan: &Plan, event: Event) {
        let number = self.events.len() as u32;
        self.events.push(event);
        let hour = hour_of_day(event.happened.second);
        let owner = Parts::owner_of_user(event.happened.parts.tenant, event.happened.parts.user);
        // The user's own past stands first: it decides for all that are the user's.
        let others = (0..plan.entities.len()).filter(|&at| Some(at) != plan.user);
        for entity in plan.user.into_iter().chain(others) {
            if let Some(key) = event.happened.parts.key(&plan.entities[entity], hour) {
                let is_of_user = Some(key.owner) == owner;
                let step = Step { key, entity: entity as u8, is_of_user, event: number };
                self.steps[shard_of(key.owner)].push(step);
            }
        }
    }

    /// Files have what is to be in none.
    fn files_are_stale(&mut self) {
        if let Some(files) = &mut self.files {
            files.forget();
        }
    }

    /// Notes which clicks the users' pasts have taken.
    fn remember(&mut self) {
        for (number, position) in self.positions.iter().enumerate() {
            if self.events[number].happened.kind != Kind::Click {
                continue;
            }
            if let Some(click) = self.clicks.get_mut(position)
                && let Some(event) = click.event.take()
            {
                click.is_users = self.events[event as usize].admitted != Admitted::No;
                self.changed.push(*position);
            }
        }
    }

    /// Lets go of clicks that no rule takes back any more.
    fn prune(&mut self, options: &PastsOptions, clock: u32) {
        if self.clicks.len() < self.clicks_due.max(options.clicks_max / 2 + 1) {
            return;
        }
        let mut first = clock.saturating_sub(options.revised_seconds_max);
        self.clicks.retain(|_, click| click.happened.second >= first);
        if self.clicks.len() > options.clicks_max {
            let mut times: Vec<u32> =
                self.clicks.values().map(|click| click.happened.second).collect();
            first = *times.select_nth_unstable(self.clicks.len() / 4).1;
            self.clicks.retain(|_, click| click.happened.second > first);
        }
        // All are looked at again once some more have come, or the bound is reached.
        self.clicks_due = (self.clicks.len() + options.clicks_max / 16).min(options.clicks_max + 1);
    }
}

impl std::fmt::Debug for Pasts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (count, bytes) = self.size();
        f.debug_struct("Pasts").field("count", &count).field("bytes", &bytes).finish()
    }
}
