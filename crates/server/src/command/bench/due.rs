//! When requests are due: evenly spaced at a rate, whatever becomes of earlier ones.

use std::time::Duration;

/// A timetable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timetable {
    /// As fast as answers come.
    Closed,
    /// So many a second.
    Open(u64),
}

impl Timetable {
    /// From a rate, where 0 means as fast as answers come.
    pub const fn of_rate(rate: u64) -> Self {
        if rate == 0 { Timetable::Closed } else { Timetable::Open(rate) }
    }

    /// When the request with this number is due, after the start; `None` as soon as there is room.
    pub fn due(self, number: u64) -> Option<Duration> {
        match self {
            Timetable::Closed => None,
            Timetable::Open(rate) => {
                let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate);
                Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
            }
        }
    }

    /// How many requests are due before `end`; `None` where that depends on the answers.
    pub fn count_before(self, end: Duration) -> Option<u64> {
        match self {
            Timetable::Closed => None,
            Timetable::Open(rate) => {
                let count = (end.as_nanos() * u128::from(rate)).div_ceil(1_000_000_000);
                Some(u64::try_from(count).unwrap_or(u64::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_evenly_spaced() {
        let at = |number| Timetable::of_rate(20_000).due(number).map(|due| due.as_nanos());
        assert_eq!([0, 1, 20_000].map(at), [Some(0), Some(50_000), Some(1_000_000_000)]);
        assert_eq!(Timetable::of_rate(0).due(7), None);
        assert_eq!(
            Timetable::of_rate(3).due(3).map(|due| due.as_secs()),
            Some(1),
            "nothing is lost by rounding"
        );
    }

    #[test]
    fn those_before_the_end_are_those_that_are_due_before_it() {
        for (rate, millis) in [(1, 1_000), (3, 1_000), (7, 2_500), (20_000, 1), (1, 1)] {
            let (timetable, end) = (Timetable::of_rate(rate), Duration::from_millis(millis));
            let count = timetable.count_before(end).expect("there is a timetable");
            assert!(timetable.due(count - 1).is_some_and(|due| due < end), "{rate} {millis}");
            assert!(timetable.due(count).is_some_and(|due| due >= end), "{rate} {millis}");
        }
        assert_eq!(Timetable::Closed.count_before(Duration::from_secs(1)), None);
    }
}
