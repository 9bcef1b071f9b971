//! How a past changes: levels move on, tiles come and go, and sums with them.

use super::layout::{
    CATEGORIES, CHANGED, COPY, COUNTS, HAS_SUMS, ID, IN_MINUTE, IS_DIRTY, IS_OF_USER, IS_WIDE,
    LATEST, Layout, MINUTE, OWNER, SHAPE, TILES_MAX, TOUCHED, count, head_of, set, shape,
};
use super::{Amounts, CATEGORIES_MAX, Form, LANES_MAX, Moment, Past, PastMut, room_at_first};
use crate::happened::Key;
use crate::plan::{Entity, LEVELS, LEVELS_COUNT};

impl PastMut<'_> {
    /// Nothing has happened: so it begins.
    pub fn clear(&mut self, key: Key, entity: u8, is_of_user: bool, declared: &Entity) {
        let (empty, _) = room_at_first(is_of_user, declared);
        self.0[..empty].fill(0);
        set::<2>(self.0, ID, key.id);
        set::<2>(self.0, OWNER, key.owner);
        let flags = if is_of_user { IS_OF_USER } else { 0 };
        self.0[SHAPE] = u32::from_le_bytes([entity, flags, 0, 0]);
    }

    pub fn as_ref(&self) -> Past<'_> {
        Past(self.0)
    }

    fn shape(&mut self, change: impl FnOnce(&mut [u8; 4])) {
        let mut bytes = shape(self.0);
        change(&mut bytes);
        self.0[SHAPE] = u32::from_le_bytes(bytes);
    }

    pub fn set_class(&mut self, class: usize) {
        self.shape(|bytes| bytes[3] = class as u8);
    }

    pub fn set_dirty(&mut self, is_dirty: bool) {
        self.shape(|[_, flags, ..]| {
            *flags = if is_dirty { *flags | IS_DIRTY } else { *flags & !IS_DIRTY }
        });
    }

    /// Notes that an epoch changes it, and where a copy is of how it was before.
    pub fn set_changed(&mut self, epoch: u32, copy: u32) {
        (self.0[CHANGED], self.0[COPY]) = (epoch, copy);
    }

    /// Something has happened at a second.
    pub fn touch(&mut self, second: u32) {
        self.0[TOUCHED] = self.0[TOUCHED].max(second);
    }

    /// Of a user: notes an event of a minute; false where the minute has had enough of them.
    pub fn admit(&mut self, second: u32, events_max: u32) -> bool {
        if second / 60 != self.0[MINUTE] {
            (self.0[MINUTE], self.0[IN_MINUTE]) = (second / 60, 0);
        }
        self.0[IN_MINUTE] = self.0[IN_MINUTE].saturating_add(1);
        self.0[IN_MINUTE] <= events_max
    }

    /// Of a user: notes that a category was clicked.
    pub fn liked(&mut self, category: u64) {
        let others = self.as_ref().categories().filter(|&other| other != category);
        let (mut kept, mut count) = ([0; CATEGORIES_MAX + 1], 0);
        for other in others {
            (kept[count], count) = (other, count + 1);
        }
        (kept[count], count) = (category, count + 1);
        let kept = &kept[count.saturating_sub(CATEGORIES_MAX)..count];
        for (number, &category) in kept.iter().enumerate() {
            set::<2>(self.0, CATEGORIES + 2 * number, category);
        }
        let count = kept.len() as u8;
        self.shape(|bytes| bytes[2] = count);
    }

    /// Makes way for what happened at a moment: levels move on to it. Says how many words there will be
    /// once it is added.
    ///
    /// # Errors
    /// Where it must take another form first.
    pub fn prepare(
        &mut self,
        entity: &Entity,
        at: Moment,
        amounts: &Amounts,
    ) -> Result<usize, Form> {
        let flags = shape(self.0)[1];
        match flags & IS_WIDE != 0 {
            true => self.roll::<2>(entity, at),
            false => self.roll::<1>(entity, at),
        }
        let tiles: u32 = self.0[COUNTS].to_le_bytes().map(u32::from).iter().sum();
        let sums = if tiles > TILES_MAX { HAS_SUMS } else { flags & HAS_SUMS };
        let (room, wide) = match flags & IS_WIDE != 0 {
            true => (room(self.0, &Layout::<2>::of(self.0, entity), entity, at), IS_WIDE),
            false => {
                let layout = Layout::<1>::of(self.0, entity);
                let begins = sums & !flags != 0;
                let fits = fits(self.0, &layout, entity, at, amounts)
                    && (!begins || sums_fit(self.0, &layout, entity, amounts));
                (room(self.0, &layout, entity, at), if fits { 0 } else { IS_WIDE })
            }
        };
        let form = flags & !(HAS_SUMS | IS_WIDE) | sums | wide;
        if form == flags { Ok(room) } else { Err(Form(form)) }
    }

    /// Adds what happened; it is prepared, and there is room.
    pub fn add(&mut self, entity: &Entity, at: Moment, amounts: &Amounts) {
        self.touch(at.second);
        match self.as_ref().is_wide() {
            true => self.add_as::<2>(entity, at, amounts),
            false => self.add_as::<1>(entity, at, amounts),
        }
    }

    fn add_as<const W: usize>(&mut self, entity: &Entity, at: Moment, amounts: &Amounts) {
        let (mut layout, latest) = (Layout::<W>::of(self.0, entity), self.latest());
        for level in entity.levels() {
            let index = at.tiles[level];
            if is_too_late(latest, level, index) {
                continue;
            }
            let tile = layout.find(self.0, level, index).unwrap_or_else(|tile| {
                self.0.copy_within(tile..layout.end, tile + layout.stride);
                self.0[tile..tile + layout.stride].fill(0);
                self.0[tile] = index;
                self.0[COUNTS] += 1 << (8 * level);
                layout = Layout::of(self.0, entity);
                tile
            });
            self.change::<W>(&layout, entity, (level, index, tile), amounts, |count, by| {
                count + by
            });
        }
    }

    /// Takes back what was added at that moment. What is no longer there need not be taken.
    pub fn take_back(&mut self, entity: &Entity, at: Moment, amounts: &Amounts) {
        match self.as_ref().is_wide() {
            true => self.take_back_as::<2>(entity, at, amounts),
            false => self.take_back_as::<1>(entity, at, amounts),
        }
    }

    fn take_back_as<const W: usize>(&mut self, entity: &Entity, at: Moment, amounts: &Amounts) {
        let layout = Layout::<W>::of(self.0, entity);
        for level in entity.levels() {
            let index = at.tiles[level];
            let Ok(tile) = layout.find(self.0, level, index) else { continue };
            let has =
                |&(lane, amount): &(usize, u64)| count::<W>(self.0, tile + 1 + lane * W) >= amount;
            if amounts.iter().all(has) {
                self.change::<W>(&layout, entity, (level, index, tile), amounts, |count, by| {
                    count - by
                });
            }
        }
    }

    /// Changes a tile, and the sums it is in.
    fn change<const W: usize>(
        &mut self,
        layout: &Layout<W>,
        entity: &Entity,
        (level, index, tile): (usize, u32, usize),
        amounts: &Amounts,
        change: impl Fn(u64, u64) -> u64,
    ) {
        let (age, has_sums) = (self.latest().tiles[level] - index, self.as_ref().has_sums());
        let mut change = |at: usize, by: u64| {
            let changed = change(count::<W>(self.0, at), by);
            set::<W>(self.0, at, changed);
        };
        for &(lane, amount) in amounts {
            change(tile + 1 + lane * W, amount);
        }
        if !has_sums {
            return;
        }
        for (number, window) in entity.windows.iter().enumerate() {
            if window.level() == level {
                let weight = window.weight(age.into());
                for &(lane, amount) in amounts {
                    change(layout.sums + (number * layout.lanes + lane) * W, amount * weight);
                }
            }
        }
    }

    fn latest(&self) -> Moment {
        Moment::of(self.0[LATEST])
    }

    /// Moves levels on to a later moment: lets go of tiles that no window reaches any more, and sums the
    /// others anew.
    fn roll<const W: usize>(&mut self, entity: &Entity, to: Moment) {
        if to.second <= self.0[LATEST] {
            return;
        }
        let from = self.latest();
        self.0[LATEST] = to.second;
        for level in entity.levels() {
            let index = to.tiles[level];
            if index == from.tiles[level] {
                continue;
            }
            let layout = Layout::<W>::of(self.0, entity);
            let (start, stride) = (layout.tiles[level], layout.stride);
            let first = index.saturating_sub(LEVELS[level].count);
            let tiles = layout.section(self.0, level).chunks_exact(stride);
            let gone = tiles.take_while(|tile| tile[0] < first).count();
            if gone > 0 {
                self.0.copy_within(start + gone * stride..layout.end, start);
                self.0[COUNTS] -= (gone as u32) << (8 * level);
            }
            if self.as_ref().has_sums() {
                let kept = layout.length(level) - gone * stride;
                let (sums, tiles) = self.0.split_at_mut(start);
                sum::<W>(&layout, entity, (level, index), &tiles[..kept], sums);
            }
        }
    }

    /// Becomes what another one is, in another form.
    pub fn reshape(&mut self, other: Past<'_>, entity: &Entity, form: Form) {
        let head = head_of(form.0);
        self.0[..head].copy_from_slice(&other.0[..head]);
        self.shape(|bytes| bytes[1] = form.0);
        match (other.is_wide(), form.0 & IS_WIDE != 0) {
            (false, false) => self.fill::<1, 1>(other, entity),
            (false, true) => self.fill::<1, 2>(other, entity),
            (true, _) => self.fill::<2, 2>(other, entity),
        }
    }

    /// Puts in another one's tiles, and their sums.
    fn fill<const FROM: usize, const TO: usize>(&mut self, other: Past<'_>, entity: &Entity) {
        let from = Layout::<FROM>::of(other.0, entity);
        let to = Layout::<TO>::of(self.0, entity);
        let tiles = other.0[from.tiles[LEVELS_COUNT - 1]..from.end].chunks_exact(from.stride);
        let start = to.tiles[LEVELS_COUNT - 1];
        for (from, to) in tiles.zip(self.0[start..to.end].chunks_exact_mut(to.stride)) {
            to[0] = from[0];
            for (from, to) in from[1..].chunks_exact(FROM).zip(to[1..].chunks_exact_mut(TO)) {
                set::<TO>(to, 0, count::<FROM>(from, 0));
            }
        }
        if self.as_ref().has_sums() {
            let latest = self.latest();
            for level in entity.levels() {
                let (sums, tiles) = self.0.split_at_mut(to.tiles[level]);
                let tiles = &tiles[..to.length(level)];
                sum::<TO>(&to, entity, (level, latest.tiles[level]), tiles, sums);
            }
        }
    }
}

