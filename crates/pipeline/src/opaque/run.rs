//! A run: opaque ids of one time bucket, sorted, in a file that is never changed.
//!
//! ```text
//! file opaque-<number>.run                                                little endian
//! | block * | filter | index | newest by strand 3,072 x i64 | CRC32C u32 of these three | tail |
//! block (4,096 bytes): entry * up to 102 | zeros | count u16 | 0 u16 | CRC32C u32 | 8 zeros
//! entry (40 bytes):    key u128 | offset u64 | digest u64 | received i64
//! index:               key u128 of the first entry of each block
//! tail (32 bytes):     "RKOI" | version u16 | 0 u16 | entries u64 | filter bytes u64 | 0 u32 |
//!                      CRC32C u32 of the 28 before
//! ```
//!
//! Filter and index stay in memory (17.3 bits an id); a look that passes the filter reads one block.
//! A key stands once in a run, so its place follows from the index alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_count::{FirstCopy, OpaqueKey, Strand};
use reckon_disk::{Disk, File, Open};
use reckon_event::{Position, Timestamp};

use super::filter::Filter;
use crate::Error;
use crate::bytes::Reader;
use crate::numbered;

const MAGIC: &[u8; 4] = b"RKOI";
const VERSION: u16 = 2;
const BLOCK_BYTES: usize = 4_096;
const BLOCK_TAIL: usize = 16;
const ENTRY_BYTES: usize = 40;
const ENTRIES_PER_BLOCK: usize = (BLOCK_BYTES - BLOCK_TAIL) / ENTRY_BYTES;
const KEY_BYTES: usize = 16;
const TAIL_BYTES: usize = 32;
const NEWEST_BYTES: usize = Strand::COUNT * 8;
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 256 * BLOCK_BYTES;

/// One id of a run. The partition of its position follows from its strand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: OpaqueKey,
    pub offset: u64,
    pub digest: u64,
    pub received: Timestamp,
}

/// A run that can be asked.
pub(super) struct Run {
    pub number: u64,
    /// The time bucket its ids were received in.
    pub bucket: i64,
    pub entries: u64,
    /// The highest receive time by strand; `i64::MIN` where the strand has none in it.
    pub newest: Vec<i64>,
    path: PathBuf,
    file: Arc<dyn File>,
    filter: Filter,
    index: Vec<u128>,
}

impl Entry {
    /// What the fold is told of it, for a record at `position` of the same strand.
    pub fn first_copy(&self, position: Position) -> FirstCopy {
        FirstCopy {
            position: Position { partition: position.partition, offset: self.offset },
            digest: self.digest,
            received: self.received,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.0.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.digest.to_le_bytes());
        out.extend_from_slice(&self.received.0.to_le_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Entry {
            key: OpaqueKey(reader.u128()?),
            offset: reader.u64()?,
            digest: reader.u64()?,
            received: Timestamp(reader.i64()?),
        })
    }
}

/// The word in the names of these files.
pub(super) const WORD: &str = "opaque";

/// Where the run of a number stands.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    numbered::path_of(dir, WORD, number)
}

