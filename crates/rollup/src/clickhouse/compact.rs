//! Compaction: fresh runs become runs of all cubes, small runs larger ones; old rows of bounded cubes go.
//!
//! The server reads, sums and writes; a row never travels. What it writes is a run that no commit names
//! yet; one commit then names it and no longer names what it was made of. Before that commit questions
//! read the old runs, after it the new one, and the sums are the same. Where a compaction is cut off, what
//! it has written is a stranger that a sweep drops.

use std::sync::Arc;

use super::options::{Compacting, Options};
use super::rows::{Measured, Partition};
use super::state::{CELLS, Held, Numbered, Part, Run, State, TOTALS};
use super::statement::{Grouping, fill, list};
use super::{Pending, Shared, Writer};
use crate::Error;
use crate::sums::cube::{Cube, Dimensions};

/// Fresh runs beyond which a marker fails that cannot have them compacted.
const FRESH_MAX: usize = 512;

/// A compaction that is due.
#[derive(Debug)]
pub(super) struct Job {
    /// The runs it replaces.
    pub inputs: Vec<Arc<Run>>,
    pub outputs: Vec<Output>,
    /// Cubes of which older rows go, and the first second that stays.
    pub floors: Vec<(u16, i64)>,
    /// Whose cubes and epochs it goes by.
    pub state: Arc<State>,
}

/// A run to be made.
#[derive(Debug)]
pub(super) struct Output {
    pub id: u64,
    pub part: Part,
    pub cubes: Vec<Filling>,
}

/// A cube of a run, and where its rows come from.
#[derive(Debug)]
pub(super) struct Filling {
    pub cube: u16,
    pub dimensions: Dimensions,
    /// Seconds of a bucket; `None`: it has none.
    pub pane: Option<i64>,
    /// The cube it is summed from.
    pub from_cube: u16,
    /// Rows before it are left out.
    pub floor: i64,
}

impl Filling {
    pub(super) fn of(numbered: &Numbered, from_cube: u16, floor: i64) -> Self {
        Filling {
            cube: numbered.id,
            dimensions: numbered.cube.dimensions,
            pane: Some(numbered.cube.pane.seconds()),
            from_cube,
            floor,
        }
    }

    pub(super) const fn totals(from_cube: u16) -> Self {
        let dimensions = Dimensions::NONE;
        Filling { cube: TOTALS, dimensions, pane: None, from_cube, floor: i64::MIN }
    }

    /// The statement that fills it in run `id`, from `inputs`.
    fn statement(&self, id: u64, inputs: &str, state: &State) -> String {
        let mut grouping = Grouping::new(self.dimensions, self.pane);
        grouping.also_by(&["of_tenant", "of_kind", "of_verdict", "in_currency"]);
        let day = if self.pane.is_some() { "day" } else { "toInt32(0)" };
        if self.pane.is_some() {
            grouping.also_by(&["on_day"]);
        }
        let mut sources = format!("cube = {}", self.from_cube);
        if self.floor > i64::MIN {
            sources.push_str(&format!(" AND bucket >= {}", self.floor));
        }
        let line = &state.line;
        let numbers = [
            ("run", id),
            ("cube", u64::from(self.cube)),
            ("slot_group", u64::from(line.group)),
            ("generation", u64::from(line.generation)),
            ("epoch", line.number),
        ];
        for (name, number) in numbers {
            grouping.place(name, &number.to_string());
        }
        for (name, text) in [("day", day), ("runs", inputs), ("sources", &sources)] {
            grouping.place(name, text);
        }
        grouping.fill(include_str!("sql/compact.sql"))
    }
}

impl Shared {
    /// Begins what is due after a marker; an outcome that is there is taken.
    pub(super) fn go_on(shared: &Arc<Self>, writer: &mut Writer) -> Result<(), Error> {
        if shared.options.compacting == Compacting::Inline {
            while let Some(job) = shared.next_job(writer)? {
                let made = shared.make(&job)?;
                shared.finish(writer, job, made)?;
            }
            return if writer.is_swept { Ok(()) } else { shared.sweep(writer) };
        }
        if writer.job.as_ref().is_some_and(|job| !job.is_finished()) {
            return shared.check_backlog(writer);
        }
        // What it has to tell stands in `trouble`.
        writer.job = None;
        shared.check_backlog(writer)?;
        let is_due = {
            let state = Arc::clone(&shared.visible().state);
            due(&state, &shared.options).is_some() || !writer.is_swept
        };
        if is_due && writer.claim.is_some() {
            let own = Arc::clone(shared);
            let thread = std::thread::Builder::new().name("rollup-compact".to_owned());
            let spawned = thread.spawn(move || own.work());
            let spawned = spawned.map_err(|error| Error::io(shared.server.place(), error))?;
            writer.job = Some(spawned);
        }
        Ok(())
    }

