//! The power goes in the middle of a sync, of any sync, and again while the log is being recovered.
//!
//! Sectors, lengths and names that were not synced are kept or lost one by one. Whatever the disk
//! keeps, the next open must find everything that was acknowledged, in order, must call nothing
//! damaged, and must go on from there.
#![expect(clippy::print_stdout, reason = "tests say how much they compared")]

use reckon_disk::SimDisk;
use reckon_eventlog::{Options, verify};

mod history;
use history::{DIR, Fate, History, open, small};

/// Appends in groups of several sizes to all lanes, waiting after each group.
fn work(log: &reckon_eventlog::DiskLog, history: &mut History, lanes: u16) {
    for group in 0..8_u32 {
        for append in 0..=group % 3 {
            history.append(log, (append + group) as u16 % lanes, 1 + (group * 5 + append) % 7);
        }
        history.settle();
    }
}

/// Recovers a copy of `disk` after a cut with `seed`; returns the records compared.
fn recover(disk: &SimDisk, history: &History, options: &Options, seed: u64) -> u64 {
    let (disk, mut history) = (disk.fork(), history.fork());
    disk.crash(seed);
    let report = verify(&disk, DIR.as_ref());
    let report = report.expect("readable");
    // A cut before the manifest was durable leaves nothing, which verify says.
    assert!(report.is_sound() || report.lanes == 0, "{report:?}");
    let mut compared = 0;
    for incarnation in 10..13 {
        let (log, _) = open(&disk, options, incarnation).expect("opens");
        compared += history.check(&log);
        history.append(&log, 0, 3);
        history.append(&log, options.lanes - 1, 2);
        assert_eq!(history.settle(), 2);
        compared += history.check(&log);
        drop(log);
        disk.crash(seed + u64::from(incarnation));
    }
    assert!(verify(&disk, DIR.as_ref()).expect("readable").is_sound());
    compared
}

fn cut_at_every_sync(options: &Options, seeds: u64) -> (u64, u64, u64) {
    let (mut compared, mut cuts, mut unknown) = (0, 0, 0);
    for nth in 1.. {
        let disk = SimDisk::new(nth);
        let mut history = History::new(options.lanes);
        disk.cut_power_at_sync(nth);
        if let Ok((log, _)) = open(&disk, options, 1) {
            work(&log, &mut history, options.lanes);
        }
        if disk.has_power() {
            break;
        }
        cuts += 1;
        unknown += history.count(Fate::Unknown) as u64;
        for seed in 0..seeds {
            compared += recover(&disk, &history, options, nth * 1_000 + seed);
        }
    }
    (compared, cuts, unknown)
}

#[test]
fn at_every_sync_of_one_lane() {
    let (compared, cuts, unknown) = cut_at_every_sync(&small(1), 24);
    println!("{cuts} cuts, {unknown} records unknown, {compared} records compared");
    assert!(cuts > 20 && unknown > 10 && compared > 50_000, "{cuts} {unknown} {compared}");
}

#[test]
fn at_every_sync_of_two_lanes() {
    let (compared, cuts, _) = cut_at_every_sync(&small(2), 12);
    println!("{cuts} cuts, {compared} records compared");
    assert!(cuts > 25 && compared > 20_000, "{cuts} {compared}");
}

#[test]
fn at_every_sync_with_zeros_written_ahead() {
    let options = Options { preallocate_bytes: 16 * 1_024, segment_bytes: 60_000, ..small(1) };
    let (compared, cuts, _) = cut_at_every_sync(&options, 12);
    println!("{cuts} cuts, {compared} records compared");
    assert!(cuts > 10 && compared > 10_000, "{cuts} {compared}");
}

#[test]
fn at_every_sync_of_the_recovery_itself() {
    let options = small(2);
    let (mut compared, mut cuts) = (0, 0);
    for first in (2..40).step_by(3) {
        let disk = SimDisk::new(first);
        let mut history = History::new(2);
        disk.cut_power_at_sync(first);
        if let Ok((log, _)) = open(&disk, &options, 1) {
            work(&log, &mut history, 2);
        }
        for second in 1.. {
            let (disk, history) = (disk.fork(), history.fork());
            disk.crash(first * 31 + second);
            disk.cut_power_at_sync(second);
            let opened = open(&disk, &options, 2).map(|(log, _)| {
                // Dropped at once: closing syncs as well.
                drop(log);
            });
            if disk.has_power() {
                opened.expect("opens where the power stays");
                break;
            }
            cuts += 1;
            for seed in 0..8 {
                compared += recover(&disk, &history, &options, second * 77 + seed);
            }
        }
    }
    println!("{cuts} cuts in recovery, {compared} records compared");
    assert!(cuts > 20 && compared > 20_000, "{cuts} {compared}");
}

#[test]
fn while_segments_are_being_retired() {
    let options = small(1);
    let (mut compared, mut cuts) = (0, 0);
    for nth in 1.. {
        let disk = SimDisk::new(nth);
        let mut history = History::new(1);
        let (log, _) = open(&disk, &options, 1).expect("opens");
        for _ in 0..20 {
            history.append(&log, 0, 5);
            history.settle();
        }
        let expected = history.acknowledged(0);
        disk.cut_power_at_sync(nth);
        let retired = reckon_eventlog::EventLog::retire(&log, 0, 60);
        let done = disk.has_power();
        drop(log);
        for seed in 0..16 {
            let disk = disk.fork();
            disk.crash(seed);
            let (log, _) = open(&disk, &options, 2).expect("opens");
            let start = reckon_eventlog::EventLog::range(&log, 0).start;
            assert!(start <= 60);
            if let Ok(promised) = retired {
                assert_eq!(start, promised);
            }
            let kept = history::read_labels(&log, 0).expect("readable");
            assert_eq!(kept, expected[start as usize..]);
            compared += kept.len();
        }
        if done {
            break;
        }
        cuts += 1;
    }
    println!("{cuts} cuts, {compared} records compared");
    assert!(cuts >= 3 && compared > 1_000, "{cuts} {compared}");
}
