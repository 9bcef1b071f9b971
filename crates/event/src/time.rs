//! Time as an integer: microseconds since 1970 in UTC.
//!
//! Nothing in this crate asks a clock. RFC 3339 is the only text form, in and out.

use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A text that is not a time Reckon takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not RFC 3339.
    #[error("not an RFC 3339 time such as 2026-11-21T10:00:00Z")]
    Malformed,
    /// Outside the years 1970 to 2200.
    #[error("out of range: years 1970 to 2200 are taken")]
    OutOfRange,
}

impl Timestamp {
    /// The earliest time taken from outside.
    pub const MIN: Timestamp = Timestamp(0);
    /// The first time no longer taken from outside: 2200-01-01.
    pub const MAX: Timestamp = Timestamp(7_258_118_400_000_000);

    /// A second, a minute, an hour and a day in microseconds.
    pub const SECOND: i64 = 1_000_000;
    /// A minute in microseconds.
    pub const MINUTE: i64 = 60 * Self::SECOND;
    /// An hour in microseconds.
    pub const HOUR: i64 = 60 * Self::MINUTE;
    /// A day in microseconds.
    pub const DAY: i64 = 24 * Self::HOUR;

    /// From whole seconds since 1970.
    pub const fn from_seconds(seconds: i64) -> Self {
        Timestamp(seconds * Self::SECOND)
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(Self::SECOND)
    }

    /// Whole hours since 1970, rounded down; 0 for times before 1970.
    pub fn hour(self) -> u32 {
        u32::try_from(self.0.div_euclid(Self::HOUR)).unwrap_or(0)
    }

    /// Rounded down to a multiple of `width` microseconds.
    pub const fn floor(self, width: i64) -> Self {
        Timestamp(self.0.div_euclid(width) * width)
    }

    /// Rounded up to a multiple of `width` microseconds.
    pub const fn ceil(self, width: i64) -> Self {
        Timestamp((self.0 + width - 1).div_euclid(width) * width)
    }

    /// Moved by `micros`; stays within the representable range.
    pub const fn plus(self, micros: i64) -> Self {
        Timestamp(self.0.saturating_add(micros))
    }

    /// `self - earlier` in microseconds.
    pub const fn since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339 with any offset; digits beyond microseconds are cut off.
    ///
    /// The usual form, `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`, takes a short way of its own: it stands in
    /// every event of a batch.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let time = match parse_utc(text.as_bytes()) {
            Some(time) => time,
            None => {
                let parsed: jiff::Timestamp = text.parse().map_err(|_| TimeError::Malformed)?;
                Timestamp(parsed.as_microsecond())
            }
        };
        if time < Self::MIN || time >= Self::MAX {
            return Err(TimeError::OutOfRange);
        }
        Ok(time)
    }
}

/// `YYYY-MM-DDTHH:MM:SS[.f{1,9}]Z`; anything else is `None` and takes the long way.
fn parse_utc(text: &[u8]) -> Option<Timestamp> {
    let two = |at: usize| -> Option<i64> {
        let (high, low) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
        (high < 10 && low < 10).then(|| i64::from(high) * 10 + i64::from(low))
    };
    if text.len() < 20 || text.len() > 30 || text[text.len() - 1] != b'Z' {
        return None;
    }
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|&(at, mark)| text[at] != mark) {
        return None;
    }
    let year = two(0)? * 100 + two(2)?;
    let (month, day) = (two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    let month_days =
        [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if !(1..=12).contains(&month) || day < 1 || day > month_days[usize::try_from(month - 1).ok()?] {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = match &text[19..text.len() - 1] {
        [] => 0,
        [b'.', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            (0..6).fold(0, |sum, at| sum * 10 + digits.get(at).map_or(0, |d| i64::from(d - b'0')))
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Timestamp(seconds * Timestamp::SECOND + micros))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days since 1970-01-01 of a day of the proleptic Gregorian calendar, counted in years that begin
/// in March, so that a leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with as many digits of a second as are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} us since 1970", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expect: Result<i64, TimeError>) {
        assert_eq!(Timestamp::parse(text), expect.map(Timestamp), "{text}");
    }

    #[test]
    fn times_are_read_as_written() {
        check("1970-01-01T00:00:00Z", Ok(0));
        check("2026-11-21T10:00:00Z", Ok(1_795_255_200_000_000));
        check("2026-11-21T10:00:00.5Z", Ok(1_795_255_200_500_000));
        check("2026-11-21T10:00:00.123456789Z", Ok(1_795_255_200_123_456));
        check("2026-11-21T12:00:00+02:00", Ok(1_795_255_200_000_000));
        check("2024-02-29T00:00:00Z", Ok(1_709_164_800_000_000));
        check("2023-02-29T00:00:00Z", Err(TimeError::Malformed));
        check("2026-13-01T00:00:00Z", Err(TimeError::Malformed));
        check("2026-11-21 10:00", Err(TimeError::Malformed));
        check("1969-12-31T23:59:59Z", Err(TimeError::OutOfRange));
        check("2200-01-01T00:00:00Z", Err(TimeError::OutOfRange));
        check("", Err(TimeError::Malformed));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in 0..Timestamp::MAX.0) {
            let time = Timestamp(micros);
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        }

        #[test]
        fn the_short_way_agrees_with_the_library(micros in 0..Timestamp::MAX.0) {
            let text = Timestamp(micros).to_string();
            let long: jiff::Timestamp = text.parse().expect("jiff wrote it");
            prop_assert_eq!(parse_utc(text.as_bytes()), Some(Timestamp(long.as_microsecond())));
        }
    }
}
