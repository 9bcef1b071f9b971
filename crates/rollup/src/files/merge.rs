//! Merging runs: which, and how.
//!
//! Each `persist` adds a small run to a cube's span; left alone, questions would read thousands of
//! them. Runs of one span and about one size are merged when there are `fan_in` of them, so a row is
//! rewritten a logarithmic number of times. When a span is long past, its runs are regrouped into a
//! wider span, so that a question over a month opens tens of files and not hundreds.
//!
//! The choice is a pure function of what the manifest says, so the same epochs and markers give the
//! same files.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use reckon_disk::Disk;

use super::options::{Options, Pane};
use super::row::{Key, Row};
use super::run::{Cursor, Folder, Run, RunMeta, RunWriter, Span};
use crate::Error;

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
    pane_seconds: i64,
) -> Result<Option<RunMeta>, Error> {
    let mut writer = RunWriter::new(meta, pane_seconds);
    let mut merged = Merged::open(folder.disk, inputs, pane_seconds)?;
    while let Some(row) = merged.next()? {
        writer.push(&row, folder)?;
    }
    writer.finish(folder)
}

/// The rows of some runs in the order of their keys, those with equal keys added up.
struct Merged {
    cursors: Vec<Cursor>,
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    rows: Vec<Row>,
}

impl Merged {
    fn open(disk: &dyn Disk, inputs: &[Arc<Run>], pane_seconds: i64) -> Result<Self, Error> {
        let cursors: Result<Vec<Cursor>, Error> =
            inputs.iter().map(|run| run.cursor(disk, pane_seconds)).collect();
        let mut merged = Merged {
            cursors: cursors?,
            heads: BinaryHeap::new(),
            rows: vec![Row::default(); inputs.len()],
        };
        for from in 0..inputs.len() {
            merged.advance(from)?;
        }
        Ok(merged)
    }

    fn advance(&mut self, from: usize) -> Result<(), Error> {
        if let Some(row) = self.cursors[from].next()? {
            self.rows[from] = row;
            self.heads.push(Reverse((row.key, from)));
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Row>, Error> {
        let Some(Reverse((key, from))) = self.heads.pop() else { return Ok(None) };
        let mut row = self.rows[from];
        self.advance(from)?;
        while let Some(Reverse((next, from))) = self.heads.peek().copied()
            && next == key
        {
            self.heads.pop();
            row.measure.add(self.rows[from].measure);
            self.advance(from)?;
        }
        Ok(Some(row))
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
