//! Budgets: what a campaign may spend in a day, and what of an hour's spend is therefore charged.
//!
//! An hour is charged `min(cumulative, B) - min(previous cumulative, B)`; the rest of its spend is
//! over-delivery and credited. `B` is the budget in force in that hour, and where it was changed
//! within the hour, the highest: a raise holds for money from the hour it was made in, a cut from the
//! next. So a click that was within the budget when it came is never given away, a cut has its effect
//! within the hour (serving stops within seconds), and nobody gets clicks for nothing by lowering a
//! budget for a moment at the end of every hour.

use reckon_books::{Terms, terms_at};
use reckon_event::{Micros, Timestamp};

/// The budget of the day in force in the hour that starts at `hour`; `None` is without limit.
pub fn budget_in_force(terms: &[Terms], hour: Timestamp) -> Option<Micros> {
    let at_start = terms_at(terms, hour)?.daily_budget_micros;
    let end = hour.plus(Timestamp::HOUR);
    let begun = terms.partition_point(|terms| terms.from <= hour);
    let within = terms[begun..].iter().take_while(|terms| terms.from < end);
    // The first terms hold from the beginning of time, whenever they were written.
    let later = within.skip(usize::from(begun == 0)).map(|terms| terms.daily_budget_micros);
    later.fold(at_start, higher)
}

fn higher(one: Option<Micros>, other: Option<Micros>) -> Option<Micros> {
    Some(one?.max(other?))
}

/// What is charged of an hour that brings a day's spend from `before` to `after`.
pub fn charged(before: Micros, after: Micros, budget: Option<Micros>) -> Micros {
    match budget {
        Some(budget) => after.min(budget) - before.min(budget),
        None => after - before,
    }
}

/// What is credited of each hour: its spend less what is charged. `hours` are those of one campaign
/// and day in their order, each with its spend and budget.
pub fn credits(
    hours: impl IntoIterator<Item = (Timestamp, Micros, Option<Micros>)>,
) -> Vec<(Timestamp, Micros)> {
    let mut before = 0;
    let mut credits = Vec::new();
    for (hour, spend, budget) in hours {
        let after = before + spend;
        credits.push((hour, spend - charged(before, after, budget)));
        before = after;
    }
    credits
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Timestamp = Timestamp::from_seconds(1_795_262_400);

    fn terms(minute: i64, daily_budget_micros: Option<Micros>) -> Terms {
        Terms { from: HOUR.plus(minute * Timestamp::MINUTE), cpc_micros: 1, daily_budget_micros }
    }

    #[track_caller]
    fn check(history: &[(i64, Option<Micros>)], expected: Option<Micros>) {
        let history: Vec<Terms> = history.iter().map(|&(at, b)| terms(at, b)).collect();
        assert_eq!(budget_in_force(&history, HOUR), expected, "{history:?}");
    }

    #[test]
    fn of_several_budgets_in_an_hour_the_highest_is_in_force() {
        check(&[], None);
        check(&[(-600, Some(5))], Some(5));
        check(&[(-600, None)], None);
        check(&[(-600, Some(5)), (-1, Some(9))], Some(9));
        check(&[(-600, Some(5)), (0, Some(3))], Some(3));
        check(&[(-600, Some(5)), (30, Some(3))], Some(5));
        check(&[(-600, Some(5)), (30, Some(9)), (40, Some(2))], Some(9));
        check(&[(-600, Some(5)), (59, None)], None);
        check(&[(-600, None), (30, Some(3))], None);
        check(&[(-600, Some(5)), (60, Some(9))], Some(5));
    }

    #[test]
    fn the_first_terms_hold_before_they_were_written() {
        check(&[(30, Some(5))], Some(5));
        check(&[(90, Some(5)), (95, Some(7))], Some(5));
        check(&[(30, Some(5)), (40, Some(3))], Some(5));
        check(&[(30, Some(5)), (40, Some(8))], Some(8));
    }

    #[test]
    fn what_is_beyond_the_budget_is_credited_in_its_hour() {
        let hour = |n: i64| HOUR.plus(n * Timestamp::HOUR);
        let day = [(0, 40, Some(100)), (1, 80, Some(100)), (2, 30, Some(100)), (3, 10, None)];
        let credited = credits(day.map(|(n, spend, budget)| (hour(n), spend, budget)));
        assert_eq!(credited, [(hour(0), 0), (hour(1), 20), (hour(2), 30), (hour(3), 0)]);
        // A cut below what is spent charges no more; a raise charges what comes, not what was over.
        let day = [(0, 90, Some(100)), (1, 10, Some(50)), (2, 10, Some(105)), (3, 10, Some(0))];
        let credited = credits(day.map(|(n, spend, budget)| (hour(n), spend, budget)));
        assert_eq!(credited, [(hour(0), 0), (hour(1), 10), (hour(2), 5), (hour(3), 10)]);
    }
}
