//! The learner is killed at any moment and begun again from what it had made durable and the log:
//! in the end its state is the same to the byte. And what teaches it is what counts, once.

use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk};
use reckon_event::{
    Applied, Counted, Deltas, Kind, Reason, Record, ServedRows, Subscriber, Timestamp, Verdict,
};
use reckon_rollout::{Learner, Options, Recall};

use crate::served::{
    DIR, Dice, crashes_change_nothing, epoch_of, epochs_of, event, give, log_of, one_partition,
    only, open, options, prediction, recall, state,
};

#[test]
fn a_crash_at_any_moment_changes_nothing() {
    let mut compared = 0;
    for seed in 0..12 {
        let log = log_of(seed, 300, 60_000);
        compared += crashes_change_nothing(seed, &log, &epochs_of(&log, seed), |_| {});
    }
    println!("{compared} crashes");
}

#[test]
fn rows_that_cannot_be_read_at_first_are_read_again() {
    let log = log_of(5, 100, 20_000);
    let epochs = epochs_of(&log, 5);
    let half = epochs.len() / 2;
    let [calm, other] = [1, 2].map(|seed| -> Arc<dyn Disk> { Arc::new(SimDisk::new(seed)) });
    for disk in [&calm, &other] {
        let mut learner = open(disk, &log);
        for (number, bounds) in (1..).zip(&epochs[..half]) {
            give(&mut learner, &log, number, bounds);
        }
        learner.persist().expect("durable");
    }
    let mut read = recall(&log);
    let mut failures = 0;
    let failing: Recall = Box::new(move |ranges, take| {
        let mut left = 5;
        let is_failing = failures < 2;
        failures += 1;
        read(ranges, &mut |position, record| {
            if !is_failing || left > 0 {
                left -= i32::from(is_failing);
                take(position, record);
            }
        })?;
        if is_failing { Err("the log is away".into()) } else { Ok(()) }
    });
    let mut learner = open(&calm, &log);
    let opened = Learner::open(Arc::clone(&other), Path::new(DIR), options(), failing);
    let (mut failing, _) = opened.expect("it opens");
    let (epoch, records, verdicts) = epoch_of(&log, half as u64 + 1, &epochs[half]);
    let counted = Counted {
        records: &records,
        verdicts: &verdicts,
        revisions: &[],
        deltas: &Deltas::default(),
        watermark: Timestamp::default(),
    };
    for _ in 0..2 {
        failing.apply(&epoch, &counted).expect_err("the log is away");
    }
    for (number, bounds) in (half as u64 + 1..).zip(&epochs[half..]) {
        for learner in [&mut learner, &mut failing] {
            assert_eq!(give(learner, &log, number, bounds), Applied::Fresh);
        }
    }
    for learner in [&mut learner, &mut failing] {
        learner.persist().expect("durable");
    }
    assert!(state(&*calm, epochs.len()) == state(&*other, epochs.len()), "another model");
}

#[test]
fn only_what_counts_teaches_and_only_once() {
    let at = |second: i64| Timestamp::from_seconds(second);
    let mut dice = Dice(1);
    let counted = |bytes| (bytes, Some(Verdict::Counted));
    let log = one_partition(vec![
        (prediction(1, at(1), &mut dice), None),
        counted(event(Kind::Impression, 1, 0, at(2))),
        (event(Kind::Impression, 1, 0, at(2)), Some(Verdict::Duplicate)),
        (event(Kind::Click, 1, 0, at(3)), Some(Verdict::Invalid(Reason::Prefetch))),
        counted(event(Kind::Click, 1, 0, at(4))),
        (event(Kind::Click, 1, 0, at(5)), Some(Verdict::Duplicate)),
        // Clicked, then shown: one row all the same.
        counted(event(Kind::Click, 1, 1, at(6))),
        counted(event(Kind::Impression, 1, 1, at(7))),
        // Of a row that was never logged.
        counted(event(Kind::Impression, 9, 0, at(8))),
        // Long after.
        (prediction(2, at(100), &mut dice), None),
    ]);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let mut learner = open(&disk, &log);
    give(&mut learner, &log, 1, &only(0..10));
    let (online, report) = (learner.models().online(), learner.models().report());
    assert_eq!((online.rows, online.clicks), (2, 2));
    assert_eq!((report.total.impressions, report.total.clicks, report.orphans), (2, 2, 1));
    assert_eq!(give(&mut learner, &log, 1, &only(0..10)), Applied::Again);
    assert_eq!(learner.models().online().version, online.version);
}

#[test]
fn a_click_corrects_what_its_impression_taught() {
    let at = |second: i64| Timestamp::from_seconds(second);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let rows = prediction(1, at(1), &mut Dice(3));
    let row = ServedRows::decode(Record::decode(&rows).expect("a record").0.payload).expect("rows");
    let log = one_partition(vec![
        (rows, None),
        (event(Kind::Impression, 1, 0, at(2)), Some(Verdict::Counted)),
        (event(Kind::Click, 1, 0, at(3)), Some(Verdict::Counted)),
    ]);
    let mut learner = open(&disk, &log);
    let mut logits = Vec::new();
    for (number, offset) in (1..).zip(0..3) {
        give(&mut learner, &log, number, &only(offset..offset + 1));
        let weights = learner.models().online().weights.clone();
        let inputs = [&row.shared[..], &row.candidates[0].features].concat();
        logits.push(weights.bias() + weights.partial(&inputs).logit);
    }
    assert!(logits[1] < logits[0], "shown and not clicked: {logits:?}");
    assert!(logits[2] > logits[0], "clicked after all: {logits:?}");
}

#[test]
fn rows_without_room_are_let_go_and_told() {
    let log = log_of(4, 200, 60_000);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let options = Options { pending_bytes_max: 4_096, ..options() };
    let (mut learner, _) =
        Learner::open(disk, Path::new(DIR), options, recall(&log)).expect("it opens");
    for (number, bounds) in (1..).zip(epochs_of(&log, 1)) {
        give(&mut learner, &log, number, &bounds);
    }
    let report = learner.models().report();
    assert!(report.dropped_rows > 0 && report.orphans > 0, "{report:?}");
    assert!(report.pending_rows < 30, "{}", report.pending_rows);
}
