//! Runs: immutable, sorted, columnar files of one cube and one span of time.
//!
//! ```text
//!   magic 8 | block | block | ... | leaders
//!   index | index offset u64 | index length u32 | crc32c u32 | magic 8
//! ```
//!
//! The index has the place of the leaders ([`super::leaders`]; length 0 where there are none) and, for
//! each block, its place, its checksum, the leading part of its first key and its least and greatest
//! bucket, so a question about one ad reads one block of a run. A run is written once, synced, and then
//! named by a manifest; nothing ever changes it. Version 1 had no leaders.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use reckon_disk::{Disk, File, Open};

use super::block::{BLOCK_ROWS, Block, Grid, OpenBlock, Wanted};
use super::leaders::{self, Gather, Leaders};
use super::options::Dimensions;
use super::row::{LEADS_ALL, Lead, Row, Select};
use super::wire::{Reader, seal, unseal};
use crate::Error;

const MAGIC: &[u8; 8] = b"RKNRUN02";
const MAGIC_1: &[u8; 8] = b"RKNRUN01";
const TAIL_BYTES: u64 = 24;
/// Bytes gathered before they are handed to the disk.
const CHUNK_BYTES: usize = 1 << 20;
/// A block can never be larger: every column raw, and its headers.
const BLOCK_BYTES_MAX: usize = 52 + 13 * (16 + BLOCK_ROWS * 8);

/// A stretch of time, aligned to its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    /// The first second.
    pub start: i64,
    /// How many seconds.
    pub width: i64,
}

impl Span {
    pub(super) const fn of(second: i64, width: i64) -> Self {
        Span { start: second.div_euclid(width) * width, width }
    }

    pub(super) const fn end(self) -> i64 {
        self.start + self.width
    }
}

/// What the manifest says of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunMeta {
    /// Number of the file; later ones are higher.
    pub id: u64,
    /// Place of its cube among the declared ones.
    pub cube: u16,
    /// What its rows lie in.
    pub span: Span,
    /// Start of its first bucket.
    pub least: i64,
    /// Start of its last bucket.
    pub greatest: i64,
    /// How many rows.
    pub rows: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// The file of a run.
pub(super) fn run_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("run-{id:016}"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockEntry {
    offset: u64,
    length: u32,
    sum: u32,
    rows: u32,
    first: Lead,
    least: i64,
    greatest: i64,
}

const ENTRY_BYTES: usize = 8 + 4 + 4 + 4 + 4 + 8 + 8 + 8 + 8;

impl BlockEntry {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.sum.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.first.0.to_le_bytes());
        out.extend_from_slice(&self.first.1.to_le_bytes());
        out.extend_from_slice(&self.first.2.to_le_bytes());
        out.extend_from_slice(&self.least.to_le_bytes());
        out.extend_from_slice(&self.greatest.to_le_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(BlockEntry {
            offset: reader.u64()?,
            length: reader.u32().filter(|length| *length as usize <= BLOCK_BYTES_MAX)?,
            sum: reader.u32()?,
            rows: reader.u32().filter(|rows| (1..=BLOCK_ROWS as u32).contains(rows))?,
            first: (reader.u32()?, reader.u64()?, reader.u64()?),
            least: reader.i64()?,
            greatest: reader.i64()?,
        })
    }
}

/// What is read of a run before anything else.
#[derive(Debug, PartialEq, Eq)]
struct Index {
    leaders_offset: u64,
    leaders_length: u32,
    blocks: Vec<BlockEntry>,
}

const INDEX_HEAD_BYTES: usize = 8 + 4;

impl Index {
    fn read(bytes: &[u8], is_first: bool) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (leaders_offset, leaders_length) =
            if is_first { (0, 0) } else { (reader.u64()?, reader.u32()?) };
        let head = if is_first { 0 } else { INDEX_HEAD_BYTES };
        let count = (bytes.len() - head) / ENTRY_BYTES;
        let blocks: Option<Vec<_>> = (0..count).map(|_| BlockEntry::read(&mut reader)).collect();
        let blocks = blocks.filter(|_| reader.is_empty())?;
        Some(Index { leaders_offset, leaders_length, blocks })
    }
}

/// A folder that files are being added to.
pub(super) struct Folder<'a> {
    pub disk: &'a dyn Disk,
    pub dir: &'a Path,
    /// The number of the last file.
    pub last_file: u64,
}

