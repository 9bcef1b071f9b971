//! A client that sends until everything is in the log, and the rule by which records are counted: what
//! the two leave must be every record once, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::thread;
use std::time::Duration;

use reckon_event::{RecordId, stamp};
use reckon_eventlog::conformance::{Seen, read_from, record};
use reckon_eventlog::{EventLog, Outcome, Receipt};

/// How long a client that was refused waits.
const REST: Duration = Duration::from_millis(20);

/// What became of appends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub durable: u64,
    pub unknown: u64,
    pub refused: u64,
}

/// Sends records of the first slot, some at a time, without waiting for each.
pub struct Client<'a> {
    log: &'a dyn EventLog,
    partition: u16,
    in_flight_max: usize,
    /// What is still to be sent, the oldest first.
    waiting: VecDeque<(String, Vec<u8>)>,
    pub tally: Tally,
}

impl<'a> Client<'a> {
    pub fn new(log: &'a dyn EventLog, partition: u16, in_flight_max: usize) -> Self {
        let (waiting, tally) = (VecDeque::new(), Tally::default());
        Client { log, partition, in_flight_max, waiting, tally }
    }

    pub fn add(&mut self, label: String) {
        let bytes = record(0, &label);
        self.waiting.push_back((label, bytes));
    }

    /// Sends what waits, once; what was not acknowledged waits again, in order, with its id where
    /// nobody can say. True where all of it was acknowledged.
    pub fn send(&mut self) -> bool {
        let mut again = VecDeque::new();
        let mut flying: VecDeque<(Receipt, String, Vec<u8>)> = VecDeque::new();
        let mut refused = false;
        while !self.waiting.is_empty() || !flying.is_empty() {
            while flying.len() < self.in_flight_max
                && !refused
                && let Some((label, bytes)) = self.waiting.pop_front()
            {
                let receipt = self.log.append(self.partition, &bytes, 1);
                flying.push_back((receipt, label, bytes));
            }
            let Some((receipt, label, mut bytes)) = flying.pop_front() else { break };
            match receipt.wait() {
                Outcome::Durable(_) => {
                    self.tally.durable += 1;
                    continue;
                }
                Outcome::NotWritten(_) => self.tally.refused += 1,
                Outcome::Unknown => {
                    self.tally.unknown += 1;
                    stamp(&mut bytes, receipt.first).expect("encoded here");
                }
            }
            refused = true;
            again.push_back((label, bytes));
        }
        again.append(&mut self.waiting);
        self.waiting = again;
        self.waiting.is_empty()
    }

    /// Sends until everything was acknowledged.
    ///
    /// # Panics
    /// Where that takes too many tries.
    pub fn send_all(&mut self) {
        for _ in 0..6_000 {
            if self.send() {
                return;
            }
            thread::sleep(REST);
        }
        panic!("{} records cannot be sent: {:?}", self.waiting.len(), self.tally);
    }
}

/// The records of a partition that count: those above all before them of their appender.
pub fn counted(log: &dyn EventLog, partition: u16) -> (Vec<String>, u64) {
    let seen = read_from(log, partition, log.range(partition).start, 1 << 20);
    let mut highest: BTreeMap<u64, u64> = BTreeMap::new();
    let mut dropped = 0;
    let mut labels = Vec::new();
    for Seen { id: RecordId { appender, sequence }, label, .. } in seen {
        let known = highest.entry(appender).or_default();
        if sequence <= *known {
            dropped += 1;
            continue;
        }
        *known = sequence;
        labels.push(label);
    }
    (labels, dropped)
}

/// # Panics
/// Where a label is missing or counted twice.
pub fn assert_each_once(labels: &[String], expected: &[String]) {
    let once: BTreeSet<&String> = labels.iter().collect();
    assert_eq!(once.len(), labels.len(), "some record counts twice");
    let missing: Vec<&String> = expected.iter().filter(|label| !once.contains(label)).collect();
    assert!(missing.is_empty(), "{} records are lost: {:?}", missing.len(), missing.first());
    assert_eq!(labels.len(), expected.len(), "and nothing else is there");
}
