//! The disk engine keeps the seam's promises, on the machine's disk and on the simulated one.
#![expect(clippy::print_stdout, reason = "tests say how much they compared")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use reckon_disk::{Disk, RealDisk, SimDisk, TempDir};
use reckon_eventlog::conformance::{self, Harness};
use reckon_eventlog::{DiskLog, EventLog, Options};

struct DiskHarness {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    options: Options,
    /// Number of the log made last, and its lanes.
    made: Mutex<(u32, u16)>,
    incarnation: AtomicU32,
}

impl DiskHarness {
    fn new(disk: Arc<dyn Disk>, root: PathBuf, options: Options) -> Self {
        let (made, incarnation) = (Mutex::new((0, 0)), AtomicU32::new(1));
        DiskHarness { disk, root, options, made, incarnation }
    }

    fn open(&self, number: u32, lanes: u16) -> Arc<dyn EventLog> {
        let dir = self.root.join(format!("log-{number}"));
        let options = Options { lanes, ..self.options.clone() };
        let incarnation = self.incarnation.fetch_add(1, Ordering::Relaxed);
        let opened = DiskLog::open(Arc::clone(&self.disk), &dir, options, incarnation);
        Arc::new(opened.expect("opens").0)
    }
}

impl Harness for DiskHarness {
    fn make(&self, partitions: u16) -> Arc<dyn EventLog> {
        let mut made = self.made.lock().expect("no holder panics");
        *made = (made.0 + 1, partitions);
        self.open(made.0, partitions)
    }

    fn reopen(&self) -> Arc<dyn EventLog> {
        let (number, lanes) = *self.made.lock().expect("no holder panics");
        self.open(number, lanes)
    }
}

/// Small segments, so that every promise crosses their borders.
fn small() -> Options {
    Options { segment_bytes: 20_000, ..Options::default() }
}

fn check(disk: Arc<dyn Disk>, root: PathBuf, options: Options) {
    let compared = conformance::all(&DiskHarness::new(disk, root, options));
    println!("compared {compared} records");
    assert!(compared > 4_000, "{compared}");
}

#[test]
fn on_the_machines_disk() {
    let dir = TempDir::new("log-conformance");
    check(Arc::new(RealDisk), dir.path().to_owned(), Options::default());
}

#[test]
fn on_the_machines_disk_with_small_segments() {
    let dir = TempDir::new("log-conformance-small");
    check(Arc::new(RealDisk), dir.path().to_owned(), small());
}

#[test]
fn on_the_simulated_disk() {
    check(Arc::new(SimDisk::new(1)), PathBuf::from("sim"), small());
}
