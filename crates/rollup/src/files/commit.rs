//! The commit: hot rows become runs, work that is done is put into force, a manifest names it all.
//!
//! The order is what makes it safe: files are written and synced, then the folder, then the manifest
//! is put in place and the folder synced again; only then is anything removed. A crash before the
//! manifest leaves strays, a crash after it leaves files nobody names; opening removes both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::hot::Frozen;
use super::manifest::{Line, Manifest, manifest_path};
use super::merge::wide;
use super::names::{names_path, write_names};
use super::open::put_manifest;
use super::options::Cube;
use super::row::Row;
use super::run::{Folder, Run, RunMeta, Span};
use super::spill::{Segments, Spill};
use super::totals::Totals;
use super::work::{Task, Work, decide, settle};
use super::{Durable, Files, Writer};
use crate::Error;

/// Files of texts after which they are rewritten as one.
const NAMES_FILES_MAX: usize = 8;

/// What a commit makes durable.
pub(super) struct Hand {
    frozen: Vec<Arc<Frozen>>,
    line: Line,
    newest: i64,
    totals: Totals,
    before: Arc<Durable>,
}

impl Hand {
    /// What is not in files yet.
    pub(super) fn frozen(&self) -> &[Arc<Frozen>] {
        &self.frozen
    }
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
        next.take_work(writer, false)?;
        next.raise_floors();
        next.write_runs(&hand.frozen)?;
        next.drop_beyond_budget();
        next.decide();
        next.drop_below_floors();
        next.publish()?;
        self.put_in_force(writer, next, hand);
        Ok(self.visible().line.number)
    }

    /// Shows what a manifest that is in place names, begins the work it names, and removes what it
    /// does not name.
    pub(super) fn put_in_force(&self, writer: &mut Writer, next: Next<'_>, hand: Hand) {
        let Next { manifest, runs, retired, mut strays, .. } = next;
        if hand.before.manifest.number > 0 {
            strays.push(manifest_path(&self.dir, hand.before.manifest.number));
        }
        if writer.work.is_none() {
            let task = Task::of(&self.disk, &self.dir, &manifest, &runs);
            writer.work = task.map(|task| Work::begin(task, self.options.merging));
        }
        self.forget_leaders(&runs);
        self.show(Durable { manifest, runs }, hand.frozen.len());
        // What is read by nobody can go.
        drop(hand);
        writer.retired.extend(retired);
        writer.strays.extend(strays);
        writer.poisoned = false;
        self.sweep(writer);
    }

    pub(super) fn hand(&self) -> Hand {
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
        visible.totals.clone_from(&durable.manifest.totals);
        visible.newest = durable.manifest.newest;
        visible.durable = Arc::new(durable);
        visible.hot.forget(segments);
        drop(visible);
        self.names_mut().settle();
    }

    /// Keeps the leaders of the latest runs in memory, within their bound.
    fn forget_leaders(&self, runs: &[Arc<Run>]) {
        let mut latest: Vec<&Arc<Run>> = runs.iter().collect();
        latest.sort_by_key(|run| std::cmp::Reverse((run.meta.greatest, run.meta.id)));
        let mut bytes = 0;
        for run in latest {
            bytes += run.leaders_bytes();
            if bytes > self.options.leaders_bytes_max {
                run.forget_leaders();
            }
        }
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
pub(super) struct Next<'a> {
    files: &'a Files,
    pub folder: Folder<'a>,
    pub manifest: Manifest,
    pub runs: Vec<Arc<Run>>,
    retired: Vec<Arc<Run>>,
    strays: Vec<PathBuf>,
}

impl<'a> Next<'a> {
    pub(super) fn new(files: &'a Files, hand: &Hand) -> Self {
        let before = &hand.before.manifest;
        Next {
            files,
            folder: Folder { disk: &*files.disk, dir: &files.dir, last_file: before.last_file },
            manifest: Manifest {
                number: before.number + 1,
                commits: before.commits + 1,
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

    pub(super) fn write_names(&mut self) -> Result<(), Error> {
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
    pub(super) fn write_runs(&mut self, frozen: &[Arc<Frozen>]) -> Result<(), Error> {
        let cubes = (0u16..).zip(&self.manifest.cubes);
        let mut spills: Vec<Spill> =
            cubes.map(|(place, cube)| Spill::new(place, cube, cube.floor..cube.taken)).collect();
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
            self.add_runs(written);
        }
        Ok(())
    }

    pub(super) fn add_runs(&mut self, written: Vec<RunMeta>) {
        let dir = self.folder.dir;
        self.runs.extend(written.into_iter().map(|meta| Arc::new(Run::new(dir, meta))));
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

    /// Puts work into force whose outcome this commit names: at once where `all` is set.
    pub(super) fn take_work(&mut self, writer: &mut Writer, all: bool) -> Result<(), Error> {
        if !all && self.manifest.commits < self.manifest.pending.due {
            return Ok(());
        }
        let Files { disk, dir, .. } = self.files;
        let task = || Task::of(disk, dir, &self.manifest, &self.runs).map(Work::Later);
        let Some(work) = writer.work.take().or_else(task) else { return Ok(()) };
        let outcome = work.finish()?;
        let dir = self.folder.dir;
        let retired = settle(&mut self.manifest, &mut self.runs, dir, outcome);
        self.retired.extend(retired);
        Ok(())
    }

    /// Decides on the next work, where none is under way.
    pub(super) fn decide(&mut self) {
        self.manifest.last_file = self.folder.last_file;
        decide(&mut self.manifest, &self.runs, &self.files.options);
        self.folder.last_file = self.manifest.last_file;
    }

    /// Puts the manifest in place. From here on this is what a crash leaves.
    pub(super) fn publish(&mut self) -> Result<(), Error> {
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
