//! The lake's writing side without its thread: what is written, what is committed, what may go.
//!
//! ```text
//! chunk --write--> files nobody names --commit--> manifest n+1 names them --> files it no longer
//!                  (synced)                       (created, synced)           names go, later
//! ```
//!
//! Each arrow is durable before the next begins. A crash leaves files nobody names; the next opening
//! removes them. A put whose answer was lost is found under its number and adopted: it has the
//! checksum of a state that this opening has tried to make. The writer's number alone would not do:
//! two servers that were pointed at one bucket by mistake may both be the first of their own.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use reckon_event::Bound;

use crate::manifest::{CoveredTo, Table};
use crate::part;
use crate::place::LakePlace;
use crate::shared::Shared;
use crate::store::{Put, Store};
use crate::{LakeError, LakeFile, LakeOptions, Manifest};

/// What some epochs have brought, as columns.
pub(crate) struct Chunk {
    pub records: RecordBatch,
    pub revisions: RecordBatch,
    pub progress: Progress,
}

/// How far the lake is with a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub stage: u8,
    pub group: u16,
    pub generation: u32,
    pub epoch: u64,
    /// The offset behind the last record, by partition.
    pub positions: BTreeMap<u16, u64>,
}

impl Progress {
    pub fn of(manifest: &Manifest) -> Self {
        Progress {
            stage: manifest.stage,
            group: manifest.group,
            generation: manifest.generation,
            epoch: manifest.epoch,
            positions: manifest.positions.iter().map(|at| (at.partition, at.to)).collect(),
        }
    }

    pub fn cover(&mut self, bounds: &[Bound]) {
        for bound in bounds {
            let to = self.positions.entry(bound.partition).or_default();
            *to = bound.to.max(*to);
        }
    }
}

/// A file that no manifest names any longer.
struct Doomed {
    path: String,
    /// The first manifest that does not name it.
    since: u64,
}

pub(crate) struct Keeper {
    pub store: Store,
    pub options: LakeOptions,
    /// The state that is durable.
    pub manifest: Manifest,
    shared: Arc<Shared>,
    /// The number taken at opening; with a count it makes names that no other opening makes.
    opened: u64,
    file_count: u64,
    /// Chunks whose files are not written, in order.
    unwritten: VecDeque<Chunk>,
    /// Files that are written and wait for a manifest, and how far they reach.
    written: Vec<LakeFile>,
    progress: Progress,
    /// Checksums of the states that were tried as the next one.
    tried: HashSet<String>,
    doomed: Vec<Doomed>,
}

/// What an opening begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// What is in the lake.
    Kept,
    /// Nothing: all that was in it goes.
    Empty,
}

impl Keeper {
    /// Opens a lake for writing: takes a number for itself and removes what a crash has left.
    pub fn open(
        place: LakePlace,
        options: LakeOptions,
        start: Start,
        shared: Arc<Shared>,
    ) -> Result<Self, LakeError> {
        let mut store = Store::new(place)?;
        store.refuse_replacing()?;
        let manifest = claim(&mut store, options.writer, start)?;
        store.refuse_versions()?;
        shared.note(&manifest);
        let keeper = Keeper {
            opened: manifest.number,
            progress: Progress::of(&manifest),
            store,
            options,
            manifest,
            shared,
            file_count: 0,
            unwritten: VecDeque::new(),
            written: Vec::new(),
            tried: HashSet::new(),
            doomed: Vec::new(),
        };
        keeper.remove_orphans()?;
        Ok(keeper)
    }

    fn remove_orphans(&self) -> Result<(), LakeError> {
        let mut orphans = self.unnamed()?;
        let newest = Manifest::name(self.manifest.number);
        orphans.retain(|path| *path != newest);
        self.store.remove(&orphans)?;
        self.store.remove_staged()
    }

    /// Files of rows that are not in the lake, and all manifests: whatever a lake may have made, and
    /// nothing else that lies below its root.
    fn unnamed(&self) -> Result<Vec<String>, LakeError> {
        let named = self.manifest.files.iter().chain(&self.written);
        let named: HashSet<&str> = named.map(|file| file.path.as_str()).collect();
        let listed = self.store.list()?;
        // Whoever opens the lake after this look writes names that were not there when it was listed.
        let highest = self.store.manifest_numbers()?.pop();
        if highest != Some(self.manifest.number) {
            let writer = self.store.latest()?.map_or(0, |manifest| manifest.writer);
            return Err(LakeError::Taken(writer));
        }
        let is_ours = |path: &str| part::is_name(path) || Manifest::number_of(path).is_some();
        let unnamed = |path: &String| is_ours(path) && !named.contains(path.as_str());
        Ok(listed.into_iter().filter(unnamed).collect())
    }

    /// Removes every file of rows that is not in the lake, however it came there: a put that was given
    /// up may have arrived since.
    pub fn remove_strays(&self) -> Result<(), LakeError> {
        let mut strays = self.unnamed()?;
        strays.retain(|path| part::is_name(path));
        self.store.remove(&strays)
    }

