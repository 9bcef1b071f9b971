//! Memory of pasts: runs of whole lines of the cache, so that a past of few words is one line to read.
//!
//! Chunks never move and are never cut: whoever grows takes a longer run and gives the shorter one back
//! to those of its class.

use super::memory::{LARGE_PAGE, Memory};
use crate::past::LINE;

/// Lines of a chunk: a large page.
const CHUNK: usize = LARGE_PAGE / size_of::<u32>() / LINE;
/// Lines of each class. The last holds whatever a plan may ask for.
const CLASSES: [u16; 24] =
    [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128];

#[derive(Debug, Default)]
pub struct Slab {
    chunks: Vec<Memory>,
    /// Lines of the last chunk that were handed out.
    taken: usize,
    /// Places given back, by class.
    free: [Vec<u32>; CLASSES.len()],
    /// Lines of those.
    free_lines: usize,
}

/// The least class that has room for so many words.
pub fn class_of(words: usize) -> usize {
    let lines = words.div_ceil(LINE);
    CLASSES.partition_point(|&class| usize::from(class) < lines)
}

/// Words that a class has room for.
pub fn words_of(class: usize) -> usize {
    usize::from(CLASSES[class]) * LINE
}

impl Slab {
    /// The words from a place on: those of whoever has it, and what lies behind them.
    #[inline]
    pub fn get(&self, place: u32) -> &[u32] {
        &self.chunks[place as usize / CHUNK][place as usize % CHUNK * LINE..]
    }

    /// As [`Slab::get`].
    #[inline]
    pub fn get_mut(&mut self, place: u32) -> &mut [u32] {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK * LINE..]
    }

    /// Hands out lines; what stands in them is what the last one left.
    pub fn take(&mut self, class: usize) -> u32 {
        let lines = usize::from(CLASSES[class]);
        if let Some(place) = self.free[class].pop() {
            self.free_lines -= lines;
            return place;
        }
        if self.chunks.is_empty() || self.taken + lines > CHUNK {
            self.give_rest();
            // A small shard takes no more than it touches.
            let chunk = if self.chunks.is_empty() { Memory::new } else { Memory::large };
            self.chunks.push(chunk(CHUNK * LINE));
            self.taken = 0;
        }
        let place = (self.chunks.len() - 1) * CHUNK + self.taken;
        self.taken += lines;
        u32::try_from(place).expect("a shard is bounded far below 256 GiB")
    }

    pub fn give(&mut self, place: u32, class: usize) {
        self.free[class].push(place);
        self.free_lines += usize::from(CLASSES[class]);
    }

    /// The lines at a chunk's end that are too few for who asks are for others.
    fn give_rest(&mut self) {
        while !self.chunks.is_empty() && self.taken < CHUNK {
            let rest = CHUNK - self.taken;
            let class = CLASSES.partition_point(|&lines| usize::from(lines) <= rest) - 1;
            let place = (self.chunks.len() - 1) * CHUNK + self.taken;
            self.give(place as u32, class);
            self.taken += usize::from(CLASSES[class]);
        }
    }

    /// More than a quarter of it is nobody's, and more than half a chunk.
    pub fn is_sparse(&self) -> bool {
        self.free_lines > (CHUNK / 2).max(self.chunks.len() * CHUNK / 4)
    }

    /// Bytes that were ever handed out: what of a chunk was not is not there yet.
    pub fn bytes(&self) -> usize {
        let free: usize = self.free.iter().map(Vec::capacity).sum();
        let lines = self.chunks.len().saturating_sub(1) * CHUNK + self.taken;
        (lines * LINE + free) * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_handed_out_twice() {
        let mut slab = Slab::default();
        let mut held: Vec<(u32, usize)> = Vec::new();
        let mut state = 7u64;
        let mut compared = 0;
        for number in 0..60_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = (state >> 33) as usize;
            if random.is_multiple_of(3) && !held.is_empty() {
                let (place, class) = held.swap_remove(random / 3 % held.len());
                let words = &slab.get(place)[..words_of(class)];
                assert!(words.iter().all(|&word| word == words[0]), "one owner's words");
                slab.give(place, class);
                compared += 1;
                continue;
            }
            let class = class_of(1 + random % if random.is_multiple_of(50) { 2_048 } else { 200 });
            let place = slab.take(class);
            slab.get_mut(place)[..words_of(class)].fill(number);
            held.push((place, class));
        }
        let mut owners: Vec<u32> = held.iter().map(|&(place, _)| slab.get(place)[0]).collect();
        for &(place, class) in &held {
            let words = &slab.get(place)[..words_of(class)];
            assert!(words.iter().all(|&word| word == words[0]), "one owner's words");
        }
        owners.sort_unstable();
        owners.dedup();
        assert_eq!(owners.len(), held.len(), "as many owners as places");
        assert!(compared > 10_000);
    }

    #[test]
    fn lines_begin_where_the_caches_do() {
        let mut slab = Slab::default();
        for class in 0..CLASSES.len() {
            let place = slab.take(class);
            assert_eq!(slab.get(place).as_ptr().align_offset(64), 0);
            assert_eq!(class_of(words_of(class)), class);
        }
    }
}