    /// Fails where compaction has failed for so long that there are too many runs.
    fn check_backlog(&self, writer: &mut Writer) -> Result<(), Error> {
        let fresh = self.visible().state.runs_of(Part::Fresh).count();
        match writer.trouble.take().filter(|_| fresh > FRESH_MAX) {
            Some(trouble) => Err(trouble),
            None => Ok(()),
        }
    }

    /// What the thread does: everything that is due, then what is left over.
    fn work(&self) {
        let outcome = self.work_through();
        if let (Err(error), Ok(mut writer)) = (outcome, self.writer()) {
            writer.trouble = Some(error);
        }
    }

    fn work_through(&self) -> Result<(), Error> {
        loop {
            let job = {
                let mut writer = self.writer()?;
                self.next_job(&mut writer)?
            };
            let Some(job) = job else { break };
            let made = self.make(&job)?;
            let mut writer = self.writer()?;
            self.finish(&mut writer, job, made)?;
        }
        let mut writer = self.writer()?;
        self.sweep(&mut writer)
    }

    /// The compaction that is due, with numbers for what it makes.
    fn next_job(&self, writer: &mut Writer) -> Result<Option<Job>, Error> {
        if writer.claim.is_none() {
            return Ok(None);
        }
        self.settle_pending(writer)?;
        let state = Arc::clone(&self.visible().state);
        let Some((part, inputs)) = due(&state, &self.options) else { return Ok(None) };
        let floors = floors(&state, &self.options, &inputs);
        let mut outputs = Vec::new();
        for (part, cubes) in parts(&state, part, &floors) {
            outputs.push(Output { id: self.next_run(writer)?, part, cubes });
        }
        writer.is_swept = false;
        Ok(Some(Job { inputs, outputs, floors, state }))
    }

    /// Has the server write the runs, and measures them.
    pub(super) fn make(&self, job: &Job) -> Result<Vec<Run>, Error> {
        let inputs = list(job.inputs.iter().map(|run| run.id));
        for output in &job.outputs {
            for filling in &output.cubes {
                let text = filling.statement(output.id, &inputs, &job.state);
                self.server.compact("compacting", &text)?;
            }
        }
        self.measure(&job.outputs)
    }

    /// What is in the runs that were written; those without rows are left out.
    fn measure(&self, outputs: &[Output]) -> Result<Vec<Run>, Error> {
        let runs = list(outputs.iter().map(|output| output.id));
        let text = fill(include_str!("sql/measure.sql"), &[("runs", &runs)]);
        let measured = self.server.read::<Measured>("measuring runs", text)?;
        let partitions = self.partitions("rows")?;
        let run = |output: &Output| {
            let own = measured.iter().filter(|m| m.of_run == output.id);
            let own: Vec<Measured> = own.copied().collect();
            run_of(output, &own, &partitions)
        };
        Ok(outputs.iter().filter_map(run).collect())
    }

    /// Names what was made instead of what it was made of.
    fn finish(&self, writer: &mut Writer, job: Job, made: Vec<Run>) -> Result<(), Error> {
        self.settle_pending(writer)?;
        let Some(claim) = writer.claim else { return Ok(()) };
        let state = Arc::clone(&self.visible().state);
        if !job.inputs.iter().all(|run| state.names_run(run.id)) {
            // Somebody else has written meanwhile.
            return Ok(());
        }
        let mut next = state.next(claim.session);
        next.runs.retain(|run| !job.inputs.iter().any(|input| input.id == run.id));
        next.runs.extend(made.into_iter().map(Arc::new));
        for (cube, floor) in &job.floors {
            raise_floor(&mut next, *cube, *floor);
        }
        self.keep_within_bytes(&mut next);
        drop((state, job));
        writer.pending = Some(Pending { next: Arc::new(next), segments: 0 });
        self.settle_pending(writer)
    }

