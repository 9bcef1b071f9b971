//! What every engine of the log promises, one function a promise.
//!
//! An engine's test hands over a [`Harness`] and calls [`all`]. Nothing here asks for dense offsets,
//! for one disk, or for a process of our own: a broker that keeps the promises passes.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use reckon_event::{Kind, Record, RecordId, Slot, Timestamp};

use crate::{EventLog, Outcome, ReadError, Receipt, partition_of};

/// How a test makes an engine.
pub trait Harness {
    /// An empty log of `partitions` partitions.
    fn make(&self, partitions: u16) -> Arc<dyn EventLog>;

    /// The log made last, opened again by a new process; the old one has been let go of.
    fn reopen(&self) -> Arc<dyn EventLog>;
}

/// Runs every promise; returns how many records were compared, which is never 0.
///
/// # Panics
/// Where a promise is broken.
pub fn all(harness: &dyn Harness) -> u64 {
    let promises: [fn(&dyn Harness) -> u64; 11] = [
        an_acknowledged_record_is_read_back,
        records_are_stamped_in_order,
        a_record_with_an_id_keeps_it,
        offsets_rise_and_reads_never_skip,
        a_read_is_bounded_but_never_stuck,
        an_empty_log_reads_as_nothing,
        partitions_do_not_mix,
        concurrent_appends_are_all_there_once,
        a_waiting_reader_is_woken,
        what_was_acknowledged_survives_reopening,
        a_retired_record_is_gone,
    ];
    promises
        .iter()
        .map(|promise| {
            let compared = promise(harness);
            assert!(compared > 0, "a promise that compares nothing proves nothing");
            compared
        })
        .sum()
}

/// A click in `slot` that carries `label`, encoded.
pub fn record(slot: u16, label: &str) -> Vec<u8> {
    let slot = Slot::new(slot).expect("tests name slots that exist");
    let mut bytes = Vec::new();
    let base = Record::new(Kind::Click, slot, Timestamp(1_700_000_000_000_000));
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
    assert_durable(&log.append(partition, &record(slot_of(log, partition), label), 1));
}

fn assert_durable(receipt: &Receipt) {
    let outcome = receipt.wait();
    assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
}

/// The lowest slot of a partition.
fn slot_of(log: &dyn EventLog, partition: u16) -> u16 {
    (0..1_024)
        .find(|&slot| {
            let slot = Slot::new(slot).expect("below the number of slots");
            partition_of(slot, log.partitions()) == partition
        })
        .expect("every partition has slots")
}

/// Appends `count` records in one append; returns their labels.
fn append_many(log: &dyn EventLog, partition: u16, prefix: &str, count: u32) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
    let slot = slot_of(log, partition);
    let bytes: Vec<u8> = names.iter().flat_map(|name| record(slot, name)).collect();
    assert_durable(&log.append(partition, &bytes, count));
    names
}

/// A receipt that says durable is followed by a read that finds the record.
pub fn an_acknowledged_record_is_read_back(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    for n in 0..20 {
        let label = format!("one-{n}");
        append(&*log, 0, &label);
        let seen = read_all(&*log, 0);
        assert_eq!(seen.last().map(|last| last.label.as_str()), Some(label.as_str()));
        assert_eq!(seen.len(), n + 1);
    }
    20
}

/// Records get the ids the receipt names, rising by one, and an order of appends is kept.
pub fn records_are_stamped_in_order(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let slot = slot_of(&*log, 0);
    let receipts: Vec<Receipt> = (0..50)
        .map(|n| {
            let two = [record(slot, &format!("{n}-a")), record(slot, &format!("{n}-b"))].concat();
            log.append(0, &two, 2)
        })
        .collect();
    receipts.iter().for_each(assert_durable);
    let seen = read_all(&*log, 0);
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
    append(&*log, 0, "before");
    let first = read_all(&*log, 0)[0].clone();
    let again = {
        let chunk = log.read(0, first.offset, 1 << 20).expect("readable");
        chunk.bytes[chunk.entries[0].bytes.clone()].to_vec()
    };
    let receipt = log.append(0, &again, 1);
    assert_durable(&receipt);
    assert_eq!(receipt.first, first.id);
    append(&*log, 0, "after");
    let seen = read_all(&*log, 0);
    assert_eq!(labels(&seen), ["before", "before", "after"]);
    assert_eq!(seen[0].id, seen[1].id);
    assert_ne!(seen[1].id, seen[2].id);
    3
}

