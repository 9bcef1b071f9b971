//! A day of UTC: what is closed, budgeted and billed as one.

use std::fmt;

use crate::{TimeError, Timestamp};

/// A UTC day, as whole days since 1970-01-01; before 2200-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    /// The day that is so many days after 1970-01-01; `None` from 2200 on.
    pub fn new(days: u32) -> Option<Self> {
        (i64::from(days) < Timestamp::MAX.0 / Timestamp::DAY).then_some(Day(days))
    }

    /// The day a time lies in; times outside the years 1970 to 2200 lie in the nearest day of them.
    pub fn of(time: Timestamp) -> Self {
        let nearest = time.0.clamp(0, Timestamp::MAX.0 - 1) / Timestamp::DAY;
        Day(u32::try_from(nearest).expect("clamped to 230 years"))
    }

    /// Days since 1970-01-01.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * Timestamp::DAY)
    }

    /// The first instant behind it.
    pub fn end(self) -> Timestamp {
        self.start().plus(Timestamp::DAY)
    }

    /// The first instants of its 24 hours.
    pub fn hours(self) -> impl Iterator<Item = Timestamp> {
        (0..24).map(move |hour| self.start().plus(hour * Timestamp::HOUR))
    }

    /// Reads `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        if text.len() != 10 {
            return Err(TimeError::Malformed);
        }
        Timestamp::parse(&format!("{text}T00:00:00Z")).map(Day::of)
    }
}

impl fmt::Display for Day {
    /// `YYYY-MM-DD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start().to_string();
        f.write_str(start.split('T').next().unwrap_or(&start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_they_are_written() {
        let last = Day::of(Timestamp::MAX);
        assert_eq!(last.to_string(), "2199-12-31");
        assert_eq!(Day::new(last.number()), Some(last));
        assert_eq!(Day::new(last.number() + 1), None);
        for number in (0..last.number()).step_by(97) {
            let day = Day::new(number).expect("before 2200");
            assert_eq!(Day::parse(&day.to_string()), Ok(day));
            assert_eq!(Day::of(day.end().plus(-1)), day);
            assert_eq!(Day::of(day.end()).number(), number + 1);
        }
        assert_eq!(Day::parse("2026-11-21").map(Day::number), Ok(20_778));
        for wrong in ["", "2026-11-31", "26-11-21", "2026-11-21T", "2026/11/21"] {
            assert_eq!(Day::parse(wrong), Err(TimeError::Malformed), "{wrong}");
        }
        assert_eq!(Day::parse("2200-01-01"), Err(TimeError::OutOfRange));
    }

    #[test]
    fn a_day_has_24_hours() {
        let day = Day::of(Timestamp::from_seconds(1_795_262_400));
        let hours: Vec<Timestamp> = day.hours().collect();
        assert_eq!((hours.len(), hours[0]), (24, day.start()));
        assert_eq!(hours[23].plus(Timestamp::HOUR), day.end());
    }
}
