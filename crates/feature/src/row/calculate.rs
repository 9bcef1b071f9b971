//! Numeric columns.
//!
//! A column is computed for all candidates at once, or for all pasts of its entity where several share one:
//! sums are put side by side first, so that the arithmetic behind them is a loop over plain slices.

use super::{Asked, Candidate, Request, Rows, Views, known};
use crate::plan::{Plan, Source, Transform};

/// Ratios are kept off 0 and 1, where log odds end.
const RATE_MIN: f32 = 1e-6;

/// Room for a column's sums and numbers; used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    sums: [Vec<f32>; 4],
    numbers: Vec<f32>,
}

pub(super) fn columns(
    plan: &Plan,
    request: &Request<'_>,
    candidates: &[Candidate],
    views: &mut Views,
    rows: &mut Rows,
) {
    let (count, shared) = (plan.columns().len(), plan.user_columns());
    rows.numeric.resize(count * candidates.len(), f32::NAN);
    let mut scratch = std::mem::take(&mut views.scratch);
    for (number, column) in plan.columns().iter().enumerate() {
        let places = match number < shared {
            true => 0..rows.numeric.len().min(count),
            false => 0..rows.numeric.len(),
        };
        let places = rows.numeric[places].iter_mut().skip(number).step_by(count);
        match column.source {
            Source::Past(entity, transform) => {
                let asked = (entity, &views.asked[entity]);
                past(plan, views, asked, transform, places, &mut scratch);
            }
            Source::Known(known) if number < shared => {
                places.for_each(|place| *place = known::of_request(plan, known, request, views));
            }
            Source::Known(known) => {
                for (place, candidate) in places.zip(candidates) {
                    *place = known::of_candidate(known, request, candidate, views);
                }
            }
        }
    }
    views.scratch = scratch;
    let Some((first, others)) = rows.numeric.split_at_mut_checked(count) else {
        return;
    };
    for row in others.chunks_exact_mut(count.max(1)) {
        row[..shared].copy_from_slice(&first[..shared]);
    }
}

/// A column of pasts.
fn past<'a>(
    plan: &Plan,
    views: &Views,
    (entity, asked): (usize, &Asked),
    transform: Transform,
    places: impl Iterator<Item = &'a mut f32>,
    scratch: &mut Scratch,
) {
    let (Scratch { sums: [one, two, three, four], numbers }, index) = (scratch, &asked.index);
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
        Transform::Age(last) => {
            numbers.extend(asked.views.chunks_exact(width).map(|view| view[last]));
        }
        Transform::Share { of, parent, whole } => {
            let (parent, its_width) = (&views.asked[parent], plan.entities[parent].width());
            let count = index.len().max(parent.index.len());
            asked.by(count, width, of, one);
            parent.by(count, its_width, whole, two);
            numbers.extend(one.iter().zip(two).map(|(of, whole)| mean(*of, *whole, 1.0)));
            return put(asked, parent, numbers, places);
        }
        Transform::Odds { of, per, parent, parent_of, parent_per, prior, weight } => {
            let (parent, its_width) = (&views.asked[parent], plan.entities[parent].width());
            let count = index.len().max(parent.index.len());
            asked.by(count, width, of, one);
            asked.by(count, width, per, two);
            parent.by(count, its_width, parent_of, three);
            parent.by(count, its_width, parent_per, four);
            let (own, others) = (one.iter().zip(two), three.iter().zip(four));
            numbers.extend(own.zip(others).map(|((of, per), (parent_of, parent_per))| {
                let parent = rate(*parent_of, *parent_per, prior, weight);
                odds(*of, *per, parent, weight)
            }));
            return put(asked, parent, numbers, places);
        }
    }
    for (number, is_there) in numbers.iter_mut().zip(&asked.is_there) {
        *number = if *is_there { *number } else { f32::NAN };
    }
    for (place, &index) in places.zip(index) {
        *place = numbers[index as usize];
    }
}

/// Puts numbers of candidates where both pasts are there.
fn put<'a>(
    asked: &Asked,
    parent: &Asked,
    numbers: &[f32],
    places: impl Iterator<Item = &'a mut f32>,
) {
    for (at, (place, number)) in places.zip(numbers).enumerate() {
        *place = if asked.is_there(at) && parent.is_there(at) { *number } else { f32::NAN };
    }
}

impl Asked {
    /// A sum of each past; any number where there is none.
    fn each(&self, width: usize, sum: usize, sums: &mut Vec<f32>) {
        sums.clear();
        sums.extend(self.views.chunks_exact(width).map(|view| view[sum]));
    }

    /// A sum of the past of each of so many candidates; any number where there is none.
    fn by(&self, count: usize, width: usize, sum: usize, sums: &mut Vec<f32>) {
        sums.clear();
        let of = |index: u32| self.views.get(index as usize * width + sum).copied().unwrap_or(0.0);
        sums.extend(self.index.iter().map(|&index| of(index)));
        // All share one.
        let last = sums.last().copied().unwrap_or(0.0);
        sums.resize(count, last);
    }

    /// Whether a candidate has a past.
    fn is_there(&self, candidate: usize) -> bool {
        let index = self.index.get(candidate).or(self.index.first());
        index.is_some_and(|&index| self.is_there[index as usize])
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
