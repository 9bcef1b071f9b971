//! Work beside the counter: merging runs and sealing tiers.
//!
//! What is to be done is decided by a commit, as a pure function of what it names, and stands in its
//! manifest. Which later commit names what came of it is decided there, too; that commit waits where
//! the work is not done by then. So the same epochs and markers give the same files whether the work
//! is done on a thread or within the commit, and a process that died in between goes on with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use reckon_disk::Disk;

use super::manifest::{Declared, Job, Manifest};
use super::merge::{Proceed, due, merge_runs, narrow, seal_runs, wide};
use super::options::{Filling, Merging, Options, source_of};
use super::run::{Folder, Run, RunMeta, Span};
use super::spill::Spill;
use crate::{BrokenKind, Error};

/// Rows of work for which a commit more passes before its outcome is named: about a second's worth,
/// and commits are seconds apart, so that none of them has to wait.
const ROWS_PER_COMMIT: u64 = 1_000_000;

/// What came of each job: a run, or nothing where everything cancels.
type Outcome = Vec<Option<RunMeta>>;

/// Jobs with what they read.
pub(super) struct Task {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    cubes: Vec<Declared>,
    jobs: Vec<(Job, Vec<Arc<Run>>)>,
    proceed: Proceed,
}

impl Task {
    /// The work a manifest names; `None` where it names none.
    pub(super) fn of(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        manifest: &Manifest,
        runs: &[Arc<Run>],
    ) -> Option<Self> {
        let inputs = |job: &Job| {
            runs.iter().filter(|run| job.inputs.contains(&run.meta.id)).cloned().collect()
        };
        let jobs = manifest.pending.jobs.iter().map(|job| (job.clone(), inputs(job)));
        let jobs: Vec<(Job, Vec<Arc<Run>>)> = jobs.collect();
        (!jobs.is_empty()).then(|| Task {
            disk: Arc::clone(disk),
            dir: dir.to_owned(),
            cubes: manifest.cubes.clone(),
            jobs,
            proceed: Proceed::default(),
        })
    }

    /// Does it.
    pub(super) fn run(&self) -> Result<Outcome, Error> {
        self.jobs.iter().map(|(job, inputs)| self.run_one(job, inputs)).collect()
    }

    fn run_one(&self, job: &Job, inputs: &[Arc<Run>]) -> Result<Option<RunMeta>, Error> {
        // The next file of this folder is the one of the job.
        let mut folder = Folder { disk: &*self.disk, dir: &self.dir, last_file: job.id - 1 };
        let cube = &self.cubes[usize::from(job.cube)];
        let Some((from, to)) = job.seals else {
            let meta = folder.run(job.cube, job.span);
            let shape = (cube.dimensions, cube.pane.seconds());
            return merge_runs(&folder, inputs, meta, shape, &self.proceed);
        };
        let Some(first) = inputs.first() else { return Ok(None) };
        let source_pane = self.cubes[usize::from(first.meta.cube)].pane.seconds();
        let spill = Spill::new(job.cube, cube, from..to);
        let made = seal_runs(&mut folder, (inputs, source_pane), spill, &self.proceed)?;
        assert!(made.len() <= 1, "a tier is sealed within one span at a time");
        Ok(made.into_iter().next())
    }
}

/// Work under way.
pub(super) enum Work {
    /// It is done when its outcome is asked for.
    Later(Task),
    /// On a thread of its own.
    Running { proceed: Proceed, thread: JoinHandle<Result<Outcome, Error>> },
}

impl Work {
    pub(super) fn begin(task: Task, merging: Merging) -> Self {
        match merging {
            Merging::Inline => Work::Later(task),
            Merging::Thread => {
                let proceed = task.proceed.clone();
                Work::Running { proceed, thread: std::thread::spawn(move || task.run()) }
            }
        }
    }

    /// Waits until it is done.
    pub(super) fn finish(self) -> Result<Outcome, Error> {
        match self {
            Work::Later(task) => task.run(),
            Work::Running { thread, .. } => thread.join().unwrap_or_else(|_| {
                Err(Error::broken(BrokenKind::Poisoned, &"merging", "its thread has panicked"))
            }),
        }
    }