impl Folder<'_> {
    pub(super) fn next_file(&mut self) -> u64 {
        self.last_file += 1;
        self.last_file
    }

    /// A run of `cube` in `span`, of which nothing has been written yet.
    pub(super) fn run(&mut self, cube: u16, span: Span) -> RunMeta {
        let id = self.next_file();
        RunMeta { id, cube, span, least: i64::MAX, greatest: i64::MIN, rows: 0, bytes: 0 }
    }
}

/// Writes one run: rows are pushed in the order of their keys. The file is made when the first chunk
/// is full, so that many small runs do not need many open files.
pub(super) struct RunWriter {
    file: Option<Arc<dyn File>>,
    meta: RunMeta,
    grid: Grid,
    block: OpenBlock,
    chunk: Vec<u8>,
    entries: Vec<BlockEntry>,
    gather: Option<Gather>,
}

impl RunWriter {
    /// Begins the file of `meta`, whose rows, bytes and bounds are found out on the way.
    pub(super) fn new(meta: RunMeta, (dimensions, pane_seconds): (Dimensions, i64)) -> Self {
        let grid = Grid { start: meta.span.start, pane_seconds };
        let has_leaders = leaders::are_kept(dimensions, grid, meta.span.width);
        RunWriter {
            file: None,
            meta,
            grid,
            gather: has_leaders.then(|| Gather::new(grid, meta.span.width)),
            block: OpenBlock::default(),
            chunk: MAGIC.to_vec(),
            entries: Vec::new(),
        }
    }

    pub(super) const fn span(&self) -> Span {
        self.meta.span
    }

    /// Adds a row; one that is zero is left out.
    pub(super) fn push(&mut self, row: &Row, folder: &Folder<'_>) -> Result<(), Error> {
        if row.is_zero() {
            return Ok(());
        }
        if let Some(gather) = &mut self.gather {
            gather.push(row);
        }
        self.block.push(row, self.grid);
        if self.block.len() == BLOCK_ROWS { self.end_block(folder) } else { Ok(()) }
    }

    fn end_block(&mut self, folder: &Folder<'_>) -> Result<(), Error> {
        let Some(first) = self.block.first() else { return Ok(()) };
        let rows = u32::try_from(self.block.len()).expect("blocks are small");
        let (least, greatest) = self.block.seconds(self.grid);
        let start = self.chunk.len();
        self.block.encode(&mut self.chunk);
        let bytes = &self.chunk[start..];
        self.entries.push(BlockEntry {
            offset: self.meta.bytes + start as u64,
            length: u32::try_from(bytes.len()).expect("blocks are small"),
            sum: crc32c::crc32c(bytes),
            rows,
            first,
            least,
            greatest,
        });
        self.meta.rows += u64::from(rows);
        self.meta.least = self.meta.least.min(least);
        self.meta.greatest = self.meta.greatest.max(greatest);
        if self.chunk.len() >= CHUNK_BYTES { self.flush(folder).map(drop) } else { Ok(()) }
    }

