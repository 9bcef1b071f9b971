//! The last commit is half there: cut short, followed by zeros, or followed by old bytes.
//!
//! Nobody was told that it is durable, so it is cut off at the next open, and the open says where.
//! Zeros written ahead are not torn at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reckon_disk::{Disk, Open, SECTOR_BYTES, SimDisk};
use reckon_eventlog::{EventLog, Options};

mod history;
use history::{DIR, History, open, read_labels, small};

const SECTOR: u64 = SECTOR_BYTES as u64;

/// A log with one commit of nine records, as a crash would leave it, and its segment.
fn crashed(preallocate_bytes: u64) -> (SimDisk, Vec<String>, PathBuf) {
    let disk = SimDisk::new(5);
    let mut history = History::new(1);
    let seal_delay = Duration::from_secs(3_600);
    let options = Options { seal_delay, preallocate_bytes, segment_bytes: 60_000, ..small(1) };
    let (log, _) = open(&disk, &options, 1).expect("opens");
    history.append(&log, 0, 9);
    assert_eq!(history.settle(), 1);
    let segment = Path::new(DIR).join("lane-0000/00000000000000000000.log");
    (disk.fork(), history.acknowledged(0), segment)
}

fn write(disk: &SimDisk, path: &Path, at: u64, bytes: &[u8]) {
    let file = disk.open(path, Open::Write).expect("it is there");
    file.write_at(bytes, at).expect("written");
    file.sync().expect("synced");
}

fn len(disk: &SimDisk, path: &Path) -> u64 {
    disk.open(path, Open::Read).and_then(|file| file.len()).expect("it is there")
}

/// Opens, compares, appends, opens again; returns where the first open found a torn tail.
fn check(disk: &SimDisk, expected: &[String]) -> Option<String> {
    let (log, recovery) = open(disk, &small(1), 8).expect("opens");
    assert!(recovery.lanes[0].crashed);
    assert_eq!(read_labels(&log, 0).expect("readable"), expected);
    let mut more = History::new(1);
    more.append(&log, 0, 2);
    assert_eq!(more.settle(), 1);
    drop(log);
    let (log, again) = open(disk, &small(1), 9).expect("opens");
    assert!(!again.lanes[0].crashed && again.lanes[0].torn.is_none());
    let labels = read_labels(&log, 0).expect("readable");
    assert_eq!(labels[..expected.len()], *expected);
    assert_eq!(labels[expected.len()..], more.acknowledged(0));
    recovery.lanes[0].torn.clone()
}

#[test]
fn zeros_behind_the_last_commit() {
    let (disk, expected, segment) = crashed(0);
    let end = len(&disk, &segment);
    for zeros in [1, SECTOR, SECTOR + 1, 100_000] {
        let disk = disk.fork();
        write(&disk, &segment, end, &vec![0; zeros as usize]);
        assert_eq!(check(&disk, &expected), None);
    }
}

#[test]
fn zeros_written_ahead() {
    let (disk, expected, segment) = crashed(64 * 1_024);
    assert!(len(&disk, &segment) > 64 * 1_024);
    assert_eq!(check(&disk, &expected), None);
}

#[test]
fn any_other_bytes_behind_the_last_commit() {
    let (disk, expected, segment) = crashed(0);
    let end = len(&disk, &segment);
    for garbage in [1, SECTOR - 1, SECTOR, 7 * SECTOR + 3] {
        let disk = disk.fork();
        write(&disk, &segment, end, &vec![0xA7; garbage as usize]);
        let place = check(&disk, &expected).expect("reported");
        assert!(place.ends_with(&format!("byte {end}")), "{place}");
    }
}

#[test]
fn the_last_commit_cut_at_every_byte() {
    let (disk, expected, segment) = crashed(0);
    let end = len(&disk, &segment);
    let mut compared = 0;
    for to in SECTOR..end {
        let disk = disk.fork();
        disk.cut_file(&segment, to);
        let (log, recovery) = open(&disk, &small(1), 2).expect("opens");
        let labels = read_labels(&log, 0).expect("readable");
        assert!(labels.is_empty(), "a commit of one block is there whole or not at all");
        assert!(recovery.lanes[0].crashed);
        compared += expected.len();
    }
    assert!(compared > 9_000, "{compared}");
}

#[test]
fn a_segment_that_was_just_being_begun() {
    let (disk, expected, segment) = crashed(0);
    let (log, _) = open(&disk, &small(1), 2).expect("opens");
    drop(log);
    let next = segment.with_file_name(format!("{:020}.log", expected.len()));
    for bytes in [&[][..], &[0; 512], &[0xEE; 300], &[0; 5_000]] {
        let disk = disk.fork();
        disk.open(&next, Open::Create).expect("made");
        write(&disk, &next, 0, bytes);
        let place = check(&disk, &expected).expect("reported");
        assert!(place.contains(&format!("{:020}", expected.len())), "{place}");
    }
}

#[test]
fn a_commit_of_several_blocks_keeps_what_arrived_whole() {
    let disk = SimDisk::new(6);
    let (log, _) = open(&disk, &Options { segment_bytes: 1 << 30, ..small(1) }, 1).expect("opens");
    // Six thousand records of some 200 bytes are five blocks.
    let mut history = History::new(1);
    history.append(&log, 0, 6_000);
    assert_eq!(history.settle(), 1);
    let expected = history.acknowledged(0);
    assert_eq!(read_labels(&log, 0).expect("readable"), expected);
    drop(log);
    let segment = Path::new(DIR).join("lane-0000/00000000000000000000.log");
    let end = len(&disk, &segment);
    assert!(end > 3 * 256 * 1_024);
    disk.remove(&Path::new(DIR).join("lane-0000/bounds")).expect("removed");
    let mut lengths = Vec::new();
    for to in (SECTOR..end - SECTOR).step_by(50_001) {
        let disk = disk.fork();
        disk.cut_file(&segment, to);
        let (log, _) = open(&disk, &small(1), 2).expect("opens");
        let labels = read_labels(&log, 0).expect("readable");
        assert_eq!(labels, expected[..labels.len()]);
        assert_eq!(log.range(0).end as usize, labels.len());
        lengths.push(labels.len());
    }
    lengths.dedup();
    assert!(lengths.is_sorted() && lengths.len() >= 4, "{lengths:?}");
}
