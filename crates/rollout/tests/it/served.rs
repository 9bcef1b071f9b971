//! A log of served rows and what became of them, and a learner that is fed from it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk, read_all};
use reckon_event::{
    Applied, Bound, Claims, Counted, Currency, Deltas, Epoch, Feature, ImpressionId, Kind,
    Position, Pseudonym, Record, ServedCandidate, ServedRows, Slot, Subscriber, TenantId,
    Timestamp, Verdict, prediction_id,
};
use reckon_rollout::{Learner, LinearOptions, Options, Recall};

/// One record of the log: its bytes, and the verdict it came to.
pub type Logged = (Vec<u8>, Option<Verdict>);

/// The partitions of a log. In each, what was received later stands later.
pub type Log = Arc<Vec<Vec<Logged>>>;

/// What each epoch reads of every partition.
pub type Epochs = Vec<Vec<Bound>>;

pub const DIR: &str = "/learner";

pub fn options() -> Options {
    let linear = LinearOptions { bits: 10, ..Default::default() };
    Options { linear, window: 40 * Timestamp::SECOND, ..Default::default() }
}

/// Random enough to mix orders up; the same for a seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn slot() -> Slot {
    Slot::new(5).expect("below 1,024")
}

pub fn prediction(request: u64, at: Timestamp, dice: &mut Dice) -> Vec<u8> {
    let mut row = |count| (0..count).map(|_| Feature::flag(dice.below(600) as u32)).collect();
    let candidate = |index, features| ServedCandidate {
        index,
        ad_key: u64::from(index),
        logit: -2.0,
        probability: 0.12,
        propensity: 1.0,
        features,
        ..ServedCandidate::default()
    };
    let rows = ServedRows {
        request,
        delta_version: 1,
        cut: vec![0],
        shared: row(3),
        candidates: vec![candidate(0, row(4)), candidate(1, row(4))],
        ..ServedRows::default()
    };
    let mut payload = Vec::new();
    rows.encode(&mut payload);
    encoded(Record { payload: &payload, ..Record::new(Kind::Prediction, slot(), at) })
}

pub fn event(kind: Kind, request: u64, index: u16, at: Timestamp) -> Vec<u8> {
    let claims = Claims {
        tenant: TenantId::DEFAULT,
        impression: ImpressionId { incarnation: 1, slot: slot(), hour: 1, sequence: 1 },
        ad_key: u64::from(index),
        campaign_key: 1,
        price: 1,
        currency: Currency::EUR,
        user: Pseudonym(7),
        issued_at: at,
        expires_at: at,
        model_version: 0,
        delta_version: 1,
        prediction_id: prediction_id(request, index),
        arm: 0,
        propensity: 1.0,
        position: index + 1,
        explored: false,
        consent: 0,
    };
    let mut record = Record::new(kind, slot(), at);
    record.adopt(claims);
    encoded(record)
}

fn encoded(record: Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

/// Requests with two candidates each; most are shown, some clicked, some before they are shown, some
/// as late as `late_ms` after they were served, and copies come that do not count. One partition.
pub fn log_of(seed: u64, requests: u64, late_ms: u64) -> Log {
    let mut dice = Dice(seed);
    let mut log: Vec<(u64, Logged)> = Vec::new();
    for request in 1..=requests {
        let start = request * 1_000;
        let at = |after: u64| Timestamp(((start + after) * 1_000) as i64);
        log.push((start, (prediction(request, at(0), &mut dice), None)));
        for index in 0..2 {
            let verdict = if dice.below(8) == 0 { Verdict::Duplicate } else { Verdict::Counted };
            let shown = 1 + dice.below(5_000);
            if dice.below(10) > 0 {
                let bytes = event(Kind::Impression, request, index, at(shown));
                log.push((start + shown, (bytes, Some(verdict))));
            }
            if dice.below(4) == 0 {
                let clicked = if dice.below(6) == 0 { late_ms } else { dice.below(9_000) };
                let bytes = event(Kind::Click, request, index, at(clicked));
                log.push((start + clicked, (bytes, Some(verdict))));
            }
        }
    }
    log.sort_by_key(|&(at, _)| at);
    one_partition(log.into_iter().map(|(_, logged)| logged).collect())
}

pub fn one_partition(records: Vec<Logged>) -> Log {
    Arc::new(vec![records])
}

pub fn recall(log: &Log) -> Recall {
    let log = Arc::clone(log);
    Box::new(move |ranges: &[(u16, Range<u64>)], take| {
        for (partition, range) in ranges {
            for offset in range.clone() {
                let record = decoded(&log, *partition, offset);
                if record.kind == Kind::Prediction {
                    take(Position { partition: *partition, offset }, &record);
                }
            }
        }
        Ok(())
    })
}

pub fn decoded(log: &Log, partition: u16, offset: u64) -> Record<'_> {
    let (bytes, _) = &log[usize::from(partition)][offset as usize];
    Record::decode(bytes).expect("a record").0
}

