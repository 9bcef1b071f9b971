//! Cutting epochs out of the log, and reading the very same again.

use reckon_event::{Bound, DecodeError, Position, Record, Slot, peek};
use reckon_eventlog::{Chunk, EventLog, partition_of};

use crate::{Error, Options};

/// A partition's share of an epoch is at least this many bytes.
const SHARE_BYTES_MIN: usize = 64 << 10;
/// Bytes asked for at a time when an epoch is read again.
const REREAD_BYTES: usize = 1 << 20;

/// The bytes of an epoch, with what it reads of each partition.
#[derive(Default)]
pub(crate) struct Input {
    pub bounds: Vec<Bound>,
    chunks: Vec<(Bound, Chunk)>,
}

/// The records of an epoch.
#[derive(Default)]
pub(crate) struct Decoded<'a> {
    pub records: Vec<(Position, Record<'a>)>,
    /// The slots of records of kinds this build does not know.
    pub unknown: Vec<Slot>,
}

impl Input {
    /// What there is behind `position`, up to the bounds of an epoch. Empty where there is nothing.
    pub fn gather(log: &dyn EventLog, position: &[u64], options: &Options) -> Result<Self, Error> {
        let partitions = position.len();
        let bytes_max = (options.epoch_bytes_max / partitions).max(SHARE_BYTES_MIN);
        let records_max = (options.epoch_records_max / partitions).max(1);
        let mut input = Input::default();
        for (partition, &from) in (0_u16..).zip(position) {
            let mut chunk = log.read(partition, from, bytes_max)?;
            if chunk.entries.len() > records_max {
                chunk.next = chunk.entries[records_max].offset;
                chunk.entries.truncate(records_max);
            }
            if !chunk.entries.is_empty() {
                input.take(Bound { partition, from, to: chunk.next }, chunk);
            }
        }
        Ok(input)
    }

    /// Exactly what an epoch has read before.
    pub fn read_again(log: &dyn EventLog, number: u64, bounds: &[Bound]) -> Result<Self, Error> {
        let mut input = Input::default();
        for &bound in bounds {
            let Bound { partition, mut from, to } = bound;
            while from < to {
                let mut chunk = log.read(partition, from, REREAD_BYTES)?;
                if chunk.next <= from {
                    let end = log.range(partition).end;
                    return Err(Error::Lost { number, partition, to, end });
                }
                let inside = chunk.entries.partition_point(|entry| entry.offset < to);
                chunk.entries.truncate(inside);
                from = chunk.next;
                input.chunks.push((bound, chunk));
            }
            input.bounds.push(bound);
        }
        Ok(input)
    }

    fn take(&mut self, bound: Bound, chunk: Chunk) {
        self.bounds.push(bound);
        self.chunks.push((bound, chunk));
    }

    /// Position and bytes of every record, in the order of their positions within each partition.
    pub fn entries(&self) -> impl Iterator<Item = (Position, &[u8])> {
        self.chunks.iter().flat_map(|(bound, chunk)| {
            let partition = bound.partition;
            chunk.entries.iter().map(move |entry| {
                let position = Position { partition, offset: entry.offset };
                (position, &chunk.bytes[entry.bytes.clone()])
            })
        })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|(_, chunk)| chunk.entries.len()).sum()
    }
}

impl<'a> Decoded<'a> {
    /// Decodes one record.
    pub fn take(
        &mut self,
        position: Position,
        bytes: &'a [u8],
        partitions: u16,
    ) -> Result<(), Error> {
        let Position { partition, offset } = position;
        let failed = |source| Error::Record { partition, offset, source };
        let slot = match Record::decode(bytes) {
            Ok((record, _)) => {
                self.records.push((position, record));
                record.slot
            }
            Err(DecodeError::Kind(_)) => {
                let slot = peek(bytes).map_err(failed)?.slot;
                self.unknown.push(slot);
                slot
            }
            Err(error) => return Err(failed(error)),
        };
        let is_placed = partition_of(slot, partitions) == partition;
        if is_placed { Ok(()) } else { Err(Error::Misplaced { partition, offset }) }
    }
}
