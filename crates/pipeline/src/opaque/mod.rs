//! The exact set of opaque ids: in memory since the last checkpoint, in sorted runs on disk before it.
//!
//! ```text
//! look:        memory -> run -> run -> ...        a filter in front of each run, one block behind it
//! checkpoint:  memory --> a run by time bucket    then a checkpoint names the runs that are valid
//!              8 runs of a size --> one           ids beyond the horizon are left out
//! ```
//!
//! Decision: own runs through `Disk` instead of a database. What is on disk is then exactly what a
//! checkpoint names, never ahead of it: a replay cannot meet ids of its own records, and every power
//! cut can be simulated. Each id keeps the position of its first record all the same, and the fold
//! takes an id for a duplicate only of an earlier position.
//!
//! An id is forgotten by its own strand's clock alone, so the answer does not depend on what others
//! do: whole runs are removed when every strand in them is past its horizon, and a run that holds ids
//! of a silent strand is rewritten without the others.

mod filter;
mod merge;
mod run;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_count::{FirstCopy, OpaqueKey, Policy, Strand};
use reckon_disk::Disk;
use reckon_event::{Position, Timestamp};

use crate::Error;
use crate::bytes::Reader;
use crate::numbered::list;
use merge::{Memory, merge};
use run::{Entry, Run, RunWriter, WORD, path_of};

/// So many runs of a size in one bucket become one.
const FAN_IN: usize = 8;
/// A run of more entries than this is not merged any more: a merge must not hold up counting.
const MERGE_ENTRIES_MAX: u64 = 8 << 20;
/// Buckets a horizon is split into.
const BUCKETS: i64 = 7;

/// The set.
pub struct OpaqueIds {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// New since the last checkpoint.
    memory: HashMap<OpaqueKey, FirstCopy, foldhash::fast::RandomState>,
    /// By bucket, then in the order they were written.
    runs: Vec<Run>,
    next_run: u64,
    stats: OpaqueStats,
}

/// What the set holds and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpaqueStats {
    /// Ids that stand only in memory.
    pub in_memory: u64,
    /// Ids in runs.
    pub on_disk: u64,
    /// Runs.
    pub runs: u64,
    /// Bytes of filters and indexes in memory.
    pub filter_bytes: u64,
    /// Looks since it was opened.
    pub looks: u64,
    /// Blocks read for them.
    pub block_reads: u64,
    /// Entries written by merges since it was opened.
    pub merged: u64,
}

