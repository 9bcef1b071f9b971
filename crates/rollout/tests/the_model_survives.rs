//! The learner is killed at any moment and begun again from what it had made durable and the log:
//! in the end its state is the same to the byte. And what teaches it is what counts, once.

#![expect(clippy::print_stdout, reason = "tests say what they compared")]

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
type Logged = (Vec<u8>, Option<Verdict>);

const DIR: &str = "/learner";

fn options() -> Options {
    let linear = LinearOptions { bits: 10, ..Default::default() };
    Options { linear, window: 40 * Timestamp::SECOND, ..Default::default() }
}

/// Random enough to mix orders up; the same for a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn slot() -> Slot {
    Slot::new(5).expect("below 1,024")
}

fn prediction(request: u64, at: Timestamp, dice: &mut Dice) -> Vec<u8> {
    let mut row = |count| (0..count).map(|_| Feature::flag(dice.below(600) as u32)).collect();
    let candidate = |index, features| ServedCandidate {
        index,
        ad_key: u64::from(index),
        logit: -2.0,
        probability: 0.12,
        propensity: 1.0,
        features,
    };
    let rows = ServedRows {
        request,
        delta_version: 1,
        cut: vec![0],
        shared: row(3),
        candidates: vec![candidate(0, row(4)), candidate(1, row(4))],
        model_version: 0,
    };
    let mut payload = Vec::new();
    rows.encode(&mut payload);
    encoded(Record { payload: &payload, ..Record::new(Kind::Prediction, slot(), at) })
}

fn event(kind: Kind, request: u64, index: u16, at: Timestamp) -> Vec<u8> {
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
/// too late, and copies come that do not count.
fn log_of(seed: u64, requests: u64) -> Vec<Logged> {
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
                let clicked = if dice.below(6) == 0 { 60_000 } else { dice.below(9_000) };
                let bytes = event(Kind::Click, request, index, at(clicked));
                log.push((start + clicked, (bytes, Some(verdict))));
            }
        }
    }
    log.sort_by_key(|&(at, _)| at);
    log.into_iter().map(|(_, logged)| logged).collect()
}

fn recall(log: &Arc<Vec<Logged>>) -> Recall {
    let log = Arc::clone(log);
    Box::new(move |ranges: &[(u16, Range<u64>)], take| {
        for (partition, range) in ranges {
            for offset in range.clone() {
                let (record, _) = Record::decode(&log[offset as usize].0)?;
                if record.kind == Kind::Prediction {
                    take(Position { partition: *partition, offset }, &record);
                }
            }
        }
        Ok(())
    })
}

fn open(disk: &Arc<dyn Disk>, log: &Arc<Vec<Logged>>) -> Learner {
    let opened = Learner::open(Arc::clone(disk), Path::new(DIR), options(), recall(log));
    let (learner, damage) = opened.expect("it opens");
    assert_eq!(damage, None);
    learner
}

/// Gives epoch `number` (from 1), which holds these records.
fn give(learner: &mut Learner, log: &[Logged], number: u64, range: Range<usize>) -> Applied {
    let bound = Bound { partition: 0, from: range.start as u64, to: range.end as u64 };
    let epoch = Epoch { stage: 1, group: 0, generation: 1, number, bounds: vec![bound] };
    let at = |offset: usize| Position { partition: 0, offset: offset as u64 };
    let records: Vec<_> = range
        .clone()
        .map(|offset| (at(offset), Record::decode(&log[offset].0).expect("a record").0))
        .collect();
    let verdicts: Vec<_> = range.map(|offset| log[offset].1).collect();
    let counted = Counted {
        records: &records,
        verdicts: &verdicts,
        revisions: &[],
        deltas: &Deltas::default(),
        watermark: Timestamp::default(),
    };
    learner.apply(&epoch, &counted).expect("it is taken")
}

/// Epochs of 1 to 40 records.
fn epochs_of(log: &[Logged], seed: u64) -> Vec<Range<usize>> {
    let mut dice = Dice(seed);
    let (mut epochs, mut from) = (Vec::new(), 0);
    while from < log.len() {
        let to = (from + 1 + dice.below(40) as usize).min(log.len());
        epochs.push(from..to);
        from = to;
    }
    epochs
}

/// The state after everything, as it stands on the disk.
fn state(disk: &dyn Disk, epochs: usize) -> Vec<u8> {
    let path = Path::new(DIR).join(format!("learner-{epochs:020}"));
    read_all(disk, &path).expect("it reads").expect("it is there")
}

