//! Behavioural rules as people write them, and how they get into the log.
//!
//! The file is data (`config/rules.toml`, or the operator's). What counts is what the log says: rules
//! that differ from the newest in it are appended as a control record, with the minute from which they
//! apply, so that a replay judges as the first time.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use reckon_count::rules::{LOOK_BACK_MAX, RULES_MAX, RapidKey, Rule, RuleSet, Rules};
use reckon_event::Timestamp;
use serde::Deserialize;

const BUILT_IN: &str = include_str!("../../../config/rules.toml");
/// Rules that are swapped apply from the minute that begins after this time, in microseconds.
const NOTICE: i64 = Timestamp::MINUTE;

/// What a rules file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesFile {
    /// The version it claims.
    pub version: u32,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWords {
    version: u32,
    #[serde(default)]
    rule: Vec<RuleWords>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleWords {
    reason: String,
    within_ms: Option<i64>,
    most: Option<u32>,
}

impl RulesFile {
    /// The built-in rules, or a file's.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        match file {
            None => Self::parse(BUILT_IN).context("config/rules.toml"),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("rules.file: cannot read {}", path.display()))?;
                Self::parse(&text).with_context(|| format!("rules.file: {}", path.display()))
            }
        }
    }

    /// Reads the text of a rules file.
    pub fn parse(text: &str) -> Result<Self> {
        let FileWords { version, rule } = toml::from_str(text)?;
        if version == 0 {
            bail!("version: must be 1 or more");
        }
        if rule.len() > RULES_MAX {
            bail!("rule: at most {RULES_MAX} rules");
        }
        let rules = rule.iter().map(RuleWords::rule).collect::<Result<Vec<_>>>()?;
        let reasons: BTreeSet<_> = rules.iter().map(Rule::reason).collect();
        if reasons.len() < rules.len() {
            bail!("rule: each reason may stand once");
        }
        Ok(RulesFile { version, rules })
    }

    /// No rules: behaviour is not looked at.
    pub const fn none() -> Self {
        RulesFile { version: 0, rules: Vec::new() }
    }

    /// The rule set that must be told to the log, where it differs from the newest of `known`. The
    /// first of all judges from the beginning of time, later ones from a minute soon.
    pub fn swap(&self, known: &Rules, now: Timestamp) -> Option<RuleSet> {
        let newest = known.sets().last();
        let is_known = newest.map_or(self.rules.is_empty(), |set| set.rules == self.rules);
        if is_known {
            return None;
        }
        let from = match newest {
            None => Timestamp::MIN,
            Some(_) => now.plus(NOTICE).ceil(Timestamp::MINUTE),
        };
        let version = self.version.max(known.version() + 1);
        Some(RuleSet { version, from, rules: self.rules.clone() })
    }
}

impl RuleWords {
    fn rule(&self) -> Result<Rule> {
        let RuleWords { reason, within_ms, most } = self;
        let rapid = |by| match (most, within_ms) {
            (Some(most), None) => Ok(Rule::Rapid { by, most: *most }),
            _ => bail!("rule {reason}: give `most`, and nothing else"),
        };
        match reason.as_str() {
            "double_click" => match (within_ms, most) {
                (Some(ms), None) if (1..=LOOK_BACK_MAX / 1_000).contains(ms) => {
                    Ok(Rule::DoubleClick { within: ms * 1_000 })
                }
                _ => bail!(
                    "rule double_click: give `within_ms`, 1 to {}, and nothing else",
                    LOOK_BACK_MAX / 1_000
                ),
            },
            "rapid_user" => rapid(RapidKey::User),
            "rapid_ip" => rapid(RapidKey::Ip),
            "rapid_ip_agent" => rapid(RapidKey::IpAgent),
            other => bail!(
                "rule: reason = {other:?}: must be double_click, rapid_user, rapid_ip or \
                 rapid_ip_agent"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_are_good() {
        let file = RulesFile::load(None).expect("they are good");
        assert_eq!((file.version, file.rules.len()), (1, 4));
        assert_eq!(file.rules[0], Rule::DoubleClick { within: 2_000_000 });
    }

    #[track_caller]
    fn refused(text: &str, part: &str) {
        let error = format!("{:#}", RulesFile::parse(text).expect_err("refused"));
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        refused("version = 0", "version");
        refused("rule = []", "version");
        refused("version = 1\n[[rule]]\nreason = \"slow\"", "slow");
        refused("version = 1\n[[rule]]\nreason = \"rapid_ip\"", "most");
        refused("version = 1\n[[rule]]\nreason = \"rapid_ip\"\nmost = 1\nwithin_ms = 2", "most");
        refused("version = 1\n[[rule]]\nreason = \"double_click\"\nwithin_ms = 61000", "within_ms");
        let twice = "[[rule]]\nreason = \"rapid_ip\"\nmost = 1\n".repeat(2);
        refused(&format!("version = 1\n{twice}"), "once");
        refused("version = 1\nspeed = 2", "speed");
    }

    #[test]
    fn rules_are_told_once_and_later_ones_from_a_minute_soon() {
        let minute = Timestamp::MINUTE;
        let (mut known, now) = (Rules::default(), Timestamp(1_000 * minute + 1));
        let file = RulesFile::load(None).expect("they are good");
        let first = file.swap(&known, now).expect("nothing is known");
        assert_eq!((first.version, first.from), (1, Timestamp::MIN));
        known.take(first);
        assert_eq!(file.swap(&known, now), None);
        let none = RulesFile::none().swap(&known, now).expect("other rules");
        assert_eq!((none.version, none.from), (2, Timestamp(1_002 * minute)));
        known.take(none);
        assert_eq!(file.swap(&known, now).map(|set| set.version), Some(3));
        assert_eq!(RulesFile::none().swap(&Rules::default(), now), None);
    }
}
