//! From sorted segments in memory to sorted runs of each cube, in one pass and without copies of it all.
//!
//! The segments are merged into one sorted stream of finest rows. How a cube takes from it depends on
//! what it keeps: all dimensions keep the order as it is; ad and campaign keep the order of ads, and
//! only the rows of one ad are sorted anew; anything else is gathered in a table first, which is small
//! because it sums much.

use std::collections::BTreeMap;
use std::ops::Range;

use super::hot::Table;
use super::manifest::Declared;
use super::merge::{narrow, sink_first};
use super::options::Dimensions;
use super::row::{Row, merge_neighbours};
use super::run::{Folder, RunMeta, RunWriter, Span};
use crate::{Dimension, Error};

/// Rows that are handed from cube to cube while they are in the processor's cache.
pub(super) const BATCH_ROWS: usize = 1_024;

/// Sorted segments as one sorted stream: a heap of their rests, the least head on top.
pub(super) struct Segments<'a> {
    rests: Vec<&'a [Row]>,
}

impl<'a> Segments<'a> {
    pub(super) fn new(segments: Vec<&'a [Row]>) -> Self {
        let mut rests = segments;
        rests.retain(|rest| !rest.is_empty());
        // A sorted list is a heap.
        rests.sort_by_key(|rest| rest[0].key);
        Segments { rests }
    }

    /// Replaces `batch` by the next rows, those with equal keys added up; false at the end.
    pub(super) fn fill(&mut self, batch: &mut Vec<Row>) -> bool {
        batch.clear();
        while batch.len() < BATCH_ROWS
            && let Some(mut row) = self.next()
        {
            while self.rests.first().is_some_and(|rest| rest[0].key == row.key) {
                let other = self.next().expect("it was just seen");
                row.measure.add(other.measure);
            }
            batch.push(row);
        }
        !batch.is_empty()
    }

    fn next(&mut self) -> Option<Row> {
        let (row, rest) = self.rests.first()?.split_first().expect("empty rests are removed");
        let row = *row;
        if rest.is_empty() {
            self.rests.swap_remove(0);
        } else {
            self.rests[0] = rest;
        }
        sink_first(&mut self.rests, |left, right| left[0].key < right[0].key);
        Some(row)
    }
}

/// How rows of a cube come into their order.
enum Way {
    /// They are in it.
    Straight { last: Option<Row> },
    /// Within one ad and campaign they are not.
    ByAd { rows: Vec<Row> },
    /// They are not.
    Scattered(Table),
}

/// One cube's part of a commit.
pub(super) struct Spill {
    kept: Dimensions,
    pane_seconds: i64,
    /// Seconds that are taken.
    seconds: Range<i64>,
    way: Way,
    runs: Runs,
}

impl Spill {
    /// Takes what `cube`, at `place` among all, keeps of `seconds`.
    pub(super) fn new(place: u16, cube: &Declared, seconds: Range<i64>) -> Self {
        let ads = Dimensions::of(&[Dimension::Ad, Dimension::Campaign]);
        let way = match cube.dimensions {
            Dimensions::ALL => Way::Straight { last: None },
            kept if kept.covers(ads) => Way::ByAd { rows: Vec::new() },
            _ => Way::Scattered(Table::default()),
        };
        let pane_seconds = cube.pane.seconds();
        let runs = Runs {
            cube: place,
            width: narrow(cube.pane),
            shape: (cube.dimensions, pane_seconds),
            writers: Vec::new(),
            places: BTreeMap::new(),
            last: 0,
        };
        Spill { kept: cube.dimensions, pane_seconds, seconds, way, runs }
    }