    /// Ends it, done or not: nobody writes to the folder afterwards.
    pub(super) fn stop(self) {
        if let Work::Running { proceed, thread } = self {
            proceed.stop();
            // Whatever came of it is made again by whoever opens the folder next.
            drop(thread.join());
        }
    }
}

/// Puts what came of the work into force, and returns the runs nobody names any more.
pub(super) fn settle(
    manifest: &mut Manifest,
    runs: &mut Vec<Arc<Run>>,
    dir: &Path,
    outcome: Outcome,
) -> Vec<Arc<Run>> {
    let pending = std::mem::take(&mut manifest.pending);
    let mut retired = Vec::new();
    for (job, made) in pending.jobs.iter().zip(outcome) {
        match job.seals {
            Some((_, to)) => manifest.cubes[usize::from(job.cube)].sealed = to,
            None => {
                let is_input = |run: &Arc<Run>| job.inputs.contains(&run.meta.id);
                retired.extend(runs.extract_if(.., |run| is_input(run)));
            }
        }
        runs.extend(made.map(|meta| Arc::new(Run::new(dir, meta))));
    }
    retired
}

/// Decides what is to be done next, where nothing is under way.
pub(super) fn decide(manifest: &mut Manifest, runs: &[Arc<Run>], options: &Options) {
    if !manifest.pending.jobs.is_empty() {
        return;
    }
    let mut jobs = Vec::new();
    for place in 0..options.cubes.len() {
        jobs.extend(seal(&mut manifest.cubes, place, runs, options, manifest.newest));
    }
    let metas = runs.iter().map(|run| &run.meta);
    jobs.extend(due(metas, options, manifest.newest).into_iter().map(|merge| Job {
        id: 0,
        cube: merge.cube,
        span: merge.span,
        inputs: merge.inputs,
        seals: None,
    }));
    for job in &mut jobs {
        manifest.last_file += 1;
        job.id = manifest.last_file;
    }
    let is_input = |run: &&Arc<Run>| jobs.iter().any(|job| job.inputs.contains(&run.meta.id));
    let rows: u64 = runs.iter().filter(is_input).map(|run| run.meta.rows).sum();
    manifest.pending.due = manifest.commits + 1 + rows / ROWS_PER_COMMIT;
    manifest.pending.jobs = jobs;
}

/// The next part of a tier that can be sealed, if any. From here on what comes late for it goes into
/// it with every commit.
fn seal(
    cubes: &mut [Declared],
    place: usize,
    runs: &[Arc<Run>],
    options: &Options,
    newest: i64,
) -> Option<Job> {
    if options.cubes[place].filling == Filling::AtOnce || newest == i64::MIN {
        return None;
    }
    let source = source_of(&options.cubes, place).expect("checked when the store is opened");
    if cubes[source].sealed == i64::MIN {
        return None;
    }
    let pane = cubes[place].pane;
    let past = (newest + 1 - pane.lag_seconds()).min(cubes[source].sealed);
    let to = past.div_euclid(pane.seconds()) * pane.seconds();
    let taken = cubes[place].taken;
    if to <= taken {
        return None;
    }
    let is_input =
        |run: &&Arc<Run>| usize::from(run.meta.cube) == source && run.overlaps(taken, to);
    let Some(least) = runs.iter().filter(is_input).map(|run| run.meta.least).min() else {
        (cubes[place].sealed, cubes[place].taken) = (to, to);
        return None;
    };
    // At most one run comes of it, and it reads about one wide span.
    let from = (least.div_euclid(pane.seconds()) * pane.seconds()).max(taken);
    let span = Span::of(from, narrow(pane));
    let wide = Span::of(from, wide(cubes[source].pane)).end();
    let to = to.min(span.end()).min(wide.max(from + pane.seconds()));
    let inputs = runs.iter().filter(is_input).filter(|run| run.overlaps(from, to));
    let inputs = inputs.map(|run| run.meta.id).collect();
    cubes[place].taken = to;
    let cube = u16::try_from(place).expect("cubes are few");
    Some(Job { id: 0, cube, span, inputs, seals: Some((from, to)) })
}
