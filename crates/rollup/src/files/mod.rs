//! The embedded engine: a hot part in memory, sorted columnar runs in files, a numbered manifest.
//!
//! ```text
//!   apply ---> hot: active table -> frozen segments        finest cells, one table for all cubes
//!                                        |
//!   persist                              v  project, sort
//!              runs of each cube and span of time  --- work ---> larger runs, runs of coarser tiers
//!                                        |
//!                                        v
//!              manifest-N: epoch, generation, totals, floors, tiers, work, names of all files
//!
//!   query ---> plan: cheapest exact tiers ---> fold(hot + runs) ---> slide ---> order, cut, texts
//!                                         `--> top(hot + leaders of runs) ---'
//! ```
//!
//! Everything is a sum, so reading is adding the hot part to the runs, and merging runs changes
//! nothing anybody sees. Files are never changed once written; the manifest is replaced as a whole;
//! that is all there is to recovery. Readers work on a snapshot and hold the lock of the hot part only
//! while they scan its active segment (`segment_rows` at most).

mod block;
mod column;
mod commit;
mod export;
mod leaders;
mod manifest;
mod mend;
mod merge;
mod names;
mod open;
mod options;
mod run;
mod spill;
mod top;
mod totals;
mod verify;
mod wire;
mod work;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use reckon_disk::{Disk, Lock};
use reckon_event::{Applied, Deltas, Epoch, TenantId, Timestamp};

use self::block::Wanted;
use self::manifest::Manifest;
use self::run::Run;
use self::totals::Totals;
use self::work::{Task, Work};
use crate::sums::fold::{self, Fold};
use crate::sums::hot::{self, Frozen, Hot};
use crate::sums::line::{Decision, Line, decide};
use crate::sums::names::Names;
use crate::sums::plan::{Need, Stretch, plan};
use crate::sums::ranking::Ranking;
use crate::sums::row::{self, Key, Select};
use crate::sums::slide::{Windows, slide};
use crate::sums::{live, order};
use crate::{
    Answer, BrokenKind, Error, Export, Exported, Granularity, LiveSecond, Marks, Query,
    RollupStore, Row, Total,
};

pub use self::manifest::Mend;
pub use self::options::{Merging, Options};
pub use crate::sums::cube::{Cube, Dimensions, Filling, Pane};

pub use self::verify::{Damage, Report, verify};

/// A rollup in a folder of its own.
pub struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    writer: Mutex<Writer>,
    visible: RwLock<Visible>,
    names: RwLock<Names>,
    /// Nobody else writes here while this is held.
    _lock: Lock,
}

/// What only `apply` and `persist` touch; its lock is what makes them take turns.
#[derive(Default)]
struct Writer {
    /// A failed `persist` left the outcome open.
    poisoned: bool,
    /// Runs no manifest names any more; removed when the last reader lets go.
    retired: Vec<Arc<Run>>,
    /// Other files no manifest names any more.
    strays: Vec<PathBuf>,
    /// What the manifest in force says is to be done.
    work: Option<Work>,
}

/// What questions see.
struct Visible {
    hot: Hot,
    line: Line,
    newest: i64,
    totals: Totals,
    durable: Arc<Durable>,
}

/// A manifest and its runs.
struct Durable {
    manifest: Manifest,
    runs: Vec<Arc<Run>>,
}

