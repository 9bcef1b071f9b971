//! Opening a folder, and the commit: hot rows become runs, runs are merged, a manifest names it all.
//!
//! The order is what makes it safe: files are written and synced, then the folder, then the manifest
//! is put in place and the folder synced again; only then is anything removed. A crash before the
//! manifest leaves strays, a crash after it leaves files nobody names; opening removes both.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_disk::{Disk, Lock, read_all, write_whole};

use super::hot::Frozen;
use super::manifest::{Declared, Line, Manifest, manifest_number, manifest_path};
use super::merge::{Merge, due, merge_runs, wide};
use super::names::{Names, names_path, write_names};
use super::options::{Cube, Options};
use super::row::Row;
use super::run::{Folder, Run, RunMeta, Span, run_path};
use super::spill::{Segments, Spill};
use super::totals::Totals;
use super::{Durable, Files, Writer};
use crate::{BrokenKind, Error};

/// Files of texts after which they are rewritten as one.
const NAMES_FILES_MAX: usize = 8;

/// What a folder holds.
pub(super) struct Opened {
    pub durable: Durable,
    pub names: Names,
    pub lock: Lock,
}

/// Reads the manifest in force and removes everything it does not name.
pub(super) fn open(disk: &dyn Disk, dir: &Path, options: &Options) -> Result<Opened, Error> {
    let failed = |error| Error::io(&dir.display(), error);
    disk.create_dir_all(dir).map_err(failed)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent).map_err(failed)?;
    }
    let lock = disk.lock(&dir.join("lock")).map_err(failed)?;
    let files = disk.list(dir).map_err(failed)?;
    let mut manifest = match read_newest_manifest(disk, dir, &files)? {
        Some(manifest) => check_cubes(manifest, options, dir)?,
        None => Manifest {
            newest: i64::MIN,
            cubes: options.cubes.iter().map(Declared::of).collect(),
            ..Manifest::default()
        },
    };
    let named = named_files(dir, &manifest);
    let present: HashSet<&PathBuf> = files.iter().collect();
    if let Some(missing) = named.iter().find(|path| !present.contains(path)) {
        return Err(Error::damaged(&missing.display(), "the file is missing"));
    }
    for stray in files.iter().filter(|path| is_own(path) && !named.contains(*path)) {
        disk.remove(stray).map_err(|error| Error::io(&stray.display(), error))?;
    }
    if manifest.number > 0 {
        renew(disk, dir, &mut manifest)?;
    }
    let mut names = Names::default();
    for id in &manifest.names {
        names.load(disk, dir, *id)?;
    }
    let runs = manifest.runs.iter().map(|meta| Arc::new(Run::new(dir, *meta))).collect();
    Ok(Opened { durable: Durable { manifest, runs }, names, lock })
}

/// Writes the manifest again under the next number. Its name may be there only because a process
/// whose sync of the folder failed is gone: what is built upon must be durable for certain.
fn renew(disk: &dyn Disk, dir: &Path, manifest: &mut Manifest) -> Result<(), Error> {
    let old = manifest_path(dir, manifest.number);
    manifest.number += 1;
    put_manifest(disk, dir, manifest)?;
    disk.remove(&old).map_err(|error| Error::io(&old.display(), error))
}

/// Makes the names of all files durable, then puts the manifest in place.
fn put_manifest(disk: &dyn Disk, dir: &Path, manifest: &Manifest) -> Result<(), Error> {
    disk.sync_dir(dir).map_err(|error| Error::io(&dir.display(), error))?;
    let path = manifest_path(dir, manifest.number);
    let written = write_whole(disk, &path, &manifest.encode());
    written.map_err(|error| Error::io(&path.display(), error))
}

/// The manifest with the highest number; `None` in an empty folder.
pub(super) fn read_newest_manifest(
    disk: &dyn Disk,
    dir: &Path,
    files: &[PathBuf],
) -> Result<Option<Manifest>, Error> {
    let Some(number) = files.iter().filter_map(|path| manifest_number(path)).max() else {
        return Ok(None);
    };
    let path = manifest_path(dir, number);
    let bytes = read_all(disk, &path).map_err(|error| Error::io(&path.display(), error))?;
    let manifest = bytes.as_deref().and_then(Manifest::decode).filter(|m| m.number == number);
    match manifest {
        Some(manifest) => Ok(Some(manifest)),
        None => Err(Error::damaged(&path.display(), "it is not a manifest of this version")),
    }
}

