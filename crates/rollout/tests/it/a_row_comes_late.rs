//! Rows, impressions and clicks are read from topics of their own, each at its own pace: a label may
//! come some epochs before its row. The rows that are learned are those of one log in one order.

use std::collections::HashMap;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk};
use reckon_event::{
    Bound, Kind, Record, ServedRows, Subscriber, Timestamp, Verdict, prediction_request,
};
use reckon_rollout::Learner;

use crate::served::{
    Dice, Epochs, Log, crashes_change_nothing, decoded, epochs_of, event, give, log_of,
    one_partition, only, open, prediction,
};

/// Every label comes this long after its row at most: within the window.
const LATE_MS: u64 = 20_000;
/// The partition of rows, where each kind has its own.
const ROWS: u16 = 2;

fn partition_of(kind: Kind) -> u16 {
    match kind {
        Kind::Impression => 0,
        Kind::Click => 1,
        _ => ROWS,
    }
}

/// The same records, each kind in a partition of its own, read up to three epochs behind, rows up to
/// six.
fn apart(log: &Log, epochs: &Epochs, dice: &mut Dice) -> (Log, Epochs) {
    let mut parts = vec![Vec::new(), Vec::new(), Vec::new()];
    // By partition and offset in the one log, the end of the partition there.
    let mut ends: Vec<[u64; 3]> = vec![[0; 3]];
    for (offset, logged) in log[0].iter().enumerate() {
        let partition = partition_of(decoded(log, 0, offset as u64).kind);
        parts[usize::from(partition)].push(logged.clone());
        ends.push([0, 1, 2].map(|part: usize| parts[part].len() as u64));
    }
    let mut cut = [0; 3];
    let mut slow = Vec::new();
    for number in 1..=epochs.len() + 7 {
        let mut bounds = Vec::new();
        for partition in 0..3 {
            let behind = dice.below(if partition == ROWS { 7 } else { 4 }) as usize;
            let read = number.saturating_sub(behind).min(epochs.len());
            let end = read.checked_sub(1).map_or(0, |last| epochs[last][0].to);
            let from = cut[usize::from(partition)];
            let to = ends[end as usize][usize::from(partition)].max(from);
            bounds.push(Bound { partition, from, to });
            cut[usize::from(partition)] = to;
        }
        if bounds.iter().any(|bound| bound.from < bound.to) {
            slow.push(bounds);
        }
    }
    assert_eq!(cut, [0, 1, 2].map(|part: usize| parts[part].len() as u64), "all is read");
    (Arc::new(parts), slow)
}

/// For each label that is read before its row, the epochs of both.
fn early(log: &Log, epochs: &Epochs) -> Vec<(usize, usize)> {
    let (mut rows, mut labels) = (HashMap::new(), Vec::new());
    for (number, &Bound { partition, from, to }) in
        (1..).zip(epochs).flat_map(|(number, bounds)| bounds.iter().map(move |one| (number, one)))
    {
        for record in (from..to).map(|offset| decoded(log, partition, offset)) {
            match request_of(&record) {
                Some(request) => labels.push((request, number)),
                None => drop(rows.insert(served(&record), number)),
            }
        }
    }
    let both = labels.into_iter().map(|(request, number)| (number, rows[&request]));
    both.filter(|&(label, row)| label < row).collect()
}

fn request_of(record: &Record<'_>) -> Option<u64> {
    record.claims.map(|claims| prediction_request(claims.prediction_id))
}

fn served(record: &Record<'_>) -> u64 {
    ServedRows::decode(record.payload).expect("rows").request
}

/// What must be learned: counted impressions, and the counted clicks of those.
fn expected(log: &Log) -> (u64, u64) {
    let mut counted: HashMap<u64, [u64; 2]> = HashMap::new();
    for (bytes, verdict) in log.iter().flatten() {
        let record = Record::decode(bytes).expect("a record").0;
        if let Some(claims) = record.claims.filter(|_| *verdict == Some(Verdict::Counted)) {
            let place = usize::from(record.kind == Kind::Click);
            counted.entry(claims.prediction_id).or_default()[place] += 1;
        }
    }
    let shown = counted.values().filter(|[shown, _]| *shown > 0);
    (shown.clone().count() as u64, shown.filter(|[_, clicked]| *clicked > 0).count() as u64)
}

