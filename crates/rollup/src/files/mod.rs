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
mod fold;
mod hot;
mod leaders;
mod manifest;
mod mend;
mod merge;
mod names;
mod open;
mod options;
mod order;
mod plan;
mod row;
mod run;
mod slide;
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

use self::fold::{Fold, wanted};
use self::hot::{Frozen, Hot};
use self::manifest::{Line, Manifest};
use self::names::Names;
use self::plan::{Need, Stretch, plan};
use self::row::{Key, Select};
use self::run::Run;
use self::slide::{Windows, slide};
use self::top::Ranking;
use self::totals::Totals;
use self::work::{Task, Work};
use crate::{
    Answer, BrokenKind, Counts, Error, Export, Exported, Field, Filter, Granularity, LiveSecond,
    Marks, Query, Refusal, RollupStore, Row, Total,
};

pub use self::manifest::Mend;
pub use self::options::{Cube, Dimensions, Filling, Merging, Options, Pane};
pub use self::verify::{Damage, Report, verify};

/// The most seconds [`RollupStore::live`] answers.
const LIVE_SECONDS_MAX: u32 = 3_600;

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

/// What becomes of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Fresh,
    Again,
}

fn decide(line: &Line, epoch: &Epoch) -> Result<Decision, Refusal> {
    if line.stage != 0 && (line.stage, line.group) != (epoch.stage, epoch.group) {
        return Err(Refusal::OtherLine { stage: line.stage, group: line.group });
    }
    if epoch.generation < line.generation {
        return Err(Refusal::Fenced(line.generation));
    }
    match epoch.number {
        number if number == line.number + 1 => Ok(Decision::Fresh),
        number if (1..=line.number).contains(&number) => Ok(Decision::Again),
        got => Err(Refusal::Gap { expected: line.number + 1, got }),
    }
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
        let is_new = {
            let names = self.names();
            deltas.names.keys().any(|key| !names.has(*key))
        };
        if !is_new {
            return;
        }
        // Sorted, so that which texts the bound keeps does not hang on the order of a hash table.
        let mut texts: Vec<(&u64, &String)> = deltas.names.iter().collect();
        texts.sort_unstable();
        let mut names = self.names_mut();
        for (key, text) in texts {
            if names.len() < self.options.names_max {
                names.learn(*key, text);
            }
        }
    }

    /// Takes everything a question needs that can change, and folds what is not shared.
    fn snapshot(&self, query: &Query, bounds: (i64, i64)) -> Result<Snapshot, Error> {
        let need = Need::of(query, bounds);
        let visible = self.visible();
        let stretches = plan(&need, &visible.durable)?;
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
        let wanted = wanted(query);
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

impl Line {
    fn applied(&self) -> Option<u64> {
        (self.number > 0).then_some(self.number)
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
        if !(1..=LIVE_SECONDS_MAX).contains(&seconds) {
            let fix = format!("ask for 1 to {LIVE_SECONDS_MAX} seconds");
            return Err(Error::question(Field::Seconds, fix));
        }
        let Some(newest) = self.marks().newest else { return Ok(Vec::new()) };
        let to = newest.plus(Timestamp::SECOND);
        let from = to.plus(-i64::from(seconds) * Timestamp::SECOND);
        let filter = Filter { ad, ..Filter::default() };
        let query = Query { filter, ..Query::new(tenant, from, to, Granularity::Second) };
        let rows = self.query(&query)?.rows;
        let mut rows = rows.into_iter().peekable();
        let second = |at: u32| from.plus(i64::from(at) * Timestamp::SECOND);
        Ok((0..seconds)
            .map(|at| {
                let row = rows.next_if(|row| row.bucket == Some(second(at)));
                LiveSecond {
                    second: second(at),
                    counts: row.map_or(Counts::default(), |r| r.counts),
                }
            })
            .collect())
    }

    fn totals(&self) -> Result<Vec<Total>, Error> {
        Ok(self.visible().totals.list())
    }
}
