//! One entity's past: sparse tiles at four widths, and the sums of its windows.
//!
//! ```text
//! words: head (10 words; 28 of a user)
//!        sums (windows x measures) | tiles of a day | of an hour | of 5 minutes | of 30 seconds
//! tile:  index (seconds since 1970 / width) | one count a measure
//! ```
//!
//! Words are of 32 bits and lie in memory that the store hands out: most entities have seen little, and
//! theirs is a line or two of the cache. So there are no sums while tiles are few, and a count is one word
//! until one of the past needs more; from then on all counts of that past are two.
//!
//! A window of `n` tiles at a moment `t` is the sum of the tiles `t / width - n ..= t / width`: exact
//! to the tile, so it covers the window and at most one tile more. Everything is a whole number and
//! each event is added to one tile a level: the order of events says nothing, and what was added can
//! be taken back. Sums stand as of the latest tile of each level; whoever looks later, sums the tiles
//! again, which are few where nothing has happened for a while.

mod bytes;
mod change;
mod layout;
#[cfg(test)]
mod tests;
mod view;

use self::layout::{
    CATEGORIES, CHANGED, COPY, HAS_SUMS, HEAD, HEAD_OF_USER, ID, IS_DIRTY, IS_WIDE, LATEST, Layout,
    OWNER, TOUCHED, long, shape,
};
use crate::happened::Key;
use crate::plan::{Entity, LEVELS, LEVELS_COUNT};
use crate::prefetch::prefetch;

/// Added, or taken back: a measure's lane, and how much.
pub(crate) type Amounts = [(usize, u64)];

/// Words in a line of the cache.
pub(crate) const LINE: usize = 16;
/// Lines that are asked for ahead of a change.
const LINES_BROUGHT: usize = 12;

/// Measures there are.
const LANES_MAX: usize = 9;

/// How many categories of a user are remembered as candidates for the top one.
pub(crate) const CATEGORIES_MAX: usize = 8;

/// A second, and the tile of each level that it lies in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub second: u32,
    tiles: [u32; LEVELS_COUNT],
}

impl Moment {
    pub fn of(second: u32) -> Self {
        Moment { second, tiles: LEVELS.map(|level| second / level.seconds) }
    }
}

/// How a past lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form(u8);

/// What has happened to an entity, as far as windows reach. The words may be more than it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past<'a>(pub &'a [u32]);

/// A past that changes.
#[derive(Debug)]
pub(crate) struct PastMut<'a>(pub &'a mut [u32]);

impl<'a> Past<'a> {
    pub fn key(self) -> Key {
        Key { owner: long(self.0, OWNER), id: long(self.0, ID) }
    }

    pub fn entity(self) -> u8 {
        shape(self.0)[0]
    }

    /// The class of its memory.
    pub fn class(self) -> usize {
        shape(self.0)[3].into()
    }

    /// Second of its latest event.
    pub fn touched(self) -> u32 {
        self.0[TOUCHED]
    }

    /// The low half of the epoch that changed it last.
    pub fn changed(self) -> u32 {
        self.0[CHANGED]
    }

    /// Where a copy is of how it was before that epoch.
    pub fn copy(self) -> u32 {
        self.0[COPY]
    }

    pub fn is_dirty(self) -> bool {
        shape(self.0)[1] & IS_DIRTY != 0
    }

    fn is_wide(self) -> bool {
        shape(self.0)[1] & IS_WIDE != 0
    }

    fn has_sums(self) -> bool {
        shape(self.0)[1] & HAS_SUMS != 0
    }

    /// Of a user: categories clicked, the latest last.
    pub fn categories(self) -> impl Iterator<Item = u64> + use<'a> {
        let count = usize::from(shape(self.0)[2]);
        (0..count).map(move |number| long(self.0, CATEGORIES + 2 * number))
    }

    /// Asks for the memory that a view at a moment reads.
    pub fn bring(self, entity: &Entity, moment: Moment) {
        let (has_sums, latest) = (self.has_sums(), Moment::of(self.0[LATEST]));
        let (sums, tiles, end) = match self.is_wide() {
            true => Layout::<2>::of(self.0, entity).parts(),
            false => Layout::<1>::of(self.0, entity).parts(),
        };
        let ask = |from: usize, to: usize| {
            // The first line is there.
            let mut at = (from & !(LINE - 1)).max(LINE);
            while at < to {
                prefetch(self.0, at);
                at += LINE;
            }
        };
        if !has_sums {
            return ask(0, end);
        }
        ask(sums, tiles[LEVELS_COUNT - 1]);
        for level in entity.levels() {
            if latest.tiles[level] != moment.tiles[level] {
                ask(tiles[level], if level == 0 { end } else { tiles[level - 1] });
            }
        }
    }

    /// Asks for all of its memory, or most.
    pub fn bring_all(self, words: usize) {
        for at in (LINE..words).step_by(LINE).take(LINES_BROUGHT) {
            prefetch(self.0, at);
        }
    }

    /// How many words it has.
    pub fn length(self, entity: &Entity) -> usize {
        match self.is_wide() {
            true => Layout::<2>::of(self.0, entity).end,
            false => Layout::<1>::of(self.0, entity).end,
        }
    }
}

/// How many words a past has in which nothing has happened, and how many once something has.
pub(crate) fn room_at_first(is_of_user: bool, entity: &Entity) -> (usize, usize) {
    let head = if is_of_user { HEAD_OF_USER } else { HEAD };
    (head, head + entity.levels().count() * (1 + entity.measures.len()))
}
