//! Writes a table: rows gather into a chunk, a full chunk is written.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::file::{ChunkEntry, END_MAGIC, MAGIC, VERSION};
use super::{CHUNK_ROWS, RowRef, Rows, Schema, Table, bytes};
use crate::TrainError;

/// Writes a table. What was begun and not finished leaves a file with `.part` at its end.
#[derive(Debug)]
pub struct TableWriter {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    offset: u64,
    gathered: Rows,
    buffer: Vec<u8>,
    entries: Vec<ChunkEntry>,
    is_sorted: bool,
    last_time: i64,
    /// Groups that rows came of: one that ends may not begin again. Bounded by [`GROUPS_KNOWN`].
    groups: HashSet<u64>,
    group: Option<u64>,
}

/// As many groups are remembered to tell a torn one; in larger tables only the first ones are checked.
const GROUPS_KNOWN: usize = 1 << 22;

impl TableWriter {
    /// Begins a table at this path.
    pub fn create(path: &Path, schema: &Schema) -> Result<Self, TrainError> {
        schema.check()?;
        let part = path.with_extension("part");
        let file = File::create(&part).map_err(TrainError::file(&part))?;
        let mut writer = TableWriter {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 20, file),
            part,
            offset: 0,
            gathered: Rows::new(schema),
            buffer: Vec::new(),
            entries: Vec::new(),
            is_sorted: true,
            last_time: i64::MIN,
            groups: HashSet::new(),
            group: None,
        };
        let json = serde_json::to_vec(schema).expect("names are text");
        writer.buffer.extend_from_slice(&MAGIC);
        writer.buffer.push(VERSION);
        writer.buffer.extend_from_slice(&(json.len() as u32).to_le_bytes());
        writer.buffer.extend_from_slice(&json);
        let checksum = crc32c::crc32c(&writer.buffer);
        writer.buffer.extend_from_slice(&checksum.to_le_bytes());
        writer.write()?;
        Ok(writer)
    }

    /// Appends a row. Rows of a group follow each other.
    ///
    /// # Panics
    /// Where the row has another shape than the schema.
    pub fn push(&mut self, row: RowRef<'_>) -> Result<(), TrainError> {
        let shape = (self.gathered.columns, self.gathered.fields);
        assert_eq!((row.numeric.len(), row.keys.len()), shape, "a row has the schema's shape");
        self.see_group(row.group)?;
        self.is_sorted &= row.time >= self.last_time;
        self.last_time = row.time;
        self.gathered.push(row);
        if self.gathered.len() == CHUNK_ROWS { self.write_chunk() } else { Ok(()) }
    }

    /// Writes what is left and the index, and gives the file its name.
    pub fn finish(mut self) -> Result<Table, TrainError> {
        if !self.gathered.is_empty() {
            self.write_chunk()?;
        }
        if self.entries.is_empty() {
            return Err(TrainError::content(&self.path, "no rows: a table has at least one"));
        }
        let index = self.offset;
        let TableWriter { buffer, entries, is_sorted, .. } = &mut self;
        entries.iter().for_each(|entry| entry.encode(buffer));
        buffer.extend_from_slice(&index.to_le_bytes());
        buffer.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        buffer.push(u8::from(*is_sorted));
        let checksum = crc32c::crc32c(buffer);
        buffer.extend_from_slice(&checksum.to_le_bytes());
        buffer.extend_from_slice(&END_MAGIC);
        self.write()?;
        let TableWriter { path, part, file, .. } = self;
        let file =
            file.into_inner().map_err(|error| TrainError::file(&part)(error.into_error()))?;
        file.sync_all().map_err(TrainError::file(&part))?;
        fs::rename(&part, &path).map_err(TrainError::file(&path))?;
        Table::open(&path)
    }

    fn see_group(&mut self, group: u64) -> Result<(), TrainError> {
        if self.group == Some(group) {
            return Ok(());
        }
        self.group = Some(group);
        if self.groups.len() < GROUPS_KNOWN && !self.groups.insert(group) {
            let problem = format!("rows of group {group} do not follow each other: sort by it");
            return Err(TrainError::content(&self.path, problem));
        }
        Ok(())
    }

    fn write_chunk(&mut self) -> Result<(), TrainError> {
        let rows = &self.gathered;
        let times = || rows.times.iter().copied();
        let offset = self.offset;
        bytes::encode(rows, &mut self.buffer);
        self.entries.push(ChunkEntry {
            offset,
            bytes: self.buffer.len() as u32,
            rows: rows.len() as u32,
            clicks: rows.labels.iter().filter(|&&label| label).count() as u32,
            first_time: times().min().unwrap_or(i64::MAX),
            last_time: times().max().unwrap_or(i64::MIN),
        });
        self.gathered.clear();
        self.write()
    }

    fn write(&mut self) -> Result<(), TrainError> {
        self.file.write_all(&self.buffer).map_err(TrainError::file(&self.part))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