impl Run {
    /// Opens a run: reads filter and index, and checks them.
    pub fn open(disk: &dyn Disk, dir: &Path, number: u64, bucket: i64) -> Result<Self, Error> {
        let path = path_of(dir, number);
        let failed = |error| Error::disk(format!("open {}", path.display()), error);
        let file = match disk.open(&path, Open::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::damaged(path.display().to_string(), "missing"));
            }
            opened => opened.map_err(failed)?,
        };
        let length = file.len().map_err(failed)?;
        let tail_at = length
            .checked_sub(TAIL_BYTES as u64)
            .ok_or_else(|| Error::damaged(path.display().to_string(), "shorter than its tail"))?;
        let tail = read_exact(&*file, &path, tail_at, TAIL_BYTES)?;
        let damaged = |what: &str| Error::damaged(path.display().to_string(), what);
        let (entries, filter_bytes) = read_tail(&tail).ok_or_else(|| damaged("tail"))?;
        let blocks = entries.div_ceil(ENTRIES_PER_BLOCK as u64);
        let above_at = blocks * BLOCK_BYTES as u64;
        let above_bytes = filter_bytes + blocks * KEY_BYTES as u64 + NEWEST_BYTES as u64 + 4;
        if above_at + above_bytes != tail_at {
            return Err(damaged("length"));
        }
        let above = read_exact(&*file, &path, above_at, above_bytes as usize)?;
        let (filter, index, newest) = read_above(&above, filter_bytes as usize, blocks as usize)
            .ok_or_else(|| damaged("filter and index"))?;
        Ok(Run { number, bucket, entries, newest, path, file, filter, index })
    }

    /// The entry of a key; counts a block it had to read.
    pub fn find(&self, key: OpaqueKey, block_reads: &mut u64) -> Result<Option<Entry>, Error> {
        if !self.filter.may_contain(key.0) {
            return Ok(None);
        }
        let Some(block) = self.index.partition_point(|&first| first <= key.0).checked_sub(1) else {
            return Ok(None);
        };
        *block_reads += 1;
        let entries = self.block(block)?;
        let at = entries.binary_search_by_key(&key, |entry| entry.key);
        Ok(at.ok().map(|at| entries[at]))
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> usize {
        self.index.len()
    }

    /// The entries of one block, ascending by key.
    pub fn block(&self, block: usize) -> Result<Vec<Entry>, Error> {
        let at = (block * BLOCK_BYTES) as u64;
        let bytes = read_exact(&*self.file, &self.path, at, BLOCK_BYTES)?;
        read_block(&bytes)
            .filter(|entries| entries.first().is_some_and(|e| e.key.0 == self.index[block]))
            .ok_or_else(|| {
                Error::damaged(self.path.display().to_string(), format!("block {block}"))
            })
    }

    /// The memory its filter and index take.
    pub fn memory_bytes(&self) -> usize {
        self.filter.bytes() + self.index.len() * KEY_BYTES + NEWEST_BYTES
    }

    /// Checks what opening does not: that every block is sound, in order, and known to the filter.
    pub fn check(&self) -> Result<(), Error> {
        let damaged = |what: String| Error::damaged(self.path.display().to_string(), what);
        let (mut last, mut entries) = (None, 0);
        for block in 0..self.blocks() {
            for entry in self.block(block)? {
                if last >= Some(entry.key) {
                    return Err(damaged(format!("block {block} is out of order")));
                }
                if !self.filter.may_contain(entry.key.0) {
                    return Err(damaged(format!("the filter denies a key of block {block}")));
                }
                last = Some(entry.key);
                entries += 1;
            }
        }
        let is_whole = entries == self.entries;
        if is_whole { Ok(()) } else { Err(damaged("entries are missing".to_owned())) }
    }
}

/// Writes a run entry by entry.
pub(super) struct RunWriter {
    path: PathBuf,
    file: Arc<dyn File>,
    filter: Filter,
    index: Vec<u128>,
    newest: Vec<i64>,
    entries: u64,
    block: Vec<u8>,
    buffer: Vec<u8>,
    written: u64,
}

impl RunWriter {
    /// For at most `entries_max` entries.
    pub fn new(disk: &dyn Disk, dir: &Path, number: u64, entries_max: u64) -> Result<Self, Error> {
        let path = path_of(dir, number);
        let file = disk
            .open(&path, Open::Truncate)
            .map_err(|error| Error::disk(format!("create {}", path.display()), error))?;
        Ok(RunWriter {
            path,
            file,
            filter: Filter::new(entries_max),
            index: Vec::new(),
            newest: vec![i64::MIN; Strand::COUNT],
            entries: 0,
            block: Vec::with_capacity(BLOCK_BYTES),
            buffer: Vec::with_capacity(WRITE_BYTES),
            written: 0,
        })
    }