    /// Drops the oldest runs of cubes that have too many bytes.
    fn keep_within_bytes(&self, next: &mut State) {
        for cube in &self.options.cubes {
            let numbered = next.cubes.iter().find(|numbered| numbered.is(cube));
            let Some((id, bytes_max)) = numbered.map(|n| n.id).zip(cube.bytes_max) else {
                continue;
            };
            let mut own: Vec<Arc<Run>> = next.runs_of(Part::Bounded(id)).cloned().collect();
            own.sort_by_key(|run| std::cmp::Reverse(run.greatest));
            let mut bytes = 0;
            let over = own.iter().find(|run| {
                bytes += run.bytes;
                bytes > bytes_max
            });
            if let Some(over) = over {
                raise_floor(next, id, over.greatest + cube.pane.seconds());
            }
        }
    }
}

/// Lets rows of a bounded cube before `floor` go.
fn raise_floor(next: &mut State, cube: u16, floor: i64) {
    if let Some(numbered) = next.cubes.iter_mut().find(|numbered| numbered.id == cube) {
        numbered.cube.floor = numbered.cube.floor.max(floor);
        let floor = numbered.cube.floor;
        next.runs.retain(|run| run.part != Part::Bounded(cube) || run.greatest >= floor);
    }
}

fn run_of(output: &Output, measured: &[Measured], partitions: &[Partition]) -> Option<Run> {
    let timed = || measured.iter().filter(|m| m.of_cube != TOTALS);
    let rows: u64 = measured.iter().map(|m| m.held).sum();
    let held = timed().map(|m| Held { cube: m.of_cube, rows: m.held });
    (rows > 0).then(|| Run {
        id: output.id,
        part: output.part,
        least: timed().map(|m| m.least).min().unwrap_or(0),
        greatest: timed().map(|m| m.greatest).max().unwrap_or(0),
        rows,
        bytes: partitions.iter().find(|p| p.id == output.id).map_or(0, |p| p.bytes),
        held: held.collect(),
    })
}

/// The runs that are compacted next, all of one part.
fn due(state: &State, options: &Options) -> Option<(Part, Vec<Arc<Run>>)> {
    let fresh: Vec<&Arc<Run>> = state.runs_of(Part::Fresh).collect();
    if fresh.len() >= options.fan_in {
        // The first one is taken however large it is.
        let mut rows = 0;
        let inputs = fresh.into_iter().take_while(|run| {
            let is_first = rows == 0;
            rows += run.rows;
            is_first || rows <= options.compact_rows_max
        });
        return Some((Part::Fresh, inputs.cloned().collect()));
    }
    let mut parts: Vec<Part> = state.runs.iter().map(|run| run.part).collect();
    parts.sort_unstable();
    parts.dedup();
    let coarser = parts.into_iter().filter(|part| *part != Part::Fresh);
    coarser.filter_map(|part| same_size(state, part, options).map(|runs| (part, runs))).next()
}

/// As many runs of one part and about one size as are merged into one.
fn same_size(state: &State, part: Part, options: &Options) -> Option<Vec<Arc<Run>>> {
    let mut runs: Vec<&Arc<Run>> = state.runs_of(part).collect();
    runs.sort_by_key(|run| (run.rows, run.id));
    let fan_in = options.fan_in as u64;
    let is_due = |window: &&[&Arc<Run>]| {
        let (least, most) = (window[0].rows.max(1), window[window.len() - 1].rows);
        let rows: u64 = window.iter().map(|run| run.rows).sum();
        most <= least.saturating_mul(fan_in)
            && rows <= options.compact_rows_max
            && is_narrow(window, state, part, options)
    };
    let due = runs.windows(options.fan_in).find(is_due)?;
    Some(due.iter().map(|run| Arc::clone(run)).collect())
}

/// True unless a run would be made of so much time that it keeps what should go.
fn is_narrow(window: &[&Arc<Run>], state: &State, part: Part, options: &Options) -> bool {
    let Part::Bounded(id) = part else { return true };
    let retention = option_of(state, options, id).and_then(|cube| cube.retention);
    let least = window.iter().map(|run| run.least).min().unwrap_or(0);
    let greatest = window.iter().map(|run| run.greatest).max().unwrap_or(0);
    retention.is_none_or(|retention| greatest - least <= i64::from(retention / 4))
}

fn option_of<'a>(state: &State, options: &'a Options, id: u16) -> Option<&'a Cube> {
    let numbered = state.cubes.iter().find(|numbered| numbered.id == id)?;
    options.cubes.iter().find(|cube| numbered.is(cube))
}

