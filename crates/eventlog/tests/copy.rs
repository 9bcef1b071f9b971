//! A log can be copied into another with other partitions: nothing is lost, changed, or out of order.

mod strands;

use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk};
use reckon_eventlog::{Copied, CopyError, DiskLog, EventLog, Options, copy};
use strands::{INCARNATION, Strands, fill};

fn open(disk: &Arc<dyn Disk>, dir: &str, lanes: u16, incarnation: u32) -> DiskLog {
    let options = Options { lanes, segment_bytes: 20_000, ..Options::default() };
    DiskLog::open(Arc::clone(disk), Path::new(dir), options, incarnation).expect("opens").0
}

#[test]
fn a_copy_holds_the_same_records_in_the_same_order() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let log = open(&disk, "from", 3, INCARNATION);
    fill(&log);
    let strands = Strands::of(&log);
    for lanes in [1, 3, 8] {
        let other = open(&disk, &format!("to-{lanes}"), lanes, 1);
        let copied = copy(&log, &other).expect("copied");
        let records = strands.events() + 3;
        assert_eq!(copied, Copied { records, appended: records, incarnation: INCARNATION });
        let found = Strands::of(&other);
        assert_eq!(found.events, strands.events, "{lanes} lanes");
        let controls = |strands: &Strands| strands.controls.values().flatten().count();
        assert_eq!(controls(&found), controls(&strands));
    }
}

#[test]
fn a_copy_into_a_log_that_is_not_empty_is_refused() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let (log, other) = (open(&disk, "from", 1, INCARNATION), open(&disk, "to", 2, 8));
    fill(&log);
    copy(&log, &other).expect("copied");
    let before = Strands::of(&other);
    assert!(matches!(copy(&log, &other), Err(CopyError::NotEmpty(0))));
    assert_eq!(Strands::of(&other), before);
}

#[test]
fn a_log_that_takes_nothing_is_told() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let (log, other) = (open(&disk, "from", 1, INCARNATION), open(&disk, "to", 2, 8));
    fill(&log);
    other.close().expect("closes");
    assert!(matches!(copy(&log, &other), Err(CopyError::NotTaken { .. })));
    assert!(other.range(0).is_empty());
}
