//! Other cubes than a database was made with: new ones are filled from the old, removed ones dropped.
//!
//! A new cube is one more run, summed by the server from the smallest cube that has all of it. Rows of
//! cubes that are removed stay in their runs, where nobody reads them, until these are compacted. One
//! commit does it; cut off on the way, the database is as it was.

use std::sync::Arc;

use super::compact::{Filling, Job, Output};
use super::state::{Numbered, Part, State};
use super::{Pending, Shared, Writer};
use crate::sums::cube::Cube;
use crate::{BrokenKind, Error};

impl Shared {
    /// Keeps the cubes of the options from here on.
    pub(super) fn declare_cubes(&self) -> Result<(), Error> {
        if self.is_declared() {
            return Ok(());
        }
        let mut writer = self.writer()?;
        let generation = self.visible().line.generation;
        self.claim(&mut writer, generation)?;
        if self.is_declared() {
            return Ok(());
        }
        self.change(&mut writer)
    }

    fn is_declared(&self) -> bool {
        let visible = self.visible();
        let (old, new) = (&visible.state.cubes, &self.options.cubes);
        old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.is(new))
    }

    fn change(&self, writer: &mut Writer) -> Result<(), Error> {
        let claim = writer.claim.expect("it was made just now");
        let state = Arc::clone(&self.visible().state);
        let mut next = state.next(claim.session);
        let cubes = self.options.cubes.iter().map(|cube| declare(&state, &mut next, cube));
        let cubes: Vec<Declaration> =
            cubes.collect::<Option<_>>().ok_or_else(|| self.unheld(&state))?;
        let outputs = self.outputs(writer, &state, &cubes)?;
        let inputs = state.runs.iter().filter(|run| run.part != Part::Fresh).cloned().collect();
        let job = Job { inputs, outputs, floors: Vec::new(), state: Arc::clone(&state) };
        if !job.inputs.is_empty() && !job.outputs.is_empty() {
            next.runs.extend(self.make(&job)?.into_iter().map(Arc::new));
        }
        next.cubes = cubes.into_iter().map(|declaration| declaration.numbered).collect();
        let ids: Vec<u16> = next.cubes.iter().map(|numbered| numbered.id).collect();
        next.runs.retain(|run| match run.part {
            Part::Bounded(id) => ids.contains(&id),
            Part::Fresh | Part::Kept => true,
        });
        writer.pending = Some(Pending { next: Arc::new(next), segments: 0 });
        self.settle_pending(writer)
    }

    /// The runs that fill new cubes: one for all that are kept for ever, one for each other.
    fn outputs(
        &self,
        writer: &mut Writer,
        state: &State,
        cubes: &[Declaration],
    ) -> Result<Vec<Output>, Error> {
        let filling = |declaration: &Declaration| {
            let source = state.cubes.iter().find(|old| Some(old.id) == declaration.source)?;
            let numbered = &declaration.numbered;
            Some(Filling::of(numbered, source.id, numbered.cube.floor))
        };
        let mut outputs = Vec::new();
        let kept = cubes.iter().filter(|declaration| !declaration.numbered.is_bounded);
        let kept: Vec<Filling> = kept.filter_map(filling).collect();
        if !kept.is_empty() {
            outputs.push(Output { id: self.next_run(writer)?, part: Part::Kept, cubes: kept });
        }
        for declaration in cubes.iter().filter(|declaration| declaration.numbered.is_bounded) {
            if let Some(filling) = filling(declaration) {
                let part = Part::Bounded(declaration.numbered.id);
                outputs.push(Output { id: self.next_run(writer)?, part, cubes: vec![filling] });
            }
        }
        Ok(outputs)
    }

    fn unheld(&self, state: &State) -> Error {
        let is_unheld = |cube: &&Cube| declare(state, &mut state.clone(), cube).is_none();
        let unheld = self.options.cubes.iter().find(is_unheld).expect("one was found");
        let held: Vec<&str> = state.cubes.iter().map(|old| old.cube.name.as_str()).collect();
        let what = format!(
            "no cube of the database ({}) has what {} keeps ({} by {}): declare less, or fill a new \
             database from the log",
            held.join(", "),
            unheld.name,
            unheld.dimensions.names(),
            unheld.pane.name(),
        );
        Error::broken(BrokenKind::Mismatch, self.server.place(), what)
    }
}

/// A cube, and the old one it is filled from; `None`: it is there already, or has nothing yet.
struct Declaration {
    numbered: Numbered,
    source: Option<u16>,
}

/// What becomes of a cube; `None` where no old one has what it keeps.
fn declare(state: &State, next: &mut State, cube: &Cube) -> Option<Declaration> {
    if let Some(old) = state.cubes.iter().find(|old| old.is(cube)) {
        return Some(Declaration { numbered: old.clone(), source: None });
    }
    let mut numbered = Numbered::of(next.next_cube, cube);
    next.next_cube += 1;
    if state.newest == i64::MIN {
        return Some(Declaration { numbered, source: None });
    }
    let holds = |old: &&Numbered| {
        old.cube.dimensions.covers(cube.dimensions)
            && old.cube.pane <= cube.pane
            && (numbered.is_bounded || !old.is_bounded)
    };
    let holders = state.cubes.iter().filter(holds);
    let least =
        |old: &&Numbered| (old.cube.floor, old.cube.dimensions.len(), -old.cube.pane.seconds());
    match holders.min_by_key(least) {
        Some(holder) => {
            numbered.cube.floor = floor_of(state, cube, holder);
            Some(Declaration { source: Some(holder.id), numbered })
        }
        None if numbered.is_bounded => {
            // What is kept for a while only begins with what comes from here on.
            let pane = cube.pane.seconds();
            numbered.cube.floor = (state.newest.div_euclid(pane) + 1) * pane;
            Some(Declaration { numbered, source: None })
        }
        None => None,
    }
}

/// Since when a new cube has everything.
fn floor_of(state: &State, cube: &Cube, holder: &Numbered) -> i64 {
    let pane = cube.pane.seconds();
    let held = match holder.cube.floor {
        i64::MIN => i64::MIN,
        floor => (floor + pane - 1).div_euclid(pane) * pane,
    };
    match cube.retention {
        Some(retention) if held > i64::MIN || holder.cube.pane < cube.pane => {
            held.max((state.newest + 1 - i64::from(retention)).div_euclid(pane) * pane)
        }
        _ => held,
    }
}