impl Files {
    /// Opens the rollup in `dir`, or makes an empty one, and removes the strays of a crash. Where it
    /// was made with other cubes, new ones are filled from the old and removed ones dropped;
    /// [`BrokenKind::Mismatch`] where no old cube has what a new one keeps.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Result<Self, Error> {
        options.check()?;
        let opened = open::open(&disk, dir, &options)?;
        let manifest = &opened.durable.manifest;
        let task = Task::of(&disk, dir, manifest, &opened.durable.runs);
        let work = task.map(|task| Work::begin(task, options.merging));
        let visible = Visible {
            hot: Hot::new(options.segment_rows),
            line: manifest.line,
            newest: manifest.newest,
            totals: manifest.totals.clone(),
            durable: Arc::new(opened.durable),
        };
        Ok(Files {
            disk,
            dir: dir.to_owned(),
            options,
            writer: Mutex::new(Writer { work, ..Writer::default() }),
            visible: RwLock::new(visible),
            names: RwLock::new(opened.names),
            _lock: opened.lock,
        })
    }

    /// Takes the writer's turn.
    fn writer(&self) -> Result<MutexGuard<'_, Writer>, Error> {
        match self.writer.lock() {
            Ok(writer) if !writer.poisoned => Ok(writer),
            _ => Err(Error::broken(
                BrokenKind::Poisoned,
                &self.dir.display(),
                "an earlier write failed: open the store anew",
            )),
        }
    }

    // A panic while the hot part is written to also poisons the writer's lock, so nothing is taken
    // or made durable after it; what readers then see ends with this process.
    fn visible(&self) -> RwLockReadGuard<'_, Visible> {
        self.visible.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn visible_mut(&self) -> RwLockWriteGuard<'_, Visible> {
        self.visible.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn names_mut(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the texts of an epoch, up to the bound. Mostly there is nothing new.
    fn learn(&self, deltas: &Deltas) {
        if !self.names().has_all(deltas) {
            self.names_mut().learn_all(deltas, self.options.names_max);
        }
    }

    /// Takes everything a question needs that can change, and folds what is not shared.
    fn snapshot(&self, query: &Query, bounds: (i64, i64)) -> Result<Snapshot, Error> {
        let need = Need::of(query, bounds);
        let visible = self.visible();
        let stretches = visible.durable.plan(&need)?;
        let (from, to) = (need.from, need.to);
        let select = Select { tenant: Some(query.tenant.0), filter: query.filter, from, to };
        let mut fold = Fold::new(query, (from, to), self.options.groups_max);
        let mut outcome = Ok(());
        visible.hot.scan_active(&select, |row| {
            if outcome.is_ok() {
                outcome = fold.add(row);
            }
        });
        outcome?;
        Ok(Snapshot {
            stretches,
            select,
            fold,
            frozen: visible.hot.frozen(),
            durable: Arc::clone(&visible.durable),
            applied: visible.line.applied(),
        })
    }
}

impl Files {
    /// The rows of what has been folded.
    fn rows(&self, fold: Fold, query: &Query, (from, to): (i64, i64)) -> Result<Vec<Row>, Error> {
        if let Granularity::Sliding { window, step } = query.granularity {
            let windows = Windows { from, to, window: i64::from(window), step: i64::from(step) };
            let groups = slide(fold.into_groups(), windows, self.options.groups_max)?;
            return order::rows(groups, query, &self.names());
        }
        if fold.is_series() && query.order_by.is_none() {
            return Ok(order::rows_of_series(fold, query));
        }
        order::rows(fold.into_groups(), query, &self.names())
    }
}

/// What a question is answered from.
struct Snapshot {
    stretches: Vec<Stretch>,
    select: Select,
    fold: Fold,
    frozen: Vec<Arc<Frozen>>,
    durable: Arc<Durable>,
    applied: Option<u64>,
}

impl Snapshot {
    /// Adds the frozen segments to what has been folded.
    fn fold_frozen(&mut self) -> Result<(), Error> {
        let Snapshot { select, fold, frozen, .. } = self;
        for segment in frozen.iter() {
            let mut outcome = Ok(());
            segment.scan(select, |row| {
                if outcome.is_ok() {
                    outcome = fold.add(row);
                }
            });
            outcome?;
        }
        Ok(())
    }

    /// Adds the runs.
    fn fold_runs(&mut self, disk: &dyn Disk, query: &Query) -> Result<(), Error> {
        let Snapshot { stretches, select, fold, durable, .. } = self;
        let wanted = Wanted::of(query);
        for stretch in stretches.iter() {
            let shape = durable.shape(stretch.cube);
            let select = Select { from: stretch.from, to: stretch.to, ..*select };
            for run in durable.runs_of(stretch.cube) {
                run.scan(disk, shape, (&select, wanted), |row| fold.add(row))?;
            }
        }
        Ok(())
    }

