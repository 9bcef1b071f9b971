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

use crate::happened::Key;
use crate::plan::{Entity, LEVELS, LEVELS_COUNT, Plan, Window};
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

// Where what stands in the head. Before `COUNTS` is what the store knows of a past, behind it what it is.
const ID: usize = 0;
const OWNER: usize = 2;
const CHANGED: usize = 4;
const COPY: usize = 5;
/// Bytes: the entity, flags, how many categories, and the class of its memory.
const SHAPE: usize = 6;
const TOUCHED: usize = 7;
/// Bytes: how many tiles there are of each level.
const COUNTS: usize = 8;
/// The latest second that was counted.
const LATEST: usize = 9;
const HEAD: usize = 10;
/// Of a user: the minute of its latest event, how many of it have come, and categories.
const MINUTE: usize = HEAD;
const IN_MINUTE: usize = MINUTE + 1;
const CATEGORIES: usize = IN_MINUTE + 1;
const HEAD_OF_USER: usize = CATEGORIES + 2 * CATEGORIES_MAX;

/// Its counts are two words each.
const IS_WIDE: u8 = 1;
const IS_OF_USER: u8 = 2;
/// It stands in the list of what is not in a file yet.
const IS_DIRTY: u8 = 4;
const HAS_SUMS: u8 = 8;
/// With more tiles than these, sums are kept.
const TILES_MAX: u32 = 12;

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

/// Where counts stand that are `W` words each.
struct Layout<const W: usize> {
    sums: usize,
    lanes: usize,
    /// Words of a tile.
    stride: usize,
    /// Where the tiles of each level begin. Coarse levels stand first: what changes most often is at the end.
    tiles: [usize; LEVELS_COUNT],
    end: usize,
}