    fn flush(&mut self, folder: &Folder<'_>) -> Result<Arc<dyn File>, Error> {
        let path = run_path(folder.dir, self.meta.id);
        let failed = |error| Error::io(&path.display(), error);
        let file = match self.file.take() {
            Some(file) => file,
            None => folder.disk.open(&path, Open::Truncate).map_err(failed)?,
        };
        file.write_at(&self.chunk, self.meta.bytes).map_err(failed)?;
        self.meta.bytes += self.chunk.len() as u64;
        self.chunk.clear();
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Ends and syncs the file; `None` where there was no row, and then no file.
    pub(super) fn finish(mut self, folder: &Folder<'_>) -> Result<Option<RunMeta>, Error> {
        self.end_block(folder)?;
        if self.entries.is_empty() {
            return Ok(None);
        }
        let end = |writer: &Self| writer.meta.bytes + writer.chunk.len() as u64;
        let leaders_offset = end(&self);
        let leaders = self.gather.take().map(Gather::finish).unwrap_or_default();
        self.chunk.extend_from_slice(&leaders);
        let offset = end(&self);
        let mut index = Vec::with_capacity(INDEX_HEAD_BYTES + self.entries.len() * ENTRY_BYTES);
        index.extend_from_slice(&leaders_offset.to_le_bytes());
        let length = u32::try_from(leaders.len()).expect("leaders are few");
        index.extend_from_slice(&length.to_le_bytes());
        self.entries.iter().for_each(|entry| entry.put(&mut index));
        let length = u32::try_from(index.len()).expect("merges are bounded");
        index.extend_from_slice(&offset.to_le_bytes());
        index.extend_from_slice(&length.to_le_bytes());
        seal(&mut index);
        self.chunk.extend_from_slice(&index);
        self.chunk.extend_from_slice(MAGIC);
        let file = self.flush(folder)?;
        let path = run_path(folder.dir, self.meta.id);
        file.sync().map_err(|error| Error::io(&path.display(), error))?;
        Ok(Some(self.meta))
    }
}

/// A run that is in force.
pub(super) struct Run {
    pub meta: RunMeta,
    path: PathBuf,
    index: OnceLock<Index>,
    /// Read when they are first asked for; forgotten where many runs have been.
    leaders: Mutex<Option<Vec<Arc<Leaders>>>>,
}

impl Run {
    pub(super) fn new(dir: &Path, meta: RunMeta) -> Self {
        Run {
            meta,
            path: run_path(dir, meta.id),
            index: OnceLock::new(),
            leaders: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// True where a bucket of it may lie in `from..to`.
    pub(super) const fn overlaps(&self, from: i64, to: i64) -> bool {
        self.meta.least < to && self.meta.greatest >= from
    }

    fn damaged(&self, what: &str) -> Error {
        Error::damaged(&self.path.display(), what)
    }

    fn failed(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => self.damaged("the file is missing"),
            _ => Error::io(&self.path.display(), error),
        }
    }

    pub(super) fn open(&self, disk: &dyn Disk) -> Result<Arc<dyn File>, Error> {
        disk.open(&self.path, Open::Read).map_err(|e| self.failed(e))
    }

    fn index(&self, file: &dyn File) -> Result<&Index, Error> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = self.read_index(file)?;
        Ok(self.index.get_or_init(|| index))
    }

    fn read_index(&self, file: &dyn File) -> Result<Index, Error> {
        let length = file.len().map_err(|e| self.failed(e))?;
        if length != self.meta.bytes {
            return Err(self.damaged(&format!("{length} bytes, {} expected", self.meta.bytes)));
        }
        let tail_at = length.checked_sub(TAIL_BYTES).ok_or_else(|| self.damaged("too short"))?;
        let tail = self.read_bytes(file, tail_at, TAIL_BYTES as usize)?;
        let mut reader = Reader::new(&tail);
        let place = reader
            .u64()
            .zip(reader.u32())
            .filter(|(offset, length)| offset.checked_add(u64::from(*length)) == Some(tail_at));
        let (offset, length) = place.ok_or_else(|| self.damaged("its tail names no index"))?;
        let index = self.read_bytes(file, offset, length as usize + 16)?;
        let index = unseal(&index).ok_or_else(|| self.damaged("the index's checksum differs"))?;
        let is_first = tail.ends_with(MAGIC_1);
        Index::read(&index[..length as usize], is_first)
            .ok_or_else(|| self.damaged("its index holds numbers out of range"))
    }

    /// The leaders of `tenant`; `None` where it has none in this run.
    pub(super) fn leaders(
        &self,
        disk: &dyn Disk,
        tenant: u32,
    ) -> Result<Option<Arc<Leaders>>, Error> {
        let mut held = self.held_leaders();
        if held.is_none() {
            let read = self.read_leaders(&*self.open(disk)?)?;
            *held = Some(read.into_iter().map(Arc::new).collect());
        }
        let own = held.iter().flatten().find(|leaders| leaders.tenant == tenant);
        Ok(own.map(Arc::clone))
    }

    fn held_leaders(&self) -> MutexGuard<'_, Option<Vec<Arc<Leaders>>>> {
        // It holds nothing or everything, whatever happened to who held it.
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// About the bytes of memory its leaders take now.
    pub(super) fn leaders_bytes(&self) -> usize {
        self.held_leaders().iter().flatten().map(|leaders| leaders.bytes()).sum()
    }

    /// Lets go of them; they are read again when they are asked for.
    pub(super) fn forget_leaders(&self) {
        *self.held_leaders() = None;
    }