    /// Adds an entry; keys ascend strictly.
    pub fn push(&mut self, entry: &Entry) -> Result<(), Error> {
        if self.block.is_empty() {
            self.index.push(entry.key.0);
        }
        entry.put(&mut self.block);
        self.filter.insert(entry.key.0);
        let strand = entry.key.strand().expect("keys are made of a strand");
        let newest = &mut self.newest[strand.number()];
        *newest = (*newest).max(entry.received.0);
        self.entries += 1;
        if self.block.len() == ENTRIES_PER_BLOCK * ENTRY_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), Error> {
        let count = (self.block.len() / ENTRY_BYTES) as u16;
        self.block.resize(BLOCK_BYTES - BLOCK_TAIL, 0);
        self.block.extend_from_slice(&count.to_le_bytes());
        self.block.extend_from_slice(&[0; 2]);
        let sum = crc32c::crc32c(&self.block);
        self.block.extend_from_slice(&sum.to_le_bytes());
        self.block.extend_from_slice(&[0; 8]);
        self.buffer.append(&mut self.block);
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file
            .write_at(&self.buffer, self.written)
            .map_err(|error| Error::disk(format!("write {}", self.path.display()), error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file and syncs it; its name is not durable yet. Gives the number of entries.
    pub fn finish(mut self) -> Result<u64, Error> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let filter = self.filter.to_bytes();
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&filter);
        for key in &self.index {
            self.buffer.extend_from_slice(&key.to_le_bytes());
        }
        for newest in &self.newest {
            self.buffer.extend_from_slice(&newest.to_le_bytes());
        }
        let sum = crc32c::crc32c(&self.buffer[start..]);
        self.buffer.extend_from_slice(&sum.to_le_bytes());
        put_tail(&mut self.buffer, self.entries, filter.len() as u64);
        self.flush()?;
        self.file
            .sync()
            .map_err(|error| Error::disk(format!("sync {}", self.path.display()), error))?;
        Ok(self.entries)
    }
}

fn put_tail(out: &mut Vec<u8>, entries: u64, filter_bytes: u64) {
    let start = out.len();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&entries.to_le_bytes());
    out.extend_from_slice(&filter_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let sum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

fn read_tail(tail: &[u8]) -> Option<(u64, u64)> {
    let mut reader = Reader(tail);
    let is_ours = &reader.array::<4>()? == MAGIC && reader.u16()? == VERSION;
    reader.u16()?;
    let (entries, filter_bytes) = (reader.u64()?, reader.u64()?);
    reader.u32()?;
    let is_sound = reader.u32()? == crc32c::crc32c(&tail[..TAIL_BYTES - 4]);
    (is_ours && is_sound).then_some((entries, filter_bytes))
}

fn read_above(
    bytes: &[u8],
    filter_bytes: usize,
    blocks: usize,
) -> Option<(Filter, Vec<u128>, Vec<i64>)> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut reader = Reader(body);
    let filter = Filter::from_bytes(reader.bytes(filter_bytes)?)?;
    let index = (0..blocks).map(|_| reader.u128()).collect::<Option<_>>()?;
    let newest = (0..Strand::COUNT).map(|_| reader.i64()).collect::<Option<_>>()?;
    Some((filter, index, newest))
}

fn read_block(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (body, tail) = bytes.split_at_checked(BLOCK_BYTES - BLOCK_TAIL)?;
    let mut tail = Reader(tail);
    let (count, _, sum) = (usize::from(tail.u16()?), tail.u16()?, tail.u32()?);
    if crc32c::crc32c(&bytes[..BLOCK_BYTES - BLOCK_TAIL + 4]) != sum || count > ENTRIES_PER_BLOCK {
        return None;
    }
    let mut reader = Reader(body);
    (0..count).map(|_| Entry::read(&mut reader)).collect()
}

fn read_exact(file: &dyn File, path: &Path, at: u64, count: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; count];
    let read = file
        .read_at(&mut bytes, at)
        .map_err(|error| Error::disk(format!("read {}", path.display()), error))?;
    if read == count {
        Ok(bytes)
    } else {
        Err(Error::damaged(
            path.display().to_string(),
            format!("ends before byte {}", at + count as u64),
        ))
    }
}