fn check_cubes(manifest: Manifest, options: &Options, dir: &Path) -> Result<Manifest, Error> {
    let same = manifest.cubes.len() == options.cubes.len()
        && manifest.cubes.iter().zip(&options.cubes).all(|(declared, cube)| declared.is(cube));
    if same {
        return Ok(manifest);
    }
    let held: Vec<&str> = manifest.cubes.iter().map(|cube| cube.name.as_str()).collect();
    Err(Error::broken(
        BrokenKind::Mismatch,
        &dir.display(),
        format!(
            "the folder was made with other cubes ({}): declare these, or rebuild into a new folder",
            held.join(", ")
        ),
    ))
}

/// Every file a manifest names, itself included.
pub(super) fn named_files(dir: &Path, manifest: &Manifest) -> BTreeSet<PathBuf> {
    let own = (manifest.number > 0).then(|| manifest_path(dir, manifest.number));
    let runs = manifest.runs.iter().map(|run| run_path(dir, run.id));
    let names = manifest.names.iter().map(|id| names_path(dir, *id));
    own.into_iter().chain(runs).chain(names).collect()
}

/// True for files this store may have written; others are left alone.
pub(super) fn is_own(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["run-", "names-", "manifest-"].iter().any(|prefix| name.starts_with(prefix))
}

/// What a commit makes durable.
struct Hand {
    frozen: Vec<Arc<Frozen>>,
    line: Line,
    newest: i64,
    totals: Totals,
    before: Arc<Durable>,
}

impl Files {
    /// Makes everything applied durable; see [`crate::RollupStore::persist`].
    pub(super) fn commit(&self, writer: &mut Writer) -> Result<u64, Error> {
        let hand = self.hand();
        if hand.line == hand.before.manifest.line {
            return Ok(hand.line.number);
        }
        writer.poisoned = true;
        let mut next = Next::new(self, &hand);
        next.write_names()?;
        next.raise_floors();
        next.write_runs(&hand.frozen)?;
        next.drop_beyond_budget();
        next.merge()?;
        next.drop_below_floors();
        next.publish()?;
        let Next { manifest, runs, retired, mut strays, .. } = next;
        if hand.before.manifest.number > 0 {
            strays.push(manifest_path(&self.dir, hand.before.manifest.number));
        }
        self.show(Durable { manifest, runs }, hand.frozen.len());
        drop(hand);
        writer.retired.extend(retired);
        writer.strays.extend(strays);
        writer.poisoned = false;
        self.sweep(writer);
        Ok(self.visible().line.number)
    }

    fn hand(&self) -> Hand {
        let mut visible = self.visible_mut();
        visible.hot.freeze();
        Hand {
            frozen: visible.hot.frozen(),
            line: visible.line,
            newest: visible.newest,
            totals: visible.totals.clone(),
            before: Arc::clone(&visible.durable),
        }
    }

    /// From here on questions read the files instead of the segments they were made of.
    fn show(&self, durable: Durable, segments: usize) {
        let mut visible = self.visible_mut();
        visible.durable = Arc::new(durable);
        visible.hot.forget(segments);
        drop(visible);
        self.names_mut().settle();
    }

    /// Removes what nobody names and nobody reads. What cannot be removed now is tried again with
    /// the next commit, and at the next opening.
    fn sweep(&self, writer: &mut Writer) {
        writer
            .retired
            .retain(|run| Arc::strong_count(run) > 1 || self.disk.remove(run.path()).is_err());
        writer.strays.retain(|path| self.disk.remove(path).is_err());
    }
}

/// The next state of the folder, while it is being made.
struct Next<'a> {
    files: &'a Files,
    folder: Folder<'a>,
    manifest: Manifest,
    runs: Vec<Arc<Run>>,
    retired: Vec<Arc<Run>>,
    strays: Vec<PathBuf>,
}

impl<'a> Next<'a> {
    fn new(files: &'a Files, hand: &Hand) -> Self {
        let before = &hand.before.manifest;
        Next {
            files,
            folder: Folder { disk: &*files.disk, dir: &files.dir, last_file: before.last_file },
            manifest: Manifest {
                number: before.number + 1,
                line: hand.line,
                newest: hand.newest,
                totals: hand.totals.clone(),
                ..before.clone()
            },
            runs: hand.before.runs.clone(),
            retired: Vec::new(),
            strays: Vec::new(),
        }
    }

