//! Sliding windows as sums of panes: add the new, subtract the old.
//!
//! A window costs what enters it and what leaves it, not what is in it, so a step of a second costs
//! hardly more than a step of the window's own width.

use std::collections::VecDeque;

use super::fold::{GroupKey, Sums, too_many};
use crate::Error;

/// The windows to be answered: ends `e`, multiples of `step`, with `from < e <= to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub from: i64,
    pub to: i64,
    pub window: i64,
    pub step: i64,
}

/// Turns groups of panes into groups of windows whose bucket is the window's exclusive end.
pub(crate) fn slide(
    mut panes: Vec<(GroupKey, Sums)>,
    windows: Windows,
    groups_max: usize,
) -> Result<Vec<(GroupKey, Sums)>, Error> {
    let series = |key: &GroupKey| GroupKey { bucket: 0, ..*key };
    panes.sort_unstable_by_key(|(key, _)| (series(key), key.bucket));
    let mut out = Vec::new();
    for panes in panes.chunk_by(|a, b| series(&a.0) == series(&b.0)) {
        slide_one(panes, windows, &mut |row| {
            out.push(row);
            if out.len() > groups_max { Err(too_many(groups_max)) } else { Ok(()) }
        })?;
    }
    Ok(out)
}

/// The windows of one series of panes, which are sorted by time.
fn slide_one(
    panes: &[(GroupKey, Sums)],
    windows: Windows,
    emit: &mut impl FnMut((GroupKey, Sums)) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut inside: VecDeque<&(GroupKey, Sums)> = VecDeque::new();
    let mut sums = Sums::default();
    let mut coming = panes.iter().peekable();
    let mut end = windows.from + windows.step;
    while end <= windows.to {
        while let Some(pane) = coming.next_if(|(key, _)| key.bucket < end) {
            sums.add(&pane.1);
            inside.push_back(pane);
        }
        while let Some(pane) = inside.pop_front_if(|(key, _)| key.bucket < end - windows.window) {
            sums.subtract(&pane.1);
        }
        if inside.is_empty() {
            // Nothing until the first window of the next pane, if there is one.
            let Some((key, _)) = coming.peek() else { return Ok(()) };
            let first = (key.bucket.div_euclid(windows.step) + 1) * windows.step;
            end = first.max(end + windows.step);
            continue;
        }
        if !sums.is_zero() {
            emit((GroupKey { bucket: end, ..panes[0].0 }, sums.clone()))?;
        }
        end += windows.step;
    }
    Ok(())
}