impl<const W: usize> Layout<W> {
    fn of(words: &[u32], entity: &Entity) -> Self {
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

    fn parts(&self) -> (usize, [usize; LEVELS_COUNT], usize) {
        (self.sums, self.tiles, self.end)
    }

    /// Words of a level's tiles.
    fn length(&self, level: usize) -> usize {
        let end = if level == 0 { self.end } else { self.tiles[level - 1] };
        end - self.tiles[level]
    }

    fn section<'a>(&self, words: &'a [u32], level: usize) -> &'a [u32] {
        &words[self.tiles[level]..][..self.length(level)]
    }

    /// Where the tile stands, or where it would.
    fn find(&self, words: &[u32], level: usize, index: u32) -> Result<usize, usize> {
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

fn count<const W: usize>(words: &[u32], at: usize) -> u64 {
    match W {
        1 => words[at].into(),
        _ => u64::from(words[at]) | u64::from(words[at + 1]) << 32,
    }
}

fn set<const W: usize>(words: &mut [u32], at: usize, count: u64) {
    words[at] = count as u32;
    if W == 2 {
        words[at + 1] = (count >> 32) as u32;
    }
}

/// Sums are far below 2^63, and signed numbers become floats in one step.
fn float(sum: u64) -> f32 {
    sum as i64 as f32
}

fn shape(words: &[u32]) -> [u8; 4] {
    words[SHAPE].to_le_bytes()
}

fn head_of(flags: u8) -> usize {
    if flags & IS_OF_USER != 0 { HEAD_OF_USER } else { HEAD }
}

fn long(words: &[u32], at: usize) -> u64 {
    count::<2>(words, at)
}

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

    /// What is known at a moment, which is not before any event in it: sums by window and measure, then how
    /// many hours ago the last one of each measure was that the plan asks for (NaN: none in 30 days).
    pub fn view(self, entity: &Entity, moment: Moment, out: &mut [f32]) {
        // How many measures there are is known before the loops, so they are not loops.
        match entity.measures.len() {
            1 => self.view_of::<1>(entity, moment, out),
            2 => self.view_of::<2>(entity, moment, out),
            3 => self.view_of::<3>(entity, moment, out),
            4 => self.view_of::<4>(entity, moment, out),
            5 => self.view_of::<5>(entity, moment, out),
            6 => self.view_of::<6>(entity, moment, out),
            7 => self.view_of::<7>(entity, moment, out),
            8 => self.view_of::<8>(entity, moment, out),
            LANES_MAX => self.view_of::<LANES_MAX>(entity, moment, out),
            _ => unreachable!("a measure stands once in an entity, and there are nine"),
        }
    }

    fn view_of<const L: usize>(self, entity: &Entity, moment: Moment, out: &mut [f32]) {
        match self.is_wide() {
            true => self.view_as::<2, L>(entity, moment, out),
            false => self.view_as::<1, L>(entity, moment, out),
        }
    }

    fn view_as<const W: usize, const L: usize>(
        self,
        entity: &Entity,
        moment: Moment,
        out: &mut [f32],
    ) {
        let (words, layout) = (self.0, Layout::<W>::of(self.0, entity));
        let (latest, has_sums) = (Moment::of(words[LATEST]), self.has_sums());
        let (out, lasts) = out.split_at_mut(entity.windows.len() * L);
        for (number, (window, out)) in
            entity.windows.iter().zip(out.as_chunks_mut::<L>().0).enumerate()
        {
            let level = window.level();
            let (head, now) = (latest.tiles[level], moment.tiles[level]);
            if now == head && has_sums {
                let sums = &words[layout.sums + number * L * W..][..L * W];
                *out = std::array::from_fn(|lane| float(count::<W>(sums, lane * W)));
                continue;
            }
            let mut sums = [0; L];
            if head + LEVELS[level].count >= now {
                let tiles = layout.section(words, level);
                add_up::<W, L>(tiles, *window, now, &mut sums);
            }
            *out = sums.map(float);
        }
        let mut asked = entity.lasts;
        while asked != 0 {
            let lane = asked.trailing_zeros() as usize;
            let last = last::<W, L>(words, &layout, entity, moment, lane);
            lasts[lane] = last.map_or(f32::NAN, |last| {
                u64::from(moment.second).saturating_sub(last) as f32 / 3_600.0
            });
            asked &= asked - 1;
        }
    }

    /// Appends what it is, and not whose, to `bytes`.
    pub fn encode(self, entity: &Entity, bytes: &mut Vec<u8>) {
        let [_, flags, categories, _] = shape(self.0);
        let words = &self.0[TOUCHED..self.length(entity)];
        bytes.extend_from_slice(&[flags & !IS_DIRTY, categories]);
        bytes.extend_from_slice(&(words.len() as u16).to_le_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// Reads what [`Past::encode`] wrote, and moves on: all words of the past. `None` where it cannot be.
    pub fn decode(plan: &Plan, key: Key, entity: u8, bytes: &mut &[u8]) -> Option<Vec<u32>> {
        let declared = plan.entities.get(usize::from(entity))?;
        let [flags, categories] = take(bytes)?;
        let length = usize::from(u16::from_le_bytes(take(bytes)?));
        let (head, tail) = bytes.split_at_checked(length * 4)?;
        *bytes = tail;
        let is_of_user = plan.user == Some(usize::from(entity));
        let mut words = vec![0; room_at_first(is_of_user, declared).0];
        PastMut(&mut words).clear(key, entity, is_of_user, declared);
        if flags & !(IS_WIDE | HAS_SUMS) != shape(&words)[1]
            || usize::from(categories) > CATEGORIES_MAX
        {
            return None;
        }
        words[SHAPE] = u32::from_le_bytes([entity, flags, categories, 0]);
        words.truncate(TOUCHED);
        words.extend(head.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)));
        let counts = words.get(COUNTS)?.to_le_bytes();
        let mut levels = counts.iter().zip(LEVELS).enumerate();
        let is_bounded = levels.all(|(level, (&count, bound))| {
            let most = if declared.levels >> level & 1 == 1 { bound.count + 1 } else { 0 };
            u32::from(count) <= most
        });
        let fits = is_bounded && Past(&words).length(declared) == words.len();
        fits.then_some(words)
    }
}

