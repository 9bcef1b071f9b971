//! What every engine of the log promises, one function a promise.
//!
//! An engine's test hands over a [`Harness`] and calls [`all`]. Nothing here asks for dense offsets,
//! for one disk, for one topic, or for a process of our own: a broker that keeps the promises passes.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use reckon_event::{
    Control, DecodeError, Kind, Record, RecordId, SLOT_COUNT, Slot, Timestamp, peek,
};

use crate::{EventLog, Outcome, ReadError, Receipt};

/// How a test makes an engine.
pub trait Harness {
    /// An empty log of `partitions` partitions, or so many of each topic.
    fn make(&self, partitions: u16) -> Arc<dyn EventLog>;

    /// The log made last, opened again by a new process; the old one has been let go of.
    fn reopen(&self) -> Arc<dyn EventLog>;
}

/// A promise: its name, and what proves it. It returns how many records it compared.
pub type Promise = (&'static str, fn(&dyn Harness) -> u64);

/// All promises of the seam.
pub const PROMISES: [Promise; 14] = [
    ("an acknowledged record is read back", an_acknowledged_record_is_read_back),
    ("records are stamped in order", records_are_stamped_in_order),
    ("a record with an id keeps it", a_record_with_an_id_keeps_it),
    ("offsets rise and reads never skip", offsets_rise_and_reads_never_skip),
    ("a read is bounded but never stuck", a_read_is_bounded_but_never_stuck),
    ("an empty log reads as nothing", an_empty_log_reads_as_nothing),
    ("every record has one place", every_record_has_one_place),
    ("partitions do not mix", partitions_do_not_mix),
    ("control records go everywhere", control_records_go_everywhere),
    ("a kind of a later build is carried", a_kind_of_a_later_build_is_carried),
    ("concurrent appends are all there once", concurrent_appends_are_all_there_once),
    ("a waiting reader is woken", a_waiting_reader_is_woken),
    ("what was acknowledged survives reopening", what_was_acknowledged_survives_reopening),
    ("a retired record is gone", a_retired_record_is_gone),
];

/// Runs every promise; returns how many records were compared, which is never 0.
///
/// # Panics
/// Where a promise is broken.
pub fn all(harness: &dyn Harness) -> u64 {
    PROMISES
        .iter()
        .map(|(name, promise)| {
            let compared = promise(harness);
            assert!(compared > 0, "{name}: a promise that compares nothing proves nothing");
            compared
        })
        .sum()
}

/// A click in `slot` that carries `label`, encoded.
pub fn record(slot: u16, label: &str) -> Vec<u8> {
    record_of(Kind::Click, slot, label)
}

/// A record in `slot` that carries `label`, encoded.
///
/// # Panics
/// Where there is no such slot.
pub fn record_of(kind: Kind, slot: u16, label: &str) -> Vec<u8> {
    let slot = Slot::new(slot).expect("tests name slots that exist");
    let mut bytes = Vec::new();
    let base = Record::new(kind, slot, Timestamp(1_700_000_000_000_000));
    Record { event_id: label, ad_id: "ad-1", ..base }.encode(&mut bytes);
    bytes
}

/// What a test remembers of a record it read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its offset.
    pub offset: u64,
    /// Its id.
    pub id: RecordId,
    /// What [`record`] put into it.
    pub label: String,
}

/// Reads everything from `from` to the end.
///
/// # Panics
/// Where a read fails, or a chunk is not what the seam promises.
pub fn read_from(log: &dyn EventLog, partition: u16, from: u64, bytes_max: usize) -> Vec<Seen> {
    let end = log.range(partition).end;
    let (mut seen, mut next) = (Vec::<Seen>::new(), from);
    while next < end {
        let chunk = log.read(partition, next, bytes_max).expect("readable");
        assert!(!chunk.entries.is_empty(), "records below the end can be read");
        assert!(chunk.next > next, "a read that returns records goes on");
        for entry in &chunk.entries {
            let bytes = &chunk.bytes[entry.bytes.clone()];
            let (record, length) = Record::decode_checked(bytes).expect("a whole record");
            assert_eq!(length, bytes.len(), "an entry is one record");
            assert!((next..chunk.next).contains(&entry.offset), "a chunk covers what it says");
            assert!(seen.last().is_none_or(|last| last.offset < entry.offset), "offsets rise");
            let label = record.event_id.to_owned();
            seen.push(Seen { offset: entry.offset, id: record.id, label });
        }
        next = chunk.next;
    }
    seen
}

