//! What behavioural rules must make of the clicks that truly happened.
//!
//! Every click that was to count is remembered with who made it, from where and when. The rules are
//! those that the server says it has; they are applied by the plain recount, which shares no code with
//! the counter's.

use anyhow::{Context, Result};
use reckon_count::naive::Recount;
use reckon_count::{Policy, rules::RuleSet};
use reckon_event::{
    Control, Kind, Pseudonym, Record, Slot, SourceClass, Timestamp, Verdict, name_key,
};
use reckon_market::Cell;
use serde_json::Value;

use super::truth::{Mark, Truth};
use crate::command::client::Client;
use crate::rules::RulesFile;

/// A click that the first two steps let count.
#[derive(Clone, Debug)]
pub struct Clicked {
    /// Index of its ad.
    pub ad: usize,
    /// When it happened, as it must have been counted.
    pub happened: Timestamp,
    /// Whose clock that is by.
    pub class: SourceClass,
    /// Who, as pages and apps know them.
    pub user: u64,
    /// From where, and on which day: addresses have another tag every day.
    pub address: u64,
    /// With what.
    pub agent: u64,
    /// The subsets it is of.
    pub marks: Vec<Mark>,
}

/// What the server says of its rules.
#[derive(Clone, Debug, Default)]
pub struct ServerRules {
    /// All rule sets it ever had.
    pub sets: Vec<RuleSet>,
    /// It takes the address of a client from the header that people send here.
    pub sees_addresses: bool,
}

impl ServerRules {
    /// Asks.
    pub async fn ask(client: &mut Client) -> Result<Self> {
        let answer = client.get("/v1/rules").await?;
        let header = answer["client_ip_header"].as_str().unwrap_or_default();
        let sets = answer["sets"].as_array().context("/v1/rules: no sets")?;
        Ok(ServerRules {
            sets: sets.iter().map(read_set).collect::<Result<_>>()?,
            sees_addresses: header.eq_ignore_ascii_case("x-forwarded-for"),
        })
    }
}

fn read_set(set: &Value) -> Result<RuleSet> {
    let version = set["version"].as_u64().and_then(|version| u32::try_from(version).ok());
    let from = set["from"].as_str().context("/v1/rules: from")?;
    let words = json_to_toml(&set["rules"])?;
    Ok(RuleSet {
        version: version.context("/v1/rules: version")?,
        from: Timestamp::parse(from).context("/v1/rules: from")?,
        rules: RulesFile::parse(&words).context("/v1/rules")?.rules,
    })
}

/// The rules as they would stand in a file.
fn json_to_toml(rules: &Value) -> Result<String> {
    let mut words = "version = 1\n".to_owned();
    for rule in rules.as_array().context("/v1/rules: rules")? {
        words += "[[rule]]\n";
        for (name, value) in rule.as_object().context("/v1/rules: a rule")? {
            words += &format!("{name} = {value}\n");
        }
    }
    Ok(words)
}

impl Truth {
    /// The same truth after the rules have judged every minute that is closed at `now`; how many
    /// clicks they took stands in [`Truth::taken`].
    pub fn judged(&self, rules: &ServerRules, now: Timestamp) -> Truth {
        let mut judged = self.clone();
        let mut recount = Recount::default();
        for set in &rules.sets {
            tell(&mut recount, set);
        }
        let first = rules.sets.len() as u64;
        for click in &self.clicks {
            recount.take(&record(click, rules), &Policy::default());
        }
        for (number, verdict) in recount.settle(now) {
            let click = &self.clicks[(number - first) as usize];
            judged.take(click, verdict);
        }
        judged
    }

    fn take(&mut self, click: &Clicked, verdict: Verdict) {
        let bucket = click.happened.seconds().div_euclid(60) * 60;
        let (ad, kind) = (Some(click.ad), Kind::Click);
        let from = Cell { ad, bucket, kind, verdict: Verdict::Counted };
        self.counts.revise(from, verdict);
        for mark in &click.marks {
            self.marked[*mark as usize].revise(from, verdict);
        }
        *self.taken.entry(verdict).or_default() += 1;
    }
}

fn tell(recount: &mut Recount, set: &RuleSet) {
    let (mut payload, rules) = (Vec::new(), set.encode());
    Control::Rules { version: set.version, from: set.from, rules: &rules }.encode(&mut payload);
    let record = Record { payload: &payload, ..Record::new(Kind::Control, slot(), set.from) };
    recount.take(&record, &Policy::default());
}

fn record(click: &Clicked, rules: &ServerRules) -> Record<'static> {
    Record {
        source_class: click.class,
        happened: click.happened,
        ad_key: 1 + click.ad as u64,
        user: Pseudonym(u128::from(click.user)),
        // A server that sees no addresses sees that of this machine, every day another tag of it.
        ip_tag: if rules.sees_addresses { click.address } else { day_key(click.happened) },
        agent_key: click.agent,
        ..Record::new(Kind::Click, slot(), click.happened)
    }
}

fn day_key(at: Timestamp) -> u64 {
    at.0.div_euclid(Timestamp::DAY).cast_unsigned() | 1 << 40
}

/// The key of an address on a day.
pub fn address_key(address: &str, received: Timestamp) -> u64 {
    name_key(&format!("{address} {}", received.0.div_euclid(Timestamp::DAY)))
}

fn slot() -> Slot {
    Slot::new(0).expect("0 is one")
}
