//! What a past looks like at a moment.

use super::layout::{LATEST, Layout, count, float};
use super::{LANES_MAX, Moment, Past};
use crate::plan::{Entity, LEVELS, Window};

impl Past<'_> {
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