    /// The names of the cubes it is read from, in the order of time.
    fn cubes(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for stretch in &self.stretches {
            let name = self.durable.manifest.cubes[stretch.cube].name.as_str();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join("+")
    }
}

impl Durable {
    /// The stretches that answer.
    fn plan(&self, need: &Need) -> Result<Vec<Stretch>, Error> {
        plan(need, &self.manifest.cubes, |place, pane| {
            let overlapping = self.runs_of(place).filter(|run| run.overlaps(need.from, need.to));
            overlapping
                .map(|run| (run.meta.least, run.meta.greatest + pane, run.meta.rows))
                .collect()
        })
    }

    /// What a cube keeps, and the width of its panes in seconds.
    fn shape(&self, cube: usize) -> (Dimensions, i64) {
        let cube = &self.manifest.cubes[cube];
        (cube.dimensions, cube.pane.seconds())
    }

    fn runs_of(&self, cube: usize) -> impl Iterator<Item = &Arc<Run>> {
        self.runs.iter().filter(move |run| usize::from(run.meta.cube) == cube)
    }
}

impl Drop for Files {
    /// Whoever opens the folder next writes to it alone.
    fn drop(&mut self) {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = writer.work.take() {
            work.stop();
        }
    }
}

impl RollupStore for Files {
    fn apply(&self, epoch: &Epoch, deltas: &Deltas) -> Result<Applied, Error> {
        let mut writer = self.writer()?;
        let (decision, is_full) = {
            let visible = self.visible();
            (decide(&visible.line, epoch)?, visible.hot.len() >= self.options.hot_rows_max)
        };
        if decision == Decision::Again {
            self.visible_mut().line.generation = epoch.generation;
            return Ok(Applied::Again);
        }
        if is_full {
            self.commit(&mut writer)?;
        }
        self.learn(deltas);
        let mut visible = self.visible_mut();
        let Visible { hot, line, newest, totals, .. } = &mut *visible;
        for (cell, measure) in &deltas.cells {
            let key = Key::of(cell);
            hot.add(key, *measure);
            totals.add(key.tenant, key.kind, key.verdict, measure.count);
            *newest = (*newest).max(key.second);
        }
        *line = Line {
            stage: epoch.stage,
            group: epoch.group,
            generation: epoch.generation,
            number: epoch.number,
        };
        Ok(Applied::Fresh)
    }

    fn persist(&self) -> Result<u64, Error> {
        let mut writer = self.writer()?;
        self.commit(&mut writer)
    }

    fn marks(&self) -> Marks {
        let visible = self.visible();
        Marks {
            applied: visible.line.applied(),
            persisted: visible.durable.manifest.line.applied(),
            generation: visible.line.generation,
            newest: (visible.newest != i64::MIN).then(|| Timestamp::from_seconds(visible.newest)),
        }
    }

    fn query(&self, query: &Query) -> Result<Answer, Error> {
        let (from, to) = query.bounds()?;
        let mut snapshot = self.snapshot(query, (from, to))?;
        snapshot.fold_frozen()?;
        match Ranking::of(query) {
            Some(ranking) => snapshot.fold_leaders(&*self.disk, ranking)?,
            None => snapshot.fold_runs(&*self.disk, query)?,
        }
        Ok(Answer {
            from: Timestamp::from_seconds(from),
            to: Timestamp::from_seconds(to),
            applied: snapshot.applied,
            cube: snapshot.cubes(),
            rows: self.rows(snapshot.fold, query, (from, to))?,
        })
    }

    fn export(&self, export: &Export) -> Result<Exported, Error> {
        self.export_rows(export)
    }

    fn rebuild(
        &self,
        tenant: TenantId,
        from: Timestamp,
        to: Timestamp,
        figures: &Deltas,
    ) -> Result<u64, Error> {
        self.replace(tenant, (from, to), figures)
    }

    fn live(
        &self,
        tenant: TenantId,
        ad: Option<u64>,
        seconds: u32,
    ) -> Result<Vec<LiveSecond>, Error> {
        live::live(self, tenant, ad, seconds)
    }

    fn totals(&self) -> Result<Vec<Total>, Error> {
        Ok(self.visible().totals.list())
    }
}
