//! The disk stalls, and appends pile up: they share one sync, are bounded, and never block.

use std::path::Path;
use std::sync::Arc;

use reckon_disk::{RealDisk, SimDisk, TempDir};
use reckon_eventlog::conformance::record;
use reckon_eventlog::{
    DiskLog, Durability, Error, EventLog, Options, Outcome, Receipt, Refusal, verify,
};

mod history;
use history::{open, read_labels, small};

const DURABLE: Outcome = Outcome::Durable(Durability::Disk);

#[test]
fn many_appends_share_one_sync() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, &Options { segment_bytes: 1 << 20, ..small(1) }, 1).expect("opens");
    assert_eq!(log.append(0, &record(0, "first"), 1).wait(), DURABLE);
    disk.pause_syncs();
    let before = disk.sync_count();
    let receipts: Vec<Receipt> =
        (0..500).map(|n| log.append(0, &record(0, &format!("{n}")), 1)).collect();
    assert!(receipts.iter().all(|receipt| receipt.outcome().is_none()), "none is durable yet");
    assert_eq!(log.range(0).end, 1);
    disk.resume_syncs();
    assert!(receipts.iter().all(|receipt| receipt.wait() == DURABLE));
    // One for whatever the committer had taken when the disk stalled, one for the rest, and a seal
    // before and behind.
    let syncs = disk.sync_count() - before;
    assert!((1..=4).contains(&syncs), "{syncs}");
    assert_eq!(read_labels(&log, 0).expect("readable").len(), 501);
}

#[test]
fn what_is_staged_is_bounded() {
    let disk = SimDisk::new(1);
    let one = record(0, "0000").len();
    let options = Options { staging_bytes_max: 10 * one, ..small(1) };
    let (log, _) = open(&disk, &options, 1).expect("opens");
    disk.pause_syncs();
    let receipts: Vec<Receipt> =
        (0..100).map(|n| log.append(0, &record(0, &format!("{n:04}")), 1)).collect();
    let overloaded = Some(Outcome::NotWritten(Refusal::Overloaded));
    let refused = receipts.iter().filter(|receipt| receipt.outcome() == overloaded).count();
    // Ten are staged, and at most ten were taken before the disk stalled.
    assert!((80..=90).contains(&refused), "{refused}");
    disk.resume_syncs();
    let taken = receipts.iter().filter(|receipt| receipt.wait() == DURABLE).count();
    assert_eq!(taken + refused, 100);
    assert_eq!(read_labels(&log, 0).expect("readable").len(), taken);
}

#[test]
fn one_append_longer_than_the_stage_is_taken() {
    let disk = SimDisk::new(1);
    let options = Options { staging_bytes_max: 1_000, ..small(1) };
    let (log, _) = open(&disk, &options, 1).expect("opens");
    let many: Vec<u8> = (0..3_000).flat_map(|n| record(0, &format!("{n}"))).collect();
    assert_eq!(log.append(0, &many, 3_000).wait(), DURABLE);
    assert_eq!(read_labels(&log, 0).expect("readable").len(), 3_000);
}

#[test]
fn closing_commits_what_is_staged_and_refuses_the_rest() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk, &small(1), 1).expect("opens");
    let receipts: Vec<Receipt> =
        (0..50).map(|n| log.append(0, &record(0, &format!("{n}")), 1)).collect();
    log.close().expect("closes");
    assert!(receipts.iter().all(|receipt| receipt.outcome() == Some(DURABLE)));
    let late = log.append(0, &record(0, "late"), 1);
    assert_eq!(late.outcome(), Some(Outcome::NotWritten(Refusal::Closed)));
    assert_eq!(read_labels(&log, 0).expect("a closed log can be read").len(), 50);
    log.close().expect("a second time is nothing");
}

#[test]
fn a_log_is_opened_once_with_its_lanes_and_a_new_incarnation() {
    let dir = TempDir::new("log-open");
    let open = |lanes, incarnation| {
        let options = Options { lanes, ..Options::default() };
        DiskLog::open(Arc::new(RealDisk), dir.path(), options, incarnation)
    };
    let (log, recovery) = open(2, 5).expect("opens");
    assert!(recovery.made);
    assert!(matches!(open(2, 6).err(), Some(Error::InUse(_))));
    assert_eq!(log.append(0, &record(0, "one"), 1).wait(), DURABLE);
    drop(log);
    let error = open(3, 6).err().expect("another number of lanes");
    assert!(matches!(error, Error::Lanes { made: 2, asked: 3, .. }));
    assert!(error.to_string().contains("log.lanes = 2"), "{error}");
    assert!(matches!(open(2, 5).err(), Some(Error::Incarnation { asked: 5, seen: 5 })));
    let (log, recovery) = open(2, 6).expect("opens");
    assert!(!recovery.made && !recovery.lanes[0].crashed);
    assert_eq!((recovery.lanes[0].end, recovery.lanes[1].end), (1, 0));
    drop(log);
    let report = verify(&RealDisk, dir.path()).expect("readable");
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    assert_eq!((report.lanes, report.records), (2, 1));
}

#[test]
fn strangers_are_found_by_the_check_and_left_alone_by_the_log() {
    let dir = TempDir::new("log-strangers");
    let open = |incarnation| {
        DiskLog::open(Arc::new(RealDisk), dir.path(), Options::default(), incarnation)
    };
    drop(open(1).expect("opens"));
    for stranger in ["notes.txt", "lane-0000/core", "lane-0009"] {
        let path: &Path = &dir.path().join(stranger);
        std::fs::write(path, "?").expect("written");
        let report = verify(&RealDisk, dir.path()).expect("readable");
        assert_eq!(report.findings.len(), 1, "{report:?}");
        drop(open(2).expect("opens all the same"));
        assert!(path.exists());
        std::fs::remove_file(path).expect("removed");
    }
}
