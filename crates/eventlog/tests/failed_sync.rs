//! A sync fails. The bytes it should have written look written and are not, and a second sync of the
//! same file would report success (as Linux does).
//!
//! So the handle is given up: the lane cuts off what failed, ends the segment through a fresh handle
//! and goes on with a new generation. Until then appends are refused and reads go on. Nothing that was
//! acknowledged is lost by a power cut right after, nothing that was refused comes back.
#![expect(clippy::print_stdout, reason = "tests say how much they compared")]

use std::thread;
use std::time::Duration;

use reckon_disk::SimDisk;
use reckon_eventlog::{DiskLog, EventLog, LaneHealth, verify};

mod history;
use history::{DIR, Fate, History, open, small};

/// Appends until the lane takes it again, which it must by itself.
fn append_until_taken(log: &DiskLog, history: &mut History, lane: u16) {
    for _ in 0..20_000 {
        history.append(log, lane, 2);
        if history.settle() == 1 {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("the lane did not come back: {:?}", log.health());
}

#[test]
fn any_one_sync_or_write() {
    let options = small(2);
    let (mut compared, mut failures, mut refused) = (0, 0, 0);
    for nth in 1..=80 {
        let disk = SimDisk::new(nth);
        let mut history = History::new(2);
        let (log, _) = open(&disk, &options, 1).expect("opens");
        if nth % 2 == 0 {
            disk.fail_sync(nth / 2)
        } else {
            disk.fail_write(nth.div_ceil(2))
        }
        for group in 0..12_u32 {
            history.append(&log, group as u16 % 2, 1 + group % 5);
            history.append(&log, 0, 2);
            failures += usize::from(history.settle() < 2);
            compared += history.check(&log);
        }
        append_until_taken(&log, &mut history, 0);
        append_until_taken(&log, &mut history, 1);
        refused += history.count(Fate::Refused);
        for seed in 0..6 {
            let (disk, mut history) = (disk.fork(), history.fork());
            disk.crash(seed);
            let report = verify(&disk, DIR.as_ref()).expect("readable");
            assert!(report.is_sound(), "{report:?}");
            let (log, _) = open(&disk, &options, 2).expect("opens");
            compared += history.check(&log);
        }
    }
    println!("{failures} groups failed, {refused} records refused, {compared} compared");
    assert!(failures > 20 && refused > 40 && compared > 10_000, "{failures} {refused}");
}

#[test]
fn every_sync_for_a_while() {
    let options = small(1);
    let disk = SimDisk::new(3);
    let mut history = History::new(1);
    let (log, _) = open(&disk, &options, 1).expect("opens");
    history.append(&log, 0, 9);
    assert_eq!(history.settle(), 1);
    disk.fail_all_syncs(true);
    history.append(&log, 0, 3);
    assert_eq!(history.settle(), 0);
    assert_eq!(history.count(Fate::Unknown), 3, "nobody can say while it cannot be repaired");
    history.append(&log, 0, 3);
    assert_eq!(history.settle(), 0);
    assert_eq!(history.count(Fate::Refused), 3, "a fenced lane refuses at once");
    assert!(matches!(log.health()[0], LaneHealth::Fenced(_)), "{:?}", log.health());
    assert_eq!(log.range(0), 0..9);
    assert_eq!(history::read_labels(&log, 0).expect("readable").len(), 9, "reads go on");
    disk.fail_all_syncs(false);
    append_until_taken(&log, &mut history, 0);
    assert_eq!(log.health(), [LaneHealth::Writable]);
    let compared = history.check(&log);
    drop(log);
    disk.crash(0);
    let (log, _) = open(&disk, &options, 2).expect("opens");
    assert_eq!(history.check(&log), compared);
    assert_eq!(compared, 11);
}

#[test]
fn a_new_generation_has_new_ids() {
    let options = small(1);
    let disk = SimDisk::new(4);
    let (log, _) = open(&disk, &options, 7).expect("opens");
    let click = reckon_eventlog::conformance::record(0, "a");
    let first = log.append(0, &click, 1);
    assert!(matches!(first.wait(), reckon_eventlog::Outcome::Durable(_)));
    disk.fail_sync(1);
    // The failed one may be a seal: what counts is that the generation changes.
    for _ in 0..20_000 {
        let next = log.append(0, &click, 1);
        let taken = matches!(next.wait(), reckon_eventlog::Outcome::Durable(_));
        if taken && next.first.appender != first.first.appender {
            assert_eq!(next.first.appender >> 32, 7);
            assert!(next.first.appender > first.first.appender);
            assert_eq!(first.first.sequence, 1);
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("no new generation");
}

#[test]
fn the_process_dies_and_the_cache_still_shows_what_never_arrived() {
    // No power cut at first: the next process reads the pages that the failed sync left behind, and
    // must not take them for durable. The power goes after it has opened the log.
    let options = small(1);
    let mut compared = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let mut history = History::new(1);
        let (log, _) = open(&disk, &options, 1).expect("opens");
        history.append(&log, 0, 5);
        history.settle();
        disk.fail_all_syncs(true);
        history.append(&log, 0, 5);
        history.settle();
        let disk = disk.fork();
        drop(log);
        disk.fail_all_syncs(false);
        let (log, _) = open(&disk, &options, 2).expect("opens");
        compared += history.check(&log);
        let seen = log.range(0);
        let disk = disk.fork();
        drop(log);
        disk.crash(seed);
        let (log, _) = open(&disk, &options, 3).expect("opens");
        assert_eq!(log.range(0), seen, "what a reader may have seen stays");
        compared += history.check(&log);
    }
    println!("{compared} records compared");
    assert!(compared >= 400);
}

/// The first open fails, and the next one finds what only the page cache has: it must not be built on.
#[test]
fn a_log_whose_making_failed_is_there_after_a_power_cut() {
    let options = small(2);
    let (mut compared, mut failures) = (0, 0);
    for (nth, seed) in (1..=6).flat_map(|nth| (0..8).map(move |seed| (nth, seed))) {
        let disk = SimDisk::new(seed);
        disk.fail_sync(nth);
        let first = open(&disk, &options, 1).map(drop);
        failures += u64::from(first.is_err());
        let again = open(&disk, &options, 2).or_else(|_| open(&disk, &options, 3));
        let (log, _) = again.expect("a sync fails once");
        let mut history = History::new(2);
        append_until_taken(&log, &mut history, 0);
        append_until_taken(&log, &mut history, 1);
        disk.cut_power();
        drop(log);
        disk.crash(seed);
        let (log, _) = open(&disk, &options, 4).expect("what was acknowledged keeps its log");
        compared += history.check(&log);
    }
    println!("{failures} opens failed, {compared} records compared");
    assert!(failures > 8 && compared > 100, "{failures} {compared}");
}
