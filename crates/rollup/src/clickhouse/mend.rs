//! Mending: all sums of a span are replaced by those of an independent recount.
//!
//! For each cube the difference between what it has and what it should have becomes rows of one more run;
//! sums add up, so nothing else has to change, and one commit names all of it. Coarse cubes whose panes
//! reach beyond the span get what finer ones, mended, add up to. The commit has a mark of the span.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use reckon_event::{Deltas, Measure, TenantId, Timestamp};

use super::commit::bounds;
use super::rows::StoredRow;
use super::state::{CELLS, Held, Mended, Numbered, Part, Run, State, TOTALS};
use super::statement::{list, source};
use super::sums::Wanted;
use super::{Pending, Shared, Writer};
use crate::sums::cube::Dimensions;
use crate::sums::gathered::Gathered;
use crate::sums::recount::Recount;
use crate::sums::row::{Key, Row};
use crate::{Error, Field};

/// What is to be added to a cube.
struct Difference {
    cube: Numbered,
    rows: Vec<Row>,
}

impl Shared {
    /// See [`crate::RollupStore::rebuild`].
    pub(super) fn replace(
        &self,
        tenant: TenantId,
        (from, to): (Timestamp, Timestamp),
        figures: &Deltas,
    ) -> Result<u64, Error> {
        let recount = Recount::of(tenant, (from, to), figures)?;
        let mut writer = self.writer()?;
        if writer.claim.is_none() && writer.lost_to.is_none() {
            let generation = self.visible().line.generation;
            self.claim(&mut writer, generation)?;
        }
        self.commit(&mut writer)?;
        if !figures.names.is_empty() {
            self.names_mut().learn_all(figures, self.options.names_max);
        }
        let state = Arc::clone(&self.visible().state);
        let differences = self.differences(&state, &recount)?;
        let claim = writer.claim.ok_or_else(|| self.poisoned("somebody else writes"))?;
        let mut next = state.next(claim.session);
        next.names = self.keep_names()?;
        let runs = self.insert_differences(&mut writer, &state, &differences)?;
        next.runs.extend(runs.into_iter().map(Arc::new));
        next.newest = next.newest.max(newest_of(&differences));
        next.mark(Mended { tenant, from, to, epoch: state.line.number });
        let newest = next.newest;
        writer.pending = Some(Pending { next: Arc::new(next), segments: 0 });
        self.settle_pending(&mut writer)?;
        let mut visible = self.visible_mut();
        visible.newest = visible.newest.max(newest);
        drop(visible);
        Ok(differences.iter().map(|difference| difference.rows.len() as u64).sum())
    }

    /// What is to be added to each cube, finer ones first.
    fn differences(&self, state: &State, recount: &Recount<'_>) -> Result<Vec<Difference>, Error> {
        let mut cubes: Vec<&Numbered> = state.cubes.iter().collect();
        cubes.sort_by_key(|numbered| (numbered.cube.pane, numbered.id));
        let mut differences: Vec<Difference> = Vec::new();
        for numbered in cubes {
            let span = span_of(numbered, recount);
            if span.is_empty() {
                continue;
            }
            let shape = (numbered.cube.dimensions, numbered.cube.pane.seconds());
            let mut sums = Gathered::new(shape, self.options.groups_max);
            if span.start >= recount.from && span.end <= recount.to {
                for (cell, measure) in &recount.figures.cells {
                    if span.contains(&cell.second) {
                        sums.add(&Row { key: Key::of(cell), measure: *measure }, 1)?;
                    }
                }
            } else {
                let finer = finer_of(&differences, numbered, &span)?;
                let has = self.sums_of(state, &finer.cube, shape, &span, recount)?;
                has.iter().try_for_each(|row| sums.add(row, 1))?;
                let rows = finer.rows.iter().filter(|row| span.contains(&row.key.second));
                rows.into_iter().try_for_each(|row| sums.add(row, 1))?;
            }
            let has = self.sums_of(state, numbered, shape, &span, recount)?;
            has.iter().try_for_each(|row| sums.add(row, -1))?;
            differences.push(Difference { cube: numbered.clone(), rows: sums.sorted() });
        }
        Ok(differences)
    }

    /// What a cube has of a span, under the keys of a cube of that shape.
    fn sums_of(
        &self,
        state: &State,
        cube: &Numbered,
        (dimensions, pane): (Dimensions, i64),
        span: &Range<i64>,
        recount: &Recount<'_>,
    ) -> Result<Vec<Row>, Error> {
        if state.runs.is_empty() {
            return Ok(Vec::new());
        }
        let runs = list(state.runs.iter().map(|run| run.id));
        let cells = source(CELLS, span.start, span.end);
        let sources = format!("{} OR {cells}", source(cube.id, span.start, span.end));
        let tenant = Some(recount.tenant.0);
        self.sums(&Wanted { tenant, dimensions, pane, runs: &runs, sources: &sources })
    }

