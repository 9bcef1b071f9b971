//! Mending: all sums of a span are replaced by those of an independent recount.
//!
//! For each cube the difference between what it has and what it should have becomes one more run; sums
//! add up, so nothing else has to change, and readers see either all of it or nothing. Coarse tiers
//! whose panes reach beyond the span get what the finer ones, mended, add up to. The manifest that
//! names the differences has a mark of the span, so a figure that moved can be told from one that was
//! counted.

use std::ops::Range;

use reckon_event::{Deltas, TenantId, Timestamp};

use super::Files;
use super::block::Wanted;
use super::commit::Next;
use super::manifest::{Declared, Mend};
use super::row::{Key, Row, Select};
use super::spill::Spill;
use crate::sums::gathered::Gathered;
use crate::sums::recount::Recount;
use crate::{Error, Field, Filter};

impl Files {
    /// See [`crate::RollupStore::rebuild`].
    pub(super) fn replace(
        &self,
        tenant: TenantId,
        (from, to): (Timestamp, Timestamp),
        figures: &Deltas,
    ) -> Result<u64, Error> {
        let recount = Recount::of(tenant, (from, to), figures)?;
        let mut writer = self.writer()?;
        self.learn(figures);
        writer.poisoned = true;
        let hand = self.hand();
        let mut next = Next::new(self, &hand);
        next.write_names()?;
        next.take_work(&mut writer, true)?;
        next.write_runs(hand.frozen())?;
        // Without the differences this is a commit as any other: a span that is too large to be
        // replaced at once does no harm.
        let differences = match self.differences(&next, &recount) {
            Err(error @ Error::Broken { .. }) => return Err(error),
            other => other,
        };
        if let Ok(differences) = &differences {
            write_differences(&mut next, differences)?;
            let epoch = next.manifest.line.number;
            next.manifest.mark(Mend { tenant, from, to, epoch });
        }
        next.decide();
        next.publish()?;
        self.put_in_force(&mut writer, next, hand);
        Ok(differences?.iter().map(|difference| difference.rows.len() as u64).sum())
    }

    /// What is to be added to each cube, finer ones first.
    fn differences(
        &self,
        next: &Next<'_>,
        recount: &Recount<'_>,
    ) -> Result<Vec<Difference>, Error> {
        let cubes = &next.manifest.cubes;
        let mut places: Vec<usize> = (0..cubes.len()).collect();
        places.sort_by_key(|&place| (cubes[place].pane, place));
        let mut differences: Vec<Difference> = Vec::new();
        for place in places {
            let cube = &cubes[place];
            let span = span_of(cube, recount);
            if span.is_empty() {
                continue;
            }
            let shape = (cube.dimensions, cube.pane.seconds());
            let mut sums = Gathered::new(shape, self.options.groups_max);
            if span.start >= recount.from && span.end <= recount.to {
                for (cell, measure) in &recount.figures.cells {
                    let row = Row { key: Key::of(cell), measure: *measure };
                    if span.contains(&cell.second) {
                        sums.add(&row, 1)?;
                    }
                }
            } else {
                let finer = finer_of(cubes, &differences, cube, &span)?;
                self.add_rows(next, finer.place, &span, recount, |row| sums.add(row, 1))?;
                let rows = finer.rows.iter().filter(|row| span.contains(&row.key.second));
                rows.into_iter().try_for_each(|row| sums.add(row, 1))?;
            }
            self.add_rows(next, place, &span, recount, |row| sums.add(row, -1))?;
            differences.push(Difference { place, span, rows: sums.sorted() });
        }
        Ok(differences)
    }

    /// Hands what a cube has of a span to `sink`.
    fn add_rows(
        &self,
        next: &Next<'_>,
        place: usize,
        span: &Range<i64>,
        recount: &Recount<'_>,
        mut sink: impl FnMut(&Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let cube = &next.manifest.cubes[place];
        let select = Select {
            tenant: Some(recount.tenant.0),
            filter: Filter::default(),
            from: span.start,
            to: span.end,
        };
        let shape = (cube.dimensions, cube.pane.seconds());
        for run in next.runs.iter().filter(|run| usize::from(run.meta.cube) == place) {
            run.scan(&*self.disk, shape, (&select, Wanted::ALL), &mut sink)?;
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
impl Files {
    /// Damages the sums in memory behind everyone's back: `measure` is added to a cell without any
    /// epoch, so that a test can let a delta be counted twice, or be lost (with the signs turned).
    /// It becomes durable with the next epoch.
    pub fn plant(&self, cell: &reckon_event::Cell, measure: reckon_event::Measure) {
        let mut visible = self.visible_mut();
        let key = Key::of(cell);
        visible.hot.add(key, measure);
        visible.totals.add(key.tenant, key.kind, key.verdict, measure.count);
    }
}

/// What is to be added to a cube.
struct Difference {
    place: usize,
    span: Range<i64>,
    rows: Vec<Row>,
}

/// The whole panes of a cube that the span touches, as far as it has them.
fn span_of(cube: &Declared, recount: &Recount<'_>) -> Range<i64> {
    let pane = cube.pane.seconds();
    let from = recount.from.div_euclid(pane) * pane;
    let to = (recount.to + pane - 1).div_euclid(pane) * pane;
    from.max(cube.floor)..to.min(cube.taken)
}

/// A cube, mended already, that has all of a span of a coarser one.
fn finer_of<'a>(
    cubes: &[Declared],
    differences: &'a [Difference],
    cube: &Declared,
    span: &Range<i64>,
) -> Result<&'a Difference, Error> {
    let holds = |difference: &&Difference| {
        let finer = &cubes[difference.place];
        finer.pane < cube.pane
            && finer.dimensions.covers(cube.dimensions)
            && finer.floor <= span.start
            && finer.taken >= span.end
    };
    let holders = differences.iter().filter(holds);
    let smallest = holders.min_by_key(|holder| {
        (cubes[holder.place].dimensions.len(), -cubes[holder.place].pane.seconds())
    });
    smallest.ok_or_else(|| {
        let fix = format!(
            "give `from` and `to` in whole {}s: {} has no finer",
            cube.pane.name(),
            cube.name
        );
        Error::question(Field::From, fix)
    })
}

fn write_differences(next: &mut Next<'_>, differences: &[Difference]) -> Result<(), Error> {
    for difference in differences {
        let Difference { place, span, rows } = difference;
        let cube = next.manifest.cubes[*place].clone();
        let at = u16::try_from(*place).expect("cubes are few");
        let mut spill = Spill::new(at, &cube, span.clone());
        spill.push_all(rows, &mut next.folder)?;
        let written = spill.finish(&mut next.folder)?;
        next.add_runs(written);
    }
    // Totals are over all time, so they move with the finest cube that has all of it.
    let cubes = &next.manifest.cubes;
    let is_whole = |place: usize| cubes[place].floor == i64::MIN && cubes[place].sealed == i64::MAX;
    let whole = differences.iter().find(|difference| is_whole(difference.place));
    for Row { key, measure } in whole.into_iter().flat_map(|difference| &difference.rows) {
        next.manifest.totals.add(key.tenant, key.kind, key.verdict, measure.count);
        next.manifest.newest = next.manifest.newest.max(key.second);
    }
    Ok(())
}
