//! One entity's past: sparse tiles at four widths, and the sums of its windows.
//!
//! ```text
//! words: sums (windows x measures) | tiles of a day | of an hour | of 5 minutes | of 30 seconds
//! tile:  index (seconds since 1970 / width) | one count a measure
//! ```
//!
//! A window of `n` tiles at a moment `t` is the sum of the tiles `t / width - n ..= t / width`: exact
//! to the tile, so it covers the window and at most one tile more. Everything is a whole number and
//! each event is added to one tile a level: the order of events says nothing, and what was added can
//! be taken back. Sums stand as of the latest tile of each level; whoever looks later, sums the tiles
//! again, which are few where nothing has happened for a while.

use crate::plan::{Entity, LEVELS, LEVELS_COUNT};

/// Added, or taken back: a measure's lane, and how much.
pub(crate) type Amounts = [(usize, u64)];

/// What has happened to an entity, as far as windows reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// Second of its latest event.
    pub touched: u32,
    /// Of a user: the minute of its latest event, and how many of it have come.
    pub minute: u32,
    pub in_minute: u32,
    /// Latest tile of each level; 0 where there is none.
    heads: [u32; LEVELS_COUNT],
    /// How many tiles there are of each level.
    counts: [u8; LEVELS_COUNT],
    words: Vec<u64>,
    /// Of a user: categories clicked, the latest last.
    pub categories: Vec<u64>,
}

/// Words in a line of the cache.
const LINE_WORDS: usize = 8;
/// Lines of a past that are asked for ahead: nearly all are shorter.
const LINES_TOUCHED: usize = 12;

/// How many categories of a user are remembered as candidates for the top one.
pub(crate) const CATEGORIES_MAX: usize = 8;

impl Past {
    /// Bytes beside the struct itself.
    pub fn heap_bytes(&self) -> usize {
        8 * (self.words.capacity() + self.categories.capacity())
    }

    /// Asks for the memory of its words; changes nothing but time. Whoever reads many pasts touches all
    /// of them first: memory then brings them at the same time, and not one after the other.
    #[inline(always)]
    pub fn touch(&self) {
        for word in self.words.iter().step_by(LINE_WORDS).take(LINES_TOUCHED) {
            std::hint::black_box(*word);
        }
    }

    /// Becomes a copy, in the memory it has.
    pub fn copy_from(&mut self, other: &Past) {
        let Past { touched, minute, in_minute, heads, counts, ref words, ref categories } = *other;
        (self.touched, self.minute, self.in_minute) = (touched, minute, in_minute);
        (self.heads, self.counts) = (heads, counts);
        self.words.clone_from(words);
        self.categories.clone_from(categories);
    }

    /// Notes an event of a minute; false where the minute has had enough of them.
    pub fn admit(&mut self, second: u32, events_max: u32) -> bool {
        if second / 60 != self.minute {
            (self.minute, self.in_minute) = (second / 60, 0);
        }
        self.in_minute = self.in_minute.saturating_add(1);
        self.in_minute <= events_max
    }

    /// Notes that a category was clicked.
    pub fn liked(&mut self, category: u64) {
        self.categories.retain(|&other| other != category);
        if self.categories.len() == CATEGORIES_MAX {
            self.categories.remove(0);
        }
        self.categories.push(category);
    }

    /// Adds what happened in a second.
    pub fn add(&mut self, entity: &Entity, second: u32, amounts: &Amounts) {
        self.touched = self.touched.max(second);
        if self.words.is_empty() {
            self.words.resize(entity.windows.len() * entity.measures.len(), 0);
        }
        for level in levels(entity) {
            let index = second / LEVELS[level].seconds;
            if index + LEVELS[level].count < self.heads[level] {
                continue;
            }
            if index > self.heads[level] {
                self.roll(entity, level, index);
            }
            let at = self.tile(entity, level, index);
            for &(lane, amount) in amounts {
                self.words[at + 1 + lane] += amount;
            }
            self.sum(entity, level, index, amounts, |sum, amount| *sum += amount);
        }
    }

    /// Takes back what was added for that second. What is no longer there need not be taken.
    pub fn take_back(&mut self, entity: &Entity, second: u32, amounts: &Amounts) {
        for level in levels(entity) {
            let index = second / LEVELS[level].seconds;
            let Some(at) = self.find(entity, level, index) else { continue };
            let has = |&(lane, amount): &(usize, u64)| self.words[at + 1 + lane] >= amount;
            if !amounts.iter().all(has) {
                continue;
            }
            for &(lane, amount) in amounts {
                self.words[at + 1 + lane] -= amount;
            }
            self.sum(entity, level, index, amounts, |sum, amount| *sum -= amount);
        }
    }

