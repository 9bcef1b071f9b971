//! Copying a log into another, of any engine, to move to it: ids, times and all other bytes stay as
//! they are.
//!
//! Nothing new is asked of an engine: an append keeps the ids that records have. What a copy has to
//! see to is order, for whoever counts drops what is overtaken by a later record of its appender. So
//! each partition of the other log gets one append after the other, each when the one before is durable,
//! and one that nobody can vouch for is appended again, whole.

use std::time::Duration;

use reckon_event::{Kind, Topic, peek};

use crate::{Chunk, EventLog, Outcome, ReadError, Receipt, Refusal, own_id};

/// Read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// So often one thing is tried that an engine cannot do for now.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Records that were read.
    pub records: u64,
    /// Records that were appended: of a control record there is a copy in every partition that holds it.
    pub appended: u64,
    /// The highest incarnation that gave one of them its id. The other log must be opened with a higher
    /// one from now on, or new records would be taken for these.
    pub incarnation: u32,
}

/// Why a copy is not whole. Begin again with an empty log.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is something in the other log.
    #[error("partition {0} of the log to copy into is not empty: copy into a new log")]
    NotEmpty(u16),
    /// The log cannot be read.
    #[error("partition {partition} of the log to copy: {source}")]
    Read {
        /// Which partition.
        partition: u16,
        /// Why.
        source: ReadError,
    },
    /// The other log does not take it.
    #[error("partition {partition} of the log to copy into took no records: {outcome:?}")]
    NotTaken {
        /// Which partition.
        partition: u16,
        /// What it said last.
        outcome: Outcome,
    },
}

/// Appends everything that is in `from` now to `to`, which must be empty. Nobody else may append to
/// either meanwhile.
pub fn copy(from: &dyn EventLog, to: &dyn EventLog) -> Result<Copied, CopyError> {
    if let Some(full) = (0..to.partitions()).find(|&one| !to.range(one).is_empty()) {
        return Err(CopyError::NotEmpty(full));
    }
    let mut copied = Copied::default();
    for partition in 0..from.partitions() {
        let range = from.range(partition);
        let mut next = range.start;
        while next < range.end {
            let chunk = read(from, partition, next)
                .map_err(|source| CopyError::Read { partition, source })?;
            next = chunk.next;
            copied.take(&chunk, to)?;
        }
    }
    Ok(copied)
}

fn read(from: &dyn EventLog, partition: u16, next: u64) -> Result<Chunk, ReadError> {
    for _ in 1..TRIES {
        match from.read(partition, next, CHUNK_BYTES) {
            Err(ReadError::Unavailable(_)) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    from.read(partition, next, CHUNK_BYTES)
}

/// What one partition gets of a chunk.
#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    count: u32,
}

impl Copied {
    fn take(&mut self, chunk: &Chunk, to: &dyn EventLog) -> Result<(), CopyError> {
        let mut parts: Vec<Part> = (0..to.partitions()).map(|_| Part::default()).collect();
        for entry in &chunk.entries {
            let record = &chunk.bytes[entry.bytes.clone()];
            let appender = own_id(record).map_or(0, |id| id.appender);
            self.incarnation = self.incarnation.max((appender >> 32) as u32);
            self.records += 1;
            for place in places(to, record) {
                let part = &mut parts[usize::from(place)];
                part.bytes.extend_from_slice(record);
                part.count += 1;
                self.appended += 1;
            }
        }
        append_all(to, &parts)
    }
}

/// Where a record belongs: control records everywhere that holds them, all others in one partition.
fn places(to: &dyn EventLog, record: &[u8]) -> Vec<u16> {
    let peeked = peek(record).expect("a log holds whole records");
    let kind = match Kind::from_code(peeked.kind_code) {
        Some(Kind::Control) => {
            let holds = |&one: &u16| to.holds(one, peeked.kind_code, peeked.slot);
            return (0..to.partitions()).filter(holds).collect();
        }
        Some(kind) => kind,
        // Of a later build: where the topic of such kinds is.
        None => Kind::Conversion,
    };
    debug_assert!(kind.topic() == Topic::of_kind_code(peeked.kind_code));
    vec![to.partition_of(kind, peeked.slot)]
}

/// Appends to all partitions at once, and returns when all of it is durable.
fn append_all(to: &dyn EventLog, parts: &[Part]) -> Result<(), CopyError> {
    let parts = (0..).zip(parts).filter(|(_, part)| part.count > 0);
    let flying: Vec<(u16, &Part, Receipt)> = parts
        .map(|(place, part)| (place, part, to.append(place, &part.bytes, part.count)))
        .collect();
    for (partition, part, mut receipt) in flying {
        let mut tries = 1;
        loop {
            let outcome = receipt.wait();
            if matches!(outcome, Outcome::Durable(_)) {
                break;
            }
            if tries == TRIES || outcome == Outcome::NotWritten(Refusal::Closed) {
                return Err(CopyError::NotTaken { partition, outcome });
            }
            tries += 1;
            std::thread::sleep(PAUSE);
            receipt = to.append(partition, &part.bytes, part.count);
        }
    }
    Ok(())
}
