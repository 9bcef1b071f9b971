//! The judge: a recount with plain sets and maps that shares no code with the fold.
//!
//! It takes records one by one in the order of each slot and topic, keeps everything for ever and compares times only
//! where a horizon of the policy says so. It is slow and large, and so simple that it can be read
//! beside the promises. Words ([`Policy`], [`Totals`], [`Record`]) are shared, decisions are not.

use std::collections::{BTreeMap, BTreeSet};

use reckon_event::{
    Control, Fact, Kind, Micros, Reason, Record, SourceClass, TenantId, Timestamp, Topic, Verdict,
};

use crate::rules::{CLOSED_AFTER, RapidKey, Rule, RuleSet};
use crate::{Policy, Totals};

/// What the recount sums by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Key of the ad.
    pub ad_key: u64,
    /// The minute it happened in, as minutes since 1970.
    pub minute: i64,
    /// What happened.
    pub kind: Kind,
    /// What it is worth.
    pub verdict: Verdict,
}

/// What stands on a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Number of records.
    pub count: u64,
    /// Price of the counted clicks, by whatever currency they are in.
    pub spend: Micros,
}

/// A recount in progress.
#[derive(Clone, Debug, Default)]
pub struct Recount {
    /// How many records got which verdict.
    pub totals: Totals,
    /// The sums.
    pub lines: BTreeMap<Line, Sum>,
    memories: BTreeMap<(u16, Topic), Memory>,
    /// How many records were taken.
    taken: u64,
    clicks: Vec<Click>,
    rules: Vec<RuleSet>,
}

/// A click that the first two steps have counted.
#[derive(Clone, Debug)]
struct Click {
    /// The how-manieth record it was, from 0.
    number: u64,
    class: SourceClass,
    happened: Timestamp,
    order: u64,
    tenant: TenantId,
    user: u128,
    ip_tag: u64,
    agent: u64,
    line: Line,
    price: Micros,
}

/// Everything ever seen in one slot of one topic.
#[derive(Clone, Debug, Default)]
struct Memory {
    clock: Timestamp,
    /// By appender: its highest number, and the clock at that record.
    appenders: BTreeMap<u64, (u64, Timestamp)>,
    minted: BTreeSet<(u32, u32, u32, Kind)>,
    opaque: BTreeMap<String, (Timestamp, u64)>,
    unsigned: BTreeMap<String, Timestamp>,
}

impl Recount {
    /// Judges one record; `None` for one that is not counted at all.
    pub fn take(&mut self, record: &Record<'_>, policy: &Policy) -> Option<Verdict> {
        self.taken += 1;
        let place = (record.slot.number(), record.kind.topic());
        let memory = self.memories.entry(place).or_default();
        if memory.has_seen_append(record, policy) {
            self.totals.redelivered += 1;
            return None;
        }
        if record.kind == Kind::Control || record.kind == Kind::Prediction {
            self.totals.skipped += 1;
            self.note_rules(record);
            return None;
        }
        memory.clock = memory.clock.max(record.received);
        let verdict = memory.judge(record, policy);
        self.totals.add(record.kind, verdict, 1);
        if record.kind != Kind::Adjustment {
            self.add_line(record, verdict);
        }
        Some(verdict)
    }

    fn add_line(&mut self, record: &Record<'_>, verdict: Verdict) {
        let minute = record.happened.0.div_euclid(Timestamp::MINUTE);
        let line = Line { ad_key: record.ad_key, minute, kind: record.kind, verdict };
        let sum = self.lines.entry(line).or_default();
        sum.count += 1;
        if record.kind == Kind::Click && verdict == Verdict::Counted {
            sum.spend += record.price;
            self.clicks.push(Click {
                number: self.taken - 1,
                class: record.source_class,
                happened: record.happened,
                order: record.order_key(),
                tenant: record.tenant,
                user: record.user.0,
                ip_tag: record.ip_tag,
                agent: record.agent_key,
                line,
                price: record.price,
            });
        }
    }