    /// What is known at a second, which is not before any event in it: sums by window and measure,
    /// then the last time of each measure that the plan asks for (0: none in 30 days).
    pub fn view(&self, entity: &Entity, second: u32, out: &mut [u64]) {
        let lanes = entity.measures.len();
        let sums = entity.windows.len() * lanes;
        let (out, lasts) = out.split_at_mut(sums);
        for (window, out) in entity.windows.iter().zip(out.chunks_exact_mut(lanes)).enumerate() {
            let (number, (window, out)) = (window, out);
            let level = window.level();
            let now = second / LEVELS[level].seconds;
            if now == self.heads[level] {
                out.copy_from_slice(&self.words[number * lanes..][..lanes]);
                continue;
            }
            out.fill(0);
            if self.heads[level] + LEVELS[level].count < now {
                continue;
            }
            for tile in self.section(entity, level).chunks_exact(lanes + 1) {
                let weight = window.weight(u64::from(now).wrapping_sub(tile[0]));
                for (sum, count) in out.iter_mut().zip(&tile[1..]) {
                    *sum += weight * count;
                }
            }
        }
        lasts.fill(0);
        for (lane, last) in lasts.iter_mut().enumerate() {
            if entity.lasts >> lane & 1 == 1 {
                *last = self.last(entity, second, lane);
            }
        }
    }

    /// The start of the latest tile with one in it, of the finest level that has one.
    fn last(&self, entity: &Entity, second: u32, lane: usize) -> u64 {
        for level in levels(entity) {
            let now = second / LEVELS[level].seconds;
            let first = u64::from(now.saturating_sub(LEVELS[level].count));
            let tiles = self.section(entity, level).chunks_exact(entity.measures.len() + 1).rev();
            let found = tiles.take_while(|tile| tile[0] >= first).find(|tile| tile[1 + lane] > 0);
            if let Some(tile) = found {
                return tile[0] * u64::from(LEVELS[level].seconds);
            }
        }
        0
    }

    fn sum(
        &mut self,
        entity: &Entity,
        level: usize,
        index: u32,
        amounts: &Amounts,
        change: impl Fn(&mut u64, u64),
    ) {
        let age = u64::from(self.heads[level] - index);
        for (number, window) in entity.windows.iter().enumerate() {
            if window.level() == level {
                for &(lane, amount) in amounts {
                    let sum = &mut self.words[number * entity.measures.len() + lane];
                    change(sum, amount * window.weight(age));
                }
            }
        }
    }

    /// Moves a level on to a later tile: lets go of tiles that no window reaches any more, and sums
    /// the others anew.
    fn roll(&mut self, entity: &Entity, level: usize, index: u32) {
        let stride = entity.measures.len() + 1;
        self.heads[level] = index;
        let start = self.start(entity, level);
        let first = u64::from(index.saturating_sub(LEVELS[level].count));
        let gone = self
            .section(entity, level)
            .chunks_exact(stride)
            .take_while(|tile| tile[0] < first)
            .count();
        self.words.drain(start..start + gone * stride);
        self.counts[level] -= gone as u8;
        let (sums, tiles) = self.words.split_at_mut(start);
        let tiles = &tiles[..usize::from(self.counts[level]) * stride];
        for (number, window) in entity.windows.iter().enumerate() {
            if window.level() != level {
                continue;
            }
            let sums = &mut sums[number * (stride - 1)..][..stride - 1];
            sums.fill(0);
            for tile in tiles.chunks_exact(stride) {
                let weight = window.weight(u64::from(index) - tile[0]);
                for (sum, count) in sums.iter_mut().zip(&tile[1..]) {
                    *sum += weight * count;
                }
            }
        }
    }

    /// Where a tile stands; makes it where it is missing.
    fn tile(&mut self, entity: &Entity, level: usize, index: u32) -> usize {
        let stride = entity.measures.len() + 1;
        let start = self.start(entity, level);
        let mut at = start + usize::from(self.counts[level]) * stride;
        while at > start && self.words[at - stride] >= u64::from(index) {
            at -= stride;
            if self.words[at] == u64::from(index) {
                return at;
            }
        }
        let tile = std::iter::once(u64::from(index)).chain(std::iter::repeat_n(0, stride - 1));
        if self.words.capacity() - self.words.len() < stride {
            // Most pasts are short: room for two tiles, or a quarter more.
            self.words.reserve_exact((2 * stride).max(self.words.len() / 4));
        }
        self.words.splice(at..at, tile);
        self.counts[level] += 1;
        at
    }

