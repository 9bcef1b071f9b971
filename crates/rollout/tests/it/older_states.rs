//! States that earlier versions have written are gone on from, not begun anew.

use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk, write_whole};
use reckon_event::{Kind, Subscriber, Timestamp, Verdict};

use crate::served::{DIR, Dice, Log, event, give, one_partition, only, open, prediction};

/// The state after the first six records of [`log`], as version 1 has written it.
const VERSION_1: &[u8] = include_bytes!("../fixtures/v1/learner-00000000000000000001");

fn log() -> Log {
    let at = |second: i64| Timestamp::from_seconds(second);
    let mut dice = Dice(1);
    let counted = |bytes| (bytes, Some(Verdict::Counted));
    one_partition(vec![
        (prediction(1, at(1), &mut dice), None),
        counted(event(Kind::Impression, 1, 0, at(2))),
        counted(event(Kind::Click, 1, 0, at(3))),
        (prediction(2, at(4), &mut dice), None),
        counted(event(Kind::Click, 2, 1, at(5))),
        counted(event(Kind::Impression, 2, 0, at(6))),
        // The rest is new to the state: the impression of a click that had come first, and the click
        // of an impression.
        counted(event(Kind::Impression, 2, 1, at(7))),
        counted(event(Kind::Click, 2, 0, at(8))),
    ])
}

#[test]
fn the_first_version_is_read() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    disk.create_dir_all(Path::new(DIR)).expect("made");
    let path = Path::new(DIR).join(format!("learner-{:020}", 1));
    write_whole(&*disk, &path, VERSION_1).expect("written");
    let mut learner = open(&disk, &log());
    assert_eq!(learner.persisted(), Some(1));
    let online = learner.models().online();
    assert_eq!((online.rows, online.clicks), (2, 1));

    give(&mut learner, &log(), 2, &only(6..8));
    let (online, report) = (learner.models().online(), learner.models().report());
    assert_eq!((online.rows, online.clicks, report.orphans), (3, 3, 0));
    learner.persist().expect("durable");
    let learner = open(&disk, &log());
    assert_eq!(learner.persisted(), Some(2));
    assert_eq!(learner.models().online().rows, 3);
}