#[test]
fn a_crash_at_any_moment_changes_nothing() {
    let mut compared = 0;
    for seed in 0..12 {
        let log = Arc::new(log_of(seed, 300));
        let epochs = epochs_of(&log, seed);
        let numbered = || (1..).zip(epochs.iter().cloned());

        let calm: Arc<dyn Disk> = Arc::new(SimDisk::new(seed));
        let mut learner = open(&calm, &log);
        for (number, range) in numbered() {
            assert_eq!(give(&mut learner, &log, number, range), Applied::Fresh);
        }
        learner.persist().expect("durable");

        let sim = SimDisk::new(seed);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let mut dice = Dice(seed);
        let mut learner = open(&disk, &log);
        let (mut at, mut crashes) = (0, 0);
        while at < epochs.len() {
            give(&mut learner, &log, at as u64 + 1, epochs[at].clone());
            at += 1;
            match dice.below(12) {
                0 => learner.persist().expect("durable"),
                1 => {
                    // Whatever was not made durable is handed over again.
                    let kept = learner.persisted().unwrap_or(0);
                    sim.crash(dice.below(1_000));
                    learner = open(&disk, &log);
                    assert_eq!(learner.persisted().unwrap_or(0), kept);
                    at = kept as usize;
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
        compared += crashes;
    }
    println!("{compared} crashes");
}

#[test]
fn only_what_counts_teaches_and_only_once() {
    let at = |second: i64| Timestamp::from_seconds(second);
    let mut dice = Dice(1);
    let counted = |bytes| (bytes, Some(Verdict::Counted));
    let log = Arc::new(vec![
        (prediction(1, at(1), &mut dice), None),
        counted(event(Kind::Impression, 1, 0, at(2))),
        (event(Kind::Impression, 1, 0, at(2)), Some(Verdict::Duplicate)),
        (event(Kind::Click, 1, 0, at(3)), Some(Verdict::Invalid(reckon_event::Reason::Prefetch))),
        counted(event(Kind::Click, 1, 0, at(4))),
        (event(Kind::Click, 1, 0, at(5)), Some(Verdict::Duplicate)),
        // Clicked, then shown: one row all the same.
        counted(event(Kind::Click, 1, 1, at(6))),
        counted(event(Kind::Impression, 1, 1, at(7))),
        // Of a row that was never logged.
        counted(event(Kind::Impression, 9, 0, at(8))),
    ]);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let mut learner = open(&disk, &log);
    give(&mut learner, &log, 1, 0..log.len());
    let (online, report) = (learner.models().online(), learner.models().report());
    assert_eq!((online.rows, online.clicks), (2, 2));
    assert_eq!((report.total.impressions, report.total.clicks, report.orphans), (2, 2, 1));
    assert_eq!(give(&mut learner, &log, 1, 0..log.len()), Applied::Again);
    assert_eq!(learner.models().online().version, online.version);
}

#[test]
fn a_click_corrects_what_its_impression_taught() {
    let at = |second: i64| Timestamp::from_seconds(second);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let rows = prediction(1, at(1), &mut Dice(3));
    let row = ServedRows::decode(Record::decode(&rows).expect("a record").0.payload).expect("rows");
    let log = Arc::new(vec![
        (rows, None),
        (event(Kind::Impression, 1, 0, at(2)), Some(Verdict::Counted)),
        (event(Kind::Click, 1, 0, at(3)), Some(Verdict::Counted)),
    ]);
    let mut learner = open(&disk, &log);
    let mut logits = Vec::new();
    for (number, offset) in (1..).zip(0..log.len()) {
        give(&mut learner, &log, number, offset..offset + 1);
        let weights = learner.models().online().weights.clone();
        let inputs = [&row.shared[..], &row.candidates[0].features].concat();
        logits.push(weights.bias() + weights.partial(&inputs).logit);
    }
    assert!(logits[1] < logits[0], "shown and not clicked: {logits:?}");
    assert!(logits[2] > logits[0], "clicked after all: {logits:?}");
}

#[test]
fn rows_without_room_are_let_go_and_told() {
    let log = Arc::new(log_of(4, 200));
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let options = Options { pending_bytes_max: 4_096, ..options() };
    let (mut learner, _) =
        Learner::open(disk, Path::new(DIR), options, recall(&log)).expect("it opens");
    for (number, range) in (1..).zip(epochs_of(&log, 1)) {
        give(&mut learner, &log, number, range);
    }
    let report = learner.models().report();
    assert!(report.dropped_rows > 0 && report.orphans > 0, "{report:?}");
    assert!(report.pending_rows < 30, "{}", report.pending_rows);
}
