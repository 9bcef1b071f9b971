//! What a record is worth. Codes are stable numbers: they stand in records, rollups and the lake.

use std::fmt;

/// Why an event is not a valid human one. The protocol reasons come from the edge, the behavioural
/// ones from rules on closed minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The method was not GET (a HEAD by a link checker).
    NotGet = 16,
    /// A prefetch: `Sec-Purpose` or `Purpose` said so.
    Prefetch = 17,
    /// The user agent declares itself a robot.
    DeclaredRobot = 18,
    /// The address is in a listed data-centre range.
    DataCentre = 19,
    /// Clicked faster after minting than a person can.
    TooFast = 20,
    /// The second click of a double click.
    DoubleClick = 21,
    /// More clicks of one user in a minute than a person makes.
    RapidUser = 22,
    /// More clicks of one address in a minute than people behind it make.
    RapidIp = 23,
    /// More clicks of one address and user agent in a minute.
    RapidIpAgent = 24,
}

/// The one judgement in force for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Valid, and the first with its id: it counts, and a click costs its price.
    Counted,
    /// An earlier record had the same id and the same payload.
    Duplicate,
    /// An earlier record had the same id and another payload.
    Conflict,
    /// Its token, or the memory of its id, had expired when it was received.
    Expired,
    /// Its token does not open, or belongs to another tenant.
    Forged,
    /// It has no token and its source is not trusted.
    Unsigned,
    /// It names no ad that is registered.
    UnknownAd,
    /// Not a valid human event.
    Invalid(Reason),
}

impl Reason {
    /// All reasons, in the order of their codes.
    pub const ALL: [Reason; 9] = [
        Reason::NotGet,
        Reason::Prefetch,
        Reason::DeclaredRobot,
        Reason::DataCentre,
        Reason::TooFast,
        Reason::DoubleClick,
        Reason::RapidUser,
        Reason::RapidIp,
        Reason::RapidIpAgent,
    ];
}

impl Verdict {
    /// All verdicts, in the order of their codes.
    pub fn all() -> impl Iterator<Item = Verdict> {
        [
            Verdict::Counted,
            Verdict::Duplicate,
            Verdict::Conflict,
            Verdict::Expired,
            Verdict::Forged,
            Verdict::Unsigned,
            Verdict::UnknownAd,
        ]
        .into_iter()
        .chain(Reason::ALL.into_iter().map(Verdict::Invalid))
    }

    /// The stable number.
    pub const fn code(self) -> u8 {
        match self {
            Verdict::Counted => 1,
            Verdict::Duplicate => 2,
            Verdict::Conflict => 3,
            Verdict::Expired => 4,
            Verdict::Forged => 5,
            Verdict::Unsigned => 6,
            Verdict::UnknownAd => 7,
            Verdict::Invalid(reason) => reason as u8,
        }
    }

    /// The verdict of a number; `None` for one this build does not know.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Verdict::Counted,
            2 => Verdict::Duplicate,
            3 => Verdict::Conflict,
            4 => Verdict::Expired,
            5 => Verdict::Forged,
            6 => Verdict::Unsigned,
            7 => Verdict::UnknownAd,
            16..=24 => Verdict::Invalid(Reason::ALL[usize::from(code) - 16]),
            _ => return None,
        })
    }

    /// The name used in `group_by=reason`, metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Counted => "counted",
            Verdict::Duplicate => "duplicate",
            Verdict::Conflict => "conflict",
            Verdict::Expired => "expired",
            Verdict::Forged => "forged",
            Verdict::Unsigned => "unsigned",
            Verdict::UnknownAd => "unknown_ad",
            Verdict::Invalid(Reason::NotGet) => "not_get",
            Verdict::Invalid(Reason::Prefetch) => "prefetch",
            Verdict::Invalid(Reason::DeclaredRobot) => "declared_robot",
            Verdict::Invalid(Reason::DataCentre) => "data_centre",
            Verdict::Invalid(Reason::TooFast) => "too_fast",
            Verdict::Invalid(Reason::DoubleClick) => "double_click",
            Verdict::Invalid(Reason::RapidUser) => "rapid_user",
            Verdict::Invalid(Reason::RapidIp) => "rapid_ip",
            Verdict::Invalid(Reason::RapidIpAgent) => "rapid_ip_agent",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_stable_and_read_back() {
        let codes: Vec<u8> = Verdict::all().map(Verdict::code).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23, 24]);
        for verdict in Verdict::all() {
            assert_eq!(Verdict::from_code(verdict.code()), Some(verdict));
        }
        assert_eq!(Verdict::from_code(0), None);
        assert_eq!(Verdict::from_code(25), None);
    }
}
