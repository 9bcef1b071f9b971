//! One bit rots, at any byte of any file of a log; or a file is cut short, at any byte.
//!
//! A reader must never get anything but a prefix of what was acknowledged, and whatever is missing
//! must be reported with its place: by the open, by the read or by the offline check. There is one
//! exception, which no log on one disk can avoid: while the last commit has no seal behind it (some
//! milliseconds), damage to it looks like the commit that was in flight when the power went.
#![expect(clippy::print_stdout, reason = "tests say how much they compared")]

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use reckon_disk::{Disk, Open, SECTOR_BYTES, SimDisk};
use reckon_eventlog::{Error, Options, verify};

mod history;
use history::{DIR, History, open, read_labels, small};

/// How the log was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Closed,
    Sealed,
    Unsealed,
}

/// A log of three segments, and what it holds. The last commit is two records.
fn make(left: Left) -> (SimDisk, Vec<String>) {
    let disk = SimDisk::new(1);
    let mut history = History::new(1);
    let hour = Duration::from_secs(3_600);
    let options = Options { segment_bytes: 2_600, seal_delay: hour, ..small(1) };
    let (log, _) = open(&disk, &options, 1).expect("opens");
    for count in [3, 4, 5, 4, 3, 6, 2] {
        history.append(&log, 0, count);
        assert_eq!(history.settle(), 1);
    }
    let kept = match left {
        Left::Closed => {
            drop(log);
            disk
        }
        Left::Unsealed => disk.fork(),
        Left::Sealed => seal(log, &disk, &mut history),
    };
    (kept, history.acknowledged(0))
}

/// Closes, opens with a short seal delay, appends, and takes a copy once the seal is there.
fn seal(log: reckon_eventlog::DiskLog, disk: &SimDisk, history: &mut History) -> SimDisk {
    drop(log);
    let (log, _) = open(disk, &small(1), 2).expect("opens");
    history.append(&log, 0, 2);
    history.settle();
    // A head, a block of one sector, and the seal.
    let newest = segments(disk).pop().expect("there are segments");
    for _ in 0..20_000 {
        if file_len(disk, &newest) == 3 * SECTOR_BYTES as u64 {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(file_len(disk, &newest), 3 * SECTOR_BYTES as u64, "no seal was written");
    disk.fork()
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let files = disk.list(&Path::new(DIR).join("lane-0000")).expect("listed");
    files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "log")).collect()
}

fn file_len(disk: &SimDisk, path: &Path) -> u64 {
    disk.open(path, Open::Read).and_then(|file| file.len()).expect("a file that is there")
}

/// What came of opening and reading a damaged log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Everything is there.
    All,
    /// The damage was named by the open or the read.
    Reported,
    /// Less is there and nobody noticed.
    Less(usize),
}

/// The engine's answer, and the offline check's.
fn look(disk: &SimDisk, expected: &[String]) -> (Seen, bool) {
    let sound = verify(disk, DIR.as_ref()).expect("readable").is_sound();
    let seen = match open(disk, &small(1), 9) {
        Err(Error::Damaged { .. }) => Seen::Reported,
        Err(other) => panic!("not a report of damage: {other}"),
        Ok((log, _)) => match read_labels(&log, 0) {
            Err(reckon_eventlog::ReadError::Damaged { .. }) => Seen::Reported,
            Err(other) => panic!("not a report of damage: {other}"),
            Ok(labels) => {
                assert_eq!(labels, expected[..labels.len()], "never anything but a prefix");
                if labels.len() == expected.len() { Seen::All } else { Seen::Less(labels.len()) }
            }
        },
    };
    (seen, sound)
}

