//! One history of one seed, the same for everyone who counts it: records of every class of id for
//! registered ads, decisions at fixed places between them, and the places at which it is billed.
//!
//! Records are those that counting is tested with. What they name is replaced by ads of contracts, one
//! currency a campaign; and some of what phones report happened hours ago, so that closed days change.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use reckon_books::Terms;
use reckon_count::Policy;
use reckon_count::rules::{RapidKey, Rule, RuleSet};
use reckon_event::{
    Claims, Control, Currency, Day, Fact, Kind, Record, RecordId, Slot, SourceClass, TenantId,
    Timestamp, Verdict, name_key, stamp,
};

use crate::judge::{Judge, Judging};
use crate::traffic::{Random, Traffic};
use crate::world::{Contract, World};

pub const TENANTS: [TenantId; 2] = [TenantId(1), TenantId(2)];

/// Short horizons, so that ids are forgotten within a history; but whoever sends a prefix again is
/// known however much later it comes.
pub const POLICY: Policy = Policy {
    minted_horizon: 3 * Timestamp::HOUR,
    opaque_horizon: 5 * Timestamp::HOUR,
    unsigned_window: 10 * Timestamp::SECOND,
    appender_horizon: 1_000 * Timestamp::DAY,
    rules_horizon: 1_000 * Timestamp::DAY,
};

const RECORDS: usize = 2_400;
/// Whose records decisions are.
const DECIDER: u64 = 9;
/// A tick stands after so many records.
const TICK_RECORDS: usize = 120;
/// How far into a closed day the rules begin that are told when it is closed.
const PAST: i64 = 12 * Timestamp::HOUR;
const CAMPAIGNS: u64 = 3;
const ADS: u64 = 2;

/// What is appended.
pub enum Item {
    /// An event, in its slot.
    Record(Vec<u8>),
    /// A decision, of which every partition has a copy.
    Control { payload: Vec<u8>, received: Timestamp, number: u64 },
}

/// A place at which everything is settled and billed: closed days are adjusted, then more are closed.
pub struct Stop {
    /// So many items stand before it.
    pub at: usize,
    pub watermark: Timestamp,
    /// The days that are closed here.
    pub days: Vec<Day>,
    /// What it should come to.
    pub judge: Judge,
}

/// How a record says that it is the same as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdClass {
    Minted,
    Opaque,
    Sequenced,
    Unsigned,
    None,
}

impl IdClass {
    pub const ALL: [IdClass; 5] =
        [IdClass::Minted, IdClass::Opaque, IdClass::Sequenced, IdClass::Unsigned, IdClass::None];

    pub fn of(record: &Record<'_>) -> Self {
        let is_exposure = matches!(record.kind, Kind::Impression | Kind::View | Kind::Click);
        if record.outcome == Verdict::Unsigned && record.facts.has(Fact::UnsignedCounts) {
            IdClass::Unsigned
        } else if record.claims.is_some() && is_exposure {
            IdClass::Minted
        } else if record.session_sequence.is_some() && !record.install_id.is_empty() {
            IdClass::Sequenced
        } else if record.event_id.is_empty() {
            IdClass::None
        } else {
            IdClass::Opaque
        }
    }
}

pub struct History {
    pub items: Vec<Item>,
    pub stops: Vec<Stop>,
    pub world: World,
    /// Clicks that counted when they came, of days that were closed by then.
    pub late_clicks: u64,
}

impl History {
    /// The history of a seed; `None` where nearly all of it lies on one side of the first midnight.
    pub fn new(seed: u64) -> Option<Self> {
        let mut random = Random::new(seed ^ 0xB111);
        let mut history = History {
            items: Vec::new(),
            stops: Vec::new(),
            world: world(&mut random),
            late_clicks: 0,
        };
        let records = Traffic::new(seed, true).take(RECORDS);
        let records: Vec<Vec<u8>> =
            records.iter().map(|bytes| history.world.placed(bytes)).collect();
        let first_close = first_close(&records)?;
        history.write(&mut random, &records, first_close);
        Some(history)
    }

