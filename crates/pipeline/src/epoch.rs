//! Cutting epochs out of the log, and reading the very same again.

use reckon_event::{Bound, DecodeError, Position, Record, Slot, peek};
use reckon_eventlog::{Chunk, EventLog, ReadError};

use crate::{Error, Options};

/// A partition's share of an epoch is at least this many bytes.
const SHARE_BYTES_MIN: usize = 64 << 10;
/// Bytes asked for at a time.
const READ_BYTES: usize = 1 << 20;

/// The bytes of an epoch, with what it reads of each partition.
#[derive(Default)]
pub(crate) struct Input {
    pub bounds: Vec<Bound>,
    chunks: Vec<(u16, Chunk)>,
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
            input.gather_one(log, partition, from, (bytes_max, records_max))?;
        }
        Ok(input)
    }

    /// Reads piece by piece: buffers of this size are used again, and little is read in vain.
    fn gather_one(
        &mut self,
        log: &dyn EventLog,
        partition: u16,
        from: u64,
        (mut bytes_left, mut records_left): (usize, usize),
    ) -> Result<(), Error> {
        let mut bound = Bound { partition, from, to: from };
        while bytes_left > 0 && records_left > 0 {
            let mut chunk = match log.read(partition, bound.to, bytes_left.min(READ_BYTES)) {
                Ok(chunk) if chunk.entries.is_empty() => break,
                Ok(chunk) => chunk,
                // The other partitions go on: this one's records are counted when they can be read.
                Err(ReadError::Unavailable(_)) => break,
                Err(error) => return Err(error.into()),
            };
            if chunk.entries.len() > records_left {
                chunk.next = chunk.entries[records_left].offset;
                chunk.entries.truncate(records_left);
            }
            bytes_left = bytes_left.saturating_sub(chunk.bytes.len());
            records_left -= chunk.entries.len();
            bound.to = chunk.next;
            self.chunks.push((partition, chunk));
        }
        if bound.to > from {
            self.bounds.push(bound);
        }
        Ok(())
    }

    /// Exactly what an epoch has read before.
    pub fn read_again(log: &dyn EventLog, number: u64, bounds: &[Bound]) -> Result<Self, Error> {
        let mut input = Input::default();
        for &bound in bounds {
            let Bound { partition, mut from, to } = bound;
            while from < to {
                let mut chunk = log.read(partition, from, READ_BYTES)?;
                if chunk.next <= from {
                    let end = log.range(partition).end;
                    return Err(Error::Lost { number, partition, to, end });
                }
                let inside = chunk.entries.partition_point(|entry| entry.offset < to);
                chunk.entries.truncate(inside);
                from = chunk.next;
                input.chunks.push((partition, chunk));
            }
            input.bounds.push(bound);
        }
        Ok(input)
    }

    /// Position and bytes of every record, in the order of their positions within each partition.
    pub fn entries(&self) -> impl Iterator<Item = (Position, &[u8])> {
        self.chunks.iter().flat_map(|&(partition, ref chunk)| {
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
        log: &dyn EventLog,
    ) -> Result<(), Error> {
        let Position { partition, offset } = position;
        let failed = |source| Error::Record { partition, offset, source };
        let (kind, slot) = match Record::decode(bytes) {
            Ok((record, _)) => {
                self.records.push((position, record));
                (record.kind.code(), record.slot)
            }
            Err(DecodeError::Kind(kind)) => {
                let slot = peek(bytes).map_err(failed)?.slot;
                self.unknown.push(slot);
                (kind, slot)
            }
            Err(error) => return Err(failed(error)),
        };
        let is_placed = log.holds(partition, kind, slot);
        if is_placed { Ok(()) } else { Err(Error::Misplaced { partition, offset }) }
    }
}