fn read_all(log: &dyn EventLog, partition: u16) -> Vec<Seen> {
    read_from(log, partition, log.range(partition).start, 1 << 20)
}

fn labels(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.label.as_str()).collect()
}

/// Appends one record, durably.
fn append(log: &dyn EventLog, partition: u16, label: &str) {
    assert_durable(&log.append(partition, &record_for(log, partition, label), 1));
}

/// A record whose place is `partition`.
pub fn record_for(log: &dyn EventLog, partition: u16, label: &str) -> Vec<u8> {
    let slot = log.slots(partition).start;
    let place = Slot::new(slot).expect("a partition has slots");
    let is_placed = |kind: &Kind| log.partition_of(*kind, place) == partition;
    let kind = kinds().find(is_placed).expect("every partition has kinds");
    record_of(kind, slot, label)
}

fn kinds() -> impl Iterator<Item = Kind> {
    (0..=u8::MAX).filter_map(Kind::from_code).filter(|kind| *kind != Kind::Control)
}

/// The partition that clicks of the first slot go to.
fn clicks_of(log: &dyn EventLog) -> u16 {
    log.partition_of(Kind::Click, Slot::of_key(0))
}

fn assert_durable(receipt: &Receipt) {
    let outcome = receipt.wait();
    assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
}

/// Appends `count` records in one append; returns their labels.
fn append_many(log: &dyn EventLog, partition: u16, prefix: &str, count: u32) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
    let bytes: Vec<u8> = names.iter().flat_map(|name| record_for(log, partition, name)).collect();
    assert_durable(&log.append(partition, &bytes, count));
    names
}

/// A receipt that says durable is followed by a read that finds the record.
pub fn an_acknowledged_record_is_read_back(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let at = clicks_of(&*log);
    for n in 0..20 {
        let label = format!("one-{n}");
        append(&*log, at, &label);
        let seen = read_all(&*log, at);
        assert_eq!(seen.last().map(|last| last.label.as_str()), Some(label.as_str()));
        assert_eq!(seen.len(), n + 1);
    }
    20
}

/// Records get the ids the receipt names, rising by one, and an order of appends is kept.
pub fn records_are_stamped_in_order(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let at = clicks_of(&*log);
    let receipts: Vec<Receipt> = (0..50)
        .map(|n| {
            let two = [record(0, &format!("{n}-a")), record(0, &format!("{n}-b"))].concat();
            log.append(at, &two, 2)
        })
        .collect();
    receipts.iter().for_each(assert_durable);
    let seen = read_all(&*log, at);
    assert_eq!(seen.len(), 100);
    for (pair, (n, receipt)) in seen.chunks(2).zip(receipts.iter().enumerate()) {
        assert_ne!(receipt.first, RecordId::default());
        assert_eq!(labels(pair), [format!("{n}-a"), format!("{n}-b")]);
        let second = RecordId { sequence: receipt.first.sequence + 1, ..receipt.first };
        assert_eq!([pair[0].id, pair[1].id], [receipt.first, second]);
    }
    assert!(seen.windows(2).all(|two| two[0].id < two[1].id), "one appender's ids rise");
    100
}

/// What is appended again keeps the id it was given first.
pub fn a_record_with_an_id_keeps_it(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let at = clicks_of(&*log);
    append(&*log, at, "before");
    let first = read_all(&*log, at)[0].clone();
    let again = {
        let chunk = log.read(at, first.offset, 1 << 20).expect("readable");
        chunk.bytes[chunk.entries[0].bytes.clone()].to_vec()
    };
    let receipt = log.append(at, &again, 1);
    assert_durable(&receipt);
    assert_eq!(receipt.first, first.id);
    append(&*log, at, "after");
    let seen = read_all(&*log, at);
    assert_eq!(labels(&seen), ["before", "before", "after"]);
    assert_eq!(seen[0].id, seen[1].id);
    assert_ne!(seen[1].id, seen[2].id);
    3
}

