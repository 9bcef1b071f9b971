//! Blocks: some thousand sorted rows as columns.
//!
//! ```text
//!   length u32 * 13 | column * 13        tenant ad campaign region device placement position
//!                                        kind verdict currency bucket count spend
//! ```
//!
//! Buckets are counted in panes from the start of the run's span; counts and spends are zigzag
//! numbers. A question decodes only the columns it looks at.

use std::ops::Range;

use reckon_event::Measure;

use super::column;
use super::row::{CURRENCY_CODES, Key, Lead, Row};
use super::wire::Reader;
use crate::{Dimension, Query};

/// The most rows in a block.
pub(super) const BLOCK_ROWS: usize = 2_048;

const COLUMNS: usize = 13;

/// The columns that rows are ordered by first.
const LEAD: Range<usize> = 0..3;

/// The column of buckets.
const BUCKET: usize = 10;

/// What all rows of a run have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// The second buckets are counted from.
    pub start: i64,
    /// Seconds in a bucket.
    pub pane_seconds: i64,
}

impl Grid {
    pub(super) fn bucket(self, second: i64) -> u64 {
        let bucket = (second - self.start) / self.pane_seconds;
        u64::try_from(bucket).expect("rows lie in their run's span")
    }

    #[inline]
    const fn second(self, bucket: u64) -> i64 {
        self.start + bucket.cast_signed() * self.pane_seconds
    }
}

/// Which columns are decoded; the others read as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted(u16);

impl Wanted {
    pub(super) const ALL: Wanted = Wanted((1 << COLUMNS) - 1);

    /// The columns a question looks at.
    pub(super) fn of(query: &Query) -> Self {
        let filter = &query.filter;
        Self::dimensions([
            filter.ad.is_some() || query.groups_by(Dimension::Ad),
            filter.campaign.is_some() || query.groups_by(Dimension::Campaign),
            filter.region.is_some() || query.groups_by(Dimension::Region),
            filter.device.is_some() || query.groups_by(Dimension::Device),
            filter.placement.is_some() || query.groups_by(Dimension::Placement),
            filter.position.is_some() || query.groups_by(Dimension::Position),
        ])
    }

    /// The columns without those of dimensions that `wanted` says no to, by their place among ad,
    /// campaign, region, device, placement, position.
    pub(super) fn dimensions(wanted: [bool; 6]) -> Self {
        let unwanted = (0..6).filter(|&at| !wanted[at]).map(|at| 1 << (at + 1));
        Wanted(Self::ALL.0 & !unwanted.fold(0, |all, bit: u16| all | bit))
    }

    const fn has(self, column: usize) -> bool {
        self.0 >> column & 1 == 1
    }
}

fn words(row: &Row, grid: Grid) -> [u64; COLUMNS] {
    let Row { key, measure } = row;
    [
        u64::from(key.tenant),
        key.ad,
        key.campaign,
        key.region,
        key.device,
        key.placement,
        u64::from(key.position),
        u64::from(key.kind),
        u64::from(key.verdict),
        u64::from(key.currency),
        grid.bucket(key.second),
        zigzag(measure.count),
        zigzag(measure.spend),
    ]
}

/// A block that is being filled.
#[derive(Default)]
pub(super) struct OpenBlock {
    columns: [Vec<u64>; COLUMNS],
}

