//! Random traffic through the real log, pipeline and rules, into a lake and two sets of figures.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::memory::InMemory;
use reckon_audit::{
    AuditOptions, Auditor, Figure, FigureKey, Horizons, RapidKey, RecountRange, Rule, RuleSet,
};
use reckon_count::{Policy, rules};
use reckon_disk::{Disk, SimDisk};
use reckon_event::{
    Applied, Control, Counted, Deltas, Epoch, Kind, Record, RecordId, Slot, Subscriber,
    SubscriberError, Timestamp, Verdict, stamp,
};
use reckon_eventlog::{DiskLog, EventLog, Outcome};
use reckon_lake::{LakeOptions, LakePlace, LakeSubscriber};
use reckon_pipeline::{Options, Pipeline, Stepped};
use reckon_rollup::{Files, RollupStore, RollupSubscriber};

use crate::traffic::Traffic;

/// What is done wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// The figures do not get what this epoch adds.
    LostDelta(u64),
    /// They get it twice.
    DoubledDelta(u64),
    /// The first counted click of this epoch is called a duplicate, in lake and figures alike.
    WrongVerdict(u64),
}

pub type Figures = BTreeMap<FigureKey, Figure>;

pub const PARTITIONS: u16 = 3;
const START: Timestamp = Timestamp(1_795_255_200_000_000);

const POLICY: Policy = Policy {
    minted_horizon: 3 * Timestamp::HOUR,
    opaque_horizon: 5 * Timestamp::HOUR,
    unsigned_window: 10 * Timestamp::SECOND,
    appender_horizon: 1_000 * Timestamp::DAY,
    rules_horizon: 1_000 * Timestamp::DAY,
};

pub const HORIZONS: Horizons = Horizons {
    minted: POLICY.minted_horizon,
    opaque: POLICY.opaque_horizon,
    unsigned: POLICY.unsigned_window,
};

/// Everything that was counted.
pub struct World {
    pub place: LakePlace,
    /// Sums of all deltas, of every kind.
    pub figures: Figures,
    pub store: Arc<dyn RollupStore>,
    pub rules: Vec<RuleSet>,
    pub epochs: u64,
    log: Arc<dyn EventLog>,
}

/// Adds up deltas, as a rollup does, with the fault in it.
struct Sums {
    figures: Arc<Mutex<Figures>>,
    fault: Fault,
}

impl Sums {
    fn add(&self, deltas: &Deltas, times: i64) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        for (cell, measure) in &deltas.cells {
            let key = FigureKey {
                tenant: cell.tenant,
                ad: cell.ad,
                minute: cell.second.div_euclid(60),
                kind: cell.kind,
                verdict: cell.verdict,
            };
            let figure = figures.entry(key).or_default();
            figure.add(times * measure.count, cell.currency, times * measure.spend);
        }
        figures.retain(|_, figure| !figure.is_zero());
    }
}

/// All that follows from an epoch goes to lake, sums and rollup.
struct Everyone {
    lake: LakeSubscriber,
    sums: Sums,
    rollup: RollupSubscriber,
}

impl Subscriber for Everyone {
    fn name(&self) -> &'static str {
        "everyone"
    }

    fn persisted(&self) -> Option<u64> {
        None
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        let mut verdicts = counted.verdicts.to_vec();
        let mut deltas = counted.deltas.clone();
        if self.sums.fault == Fault::WrongVerdict(epoch.number) {
            misjudge(counted, &mut verdicts, &mut deltas);
        }
        let counted = Counted { verdicts: &verdicts, deltas: &deltas, ..*counted };
        let times = match self.sums.fault {
            Fault::LostDelta(number) if number == epoch.number => 0,
            Fault::DoubledDelta(number) if number == epoch.number => 2,
            _ => 1,
        };
        self.sums.add(&deltas, times);
        self.rollup.apply(epoch, &counted)?;
        self.lake.apply(epoch, &counted)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        self.rollup.persist()?;
        self.lake.persist()
    }
}

fn misjudge(counted: &Counted<'_>, verdicts: &mut [Option<Verdict>], deltas: &mut Deltas) {
    let is_revised =
        |at: usize| counted.revisions.iter().any(|r| r.position == counted.records[at].0);
    let is_click = |at: &usize| {
        let record = &counted.records[*at].1;
        record.kind == Kind::Click && verdicts[*at] == Some(Verdict::Counted) && !is_revised(*at)
    };
    let at = (0..verdicts.len()).find(is_click).expect("an epoch with a counted click");
    let record = &counted.records[at].1;
    let mut cells = counted.deltas.cells.keys().filter(|cell| {
        cell.kind == Kind::Click
            && cell.verdict == Verdict::Counted
            && cell.second == record.happened.seconds()
            && (cell.tenant, cell.ad, cell.currency)
                == (record.tenant, record.ad_key, record.currency)
    });
    let cell = *cells.next().expect("it was summed up");
    verdicts[at] = Some(Verdict::Duplicate);
    let price = record.price;
    deltas.add(cell, reckon_event::Measure { count: -1, spend: -price });
    let other = reckon_event::Cell { verdict: Verdict::Duplicate, ..cell };
    deltas.add(other, reckon_event::Measure { count: 1, spend: 0 });
}

fn open_log() -> Arc<dyn EventLog> {
    let options = reckon_eventlog::Options {
        lanes: PARTITIONS,
        segment_bytes: 1 << 20,
        preallocate_bytes: 0,
        commit_delay_max: Duration::ZERO,
        ..reckon_eventlog::Options::default()
    };
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    Arc::new(DiskLog::open(disk, Path::new("/log"), options, 1).expect("a sound disk").0)
}

