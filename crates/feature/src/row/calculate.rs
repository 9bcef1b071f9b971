//! Numeric columns.
//!
//! A column is computed for all pasts of its entity at once, which may be few (most crosses were never seen) or
//! shared by several candidates:
//! sums are put side by side first, so that the arithmetic behind them is a loop over plain slices. Rows are put
//! together at the end, a few at a time: column by column, each number would be a line of the cache of its own.

use super::{Asked, Candidate, Request, Rows, Views, known};
use crate::plan::{Plan, Source, Transform};

/// Ratios are kept off 0 and 1, where log odds end.
const RATE_MIN: f32 = 1e-6;

/// Room for sums and for columns; used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    sums: [Vec<f32>; 4],
    numbers: Vec<f32>,
    both: Vec<Both>,
    /// Columns of candidates, one behind the other.
    columns: Vec<f32>,
}

/// Numbers of a line of the cache.
const LINE: usize = 16;
/// Rows that are put together at a time: as many as one line of each column is of.
const ROWS: usize = LINE;

pub(super) fn columns(
    plan: &Plan,
    request: &Request<'_>,
    candidates: &[Candidate],
    views: &mut Views,
    rows: &mut Rows,
) {
    let (count, shared) = (plan.columns().len(), plan.user_columns());
    rows.numeric.resize(count * candidates.len(), f32::NAN);
    let Some(first) = rows.numeric.get_mut(..count).filter(|first| !first.is_empty()) else {
        return;
    };
    let mut scratch = std::mem::take(&mut views.scratch);
    let (of_user, own) = plan.columns().split_at(shared);
    for (column, place) in of_user.iter().zip(first) {
        match column.source {
            Source::Past(entity, transform) => {
                let asked = (entity, &views.asked[entity]);
                past(plan, views, asked, transform, std::slice::from_mut(place), &mut scratch);
            }
            Source::Known(known) => *place = known::of_request(plan, known, request, views),
        }
    }
    // An odd number of lines, so that the same row of all columns is not in the same few sets of the cache.
    let stride = (candidates.len().div_ceil(LINE) | 1) * LINE;
    let mut columns = std::mem::take(&mut scratch.columns);
    columns.resize(own.len() * stride, f32::NAN);
    for (column, places) in own.iter().zip(columns.chunks_exact_mut(stride)) {
        let places = &mut places[..candidates.len()];
        match column.source {
            Source::Past(entity, transform) => {
                let asked = (entity, &views.asked[entity]);
                past(plan, views, asked, transform, places, &mut scratch);
            }
            Source::Known(known) => {
                for (place, candidate) in places.iter_mut().zip(candidates) {
                    *place = known::of_candidate(known, request, candidate, views);
                }
            }
        }
    }
    let (first, others) = rows.numeric.split_at_mut(count);
    for row in others.chunks_exact_mut(count) {
        row[..shared].copy_from_slice(&first[..shared]);
    }
    for (number, rows) in rows.numeric.chunks_mut(count * ROWS).enumerate() {
        for (at, row) in rows.chunks_exact_mut(count).enumerate() {
            let column =
                columns.get(number * ROWS + at..).unwrap_or_default().iter().step_by(stride);
            row[shared..].iter_mut().zip(column).for_each(|(place, number)| *place = *number);
        }
    }
    scratch.columns = columns;
    views.scratch = scratch;
}

/// A column of pasts, or the beginning of it.
fn past(
    plan: &Plan,
    views: &Views,
    (entity, asked): (usize, &Asked),
    transform: Transform,
    places: &mut [f32],
    scratch: &mut Scratch,
) {
    let Scratch { sums: [one, two, three, four], numbers, both, .. } = scratch;
    let width = plan.entities[entity].width();
    numbers.clear();
    match transform {
        Transform::Count { of, unit } => {
            asked.each(width, of, one);
            numbers.extend(one.iter().map(|sum| sum * unit));
        }
        Transform::Log { of, unit } => {
            asked.each(width, of, one);
            numbers.extend(one.iter().map(|sum| ln(1.0 + sum * unit)));
        }
        Transform::Rate { of, per, prior, weight } => {
            asked.each(width, of, one);
            asked.each(width, per, two);
            numbers.extend(one.iter().zip(two).map(|(of, per)| rate(*of, *per, prior, weight)));
        }
        Transform::Mean { of, per, scale } => {
            asked.each(width, of, one);
            asked.each(width, per, two);
            numbers.extend(one.iter().zip(two).map(|(of, per)| mean(*of, *per, scale)));
        }
        Transform::Age(last) => asked.each(width, last, numbers),
        Transform::Share { of, parent, whole } => {
            let (parent, its_width) = (&views.asked[parent], plan.entities[parent].width());
            asked.with(parent, places.len(), both);
            asked.by(both.iter().map(|both| both.own), width, of, one);
            parent.by(both.iter().map(|both| both.parent), its_width, whole, two);
            numbers.extend(one.iter().zip(two).map(|(of, whole)| mean(*of, *whole, 1.0)));
            return put(both, numbers, places);
        }
        Transform::Odds { of, per, parent, parent_of, parent_per, prior, weight } => {
            let (parent, its_width) = (&views.asked[parent], plan.entities[parent].width());
            asked.with(parent, places.len(), both);
            asked.by(both.iter().map(|both| both.own), width, of, one);
            asked.by(both.iter().map(|both| both.own), width, per, two);
            parent.by(both.iter().map(|both| both.parent), its_width, parent_of, three);
            parent.by(both.iter().map(|both| both.parent), its_width, parent_per, four);
            let (own, others) = (one.iter().zip(two), three.iter().zip(four));
            numbers.extend(own.zip(others).map(|((of, per), (parent_of, parent_per))| {
                let parent = rate(*parent_of, *parent_per, prior, weight);
                odds(*of, *per, parent, weight)
            }));
            return put(both, numbers, places);
        }
    }
    // Where those stand who have no past.
    numbers.push(f32::NAN);
    for (place, &at) in places.iter_mut().zip(&asked.at) {
        *place = numbers[at as usize];
    }
}