    fn read_leaders(&self, file: &dyn File) -> Result<Vec<Leaders>, Error> {
        let index = self.index(file)?;
        if index.leaders_length == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.read_bytes(file, index.leaders_offset, index.leaders_length as usize)?;
        leaders::decode(&bytes).ok_or_else(|| self.damaged("its leaders are not whole"))
    }

    fn read_bytes(&self, file: &dyn File, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, offset).map_err(|e| self.failed(e))?;
        if read == length { Ok(bytes) } else { Err(self.damaged("it ends too early")) }
    }

    fn read_block(
        &self,
        file: &dyn File,
        entry: &BlockEntry,
        (leads, wanted): ((Lead, Lead), Wanted),
        block: &mut Block,
    ) -> Result<(), Error> {
        let bytes = self.read_bytes(file, entry.offset, entry.length as usize)?;
        let at = || format!("block at byte {}", entry.offset);
        if crc32c::crc32c(&bytes) != entry.sum {
            return Err(self.damaged(&format!("the checksum of the {} differs", at())));
        }
        block
            .decode(&bytes, entry.rows as usize, leads, wanted)
            .ok_or_else(|| self.damaged(&format!("the {} does not decode", at())))
    }

    const fn grid(&self, pane_seconds: i64) -> Grid {
        Grid { start: self.meta.span.start, pane_seconds }
    }

    /// Hands the rows of `select` to `sink`, with the wanted columns only.
    pub(super) fn scan(
        &self,
        disk: &dyn Disk,
        shape: (Dimensions, i64),
        (select, wanted): (&Select, Wanted),
        mut sink: impl FnMut(&Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.overlaps(select.from, select.to) {
            return Ok(());
        }
        let file = self.open(disk)?;
        let grid = self.grid(shape.1);
        let mut block = Block::default();
        let leads = select.lead(shape.0);
        for entry in blocks_of(&self.index(&*file)?.blocks, select, shape.0) {
            self.read_block(&*file, entry, (leads, wanted), &mut block)?;
            for row in block.rows(grid) {
                if select.takes(&row.key) {
                    sink(&row)?;
                }
            }
        }
        Ok(())
    }

    /// Checks its leaders; [`Run::cursor`] checks everything else.
    pub(super) fn check_leaders(&self, disk: &dyn Disk) -> Result<(), Error> {
        self.read_leaders(&*self.open(disk)?).map(drop)
    }

    /// All its rows, one after the other.
    pub(super) fn cursor(
        self: &Arc<Self>,
        disk: &dyn Disk,
        pane_seconds: i64,
    ) -> Result<Cursor, Error> {
        let file = self.open(disk)?;
        self.index(&*file)?;
        let magic = self.read_bytes(&*file, 0, MAGIC.len())?;
        let end = self.read_bytes(&*file, self.meta.bytes - MAGIC.len() as u64, MAGIC.len())?;
        if magic != end || (magic != MAGIC && magic != MAGIC_1) {
            return Err(self.damaged("it is not a run of this version"));
        }
        Ok(Cursor {
            grid: self.grid(pane_seconds),
            run: Arc::clone(self),
            file,
            next_block: 0,
            block: Block::default(),
            at: 0,
        })
    }
}

/// The blocks that may hold rows of `select`.
fn blocks_of<'a>(
    index: &'a [BlockEntry],
    select: &'a Select,
    kept: Dimensions,
) -> impl Iterator<Item = &'a BlockEntry> {
    let (least, greatest) = select.lead(kept);
    let first = index.partition_point(|entry| entry.first < least).saturating_sub(1);
    index[first..]
        .iter()
        .take_while(move |entry| entry.first <= greatest)
        .filter(|entry| entry.least < select.to && entry.greatest >= select.from)
}

/// Reads a run from its first row to its last.
pub(super) struct Cursor {
    run: Arc<Run>,
    file: Arc<dyn File>,
    grid: Grid,
    next_block: usize,
    block: Block,
    at: usize,
}

impl Cursor {
    /// The next row; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Row>, Error> {
        if self.at == self.block.len() {
            let index = self.run.index(&*self.file)?;
            let Some(entry) = index.blocks.get(self.next_block) else { return Ok(None) };
            let all = (LEADS_ALL, Wanted::ALL);
            self.run.read_block(&*self.file, entry, all, &mut self.block)?;
            self.next_block += 1;
            self.at = 0;
        }
        self.at += 1;
        Ok(Some(self.block.row(self.at - 1, self.grid)))
    }
}
