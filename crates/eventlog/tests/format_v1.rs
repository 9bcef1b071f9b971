//! A log that a build of format version 1 has written must be readable for ever.
//!
//! The fixture was written once by [`write_fixture`] and is never written again: where this test
//! fails, the code is wrong, not the files. It holds two lanes, finished segments, a seal, and an
//! unfinished end, as a power cut left them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use reckon_disk::{Disk, Open, RealDisk, SimDisk, TempDir, read_all};
use reckon_eventlog::{DiskLog, EventLog, Options, verify};

mod history;
use history::{History, open, read_labels, small};

const FILES: [&str; 7] = [
    "manifest",
    "lane-0000/bounds",
    "lane-0000/00000000000000000000.log",
    "lane-0000/00000000000000000011.log",
    "lane-0000/00000000000000000015.log",
    "lane-0001/bounds",
    "lane-0001/00000000000000000000.log",
];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// The same history on a simulated disk: lane 0 with finished segments and a last one that has a
/// seal and no footer, lane 1 closed.
fn write_fixture() -> SimDisk {
    let disk = SimDisk::new(0);
    let mut history = History::new(2);
    let seal_delay = Duration::from_secs(3_600);
    let options = Options { segment_bytes: 3_000, seal_delay, ..small(2) };
    let (log, _) = open(&disk, &options, 1).expect("opens");
    for (lane, count) in [(0, 6), (0, 5), (1, 3), (0, 4)] {
        history.append(&log, lane, count);
        assert_eq!(history.settle(), 1);
    }
    drop(log);
    let (log, _) = open(&disk, &small(2), 2).expect("opens");
    history.append(&log, 0, 2);
    assert_eq!(history.settle(), 1);
    let newest = Path::new(history::DIR).join("lane-0000/00000000000000000015.log");
    let newest = disk.open(&newest, Open::Read).expect("it was begun");
    for _ in 0..20_000 {
        // A head, a block of one sector, and the seal.
        if newest.len().expect("readable") == 3 * 512 {
            return disk.fork();
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("no seal was written");
}

#[test]
fn the_fixture_is_sound_and_reads_as_it_was_written() {
    let dir = TempDir::new("log-v1");
    for file in FILES {
        let to = dir.path().join(file);
        fs::create_dir_all(to.parent().expect("inside the folder")).expect("made");
        fs::copy(fixture().join(file), to).expect("the fixture is committed");
    }
    let report = verify(&RealDisk, dir.path()).expect("readable");
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    assert_eq!((report.lanes, report.segments, report.records), (2, 4, 20));
    let options = Options { lanes: 2, ..Options::default() };
    let (log, recovery) = DiskLog::open(Arc::new(RealDisk), dir.path(), options, 3).expect("opens");
    assert!(recovery.lanes[0].crashed && !recovery.lanes[1].crashed);
    let labels = |numbers: &[u32], lane: u16| -> Vec<String> {
        numbers.iter().map(|number| format!("{lane}-{number}")).collect()
    };
    let zero: Vec<u32> = (0..11).chain(14..20).collect();
    assert_eq!(read_labels(&log, 0).expect("readable"), labels(&zero, 0));
    assert_eq!(read_labels(&log, 1).expect("readable"), labels(&[11, 12, 13], 1));
    let chunk = log.read(0, 15, 1 << 20).expect("readable");
    let record = &chunk.bytes[chunk.entries[0].bytes.clone()];
    let (record, _) = reckon_event::Record::decode_checked(record).expect("a record");
    assert_eq!((record.id.appender, record.id.sequence), (2 << 32 | 1, 1));
}

#[test]
fn this_build_still_writes_the_same_bytes() {
    let disk = write_fixture();
    let mut compared = 0;
    for file in FILES {
        let path = Path::new(history::DIR).join(file);
        let written = read_all(&disk, &path).expect("readable").expect("written");
        if let Some(folder) = std::env::var_os("RECKON_LOG_FIXTURE_OUT") {
            let out = Path::new(&folder).join(file);
            RealDisk.create_dir_all(out.parent().expect("inside the folder")).expect("made");
            let file = RealDisk.open(&out, Open::Create).expect("never written twice");
            file.write_at(&written, 0).expect("written");
            continue;
        }
        let kept = fs::read(fixture().join(file)).expect("the fixture is committed");
        assert!(written == kept, "{file} is written differently: that is a new format version");
        compared += kept.len();
    }
    assert!(compared > 5_000 || std::env::var_os("RECKON_LOG_FIXTURE_OUT").is_some());
}
