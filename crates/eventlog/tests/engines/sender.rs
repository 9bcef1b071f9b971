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

/// Sends records of the first slot, some at a time, without waiting for each. What was not acknowledged
/// is sent again one by one, so that nothing that has an id is overtaken.
pub struct Client<'a> {
    log: &'a dyn EventLog,
    partition: u16,
    in_flight_max: usize,
    /// What is still to be sent, the oldest first.
    waiting: VecDeque<(String, Vec<u8>)>,
    /// How many of these have been sent before.
    again: usize,
    pub tally: Tally,
}

impl<'a> Client<'a> {
    pub fn new(log: &'a dyn EventLog, partition: u16, in_flight_max: usize) -> Self {
        let (waiting, tally) = (VecDeque::new(), Tally::default());
        Client { log, partition, in_flight_max, waiting, again: 0, tally }
    }

    pub fn add(&mut self, label: String) {
        let bytes = record(0, &label);
        self.waiting.push_back((label, bytes));
    }

    /// Sends what waits, once; what was not acknowledged waits again, in order, with its id where
    /// nobody can say. True where all of it was acknowledged.
    pub fn send(&mut self) -> bool {
        while self.again > 0 {
            let (label, bytes) = self.waiting.pop_front().expect("so many wait");
            self.again -= 1;
            if let Some(failed) = self.settle(self.append(&bytes), label, bytes) {
                self.waiting.push_front(failed);
                self.again += 1;
                return false;
            }
        }
        let mut flying = VecDeque::new();
        let mut failed = VecDeque::new();
        loop {
            while failed.is_empty()
                && flying.len() < self.in_flight_max
                && let Some((label, bytes)) = self.waiting.pop_front()
            {
                flying.push_back((self.append(&bytes), label, bytes));
            }
            let Some((receipt, label, bytes)) = flying.pop_front() else { break };
            failed.extend(self.settle(receipt, label, bytes));
        }
        self.again = failed.len();
        failed.append(&mut self.waiting);
        self.waiting = failed;
        self.waiting.is_empty()
    }

    fn append(&self, bytes: &[u8]) -> Receipt {
        self.log.append(self.partition, bytes, 1)
    }

    /// Waits for an answer; what it says must be sent again.
    fn settle(
        &mut self,
        receipt: Receipt,
        label: String,
        mut bytes: Vec<u8>,
    ) -> Option<(String, Vec<u8>)> {
        match receipt.wait() {
            Outcome::Durable(_) => {
                self.tally.durable += 1;
                return None;
            }
            Outcome::NotWritten(_) => self.tally.refused += 1,
            Outcome::Unknown => {
                self.tally.unknown += 1;
                stamp(&mut bytes, receipt.first).expect("encoded here");
            }
        }
        Some((label, bytes))
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

/// The records of a partition that count, those above all before them of their appender; and how many
/// are there a second time.
///
/// # Panics
/// Where a record stands behind a later one of its appender, and so does not count.
pub fn counted(log: &dyn EventLog, partition: u16) -> (Vec<String>, u64) {
    let mut highest: BTreeMap<u64, u64> = BTreeMap::new();
    let mut known: BTreeSet<RecordId> = BTreeSet::new();
    let (mut labels, mut again) = (Vec::new(), 0);
    for Seen { id, label, .. } in read_from(log, partition, log.range(partition).start, 1 << 20) {
        let highest = highest.entry(id.appender).or_default();
        if known.insert(id) {
            assert!(id.sequence > *highest, "{label} was overtaken");
            labels.push(label);
        } else {
            again += 1;
        }
        *highest = id.sequence.max(*highest);
    }
    (labels, again)
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
