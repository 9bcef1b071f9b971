//! A copy of one log into another: how an installation moves from a disk to brokers.
//!
//! Every event goes over byte by byte, with the id and the times it has, into the partition that holds
//! its kind and slot; what is read there in order is what was read here in order, slot by slot. A
//! control record says something of all slots of its partition, so a copy of it goes into each
//! partition that has some of them, at the same place among the events, as a record of its own.
//!
//! That is only right where no partition of the other log takes slots from two of this one: time
//! passes in each by itself, and nobody knows in which order the two were.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use reckon_event::{Kind, Record, RecordId, Slot, peek};

use crate::{EventLog, Outcome, ReadError, Receipt};

/// How much is read at once.
const READ_BYTES: usize = 1 << 20;
/// An append of so many bytes or records goes off. Ahead of it one more is on its way, a partition.
const APPEND_BYTES: usize = 128 * 1_024;
const APPEND_RECORDS: u32 = 256;
/// How often an append is made before the other log is given up, and the pause between two.
const ATTEMPTS_MAX: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Events, each of which is once in either log.
    pub events: u64,
    /// Control records, as they were.
    pub controls: u64,
    /// Control records that were made of these.
    pub control_copies: u64,
}

/// Why a log was not copied, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A partition of the other log would take slots from two partitions of this one.
    #[error(
        "partition {to} of the new log has slots {to_slots:?}, and partition {from} of the old one has \
         slots {from_slots:?}: give the new log a number of partitions that is a multiple of the old one's"
    )]
    Crossing {
        /// A partition of the other log.
        to: u16,
        /// Its slots.
        to_slots: Range<u16>,
        /// A partition of this log.
        from: u16,
        /// Its slots.
        from_slots: Range<u16>,
    },
    /// Two partitions of this log have slots in common: it is split by topics.
    #[error("the old log is split by topics: one that is can be copied into none")]
    Topics,
    /// The beginning of this log is gone.
    #[error(
        "partition {partition} of the old log begins at offset {start}: what came before has been \
         retired and cannot be copied"
    )]
    Retired {
        /// The partition.
        partition: u16,
        /// Where it begins.
        start: u64,
    },
    /// The other log has records.
    #[error(
        "partition {partition} of the new log has {records} records: copy into an empty log (on Kafka \
         remove its topics, or set another log.kafka.topic_prefix)"
    )]
    NotEmpty {
        /// The partition.
        partition: u16,
        /// How many offsets it has used.
        records: u64,
    },
    /// This log cannot be read.
    #[error("the old log: {0}")]
    Read(#[from] ReadError),
    /// A record that is no record, behind a checksum that is right.
    #[error("the old log, partition {partition}, offset {offset}: {what}")]
    Record {
        /// The partition.
        partition: u16,
        /// Where.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The other log does not take records.
    #[error("the new log did not take records after {ATTEMPTS_MAX} attempts: {0:?}")]
    Refused(Outcome),
}

/// Copies everything that is in `from` at this moment into `to`, which is empty, and calls `tell` with the
/// number of records of `from` that have gone over, now and then. When it returns, all are durable.
///
/// Nobody else may append to either. A copy that was cut off leaves a part: begin with an empty log again.
pub fn copy(
    from: &dyn EventLog,
    to: &dyn EventLog,
    tell: &mut dyn FnMut(u64),
) -> Result<Copied, CopyError> {
    let targets = targets(from, to)?;
    for partition in 0..from.partitions() {
        let start = from.range(partition).start;
        if start > 0 {
            return Err(CopyError::Retired { partition, start });
        }
    }
    for partition in 0..to.partitions() {
        let records = to.range(partition).end;
        if records > 0 {
            return Err(CopyError::NotEmpty { partition, records });
        }
    }
    let mut copying = Copying {
        to,
        streams: (0..to.partitions()).map(|_| Stream::default()).collect(),
        copied: Copied::default(),
    };
    for (partition, targets) in (0..from.partitions()).zip(&targets) {
        copying.partition(from, partition, targets, tell)?;
    }
    for partition in 0..to.partitions() {
        copying.send(partition)?;
    }
    for partition in 0..to.partitions() {
        copying.settle(partition)?;
    }
    Ok(copying.copied)
}

/// The partitions of `to` that each partition of `from` goes into.
fn targets(from: &dyn EventLog, to: &dyn EventLog) -> Result<Vec<Vec<u16>>, CopyError> {
    let overlap = |a: &Range<u16>, b: &Range<u16>| a.start < b.end && b.start < a.end;
    let mut targets = Vec::new();
    for partition in 0..from.partitions() {
        let slots = from.slots(partition);
        if (0..partition).any(|other| overlap(&from.slots(other), &slots)) {
            return Err(CopyError::Topics);
        }
        let mut of = Vec::new();
        for target in 0..to.partitions() {
            let to_slots = to.slots(target);
            if !overlap(&slots, &to_slots) {
                continue;
            }
            if to_slots.start < slots.start || to_slots.end > slots.end {
                let from_slots = slots;
                return Err(CopyError::Crossing {
                    to: target,
                    to_slots,
                    from: partition,
                    from_slots,
                });
            }
            of.push(target);
        }
        targets.push(of);
    }
    Ok(targets)
}

/// A copy that is being made.
struct Copying<'a> {
    to: &'a dyn EventLog,
    streams: Vec<Stream>,
    copied: Copied,
}