/// Sums tiles as a window weighs them, the latest first.
#[inline(always)]
fn add_up<const W: usize, const L: usize>(
    tiles: &[u32],
    window: Window,
    now: u32,
    sums: &mut [u64; L],
) {
    let (reach, mut at) = (window.reach().unwrap_or(u32::MAX), tiles.len());
    let is_decayed = window == Window::Decayed;
    while at > 0 {
        at -= 1 + L * W;
        let tile = &tiles[at..at + 1 + L * W];
        let age = now.wrapping_sub(tile[0]);
        if age > reach {
            break;
        }
        let weight = if is_decayed { window.weight(age.into()) } else { 1 };
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += weight * count::<W>(tile, 1 + lane * W);
        }
    }
}

/// The start of the latest tile with one in it, of the finest level that has one.
fn last<const W: usize, const L: usize>(
    words: &[u32],
    layout: &Layout<W>,
    entity: &Entity,
    moment: Moment,
    lane: usize,
) -> Option<u64> {
    for level in entity.levels() {
        let first = moment.tiles[level].saturating_sub(LEVELS[level].count);
        let (start, mut at) = (layout.tiles[level], layout.tiles[level] + layout.length(level));
        while at > start {
            at -= 1 + L * W;
            if words[at] < first {
                break;
            }
            if count::<W>(words, at + 1 + lane * W) > 0 {
                return Some(u64::from(words[at]) * u64::from(LEVELS[level].seconds));
            }
        }
    }
    None
}