    /// Writes the items and comes to the stops.
    fn write(&mut self, random: &mut Random, records: &[Vec<u8>], first_close: usize) {
        let days = days_of(records);
        let rest = records.len() - first_close;
        let mut judging = Judging::new(&self.world);
        let mut now = decode(&records[0]).received;
        for at in 0..=records.len() {
            if let Some(set) = self.swap(random, now, (at, first_close, rest)) {
                let rules = set.encode();
                let RuleSet { version, from, .. } = set;
                self.decide(&Control::Rules { version, from, rules: &rules }, now, &mut judging);
            } else if at % TICK_RECORDS == 1 {
                self.decide(&Control::Tick, now, &mut judging);
            }
            if at == first_close || at == first_close + rest / 2 || at == records.len() {
                let last = *days.last().expect("there is a history");
                let is_end = at == records.len();
                let watermark = if is_end { last.end().plus(Timestamp::HOUR) } else { now };
                self.decide(&Control::Settle, watermark, &mut judging);
                self.stop(&days, watermark, &judging);
            }
            if let Some(bytes) = records.get(at) {
                let record = decode(bytes);
                now = now.max(record.received);
                let verdict = judging.take(&record);
                self.late_clicks += u64::from(self.is_late(&record, verdict));
                self.items.push(Item::Record(bytes.clone()));
            }
        }
    }

    /// The rules that begin before this record: a first set, another from the next minute on, and after
    /// the first close one for the past, harder on some and easier on others.
    fn swap(
        &self,
        random: &mut Random,
        now: Timestamp,
        (at, first_close, rest): (usize, usize, usize),
    ) -> Option<RuleSet> {
        let (version, from) = match at {
            0 => (1, Timestamp(0)),
            _ if at == first_close / 2 => (2, now.plus(Timestamp::MINUTE)),
            _ if at == first_close + rest / 4 => (3, self.last_closed().start().plus(PAST)),
            _ => return None,
        };
        let rapid = |by, most: u64| Rule::Rapid { by, most: most as u32 };
        let mut rules = vec![
            Rule::DoubleClick { within: (2 + random.below(12) as i64) * Timestamp::SECOND },
            rapid(RapidKey::User, 2 + random.below(3)),
            rapid(RapidKey::Ip, 3 + random.below(4)),
            rapid(RapidKey::IpAgent, 2 + random.below(3)),
        ];
        let turn = random.below(rules.len() as u64) as usize;
        rules.rotate_left(turn);
        Some(RuleSet { version, from: from.floor(Timestamp::MINUTE), rules })
    }

    fn last_closed(&self) -> Day {
        let days = self.stops.iter().flat_map(|stop| &stop.days);
        *days.max().expect("a day was closed at the first stop")
    }

    fn decide(&mut self, control: &Control<'_>, received: Timestamp, judging: &mut Judging) {
        let mut payload = Vec::new();
        control.encode(&mut payload);
        let number = self.items.len() as u64 + 1;
        let item = Item::Control { payload, received, number };
        let bytes = item.bytes(Slot::new(0).expect("the first slot"));
        assert_eq!(judging.take(&decode(&bytes)), None);
        self.items.push(item);
    }

    /// Closes what is final by now and not closed yet.
    fn stop(&mut self, days: &[Day], watermark: Timestamp, judging: &Judging) {
        let is_open = |day: &Day| self.stops.iter().all(|stop| !stop.days.contains(day));
        let is_final = |day: &Day| day.end().plus(Timestamp::MINUTE) <= watermark;
        let days = days.iter().copied().filter(|day| is_open(day) && is_final(day)).collect();
        let judge = judging.settled(watermark);
        self.stops.push(Stop { at: self.items.len(), watermark, days, judge });
    }

    fn is_late(&self, record: &Record<'_>, verdict: Option<Verdict>) -> bool {
        let day = Day::of(record.happened);
        record.kind == Kind::Click
            && verdict == Some(Verdict::Counted)
            && self.stops.iter().any(|stop| stop.days.contains(&day))
    }
}

impl Item {
    /// The bytes as they are appended; a decision's copy for the partition of `slot`.
    pub fn bytes(&self, slot: Slot) -> Vec<u8> {
        match self {
            Item::Record(bytes) => bytes.clone(),
            Item::Control { payload, received, number } => {
                let id = RecordId { appender: DECIDER, sequence: *number };
                let record = Record { payload, id, ..Record::new(Kind::Control, slot, *received) };
                encode(&record)
            }
        }
    }
}

