//! Which word of a past is what.

use super::CATEGORIES_MAX;
use crate::plan::{Entity, LEVELS_COUNT};

// Where what stands in the head. Before `COUNTS` is what the store knows of a past, behind it what it is.
pub(super) const ID: usize = 0;
pub(super) const OWNER: usize = 2;
pub(super) const CHANGED: usize = 4;
pub(super) const COPY: usize = 5;
/// Bytes: the entity, flags, how many categories, and the class of its memory.
pub(super) const SHAPE: usize = 6;
pub(super) const TOUCHED: usize = 7;
/// Bytes: how many tiles there are of each level.
pub(super) const COUNTS: usize = 8;
/// The latest second that was counted.
pub(super) const LATEST: usize = 9;
pub(super) const HEAD: usize = 10;
/// Of a user: the minute of its latest event, how many of it have come, and categories.
pub(super) const MINUTE: usize = HEAD;
pub(super) const IN_MINUTE: usize = MINUTE + 1;
pub(super) const CATEGORIES: usize = IN_MINUTE + 1;
pub(super) const HEAD_OF_USER: usize = CATEGORIES + 2 * CATEGORIES_MAX;

/// Its counts are two words each.
pub(super) const IS_WIDE: u8 = 1;
pub(super) const IS_OF_USER: u8 = 2;
/// It stands in the list of what is not in a file yet.
pub(super) const IS_DIRTY: u8 = 4;
pub(super) const HAS_SUMS: u8 = 8;
/// With more tiles than these, sums are kept.
pub(super) const TILES_MAX: u32 = 12;

/// Where counts stand that are `W` words each.
pub(super) struct Layout<const W: usize> {
    pub sums: usize,
    pub lanes: usize,
    /// Words of a tile.
    pub stride: usize,
    /// Where the tiles of each level begin. Coarse levels stand first: what changes most often is at the end.
    pub tiles: [usize; LEVELS_COUNT],
    pub end: usize,
}

impl<const W: usize> Layout<W> {
    pub fn of(words: &[u32], entity: &Entity) -> Self {
        let (lanes, flags) = (entity.measures.len(), shape(words)[1]);
        let (sums, stride) = (head_of(flags), 1 + lanes * W);
        let counts = words[COUNTS].to_le_bytes();
        let windows = if flags & HAS_SUMS != 0 { entity.windows.len() } else { 0 };
        let (mut tiles, mut end) = ([0; LEVELS_COUNT], sums + windows * lanes * W);
        for level in (0..LEVELS_COUNT).rev() {
            tiles[level] = end;
            end += usize::from(counts[level]) * stride;
        }
        Layout { sums, lanes, stride, tiles, end }
    }

    pub fn parts(&self) -> (usize, [usize; LEVELS_COUNT], usize) {
        (self.sums, self.tiles, self.end)
    }

    /// Words of a level's tiles.
    pub fn length(&self, level: usize) -> usize {
        let end = if level == 0 { self.end } else { self.tiles[level - 1] };
        end - self.tiles[level]
    }

    pub fn section<'a>(&self, words: &'a [u32], level: usize) -> &'a [u32] {
        &words[self.tiles[level]..][..self.length(level)]
    }

    /// Where the tile stands, or where it would.
    pub fn find(&self, words: &[u32], level: usize, index: u32) -> Result<usize, usize> {
        let start = self.tiles[level];
        let mut at = start + self.length(level);
        while at > start && words[at - self.stride] >= index {
            at -= self.stride;
            if words[at] == index {
                return Ok(at);
            }
        }
        Err(at)
    }
}

pub(super) fn count<const W: usize>(words: &[u32], at: usize) -> u64 {
    match W {
        1 => words[at].into(),
        _ => u64::from(words[at]) | u64::from(words[at + 1]) << 32,
    }
}

pub(super) fn set<const W: usize>(words: &mut [u32], at: usize, count: u64) {
    words[at] = count as u32;
    if W == 2 {
        words[at + 1] = (count >> 32) as u32;
    }
}

/// Sums are far below 2^63, and signed numbers become floats in one step.
pub(super) fn float(sum: u64) -> f32 {
    sum as i64 as f32
}

pub(super) fn shape(words: &[u32]) -> [u8; 4] {
    words[SHAPE].to_le_bytes()
}

pub(super) fn head_of(flags: u8) -> usize {
    if flags & IS_OF_USER != 0 { HEAD_OF_USER } else { HEAD }
}

pub(super) fn long(words: &[u32], at: usize) -> u64 {
    count::<2>(words, at)
}
