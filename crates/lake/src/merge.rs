//! Many small files of an hour become few larger ones, row for row.
//!
//! Each persist leaves a file an hour and tenant. Eight files of a size class become one of the next
//! class, so a row is rewritten once a class. A file of an eighth of what one merge reads is large
//! enough and left alone: under load files are born that large, and nothing is written twice. One merge takes a bounded
//! number of bytes, reads its files in batches and keeps their order, so its memory is bounded by the
//! files' compressed bytes and a batch of each.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use bytes::Bytes;

use crate::keeper::Keeper;
use crate::manifest::{FILE_FORMAT, Table};
use crate::part::{self, Encoder, READ_ROWS};
use crate::{LakeError, LakeFile};

/// So many files of one size class become one.
const FAN_IN: usize = 8;
/// Files below this are one class; each class above is eight times as large.
const SMALLEST_BYTES: u64 = 256 << 10;

/// Which files to merge next; `None` where all is well. The oldest hour with the smallest class first.
pub(crate) fn plan(files: &[LakeFile], bytes_max: u64) -> Option<Vec<LakeFile>> {
    let mut classes: BTreeMap<(u32, u32, Table, u32), Vec<&LakeFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.format == FILE_FORMAT) {
        if file.bytes * (FAN_IN as u64) <= bytes_max {
            let key = (class(file.bytes), file.hour, file.table, file.tenant);
            classes.entry(key).or_default().push(file);
        }
    }
    let group = classes.into_values().find(|group| group.len() >= FAN_IN)?;
    let mut taken: Vec<LakeFile> = Vec::new();
    let mut bytes = 0;
    for file in group {
        bytes += file.bytes;
        if bytes > bytes_max || taken.len() == 4 * FAN_IN {
            break;
        }
        taken.push(file.clone());
    }
    (taken.len() > 1).then_some(taken)
}

fn class(bytes: u64) -> u32 {
    (bytes / SMALLEST_BYTES).checked_ilog2().map_or(0, |exponent| exponent / 3 + 1)
}

impl Keeper {
    /// Merges one group of small files, where there is one; true where it did. Rows stay as they are.
    pub fn merge_once(&mut self) -> Result<bool, LakeError> {
        let Some(group) = plan(&self.manifest.files, self.options.merge_bytes_max) else {
            return Ok(false);
        };
        let mut inputs = Vec::with_capacity(group.len());
        for file in &group {
            inputs.push((file.path.as_str(), self.checked(file)?));
        }
        let (file, bytes) = merge(&group[0], inputs)?;
        let rows: u64 = group.iter().map(|file| file.rows).sum();
        assert_eq!(file.rows, rows, "a merge keeps every row");
        let file = self.put_file(file, &bytes)?;
        let gone: HashSet<String> = group.into_iter().map(|file| file.path).collect();
        self.replace(&gone, &[file])?;
        Ok(true)
    }

    /// A file's bytes, which must be those that were written.
    pub fn checked(&self, file: &LakeFile) -> Result<Bytes, LakeError> {
        part::checked(file, self.store.get(&file.path)?)
    }
}

/// One input: its rows still to come, and the batch that is being read.
struct Source<I> {
    rest: I,
    keys: Vec<(u64, u64, u64)>,
    /// Which of the held batches is its current one, and the next row in it.
    batch: usize,
    row: usize,
}

fn merge(like: &LakeFile, inputs: Vec<(&str, Bytes)>) -> Result<(LakeFile, Bytes), LakeError> {
    let table = like.table;
    let mut held: Vec<RecordBatch> = Vec::new();
    let mut sources = Vec::new();
    let mut heap = BinaryHeap::new();
    for (path, bytes) in inputs {
        let rest = part::decode(path, bytes)?;
        let mut source = Source { rest, keys: Vec::new(), batch: 0, row: 0 };
        if source.advance(table, &mut held)? {
            heap.push(Reverse((source.keys[0], sources.len())));
        }
        sources.push(source);
    }
    let first = held.first().ok_or_else(|| LakeError::damaged(&like.path, "no rows"))?;
    let mut encoder = Encoder::new(table, first)?;
    let mut picked: Vec<(usize, usize)> = Vec::with_capacity(READ_ROWS);
    while let Some(Reverse((_, at))) = heap.pop() {
        let source = &mut sources[at];
        picked.push((source.batch, source.row));
        source.row += 1;
        if source.row == source.keys.len() || picked.len() == READ_ROWS {
            flush(&mut encoder, &held, &mut picked)?;
        }
        if source.row == source.keys.len() && !source.advance(table, &mut held)? {
            continue;
        }
        heap.push(Reverse((source.keys[source.row], at)));
    }
    flush(&mut encoder, &held, &mut picked)?;
    encoder.finish(like.tenant, like.hour)
}

fn flush(
    encoder: &mut Encoder,
    held: &[RecordBatch],
    picked: &mut Vec<(usize, usize)>,
) -> Result<(), LakeError> {
    if !picked.is_empty() {
        let batches: Vec<&RecordBatch> = held.iter().collect();
        encoder.write(&interleave_record_batch(&batches, picked)?)?;
        picked.clear();
    }
    Ok(())
}

impl<I: Iterator<Item = Result<RecordBatch, LakeError>>> Source<I> {
    /// Goes on to the next batch, which takes the place of the current one; false where there is none.
    fn advance(&mut self, table: Table, held: &mut Vec<RecordBatch>) -> Result<bool, LakeError> {
        let Some(batch) = self.rest.next().transpose()? else { return Ok(false) };
        let is_first = self.keys.is_empty();
        self.keys = part::sort_keys(table, &batch);
        self.row = 0;
        if is_first {
            self.batch = held.len();
            held.push(batch);
        } else {
            held[self.batch] = batch;
        }
        Ok(true)
    }
}