    /// Takes the next rows of the stream.
    pub(super) fn add(&mut self, batch: &[Row], folder: &mut Folder<'_>) -> Result<(), Error> {
        let Spill { kept, pane_seconds, seconds, way, runs } = self;
        let projected = batch
            .iter()
            .filter(|row| seconds.contains(&row.key.second))
            .map(|row| Row { key: row.key.project(*kept, *pane_seconds), measure: row.measure });
        match way {
            Way::Straight { last } => add_straight(projected, last, runs, folder),
            Way::ByAd { rows } => add_by_ad(projected, rows, runs, folder),
            Way::Scattered(table) => {
                projected.for_each(|row| table.add(row.key, row.measure));
                Ok(())
            }
        }
    }

    /// Takes sorted rows of the cube itself.
    pub(super) fn push_all(&mut self, rows: &[Row], folder: &mut Folder<'_>) -> Result<(), Error> {
        self.runs.push_all(rows, folder)
    }

    /// Ends all runs.
    pub(super) fn finish(mut self, folder: &mut Folder<'_>) -> Result<Vec<RunMeta>, Error> {
        match self.way {
            Way::Straight { last } => self.runs.push_all(last.as_slice(), folder)?,
            Way::ByAd { mut rows } => self.runs.push_unsorted(&mut rows, folder)?,
            Way::Scattered(mut table) => self.runs.push_all(&table.take_sorted(), folder)?,
        }
        self.runs.finish(folder)
    }
}

fn add_straight(
    rows: impl Iterator<Item = Row>,
    last: &mut Option<Row>,
    runs: &mut Runs,
    folder: &mut Folder<'_>,
) -> Result<(), Error> {
    for row in rows {
        match last {
            Some(last) if last.key == row.key => last.measure.add(row.measure),
            Some(done) => {
                runs.push(done, folder)?;
                *last = Some(row);
            }
            None => *last = Some(row),
        }
    }
    Ok(())
}

fn add_by_ad(
    projected: impl Iterator<Item = Row>,
    rows: &mut Vec<Row>,
    runs: &mut Runs,
    folder: &mut Folder<'_>,
) -> Result<(), Error> {
    for row in projected {
        match rows.last_mut() {
            Some(last) if last.key == row.key => last.measure.add(row.measure),
            Some(last) if last.key.lead() != row.key.lead() => {
                runs.push_unsorted(rows, folder)?;
                rows.push(row);
            }
            _ => rows.push(row),
        }
    }
    Ok(())
}

/// The runs of one cube that are being written, one for each span.
struct Runs {
    cube: u16,
    width: i64,
    shape: (Dimensions, i64),
    writers: Vec<RunWriter>,
    /// Their places by the start of their spans.
    places: BTreeMap<i64, usize>,
    /// The writer of the last row: rows of one span mostly follow each other.
    last: usize,
}

impl Runs {
    fn push(&mut self, row: &Row, folder: &mut Folder<'_>) -> Result<(), Error> {
        if row.is_zero() {
            return Ok(());
        }
        let span = Span::of(row.key.second, self.width);
        if self.writers.get(self.last).is_none_or(|writer| writer.span() != span) {
            self.last = *self.places.entry(span.start).or_insert_with(|| {
                let meta = folder.run(self.cube, span);
                self.writers.push(RunWriter::new(meta, self.shape));
                self.writers.len() - 1
            });
        }
        self.writers[self.last].push(row, folder)
    }

    fn push_all(&mut self, rows: &[Row], folder: &mut Folder<'_>) -> Result<(), Error> {
        rows.iter().try_for_each(|row| self.push(row, folder))
    }

    /// Takes all of `rows`, which are in no order.
    fn push_unsorted(&mut self, rows: &mut Vec<Row>, folder: &mut Folder<'_>) -> Result<(), Error> {
        rows.sort_unstable_by_key(|row| row.key);
        merge_neighbours(rows);
        self.push_all(rows, folder)?;
        rows.clear();
        Ok(())
    }

    fn finish(self, folder: &Folder<'_>) -> Result<Vec<RunMeta>, Error> {
        let ended = self.writers.into_iter().map(|writer| writer.finish(folder));
        let ended: Result<Vec<Option<RunMeta>>, Error> = ended.collect();
        Ok(ended?.into_iter().flatten().collect())
    }
}
