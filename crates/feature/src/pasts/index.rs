//! Which place a past has: open addressing with linear probing, eight bytes an entry, so that nearly
//! every question is one line of the cache, also where the answer is that there is none.

use super::memory::{LARGE_PAGE, Memory};
use crate::prefetch::prefetch;

/// The high half of a key's hash, and a place beside it, one more than it is; two zeros are an empty entry.
type Entry = [u32; 2];

#[derive(Debug, Default)]
pub struct Index {
    entries: Memory,
    count: usize,
}

const LEAST: usize = 64;
const EMPTY: Entry = [0, 0];

fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

fn entry(hash: u64, place: u32) -> Entry {
    [tag_of(hash), place + 1]
}

fn place([_, place]: Entry) -> u32 {
    place - 1
}

impl Index {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn bytes(&self) -> usize {
        self.entries.len() * size_of::<u32>()
    }

    /// All places, in no order that means anything.
    pub fn places(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries().iter().filter(|&&entry| entry != EMPTY).map(|&entry| place(entry))
    }

    #[inline]
    fn entries(&self) -> &[Entry] {
        self.entries.as_chunks().0
    }

    fn entries_mut(&mut self) -> &mut [Entry] {
        self.entries.as_chunks_mut().0
    }

    /// Asks for the memory where a hash is looked for.
    #[inline]
    pub fn touch(&self, hash: u64) {
        let entries = self.entries();
        prefetch(entries, tag_of(hash) as usize & entries.len().wrapping_sub(1));
    }

    /// The first place whose tag is that of a hash: nearly always the one that is looked for.
    #[inline]
    pub fn guess(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// The place of a hash of which `is_it` says yes.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (entries, tag) = (self.entries(), tag_of(hash));
        let mask = entries.len().wrapping_sub(1);
        let mut at = tag as usize & mask;
        loop {
            let entry = *entries.get(at)?;
            if entry == EMPTY {
                return None;
            }
            if entry[0] == tag && is_it(place(entry)) {
                return Some(place(entry));
            }
            at = (at + 1) & mask;
        }
    }

    /// Puts in a place that is not in.
    pub fn insert(&mut self, hash: u64, place: u32) {
        let length = self.entries().len();
        if (self.count + 1) * 3 > length * 2 {
            self.grow((length * 2).max(LEAST));
        }
        put(self.entries_mut(), entry(hash, place));
        self.count += 1;
    }

    /// Whoever was at one place is at another.
    pub fn replace(&mut self, hash: u64, from: u32, to: u32) {
        let at = self.at(hash, from);
        self.entries_mut()[at] = entry(hash, to);
    }

    /// Takes a place out that is in, and closes the gap.
    pub fn remove(&mut self, hash: u64, place: u32) {
        let mut gap = self.at(hash, place);
        let entries = self.entries_mut();
        let mask = entries.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let entry = entries[at];
            if entry == EMPTY {
                break;
            }
            // It may move up to the gap where its home is not behind that.
            let home = entry[0] as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                entries[gap] = entry;
                gap = at;
            }
        }
        entries[gap] = EMPTY;
        self.count -= 1;
    }

    fn at(&self, hash: u64, place: u32) -> usize {
        let (entries, wanted) = (self.entries(), entry(hash, place));
        let mut at = wanted[0] as usize & (entries.len() - 1);
        while entries[at] != wanted {
            assert_ne!(entries[at], EMPTY, "the place is in");
            at = (at + 1) & (entries.len() - 1);
        }
        at
    }

    fn grow(&mut self, length: usize) {
        let is_large = length * size_of::<Entry>() >= LARGE_PAGE;
        let memory = if is_large { Memory::large } else { Memory::new };
        let old = std::mem::replace(&mut self.entries, memory(length * 2));
        for &entry in old.as_chunks().0.iter().filter(|&&entry| entry != EMPTY) {
            put(self.entries_mut(), entry);
        }
    }
}

fn put(entries: &mut [Entry], entry: Entry) {
    let mask = entries.len() - 1;
    let mut at = entry[0] as usize & mask;
    while entries[at] != EMPTY {
        at = (at + 1) & mask;
    }
    entries[at] = entry;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_finds_what_a_map_finds() {
        let (mut index, mut map) = (Index::default(), BTreeMap::new());
        let mut state = 3u64;
        let mut compared = 0;
        for number in 0..60_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Homes are few and crowded, and the last ones run over the end.
            let hash = u64::from(((state >> 40) as u32 % 5_000) | 0xffff_8000) << 32 | state >> 60;
            let random = state >> 35;
            match map.get(&hash).copied() {
                Some(place) if random.is_multiple_of(2) => {
                    index.remove(hash, place);
                    map.remove(&hash);
                }
                Some(place) => {
                    index.replace(hash, place, number);
                    map.insert(hash, number);
                }
                None => {
                    index.insert(hash, number);
                    map.insert(hash, number);
                }
            }
            let found = index.find(hash, |place| map.get(&hash) == Some(&place));
            assert_eq!(found, map.get(&hash).copied());
            compared += 1;
        }
        for (&hash, &place) in &map {
            assert_eq!(index.find(hash, |other| other == place), Some(place));
        }
        assert_eq!(index.len(), map.len());
        assert_eq!(index.places().count(), map.len());
        assert!(map.len() > 1_000 && compared == 60_000);
    }
}
