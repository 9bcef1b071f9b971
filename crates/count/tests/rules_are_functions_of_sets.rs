//! A rule that depended on the order of arrival would bill two runs of one day differently.
//!
//! Minutes of random clicks, judged by plain loops over every pair and, shuffled and split at random,
//! by [`judge`]: every click gets the same verdict.

#![expect(clippy::print_stdout, reason = "the test tells how much it compared")]

use std::collections::BTreeMap;

use reckon_count::rules::{Judged, MinuteKey, MinuteSet, RapidKey, Rule, RuleSet, Survivor, judge};
use reckon_event::{
    Cell, Currency, Kind, Position, Pseudonym, Reason, Slot, SourceClass, TenantId, Timestamp,
    Verdict,
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

fn click(random: &mut Random, minute: i64, offset: u64) -> Survivor {
    // Coarse moments: many clicks of the same microsecond.
    let happened = Timestamp(minute * Timestamp::MINUTE + random.below(240) as i64 * 250_000);
    let (tenant, ad) = (TenantId(1 + random.below(2) as u32), 1 + random.below(5));
    Survivor {
        position: Position { partition: (offset % 3) as u16, offset },
        slot: Slot::new((offset % 1_024) as u16).expect("a slot"),
        class: SourceClass::Server,
        happened,
        order: random.below(1 << 40),
        user: Pseudonym(u128::from(random.below(30))),
        ip_tag: random.below(12),
        agent: random.below(4),
        price: 5,
        cell: Cell {
            second: happened.seconds(),
            tenant,
            ad,
            campaign: ad,
            region: 0,
            device: 0,
            placement: 0,
            position: 1,
            kind: Kind::Click,
            verdict: Verdict::Counted,
            currency: Currency::NONE,
        },
    }
}

/// Every click against every other, as the rules are written.
fn naive(rules: &[Rule], clicks: &[Survivor], all: &[Survivor], of: &Survivor) -> Verdict {
    for rule in rules {
        let takes = match *rule {
            Rule::DoubleClick { within } => {
                of.user.is_some()
                    && all.iter().any(|other| {
                        let same = (other.cell.tenant, other.user, other.cell.ad)
                            == (of.cell.tenant, of.user, of.cell.ad);
                        let place = |c: &Survivor| (c.happened, c.order, c.position);
                        same && place(other) < place(of)
                            && of.happened.0 - other.happened.0 < within
                    })
            }
            Rule::Rapid { by, most } => {
                let key = |c: &Survivor| match by {
                    RapidKey::User => (c.cell.tenant, c.user.0, 0, 0),
                    RapidKey::Ip => (c.cell.tenant, 0, c.ip_tag, 0),
                    RapidKey::IpAgent => (c.cell.tenant, 0, c.ip_tag, c.agent),
                };
                let is_known = match by {
                    RapidKey::User => of.user.is_some(),
                    RapidKey::Ip => of.ip_tag != 0,
                    RapidKey::IpAgent => of.ip_tag != 0 && of.agent != 0,
                };
                let same = clicks.iter().filter(|other| key(other) == key(of)).count();
                is_known && same > most as usize
            }
        };
        if takes {
            return Verdict::Invalid(rule.reason());
        }
    }
    Verdict::Counted
}

fn set_of(clicks: &[Survivor]) -> MinuteSet {
    let mut set = MinuteSet::default();
    clicks.iter().for_each(|click| set.push(click));
    set
}

fn random_rules(random: &mut Random) -> RuleSet {
    let mut rules = vec![
        Rule::DoubleClick { within: 1 + random.below(20_000_000) as i64 },
        Rule::Rapid { by: RapidKey::User, most: random.below(12) as u32 },
        Rule::Rapid { by: RapidKey::Ip, most: random.below(30) as u32 },
        Rule::Rapid { by: RapidKey::IpAgent, most: random.below(10) as u32 },
    ];
    random.shuffle(&mut rules);
    rules.truncate(1 + random.below(4) as usize);
    RuleSet { version: 1, from: Timestamp(0), rules }
}

#[test]
fn every_order_gives_the_verdicts_of_plain_loops() {
    let mut seen: BTreeMap<Verdict, u64> = BTreeMap::new();
    for seed in 0..60 {
        let mut random = Random(seed);
        let rules = random_rules(&mut random);
        let count = 1 + random.below(150);
        let earlier: Vec<Survivor> = (0..count).map(|at| click(&mut random, 99, at)).collect();
        let mut clicks: Vec<Survivor> =
            (0..count).map(|at| click(&mut random, 100, 1_000 + at)).collect();
        let all: Vec<Survivor> = earlier.iter().chain(&clicks).copied().collect();
        let expect: BTreeMap<Position, Verdict> = clicks
            .iter()
            .map(|click| (click.position, naive(&rules.rules, &clicks, &all, click)))
            .collect();
        for _ in 0..3 {
            random.shuffle(&mut clicks);
            let (head, tail) = clicks.split_at(random.below(count) as usize);
            let mut set = set_of(head);
            set.append(&set_of(tail));
            let before = set_of(&earlier);
            let rows = Judged::first(&set, set.rows.len());
            let context = Judged::first(&before, before.rows.len());
            let verdicts = judge(&rules, rows, Some(context));
            assert_eq!(verdicts.len(), clicks.len());
            for (row, verdict) in set.rows.iter().zip(verdicts) {
                let position = Position { partition: row.partition, offset: row.offset };
                assert_eq!(verdict, expect[&position], "seed {seed}, {rules:?}, {row:?}");
                *seen.entry(verdict).or_default() += 1;
            }
        }
    }
    println!("{seen:?}");
    let reasons = [Reason::DoubleClick, Reason::RapidUser, Reason::RapidIp, Reason::RapidIpAgent];
    for verdict in reasons.map(Verdict::Invalid).into_iter().chain([Verdict::Counted]) {
        assert!(seen.get(&verdict).is_some_and(|&count| count > 100), "{verdict} hardly occurred");
    }
}

/// However many one person's clicks are, the rule takes them from the first beyond its limit on.
#[test]
fn limits_beyond_a_byte_are_exact() {
    let mut random = Random(11);
    for count in [254, 255, 256, 257, 700] {
        let one = |at| Survivor { user: Pseudonym(9), ..click(&mut random, 100, at) };
        let mut clicks: Vec<Survivor> = (0..count).map(one).collect();
        let tenant = TenantId(1);
        clicks.iter_mut().for_each(|click| click.cell.tenant = tenant);
        let set = set_of(&clicks);
        for most in [count - 1, count, count + 1, 254, 255, 256] {
            let rules = vec![Rule::Rapid { by: RapidKey::User, most: most as u32 }];
            let rules = RuleSet { version: 1, from: Timestamp(0), rules };
            let verdicts = judge(&rules, Judged::first(&set, set.rows.len()), None);
            let is_crowded = count > most;
            let expect =
                if is_crowded { Verdict::Invalid(Reason::RapidUser) } else { Verdict::Counted };
            assert!(verdicts.iter().all(|&verdict| verdict == expect), "{count} of {most}");
        }
    }
}

#[test]
fn a_revision_moves_a_click_from_one_cell_to_another() {
    let mut random = Random(5);
    let one = click(&mut random, 100, 7);
    let set = set_of(&[one]);
    let key = MinuteKey::of(SourceClass::Server, one.happened);
    let change = (Verdict::Counted, Verdict::Invalid(Reason::RapidIp));
    let revision = set.revision(key, &set.rows[0], change, 3);
    assert_eq!((revision.position, revision.slot), (one.position, one.slot));
    assert_eq!((revision.cell, revision.happened), (one.cell, one.happened));
    let mut deltas = reckon_event::Deltas::default();
    revision.add_to(&mut deltas);
    let measure = deltas.cells[&one.cell];
    assert_eq!((measure.count, measure.spend), (-1, -5));
    let after = Cell { verdict: Verdict::Invalid(Reason::RapidIp), ..one.cell };
    assert_eq!((deltas.cells[&after].count, deltas.cells[&after].spend), (1, 0));
}
