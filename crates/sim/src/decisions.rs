//! Decisions that stand in the log: ticks, other rules, and the wish that everything be judged now.

use reckon_count::rules::{RapidKey, Rule, RuleSet};
use reckon_event::{Control, Kind, Record, Slot, Timestamp};

use crate::Happening;
use crate::random::Random;
use crate::traffic::Sent;

/// Draws decisions.
#[derive(Default)]
pub(crate) struct Decisions {
    rules_version: u32,
}

/// One decision with what it is called.
pub(crate) struct Decided {
    pub happening: Happening,
    /// A copy for every partition.
    pub sent: Vec<Sent>,
}

impl Decisions {
    /// One that is taken at `now`.
    pub fn draw(&mut self, random: &mut Random, now: Timestamp, partitions: u16) -> Decided {
        match random.below(10) {
            0..=3 => self.swap_rules(random, now, partitions),
            4 => settle(now, partitions),
            _ => Decided {
                happening: Happening::Tick,
                sent: broadcast(&Control::Tick, now, partitions),
            },
        }
    }

    fn swap_rules(&mut self, random: &mut Random, now: Timestamp, partitions: u16) -> Decided {
        self.rules_version += 1;
        let minutes =
            if random.percent(40) { random.below(60) as i64 + 1 } else { random.ago(240) };
        let from = now.plus(minutes * Timestamp::MINUTE).floor(Timestamp::MINUTE);
        let set = RuleSet { version: self.rules_version, from, rules: rules(random) };
        let rules = set.encode();
        let control = Control::Rules { version: set.version, from, rules: &rules };
        let happening = if minutes > 0 { Happening::RulesAhead } else { Happening::RulesBehind };
        Decided { happening, sent: broadcast(&control, now, partitions) }
    }
}

/// Everything is to be judged.
pub(crate) fn settle(now: Timestamp, partitions: u16) -> Decided {
    let sent = broadcast(&Control::Settle, now, partitions);
    Decided { happening: Happening::Settle, sent }
}

/// Up to four rules, in any order.
fn rules(random: &mut Random) -> Vec<Rule> {
    let rapid = |by, most: u64| Rule::Rapid { by, most: most as u32 };
    let mut rules = vec![
        Rule::DoubleClick { within: random.below(30_000_000) as i64 },
        rapid(RapidKey::IpAgent, 1 + random.below(2)),
        rapid(RapidKey::User, 1 + random.below(3)),
        rapid(RapidKey::Ip, 1 + random.below(4)),
    ];
    let turn = random.below(rules.len() as u64) as usize;
    rules.rotate_left(turn);
    rules.truncate(1 + random.below(4) as usize);
    rules
}

fn broadcast(control: &Control<'_>, received: Timestamp, partitions: u16) -> Vec<Sent> {
    let mut payload = Vec::new();
    control.encode(&mut payload);
    let copy = |partition| {
        let slots = Slot::range(partition, partitions);
        let slot = Slot::new(slots.start).expect("every partition has slots");
        let record = Record { payload: &payload, ..Record::new(Kind::Control, slot, received) };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        Sent { slot, bytes, is_stamped: false }
    };
    (0..partitions).map(copy).collect()
}