impl OpenBlock {
    pub(super) fn push(&mut self, row: &Row, grid: Grid) {
        for (column, word) in self.columns.iter_mut().zip(words(row, grid)) {
            column.push(word);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.columns[0].len()
    }

    /// The leading part of the first key.
    pub(super) fn first(&self) -> Option<Lead> {
        let [tenant, ad, campaign, ..] = &self.columns;
        let tenant = u32::try_from(*tenant.first()?).expect("it was one when it was pushed");
        Some((tenant, ad[0], campaign[0]))
    }

    /// The least and the greatest second of a block with rows.
    pub(super) fn seconds(&self, grid: Grid) -> (i64, i64) {
        let buckets = self.columns[BUCKET].iter().copied();
        let second = |bucket: Option<u64>| grid.second(bucket.expect("there is a row"));
        (second(buckets.clone().min()), second(buckets.max()))
    }

    /// Appends the block, of which there is at least one row, and begins the next.
    pub(super) fn encode(&mut self, out: &mut Vec<u8>) {
        let lengths = out.len();
        out.resize(lengths + COLUMNS * 4, 0);
        for (at, values) in self.columns.iter_mut().enumerate() {
            let start = out.len();
            column::encode(values, out);
            let length = u32::try_from(out.len() - start).expect("a column of a block is small");
            out[lengths + at * 4..][..4].copy_from_slice(&length.to_le_bytes());
            values.clear();
        }
    }
}

/// A decoded block, or the rows of one that a question is about; used again for the next one, so that
/// scans do not allocate.
#[derive(Default)]
pub(super) struct Block {
    columns: [Vec<u64>; COLUMNS],
    rows: usize,
}

impl Block {
    /// Decodes the wanted columns of those of `rows` rows whose leading parts lie in `leads`; `None`
    /// where the bytes are not such a block.
    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        rows: usize,
        (least, greatest): (Lead, Lead),
        wanted: Wanted,
    ) -> Option<()> {
        let parts = parts(bytes)?;
        for at in LEAD {
            self.column(at, parts[at], rows, 0..rows, wanted)?;
        }
        let range = self.range(rows, least, greatest);
        for at in LEAD {
            self.columns[at].truncate(range.end);
            self.columns[at].drain(..range.start);
        }
        self.rows = range.len();
        for (at, part) in parts.iter().enumerate().skip(LEAD.end) {
            self.column(at, part, rows, range.clone(), wanted)?;
        }
        Some(())
    }

    fn column(
        &mut self,
        at: usize,
        bytes: &[u8],
        rows: usize,
        range: Range<usize>,
        wanted: Wanted,
    ) -> Option<()> {
        let column = &mut self.columns[at];
        column.clear();
        if !wanted.has(at) {
            if LEAD.contains(&at) {
                column.resize(range.len(), 0);
            }
            return Some(());
        }
        let mut reader = Reader::new(bytes);
        column::decode(&mut reader, rows, range, column)?;
        let is_sound = reader.is_empty() && column.iter().all(|word| *word <= GREATEST[at]);
        is_sound.then_some(())
    }

    /// The rows between two leading parts. Columns nobody wants read as 0 here, and nobody filters by
    /// them: then 0 lies between the bounds, and the rows are in order as they stand.
    fn range(&self, rows: usize, least: Lead, greatest: Lead) -> Range<usize> {
        let [tenants, ads, campaigns, ..] = &self.columns;
        let lead = |at: usize| (tenants[at], ads[at], campaigns[at]);
        let wide = |(tenant, ad, campaign): Lead| (u64::from(tenant), ad, campaign);
        let start = partition_point(rows, |at| lead(at) < wide(least));
        start..partition_point(rows, |at| lead(at) <= wide(greatest)).max(start)
    }

    pub(super) const fn len(&self) -> usize {
        self.rows
    }

    /// One row.
    pub(super) fn row(&self, at: usize, grid: Grid) -> Row {
        row(std::array::from_fn(|column| self.columns[column][at]), grid)
    }

    /// All rows.
    #[inline]
    pub(super) fn rows(&self, grid: Grid) -> impl Iterator<Item = Row> {
        // Slices of one known length: no bounds are checked in the loop.
        let columns: [&[u64]; COLUMNS] = std::array::from_fn(|at| match &self.columns[at][..] {
            [] => &UNWANTED[..self.rows],
            column => &column[..self.rows],
        });
        (0..self.rows).map(move |at| row(std::array::from_fn(|column| columns[column][at]), grid))
    }
}

