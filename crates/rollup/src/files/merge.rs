//! Merging runs: which, and how.
//!
//! Each `persist` adds a small run to a cube's span; left alone, questions would read thousands of
//! them. Runs of one span and about one size are merged when there are `fan_in` of them, so a row is
//! rewritten a logarithmic number of times. When a span is long past, its runs are regrouped into a
//! wider span, so that a question over a month opens tens of files and not hundreds.
//!
//! The choice is a pure function of what the manifest says, so the same epochs and markers give the
//! same files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reckon_disk::Disk;

use super::options::{Dimensions, Options, Pane};
use super::row::Row;
use super::run::{Cursor, Folder, Run, RunMeta, RunWriter, Span};
use super::spill::{BATCH_ROWS, Spill};
use crate::{BrokenKind, Error};

/// The most merges of one `persist`.
const MERGES_MAX: usize = 8;

/// Rows below which all runs are of one size.
const TIER_ROWS: u64 = 4_096;

/// The width of the span new runs of a cube lie in.
pub(super) const fn narrow(pane: Pane) -> i64 {
    match pane {
        Pane::Second => 60,
        Pane::Minute => 3_600,
        Pane::Hour => 86_400,
        Pane::Day => 30 * 86_400,
    }
}

/// The width of the span they are regrouped into when it is past. Seconds are gone by then.
pub(super) const fn wide(pane: Pane) -> i64 {
    match pane {
        Pane::Second => 60,
        Pane::Minute => 86_400,
        Pane::Hour => 30 * 86_400,
        Pane::Day => 360 * 86_400,
    }
}

/// A wide span is past when the newest second is a day beyond it: late events are rare by then.
const PAST_SECONDS: i64 = 86_400;

/// The span a run is grouped by.
fn group(run: &RunMeta, pane: Pane, newest: i64) -> Span {
    let wide = Span::of(run.span.start, wide(pane));
    if run.span.width == wide.width || wide.end() + PAST_SECONDS <= newest {
        wide
    } else {
        run.span
    }
}

fn tier(rows: u64, fan_in: u64) -> u32 {
    (rows / TIER_ROWS).checked_ilog(fan_in).map_or(0, |tier| tier + 1)
}

/// One merge: these runs, into this span.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Merge {
    pub cube: u16,
    pub span: Span,
    pub inputs: Vec<u64>,
}

/// The merges that are due, smallest first, at most [`MERGES_MAX`].
pub(super) fn due<'a>(
    runs: impl Iterator<Item = &'a RunMeta>,
    options: &Options,
    newest: i64,
) -> Vec<Merge> {
    let mut groups: BTreeMap<(u16, Span, u32), Vec<&RunMeta>> = BTreeMap::new();
    for run in runs {
        let span = group(run, options.cubes[usize::from(run.cube)].pane, newest);
        let tier = tier(run.rows, options.fan_in as u64);
        groups.entry((run.cube, span, tier)).or_default().push(run);
    }
    let mut merges: Vec<(u64, Merge)> = Vec::new();
    for ((cube, span, _), runs) in groups {
        let rows = runs.iter().map(|run| run.rows).sum();
        if runs.len() >= options.fan_in && rows <= options.merge_rows_max {
            let inputs = runs.iter().map(|run| run.id).collect();
            merges.push((rows, Merge { cube, span, inputs }));
        }
    }
    merges.sort_by_key(|(rows, _)| *rows);
    merges.into_iter().take(MERGES_MAX).map(|(_, merge)| merge).collect()
}

/// Writes the sum of `inputs` as the run of `meta`; `None` where everything cancels.
pub(super) fn merge_runs(
    folder: &Folder<'_>,
    inputs: &[Arc<Run>],
    meta: RunMeta,
    shape: (Dimensions, i64),
    proceed: &Proceed,
) -> Result<Option<RunMeta>, Error> {
    let mut writer = RunWriter::new(meta, shape);
    let mut merged = Merged::open(folder.disk, inputs, shape.1)?;
    let mut batch = Vec::new();
    while merged.fill(&mut batch)? {
        proceed.check()?;
        for row in &batch {
            writer.push(row, folder)?;
        }
    }
    writer.finish(folder)
}

/// Whether work that takes long is still wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Proceed(Arc<AtomicBool>);

impl Proceed {
    /// Ends the work.
    pub(super) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::broken(BrokenKind::Poisoned, &"merging", "the store is closed"));
        }
        Ok(())
    }
}