    /// Hands the differences over: one run for all cubes that are kept for ever, one for each other.
    fn insert_differences(
        &self,
        writer: &mut Writer,
        state: &State,
        differences: &[Difference],
    ) -> Result<Vec<Run>, Error> {
        let mut runs = Vec::new();
        let kept = differences.iter().filter(|difference| !difference.cube.is_bounded);
        let mut rows: Vec<(u16, Row)> = kept
            .flat_map(|difference| difference.rows.iter().map(|row| (difference.cube.id, *row)))
            .collect();
        rows.extend(totals_of(differences).into_iter().map(|row| (TOTALS, row)));
        runs.extend(self.insert_rows(writer, state, Part::Kept, rows)?);
        for difference in differences.iter().filter(|difference| difference.cube.is_bounded) {
            let id = difference.cube.id;
            let rows = difference.rows.iter().map(|row| (id, *row)).collect();
            runs.extend(self.insert_rows(writer, state, Part::Bounded(id), rows)?);
        }
        Ok(runs)
    }

    fn insert_rows(
        &self,
        writer: &mut Writer,
        state: &State,
        part: Part,
        rows: Vec<(u16, Row)>,
    ) -> Result<Option<Run>, Error> {
        if rows.is_empty() {
            return Ok(None);
        }
        let rows: Arc<[(u16, Row)]> = rows.into();
        let line = state.line;
        let id = self.insert_run(writer, |id| {
            let rows = Arc::clone(&rows);
            (0..rows.len()).map(move |at| StoredRow::of(&rows[at].1, id, rows[at].0, &line))
        })?;
        let timed = rows.iter().filter(|(cube, _)| *cube != TOTALS);
        let (least, greatest) =
            bounds(timed.clone().map(|(_, row)| row.key.second)).unwrap_or((0, 0));
        let mut held: BTreeMap<u16, u64> = BTreeMap::new();
        timed.for_each(|(cube, _)| *held.entry(*cube).or_default() += 1);
        let held = held.into_iter().map(|(cube, rows)| Held { cube, rows }).collect();
        let count = rows.len() as u64;
        Ok(Some(Run { id, part, least, greatest, rows: count, bytes: 0, held }))
    }
}

/// The last second something was added to, as the finest cube tells it.
fn newest_of(differences: &[Difference]) -> i64 {
    let finest = differences.first().into_iter().flat_map(|finest| &finest.rows);
    finest.map(|row| row.key.second).max().unwrap_or(i64::MIN)
}

/// The whole panes of a cube that the span touches, as far as it has them.
fn span_of(numbered: &Numbered, recount: &Recount<'_>) -> Range<i64> {
    let pane = numbered.cube.pane.seconds();
    let from = recount.from.div_euclid(pane) * pane;
    let to = (recount.to + pane - 1).div_euclid(pane) * pane;
    from.max(numbered.cube.floor)..to
}

/// A cube, mended already, that has all of a span of a coarser one.
fn finer_of<'a>(
    differences: &'a [Difference],
    coarse: &Numbered,
    span: &Range<i64>,
) -> Result<&'a Difference, Error> {
    let holds = |difference: &&Difference| {
        let finer = &difference.cube.cube;
        finer.pane < coarse.cube.pane
            && finer.dimensions.covers(coarse.cube.dimensions)
            && finer.floor <= span.start
    };
    let smallest = differences.iter().filter(holds).min_by_key(|difference| {
        let finer = &difference.cube.cube;
        (finer.dimensions.len(), -finer.pane.seconds())
    });
    smallest.ok_or_else(|| {
        let (pane, name) = (coarse.cube.pane.name(), &coarse.cube.name);
        let fix = format!("give `from` and `to` in whole {pane}s: {name} has no finer");
        Error::question(Field::From, fix)
    })
}

/// What the totals move by: they are over all time, so they go with the finest cube that has all of it.
fn totals_of(differences: &[Difference]) -> Vec<Row> {
    let whole = differences.iter().find(|difference| !difference.cube.is_bounded);
    let mut totals: BTreeMap<Key, Measure> = BTreeMap::new();
    for Row { key, measure } in whole.into_iter().flat_map(|difference| &difference.rows) {
        let Key { tenant, kind, verdict, currency, .. } = *key;
        let key = Key { tenant, kind, verdict, currency, ..Key::default() };
        totals.entry(key).or_default().add(*measure);
    }
    let rows = totals.into_iter().map(|(key, measure)| Row { key, measure });
    rows.filter(|row| !row.is_zero()).collect()
}