impl OpaqueIds {
    /// Opens the runs that a checkpoint names.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, named: &[u8]) -> Result<Self, Error> {
        let named = read_names(named)
            .ok_or_else(|| Error::damaged(dir.display().to_string(), "names of runs"))?;
        let runs = named
            .iter()
            .map(|&(number, bucket)| Run::open(&*disk, dir, number, bucket))
            .collect::<Result<Vec<_>, _>>()?;
        let highest = list(&*disk, dir, WORD)?.last().copied().unwrap_or(0);
        Ok(OpaqueIds {
            disk,
            dir: dir.to_owned(),
            memory: HashMap::default(),
            runs,
            next_run: highest + 1,
            stats: OpaqueStats::default(),
        })
    }

    /// The latest first copy of an id before `position`.
    pub fn look(&mut self, key: OpaqueKey, position: Position) -> Result<Option<FirstCopy>, Error> {
        self.stats.looks += 1;
        if let Some(copy) = self.memory.get(&key).filter(|copy| copy.position < position) {
            return Ok(Some(*copy));
        }
        let mut latest: Option<Entry> = None;
        for run in &self.runs {
            let found = run.find(key, &mut self.stats.block_reads)?;
            latest = latest.max_by_offset(found.filter(|entry| entry.offset < position.offset));
        }
        Ok(latest.map(|entry| entry.first_copy(position)))
    }

    /// Takes in the ids whose first copy an epoch brought.
    pub fn insert(&mut self, new: &[(OpaqueKey, FirstCopy)]) {
        self.memory.extend(new.iter().copied());
    }

    /// Ids that stand only in memory.
    pub fn in_memory(&self) -> usize {
        self.memory.len()
    }

    /// Figures.
    pub fn stats(&self) -> OpaqueStats {
        OpaqueStats {
            in_memory: self.memory.len() as u64,
            on_disk: self.runs.iter().map(|run| run.entries).sum(),
            runs: self.runs.len() as u64,
            filter_bytes: self.runs.iter().map(|run| run.memory_bytes() as u64).sum(),
            ..self.stats
        }
    }

    /// Writes what is in memory, merges and forgets; gives the names of the runs for the
    /// checkpoint. Runs that are no longer named stay until [`OpaqueIds::remove_unnamed`].
    pub fn persist(
        &mut self,
        policy: &Policy,
        clock: &dyn Fn(Strand) -> Option<Timestamp>,
    ) -> Result<Vec<u8>, Error> {
        let is_kept = |entry: &Entry| {
            entry
                .key
                .strand()
                .and_then(clock)
                .is_none_or(|now| now.since(entry.received) < policy.opaque_horizon)
        };
        let before = self.next_run;
        self.write_memory(policy, &is_kept)?;
        self.forget(policy, clock, &is_kept)?;
        self.merge_equals(&is_kept)?;
        if self.next_run != before {
            self.disk
                .sync_dir(&self.dir)
                .map_err(|error| Error::disk(format!("sync {}", self.dir.display()), error))?;
        }
        Ok(put_names(&self.runs))
    }

    fn write_memory(
        &mut self,
        policy: &Policy,
        is_kept: &dyn Fn(&Entry) -> bool,
    ) -> Result<(), Error> {
        let width = (policy.opaque_horizon / BUCKETS).max(1);
        let mut buckets: BTreeMap<i64, Vec<Entry>> = BTreeMap::new();
        for (&key, copy) in &self.memory {
            let FirstCopy { position, digest, received } = *copy;
            let entry = Entry { key, offset: position.offset, digest, received };
            if is_kept(&entry) {
                buckets.entry(received.0.div_euclid(width)).or_default().push(entry);
            }
        }
        for (bucket, mut entries) in buckets {
            entries.sort_unstable_by_key(|entry| entry.key);
            self.write_run(
                bucket,
                entries.len() as u64,
                &mut [Memory::new(entries).into()],
                is_kept,
            )?;
        }
        self.memory.clear();
        Ok(())
    }

    fn write_run(
        &mut self,
        bucket: i64,
        entries_max: u64,
        sources: &mut [merge::Source<'_>],
        is_kept: &dyn Fn(&Entry) -> bool,
    ) -> Result<(), Error> {
        let number = self.next_run;
        self.next_run += 1;
        let mut writer = RunWriter::new(&*self.disk, &self.dir, number, entries_max)?;
        merge(sources, is_kept, &mut |entry| writer.push(entry))?;
        if writer.finish()? > 0 {
            self.runs.push(Run::open(&*self.disk, &self.dir, number, bucket)?);
        }
        Ok(())
    }

    /// Lets go of runs all of whose strands are past the horizon, and rewrites those that are past it
    /// but for silent strands.
    fn forget(
        &mut self,
        policy: &Policy,
        clock: &dyn Fn(Strand) -> Option<Timestamp>,
        is_kept: &dyn Fn(&Entry) -> bool,
    ) -> Result<(), Error> {
        let clocks: Vec<i64> =
            Strand::all().map(|strand| clock(strand).map_or(i64::MIN, |now| now.0)).collect();
        let latest = clocks.iter().copied().max().unwrap_or(i64::MIN);
        let is_past = |newest: i64, now: i64| now.saturating_sub(newest) >= policy.opaque_horizon;
        let mut rewritten = Vec::new();
        for run in std::mem::take(&mut self.runs) {
            let present =
                || run.newest.iter().zip(&clocks).filter(|(newest, _)| **newest != i64::MIN);
            let past = present().filter(|(newest, now)| is_past(**newest, **now)).count();
            let is_old = present().all(|(newest, _)| is_past(*newest, latest));
            match past {
                0 => self.runs.push(run),
                _ if past == present().count() => {}
                _ if is_old => rewritten.push(run),
                _ => self.runs.push(run),
            }
        }
        for run in &rewritten {
            self.stats.merged += run.entries;
            self.write_run(run.bucket, run.entries, &mut [run.into()], is_kept)?;
        }
        Ok(())
    }

    /// Merges wherever a bucket holds [`FAN_IN`] runs of about one size.
    fn merge_equals(&mut self, is_kept: &dyn Fn(&Entry) -> bool) -> Result<(), Error> {
        while let Some((bucket, tier)) = self.crowded() {
            let (merged, kept) = std::mem::take(&mut self.runs)
                .into_iter()
                .partition(|run| run.bucket == bucket && tier_of(run) == Some(tier));
            self.runs = kept;
            let merged: Vec<Run> = merged;
            let entries = merged.iter().map(|run| run.entries).sum();
            self.stats.merged += entries;
            let mut sources: Vec<_> = merged.iter().map(merge::Source::from).collect();
            self.write_run(bucket, entries, &mut sources, is_kept)?;
        }
        Ok(())
    }

    fn crowded(&self) -> Option<(i64, u32)> {
        let mut counts: BTreeMap<(i64, u32), usize> = BTreeMap::new();
        for run in &self.runs {
            if let Some(tier) = tier_of(run) {
                *counts.entry((run.bucket, tier)).or_default() += 1;
            }
        }
        counts.into_iter().find(|&(_, count)| count >= FAN_IN).map(|(place, _)| place)
    }

    /// Removes the files of runs that none of these names has.
    pub fn remove_unnamed<'a>(&self, named: impl Iterator<Item = &'a [u8]>) -> Result<(), Error> {
        let needed: Vec<u64> =
            named.filter_map(read_names).flatten().map(|(number, _)| number).collect();
        for number in list(&*self.disk, &self.dir, WORD)? {
            if !needed.contains(&number) {
                crate::journal::remove(&*self.disk, &path_of(&self.dir, number))?;
            }
        }
        Ok(())
    }
}