pub fn open(disk: &Arc<dyn Disk>, log: &Log) -> Learner {
    let opened = Learner::open(Arc::clone(disk), Path::new(DIR), options(), recall(log));
    let (learner, damage) = opened.expect("it opens");
    assert_eq!(damage, None);
    learner
}

/// Gives epoch `number` (from 1), which holds these records.
pub fn give(learner: &mut Learner, log: &Log, number: u64, bounds: &[Bound]) -> Applied {
    let (epoch, records, verdicts) = epoch_of(log, number, bounds);
    let counted = Counted {
        records: &records,
        verdicts: &verdicts,
        revisions: &[],
        deltas: &Deltas::default(),
        watermark: watermark(log, bounds),
    };
    learner.apply(&epoch, &counted).expect("it is taken")
}

/// Everything an epoch is handed over with.
pub fn epoch_of<'a>(
    log: &'a Log,
    number: u64,
    bounds: &[Bound],
) -> (Epoch, Vec<(Position, Record<'a>)>, Vec<Option<Verdict>>) {
    let bounds: Vec<Bound> = bounds.iter().filter(|bound| bound.from < bound.to).copied().collect();
    let positions = bounds.iter().flat_map(|&Bound { partition, from, to }| {
        (from..to).map(move |offset| Position { partition, offset })
    });
    let (records, verdicts) = positions
        .map(|at| {
            let verdict = log[usize::from(at.partition)][at.offset as usize].1;
            ((at, decoded(log, at.partition, at.offset)), verdict)
        })
        .unzip();
    (Epoch { stage: 1, group: 0, generation: 1, number, bounds }, records, verdicts)
}

/// The least over all partitions of what has been read of each.
fn watermark(log: &Log, bounds: &[Bound]) -> Timestamp {
    let read = |bound: &Bound| match bound.to.checked_sub(1) {
        Some(last) => decoded(log, bound.partition, last).received,
        None => Timestamp::default(),
    };
    bounds.iter().map(read).min().unwrap_or_default()
}

/// Offsets of the only partition.
pub fn only(range: Range<usize>) -> Vec<Bound> {
    vec![Bound { partition: 0, from: range.start as u64, to: range.end as u64 }]
}

/// Epochs of 1 to 40 records of the only partition.
pub fn epochs_of(log: &Log, seed: u64) -> Epochs {
    let mut dice = Dice(seed);
    let (mut epochs, mut from) = (Vec::new(), 0);
    while from < log[0].len() {
        let to = (from + 1 + dice.below(40) as usize).min(log[0].len());
        epochs.push(only(from..to));
        from = to;
    }
    epochs
}

/// The state after everything, as it stands on the disk.
pub fn state(disk: &dyn Disk, epochs: usize) -> Vec<u8> {
    let path = Path::new(DIR).join(format!("learner-{epochs:020}"));
    read_all(disk, &path).expect("it reads").expect("it is there")
}

/// Feeds one learner in one go, and another that is killed again and again and begins from what it had
/// made durable: their states are the same to the byte. `began_from` is told of each checkpoint
/// the other has begun from. Gives the number of crashes.
pub fn crashes_change_nothing(
    seed: u64,
    log: &Log,
    epochs: &Epochs,
    mut began_from: impl FnMut(usize),
) -> usize {
    let calm: Arc<dyn Disk> = Arc::new(SimDisk::new(seed));
    let mut learner = open(&calm, log);
    for (number, bounds) in (1..).zip(epochs) {
        assert_eq!(give(&mut learner, log, number, bounds), Applied::Fresh);
    }
    learner.persist().expect("durable");

    let sim = SimDisk::new(seed);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let mut dice = Dice(seed);
    let mut learner = open(&disk, log);
    let (mut at, mut crashes) = (0, 0);
    while at < epochs.len() {
        give(&mut learner, log, at as u64 + 1, &epochs[at]);
        at += 1;
        match dice.below(12) {
            0 => learner.persist().expect("durable"),
            1 => {
                // Whatever was not made durable is handed over again.
                let kept = learner.persisted().unwrap_or(0);
                sim.crash(dice.below(1_000));
                learner = open(&disk, log);
                assert_eq!(learner.persisted().unwrap_or(0), kept);
                at = kept as usize;
                began_from(at);
                crashes += 1;
            }
            _ => {}
        }
    }
    learner.persist().expect("durable");
    assert!(crashes > 0, "seed {seed} never crashed");
    assert!(
        state(&*calm, epochs.len()) == state(&*disk, epochs.len()),
        "seed {seed}: {crashes} crashes made another model"
    );
    crashes
}