impl World {
    /// The record with an ad of the contracts. The same ad as before is the same ad again, so copies of
    /// an event stay copies.
    fn placed(&self, bytes: &[u8]) -> Vec<u8> {
        let mut record = decode(bytes);
        if matches!(record.kind, Kind::Control | Kind::Prediction) {
            return bytes.to_vec();
        }
        let lateness = spread(record.happened.0);
        if record.source_class == SourceClass::Client && lateness.is_multiple_of(16) {
            let hours = (lateness >> 8) % 20;
            record.happened = record.happened.plus(-(hours as i64) * Timestamp::HOUR);
        }
        if let Some(claims) = record.claims {
            let (ad_key, campaign_key, currency) = self.ad(claims.tenant, claims.ad_key);
            let price = 100_000 + i64::from(claims.impression.sequence % 7) * 50_000;
            record.adopt(Claims { ad_key, campaign_key, currency, price, ..claims });
        } else if record.outcome == Verdict::UnknownAd {
            (record.ad_key, record.campaign_key, record.currency) = (0, 0, Currency::NONE);
            record.price = 0;
        } else {
            (record.ad_key, record.campaign_key, record.currency) =
                self.ad(record.tenant, record.ad_key);
        }
        encode(&record)
    }

    /// Keys and currency of the `number`th ad of a tenant.
    fn ad(&self, tenant: TenantId, number: u64) -> (u64, u64, Currency) {
        let mut contracts = self.contracts.iter().filter(|one| one.tenant == tenant);
        let contract = contracts.nth((number / ADS % CAMPAIGNS) as usize).expect("three a tenant");
        let ad = &contract.ads[(number % ADS) as usize];
        (name_key(ad), name_key(&contract.campaign), contract.currency)
    }
}

/// The contracts: advertisers and campaigns of both tenants have the same names.
fn world(random: &mut Random) -> World {
    let mut contracts = Vec::new();
    for tenant in TENANTS {
        for number in 0..CAMPAIGNS {
            let is_euro = number != 1;
            contracts.push(Contract {
                tenant,
                advertiser: if is_euro { "shop" } else { "tours" }.to_owned(),
                campaign: format!("campaign-{number}"),
                ads: (0..ADS).map(|ad| format!("ad-{}-{number}-{ad}", tenant.0)).collect(),
                currency: if is_euro { Currency::EUR } else { Currency::USD },
                terms: terms(random),
                pays_unseen: true,
            });
        }
    }
    World { random: crate::world::Random(random.next()), contracts, clicks: Vec::new() }
}

/// Budgets that run out within hours, some changed during the day, some without limit.
fn terms(random: &mut Random) -> Vec<Terms> {
    let mut from = Timestamp(1_795_132_800_000_000);
    let mut terms = Vec::new();
    for change in 0..1 + random.below(8) {
        let budget = (!random.percent(20)).then(|| random.below(16_000_000) as i64);
        terms.push(Terms { from, cpc_micros: 1 + change as i64, daily_budget_micros: budget });
        from = from.plus(Timestamp::HOUR + random.below(18 * 3_600_000_000) as i64);
    }
    terms
}

/// Where the first midnight and the minute behind it have passed.
fn first_close(records: &[Vec<u8>]) -> Option<usize> {
    let day = Day::of(decode(&records[0]).received);
    let is_past = |bytes: &Vec<u8>| decode(bytes).received >= day.end().plus(Timestamp::MINUTE);
    let at = records.iter().position(is_past)? + 1;
    (records.len() / 4..records.len() * 3 / 4).contains(&at).then_some(at)
}

/// Every day from that of the first event to that of the last.
fn days_of(records: &[Vec<u8>]) -> Vec<Day> {
    let happened = records.iter().map(|bytes| Day::of(decode(bytes).happened).number());
    let (first, last) = happened.fold((u32::MAX, 0), |(a, b), day| (a.min(day), b.max(day)));
    (first..=last).filter_map(Day::new).collect()
}

fn spread(number: i64) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(number)
}

pub fn decode(bytes: &[u8]) -> Record<'_> {
    Record::decode(bytes).expect("encoded here").0
}

fn encode(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    stamp(&mut bytes, record.id).expect("encoded here");
    bytes
}
