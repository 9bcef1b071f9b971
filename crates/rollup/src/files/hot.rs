//! The hot part: what has been applied and is not in files yet, at the finest grain.
//!
//! One table of finest cells serves every cube: an epoch costs one hash update a cell, however many
//! cubes are declared, and a question sums what it needs from it. The table is cut into segments:
//! the active one is small enough to stay in the processor's cache and to be scanned under a lock;
//! full ones are sorted, frozen and shared with readers without any lock.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use reckon_event::Measure;

use super::options::Dimensions;
use super::row::{Key, Row, Select, merge_neighbours};

/// Rows by key: an insertion-ordered table.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    places: HashTable<u32>,
    hasher: RandomState,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Adds to one row.
    #[inline]
    pub(super) fn add(&mut self, key: Key, measure: Measure) {
        let Table { rows, places, hasher } = self;
        let hash = hasher.hash_one(key);
        if let Some(&place) = places.find(hash, |&place| rows[place as usize].key == key) {
            rows[place as usize].measure.add(measure);
            return;
        }
        let place = u32::try_from(rows.len()).expect("tables are bounded far below 2^32 rows");
        rows.push(Row { key, measure });
        places.insert_unique(hash, place, |&place| hasher.hash_one(rows[place as usize].key));
    }

    /// Takes all rows out, sorted, without those that are zero. Memory of the places is kept.
    pub(super) fn take_sorted(&mut self) -> Vec<Row> {
        self.places.clear();
        let mut rows = std::mem::take(&mut self.rows);
        rows.retain(|row| !row.is_zero());
        sort_by_key(&mut rows);
        rows
    }
}

/// Sorts rows with different keys. The ads, which tell most rows apart, are compared as bare
/// numbers first, and the wide rows are moved once.
fn sort_by_key(rows: &mut Vec<Row>) {
    let mut order: Vec<(u32, u64, u32)> =
        (0u32..).zip(rows.iter()).map(|(place, row)| (row.key.tenant, row.key.ad, place)).collect();
    order.sort_unstable_by(|left, right| {
        let key = |place: u32| &rows[place as usize].key;
        (left.0, left.1).cmp(&(right.0, right.1)).then_with(|| key(left.2).cmp(key(right.2)))
    });
    *rows = order.into_iter().map(|(_, _, place)| rows[place as usize]).collect();
}

/// A frozen segment: sorted, shared, never changed.
pub(super) struct Frozen {
    rows: Vec<Row>,
    seconds: (i64, i64),
}

impl Frozen {
    fn new(rows: Vec<Row>) -> Self {
        let seconds = rows.iter().map(|row| row.key.second);
        let bounds = (seconds.clone().min().unwrap_or(0), seconds.max().unwrap_or(-1));
        Frozen { rows, seconds: bounds }
    }

    /// Hands the rows of `select` to `sink`.
    pub(super) fn scan(&self, select: &Select, mut sink: impl FnMut(&Row)) {
        if self.seconds.1 < select.from || self.seconds.0 >= select.to {
            return;
        }
        let (least, greatest) = select.lead(Dimensions::ALL);
        let first = self.rows.partition_point(|row| row.key.lead() < least);
        for row in &self.rows[first..] {
            if row.key.lead() > greatest {
                return;
            }
            if select.takes(&row.key) {
                sink(row);
            }
        }
    }
}

/// The hot part.
pub(super) struct Hot {
    segment_rows: usize,
    active: Table,
    frozen: Vec<Arc<Frozen>>,
    frozen_rows: usize,
}

impl Hot {
    /// An empty one, whose active segment holds up to `segment_rows`.
    pub(super) fn new(segment_rows: usize) -> Self {
        Hot { segment_rows, active: Table::default(), frozen: Vec::new(), frozen_rows: 0 }
    }

    /// Rows in memory.
    pub(super) fn len(&self) -> usize {
        self.active.len() + self.frozen_rows
    }

    /// Adds to one cell.
    #[inline]
    pub(super) fn add(&mut self, key: Key, measure: Measure) {
        if self.active.len() >= self.segment_rows {
            self.freeze();
        }
        self.active.add(key, measure);
    }

    /// Freezes the active segment.
    pub(super) fn freeze(&mut self) {
        if self.active.len() == 0 {
            return;
        }
        let frozen = Frozen::new(self.active.take_sorted());
        self.frozen_rows += frozen.rows.len();
        self.frozen.push(Arc::new(frozen));
    }

    /// The frozen segments.
    pub(super) fn frozen(&self) -> Vec<Arc<Frozen>> {
        self.frozen.clone()
    }

    /// Hands the rows of `select` in the active segment to `sink`.
    pub(super) fn scan_active(&self, select: &Select, mut sink: impl FnMut(&Row)) {
        self.active.rows().iter().filter(|row| select.takes(&row.key)).for_each(&mut sink);
    }

    /// Forgets the first `count` frozen segments: files have them now.
    pub(super) fn forget(&mut self, count: usize) {
        for frozen in self.frozen.drain(..count) {
            self.frozen_rows -= frozen.rows.len();
        }
    }
}

/// The rows of one cube that some segments add up to, from second `floor` on: sorted, keys distinct.
pub(super) fn project(
    segments: &[Arc<Frozen>],
    kept: Dimensions,
    pane_seconds: i64,
    floor: i64,
) -> Vec<Row> {
    let rows = segments.iter().flat_map(|segment| &segment.rows);
    let projected = rows
        .map(|row| Row { key: row.key.project(kept, pane_seconds), measure: row.measure })
        .filter(|row| row.key.second >= floor);
    if kept == Dimensions::ALL {
        return merge_sorted_runs(projected);
    }
    let mut table = Table::default();
    projected.for_each(|row| table.add(row.key, row.measure));
    table.take_sorted()
}

/// Rows that keep all dimensions come as one sorted run a segment; the stable sort finds the runs
/// and merges them.
fn merge_sorted_runs(projected: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for row in projected {
        match rows.last_mut() {
            Some(last) if last.key == row.key => last.measure.add(row.measure),
            _ => rows.push(row),
        }
    }
    rows.sort_by_key(|row| row.key);
    merge_neighbours(&mut rows);
    rows
}