/// Bounded cubes of which something is too old, and the first second that stays.
fn floors(state: &State, options: &Options, inputs: &[Arc<Run>]) -> Vec<(u16, i64)> {
    let bounded = state.cubes.iter().filter(|numbered| numbered.is_bounded);
    let floor = |numbered: &Numbered| {
        let retention = option_of(state, options, numbered.id)?.retention?;
        let pane = numbered.cube.pane.seconds();
        let floor = (state.newest + 1 - i64::from(retention)).div_euclid(pane) * pane;
        let own = state.runs_of(Part::Bounded(numbered.id));
        let mut least = own.chain(inputs.iter().filter(|run| run.part == Part::Fresh));
        least.any(|run| run.least < floor).then_some((numbered.id, floor))
    };
    bounded.filter_map(floor).collect()
}

/// The runs that are made of runs of `part`, and their cubes.
fn parts(state: &State, part: Part, floors: &[(u16, i64)]) -> Vec<(Part, Vec<Filling>)> {
    let floor = |numbered: &Numbered| {
        let raised = floors.iter().find(|(id, _)| *id == numbered.id).map(|(_, floor)| *floor);
        raised.unwrap_or(i64::MIN).max(numbered.cube.floor)
    };
    let is_fresh = part == Part::Fresh;
    let source = |numbered: &Numbered| if is_fresh { CELLS } else { numbered.id };
    let kept = state.cubes.iter().filter(|numbered| !numbered.is_bounded);
    let kept = kept.map(|numbered| Filling::of(numbered, source(numbered), i64::MIN));
    let bounded = state.cubes.iter().filter(|numbered| numbered.is_bounded);
    let bounded = bounded.map(|n| (Part::Bounded(n.id), vec![Filling::of(n, source(n), floor(n))]));
    let totals = Filling::totals(if is_fresh { CELLS } else { TOTALS });
    match part {
        Part::Fresh => {
            let all = std::iter::once((Part::Kept, kept.chain([totals]).collect()));
            all.chain(bounded).collect()
        }
        Part::Kept => vec![(Part::Kept, kept.chain([totals]).collect())],
        Part::Bounded(_) => bounded.filter(|(own, _)| *own == part).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(runs: &[(Part, u64)]) -> State {
        let mut state = State::empty(&Cube::defaults(1 << 20)).next(1);
        for (id, (part, rows)) in (1..).zip(runs) {
            let (least, greatest, held) = (0, 60, Vec::new());
            let run = Run { id, part: *part, least, greatest, rows: *rows, bytes: 0, held };
            state.runs.push(Arc::new(run));
        }
        state
    }

    fn due_ids(runs: &[(Part, u64)]) -> Option<(Part, Vec<u64>)> {
        let options = Options { fan_in: 3, ..Options::new("http://localhost", "d", 1 << 20) };
        due(&state(runs), &options)
            .map(|(part, runs)| (part, runs.iter().map(|run| run.id).collect()))
    }

    #[test]
    fn fresh_runs_go_first_and_only_runs_of_one_size_are_merged() {
        let (fresh, kept) = (Part::Fresh, Part::Kept);
        assert_eq!(due_ids(&[(fresh, 5), (fresh, 5)]), None);
        let some = [(kept, 5), (fresh, 5), (kept, 5), (fresh, 1), (fresh, 9), (kept, 5)];
        assert_eq!(due_ids(&some), Some((fresh, vec![2, 4, 5])));
        assert_eq!(due_ids(&[(kept, 100), (kept, 9), (kept, 8), (kept, 7_000)]), None);
        let some = [(kept, 100), (kept, 9), (kept, 8), (kept, 9), (kept, 7_000)];
        assert_eq!(due_ids(&some), Some((kept, vec![3, 2, 4])));
    }

    #[test]
    fn a_fresh_run_becomes_one_of_all_cubes_and_one_of_each_bounded() {
        let state = state(&[]);
        let made = parts(&state, Part::Fresh, &[]);
        let bounded = state.cubes.iter().filter(|numbered| numbered.is_bounded).count();
        assert_eq!(made.len(), 1 + bounded);
        assert_eq!(made[0].1.len(), state.cubes.len() - bounded + 1, "and totals");
        assert!(made.iter().flat_map(|(_, cubes)| cubes).all(|filling| filling.from_cube == CELLS));
    }
}