/// How many words a past has in which nothing has happened, and how many once something has.
pub(crate) fn room_at_first(is_of_user: bool, entity: &Entity) -> (usize, usize) {
    let head = if is_of_user { HEAD_OF_USER } else { HEAD };
    (head, head + entity.levels().count() * (1 + entity.measures.len()))
}

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
                let fits = fits(self.0, &layout, entity, at, amounts);
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

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { owner: 1 << 40, id: 2 << 50 | 3 };
    const DAY: u32 = 20_000 * 86_400;

    /// A past with room for whatever comes.
    struct Roomy {
        words: Vec<u32>,
        entity: Entity,
    }

    impl Roomy {
        fn new(plan: &Plan) -> Self {
            let user = plan.user.expect("a user");
            let entity = plan.entities[user].clone();
            let mut words = vec![0; 4_096];
            PastMut(&mut words).clear(KEY, user as u8, true, &entity);
            Roomy { words, entity }
        }

        fn add(&mut self, second: u32, amounts: &Amounts) {
            let at = Moment::of(second);
            let prepared = PastMut(&mut self.words).prepare(&self.entity, at, amounts);
            if let Err(form) = prepared {
                let before = std::mem::replace(&mut self.words, vec![0; 4_096]);
                PastMut(&mut self.words).reshape(Past(&before), &self.entity, form);
            }
            let room = PastMut(&mut self.words).prepare(&self.entity, at, amounts);
            PastMut(&mut self.words).add(&self.entity, at, amounts);
            assert_eq!(room, Ok(self.past().length(&self.entity)), "room is told before");
        }

        fn take_back(&mut self, second: u32, amounts: &Amounts) {
            PastMut(&mut self.words).take_back(&self.entity, Moment::of(second), amounts);
        }

        fn past(&self) -> Past<'_> {
            Past(&self.words)
        }

        fn view(&self, second: u32) -> Vec<u32> {
            let mut view = vec![0.0; self.entity.width()];
            self.past().view(&self.entity, Moment::of(second), &mut view);
            view.into_iter().map(f32::to_bits).collect()
        }

        /// Every sum and every tile, as they are.
        fn counts(&self) -> Vec<u64> {
            match self.past().is_wide() {
                true => self.counts_as::<2>(),
                false => self.counts_as::<1>(),
            }
        }

        fn counts_as<const W: usize>(&self) -> Vec<u64> {
            let layout = Layout::<W>::of(&self.words, &self.entity);
            let tiles = layout.tiles[LEVELS_COUNT - 1];
            let each =
                |words: &[u32]| words.chunks_exact(W).map(|word| count::<W>(word, 0)).collect();
            let mut counts: Vec<u64> = each(&self.words[layout.sums..tiles]);
            for tile in self.words[tiles..layout.end].chunks_exact(layout.stride) {
                counts.push(tile[0].into());
                counts.extend::<Vec<u64>>(each(&tile[1..]));
            }
            counts
        }
    }

    #[test]
    fn what_is_taken_back_is_as_if_it_had_not_been() {
        let plan = Plan::default();
        let (mut one, mut other) = (Roomy::new(&plan), Roomy::new(&plan));
        for second in [DAY, DAY + 70, DAY + 4_000, DAY + 90_000] {
            one.add(second, &[(0, 1)]);
            other.add(second, &[(0, 1)]);
            one.add(second + 5, &[(1, 1)]);
            one.take_back(second + 5, &[(1, 1)]);
        }
        let view = one.view(DAY + 90_100);
        assert_eq!(view, other.view(DAY + 90_100));
        assert!(view.iter().any(|&bits| f32::from_bits(bits) > 0.0));
        assert_eq!(one.counts(), other.counts());
    }

    #[test]
    fn counts_that_need_two_words_are_the_same_counts() {
        let plan = Plan::default();
        let (mut one, mut other) = (Roomy::new(&plan), Roomy::new(&plan));
        // All at once, and one by one: the second is narrow for as long as it can be.
        let great = [(0, u64::from(u32::MAX) - 20), (5, 1 << 40)];
        other.add(DAY, &great);
        for number in 0..30 {
            one.add(DAY + 60 * number, &[(0, 1), (5, 2)]);
        }
        one.add(DAY, &great);
        for number in 0..30 {
            other.add(DAY + 60 * number, &[(0, 1), (5, 2)]);
        }
        assert_eq!(one.counts(), other.counts());
        let day = 2 * one.entity.measures.len();
        assert!(one.past().is_wide() && one.past().has_sums());
        assert_eq!(one.counts()[day], u64::from(u32::MAX) + 10, "clicks of a day");
        for later in [1_800, 5_000, 90_000, 1_000_000] {
            assert_eq!(one.view(DAY + later), other.view(DAY + later));
        }
    }

    #[test]
    fn bytes_come_back_and_cut_ones_do_not() {
        let plan = Plan::default();
        let mut roomy = Roomy::new(&plan);
        let entity = roomy.past().entity();
        for amount in [2, u64::MAX >> 20] {
            roomy.add(1_700_000_000, &[(0, 1), (1, amount)]);
            PastMut(&mut roomy.words).liked(amount);
            let mut bytes = Vec::new();
            roomy.past().encode(&roomy.entity, &mut bytes);
            let length = roomy.past().length(&roomy.entity);
            let back = Past::decode(&plan, KEY, entity, &mut &*bytes);
            assert_eq!(back.as_deref(), Some(&roomy.words[..length]));
            for length in 0..bytes.len() {
                let cut = Past::decode(&plan, KEY, entity, &mut &bytes[..length]);
                assert_eq!(cut, None, "cut at {length}");
            }
        }
    }

    #[test]
    fn the_latest_categories_are_remembered() {
        let plan = Plan::default();
        let mut roomy = Roomy::new(&plan);
        for category in [1, 2, 3, 4, 5, 2, 6, 7, 8, 9, 3] {
            PastMut(&mut roomy.words).liked(category);
        }
        assert_eq!(roomy.past().categories().collect::<Vec<_>>(), [4, 5, 2, 6, 7, 8, 9, 3]);
        assert_eq!(roomy.past().key(), KEY);
    }
}
