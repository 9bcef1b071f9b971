//! A log copied into another of more partitions: the same events with the same ids in the same order,
//! slot by slot, and every control record at its place in each partition.
#![expect(clippy::print_stdout, reason = "tests say how much they compared")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk};
use reckon_event::{Kind, Record, RecordId, Slot, Timestamp};
use reckon_eventlog::{Copied, CopyError, DiskLog, EventLog, Options, Outcome, copy};

const SLOTS: [u16; 5] = [0, 255, 256, 700, 1_023];

fn open(disk: &Arc<dyn Disk>, name: &str, lanes: u16, incarnation: u32) -> DiskLog {
    let options = Options { lanes, segment_bytes: 1 << 16, ..Options::default() };
    DiskLog::open(Arc::clone(disk), Path::new(name), options, incarnation).expect("opens").0
}

fn append(log: &dyn EventLog, partition: u16, record: &Record<'_>) {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let outcome = log.append(partition, &bytes, 1).wait();
    assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
}

fn tell(log: &dyn EventLog, received: Timestamp) {
    for partition in 0..log.partitions() {
        let slot = Slot::new(log.slots(partition).start).expect("a slot");
        append(log, partition, &Record::new(Kind::Control, slot, received));
    }
}

/// Events of some slots, with a control record behind every seventh.
fn fill(log: &dyn EventLog, count: i64) {
    for number in 0..count {
        let kind = [Kind::Impression, Kind::Click, Kind::Prediction][number as usize % 3];
        let slot = Slot::new(SLOTS[number as usize % SLOTS.len()]).expect("a slot");
        let ad = format!("ad-{number}");
        let record = Record { ad_id: &ad, ..Record::new(kind, slot, Timestamp(number)) };
        append(log, log.partition_of(kind, slot), &record);
        if number % 7 == 6 {
            tell(log, Timestamp(number));
        }
    }
}

type Event = (RecordId, Kind, String, Timestamp);

/// What was read: events by slot, and for each partition the events before each control record.
#[derive(Debug, Default, PartialEq)]
struct Read {
    events: BTreeMap<u16, Vec<Event>>,
    controls: BTreeMap<u16, Vec<(usize, Timestamp)>>,
}

fn read(log: &dyn EventLog) -> Read {
    let mut found = Read::default();
    for partition in 0..log.partitions() {
        let (mut at, end) = (log.range(partition).start, log.range(partition).end);
        let mut before: BTreeMap<u16, usize> = BTreeMap::new();
        while at < end {
            let chunk = log.read(partition, at, 1 << 16).expect("reads");
            for entry in &chunk.entries {
                let (record, _) = Record::decode(&chunk.bytes[entry.bytes.clone()]).expect("whole");
                let slot = record.slot.number();
                if record.kind == Kind::Control {
                    for slot in SLOTS.into_iter().filter(|slot| log.slots(partition).contains(slot))
                    {
                        let seen = before.get(&slot).copied().unwrap_or(0);
                        found.controls.entry(slot).or_default().push((seen, record.received));
                    }
                    continue;
                }
                *before.entry(slot).or_default() += 1;
                let event = (record.id, record.kind, record.ad_id.to_owned(), record.received);
                found.events.entry(slot).or_default().push(event);
            }
            at = chunk.next;
        }
    }
    found
}

#[test]
fn a_copy_reads_as_what_it_was_made_of() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(7));
    let from = open(&disk, "old", 2, 1);
    fill(&from, 2_000);
    let to = open(&disk, "new", 8, 2);
    let mut told = 0;
    let copied = copy(&from, &to, &mut |count| told = count).expect("copies");
    let controls = 2 * (2_000 / 7);
    assert_eq!(copied, Copied { events: 2_000, controls, control_copies: 4 * controls });
    assert_eq!(told, 2_000 + controls);
    let (was, is) = (read(&from), read(&to));
    assert_eq!(was, is);
    println!("compared {} events", is.events.values().map(Vec::len).sum::<usize>());
}

#[test]
fn what_comes_after_a_copy_has_ids_of_its_own() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(8));
    let from = open(&disk, "old", 1, 1);
    fill(&from, 30);
    let to = open(&disk, "new", 2, 2);
    copy(&from, &to, &mut |_| {}).expect("copies");
    let known: Vec<RecordId> =
        read(&to).events.into_values().flatten().map(|event| event.0).collect();
    fill(&to, 30);
    let all: Vec<RecordId> =
        read(&to).events.into_values().flatten().map(|event| event.0).collect();
    let fresh = all.iter().filter(|id| !known.contains(id)).count();
    assert_eq!((known.len(), all.len(), fresh), (30, 60, 30));
}

#[test]
fn what_cannot_be_copied_rightly_is_refused() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(9));
    let from = open(&disk, "old", 2, 1);
    fill(&from, 10);
    let crossing = copy(&from, &open(&disk, "three", 3, 2), &mut |_| {});
    assert!(matches!(crossing, Err(CopyError::Crossing { to: 1, from: 0, .. })), "{crossing:?}");
    let used = open(&disk, "used", 2, 3);
    tell(&used, Timestamp(1));
    let used = copy(&from, &used, &mut |_| {});
    assert!(matches!(used, Err(CopyError::NotEmpty { partition: 0, .. })), "{used:?}");
}
