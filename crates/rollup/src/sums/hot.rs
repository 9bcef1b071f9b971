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

use super::cube::Dimensions;
use super::row::{Key, Row, Select};

/// Rows by key: an insertion-ordered table.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    places: HashTable<u32>,
    hasher: RandomState,
    /// Room to sort in.
    order: Vec<u128>,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Adds to one row.
    #[inline]
    pub(crate) fn add(&mut self, key: Key, measure: Measure) {
        let Table { rows, places, hasher, .. } = self;
        let hash = hasher.hash_one(key);
        if let Some(&place) = places.find(hash, |&place| rows[place as usize].key == key) {
            rows[place as usize].measure.add(measure);
            return;
        }
        let place = u32::try_from(rows.len()).expect("tables are bounded far below 2^32 rows");
        rows.push(Row { key, measure });
        places.insert_unique(hash, place, |&place| hasher.hash_one(rows[place as usize].key));
    }

    /// Takes all rows out, sorted, without those that are zero. The table keeps its memory.
    pub(crate) fn take_sorted(&mut self) -> Vec<Row> {
        self.places.clear();
        self.rows.retain(|row| !row.is_zero());
        let sorted = sorted_by_key(&self.rows, &mut self.order);
        self.rows.clear();
        sorted
    }
}

/// The rows in the order of their keys, which all differ. Tenant and ad, which tell most rows apart,
/// are sorted as one number each with the row's place; what they leave together is small.
fn sorted_by_key(rows: &[Row], order: &mut Vec<u128>) -> Vec<Row> {
    order.clear();
    order.extend((0u128..).zip(rows).map(|(place, Row { key, .. })| {
        u128::from(key.tenant) << 96 | u128::from(key.ad) << 32 | place
    }));
    order.sort_unstable();
    let mut sorted: Vec<Row> =
        order.iter().map(|number| rows[(number & u128::from(u32::MAX)) as usize]).collect();
    let ad = |row: &Row| (row.key.tenant, row.key.ad);
    for together in sorted.chunk_by_mut(|a, b| ad(a) == ad(b)) {
        together.sort_unstable_by_key(|row| row.key);
    }
    sorted
}

/// A frozen segment: sorted, shared, never changed.
pub(crate) struct Frozen {
    rows: Vec<Row>,
    seconds: (i64, i64),
}

impl Frozen {
    /// All rows, in the order of their keys.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    fn new(rows: Vec<Row>) -> Self {
        let seconds = rows.iter().map(|row| row.key.second);
        let bounds = (seconds.clone().min().unwrap_or(0), seconds.max().unwrap_or(-1));
        Frozen { rows, seconds: bounds }
    }

    /// Hands the rows of `select` to `sink`.
    pub(crate) fn scan(&self, select: &Select, mut sink: impl FnMut(&Row)) {
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
pub(crate) struct Hot {
    segment_rows: usize,
    active: Table,
    frozen: Vec<Arc<Frozen>>,
    frozen_rows: usize,
}

impl Hot {
    /// An empty one, whose active segment holds up to `segment_rows`.
    pub(crate) fn new(segment_rows: usize) -> Self {
        Hot { segment_rows, active: Table::default(), frozen: Vec::new(), frozen_rows: 0 }
    }

    /// Rows in memory.
    pub(crate) fn len(&self) -> usize {
        self.active.len() + self.frozen_rows
    }

    /// Adds to one cell.
    #[inline]
    pub(crate) fn add(&mut self, key: Key, measure: Measure) {
        if self.active.len() >= self.segment_rows {
            self.freeze();
        }
        self.active.add(key, measure);
    }

    /// Freezes the active segment.
    pub(crate) fn freeze(&mut self) {
        if self.active.len() == 0 {
            return;
        }
        let frozen = Frozen::new(self.active.take_sorted());
        self.frozen_rows += frozen.rows.len();
        self.frozen.push(Arc::new(frozen));
    }

    /// The frozen segments.
    pub(crate) fn frozen(&self) -> Vec<Arc<Frozen>> {
        self.frozen.clone()
    }

    /// Hands the rows of `select` in the active segment to `sink`.
    pub(crate) fn scan_active(&self, select: &Select, mut sink: impl FnMut(&Row)) {
        self.active.rows().iter().filter(|row| select.takes(&row.key)).for_each(&mut sink);
    }

    /// Forgets the first `count` frozen segments: files have them now.
    pub(crate) fn forget(&mut self, count: usize) {
        for frozen in self.frozen.drain(..count) {
            self.frozen_rows -= frozen.rows.len();
        }
    }
}