/// What goes into one partition: records that gather, and an append that is on its way.
#[derive(Default)]
struct Stream {
    gathered: Batch,
    flying: Option<(Receipt, Batch)>,
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

impl Copying<'_> {
    fn partition(
        &mut self,
        from: &dyn EventLog,
        partition: u16,
        targets: &[u16],
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), CopyError> {
        let Range { start: mut at, end } = from.range(partition);
        while at < end {
            let chunk = from.read(partition, at, READ_BYTES)?;
            for entry in chunk.entries.iter().take_while(|entry| entry.offset < end) {
                let record = &chunk.bytes[entry.bytes.clone()];
                self.record(record, targets)?.map_err(|what| CopyError::Record {
                    partition,
                    offset: entry.offset,
                    what,
                })?;
            }
            at = chunk.next.max(at + 1);
            tell(self.copied.events + self.copied.controls);
        }
        Ok(())
    }

    /// The inner error is the record's.
    fn record(&mut self, bytes: &[u8], targets: &[u16]) -> Result<Result<(), String>, CopyError> {
        let peeked = match peek(bytes) {
            Ok(peeked) => peeked,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if peeked.kind_code == Kind::Control.code() {
            let control = match Record::decode(bytes) {
                Ok((control, _)) => control,
                Err(error) => return Ok(Err(error.to_string())),
            };
            self.copied.controls += 1;
            return self.control(control, targets).map(Ok);
        }
        // What is of a later build goes where all do that have no topic of their own.
        let kind = Kind::from_code(peeked.kind_code).unwrap_or(Kind::Conversion);
        let target = self.to.partition_of(kind, peeked.slot);
        self.copied.events += 1;
        self.gather(target, bytes).map(Ok)
    }

    /// One for each partition, which is another record and gets an id of its own.
    fn control(&mut self, control: Record<'_>, targets: &[u16]) -> Result<(), CopyError> {
        let mut bytes = Vec::new();
        for &target in targets {
            let slot = Slot::new(self.to.slots(target).start).expect("every partition has slots");
            bytes.clear();
            Record { slot, id: RecordId::default(), ..control }.encode(&mut bytes);
            self.gather(target, &bytes)?;
            self.copied.control_copies += 1;
        }
        Ok(())
    }

    fn gather(&mut self, target: u16, record: &[u8]) -> Result<(), CopyError> {
        let gathered = &mut self.streams[usize::from(target)].gathered;
        gathered.bytes.extend_from_slice(record);
        gathered.count += 1;
        if gathered.bytes.len() >= APPEND_BYTES || gathered.count >= APPEND_RECORDS {
            self.send(target)?;
        }
        Ok(())
    }

    /// Sends what has gathered, when what was sent before is durable: so nothing is overtaken.
    fn send(&mut self, target: u16) -> Result<(), CopyError> {
        self.settle(target)?;
        let stream = &mut self.streams[usize::from(target)];
        let batch = std::mem::take(&mut stream.gathered);
        if batch.count > 0 {
            let receipt = self.to.append(target, &batch.bytes, batch.count);
            stream.flying = Some((receipt, batch));
        }
        Ok(())
    }

    /// Waits until what is on its way is durable, and sends it again where it is not.
    fn settle(&mut self, target: u16) -> Result<(), CopyError> {
        let Some((mut receipt, batch)) = self.streams[usize::from(target)].flying.take() else {
            return Ok(());
        };
        for attempt in 1.. {
            match receipt.wait() {
                Outcome::Durable(_) => return Ok(()),
                outcome if attempt == ATTEMPTS_MAX => return Err(CopyError::Refused(outcome)),
                _ => thread::sleep(PAUSE),
            }
            receipt = self.to.append(target, &batch.bytes, batch.count);
        }
        unreachable!("the last attempt returns")
    }
}
