//! The disk fills up, at every possible byte, and later has room again.
//!
//! An append that does not fit is refused as such and has certainly left nothing; the lane stays
//! open, reads go on, and appends are taken as soon as there is room.
#![expect(clippy::print_stdout, reason = "tests say how much they compared")]

use reckon_disk::SimDisk;
use reckon_eventlog::{EventLog, LaneHealth, Options, Outcome, Refusal, verify};

mod history;
use history::{DIR, Fate, History, open, read_labels, small};

fn fill(options: &Options, step: usize) -> (u64, u64) {
    let (mut compared, mut refused) = (0, 0);
    for room in (0..12_000).step_by(step) {
        let disk = SimDisk::new(room);
        let mut history = History::new(1);
        let (log, _) = open(&disk, options, 1).expect("opens");
        history.append(&log, 0, 4);
        assert_eq!(history.settle(), 1);
        disk.set_capacity(Some(disk.used_bytes() + room));
        for group in 0..40 {
            history.append(&log, 0, 1 + group % 6);
            history.settle();
        }
        assert_eq!(history.count(Fate::Unknown), 0);
        assert_eq!(log.health(), [LaneHealth::Writable]);
        refused += history.count(Fate::Refused) as u64;
        compared += history.check(&log);
        {
            let (disk, mut history) = (disk.fork(), history.fork());
            disk.crash(room);
            disk.set_capacity(None);
            let (log, _) = open(&disk, options, 2).expect("opens");
            compared += history.check(&log);
        }
        disk.set_capacity(None);
        history.append(&log, 0, 3);
        assert_eq!(history.settle(), 1, "taken as soon as there is room");
        compared += history.check(&log);
        drop(log);
        assert!(verify(&disk, DIR.as_ref()).expect("readable").is_sound());
    }
    (compared, refused)
}

#[test]
fn at_every_length() {
    let (compared, refused) = fill(&small(1), 97);
    println!("{refused} records refused, {compared} compared");
    assert!(refused > 1_000 && compared > 5_000, "{refused} {compared}");
}

#[test]
fn with_zeros_written_ahead() {
    let (compared, refused) = fill(&Options { preallocate_bytes: 16_384, ..small(1) }, 211);
    println!("{refused} records refused, {compared} compared");
    assert!(refused > 400 && compared > 2_000, "{refused} {compared}");
}

#[test]
fn an_open_on_a_full_disk_still_reads() {
    let disk = SimDisk::new(1);
    let mut history = History::new(1);
    let (log, _) = open(&disk, &small(1), 1).expect("opens");
    history.append(&log, 0, 30);
    history.settle();
    drop(log);
    disk.set_capacity(Some(disk.used_bytes()));
    let (log, _) = open(&disk, &small(1), 2).expect("opens");
    assert_eq!(read_labels(&log, 0).expect("readable"), history.acknowledged(0));
    let click = reckon_eventlog::conformance::record(0, "one more");
    assert_eq!(log.append(0, &click, 1).wait(), Outcome::NotWritten(Refusal::Full));
}