/// A candidate whose past and the past beside it are both there, and where they are.
#[derive(Clone, Copy, Debug)]
struct Both {
    candidate: u32,
    own: u32,
    parent: u32,
}

/// Puts the numbers of such candidates; all others have none.
fn put(both: &[Both], numbers: &[f32], places: &mut [f32]) {
    places.fill(f32::NAN);
    for (both, number) in both.iter().zip(numbers) {
        places[both.candidate as usize] = *number;
    }
}

impl Asked {
    /// A sum of each past.
    fn each(&self, width: usize, sum: usize, sums: &mut Vec<f32>) {
        let views = self.views[..self.found as usize * width].chunks_exact(width);
        sums.clear();
        sums.extend(views.map(|view| view[sum]));
    }

    /// A sum of some of the pasts.
    fn by(&self, which: impl Iterator<Item = u32>, width: usize, sum: usize, sums: &mut Vec<f32>) {
        sums.clear();
        sums.extend(which.map(|at| self.views[at as usize * width + sum]));
    }

    /// Of so many candidates those that have a past here and there.
    fn with(&self, parent: &Asked, candidates: usize, both: &mut Vec<Both>) {
        both.clear();
        both.extend((0..candidates).filter_map(|candidate| {
            let (own, parent) = (self.place(candidate)?, parent.place(candidate)?);
            Some(Both { candidate: candidate as u32, own, parent })
        }));
    }
}

fn rate(of: f32, per: f32, prior: f32, weight: f32) -> f32 {
    (of + prior * weight) / (per + weight)
}

/// Log odds of a ratio that begins at the parent's, less those of the parent's.
fn odds(of: f32, per: f32, parent: f32, weight: f32) -> f32 {
    let parent = parent.clamp(RATE_MIN, 1.0 - RATE_MIN);
    let own = rate(of, per, parent, weight).clamp(RATE_MIN, 1.0 - RATE_MIN);
    ln((own * (1.0 - parent)) / (parent * (1.0 - own)))
}

fn mean(of: f32, per: f32, scale: f32) -> f32 {
    if per == 0.0 { f32::NAN } else { of / per * scale }
}

/// The natural logarithm of a positive, normal number, within 2 units of the last place or 1e-7: the
/// same bits on every machine and in every compiler, which the libraries' own does not promise.
///
/// With `x = 2^e * m` and `m` near 1, `ln m = 2 atanh((m - 1) / (m + 1))`, as a series.
pub fn ln(x: f32) -> f32 {
    // 0x3f3504f3 is the square root of one half: m lies between it and twice it.
    let bits = x.to_bits().wrapping_sub(0x3f35_04f3);
    let exponent = (bits as i32) >> 23;
    let m = f32::from_bits((bits & 0x007f_ffff) + 0x3f35_04f3);
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = square * (1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0 + square / 9.0)));
    exponent as f32 * std::f32::consts::LN_2 + 2.0 * (s + s * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_agree_with_the_librarys() {
        let mut compared = 0;
        for step in 0..1_000_000u32 {
            let x = f32::from_bits(0x2000_0000 + step * 1_500);
            let (own, exact) = (f64::from(ln(x)), f64::from(x).ln());
            assert!((own - exact).abs() <= 1e-7 + 3e-7 * exact.abs(), "{x}: {own} {exact}");
            compared += 1;
        }
        assert_eq!(compared, 1_000_000);
        assert_eq!(ln(1.0), 0.0);
    }
}