    fn cubes(&self) -> impl Iterator<Item = (u16, &'a Cube)> + use<'a> {
        (0u16..).zip(&self.files.options.cubes)
    }

    fn write_names(&mut self) -> Result<(), Error> {
        let names = self.files.names();
        let fresh = names.fresh();
        if fresh.is_empty() {
            return Ok(());
        }
        let rewrite = self.manifest.names.len() >= NAMES_FILES_MAX;
        let texts = if rewrite { names.all() } else { fresh };
        drop(names);
        let id = self.folder.next_file();
        let dir = self.folder.dir;
        write_names(self.folder.disk, dir, id, &texts)?;
        if rewrite {
            let old = std::mem::take(&mut self.manifest.names);
            self.strays.extend(old.into_iter().map(|id| names_path(dir, id)));
        }
        self.manifest.names.push(id);
        Ok(())
    }

    /// Raises floors to what retention asks to keep.
    fn raise_floors(&mut self) {
        let newest = self.manifest.newest;
        for (declared, cube) in self.manifest.cubes.iter_mut().zip(&self.files.options.cubes) {
            if let Some(kept) = cube.retention
                && newest != i64::MIN
            {
                let floor = Span::of(newest + 1 - i64::from(kept), wide(cube.pane)).start;
                // Nothing can have been dropped before the first span ends.
                declared.floor = declared.floor.max(floor.max(0));
            }
        }
    }

    /// Writes what the segments add to each cube.
    fn write_runs(&mut self, frozen: &[Arc<Frozen>]) -> Result<(), Error> {
        let floors = self.manifest.cubes.iter().map(|cube| cube.floor);
        let mut spills: Vec<Spill> = self
            .cubes()
            .zip(floors)
            .map(|((place, cube), floor)| Spill::new(place, cube, floor))
            .collect();
        let segments: Vec<&[Row]> = frozen.iter().map(|segment| segment.rows()).collect();
        let mut segments = Segments::new(segments);
        let mut batch = Vec::new();
        while segments.fill(&mut batch) {
            for spill in &mut spills {
                spill.add(&batch, &mut self.folder)?;
            }
        }
        for spill in spills {
            let written = spill.finish(&mut self.folder)?;
            let dir = self.folder.dir;
            self.runs.extend(written.into_iter().map(|meta| Arc::new(Run::new(dir, meta))));
        }
        Ok(())
    }

    /// Raises floors until each cube fits its budget: the oldest spans go first.
    fn drop_beyond_budget(&mut self) {
        for (place, cube) in self.cubes() {
            let Some(budget) = cube.bytes_max else { continue };
            let mut bytes_by_span: BTreeMap<Span, u64> = BTreeMap::new();
            for run in self.runs.iter().filter(|run| run.meta.cube == place) {
                *bytes_by_span.entry(run.meta.span).or_default() += run.meta.bytes;
            }
            let floor = &mut self.manifest.cubes[usize::from(place)].floor;
            *floor = floor_within(budget, &bytes_by_span, *floor);
        }
        self.drop_below_floors();
    }

    fn drop_below_floors(&mut self) {
        let floors: Vec<i64> = self.manifest.cubes.iter().map(|cube| cube.floor).collect();
        self.retire(|run| run.span.end() <= floors[usize::from(run.cube)]);
    }

    fn retire(&mut self, goes: impl Fn(&RunMeta) -> bool) {
        let (gone, kept) = std::mem::take(&mut self.runs).into_iter().partition(|r| goes(&r.meta));
        self.runs = kept;
        self.retired.extend::<Vec<_>>(gone);
    }

    fn merge(&mut self) -> Result<(), Error> {
        let metas = self.runs.iter().map(|run| &run.meta);
        for merge in due(metas, &self.files.options, self.manifest.newest) {
            self.merge_one(&merge)?;
        }
        Ok(())
    }

    fn merge_one(&mut self, merge: &Merge) -> Result<(), Error> {
        let is_input = |run: &RunMeta| merge.inputs.contains(&run.id);
        let inputs: Vec<Arc<Run>> =
            self.runs.iter().filter(|run| is_input(&run.meta)).cloned().collect();
        let meta = self.folder.run(merge.cube, merge.span);
        let pane_seconds = self.files.options.cubes[usize::from(merge.cube)].pane.seconds();
        let written = merge_runs(&self.folder, &inputs, meta, pane_seconds)?;
        self.retire(is_input);
        let dir = self.folder.dir;
        self.runs.extend(written.map(|meta| Arc::new(Run::new(dir, meta))));
        Ok(())
    }

    /// Puts the manifest in place. From here on this is what a crash leaves.
    fn publish(&mut self) -> Result<(), Error> {
        self.manifest.last_file = self.folder.last_file;
        self.runs.sort_by_key(|run| run.meta.id);
        self.manifest.runs = self.runs.iter().map(|run| run.meta).collect();
        put_manifest(self.folder.disk, self.folder.dir, &self.manifest)
    }
}

/// The least floor, not below `floor`, above which spans fit the budget.
fn floor_within(budget: u64, bytes_by_span: &BTreeMap<Span, u64>, floor: i64) -> i64 {
    let kept = || bytes_by_span.iter().filter(|(span, _)| span.end() > floor);
    let mut bytes: u64 = kept().map(|(_, bytes)| bytes).sum();
    let mut raised = floor;
    for (span, size) in kept() {
        if bytes <= budget {
            break;
        }
        bytes -= size;
        raised = span.end();
    }
    raised
}