/// Reads every run a checkpoint names, block by block; gives how many ids they hold.
pub(crate) fn check(disk: &dyn Disk, dir: &Path, named: &[u8]) -> Result<u64, Error> {
    let named = read_names(named)
        .ok_or_else(|| Error::damaged(dir.display().to_string(), "names of runs"))?;
    let mut entries = 0;
    for (number, bucket) in named {
        let run = Run::open(disk, dir, number, bucket)?;
        run.check()?;
        entries += run.entries;
    }
    Ok(entries)
}

/// Tier n holds runs of up to `1,024 * 8^n` entries; `None` where a run is too large to merge.
fn tier_of(run: &Run) -> Option<u32> {
    let thousands = (run.entries >> 10).max(1);
    (run.entries <= MERGE_ENTRIES_MAX).then(|| thousands.ilog(FAN_IN as u64))
}

fn put_names(runs: &[Run]) -> Vec<u8> {
    let pairs = runs.iter().flat_map(|run| [run.number.to_le_bytes(), run.bucket.to_le_bytes()]);
    pairs.flatten().collect()
}

/// (number, bucket) of each run.
fn read_names(bytes: &[u8]) -> Option<Vec<(u64, i64)>> {
    let mut reader = Reader(bytes);
    let mut names = Vec::new();
    while !reader.0.is_empty() {
        names.push((reader.u64()?, reader.i64()?));
    }
    Some(names)
}

trait MaxByOffset {
    fn max_by_offset(self, other: Self) -> Self;
}

impl MaxByOffset for Option<Entry> {
    fn max_by_offset(self, other: Self) -> Self {
        [self, other].into_iter().flatten().max_by_key(|entry| entry.offset)
    }
}
