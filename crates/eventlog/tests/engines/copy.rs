//! A log moves from a disk to brokers, and every record is what it was.

use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk};
use reckon_eventlog::{Copied, DiskLog, Options, copy};

use super::cluster::{Cluster, open};
use super::strands::{INCARNATION, Strands, fill};

#[test]
fn a_log_moves_to_brokers() {
    let cluster = Cluster::take();
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let options = Options { lanes: 2, ..Options::default() };
    let log = DiskLog::open(Arc::clone(&disk), Path::new("from"), options, INCARNATION);
    let log = log.expect("opens").0;
    fill(&log);
    let strands = Strands::of(&log);

    let brokers = open(&cluster.options(4));
    let copied = copy(&log, &brokers, &mut |_| {}).expect("copied");
    // Two partitions of four slots' ranges, in each of three topics, for either control record.
    let expect = Copied { events: strands.events(), controls: 2, control_copies: 12 };
    assert_eq!(copied, expect);
    let found = Strands::of(&brokers);
    for (strand, records) in &strands.events {
        let copied = &found.events[strand];
        let differs = (0..records.len()).find(|&at| copied.get(at) != Some(&records[at]));
        assert_eq!((differs, copied.len()), (None, records.len()), "{strand:?}");
    }
    assert_eq!(found.events.len(), strands.events.len());
    assert_eq!(found.controls.len(), 12, "every partition has its copy");
    println!("kafka: {} records moved from a disk to brokers", copied.events + copied.controls);
}
