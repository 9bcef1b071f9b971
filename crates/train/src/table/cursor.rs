//! Reads rows of a share in batches, as they were logged or shuffled.
//!
//! Shuffled means: chunks in a random order, and rows in a random order within each of them. A chunk
//! has thousands of rows, so neighbours in time come near each other only by chunks; that is enough for
//! gradients, and needs one seek a chunk instead of one a row.

use std::fs::File;

use reckon_model::Random;

use super::{Rows, Table};
use crate::TrainError;
use crate::split::Share;

/// The order in which rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they were logged.
    Logged,
    /// Shuffled by this seed.
    Shuffled(u64),
}

/// Reads rows of a share. The order of its batches depends on the share and the seed alone.
#[derive(Debug)]
pub struct Cursor {
    table: Table,
    file: File,
    share: Share,
    order: Order,
    /// Chunks that are still to come, the next one last.
    chunks: Vec<usize>,
    chunk: Rows,
    /// Rows of the chunk that are taken, in their order.
    places: Vec<u32>,
    next: usize,
    buffer: Vec<u8>,
}

impl Cursor {
    pub(super) fn new(table: &Table, share: &Share, order: Order) -> Result<Self, TrainError> {
        let file = File::open(table.path()).map_err(TrainError::file(table.path()))?;
        let overlaps = |chunk: &usize| {
            table.start(*chunk) < share.rows.end && table.start(chunk + 1) > share.rows.start
        };
        let mut chunks: Vec<_> = (0..table.entries().len()).filter(overlaps).rev().collect();
        if let Order::Shuffled(seed) = order {
            shuffle(&mut chunks, &mut Random::new(seed));
        }
        Ok(Cursor {
            chunk: Rows::new(table.schema()),
            table: table.clone(),
            file,
            share: share.clone(),
            order,
            chunks,
            places: Vec::new(),
            next: 0,
            buffer: Vec::new(),
        })
    }

    /// Puts the next rows, at most `count`, in place of what `batch` holds; false where none are left.
    pub fn next(&mut self, batch: &mut Rows, count: usize) -> Result<bool, TrainError> {
        batch.clear();
        while batch.len() < count && self.is_more()? {
            let until = self.places.len().min(self.next.saturating_add(count - batch.len()));
            for &place in &self.places[self.next..until] {
                batch.push(self.chunk.row(place as usize));
            }
            self.next = until;
        }
        Ok(!batch.is_empty())
    }

    /// Passes over so many rows; false where there were fewer.
    pub fn skip(&mut self, mut count: u64) -> Result<bool, TrainError> {
        while count > 0 {
            if !self.is_more()? {
                return Ok(false);
            }
            let passed = count.min((self.places.len() - self.next) as u64);
            self.next += passed as usize;
            count -= passed;
        }
        Ok(true)
    }

    /// Whether a row is left in the chunk at hand, or in one of the next, which is read then.
    fn is_more(&mut self) -> Result<bool, TrainError> {
        while self.next == self.places.len() {
            let Some(chunk) = self.chunks.pop() else { return Ok(false) };
            self.table.read_chunk(&mut self.file, chunk, &mut self.buffer, &mut self.chunk)?;
            self.place(chunk);
        }
        Ok(true)
    }

    /// Decides which rows of the chunk are taken, in which order.
    fn place(&mut self, chunk: usize) {
        let start = self.table.start(chunk);
        let is_taken = |&place: &u32| {
            let row = start + u64::from(place);
            self.share.takes(row, self.chunk.labels[place as usize])
        };
        self.places.clear();
        self.places.extend((0..self.chunk.len() as u32).filter(is_taken));
        self.next = 0;
        if let Order::Shuffled(seed) = self.order {
            // A chunk's own seed: it is shuffled alike, whichever came before it.
            shuffle(&mut self.places, &mut Random::new(seed ^ (chunk as u64 + 1).rotate_left(32)));
        }
    }
}

/// Fisher and Yates.
fn shuffle<T>(places: &mut [T], random: &mut Random) {
    for last in (1..places.len()).rev() {
        places.swap(last, random.below(last as u64 + 1) as usize);
    }
}
