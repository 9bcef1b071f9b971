//! Opens a table and reads its chunks.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Cursor, Order, Rows, Schema, bytes};
use crate::TrainError;
use crate::split::Share;

pub(super) const MAGIC: [u8; 4] = *b"RKTB";
pub(super) const END_MAGIC: [u8; 4] = *b"RKTE";
pub(super) const VERSION: u8 = 1;
const ENTRY: usize = 8 + 4 + 4 + 4 + 8 + 8;
const END: usize = 8 + 4 + 1 + 4 + 4;
/// A schema's JSON: 4,096 names of some 200 bytes.
const SCHEMA_BYTES_MAX: usize = 1 << 20;

/// A chunk's line in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u32,
    /// Its rows.
    pub rows: u32,
    /// Rows of it that were clicked.
    pub clicks: u32,
    /// The earliest time in it, in milliseconds.
    pub first_time: i64,
    /// The latest time in it.
    pub last_time: i64,
}

impl ChunkEntry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.clicks.to_le_bytes());
        out.extend_from_slice(&self.first_time.to_le_bytes());
        out.extend_from_slice(&self.last_time.to_le_bytes());
    }

    fn decode(bytes: &[u8; ENTRY]) -> Self {
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        ChunkEntry {
            offset: long(0),
            bytes: word(8),
            rows: word(12),
            clicks: word(16),
            first_time: long(20) as i64,
            last_time: long(28) as i64,
        }
    }
}

/// A data set on disk. Cheap to clone: each reader opens the file for itself.
#[derive(Clone, Debug)]
pub struct Table {
    path: PathBuf,
    schema: Schema,
    entries: Vec<ChunkEntry>,
    /// Row number of each chunk's first row, and the number of rows behind the last.
    starts: Vec<u64>,
    is_sorted: bool,
}

impl Table {
    /// Opens a table and reads its schema and index.
    pub fn open(path: &Path) -> Result<Table, TrainError> {
        let mut file = File::open(path).map_err(TrainError::file(path))?;
        let length = file.metadata().map_err(TrainError::file(path))?.len();
        let damaged = || TrainError::content(path, "not a whole table: make it again");
        let schema = read_schema(&mut file, path, length)?;
        let end =
            read_at(&mut file, path, length.checked_sub(END as u64).ok_or_else(damaged)?, END)?;
        let index = u64::from_le_bytes(std::array::from_fn(|i| end[i]));
        let chunks = u32::from_le_bytes(std::array::from_fn(|i| end[8 + i])) as usize;
        let index_bytes = chunks * ENTRY;
        if end[END - 4..] != END_MAGIC
            || index.checked_add((index_bytes + END) as u64) != Some(length)
        {
            return Err(damaged());
        }
        let mut bytes = read_at(&mut file, path, index, index_bytes)?;
        bytes.extend_from_slice(&end[..13]);
        if crc32c::crc32c(&bytes).to_le_bytes() != end[13..17] {
            return Err(damaged());
        }
        let entries: Vec<_> =
            bytes[..index_bytes].as_chunks().0.iter().map(ChunkEntry::decode).collect();
        if entries.iter().any(|entry| entry.offset + u64::from(entry.bytes) > index) {
            return Err(damaged());
        }
        let mut starts = vec![0];
        for entry in &entries {
            starts.push(starts[starts.len() - 1] + u64::from(entry.rows));
        }
        Ok(Table { path: path.to_owned(), schema, entries, starts, is_sorted: end[12] != 0 })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its columns are called.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Rows.
    pub fn len(&self) -> u64 {
        self.starts[self.entries.len()]
    }

    /// Whether it has no rows: never, once finished.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether rows lie in the order of their time.
    pub fn is_sorted(&self) -> bool {
        self.is_sorted
    }

    /// Its chunks.
    pub fn entries(&self) -> &[ChunkEntry] {
        &self.entries
    }

    /// The number of a chunk's first row.
    pub fn start(&self, chunk: usize) -> u64 {
        self.starts[chunk]
    }

    /// Reads part of it, in some order.
    pub fn read(&self, share: &Share, order: Order) -> Result<Cursor, TrainError> {
        Cursor::new(self, share, order)
    }

    /// Reads one chunk.
    pub(super) fn read_chunk(
        &self,
        file: &mut File,
        chunk: usize,
        buffer: &mut Vec<u8>,
        rows: &mut Rows,
    ) -> Result<(), TrainError> {
        let entry = &self.entries[chunk];
        buffer.resize(entry.bytes as usize, 0);
        file.seek(SeekFrom::Start(entry.offset)).map_err(TrainError::file(&self.path))?;
        file.read_exact(buffer).map_err(TrainError::file(&self.path))?;
        let whole = bytes::decode(buffer, rows).filter(|()| rows.len() == entry.rows as usize);
        whole.ok_or_else(|| {
            let problem = format!("chunk {chunk} is damaged: make the table again");
            TrainError::content(&self.path, problem)
        })
    }
}

fn read_schema(file: &mut File, path: &Path, length: u64) -> Result<Schema, TrainError> {
    let foreign = || TrainError::content(path, "not a table of training rows");
    let head = read_at(file, path, 0, length.min(9) as usize)?;
    if head.len() < 9 || head[..4] != MAGIC {
        return Err(foreign());
    }
    if head[4] != VERSION {
        let problem = format!("version {} of tables is not known to this build", head[4]);
        return Err(TrainError::content(path, problem));
    }
    let json = u32::from_le_bytes(std::array::from_fn(|i| head[5 + i])) as usize;
    if json > SCHEMA_BYTES_MAX || (9 + json + 4) as u64 > length {
        return Err(foreign());
    }
    let bytes = read_at(file, path, 0, 9 + json + 4)?;
    let (body, checksum) = bytes.split_at(9 + json);
    if crc32c::crc32c(body).to_le_bytes() != checksum {
        return Err(TrainError::content(path, "its schema is damaged: make the table again"));
    }
    let schema: Schema = serde_json::from_slice(&body[9..]).map_err(|_| foreign())?;
    schema.check()?;
    Ok(schema)
}

fn read_at(file: &mut File, path: &Path, offset: u64, bytes: usize) -> Result<Vec<u8>, TrainError> {
    let mut buffer = vec![0; bytes];
    file.seek(SeekFrom::Start(offset)).map_err(TrainError::file(path))?;
    file.read_exact(&mut buffer).map_err(TrainError::file(path))?;
    Ok(buffer)
}