/// What columns read as that nobody wants.
static UNWANTED: [u64; BLOCK_ROWS] = [0; BLOCK_ROWS];

/// The greatest word of each column: what a field holds.
const GREATEST: [u64; COLUMNS] = {
    let mut greatest = [u64::MAX; COLUMNS];
    greatest[0] = u32::MAX as u64;
    greatest[6] = u16::MAX as u64;
    greatest[7] = u8::MAX as u64;
    greatest[8] = u8::MAX as u64;
    greatest[9] = CURRENCY_CODES as u64 - 1;
    // The widest span has 31,104,000 seconds.
    greatest[BUCKET] = 31_104_000;
    greatest
};

/// The row of words that are not above [`GREATEST`], so no cast cuts anything off.
#[inline]
fn row(words: [u64; COLUMNS], grid: Grid) -> Row {
    let [tenant, ad, campaign, region, device, placement, position, kind, verdict, currency, ..] =
        words;
    let key = Key {
        tenant: tenant as u32,
        ad,
        campaign,
        region,
        device,
        placement,
        position: position as u16,
        kind: kind as u8,
        verdict: verdict as u8,
        currency: currency as u16,
        second: grid.second(words[BUCKET]),
    };
    Row { key, measure: Measure { count: unzigzag(words[11]), spend: unzigzag(words[12]) } }
}

/// The bytes of each column; `None` where they do not fill the block.
fn parts(bytes: &[u8]) -> Option<[&[u8]; COLUMNS]> {
    let mut reader = Reader::new(bytes);
    let mut lengths = Reader::new(reader.bytes(COLUMNS * 4)?);
    let mut parts = [&[][..]; COLUMNS];
    for part in &mut parts {
        *part = reader.bytes(lengths.u32()? as usize)?;
    }
    reader.is_empty().then_some(parts)
}

/// The first of `0..count` for which `is_before` is false.
fn partition_point(count: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) const fn unzigzag(word: u64) -> i64 {
    (word >> 1).cast_signed() ^ -((word & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::row::LEADS_ALL;

    #[test]
    fn signed_numbers_of_small_size_are_small() {
        for (value, word) in
            [(0, 0), (-1, 1), (1, 2), (i64::MAX, u64::MAX - 1), (i64::MIN, u64::MAX)]
        {
            assert_eq!((zigzag(value), unzigzag(word)), (word, value));
        }
    }

    #[test]
    fn blocks_read_back() {
        let grid = Grid { start: 600, pane_seconds: 60 };
        let rows: Vec<Row> = (0..2_000)
            .map(|n: u16| Row {
                key: Key {
                    tenant: 1,
                    ad: u64::from(n / 9) << 40,
                    position: n % 9,
                    second: 600 + 60 * i64::from(n % 7),
                    ..Key::default()
                },
                measure: Measure { count: i64::from(n) - 1_000, spend: -i64::from(n % 3) },
            })
            .collect();
        let (mut open, mut bytes) = (OpenBlock::default(), Vec::new());
        rows.iter().for_each(|row| open.push(row, grid));
        assert_eq!((open.first(), open.seconds(grid)), (Some((1, 0, 0)), (600, 960)));
        open.encode(&mut bytes);
        assert_eq!(open.len(), 0);
        let mut block = Block::default();
        block.decode(&bytes, rows.len(), LEADS_ALL, Wanted::ALL).expect("a block");
        let read: Vec<Row> = (0..block.len()).map(|at| block.row(at, grid)).collect();
        assert_eq!(read, rows);
        let ad = rows[100].key.ad;
        let one = ((1, ad, 0), (1, ad, u64::MAX));
        block.decode(&bytes, rows.len(), one, Wanted::ALL).expect("a block");
        let read: Vec<Row> = block.rows(grid).collect();
        let expect: Vec<Row> = rows.iter().filter(|row| row.key.ad == ad).copied().collect();
        assert_eq!((read.len(), read), (9, expect));
    }
}