    /// A name for a new file that no file ever had.
    fn fresh_path(&mut self, file: &LakeFile) -> String {
        self.file_count += 1;
        let folder = part::folder(file.table, file.tenant, file.hour);
        let LakeFile { first_epoch, last_epoch, .. } = file;
        let (opened, count) = (self.opened, self.file_count);
        format!("{folder}/{first_epoch:012}-{last_epoch:012}-{opened}-{count}.parquet")
    }

    /// Puts a file that no manifest names yet.
    pub fn put_file(&mut self, mut file: LakeFile, bytes: &Bytes) -> Result<LakeFile, LakeError> {
        file.path = self.fresh_path(&file);
        let path = file.path.clone();
        match self.store.put(&path, bytes) {
            Ok(Put::Made) => Ok(file),
            // An earlier try of this very put.
            Ok(Put::Exists(found)) if found == *bytes => {
                self.store.sync_found(&path).map(|()| file)
            }
            Ok(Put::Exists(_)) => Err(LakeError::damaged(&path, "another writer uses its name")),
            Err(error) => {
                // Whether it is there is unknown: it is removed with the rest, by and by.
                self.doomed.push(Doomed { path, since: 0 });
                Err(error)
            }
        }
    }

    /// Takes a chunk and writes its files; a chunk that could not be written is kept, and written with
    /// the next.
    pub fn take(&mut self, chunk: Chunk) -> Result<(), LakeError> {
        self.unwritten.push_back(chunk);
        self.write()
    }

    /// Writes all chunks that wait.
    pub fn write(&mut self) -> Result<(), LakeError> {
        while let Some(chunk) = self.unwritten.front() {
            let (records, revisions) = (chunk.records.clone(), chunk.revisions.clone());
            let mut parts = part::split(Table::Records, &records)?;
            parts.extend(part::split(Table::Revisions, &revisions)?);
            let mut files = Vec::with_capacity(parts.len());
            for part in &parts {
                let written =
                    part::encode(part).and_then(|(file, bytes)| self.put_file(file, &bytes));
                match written {
                    Ok(file) => files.push(file),
                    Err(error) => {
                        self.give_up(files);
                        return Err(error);
                    }
                }
            }
            let chunk = self.unwritten.pop_front().expect("it was at the front");
            self.written.append(&mut files);
            let generation = self.progress.generation.max(chunk.progress.generation);
            self.progress = Progress { generation, ..chunk.progress };
        }
        Ok(())
    }

    /// Files that will never be named: they may go at once.
    pub fn give_up(&mut self, files: Vec<LakeFile>) {
        self.doomed.extend(files.into_iter().map(|file| Doomed { path: file.path, since: 0 }));
    }

    /// Makes everything taken so far part of the lake, durably.
    pub fn commit(&mut self) -> Result<(), LakeError> {
        self.write()?;
        if self.written.is_empty() && self.progress == Progress::of(&self.manifest) {
            return Ok(());
        }
        self.replace(&HashSet::new(), &[])
    }

    /// Makes a generation known, durably, so that a counter of a lower one can commit no more.
    pub fn fence(&mut self, generation: u32) -> Result<(), LakeError> {
        self.progress.generation = self.progress.generation.max(generation);
        self.commit()
    }

    /// The next state: without the files in `gone`, with `fresh` ones in their place and all that is
    /// written.
    pub fn replace(&mut self, gone: &HashSet<String>, fresh: &[LakeFile]) -> Result<(), LakeError> {
        let replaced = self.try_replace(gone, fresh);
        if replaced.is_err() {
            // The state that names them may have been made all the same, its answer lost: they stay
            // until the next one tells.
            let since = self.manifest.number + 1;
            let paths = fresh.iter().map(|file| file.path.clone());
            self.doomed.extend(paths.map(|path| Doomed { path, since }));
        }
        replaced
    }

    fn try_replace(&mut self, gone: &HashSet<String>, fresh: &[LakeFile]) -> Result<(), LakeError> {
        self.store.sync_names()?;
        loop {
            let mut next = self.next(gone, fresh);
            let bytes = Bytes::from(next.encode());
            let path = Manifest::name(next.number);
            self.tried.insert(next.checksum.clone());
            match self.store.put(&path, &bytes)? {
                Put::Made => {
                    self.store.sync_names()?;
                    self.adopt(next);
                    return Ok(());
                }
                Put::Exists(found) => {
                    let found = Manifest::decode(&path, &found)?;
                    self.refuse_foreign(&found)?;
                    self.store.sync_found(&path)?;
                    self.store.sync_names()?;
                    let is_next = found.checksum == next.checksum;
                    // Else it is an earlier state, whose answer was lost: the one to go on from.
                    self.adopt(found);
                    if is_next {
                        return Ok(());
                    }
                    self.refuse_overtaken(gone)?;
                }
            }
        }
    }

