//! Behavioural rules as the recount takes them: plain data, turned into SQL.
//!
//! They are a copy of what the log's control records say, not of the code that judges by them.

use reckon_event::{Reason, Timestamp, Verdict};

/// Whose clicks of a minute a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RapidKey {
    /// A user.
    User,
    /// The tag of an address.
    Ip,
    /// The tag of an address, with the user agent.
    IpAgent,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A click of the same user on the same ad less than so many microseconds after the one before.
    DoubleClick {
        /// Microseconds.
        within: i64,
    },
    /// All clicks of a key in a minute, when there are more than `most`.
    Rapid {
        /// Whose.
        by: RapidKey,
        /// The most that still count.
        most: u32,
    },
}

/// Rules in their order; the first that takes a click gives the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// Of two sets that apply to a minute, the higher one judges.
    pub version: u32,
    /// The start of the first minute they judge.
    pub from: Timestamp,
    /// In their order.
    pub rules: Vec<Rule>,
}

impl Rule {
    const fn reason(&self) -> Reason {
        match self {
            Rule::DoubleClick { .. } => Reason::DoubleClick,
            Rule::Rapid { by: RapidKey::User, .. } => Reason::RapidUser,
            Rule::Rapid { by: RapidKey::Ip, .. } => Reason::RapidIp,
            Rule::Rapid { by: RapidKey::IpAgent, .. } => Reason::RapidIpAgent,
        }
    }

    /// The condition on the columns of a survivor.
    fn condition(&self) -> String {
        match self {
            Rule::DoubleClick { within } => format!("gap < {within}"),
            Rule::Rapid { by: RapidKey::User, most } => {
                format!("pseudonym IS NOT NULL AND of_user > {most}")
            }
            Rule::Rapid { by: RapidKey::Ip, most } => {
                format!("ip_tag IS NOT NULL AND of_ip > {most}")
            }
            Rule::Rapid { by: RapidKey::IpAgent, most } => {
                format!("ip_tag IS NOT NULL AND agent_key IS NOT NULL AND of_ip_agent > {most}")
            }
        }
    }
}

impl RuleSet {
    /// The code of the verdict a survivor gets, NULL where no rule takes it.
    fn verdict(&self) -> String {
        if self.rules.is_empty() {
            return "NULL".to_owned();
        }
        let cases = self.rules.iter().map(|rule| {
            let code = Verdict::Invalid(rule.reason()).code();
            format!("WHEN {} THEN {code}", rule.condition())
        });
        format!("CASE {} END", cases.collect::<Vec<_>>().join(" "))
    }
}

/// The code of the verdict that the set in force for a survivor's minute gives it, NULL for none.
pub(crate) fn verdict_by_rules(sets: &[RuleSet]) -> String {
    let mut sets: Vec<&RuleSet> = sets.iter().collect();
    sets.sort_by_key(|set| std::cmp::Reverse(set.version));
    let cases = sets.iter().map(|set| {
        format!("WHEN minute * {} >= {} THEN {}", Timestamp::MINUTE, set.from.0, set.verdict())
    });
    let cases: Vec<String> = cases.collect();
    if cases.is_empty() {
        return "CAST(NULL AS INT)".to_owned();
    }
    format!("CAST(CASE {} END AS INT)", cases.join(" "))
}