    fn find(&self, entity: &Entity, level: usize, index: u32) -> Option<usize> {
        let stride = entity.measures.len() + 1;
        let tiles = self.section(entity, level).chunks_exact(stride);
        let number = tiles.into_iter().position(|tile| tile[0] == u64::from(index))?;
        Some(self.start(entity, level) + number * stride)
    }

    /// Coarse levels stand first: what changes most often is at the end.
    fn start(&self, entity: &Entity, level: usize) -> usize {
        let stride = entity.measures.len() + 1;
        let before: usize = self.counts[level + 1..].iter().map(|&count| usize::from(count)).sum();
        entity.windows.len() * entity.measures.len() + before * stride
    }

    fn section(&self, entity: &Entity, level: usize) -> &[u64] {
        if self.words.is_empty() {
            return &[];
        }
        let length = usize::from(self.counts[level]) * (entity.measures.len() + 1);
        &self.words[self.start(entity, level)..][..length]
    }

    /// Appends everything to `bytes`.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let heads = self.heads.iter();
        for number in [&self.touched, &self.minute, &self.in_minute].into_iter().chain(heads) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.counts);
        for words in [&self.words, &self.categories] {
            bytes.extend_from_slice(&(words.len() as u16).to_le_bytes());
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
    }

    /// Reads what [`Past::encode`] wrote, and moves on; `None` where it cannot be.
    pub fn decode(entity: &Entity, bytes: &mut &[u8]) -> Option<Past> {
        let mut number = || take(bytes).map(u32::from_le_bytes);
        let mut past = Past { touched: number()?, ..Past::default() };
        (past.minute, past.in_minute) = (number()?, number()?);
        for head in &mut past.heads {
            *head = number()?;
        }
        past.counts = take(bytes)?;
        past.words = words(bytes)?;
        past.categories = words(bytes)?;
        let tiles: usize = past.counts.iter().map(|&count| usize::from(count)).sum();
        let stride = entity.measures.len() + 1;
        let length = entity.windows.len() * entity.measures.len() + tiles * stride;
        let fits = past.words.len() == length || past.words.is_empty() && tiles == 0;
        (fits && past.categories.len() <= CATEGORIES_MAX).then_some(past)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

fn words(bytes: &mut &[u8]) -> Option<Vec<u64>> {
    let count = usize::from(u16::from_le_bytes(take(bytes)?));
    let (head, tail) = bytes.split_at_checked(count * 8)?;
    *bytes = tail;
    let word = |word: &[u8]| word.try_into().ok().map(u64::from_le_bytes);
    head.chunks_exact(8).map(word).collect()
}

/// The levels an entity's windows need, fine to coarse.
fn levels(entity: &Entity) -> impl Iterator<Item = usize> {
    let mask = entity.windows.iter().fold(0u8, |mask, window| mask | 1 << window.level());
    (0..LEVELS_COUNT).filter(move |level| mask >> level & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn what_is_taken_back_is_as_if_it_had_not_been() {
        let plan = Plan::default();
        let entity = &plan.entities[plan.user.expect("a user")];
        let day = 20_000 * 86_400;
        let (mut one, mut other) = (Past::default(), Past::default());
        for second in [day, day + 70, day + 4_000, day + 90_000] {
            one.add(entity, second, &[(0, 1)]);
            other.add(entity, second, &[(0, 1)]);
            one.add(entity, second + 5, &[(1, 1)]);
            one.take_back(entity, second + 5, &[(1, 1)]);
        }
        let (mut left, mut right) = (vec![0; entity.width()], vec![0; entity.width()]);
        one.view(entity, day + 90_100, &mut left);
        other.view(entity, day + 90_100, &mut right);
        assert_eq!(left, right);
        assert!(left.iter().any(|&number| number > 0));
    }

    #[test]
    fn bytes_come_back_and_cut_ones_do_not() {
        let plan = Plan::default();
        let entity = &plan.entities[0];
        let mut past = Past::default();
        past.add(entity, 1_700_000_000, &[(0, 1), (1, 2)]);
        past.liked(7);
        let mut bytes = Vec::new();
        past.encode(&mut bytes);
        assert_eq!(Past::decode(entity, &mut &*bytes), Some(past));
        for length in 0..bytes.len() {
            assert_eq!(Past::decode(entity, &mut &bytes[..length]), None, "cut at {length}");
        }
    }
}