/// What was learned: rows, clicks, labels without a row, and by second, impressions and clicks.
type Learned = (u64, u64, u64, Vec<(Timestamp, u64, u64)>);

fn learned(log: &Log, epochs: &Epochs) -> Learned {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let mut learner = open(&disk, log);
    for (number, bounds) in (1..).zip(epochs) {
        give(&mut learner, log, number, bounds);
    }
    let (online, report) = (learner.models().online(), learner.models().report());
    let seconds = report.history.iter().map(|one| (one.from, one.impressions, one.clicks));
    (online.rows, online.clicks, report.orphans, seconds.collect())
}

#[test]
fn the_same_rows_are_learned_in_any_order_between_kinds() {
    let mut compared = 0;
    for seed in 0..12 {
        let log = log_of(seed, 200, LATE_MS);
        let epochs = epochs_of(&log, seed);
        let in_order = learned(&log, &epochs);
        let (rows, clicks) = expected(&log);
        assert_eq!((in_order.0, in_order.1, in_order.2), (rows, clicks, 0), "seed {seed}");
        let (log, epochs) = apart(&log, &epochs, &mut Dice(seed));
        assert_eq!(learned(&log, &epochs), in_order, "seed {seed}");
        assert_eq!(learned(&log, &epochs), learned(&log, &epochs));
        compared += early(&log, &epochs).len();
    }
    println!("{compared} labels came before their row");
    assert!(compared > 1_000);
}

#[test]
fn a_crash_while_labels_wait_changes_nothing() {
    let (mut crashes, mut while_waiting) = (0, 0);
    for seed in 0..12 {
        let log = log_of(seed, 300, LATE_MS);
        let (log, epochs) = apart(&log, &epochs_of(&log, seed), &mut Dice(seed));
        let early = early(&log, &epochs);
        crashes += crashes_change_nothing(seed, &log, &epochs, |epoch| {
            while_waiting += early.iter().filter(|one| (one.0..one.1).contains(&epoch)).count();
        });
    }
    println!("{crashes} crashes; {while_waiting} labels were waiting in what was begun from");
    assert!(while_waiting > 100);
}

#[test]
fn within_an_epoch_rows_come_first() {
    let log = log_of(3, 20, LATE_MS);
    let (log, _) = apart(&log, &epochs_of(&log, 3), &mut Dice(3));
    let end = |partition: u16| log[usize::from(partition)].len() as u64;
    let whole = [0, 1, ROWS].map(|partition| Bound { partition, from: 0, to: end(partition) });
    let (rows, clicks, orphans, _) = learned(&log, &vec![whole.to_vec()]);
    assert_eq!(((rows, clicks), orphans), (expected(&log), 0));
}

/// Rows, clicks and orphans.
fn told(learner: &Learner) -> (u64, u64, u64) {
    let (online, report) = (learner.models().online(), learner.models().report());
    (online.rows, online.clicks, report.orphans)
}

#[test]
fn a_label_whose_row_does_not_come_is_let_go_of() {
    let at = |second: i64| Timestamp::from_seconds(second);
    let mut dice = Dice(1);
    let counted = |bytes| (bytes, Some(Verdict::Counted));
    let log = one_partition(vec![
        counted(event(Kind::Impression, 9, 0, at(8))),
        counted(event(Kind::Click, 9, 0, at(9))),
        counted(event(Kind::Impression, 8, 0, at(10))),
        (prediction(1, at(48), &mut dice), None),
        (prediction(2, at(49), &mut dice), None),
        // One that is as late as may be, and one that is too late.
        (prediction(8, at(50), &mut dice), None),
        (prediction(9, at(50), &mut dice), None),
        (prediction(3, at(200), &mut dice), None),
    ]);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let mut learner = open(&disk, &log);
    let (none, shown) = ((0, 0), (1, 0));
    let cases = [(0..3, none, 0), (3..4, none, 0), (4..5, none, 1), (5..6, shown, 2)];
    for (number, (range, (rows, clicks), orphans)) in (1..).zip(cases) {
        give(&mut learner, &log, number, &only(range));
        assert_eq!(told(&learner), (rows, clicks, orphans), "epoch {number}");
    }
    give(&mut learner, &log, 5, &only(6..8));
    assert_eq!(told(&learner), (1, 0, 2));
    learner.persist().expect("durable");
}
