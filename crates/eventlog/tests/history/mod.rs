//! The judge of the crash tests: remembers every append and what was answered, and compares a log
//! with it.
//!
//! Whatever happened, a log must hold, in the order of the appends: everything acknowledged, nothing
//! refused, and of what was in flight or unknown any part, but from then on always the same part.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses another part of it")]

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk};
use reckon_event::Record;
use reckon_eventlog::conformance::record;
use reckon_eventlog::{DiskLog, Error, EventLog, Options, Outcome, ReadError, Receipt, Recovery};

pub const DIR: &str = "log";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Acknowledged,
    Refused,
    Unknown,
}

#[derive(Clone, Debug)]
struct Appended {
    label: String,
    fate: Fate,
}

/// What was appended to each lane, in order.
#[derive(Default)]
pub struct History {
    lanes: Vec<Vec<Appended>>,
    pending: Vec<(usize, Range<usize>, Receipt)>,
    count: u32,
}

impl History {
    pub fn new(lanes: u16) -> Self {
        History { lanes: vec![Vec::new(); usize::from(lanes)], ..History::default() }
    }

    /// Appends `count` records at once, without waiting.
    pub fn append(&mut self, log: &dyn EventLog, lane: u16, count: u32) {
        let slot = log.slots(lane).start;
        let known = &mut self.lanes[usize::from(lane)];
        let from = known.len();
        let mut bytes = Vec::new();
        for _ in 0..count {
            let label = format!("{lane}-{}", self.count);
            self.count += 1;
            bytes.extend(record(slot, &label));
            known.push(Appended { label, fate: Fate::Unknown });
        }
        let receipt = log.append(lane, &bytes, count);
        self.pending.push((usize::from(lane), from..known.len(), receipt));
    }

    /// Waits for every answer; returns how many appends were acknowledged.
    pub fn settle(&mut self) -> usize {
        let mut acknowledged = 0;
        for (lane, range, receipt) in self.pending.drain(..) {
            let fate = match receipt.wait() {
                Outcome::Durable(_) => Fate::Acknowledged,
                Outcome::NotWritten(_) => Fate::Refused,
                Outcome::Unknown => Fate::Unknown,
            };
            acknowledged += usize::from(fate == Fate::Acknowledged);
            self.lanes[lane][range].iter_mut().for_each(|appended| appended.fate = fate);
        }
        acknowledged
    }

    pub fn count(&self, fate: Fate) -> usize {
        self.lanes.iter().flatten().filter(|appended| appended.fate == fate).count()
    }

    /// Labels a lane must hold, where nothing was in flight.
    pub fn acknowledged(&self, lane: u16) -> Vec<String> {
        let lane = self.lanes[usize::from(lane)].iter();
        lane.filter(|one| one.fate == Fate::Acknowledged).map(|one| one.label.clone()).collect()
    }

    /// Compares a log with the history and fixes what was unknown; returns the records compared.
    pub fn check(&mut self, log: &dyn EventLog) -> u64 {
        assert!(self.pending.is_empty(), "settle first");
        let mut compared = 0;
        for (number, lane) in (0_u16..).zip(&mut self.lanes) {
            let labels = read_labels(log, number).expect("readable");
            compared += labels.len() as u64;
            let mut read = labels.iter().peekable();
            for appended in lane {
                let there = read.next_if(|label| **label == appended.label).is_some();
                match (appended.fate, there) {
                    (Fate::Acknowledged, false) => {
                        panic!("{} was acknowledged and is lost", appended.label)
                    }
                    (Fate::Refused, true) => panic!("{} was refused and is there", appended.label),
                    (_, true) => appended.fate = Fate::Acknowledged,
                    (_, false) => appended.fate = Fate::Refused,
                }
            }
            assert_eq!(read.next(), None, "a record nobody appended, or out of order");
        }
        compared
    }

    /// A copy for one of several continuations.
    pub fn fork(&self) -> Self {
        assert!(self.pending.is_empty(), "settle first");
        History { lanes: self.lanes.clone(), pending: Vec::new(), count: self.count }
    }
}

/// The labels of all records of a lane; ids must be distinct.
pub fn read_labels(log: &dyn EventLog, lane: u16) -> Result<Vec<String>, ReadError> {
    let range = log.range(lane);
    let (mut labels, mut ids, mut next) = (Vec::new(), HashSet::new(), range.start);
    while next < range.end {
        let chunk = log.read(lane, next, 4_096)?;
        assert!(chunk.next > next, "a read below the end goes on");
        for entry in &chunk.entries {
            assert_eq!(entry.offset, range.start + labels.len() as u64, "offsets are dense");
            let bytes = &chunk.bytes[entry.bytes.clone()];
            let (record, _) = Record::decode_checked(bytes).expect("a whole record");
            assert!(ids.insert(record.id), "{} twice", record.id);
            labels.push(record.event_id.to_owned());
        }
        next = chunk.next;
    }
    Ok(labels)
}

/// Small segments, no zeros ahead, no lingering, a seal at once: much happens in little.
pub fn small(lanes: u16) -> Options {
    Options {
        lanes,
        segment_bytes: 6_000,
        commit_delay_max: std::time::Duration::ZERO,
        seal_delay: std::time::Duration::from_millis(1),
        preallocate_bytes: 0,
        ..Options::default()
    }
}

pub fn open(
    disk: &SimDisk,
    options: &Options,
    incarnation: u32,
) -> Result<(DiskLog, Recovery), Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    DiskLog::open(disk, Path::new(DIR), options.clone(), incarnation)
}
