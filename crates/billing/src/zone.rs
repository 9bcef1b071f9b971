//! Days of a time zone, as hours of UTC.
//!
//! The ledger keeps hours of UTC, so an invoice in another zone is a regrouping of them, and exact where
//! the zone's days begin and end with such an hour. Where they do not (India, central Australia, Lord
//! Howe in half of the year) the day is refused by name, rather than cut half an hour off: whoever
//! advertises there is billed in UTC or a zone of whole hours. The database of zones is built in.

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use reckon_event::{Day, Timestamp};

use crate::error::Error;

/// A time zone whose days invoices may have.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// The zone of an IANA name; also the check of what people register.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let found = TimeZoneDatabase::bundled().get(name);
        let zone = found.map_err(|_| Error::UnknownZone(name.to_owned()))?;
        Ok(Zone { name: name.to_owned(), zone })
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first instant of the zone's day of this date, and the first behind it: 23 to 25 hours.
    pub fn day(&self, date: Day) -> Result<(Timestamp, Timestamp), Error> {
        let next = Day::new(date.number() + 1).unwrap_or(date);
        let (from, to) = (self.start(date)?, self.start(next)?);
        let is_whole = |time: Timestamp| time == time.floor(Timestamp::HOUR);
        if !is_whole(from) || !is_whole(to) {
            return Err(Error::NotWholeHours { zone: self.name.clone(), day: date });
        }
        Ok((from, to))
    }

    fn start(&self, date: Day) -> Result<Timestamp, Error> {
        let unknown = || Error::UnknownZone(self.name.clone());
        let civil: Date = date.to_string().parse().map_err(|_| unknown())?;
        let start = civil.to_zoned(self.zone.clone()).map_err(|_| unknown())?;
        Ok(Timestamp(start.timestamp().as_microsecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        Day::parse(text).expect("a day")
    }

    #[track_caller]
    fn check(zone: &str, date: &str, from: &str, hours: i64) {
        let zone = Zone::parse(zone).expect("a zone");
        let (start, end) = zone.day(day(date)).expect("whole hours");
        assert_eq!(start.to_string(), from, "{date} in {}", zone.name());
        assert_eq!(end.since(start), hours * Timestamp::HOUR, "{date} in {}", zone.name());
    }

    #[test]
    fn days_are_those_of_the_zone() {
        check("UTC", "2026-11-21", "2026-11-21T00:00:00Z", 24);
        check("Europe/Berlin", "2026-11-21", "2026-11-20T23:00:00Z", 24);
        check("Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z", 23);
        check("Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00Z", 25);
        check("America/New_York", "2026-11-21", "2026-11-21T05:00:00Z", 24);
        check("Pacific/Auckland", "2026-11-21", "2026-11-20T11:00:00Z", 24);
        // Midnight itself is left out where summer begins at midnight.
        check("Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00Z", 23);
    }

    #[test]
    fn what_is_no_zone_of_whole_hours_is_refused_by_name() {
        for wrong in ["", "Berlin", "Europe/Atlantis", "+02:00"] {
            let error = Zone::parse(wrong).expect_err("no zone");
            assert!(error.to_string().contains(&format!("`{wrong}`")), "{error}");
        }
        let kolkata = Zone::parse("Asia/Kolkata").expect("a zone");
        let error = kolkata.day(day("2026-11-21")).expect_err("half an hour off");
        assert!(error.to_string().contains("2026-11-21 in Asia/Kolkata"), "{error}");
    }
}
