//! A closed minute is judged: rows in, one verdict each out.
//!
//! Decision: counting is done twice. A table of small counters, addressed by a hash of the key, is an
//! upper bound of every key's clicks; most rows belong to keys whose bound is within the rule and are
//! done with. Only the rest is counted exactly, in a map. A counter is one byte and stays at its
//! highest value, so that the table of a minute of a million clicks fits into the processor's cache.

use std::collections::HashMap;
use std::hash::Hash;

use reckon_event::{Pseudonym, TenantId, Timestamp, Verdict};

use super::minute::Row;
use super::{MinuteSet, RapidKey, Rule, RuleSet};

/// Counters of the first pass: at least twice the rows, at most these.
const BOUNDS_MAX: usize = 1 << 24;

/// The part of a [`MinuteSet`] that is judged: its first rows, in the order of their arrival.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    set: &'a MinuteSet,
    rows: &'a [Row],
}

impl<'a> Judged<'a> {
    /// The first `count` rows.
    pub fn first(set: &'a MinuteSet, count: usize) -> Self {
        Judged { set, rows: &set.rows[..count] }
    }

    fn tenant(&self, row: &Row) -> TenantId {
        self.set.what(row).tenant
    }
}

/// The verdict of each row: [`Verdict::Counted`] where no rule takes it.
///
/// `before` are the rows of the minute before, for rules that look back across its end.
pub fn judge(rules: &RuleSet, minute: Judged<'_>, before: Option<Judged<'_>>) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::Counted; minute.rows.len()];
    for rule in &rules.rules {
        let invalid = Verdict::Invalid(rule.reason());
        let mut take = |at: usize| {
            if verdicts[at] == Verdict::Counted {
                verdicts[at] = invalid;
            }
        };
        match *rule {
            Rule::DoubleClick { within } => double_clicks(minute, before, within, &mut take),
            Rule::Rapid { by: RapidKey::User, most } => {
                let key = |row: &Row| row.user.is_some().then(|| (minute.tenant(row), row.user));
                crowded(minute, most, key, |(_, user)| fold(*user), &mut take);
            }
            Rule::Rapid { by: RapidKey::Ip, most } => {
                let key = |row: &Row| (row.ip_tag != 0).then(|| (minute.tenant(row), row.ip_tag));
                crowded(minute, most, key, |(_, ip)| *ip, &mut take);
            }
            Rule::Rapid { by: RapidKey::IpAgent, most } => {
                let key = |row: &Row| {
                    let has_both = row.ip_tag != 0 && row.agent != 0;
                    has_both.then(|| (minute.tenant(row), row.ip_tag, row.agent))
                };
                let hash = |(_, ip, agent): &(TenantId, u64, u64)| ip ^ agent.rotate_left(32);
                crowded(minute, most, key, hash, &mut take);
            }
        }
    }
    verdicts
}

fn fold(user: Pseudonym) -> u64 {
    (user.0 >> 64) as u64 ^ user.0 as u64
}

/// Takes every row whose key has more than `most` rows.
fn crowded<Key: Eq + Hash>(
    minute: Judged<'_>,
    most: u32,
    key: impl Fn(&Row) -> Option<Key>,
    hash: impl Fn(&Key) -> u64,
    take: &mut impl FnMut(usize),
) {
    let mut bounds = Bounds::new(minute.rows.len());
    let keys = minute.rows.iter().filter_map(&key);
    keys.for_each(|key| bounds.add(hash(&key)));
    let mut counts: HashMap<Key, u32, foldhash::fast::RandomState> = HashMap::default();
    let suspects: Vec<usize> = (0..minute.rows.len())
        .filter(|&at| key(&minute.rows[at]).is_some_and(|key| bounds.may_exceed(hash(&key), most)))
        .collect();
    for &at in &suspects {
        if let Some(key) = key(&minute.rows[at]) {
            *counts.entry(key).or_default() += 1;
        }
    }
    let is_crowded = |at: &usize| {
        let key = key(&minute.rows[*at]);
        key.and_then(|key| counts.get(&key)).is_some_and(|&count| count > most)
    };
    suspects.into_iter().filter(is_crowded).for_each(take);
}

/// A click in the order of a double click's key and of time. Rows of the minute before have no place.
type Click = ((TenantId, Pseudonym, u64), (i64, u64, u16, u64), Option<usize>);

/// Takes every row whose user clicked on the same ad less than `within` before.
fn double_clicks(
    minute: Judged<'_>,
    before: Option<Judged<'_>>,
    within: i64,
    take: &mut impl FnMut(usize),
) {
    let earlier = before.iter().flat_map(|before| {
        let is_near = |row: &&Row| i64::from(row.moment) + within > Timestamp::MINUTE;
        before.rows.iter().filter(is_near).map(|row| (before.set, row, None))
    });
    let own = minute.rows.iter().enumerate().map(|(at, row)| (minute.set, row, Some(at)));
    let known = || earlier.clone().chain(own.clone()).filter(|(_, row, _)| row.user.is_some());
    let hash = |set: &MinuteSet, row: &Row| fold(row.user) ^ set.what(row).ad.rotate_left(17);
    let mut bounds = Bounds::new(minute.rows.len());
    known().for_each(|(set, row, _)| bounds.add(hash(set, row)));
    let repeated = known().filter(|(set, row, _)| bounds.may_exceed(hash(set, row), 1));
    let mut clicks: Vec<Click> = repeated.map(|(set, row, at)| click(set, row, at)).collect();
    clicks.sort_unstable();
    for pair in clicks.windows(2) {
        let [(key, (first, ..), _), (same, (second, ..), at)] = pair else { continue };
        if let (true, Some(at)) = (key == same && second - first < within, at) {
            take(*at);
        }
    }
}

/// Moments of the minute before are negative.
fn click(set: &MinuteSet, row: &Row, at: Option<usize>) -> Click {
    let what = set.what(row);
    let minute = if at.is_none() { Timestamp::MINUTE } else { 0 };
    let moment = i64::from(row.moment) - minute;
    let key = (what.tenant, row.user, what.ad);
    (key, (moment, row.order, row.partition, row.offset), at)
}

/// Upper bounds of how many rows have a hash.
struct Bounds {
    counters: Vec<u8>,
    shift: u32,
}

impl Bounds {
    fn new(rows: usize) -> Self {
        let size = (rows * 2).next_power_of_two().clamp(64, BOUNDS_MAX);
        Bounds { counters: vec![0; size], shift: 64 - size.trailing_zeros() }
    }

    fn place(&self, hash: u64) -> usize {
        (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    fn add(&mut self, hash: u64) {
        let place = self.place(hash);
        self.counters[place] = self.counters[place].saturating_add(1);
    }

    /// False where certainly no more than `most` rows have the hash.
    fn may_exceed(&self, hash: u64, most: u32) -> bool {
        let bound = self.counters[self.place(hash)];
        bound == u8::MAX || u32::from(bound) > most
    }
}