/// Reading in steps of any size gives what reading at once gives.
pub fn offsets_rise_and_reads_never_skip(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let mut written = Vec::new();
    for n in 0..40 {
        written.extend(append_many(&*log, 0, &format!("batch-{n}"), 1 + n * 7 % 30));
    }
    let seen = read_all(&*log, 0);
    assert_eq!(labels(&seen), written);
    let mut compared = seen.len() as u64;
    for bytes_max in [1, 500, 10_000] {
        let stepped = read_from(&*log, 0, log.range(0).start, bytes_max);
        assert_eq!(stepped, seen);
        compared += seen.len() as u64;
    }
    for (at, one) in seen.iter().enumerate().step_by(17) {
        assert_eq!(read_from(&*log, 0, one.offset, 1 << 20), seen[at..]);
        compared += (seen.len() - at) as u64;
    }
    compared
}

/// A read stays within its bound, save for one record that alone is longer.
pub fn a_read_is_bounded_but_never_stuck(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    append_many(&*log, 0, "bounded", 200);
    let one = record(0, "bounded-000").len();
    let start = log.range(0).start;
    for bytes_max in [0, 1, one, 3 * one, 10 * one] {
        let chunk = log.read(0, start, bytes_max).expect("readable");
        let bytes: usize = chunk.entries.iter().map(|entry| entry.bytes.len()).sum();
        assert!(chunk.entries.len() == 1 || bytes <= bytes_max, "{bytes} > {bytes_max}");
        assert!(!chunk.entries.is_empty());
    }
    200
}

/// Nothing is read from an empty log, nor beyond an end, and neither is an error.
pub fn an_empty_log_reads_as_nothing(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let range = log.range(0);
    assert!(range.is_empty());
    let chunk = log.read(0, range.end, 1_000).expect("not an error");
    assert!(chunk.entries.is_empty() && chunk.next == range.end);
    append(&*log, 0, "only");
    let end = log.range(0).end;
    let chunk = log.read(0, end, 1_000).expect("not an error");
    assert!(chunk.entries.is_empty() && chunk.next == end);
    1
}

/// Each partition has its own records in its own order.
pub fn partitions_do_not_mix(harness: &dyn Harness) -> u64 {
    let log = harness.make(3);
    assert_eq!(log.partitions(), 3);
    for n in 0..30_u16 {
        append(&*log, n % 3, &format!("{}-{n}", n % 3));
    }
    for partition in 0..3 {
        let seen = read_all(&*log, partition);
        let expected: Vec<String> =
            (0..30).filter(|n| n % 3 == partition).map(|n| format!("{partition}-{n}")).collect();
        assert_eq!(labels(&seen), expected);
    }
    30
}

/// However many append at once, each record is there once, each appender's in its order.
pub fn concurrent_appends_are_all_there_once(harness: &dyn Harness) -> u64 {
    let log = harness.make(1);
    let slot = slot_of(&*log, 0);
    thread::scope(|scope| {
        for writer in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..50 {
                    let bytes = record(slot, &format!("{writer}:{n:03}"));
                    assert_durable(&log.append(0, &bytes, 1));
                }
            });
        }
    });
    let seen = read_all(&*log, 0);
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
    let end = log.range(0).end;
    assert_eq!(log.wait(0, end, Duration::from_millis(1)), end);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| log.wait(0, end, Duration::from_secs(60)));
        append(&*log, 0, "news");
        assert!(waiting.join().expect("no panic") > end);
    });
    assert_eq!(labels(&read_all(&*log, 0)), ["news"]);
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
    for n in 0..30 {
        append_many(&*log, 0, &format!("r{n}"), 100);
    }
    let seen = read_all(&*log, 0);
    let middle = seen[seen.len() / 2].offset;
    let start = log.retire(0, middle).expect("retired");
    assert!(start <= middle, "nothing at or above the bound goes");
    assert_eq!(log.range(0).start, start);
    let kept: Vec<Seen> = seen.iter().filter(|one| one.offset >= start).cloned().collect();
    assert_eq!(read_all(&*log, 0), kept);
    if start > seen[0].offset {
        match log.read(0, seen[0].offset, 1_000) {
            Err(ReadError::Gone { start: said, .. }) => assert_eq!(said, start),
            other => panic!("expected Gone, got {other:?}"),
        }
    }
    assert_eq!(log.retire(0, 0).expect("nothing to do"), start, "a start never falls");
    drop(log);
    let log = harness.reopen();
    assert_eq!(log.range(0).start, start);
    assert_eq!(read_all(&*log, 0), kept);
    kept.len() as u64
}