/// Sums a level's tiles for each of its windows.
fn sum<const W: usize>(
    layout: &Layout<W>,
    entity: &Entity,
    (level, index): (usize, u32),
    tiles: &[u32],
    sums: &mut [u32],
) {
    let width = layout.lanes * W;
    for (number, window) in entity.windows.iter().enumerate() {
        if window.level() != level {
            continue;
        }
        let sums = &mut sums[layout.sums + number * width..][..width];
        sums.fill(0);
        for tile in tiles.chunks_exact(layout.stride) {
            let weight = window.weight(u64::from(index - tile[0]));
            for (sum, tile) in sums.chunks_exact_mut(W).zip(tile[1..].chunks_exact(W)) {
                let more = count::<W>(sum, 0) + weight * count::<W>(tile, 0);
                set::<W>(sum, 0, more);
            }
        }
    }
}

fn is_too_late(latest: Moment, level: usize, index: u32) -> bool {
    index + LEVELS[level].count < latest.tiles[level]
}

/// How many words there are once a moment has its tiles.
fn room<const W: usize>(words: &[u32], layout: &Layout<W>, entity: &Entity, at: Moment) -> usize {
    let latest = Moment::of(words[LATEST]);
    let is_missing = |&level: &usize| {
        let index = at.tiles[level];
        !is_too_late(latest, level, index) && layout.find(words, level, index).is_err()
    };
    layout.end + entity.levels().filter(is_missing).count() * layout.stride
}

