//! Numeric columns.

use super::{Asked, Candidate, NONE, Request, Rows, Views, known};
use crate::plan::{Plan, Source, Transform};

/// Ratios are kept off 0 and 1, where log odds end.
const RATE_MIN: f32 = 1e-6;

pub(super) fn columns(
    plan: &Plan,
    request: &Request<'_>,
    candidates: &[Candidate],
    views: &mut Views,
    rows: &mut Rows,
) {
    let (count, shared) = (plan.columns().len(), plan.user_columns());
    rows.numeric.clear();
    rows.numeric.resize(count * candidates.len(), f32::NAN);
    let Some(first) = rows.numeric.get_mut(..shared) else {
        return;
    };
    for (column, number) in plan.columns().iter().zip(first) {
        *number = match column.source {
            Source::Past(entity, transform) => one(plan, views, entity, transform, 0),
            Source::Known(known) => known::of_request(plan, known, request, views),
        };
    }
    let (first, others) = rows.numeric.split_at_mut(count);
    for row in others.chunks_exact_mut(count) {
        row[..shared].copy_from_slice(&first[..shared]);
    }
    let mut numbers = std::mem::take(&mut views.numbers);
    for (number, column) in plan.columns().iter().enumerate().skip(shared) {
        let places = rows.numeric[number..].iter_mut().step_by(count);
        match column.source {
            Source::Known(known) => {
                for (place, candidate) in places.zip(candidates) {
                    *place = known::of_candidate(known, request, candidate, views);
                }
            }
            Source::Past(entity, transform) if transform.parent().is_some() => {
                for (at, place) in places.enumerate() {
                    *place = one(plan, views, entity, transform, at);
                }
            }
            Source::Past(entity, transform) => {
                let width = plan.entities[entity].width();
                each(&views.asked[entity], width, transform, views.moment, &mut numbers);
                for (place, &index) in places.zip(&views.asked[entity].index) {
                    *place = if index == NONE { f32::NAN } else { numbers[index as usize] };
                }
            }
        }
    }
    views.numbers = numbers;
}

/// One column of an entity over all its views.
fn each(asked: &Asked, width: usize, transform: Transform, moment: u32, numbers: &mut Vec<f32>) {
    numbers.clear();
    let views = asked.views.chunks_exact(width);
    // The transform is known before the loop, so each arm is a loop of its own.
    match transform {
        Transform::Count { of, unit } => {
            numbers.extend(views.map(|view| view[of] as f32 * unit));
        }
        Transform::Log { of, unit } => {
            numbers.extend(views.map(|view| ln(1.0 + view[of] as f32 * unit)));
        }
        Transform::Rate { of, per, prior, weight } => {
            numbers.extend(views.map(|view| rate(view[of], view[per], prior, weight)));
        }
        Transform::Mean { of, per, scale } => {
            numbers.extend(views.map(|view| mean(view[of], view[per], scale)));
        }
        Transform::Age(last) => numbers.extend(views.map(|view| age(view[last], moment))),
        Transform::Share { .. } | Transform::Odds { .. } => {}
    }
    for (number, is_there) in numbers.iter_mut().zip(&asked.is_there) {
        if !is_there {
            *number = f32::NAN;
        }
    }
}

/// One column of one candidate, or of the request.
fn one(plan: &Plan, views: &Views, entity: usize, transform: Transform, at: usize) -> f32 {
    let view = |entity: usize| views.asked[entity].of(at, plan.entities[entity].width());
    let Some(own) = view(entity) else {
        return f32::NAN;
    };
    let other = match transform.parent() {
        None => own,
        Some(parent) => match view(parent) {
            None => return f32::NAN,
            Some(other) => other,
        },
    };
    transform.number(own, other, views.moment)
}

impl Transform {
    fn parent(self) -> Option<usize> {
        match self {
            Transform::Share { parent, .. } | Transform::Odds { parent, .. } => Some(parent),
            _ => None,
        }
    }

    /// The number, from the view of the entity and of the one it is compared with.
    fn number(self, own: &[u64], other: &[u64], moment: u32) -> f32 {
        match self {
            Transform::Count { of, unit } => own[of] as f32 * unit,
            Transform::Log { of, unit } => ln(1.0 + own[of] as f32 * unit),
            Transform::Rate { of, per, prior, weight } => rate(own[of], own[per], prior, weight),
            Transform::Mean { of, per, scale } => mean(own[of], own[per], scale),
            Transform::Age(last) => age(own[last], moment),
            Transform::Share { of, whole, .. } => mean(own[of], other[whole], 1.0),
            Transform::Odds { of, per, parent_of, parent_per, prior, weight, .. } => {
                let parent = rate(other[parent_of], other[parent_per], prior, weight);
                let parent = parent.clamp(RATE_MIN, 1.0 - RATE_MIN);
                let own = rate(own[of], own[per], parent, weight);
                let own = own.clamp(RATE_MIN, 1.0 - RATE_MIN);
                ln((own * (1.0 - parent)) / (parent * (1.0 - own)))
            }
        }
    }
}

fn rate(of: u64, per: u64, prior: f32, weight: f32) -> f32 {
    (of as f32 + prior * weight) / (per as f32 + weight)
}

fn mean(of: u64, per: u64, scale: f32) -> f32 {
    if per == 0 { f32::NAN } else { of as f32 / per as f32 * scale }
}

fn age(last: u64, moment: u32) -> f32 {
    if last == 0 { f32::NAN } else { u64::from(moment).saturating_sub(last) as f32 / 3_600.0 }
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
