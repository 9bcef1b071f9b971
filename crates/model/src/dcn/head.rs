//! Which row of the table a key has.
//!
//! Frequent keys have a row of their own, found exactly; all others share the buckets by their hash.
//! Rows of frequent keys come first: `0..head`, then the buckets.

use super::served::prefetch;

/// No row: the key is missing, its embedding is zero.
pub(super) const NO_ROW: u32 = u32::MAX;

/// The frequent keys, and how many buckets there are for the others. Open addressing, at most half
/// full; key and row lie together, so a lookup costs one line of memory.
#[derive(Clone, Debug)]
pub(super) struct Head {
    keys: Vec<u64>,
    slots: Vec<(u64, u32)>,
    bucket_bits: u32,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Head {
    /// Keys in the order of their rows. `None` if one of them is 0 or comes twice, or they are too many.
    pub(super) fn new(keys: Vec<u64>, buckets: usize) -> Option<Self> {
        if keys.len() > 1 << 28 {
            return None;
        }
        let size = (keys.len() * 2).next_power_of_two().max(2);
        let mut head = Head { keys, slots: vec![(0, 0); size], bucket_bits: buckets.ilog2() };
        for row in 0..head.keys.len() {
            let key = head.keys[row];
            let slot = head.slot(key);
            if key == 0 || head.slots[slot].0 == key {
                return None;
            }
            head.slots[slot] = (key, u32::try_from(row).ok()?);
        }
        Some(head)
    }

    pub(super) fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// Rows of the table.
    pub(super) fn rows(&self) -> usize {
        self.keys.len() + (1 << self.bucket_bits)
    }

    /// The key's row, or [`NO_ROW`] for the missing key.
    pub(super) fn row(&self, key: u64) -> u32 {
        if key == 0 {
            return NO_ROW;
        }
        let (found, row) = self.slots[self.slot(key)];
        if found == key { row } else { self.bucket(key) }
    }

    /// Asks for the memory that [`Head::row`] will read.
    pub(super) fn ask(&self, key: u64) {
        prefetch(&self.slots, self.home(key));
    }

    /// Both tables together have less than 2^30 rows, so a row fits.
    fn bucket(&self, key: u64) -> u32 {
        let hash = (key ^ key >> 32).wrapping_mul(GOLDEN);
        let bucket = hash.checked_shr(64 - self.bucket_bits).unwrap_or(0);
        (self.keys.len() + bucket as usize) as u32
    }

    /// Where the search for a key begins.
    fn home(&self, key: u64) -> usize {
        (key.wrapping_mul(GOLDEN) >> 32) as usize & (self.slots.len() - 1)
    }

    /// Where the key lies, or the free slot where it would.
    fn slot(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.home(key);
        while self.slots[slot].0 != key && self.slots[slot].0 != 0 {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_keys_have_rows_of_their_own_and_others_share() {
        let keys: Vec<u64> = (1..=1_000).map(|key| key * 0x1_0000_0001).collect();
        let head = Head::new(keys.clone(), 64).expect("no key twice");
        assert_eq!(head.rows(), 1_064);
        for (row, &key) in keys.iter().enumerate() {
            assert_eq!(head.row(key) as usize, row);
        }
        let mut filled = [0; 64];
        for key in 2_000..10_000u64 {
            filled[head.row(key) as usize - 1_000] += 1;
        }
        assert!(filled.iter().all(|&count| count > 60), "{filled:?}");
        assert_eq!(head.row(0), NO_ROW);
        assert!(Head::new(vec![5, 5], 64).is_none() && Head::new(vec![0], 64).is_none());
        assert_eq!(Head::new(Vec::new(), 1).expect("one bucket").row(77), 0);
    }
}