    /// What is to be replaced must still be there: else its rows would be in twice.
    fn refuse_overtaken(&self, gone: &HashSet<String>) -> Result<(), LakeError> {
        let live = self.manifest.files.iter().filter(|file| gone.contains(&file.path)).count();
        if live == gone.len() { Ok(()) } else { Err(LakeError::Overtaken) }
    }

    fn next(&self, gone: &HashSet<String>, fresh: &[LakeFile]) -> Manifest {
        let Progress { stage, group, generation, epoch, positions } = self.progress.clone();
        let kept = self.manifest.files.iter().filter(|file| !gone.contains(&file.path));
        let positions = positions.into_iter().map(|(partition, to)| CoveredTo { partition, to });
        Manifest {
            number: self.manifest.number + 1,
            writer: self.options.writer,
            stage,
            group,
            generation,
            epoch,
            positions: positions.collect(),
            files: kept.chain(&self.written).chain(fresh).cloned().collect(),
            ..Manifest::empty()
        }
    }

    /// The number is taken: by an earlier try of this writer, or by one that has opened the lake since.
    fn refuse_foreign(&self, found: &Manifest) -> Result<(), LakeError> {
        if self.tried.contains(&found.checksum) {
            return Ok(());
        }
        let latest = self.store.latest()?.unwrap_or_else(|| found.clone());
        Err(if latest.generation > self.progress.generation {
            LakeError::Fenced(latest.generation)
        } else {
            LakeError::Taken(latest.writer)
        })
    }

    fn adopt(&mut self, next: Manifest) {
        let named: HashSet<&str> = next.files.iter().map(|file| file.path.as_str()).collect();
        self.written.retain(|file| !named.contains(file.path.as_str()));
        self.doomed.retain(|doomed| !named.contains(doomed.path.as_str()));
        let dropped = self.manifest.files.iter().filter(|file| !named.contains(file.path.as_str()));
        let since = next.number;
        self.doomed.extend(dropped.map(|file| Doomed { path: file.path.clone(), since }));
        let path = Manifest::name(self.manifest.number);
        self.doomed.push(Doomed { path, since });
        self.tried.clear();
        self.shared.note(&next);
        self.manifest = next;
    }

    /// Removes files that no manifest names, once as many newer states as readers are given have been
    /// made and no lease holds them. A removal that fails is tried again the next time.
    pub fn remove_doomed(&mut self) -> Result<(), LakeError> {
        let newest = self.manifest.number.saturating_sub(self.options.states_kept);
        let free_below = self.shared.lowest_lease().map_or(newest, |lease| lease.min(newest));
        self.remove_where(|doomed| doomed.since <= free_below)
    }

    /// Removes every file of rows that the present state does not name at once, whoever reads it.
    pub fn remove_replaced(&mut self) -> Result<(), LakeError> {
        let present = self.manifest.number;
        self.remove_where(|doomed| doomed.since <= present && doomed.path.ends_with(".parquet"))
    }

    fn remove_where(&mut self, goes: impl Fn(&Doomed) -> bool) -> Result<(), LakeError> {
        let (gone, kept) = std::mem::take(&mut self.doomed).into_iter().partition(goes);
        self.doomed = kept;
        let paths: Vec<String> = gone.iter().map(|doomed: &Doomed| doomed.path.clone()).collect();
        let removed = self.store.remove(&paths);
        if removed.is_err() {
            self.doomed.extend(gone);
        }
        removed
    }
}

/// So many numbers may be taken by others while one is sought.
const CLAIMS_MAX: u32 = 100;

/// Takes the next number, so that whoever opened the lake before can commit no more. A number that was
/// not clearly taken by this very put is another's: the next one costs nothing.
fn claim(store: &mut Store, writer: u64, start: Start) -> Result<Manifest, LakeError> {
    let mut other = writer;
    for _ in 0..CLAIMS_MAX {
        let base = store.latest()?.unwrap_or_else(Manifest::empty);
        let highest = store.manifest_numbers()?.pop().unwrap_or_default().max(base.number);
        other = base.writer;
        let base = match start {
            Start::Kept => base,
            Start::Empty => Manifest::empty(),
        };
        let mut next = Manifest { number: highest + 1, writer, ..base };
        let bytes = Bytes::from(next.encode());
        if let Put::Made = store.put(&Manifest::name(next.number), &bytes)? {
            store.sync_names()?;
            return Ok(next);
        }
    }
    Err(LakeError::Taken(other))
}

/// Empties a lake, so that everything may be counted into it again from the first epoch. Whoever has it
/// open can write no more. To be called outside of any runtime.
pub fn clear(place: &LakePlace, options: LakeOptions) -> Result<(), LakeError> {
    Keeper::open(place.clone(), options, Start::Empty, Arc::default()).map(drop)
}
