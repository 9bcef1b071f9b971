//! Are rows as they were served what the log says they should have been? And are they still of the
//! world a model has learned?

use reckon_event::Timestamp;

/// Rows compared with what they were computed to again, column by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// Rows compared.
    pub rows: u64,
    /// Rows in which at least one number differs.
    pub rows_apart: u64,
    /// How many rows differ in each column.
    pub columns_apart: Vec<u64>,
}

impl Skew {
    /// Compares one row, bit by bit; any missing number equals any other. Says how many columns differ.
    ///
    /// # Panics
    /// Where the rows are not of one length.
    pub fn compare(&mut self, served: &[f32], again: &[f32]) -> usize {
        assert_eq!(served.len(), again.len(), "rows of one plan");
        self.columns_apart.resize(served.len().max(self.columns_apart.len()), 0);
        let mut count = 0;
        for ((one, other), apart) in served.iter().zip(again).zip(&mut self.columns_apart) {
            if one.to_bits() != other.to_bits() && !(one.is_nan() && other.is_nan()) {
                (*apart, count) = (*apart + 1, count + 1);
            }
        }
        self.rows += 1;
        self.rows_apart += u64::from(count > 0);
        count
    }

    /// The share of rows in which something differs; 0 where none was compared.
    pub fn share(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.rows_apart as f64 / self.rows as f64 }
    }
}

/// How far a column has moved: population stability index of `now` against `then`, in ten bins of equal
/// weight in `then`, and one for what is missing. Below 0.1 is calm, above 0.25 another world. `None`
/// where one of them is empty.
pub fn stability(then: &[f32], now: &[f32]) -> Option<f64> {
    let mut sorted: Vec<f32> = then.iter().copied().filter(|number| !number.is_nan()).collect();
    if then.is_empty() || now.is_empty() {
        return None;
    }
    sorted.sort_unstable_by(f32::total_cmp);
    let mut edges: Vec<f32> =
        (1..10).filter_map(|tenth| sorted.get(sorted.len() * tenth / 10).copied()).collect();
    edges.dedup();
    let shares = |numbers: &[f32]| {
        let mut counts = vec![0u64; edges.len() + 2];
        for number in numbers {
            let bin = if number.is_nan() {
                edges.len() + 1
            } else {
                edges.partition_point(|edge| edge <= number)
            };
            counts[bin] += 1;
        }
        // Half a row more in each: an empty bin is rare, not impossible.
        let all = numbers.len() as f64 + 0.5 * counts.len() as f64;
        counts.into_iter().map(move |count| (count as f64 + 0.5) / all).collect::<Vec<_>>()
    };
    let pairs = shares(then).into_iter().zip(shares(now));
    Some(pairs.map(|(then, now)| (now - then) * (now / then).ln()).sum())
}

/// Of what age each column is: that of the cut for columns that rest on pasts, 0 for what the request says.
pub fn ages(plan: &crate::Plan, now: Timestamp, cut: Timestamp) -> Vec<i64> {
    let age = now.since(cut).max(0);
    let of = |column: &crate::plan::Column| if column.source.rests_on_pasts() { age } else { 0 };
    plan.columns().iter().map(of).collect()
}

/// The share of a model's importance that lies on fresh columns: those that are there and no older than
/// `age_max` microseconds. 1 where the model gives no importance to anything.
///
/// # Panics
/// Where the three are not of one length.
pub fn confidence(importance: &[f32], row: &[f32], ages: &[i64], age_max: i64) -> f64 {
    assert!(importance.len() == row.len() && row.len() == ages.len(), "one of each a column");
    let (mut fresh, mut all) = (0.0, 0.0);
    for ((&weight, number), &age) in importance.iter().zip(row).zip(ages) {
        all += f64::from(weight);
        fresh += if age <= age_max && !number.is_nan() { f64::from(weight) } else { 0.0 };
    }
    if all > 0.0 { fresh / all } else { 1.0 }
}