/// Reading in steps of any size gives what reading at once gives.
pub fn offsets_rise_and_reads_never_skip(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let at = clicks_of(&*log);
    let mut written = Vec::new();
    for n in 0..40 {
        written.extend(append_many(&*log, at, &format!("batch-{n}"), 1 + n * 7 % 30));
    }
    let seen = read_all(&*log, at);
    assert_eq!(labels(&seen), written);
    let mut compared = seen.len() as u64;
    for bytes_max in [1, 500, 10_000] {
        let stepped = read_from(&*log, at, log.range(at).start, bytes_max);
        assert_eq!(stepped, seen);
        compared += seen.len() as u64;
    }
    for (first, one) in seen.iter().enumerate().step_by(17) {
        assert_eq!(read_from(&*log, at, one.offset, 1 << 20), seen[first..]);
        compared += (seen.len() - first) as u64;
    }
    compared
}

/// A read stays within its bound, save for one record that alone is longer.
pub fn a_read_is_bounded_but_never_stuck(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let at = clicks_of(&*log);
    append_many(&*log, at, "bounded", 200);
    let one = record(0, "bounded-000").len();
    let start = log.range(at).start;
    for bytes_max in [0, 1, one, 3 * one, 10 * one] {
        let chunk = log.read(at, start, bytes_max).expect("readable");
        let bytes: usize = chunk.entries.iter().map(|entry| entry.bytes.len()).sum();
        assert!(chunk.entries.len() == 1 || bytes <= bytes_max, "{bytes} > {bytes_max}");
        assert!(!chunk.entries.is_empty());
    }
    200
}

/// Nothing is read from an empty log, nor beyond an end, and neither is an error.
pub fn an_empty_log_reads_as_nothing(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let at = clicks_of(&*log);
    let range = log.range(at);
    assert!(range.is_empty());
    let chunk = log.read(at, range.end, 1_000).expect("not an error");
    assert!(chunk.entries.is_empty() && chunk.next == range.end);
    append(&*log, at, "only");
    let end = log.range(at).end;
    let chunk = log.read(at, end, 1_000).expect("not an error");
    assert!(chunk.entries.is_empty() && chunk.next == end);
    1
}

/// Every kind and slot has one partition, which says so; every partition has slots, and something
/// that belongs there.
pub fn every_record_has_one_place(harness: &dyn Harness) -> u64 {
    let log = harness.make(3);
    let mut found = vec![0_u64; usize::from(log.partitions())];
    for slot in (0..SLOT_COUNT).filter_map(Slot::new) {
        for kind in kinds() {
            let place = log.partition_of(kind, slot);
            assert!(log.slots(place).contains(&slot.number()));
            let holding: Vec<u16> = (0..log.partitions())
                .filter(|&partition| log.holds(partition, kind.code(), slot))
                .collect();
            assert_eq!(holding, [place], "{kind:?} of {slot:?}");
            found[usize::from(place)] += 1;
        }
    }
    assert!(found.iter().all(|&count| count > 0), "{found:?}");
    found.iter().sum()
}

/// Each partition has its own records in its own order.
pub fn partitions_do_not_mix(harness: &dyn Harness) -> u64 {
    let log = harness.make(3);
    let count = log.partitions();
    assert!(count >= 3, "as many as were asked for, or so many of each topic");
    for n in 0..10 * count {
        append(&*log, n % count, &format!("{}-{n}", n % count));
    }
    for partition in 0..count {
        let seen = read_all(&*log, partition);
        let own = (0..10 * count).filter(|n| n % count == partition);
        let expected: Vec<String> = own.map(|n| format!("{partition}-{n}")).collect();
        assert_eq!(labels(&seen), expected);
    }
    u64::from(10 * count)
}

/// A control record can be appended to every partition, and is read from there.
pub fn control_records_go_everywhere(harness: &dyn Harness) -> u64 {
    let log = harness.make(3);
    let mut payload = Vec::new();
    Control::Tick.encode(&mut payload);
    let copies = (0..log.partitions()).map(|partition| {
        let slot = Slot::new(log.slots(partition).start).expect("a partition has slots");
        let record = Record { payload: &payload, ..Record::new(Kind::Control, slot, Timestamp(7)) };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        log.append(partition, &bytes, 1)
    });
    copies.collect::<Vec<Receipt>>().iter().for_each(assert_durable);
    for partition in 0..log.partitions() {
        let chunk = log.read(partition, log.range(partition).start, 1 << 20).expect("readable");
        let bytes = &chunk.bytes[chunk.entries[0].bytes.clone()];
        let (record, _) = Record::decode_checked(bytes).expect("a whole record");
        assert_eq!(
            (record.kind, record.received, chunk.entries.len()),
            (Kind::Control, Timestamp(7), 1)
        );
        assert_eq!(Control::decode(record.payload), Ok(Some(Control::Tick)));
    }
    u64::from(log.partitions())
}

