//! Behavioural rules: what a closed minute tells of the clicks in it.
//!
//! A rule is a function of a **set**, never of an order of arrival. Its input are survivors: clicks
//! that the first two steps left standing, of one source class and one minute of event time. So the
//! same clicks come to the same verdicts however they were batched, delayed or partitioned, and a
//! minute that changes is judged again as a whole.
//!
//! | rule | key | takes |
//! |---|---|---|
//! | double click | tenant, user, ad | a click with an earlier survivor of its key less than `within` before, whatever its verdict, across minutes |
//! | rapid user | tenant, user | all clicks of a key in a minute, when they exceed `most` |
//! | rapid ip | tenant, address of the day | the same |
//! | rapid ip and agent | tenant, address of the day, user agent | the same |
//!
//! A click without its key's parts (no user, no address) is outside of the rule. The first rule in the
//! order of the set that takes a click gives the reason. Addresses meet in no slot, so rules are a
//! second stage, behind the verdicts of all slots.

mod codec;
mod judge;
mod minute;

use reckon_event::{Reason, SourceClass, Timestamp};

pub use judge::{Judged, judge};
pub use minute::{MinuteSet, Row, Survivor, What};

/// The most rules one set may have.
pub const RULES_MAX: usize = 16;
/// How far a rule may look back from a minute, in microseconds: into the one before, no further.
pub const LOOK_BACK_MAX: i64 = Timestamp::MINUTE;

/// How far the watermark must be past a minute's end before the minute is judged for the first time.
pub const CLOSED_AFTER: i64 = 2 * Timestamp::SECOND;

/// One rule, by what it counts and where it draws the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A second click of the same user on the same ad.
    DoubleClick {
        /// Less than so many microseconds after the one before.
        within: i64,
    },
    /// More clicks in a minute than people make.
    Rapid {
        /// Of whom.
        by: RapidKey,
        /// The most that still count.
        most: u32,
    },
}

/// Whose clicks a [`Rule::Rapid`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RapidKey {
    /// A user.
    User,
    /// The tag of an address; it changes daily.
    Ip,
    /// The tag of an address, with the user agent.
    IpAgent,
}

/// Rules in their order, in force from a minute on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// Rises with every swap; it stands in every verdict these rules have given.
    pub version: u32,
    /// The start of the first minute they judge.
    pub from: Timestamp,
    /// The first that takes a click gives the reason.
    pub rules: Vec<Rule>,
}

/// Every rule set there was. One that applies from a minute long past judges history anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Ascending by version.
    sets: Vec<RuleSet>,
}

/// A minute of one source class: what a set of survivors is kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinuteKey {
    /// Whose clock.
    pub class: SourceClass,
    /// Minutes since 1970, by event time.
    pub minute: i64,
}

impl Rule {
    /// The verdict's reason where it takes a click.
    pub const fn reason(&self) -> Reason {
        match self {
            Rule::DoubleClick { .. } => Reason::DoubleClick,
            Rule::Rapid { by: RapidKey::User, .. } => Reason::RapidUser,
            Rule::Rapid { by: RapidKey::Ip, .. } => Reason::RapidIp,
            Rule::Rapid { by: RapidKey::IpAgent, .. } => Reason::RapidIpAgent,
        }
    }
}

impl MinuteKey {
    /// The minute of a moment.
    pub const fn of(class: SourceClass, happened: Timestamp) -> Self {
        MinuteKey { class, minute: happened.0.div_euclid(Timestamp::MINUTE) }
    }

    /// Its first instant.
    pub const fn start(&self) -> Timestamp {
        Timestamp(self.minute.saturating_mul(Timestamp::MINUTE))
    }

    /// The first instant behind it.
    pub const fn end(&self) -> Timestamp {
        self.start().plus(Timestamp::MINUTE)
    }

    /// The minute before.
    #[must_use]
    pub const fn before(&self) -> Self {
        MinuteKey { class: self.class, minute: self.minute - 1 }
    }

    /// The minute behind.
    #[must_use]
    pub const fn after(&self) -> Self {
        MinuteKey { class: self.class, minute: self.minute + 1 }
    }
}

impl RuleSet {
    /// How far these rules look back beyond a minute's start, in microseconds.
    pub fn look_back(&self) -> i64 {
        let within = |rule: &Rule| match rule {
            Rule::DoubleClick { within } => *within,
            Rule::Rapid { .. } => 0,
        };
        self.rules.iter().map(within).max().unwrap_or(0)
    }
}

impl Rules {
    /// Takes a set over, once: a swap stands in the log of every partition. True where it was new.
    pub fn take(&mut self, set: RuleSet) -> bool {
        if self.sets.iter().any(|known| known.version == set.version) {
            return false;
        }
        let at = self.sets.partition_point(|known| known.version < set.version);
        self.sets.insert(at, set);
        true
    }

    /// The set that judges a minute: the newest of those that apply from it or before; `None` before
    /// the first one applies.
    pub fn at(&self, minute: MinuteKey) -> Option<&RuleSet> {
        let start = minute.start();
        self.sets.iter().rev().find(|set| set.from <= start)
    }

    /// The highest version; 0 where there is none.
    pub fn version(&self) -> u32 {
        self.sets.last().map_or(0, |set| set.version)
    }

    /// All sets, oldest first.
    pub fn sets(&self) -> &[RuleSet] {
        &self.sets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(version: u32, minute: i64) -> RuleSet {
        RuleSet { version, from: Timestamp(minute * Timestamp::MINUTE), rules: Vec::new() }
    }

    #[test]
    fn a_minute_has_the_rules_that_apply_from_it_or_before() {
        let mut rules = Rules::default();
        for set in [set(3, 20), set(1, 0), set(2, 10), set(4, 15)] {
            assert!(rules.take(set));
        }
        assert!(!rules.take(set(3, 5)), "a copy from another partition");
        let version = |minute| {
            let key = MinuteKey { class: SourceClass::Server, minute };
            rules.at(key).map(|set| set.version)
        };
        let expect = [None, Some(1), Some(1), Some(2), Some(4), Some(4)];
        assert_eq!([-1, 0, 9, 10, 15, 99].map(version), expect);
        assert_eq!(rules.version(), 4);
    }
}
