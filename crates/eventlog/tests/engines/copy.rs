//! A log moves from a disk to brokers and back, and every record is what it was.

use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk};
use reckon_eventlog::{Copied, DiskLog, Options, copy};

use super::cluster::{Cluster, open};
use super::strands::{INCARNATION, Strands, fill};

#[test]
fn a_log_moves_to_brokers_and_back() {
    let cluster = Cluster::take();
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let on_disk = |dir: &str, incarnation| {
        let options = Options { lanes: 2, ..Options::default() };
        DiskLog::open(Arc::clone(&disk), Path::new(dir), options, incarnation).expect("opens").0
    };
    let log = on_disk("from", INCARNATION);
    fill(&log);
    let strands = Strands::of(&log);
    let records = strands.events() + 2;

    let brokers = open(&cluster.options(2));
    let copied = copy(&log, &brokers).expect("copied");
    assert_eq!(copied, Copied { records, appended: records + 4, incarnation: INCARNATION });
    let found = Strands::of(&brokers);
    assert_eq!(found.events, strands.events);
    assert_eq!(found.controls.len(), 6, "every partition has its copy");

    let back = on_disk("back", INCARNATION + 1);
    assert_eq!(copy(&brokers, &back).expect("copied").records, records + 4);
    assert_eq!(Strands::of(&back).events, strands.events);
    println!("kafka: {records} records moved from a disk to brokers and back");
}
