//! The state that a commit names: epochs, cubes, runs.
//!
//! Rows count only in runs that the commit in force names, so an insert that was cut off, sent twice, or
//! made by a writer that is fenced changes nothing anybody sees.

use std::sync::Arc;

use reckon_event::{TenantId, Timestamp};

use crate::sums::cube::{Cube, Declared, Dimensions, Pane};
use crate::sums::line::Line;

/// The cube of rows as they were handed over: by second and all dimensions, for every cube at once.
pub(super) const CELLS: u16 = 0;
/// The cube of records over all time, which has no buckets.
pub(super) const TOTALS: u16 = 1;
/// The first number of a declared cube.
pub(super) const FIRST_CUBE: u16 = 2;

/// Marks of mended spans that are remembered.
pub(super) const MENDS_MAX: usize = 64;

/// A cube with its number, which no other cube of this database ever had or will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub id: u16,
    pub cube: Declared,
    /// Its rows lie in runs of their own, and old ones go.
    pub is_bounded: bool,
}

impl Numbered {
    pub(super) fn of(id: u16, cube: &Cube) -> Self {
        let is_bounded = !cube.is_kept_for_ever();
        // Whatever is handed over can be summed for any cube at once.
        let (sealed, taken) = (i64::MAX, i64::MAX);
        Numbered { id, cube: Declared { sealed, taken, ..Declared::of(cube) }, is_bounded }
    }

    pub(super) fn is(&self, cube: &Cube) -> bool {
        self.cube.is(cube) && self.is_bounded != cube.is_kept_for_ever()
    }
}

/// What a run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    /// Cells, as they were handed over.
    Fresh,
    /// Rows of every cube that is kept for ever.
    Kept,
    /// Rows of the one cube that is bounded in time.
    Bounded(u16),
}

/// Rows of one cube in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub cube: u16,
    pub rows: u64,
}

/// A run: a partition of the table of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The session that wrote it, and its number there.
    pub id: u64,
    pub part: Part,
    /// The first bucket.
    pub least: i64,
    /// The last bucket.
    pub greatest: i64,
    /// All rows, those of totals included.
    pub rows: u64,
    /// On the server's disk, as far as it was asked for.
    pub bytes: u64,
    /// Rows by cube, without those of totals.
    pub held: Vec<Held>,
}

impl Run {
    /// The number of a session's run.
    pub(super) const fn id(session: u32, place: u32) -> u64 {
        (session as u64) << 32 | place as u64
    }

    /// The session that wrote the run of that number.
    pub(super) const fn session_of(id: u64) -> u64 {
        id >> 32
    }

    pub(super) fn rows_of(&self, cube: u16) -> u64 {
        self.held.iter().filter(|held| held.cube == cube).map(|held| held.rows).sum()
    }
}

/// A mark that a span was replaced by the figures of a recount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mended {
    /// Whose.
    pub tenant: TenantId,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant no longer in it.
    pub to: Timestamp,
    /// The last epoch before it.
    pub epoch: u64,
}

/// Everything that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The session of the writer that committed it; 0 before the first commit.
    pub session: u32,
    /// Commits since the database was made.
    pub number: u64,
    pub line: Line,
    /// The latest second anything was counted in; `i64::MIN` while empty.
    pub newest: i64,
    /// How many texts are kept.
    pub names: u64,
    pub next_cube: u16,
    pub cubes: Vec<Numbered>,
    pub runs: Vec<Arc<Run>>,
    pub mends: Vec<Mended>,
}

impl State {
    /// Nothing yet, in these cubes.
    pub(super) fn empty(cubes: &[Cube]) -> Self {
        let numbered = (FIRST_CUBE..).zip(cubes).map(|(id, cube)| Numbered::of(id, cube));
        let cubes: Vec<Numbered> = numbered.collect();
        State {
            session: 0,
            number: 0,
            line: Line::default(),
            newest: i64::MIN,
            names: 0,
            next_cube: cubes.last().map_or(FIRST_CUBE, |last| last.id + 1),
            cubes,
            runs: Vec::new(),
            mends: Vec::new(),
        }
    }

    /// The next state, by the writer of `session`.
    pub(super) fn next(&self, session: u32) -> Self {
        State { session, number: self.number + 1, ..self.clone() }
    }

    /// Which commit it is.
    pub(super) const fn commit(&self) -> (u32, u64) {
        (self.session, self.number)
    }

    pub(super) fn runs_of(&self, part: Part) -> impl Iterator<Item = &Arc<Run>> {
        self.runs.iter().filter(move |run| run.part == part)
    }

    pub(super) fn names_run(&self, id: u64) -> bool {
        self.runs.iter().any(|run| run.id == id)
    }

    /// The cubes as they are declared, and their numbers.
    pub(super) fn declared(&self) -> (Vec<Declared>, Vec<u16>) {
        let cubes = self.cubes.iter().map(|numbered| numbered.cube.clone());
        (cubes.collect(), self.cubes.iter().map(|numbered| numbered.id).collect())
    }

    /// Remembers a mended span; the oldest are forgotten.
    pub(super) fn mark(&mut self, mended: Mended) {
        self.mends.push(mended);
        let over = self.mends.len().saturating_sub(MENDS_MAX);
        self.mends.drain(..over);
    }
}

/// The pane of that many seconds.
pub(super) fn pane_of(seconds: u32) -> Option<Pane> {
    let panes = [Pane::Second, Pane::Minute, Pane::Hour, Pane::Day];
    panes.into_iter().find(|pane| pane.seconds() == i64::from(seconds))
}

/// The dimensions of that code.
pub(super) fn dimensions_of(code: u16) -> Option<Dimensions> {
    u8::try_from(code).ok().and_then(Dimensions::from_bits)
}
