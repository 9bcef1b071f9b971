//! The survivors that behavioural rules judge, by minute: in memory since the last checkpoint, in runs
//! on disk before it.
//!
//! ```text
//! add:         memory, by minute
//! checkpoint:  memory --> a run; a checkpoint names the runs that are valid
//!              8 neighbours of a size --> one       minutes that are forgotten are left out
//! load:        run, run, ..., memory                rows in the order in which they came
//! ```
//!
//! Decision: a minute keeps its rows, not its counts. A late click can then be judged together with
//! those it belongs to, and so can all of history when rules change; what a minute's verdicts were is
//! computed again from its first rows instead of being remembered. Order of arrival matters for that
//! alone, so only neighbouring runs are merged.

mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_count::rules::{MinuteKey, MinuteSet, Survivor};
use reckon_disk::Disk;

use crate::Error;
use crate::bytes::Reader;
use crate::numbered::list;
pub(crate) use run::read_key;
use run::{Run, WORD, path_of};

/// So many neighbouring runs of a size become one.
const FAN_IN: usize = 8;
/// A run of more rows than this is not merged any more: a merge must not hold up counting.
const MERGE_ROWS_MAX: u64 = 4 << 20;

/// All survivors that may still be judged.
pub(crate) struct Minutes {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// New since the last checkpoint.
    memory: BTreeMap<MinuteKey, MinuteSet>,
    in_memory: usize,
    /// Oldest first.
    runs: Vec<Run>,
    next_run: u64,
    forgotten: BTreeSet<MinuteKey>,
}