    fn note_rules(&mut self, record: &Record<'_>) {
        let control = (record.kind == Kind::Control).then(|| Control::decode(record.payload));
        if let Some(Ok(Some(Control::Rules { version, from, rules }))) = control {
            self.rules.extend(RuleSet::decode(version, from, rules));
        }
    }

    /// Lets the rules judge every minute that is closed when the watermark stands at `watermark`, and
    /// moves what they take to its new line. Gives the verdicts they changed, by the how-manieth
    /// record, from 0. To be called once, at the end.
    pub fn settle(&mut self, watermark: Timestamp) -> BTreeMap<u64, Verdict> {
        let is_closed = |click: &Click| {
            (click.line.minute + 1) * Timestamp::MINUTE + CLOSED_AFTER <= watermark.0
        };
        let clicks: Vec<Click> = self.clicks.drain(..).filter(is_closed).collect();
        let crowds = Crowds::of(&clicks);
        let gaps = gaps(&clicks);
        let mut changed = BTreeMap::new();
        for (click, gap) in clicks.iter().zip(gaps) {
            let start = Timestamp(click.line.minute * Timestamp::MINUTE);
            let among = self.rules.iter().filter(|set| set.from <= start);
            let Some(set) = among.max_by_key(|set| set.version) else { continue };
            let takes = |rule: &&Rule| match **rule {
                Rule::DoubleClick { within } => gap.is_some_and(|gap| gap < within),
                Rule::Rapid { by, most } => crowds.around(click, by) > u64::from(most),
            };
            if let Some(rule) = set.rules.iter().find(takes) {
                changed.insert(click.number, Verdict::Invalid(rule.reason()));
                self.move_click(click, Verdict::Invalid(rule.reason()));
            }
        }
        changed
    }

    fn move_click(&mut self, click: &Click, to: Verdict) {
        self.totals.revise(Kind::Click, Verdict::Counted, to);
        let before = self.lines.get_mut(&click.line).expect("it was counted there");
        before.count -= 1;
        before.spend -= click.price;
        if before.count == 0 {
            self.lines.remove(&click.line);
        }
        self.lines.entry(Line { verdict: to, ..click.line }).or_default().count += 1;
    }
}

/// Clicks in a minute by class, tenant and key, written out.
struct Crowds(BTreeMap<String, u64>);

impl Crowds {
    fn of(clicks: &[Click]) -> Self {
        let mut crowds = BTreeMap::new();
        for click in clicks {
            for by in [RapidKey::User, RapidKey::Ip, RapidKey::IpAgent] {
                if let Some(key) = Self::key(click, by) {
                    *crowds.entry(key).or_default() += 1;
                }
            }
        }
        Crowds(crowds)
    }

    fn key(click: &Click, by: RapidKey) -> Option<String> {
        let who = match by {
            RapidKey::User if click.user != 0 => format!("user {}", click.user),
            RapidKey::Ip if click.ip_tag != 0 => format!("ip {}", click.ip_tag),
            RapidKey::IpAgent if click.ip_tag != 0 && click.agent != 0 => {
                format!("ip {} agent {}", click.ip_tag, click.agent)
            }
            _ => return None,
        };
        Some(format!("{:?} {} {} {who}", click.class, click.line.minute, click.tenant.0))
    }

    fn around(&self, click: &Click, by: RapidKey) -> u64 {
        Self::key(click, by).and_then(|key| self.0.get(&key)).copied().unwrap_or(0)
    }
}