/// Writes what the rows of `inputs` in `seconds` add up to in the coarser cube of `spill`.
pub(super) fn seal_runs(
    folder: &mut Folder<'_>,
    (inputs, pane_seconds): (&[Arc<Run>], i64),
    mut spill: Spill,
    proceed: &Proceed,
) -> Result<Vec<RunMeta>, Error> {
    let mut merged = Merged::open(folder.disk, inputs, pane_seconds)?;
    let mut batch = Vec::new();
    while merged.fill(&mut batch)? {
        proceed.check()?;
        spill.add(&batch, folder)?;
    }
    spill.finish(folder)
}

/// The rows of some runs in the order of their keys, those with equal keys added up: a heap of the
/// next row of each, the least on top.
pub(super) struct Merged {
    heads: Vec<(Row, Cursor)>,
}

impl Merged {
    pub(super) fn open(
        disk: &dyn Disk,
        inputs: &[Arc<Run>],
        pane_seconds: i64,
    ) -> Result<Self, Error> {
        let mut heads = Vec::with_capacity(inputs.len());
        for run in inputs {
            let mut cursor = run.cursor(disk, pane_seconds)?;
            if let Some(row) = cursor.next()? {
                heads.push((row, cursor));
            }
        }
        // A sorted list is a heap.
        heads.sort_by_key(|(row, _)| row.key);
        Ok(Merged { heads })
    }

    /// Replaces `batch` by the next rows; false at the end.
    pub(super) fn fill(&mut self, batch: &mut Vec<Row>) -> Result<bool, Error> {
        batch.clear();
        while batch.len() < BATCH_ROWS
            && let Some(row) = self.next()?
        {
            batch.push(row);
        }
        Ok(!batch.is_empty())
    }

    fn next(&mut self) -> Result<Option<Row>, Error> {
        let Some(mut row) = self.take_first()? else { return Ok(None) };
        while self.heads.first().is_some_and(|(head, _)| head.key == row.key) {
            let other = self.take_first()?.expect("it was just seen");
            row.measure.add(other.measure);
        }
        Ok(Some(row))
    }

    fn take_first(&mut self) -> Result<Option<Row>, Error> {
        let Some((head, cursor)) = self.heads.first_mut() else { return Ok(None) };
        let row = *head;
        match cursor.next()? {
            Some(next) => *head = next,
            None => drop(self.heads.swap_remove(0)),
        }
        sink_first(&mut self.heads, |(left, _), (right, _)| left.key < right.key);
        Ok(Some(row))
    }
}

/// Makes a heap whose first element has been replaced a heap again.
pub(super) fn sink_first<T>(heap: &mut [T], is_before: impl Fn(&T, &T) -> bool) {
    let mut at = 0;
    loop {
        let mut least = at;
        for child in [2 * at + 1, 2 * at + 2] {
            if child < heap.len() && is_before(&heap[child], &heap[least]) {
                least = child;
            }
        }
        if least == at {
            return;
        }
        heap.swap(at, least);
        at = least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: u64, hour: i64, rows: u64) -> RunMeta {
        let span = Span::of(hour * 3_600, 3_600);
        RunMeta { id, cube: 0, span, least: span.start, greatest: span.start, rows, bytes: rows }
    }

    #[test]
    fn runs_of_one_size_are_merged_and_others_left() {
        let options = Options::default();
        let mut runs: Vec<RunMeta> = (0..7).map(|id| run(id, 5, 100)).collect();
        runs.push(run(7, 5, 1_000_000));
        assert_eq!(due(runs.iter(), &options, 0), []);
        runs.push(run(8, 5, 90));
        let span = Span { start: 5 * 3_600, width: 3_600 };
        let inputs = vec![0, 1, 2, 3, 4, 5, 6, 8];
        assert_eq!(due(runs.iter(), &options, 0), [Merge { cube: 0, span, inputs }]);
    }

    #[test]
    fn hours_of_a_past_day_become_a_day() {
        let runs: Vec<RunMeta> =
            (0..24).map(|hour| run(u64::try_from(hour).expect("small"), hour, 100)).collect();
        let options = Options::default();
        assert_eq!(due(runs.iter(), &options, 2 * 86_400 - 1), []);
        let merges = due(runs.iter(), &options, 2 * 86_400);
        assert_eq!(merges.len(), 1);
        assert_eq!(
            (merges[0].span, merges[0].inputs.len()),
            (Span { start: 0, width: 86_400 }, 24)
        );
    }
}