fn append(log: &dyn EventLog, bytes: &[u8]) {
    let record = Record::decode(bytes).expect("encoded here").0;
    let partition = log.partition_of(record.kind, record.slot);
    let outcome = log.append(partition, bytes, 1).wait();
    assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
}

/// A copy for every partition.
fn broadcast(log: &dyn EventLog, control: &Control<'_>, received: Timestamp) {
    let mut payload = Vec::new();
    control.encode(&mut payload);
    for partition in 0..PARTITIONS {
        let slot = Slot::new(log.slots(partition).start).expect("every partition has slots");
        let record = Record { payload: &payload, ..Record::new(Kind::Control, slot, received) };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        stamp(&mut bytes, RecordId::default()).expect("encoded here");
        append(log, &bytes);
    }
}

/// The same rules twice: as the log says them, and as the audit takes them.
fn rule_sets() -> Vec<(rules::RuleSet, RuleSet)> {
    let minute = |minutes: i64| START.plus(minutes * Timestamp::MINUTE);
    let theirs = |by, most| rules::Rule::Rapid { by, most };
    let ours = |by, most| Rule::Rapid { by, most };
    let within = 20 * Timestamp::SECOND;
    let first = (
        vec![
            theirs(rules::RapidKey::User, 3),
            theirs(rules::RapidKey::IpAgent, 1),
            rules::Rule::DoubleClick { within },
        ],
        vec![ours(RapidKey::User, 3), ours(RapidKey::IpAgent, 1), Rule::DoubleClick { within }],
    );
    let second = (
        vec![theirs(rules::RapidKey::Ip, 4), rules::Rule::DoubleClick { within: within * 2 }],
        vec![ours(RapidKey::Ip, 4), Rule::DoubleClick { within: within * 2 }],
    );
    [(1, minute(-120), first), (2, minute(300), second)]
        .into_iter()
        .map(|(version, from, (theirs, ours))| {
            let theirs = rules::RuleSet { version, from, rules: theirs };
            (theirs, RuleSet { version, from, rules: ours })
        })
        .collect()
}

/// Counts so many records of a seed's traffic into a lake at `place`.
pub fn count(seed: u64, records: usize, fault: Fault, place: LakePlace) -> World {
    let log = open_log();
    let history = Traffic::new(seed, true).take(records);
    let sets = rule_sets();
    let mut latest = START;
    for (at, bytes) in history.iter().enumerate() {
        if at % (records / sets.len()) == 5 {
            let set = &sets[(at / (records / sets.len())).min(sets.len() - 1)].0;
            let bytes = set.encode();
            let control = Control::Rules { version: set.version, from: set.from, rules: &bytes };
            broadcast(&*log, &control, latest);
        }
        latest = latest.max(Record::decode(bytes).expect("encoded here").0.received);
        append(&*log, bytes);
    }
    broadcast(&*log, &Control::Tick, latest.plus(Timestamp::HOUR));
    broadcast(&*log, &Control::Settle, latest.plus(Timestamp::HOUR));
    let rules = sets.into_iter().map(|(_, ours)| ours).collect();
    judge(seed, log, rules, fault, place)
}

/// Lets a fresh counter judge a log from its beginning.
fn judge(
    seed: u64,
    log: Arc<dyn EventLog>,
    rules: Vec<RuleSet>,
    fault: Fault,
    place: LakePlace,
) -> World {
    let figures = Arc::new(Mutex::new(Figures::new()));
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(seed));
    let options = reckon_rollup::Options::new(1 << 20);
    let files = Files::open(Arc::clone(&disk), Path::new("/rollup"), options);
    let store: Arc<dyn RollupStore> = Arc::new(files.expect("a sound disk"));
    let lake_options = LakeOptions { buffer_bytes_max: 300_000, ..LakeOptions::new(1) };
    let everyone = Everyone {
        lake: LakeSubscriber::open(place.clone(), lake_options).expect("an empty lake"),
        sums: Sums { figures: Arc::clone(&figures), fault },
        rollup: RollupSubscriber::new(Arc::clone(&store)),
    };
    let options = Options { policy: POLICY, epoch_records_max: 150, ..Options::default() };
    let mut pipeline = Pipeline::open(
        Arc::clone(&log),
        disk,
        Path::new("/counter"),
        options,
        1,
        vec![Box::new(everyone)],
    )
    .expect("a new counter");
    let mut epochs = 0;
    while let Stepped::Applied { number, .. } = pipeline.step().expect("nothing fails") {
        epochs = number;
        if number % 7 == 0 {
            pipeline.checkpoint().expect("nothing fails");
        }
    }
    pipeline.checkpoint().expect("nothing fails");
    drop(pipeline);
    let figures = figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
    World { place, figures, store, rules, epochs, log }
}

pub fn memory() -> LakePlace {
    LakePlace::store(Arc::new(InMemory::new()), "lake")
}

impl World {
    pub async fn auditor(&self) -> Auditor {
        Auditor::open(&self.place, AuditOptions::default()).await.expect("there is a lake")
    }

    /// The same log, judged from its beginning by a counter without faults.
    pub fn judged_again(&self) -> World {
        judge(99, Arc::clone(&self.log), self.rules.clone(), Fault::None, memory())
    }

    /// All of it.
    pub fn range(&self) -> RecountRange {
        RecountRange {
            cut: self.epochs,
            from: START.plus(-2 * Timestamp::DAY),
            to: START.plus(20 * Timestamp::DAY),
            received_from: None,
            judged_before: None,
        }
    }
}
