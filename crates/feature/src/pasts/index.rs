//! Which place a past has: open addressing with linear probing, eight bytes an entry, so that nearly
//! every question is one line of the cache, also where the answer is that there is none.

/// The high half of a key's hash, and a place beside it; 0 is an empty entry.
#[derive(Debug, Default)]
pub struct Index {
    entries: Vec<u64>,
    count: usize,
}

const LEAST: usize = 64;

fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

fn entry(tag: u32, place: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(place) + 1
}

/// The tag and the place of an entry that is not empty.
fn parts(entry: u64) -> (u32, u32) {
    ((entry >> 32) as u32, entry as u32 - 1)
}

impl Index {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<u64>()
    }

    /// All places, in no order that means anything.
    pub fn places(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().filter(|&&entry| entry != 0).map(|&entry| parts(entry).1)
    }

    fn home(&self, tag: u32) -> usize {
        tag as usize & (self.entries.len() - 1)
    }

    /// Asks for the memory where a hash is looked for.
    #[inline]
    pub fn touch(&self, hash: u64) {
        if let Some(entry) =
            self.entries.get(tag_of(hash) as usize & self.entries.len().wrapping_sub(1))
        {
            std::hint::black_box(*entry);
        }
    }

    /// The first place whose tag is that of a hash: nearly always the one that is looked for.
    #[inline]
    pub fn guess(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// The place of a hash of which `is_it` says yes.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        let tag = tag_of(hash);
        let mut at = self.home(tag);
        loop {
            let entry = self.entries[at];
            if entry == 0 {
                return None;
            }
            let (other, place) = parts(entry);
            if other == tag && is_it(place) {
                return Some(place);
            }
            at = (at + 1) & (self.entries.len() - 1);
        }
    }

    /// Puts in a place that is not in.
    pub fn insert(&mut self, hash: u64, place: u32) {
        if (self.count + 1) * 3 > self.entries.len() * 2 {
            self.resize((self.entries.len() * 2).max(LEAST));
        }
        self.put(entry(tag_of(hash), place));
        self.count += 1;
    }

    /// Whoever was at one place is at another.
    pub fn replace(&mut self, hash: u64, from: u32, to: u32) {
        let at = self.at(hash, from);
        self.entries[at] = entry(tag_of(hash), to);
    }

    /// Takes a place out that is in, and closes the gap.
    pub fn remove(&mut self, hash: u64, place: u32) {
        let mask = self.entries.len() - 1;
        let mut gap = self.at(hash, place);
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries[at];
            if entry == 0 {
                break;
            }
            // It may move up to the gap where its home is not behind that.
            let home = self.home(parts(entry).0);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.entries[gap] = entry;
                gap = at;
            }
        }
        self.entries[gap] = 0;
        self.count -= 1;
    }

    fn at(&self, hash: u64, place: u32) -> usize {
        let wanted = entry(tag_of(hash), place);
        let mut at = self.home(tag_of(hash));
        while self.entries[at] != wanted {
            assert_ne!(self.entries[at], 0, "the place is in");
            at = (at + 1) & (self.entries.len() - 1);
        }
        at
    }

    fn put(&mut self, entry: u64) {
        let mut at = self.home(parts(entry).0);
        while self.entries[at] != 0 {
            at = (at + 1) & (self.entries.len() - 1);
        }
        self.entries[at] = entry;
    }

    fn resize(&mut self, length: usize) {
        let entries = std::mem::replace(&mut self.entries, vec![0; length]);
        entries.into_iter().filter(|&entry| entry != 0).for_each(|entry| self.put(entry));
    }
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
            let hash = u64::from((state >> 40) as u32 % 5_000 | 0xffff_8000) << 32 | state >> 60;
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