/// The share of a model's importance that is left where nothing that rests on pasts can be relied on, of
/// each input's importance and whether it rests on pasts. Where a model gives importance to nothing, all
/// inputs have an equal share.
pub fn share_without_pasts(inputs: impl Iterator<Item = (f32, bool)> + Clone) -> f32 {
    let sum = |inputs: &mut dyn Iterator<Item = (f32, bool)>| {
        inputs.fold((0.0, 0.0), |(left, all), (weight, rests_on_pasts)| {
            let weight = f64::from(weight);
            (if rests_on_pasts { left } else { left + weight }, all + weight)
        })
    };
    let (mut left, mut all) = sum(&mut inputs.clone());
    if all <= 0.0 {
        (left, all) = sum(&mut inputs.map(|(_, rests_on_pasts)| (1.0, rests_on_pasts)));
    }
    if all > 0.0 { (left / all) as f32 } else { 1.0 }
}

/// The median of each column over rows, to stand for what is missing: of those rows that have it; NaN
/// where none has.
pub fn medians(numeric: &[f32], columns: usize) -> Vec<f32> {
    let rows = numeric.chunks_exact(columns.max(1));
    let median = |column: usize| {
        let mut there: Vec<f32> =
            rows.clone().map(|row| row[column]).filter(|number| !number.is_nan()).collect();
        let middle = there.len() / 2;
        if there.is_empty() {
            return f32::NAN;
        }
        *there.select_nth_unstable_by(middle, f32::total_cmp).1
    };
    (0..columns).map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_counted_by_column() {
        let mut skew = Skew::default();
        assert_eq!(skew.compare(&[1.0, f32::NAN, 0.0], &[1.0, f32::NAN, 0.0]), 0);
        assert_eq!(skew.compare(&[1.0, f32::NAN, 0.0], &[2.0, 0.0, -0.0]), 3);
        assert_eq!((skew.rows, skew.rows_apart, skew.share()), (2, 1, 0.5));
        assert_eq!(skew.columns_apart, [1, 1, 1]);
    }

    #[test]
    fn a_column_that_moves_is_seen() {
        let then: Vec<f32> = (0..1_000).map(|n| n as f32).collect();
        let moved: Vec<f32> = then.iter().map(|n| n + 500.0).collect();
        let gone = vec![f32::NAN; 1_000];
        assert!(stability(&then, &then).expect("there") < 1e-9);
        assert!(stability(&then, &moved).expect("there") > 0.25);
        assert!(stability(&then, &gone).expect("there") > 0.25);
        assert_eq!(stability(&[], &then), None);
    }

    #[test]
    fn confidence_is_the_share_of_importance_that_is_fresh() {
        let (importance, row) = ([3.0, 1.0, 0.0], [1.0, f32::NAN, 2.0]);
        assert_eq!(confidence(&importance, &row, &[0, 0, 0], 10), 0.75);
        assert_eq!(confidence(&importance, &row, &[11, 0, 0], 10), 0.0);
        assert_eq!(confidence(&[0.0], &[1.0], &[99], 10), 1.0);
    }

    #[test]
    fn without_pasts_the_rest_of_the_importance_is_left() {
        let share = |inputs: &[(f32, bool)]| share_without_pasts(inputs.iter().copied());
        assert_eq!(share(&[(3.0, true), (1.0, false), (0.0, false)]), 0.25);
        assert_eq!(share(&[(0.0, true), (0.0, false), (0.0, false), (0.0, true)]), 0.5);
        assert_eq!((share(&[(2.0, true)]), share(&[(2.0, false)]), share(&[])), (0.0, 1.0, 1.0));
    }

    #[test]
    fn what_rests_on_pasts_is_as_old_as_they_are() {
        let plan = crate::Plan::default();
        let ages = ages(&plan, Timestamp(30), Timestamp(10));
        let age = |name: &str| {
            let at = plan.columns().iter().position(|column| column.name == name);
            ages[at.expect("a column of the built-in plan")]
        };
        assert_eq!((age("hour"), age("quality_score"), age("interest_match")), (0, 0, 0));
        assert_eq!((age("top_category_match"), age("session_depth")), (20, 20));
        assert!(ages.iter().filter(|&&age| age == 20).count() > 100, "columns from pasts");
    }

    #[test]
    fn medians_leave_out_what_is_missing() {
        let rows = [1.0, f32::NAN, 5.0, f32::NAN, 9.0, f32::NAN];
        let medians = medians(&rows, 2);
        assert_eq!(medians[0], 5.0);
        assert!(medians[1].is_nan());
    }
}