/// A record of a kind that this build does not know comes back byte by byte, with its id.
pub fn a_kind_of_a_later_build_is_carried(harness: &dyn Harness) -> u64 {
    const LATER: u8 = 200;
    let log = harness.make(1);
    let partition = log.partition_of(Kind::Conversion, Slot::of_key(0));
    let mut later = record_of(Kind::Conversion, 0, "later");
    later[3] = LATER;
    let receipt = log.append(partition, &later, 1);
    assert_durable(&receipt);
    let chunk = log.read(partition, log.range(partition).start, 1 << 20).expect("readable");
    let read = &chunk.bytes[chunk.entries[0].bytes.clone()];
    assert_eq!(Record::decode_checked(read), Err(DecodeError::Kind(LATER)));
    assert_eq!(peek(read).map(|peeked| peeked.slot), Ok(Slot::of_key(0)));
    reckon_event::stamp(&mut later, receipt.first).expect("encoded here");
    assert_eq!(read, later);
    1
}

/// However many append at once, each record is there once, each appender's in its order.
pub fn concurrent_appends_are_all_there_once(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let at = clicks_of(&*log);
    thread::scope(|scope| {
        for writer in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..50 {
                    let bytes = record(0, &format!("{writer}:{n:03}"));
                    assert_durable(&log.append(at, &bytes, 1));
                }
            });
        }
    });
    let seen = read_all(&*log, at);
    assert_eq!(seen.len(), 400);
    for writer in 0..8 {
        let prefix = format!("{writer}:");
        let own: Vec<&str> =
            labels(&seen).into_iter().filter(|label| label.starts_with(&prefix)).collect();
        assert_eq!(own.len(), 50);
        assert!(own.is_sorted(), "a writer that waits is kept in order");
    }
    400
}

/// `wait` returns when there is something, and says so; and returns when there is not.
pub fn a_waiting_reader_is_woken(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let at = clicks_of(&*log);
    let end = log.range(at).end;
    assert_eq!(log.wait(at, end, Duration::from_millis(1)), end);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| log.wait(at, end, Duration::from_secs(60)));
        append(&*log, at, "news");
        assert!(waiting.join().expect("no panic") > end);
    });
    assert_eq!(labels(&read_all(&*log, at)), ["news"]);
    1
}

/// A new process reads what the old one acknowledged, at the same offsets, and appends behind it.
pub fn what_was_acknowledged_survives_reopening(harness: &dyn Harness) -> u64 {
    let log = harness.make(2);
    let mut compared = 0;
    append_many(&*log, 0, "first", 300);
    append(&*log, 1, "other");
    let mut before = [read_all(&*log, 0), read_all(&*log, 1)];
    drop(log);
    for round in 0..5 {
        let log = harness.reopen();
        for partition in 0..2 {
            let seen = read_all(&*log, partition);
            assert_eq!(seen, before[usize::from(partition)]);
            compared += seen.len() as u64;
            append(&*log, partition, &format!("round-{round}"));
            let longer = read_all(&*log, partition);
            assert_eq!(longer[..seen.len()], seen);
            assert_eq!(longer.len(), seen.len() + 1);
            before[usize::from(partition)] = longer;
        }
    }
    compared
}

/// Below the start a read says so; from the start on everything is there.
pub fn a_retired_record_is_gone(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let at = clicks_of(&*log);
    for n in 0..30 {
        append_many(&*log, at, &format!("r{n}"), 100);
    }
    let seen = read_all(&*log, at);
    let middle = seen[seen.len() / 2].offset;
    let start = log.retire(at, middle).expect("retired");
    assert!(start <= middle, "nothing at or above the bound goes");
    assert_eq!(log.range(at).start, start);
    let kept: Vec<Seen> = seen.iter().filter(|one| one.offset >= start).cloned().collect();
    assert_eq!(read_all(&*log, at), kept);
    if start > seen[0].offset {
        match log.read(at, seen[0].offset, 1_000) {
            Err(ReadError::Gone { start: said, .. }) => assert_eq!(said, start),
            other => panic!("expected Gone, got {other:?}"),
        }
    }
    assert_eq!(log.retire(at, 0).expect("nothing to do"), start, "a start never falls");
    drop(log);
    let log = harness.reopen();
    assert_eq!(log.range(at).start, start);
    assert_eq!(read_all(&*log, at), kept);
    kept.len() as u64
}