fn flip_everywhere(left: Left) {
    let (disk, expected) = make(left);
    let files = segments(&disk);
    let bounds = Path::new(DIR).join("lane-0000/bounds");
    let manifest = Path::new(DIR).join("manifest");
    let last = files.last().expect("there are segments").clone();
    let (mut flips, mut reported, mut unnoticed) = (0, 0, 0);
    for path in files.iter().chain([&bounds, &manifest]) {
        let len = file_len(&disk, path);
        for byte in 0..len {
            let disk = disk.fork();
            disk.flip(path, byte, (byte % 8) as u8);
            let (seen, sound) = look(&disk, &expected);
            let place = format!("{left:?} {} byte {byte} of {len}: {seen:?}", path.display());
            flips += 1;
            reported += u32::from(seen == Seen::Reported);
            // Without a footer or seal behind it, the last frame may be taken for a torn one.
            let last_frame = *path == last && byte >= last_frame_begins(len);
            if last_frame {
                unnoticed += u32::from(seen != Seen::Reported);
                let at_least = expected.len() - if left == Left::Unsealed { 2 } else { 0 };
                assert!(!matches!(seen, Seen::Less(n) if n < at_least), "{place}");
            } else {
                assert!(seen == Seen::Reported || !sound, "{place}");
                assert!(!matches!(seen, Seen::Less(_)), "{place}");
            }
        }
    }
    println!(
        "{left:?}: {flips} flips, {reported} reported by the log, {unnoticed} in the last frame not"
    );
    assert!(flips > 7_000 && reported > flips / 2, "{flips} {reported}");
    assert!(unnoticed <= SECTOR_BYTES as u32, "{unnoticed}");
}

/// The footer and the seal hold no records; a block of two records is one sector as well.
const fn last_frame_begins(len: u64) -> u64 {
    len - SECTOR_BYTES as u64
}

#[test]
fn a_bit_of_a_closed_log() {
    flip_everywhere(Left::Closed);
}

#[test]
fn a_bit_of_a_log_that_was_idle() {
    flip_everywhere(Left::Sealed);
}

#[test]
fn a_bit_of_a_log_that_was_busy() {
    flip_everywhere(Left::Unsealed);
}

fn cut_everywhere(left: Left) {
    let (disk, expected) = make(left);
    let files = segments(&disk);
    let (mut cuts, mut reported, mut shorter) = (0, 0, 0);
    for (at, path) in files.iter().enumerate() {
        let is_last = at + 1 == files.len();
        let len = file_len(&disk, path);
        for to in 0..len {
            let disk = disk.fork();
            disk.cut_file(path, to);
            let (seen, sound) = look(&disk, &expected);
            let place = format!("{left:?} {} cut to {to} of {len}: {seen:?}", path.display());
            cuts += 1;
            reported += u32::from(seen == Seen::Reported);
            if !is_last {
                assert!(seen == Seen::Reported || !sound, "{place}");
                assert!(!matches!(seen, Seen::Less(_)), "{place}");
            } else if left == Left::Closed {
                // The bounds know how far it had come.
                assert!(!matches!(seen, Seen::Less(_)), "{place}");
            } else {
                // No more than the segment that was being written can be missing.
                let base = first_offset(path);
                assert!(!matches!(seen, Seen::Less(n) if n < base), "{place}");
                shorter += u32::from(matches!(seen, Seen::Less(_)));
            }
        }
    }
    println!("{left:?}: {cuts} cuts, {reported} reported, {shorter} taken for a power cut");
    assert!(cuts > 7_000 && reported > cuts / 2, "{cuts} {reported}");
    assert_eq!(shorter > 0, left != Left::Closed);
}

fn first_offset(segment: &Path) -> usize {
    let stem = segment.file_stem().and_then(|stem| stem.to_str()).expect("a segment's name");
    stem.parse().expect("an offset")
}

#[test]
fn a_closed_log_cut_short() {
    cut_everywhere(Left::Closed);
}

#[test]
fn an_open_log_cut_short() {
    cut_everywhere(Left::Unsealed);
}

#[test]
fn a_file_that_is_missing() {
    let (disk, expected) = make(Left::Closed);
    let mut missing = segments(&disk);
    assert!(missing.len() >= 3);
    missing.push(Path::new(DIR).join("manifest"));
    for path in missing {
        let disk = disk.fork();
        disk.remove(&path).expect("removed");
        let (seen, sound) = look(&disk, &expected);
        assert_eq!((seen, sound), (Seen::Reported, false), "{}", path.display());
    }
}
