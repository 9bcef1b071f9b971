//! A state as a row of the table of commits, and back.

use std::sync::Arc;

use clickhouse::Row;
use reckon_event::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::state::{Held, Mended, Numbered, Part, Run, State, dimensions_of, pane_of};
use crate::sums::cube::Declared;
use crate::sums::line::Line;

/// How the tables are laid out; another number was written by another build.
pub(super) const LAYOUT: u16 = 1;

/// What stands for [`Part`]; bounded runs have one cube, which is told by what they hold.
const PARTS: [u16; 3] = [0, 1, 2];

/// A row of the table of commits.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub(super) struct CommitRow {
    pub layout: u16,
    pub session: u32,
    pub number: u64,
    stage: u8,
    slot_group: u16,
    generation: u32,
    epoch: u64,
    newest: i64,
    names: u64,
    next_cube: u16,
    cube_ids: Vec<u16>,
    cube_names: Vec<String>,
    cube_dimensions: Vec<u16>,
    cube_panes: Vec<u32>,
    cube_floors: Vec<i64>,
    cube_bounded: Vec<u16>,
    run_ids: Vec<u64>,
    run_parts: Vec<u16>,
    run_least: Vec<i64>,
    run_greatest: Vec<i64>,
    run_rows: Vec<u64>,
    run_bytes: Vec<u64>,
    extent_runs: Vec<u64>,
    extent_cubes: Vec<u16>,
    extent_rows: Vec<u64>,
    mend_tenants: Vec<u32>,
    mend_from: Vec<i64>,
    mend_to: Vec<i64>,
    mend_epochs: Vec<u64>,
}

fn column<T, U>(items: &[T], of: impl Fn(&T) -> U) -> Vec<U> {
    items.iter().map(of).collect()
}

impl CommitRow {
    pub(super) fn of(state: &State) -> Self {
        let State { cubes, runs, mends, line, .. } = state;
        let held = |run: &Arc<Run>| run.held.iter().map(|held| (run.id, *held)).collect::<Vec<_>>();
        let extents: Vec<(u64, Held)> = runs.iter().flat_map(held).collect();
        CommitRow {
            layout: LAYOUT,
            session: state.session,
            number: state.number,
            stage: line.stage,
            slot_group: line.group,
            generation: line.generation,
            epoch: line.number,
            newest: state.newest,
            names: state.names,
            next_cube: state.next_cube,
            cube_ids: column(cubes, |c| c.id),
            cube_names: column(cubes, |c| c.cube.name.clone()),
            cube_dimensions: column(cubes, |c| u16::from(c.cube.dimensions.bits())),
            cube_panes: column(cubes, |c| u32::try_from(c.cube.pane.seconds()).expect("a day")),
            cube_floors: column(cubes, |c| c.cube.floor),
            cube_bounded: column(cubes, |c| u16::from(c.is_bounded)),
            run_ids: column(runs, |r| r.id),
            run_parts: column(runs, |r| part_code(r.part)),
            run_least: column(runs, |r| r.least),
            run_greatest: column(runs, |r| r.greatest),
            run_rows: column(runs, |r| r.rows),
            run_bytes: column(runs, |r| r.bytes),
            extent_runs: column(&extents, |e| e.0),
            extent_cubes: column(&extents, |e| e.1.cube),
            extent_rows: column(&extents, |e| e.1.rows),
            mend_tenants: column(mends, |m| m.tenant.0),
            mend_from: column(mends, |m| m.from.0),
            mend_to: column(mends, |m| m.to.0),
            mend_epochs: column(mends, |m| m.epoch),
        }
    }

    /// The state; `None` where columns do not fit each other.
    pub(super) fn state(&self) -> Option<State> {
        Some(State {
            session: self.session,
            number: self.number,
            line: Line {
                stage: self.stage,
                group: self.slot_group,
                generation: self.generation,
                number: self.epoch,
            },
            newest: self.newest,
            names: self.names,
            next_cube: self.next_cube,
            cubes: (0..self.cube_ids.len()).map(|at| self.cube(at)).collect::<Option<_>>()?,
            runs: (0..self.run_ids.len()).map(|at| self.run(at)).collect::<Option<_>>()?,
            mends: (0..self.mend_tenants.len()).map(|at| self.mended(at)).collect::<Option<_>>()?,
        })
    }

    fn cube(&self, at: usize) -> Option<Numbered> {
        let cube = Declared {
            name: self.cube_names.get(at)?.clone(),
            dimensions: dimensions_of(*self.cube_dimensions.get(at)?)?,
            pane: pane_of(*self.cube_panes.get(at)?)?,
            floor: *self.cube_floors.get(at)?,
            sealed: i64::MAX,
            taken: i64::MAX,
        };
        Some(Numbered { id: self.cube_ids[at], cube, is_bounded: *self.cube_bounded.get(at)? == 1 })
    }

    fn run(&self, at: usize) -> Option<Arc<Run>> {
        let id = self.run_ids[at];
        let extents = self.extent_runs.iter().zip(&self.extent_cubes).zip(&self.extent_rows);
        let own = extents.filter(|((run, _), _)| **run == id);
        let held: Vec<Held> =
            own.map(|((_, cube), rows)| Held { cube: *cube, rows: *rows }).collect();
        let part = match *self.run_parts.get(at)? {
            code if code == PARTS[0] => Part::Fresh,
            code if code == PARTS[1] => Part::Kept,
            code if code == PARTS[2] => Part::Bounded(held.first()?.cube),
            _ => return None,
        };
        Some(Arc::new(Run {
            id,
            part,
            least: *self.run_least.get(at)?,
            greatest: *self.run_greatest.get(at)?,
            rows: *self.run_rows.get(at)?,
            bytes: *self.run_bytes.get(at)?,
            held,
        }))
    }

    fn mended(&self, at: usize) -> Option<Mended> {
        Some(Mended {
            tenant: TenantId(self.mend_tenants[at]),
            from: Timestamp(*self.mend_from.get(at)?),
            to: Timestamp(*self.mend_to.get(at)?),
            epoch: *self.mend_epochs.get(at)?,
        })
    }
}

const fn part_code(part: Part) -> u16 {
    match part {
        Part::Fresh => PARTS[0],
        Part::Kept => PARTS[1],
        Part::Bounded(_) => PARTS[2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sums::cube::Cube;

    #[test]
    fn a_state_reads_back_from_its_row() {
        let mut state = State::empty(&Cube::defaults(1 << 20)).next(7);
        state.line = Line { stage: 1, group: 3, generation: 5, number: 9 };
        let held = |cube, rows| Held { cube, rows };
        for (id, part, held) in [
            (1, Part::Fresh, vec![held(0, 5)]),
            (2, Part::Kept, vec![held(2, 5), held(3, 1)]),
            (3, Part::Bounded(5), vec![held(5, 2)]),
        ] {
            let run = Run { id, part, least: -1, greatest: 60, rows: 9, bytes: 100, held };
            state.runs.push(Arc::new(run));
        }
        state.mark(Mended {
            tenant: TenantId(1),
            from: Timestamp(0),
            to: Timestamp(60_000_000),
            epoch: 8,
        });
        let row = CommitRow::of(&state);
        assert_eq!(row.state(), Some(state));
        let cut = CommitRow { run_rows: Vec::new(), ..row };
        assert_eq!(cut.state(), None, "columns of other lengths are no state");
    }
}