impl Minutes {
    /// Opens the runs that a checkpoint names.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, named: &[u8]) -> Result<Self, Error> {
        let named = read_names(named)
            .ok_or_else(|| Error::damaged(dir.display().to_string(), "names of minutes"))?;
        let runs = named
            .iter()
            .map(|&number| Run::open(&*disk, dir, number))
            .collect::<Result<Vec<_>, _>>()?;
        let highest = list(&*disk, dir, WORD)?.last().copied().unwrap_or(0);
        Ok(Minutes {
            disk,
            dir: dir.to_owned(),
            memory: BTreeMap::new(),
            in_memory: 0,
            runs,
            next_run: highest + 1,
            forgotten: BTreeSet::new(),
        })
    }

    /// Adds a survivor to its minute.
    pub fn add(&mut self, click: &Survivor) -> MinuteKey {
        let key = MinuteKey::of(click.class, click.happened);
        self.memory.entry(key).or_default().push(click);
        self.in_memory += 1;
        key
    }

    /// Survivors that stand only in memory.
    pub const fn in_memory(&self) -> usize {
        self.in_memory
    }

    /// How many rows each minute has on disk.
    pub fn on_disk(&self) -> BTreeMap<MinuteKey, u32> {
        let mut rows = BTreeMap::new();
        for (key, count) in self.runs.iter().flat_map(Run::minutes) {
            *rows.entry(key).or_default() += count;
        }
        rows
    }

    /// All survivors of a minute, in the order in which they came.
    pub fn load(&self, key: MinuteKey) -> Result<MinuteSet, Error> {
        let mut all = MinuteSet::default();
        let is_forgotten = self.forgotten.contains(&key);
        for run in self.runs.iter().filter(|_| !is_forgotten) {
            if let Some(set) = run.read(key)? {
                if all.rows.is_empty() {
                    all = set;
                } else {
                    all.append(&set);
                }
            }
        }
        if let Some(set) = self.memory.get(&key) {
            all.append(set);
        }
        Ok(all)
    }

    /// Lets go of a minute for good.
    pub fn forget(&mut self, key: MinuteKey) {
        if let Some(set) = self.memory.remove(&key) {
            self.in_memory -= set.rows.len();
        }
        self.forgotten.insert(key);
    }

    /// Writes what is in memory, merges, and leaves out what is forgotten; gives the names of the runs
    /// for the checkpoint. Files no longer named stay until [`Minutes::remove_unnamed`].
    pub fn persist(&mut self) -> Result<Vec<u8>, Error> {
        let before = self.next_run;
        let forgotten = std::mem::take(&mut self.forgotten);
        self.drop_forgotten(&forgotten)?;
        if !self.memory.is_empty() {
            let sets = std::mem::take(&mut self.memory);
            self.in_memory = 0;
            let run = self.write(&mut sets.into_iter().map(Ok))?;
            self.runs.extend(run);
        }
        self.merge_neighbours()?;
        if self.next_run != before {
            self.disk
                .sync_dir(&self.dir)
                .map_err(|error| Error::disk(format!("sync {}", self.dir.display()), error))?;
        }
        Ok(self.runs.iter().flat_map(|run| run.number.to_le_bytes()).collect())
    }

    /// Rewrites every run that has a forgotten minute, without it. A minute that comes again after it
    /// was forgotten is new.
    fn drop_forgotten(&mut self, forgotten: &BTreeSet<MinuteKey>) -> Result<(), Error> {
        if forgotten.is_empty() {
            return Ok(());
        }
        let mut kept = Vec::new();
        for run in std::mem::take(&mut self.runs) {
            if run.minutes().any(|(key, _)| forgotten.contains(&key)) {
                let left = run.minutes().map(|(key, _)| key).filter(|key| !forgotten.contains(key));
                let mut sets = left.filter_map(|key| read(&run, key));
                kept.extend(self.write(&mut sets)?);
            } else {
                kept.push(run);
            }
        }
        self.runs = kept;
        Ok(())
    }

    /// Writes a run; none where there is nothing to write.
    fn write(
        &mut self,
        sets: &mut dyn Iterator<Item = Result<(MinuteKey, MinuteSet), Error>>,
    ) -> Result<Option<Run>, Error> {
        let mut sets = sets.peekable();
        if sets.peek().is_none() {
            return Ok(None);
        }
        let number = self.next_run;
        self.next_run += 1;
        run::write(&*self.disk, &self.dir, number, sets)?;
        Run::open(&*self.disk, &self.dir, number).map(Some)
    }

    /// Merges wherever [`FAN_IN`] neighbours have about one size.
    fn merge_neighbours(&mut self) -> Result<(), Error> {
        while let Some(first) = self.crowded() {
            let behind = self.runs.split_off(first + FAN_IN);
            let merged = self.runs.split_off(first);
            let keys: BTreeSet<MinuteKey> =
                merged.iter().flat_map(Run::minutes).map(|(key, _)| key).collect();
            let mut sets = keys.into_iter().map(|key| {
                let mut all = MinuteSet::default();
                for set in merged.iter().filter_map(|run| run.read(key).transpose()) {
                    all.append(&set?);
                }
                Ok((key, all))
            });
            let run = self.write(&mut sets)?;
            self.runs.extend(run);
            self.runs.extend(behind);
        }
        Ok(())
    }

    /// The first of [`FAN_IN`] neighbours of one tier.
    fn crowded(&self) -> Option<usize> {
        let tiers: Vec<Option<u32>> = self.runs.iter().map(tier_of).collect();
        tiers
            .windows(FAN_IN)
            .position(|near| near[0].is_some() && near.iter().all(|tier| *tier == near[0]))
    }

    /// Removes the files of runs that none of these names has.
    pub fn remove_unnamed<'a>(&self, named: impl Iterator<Item = &'a [u8]>) -> Result<(), Error> {
        let needed: Vec<u64> = named.filter_map(read_names).flatten().collect();
        for number in list(&*self.disk, &self.dir, WORD)? {
            if !needed.contains(&number) {
                crate::journal::remove(&*self.disk, &path_of(&self.dir, number))?;
            }
        }
        Ok(())
    }
}

/// Reads every minute of the runs a checkpoint names; gives how many survivors they hold.
pub(crate) fn check(disk: &dyn Disk, dir: &Path, named: &[u8]) -> Result<u64, Error> {
    let named = read_names(named)
        .ok_or_else(|| Error::damaged(dir.display().to_string(), "names of minutes"))?;
    let mut rows = 0;
    for number in named {
        let run = Run::open(disk, dir, number)?;
        for (key, _) in run.minutes() {
            rows += run.read(key)?.map_or(0, |set| set.rows.len() as u64);
        }
    }
    Ok(rows)
}

fn read(run: &Run, key: MinuteKey) -> Option<Result<(MinuteKey, MinuteSet), Error>> {
    run.read(key).transpose().map(|set| set.map(|set| (key, set)))
}

/// Tier n holds runs of up to `1,024 * 8^n` rows; `None` where a run is too large to merge.
fn tier_of(run: &Run) -> Option<u32> {
    let rows = run.rows();
    (rows <= MERGE_ROWS_MAX).then(|| (rows >> 10).max(1).ilog(FAN_IN as u64))
}

fn read_names(bytes: &[u8]) -> Option<Vec<u64>> {
    let mut reader = Reader(bytes);
    let mut names = Vec::new();
    while !reader.0.is_empty() {
        names.push(reader.u64()?);
    }
    Some(names)
}
