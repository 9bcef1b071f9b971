//! A log with some of everything, and what of a log a copy must not change: the records of each slot and
//! topic, byte by byte and in order.

use std::collections::BTreeMap;

use reckon_event::{Control, Kind, Record, Slot, Timestamp, Topic, peek};
use reckon_eventlog::conformance::record_of;
use reckon_eventlog::{EventLog, Outcome};

/// The incarnation that [`fill`] expects the log to be opened with.
pub const INCARNATION: u32 = 7;
/// A kind that no build knows.
const LATER: u8 = 200;
const SLOTS: [u16; 5] = [0, 1, 400, 700, 1_023];

fn append(log: &dyn EventLog, partition: u16, bytes: &[u8]) {
    let outcome = log.append(partition, bytes, 1).wait();
    assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
}

/// Appends events of all kinds, one of a later build, a control record for each partition, and an event
/// that is there twice.
pub fn fill(log: &dyn EventLog) {
    let kinds: Vec<Kind> = (0..=u8::MAX).filter_map(Kind::from_code).collect();
    for round in 0..20 {
        for number in SLOTS {
            let slot = Slot::new(number).expect("a slot");
            for &kind in kinds.iter().filter(|kind| **kind != Kind::Control) {
                let bytes = record_of(kind, number, &format!("{round}"));
                append(log, log.partition_of(kind, slot), &bytes);
            }
            let mut later = record_of(Kind::Conversion, number, "later");
            later[3] = LATER;
            append(log, log.partition_of(Kind::Conversion, slot), &later);
        }
    }
    let mut payload = Vec::new();
    Control::Tick.encode(&mut payload);
    for partition in 0..log.partitions() {
        let slot = Slot::new(log.slots(partition).start).expect("a slot");
        let mut bytes = Vec::new();
        Record { payload: &payload, ..Record::new(Kind::Control, slot, Timestamp(9)) }
            .encode(&mut bytes);
        append(log, partition, &bytes);
    }
    let first = log.read(0, log.range(0).start, 1).expect("readable");
    append(log, 0, &first.bytes[first.entries[0].bytes.clone()]);
}

/// The records of each slot and topic, and of each partition its control records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Strands {
    pub events: BTreeMap<(u16, Topic), Vec<Vec<u8>>>,
    pub controls: BTreeMap<u16, Vec<Vec<u8>>>,
}

impl Strands {
    pub fn of(log: &dyn EventLog) -> Self {
        let mut strands = Strands::default();
        for partition in 0..log.partitions() {
            let range = log.range(partition);
            let mut next = range.start;
            while next < range.end {
                let chunk = log.read(partition, next, 10_000).expect("readable");
                for entry in &chunk.entries {
                    strands.take(partition, &chunk.bytes[entry.bytes.clone()]);
                }
                next = chunk.next;
            }
        }
        strands
    }

    fn take(&mut self, partition: u16, bytes: &[u8]) {
        let peeked = peek(bytes).expect("a whole record");
        let strand = if peeked.kind_code == Kind::Control.code() {
            self.controls.entry(partition).or_default()
        } else {
            let topic = Topic::of_kind_code(peeked.kind_code);
            self.events.entry((peeked.slot.number(), topic)).or_default()
        };
        strand.push(bytes.to_vec());
    }

    /// How many events there are.
    pub fn events(&self) -> u64 {
        self.events.values().map(|strand| strand.len() as u64).sum()
    }
}