/// Every sum that is kept from now on is within a word, and stays so.
fn sums_fit(words: &[u32], layout: &Layout<1>, entity: &Entity, amounts: &Amounts) -> bool {
    let latest = Moment::of(words[LATEST]);
    entity.windows.iter().all(|window| {
        let level = window.level();
        let mut sums = [0u64; LANES_MAX];
        for &(lane, amount) in amounts {
            sums[lane] = sums[lane].saturating_add(amount.saturating_mul(window.weight(0)));
        }
        for tile in layout.section(words, level).chunks_exact(layout.stride) {
            let weight = window.weight(u64::from(latest.tiles[level] - tile[0]));
            for (sum, &count) in sums.iter_mut().zip(&tile[1..]) {
                *sum = sum.saturating_add(weight.saturating_mul(count.into()));
            }
        }
        sums.iter().all(|&sum| sum <= u32::MAX.into())
    })
}

/// Every count stays within a word.
fn fits(words: &[u32], layout: &Layout<1>, entity: &Entity, at: Moment, amounts: &Amounts) -> bool {
    let takes = |count: u32, more: u64| more.saturating_add(count.into()) <= u32::MAX.into();
    amounts.iter().all(|&(lane, amount)| {
        let tiles = entity.levels().all(|level| {
            let tile = layout.find(words, level, at.tiles[level]);
            takes(tile.map_or(0, |tile| words[tile + 1 + lane]), amount)
        });
        let windows = if shape(words)[1] & HAS_SUMS != 0 { entity.windows.len() } else { 0 };
        let mut windows = entity.windows[..windows].iter().enumerate();
        tiles
            && windows.all(|(number, window)| {
                let most = amount.saturating_mul(window.weight(0));
                takes(words[layout.sums + number * layout.lanes + lane], most)
            })
    })
}