/// How long each click came after the one before of its user on its ad.
fn gaps(clicks: &[Click]) -> Vec<Option<i64>> {
    let mut places: Vec<usize> = (0..clicks.len()).filter(|&at| clicks[at].user != 0).collect();
    let key = |at: usize| {
        let click = &clicks[at];
        (click.class, click.tenant, click.user, click.line.ad_key)
    };
    let time = |at: usize| (clicks[at].happened, clicks[at].order, clicks[at].number);
    places.sort_by_key(|&at| (key(at), time(at)));
    let mut gaps = vec![None; clicks.len()];
    for pair in places.windows(2) {
        if key(pair[0]) == key(pair[1]) {
            gaps[pair[1]] = Some(clicks[pair[1]].happened.0 - clicks[pair[0]].happened.0);
        }
    }
    gaps
}

impl Memory {
    fn has_seen_append(&mut self, record: &Record<'_>, policy: &Policy) -> bool {
        if record.id.appender == 0 && record.id.sequence == 0 {
            return false;
        }
        let now = self.clock.max(record.received);
        if let Some(&(highest, at)) = self.appenders.get(&record.id.appender) {
            let is_remembered = now.0 - at.0 < policy.appender_horizon;
            if is_remembered && record.id.sequence <= highest {
                return true;
            }
        }
        self.appenders.insert(record.id.appender, (record.id.sequence, now));
        false
    }

    fn judge(&mut self, record: &Record<'_>, policy: &Policy) -> Verdict {
        let exposure = [Kind::Impression, Kind::View, Kind::Click].contains(&record.kind);
        let minted = record.claims.filter(|_| exposure).map(|claims| claims.impression);
        if let Some(id) = minted {
            let hour_ends = (i64::from(id.hour) + 1) * Timestamp::HOUR;
            if hour_ends <= self.clock.0 - policy.minted_horizon {
                return Verdict::Expired;
            }
        }
        if record.outcome == Verdict::Unsigned && record.facts.has(Fact::UnsignedCounts) {
            return self.judge_unsigned(record, policy);
        }
        if record.outcome != Verdict::Counted {
            return record.outcome;
        }
        match minted {
            Some(id) if self.minted.insert((id.incarnation, id.hour, id.sequence, record.kind)) => {
                Verdict::Counted
            }
            Some(_) => Verdict::Duplicate,
            None => self.judge_opaque(record, exposure, policy),
        }
    }

    fn judge_unsigned(&mut self, record: &Record<'_>, policy: &Policy) -> Verdict {
        let who = match record.user.0 {
            0 => format!("address {} {}", record.ip_tag, record.agent_key),
            user => format!("user {user}"),
        };
        let key = format!("{} {:?} {} {who}", record.tenant.0, record.kind, record.ad_key);
        match self.unsigned.get(&key) {
            Some(at) if self.clock.0 - at.0 < policy.unsigned_window => {
                Verdict::Invalid(Reason::DoubleClick)
            }
            _ => {
                self.unsigned.insert(key, self.clock);
                Verdict::Counted
            }
        }
    }

    fn judge_opaque(&mut self, record: &Record<'_>, exposure: bool, policy: &Policy) -> Verdict {
        let Some(id) = opaque_text(record) else { return Verdict::Counted };
        let kind = if exposure { None } else { Some(record.kind) };
        let key = format!("{kind:?} {} {:?} {id}", record.tenant.0, record.source);
        match self.opaque.get(&key) {
            Some(&(first, digest)) if self.clock.0 - first.0 < policy.opaque_horizon => {
                if digest == record.payload_digest { Verdict::Duplicate } else { Verdict::Conflict }
            }
            _ => {
                self.opaque.insert(key, (record.received, record.payload_digest));
                Verdict::Counted
            }
        }
    }
}

/// An id that is not minted, written out in its scope.
fn opaque_text(record: &Record<'_>) -> Option<String> {
    let Record { install_id, session_id, event_id, user, .. } = record;
    if let Some(number) = record.session_sequence
        && !install_id.is_empty()
        && !session_id.is_empty()
    {
        return Some(format!("session {install_id:?} {session_id:?} {number}"));
    }
    (!event_id.is_empty()).then(|| format!("event {} {event_id:?}", user.0))
}
