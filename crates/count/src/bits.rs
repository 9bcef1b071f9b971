//! An exact set of minted sequence numbers: 16 bits an id while sparse, one bit a minted id when dense.
//!
//! Roaring's idea, cut to what minted ids are: numbers from 0 up, nearly in order, never removed.
//! Decision: own code instead of the `roaring` crate, because a full-width bitmap container costs
//! 8 KiB from the 4,097th id on, although a slot seldom mints 65,536 ids an hour. Here a dense chunk
//! ends at its highest id, and spare capacity is an eighth instead of a doubling. The example
//! `fold_speed` prints both figures.

use crate::FormatError;
use crate::wire::{Reader, put_varint};

const CHUNK_BITS: u32 = 16;
/// Spare room of a growing vector: one part in eight, and a little.
const SPARE_MIN: usize = 4;

/// A growing set of `u32` that knows whether an id is new.
#[derive(Clone, Debug, Default)]
pub struct IdSet {
    chunks: Vec<Chunk>,
}

#[derive(Clone, Debug)]
struct Chunk {
    high: u16,
    store: Store,
}

#[derive(Clone, Debug)]
enum Store {
    /// Ascending.
    Sparse(Vec<u16>),
    /// Bit `n % 64` of word `n / 64`; the last word is not zero.
    Dense(Vec<u64>),
}

impl IdSet {
    /// Adds an id; true where it is new.
    pub fn insert(&mut self, id: u32) -> bool {
        let (high, low) = ((id >> CHUNK_BITS) as u16, (id & 0xFFFF) as u16);
        let at = match self.chunks.iter().rposition(|chunk| chunk.high <= high) {
            Some(at) if self.chunks[at].high == high => at,
            other => {
                let at = other.map_or(0, |at| at + 1);
                self.chunks.reserve_exact(1);
                self.chunks.insert(at, Chunk { high, store: Store::Sparse(Vec::new()) });
                at
            }
        };
        self.chunks[at].store.insert(low)
    }

    /// True where the id is in it.
    pub fn contains(&self, id: u32) -> bool {
        let (high, low) = ((id >> CHUNK_BITS) as u16, (id & 0xFFFF) as u16);
        self.chunks.iter().find(|chunk| chunk.high == high).is_some_and(|c| c.store.contains(low))
    }

    /// How many ids are in it.
    pub fn len(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.store.len()).sum()
    }

    /// True where none is in it.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.chunks.iter().flat_map(|chunk| {
            let high = u32::from(chunk.high) << CHUNK_BITS;
            chunk.store.iter().map(move |low| high | u32::from(low))
        })
    }

    /// The bytes it takes on the heap, spare room included.
    pub fn heap_bytes(&self) -> usize {
        let chunks = self.chunks.capacity() * size_of::<Chunk>();
        chunks + self.chunks.iter().map(|chunk| chunk.store.heap_bytes()).sum::<usize>()
    }
}

impl Store {
    fn insert(&mut self, low: u16) -> bool {
        match self {
            Store::Dense(words) => insert_dense(words, low),
            Store::Sparse(lows) => {
                if !insert_sparse(lows, low) {
                    return false;
                }
                if is_better_dense(lows) {
                    *self = Store::Dense(to_dense(lows));
                }
                true
            }
        }
    }

    fn contains(&self, low: u16) -> bool {
        match self {
            Store::Sparse(lows) => lows.binary_search(&low).is_ok(),
            Store::Dense(words) => {
                words.get(usize::from(low >> 6)).is_some_and(|word| word >> (low & 63) & 1 == 1)
            }
        }
    }

    fn len(&self) -> u64 {
        match self {
            Store::Sparse(lows) => lows.len() as u64,
            Store::Dense(words) => words.iter().map(|word| u64::from(word.count_ones())).sum(),
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = u16> + '_> {
        match self {
            Store::Sparse(lows) => Box::new(lows.iter().copied()),
            Store::Dense(words) => Box::new(
                words.iter().enumerate().flat_map(|(at, &word)| bits_of(at as u16 * 64, word)),
            ),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Store::Sparse(lows) => lows.capacity() * size_of::<u16>(),
            Store::Dense(words) => words.capacity() * size_of::<u64>(),
        }
    }
}

fn bits_of(base: u16, mut word: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as u16;
        word &= word.wrapping_sub(1);
        (bit < 64).then(|| base + bit)
    })
}

fn insert_sparse(lows: &mut Vec<u16>, low: u16) -> bool {
    let at = match lows.last() {
        Some(&last) if last >= low => match lows.binary_search(&low) {
            Ok(_) => return false,
            Err(at) => at,
        },
        _ => lows.len(),
    };
    make_room(lows, 1);
    lows.insert(at, low);
    true
}

fn insert_dense(words: &mut Vec<u64>, low: u16) -> bool {
    let (word, bit) = (usize::from(low >> 6), 1_u64 << (low & 63));
    if word >= words.len() {
        make_room(words, word + 1 - words.len());
        words.resize(word + 1, 0);
    }
    let is_new = words[word] & bit == 0;
    words[word] |= bit;
    is_new
}

fn make_room<T>(items: &mut Vec<T>, more: usize) {
    if items.capacity() - items.len() < more {
        items.reserve_exact(more + items.len() / 8 + SPARE_MIN);
    }
}

fn is_better_dense(lows: &[u16]) -> bool {
    let words = lows.last().map_or(0, |&last| usize::from(last >> 6) + 1);
    size_of_val(lows) > words * size_of::<u64>()
}

fn to_dense(lows: &[u16]) -> Vec<u64> {
    let mut words = Vec::new();
    for &low in lows {
        insert_dense(&mut words, low);
    }
    words
}

const GAPS: u8 = 1;
const BITS: u8 = 2;

/// The form on disk follows from the ids alone, not from the order in which they came.
impl IdSet {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.chunks.len() as u64);
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.high.to_le_bytes());
            chunk.store.encode(out);
        }
    }

    pub(crate) fn decode(body: &mut Reader<'_>) -> Result<Self, FormatError> {
        let mut chunks: Vec<Chunk> = Vec::new();
        let count = body.count(4)?;
        chunks.reserve_exact(count);
        for _ in 0..count {
            let high = body.u16()?;
            if chunks.last().is_some_and(|last| last.high >= high) {
                return Err(FormatError::Damaged("order of chunks"));
            }
            chunks.push(Chunk { high, store: Store::decode(body)? });
        }
        Ok(IdSet { chunks })
    }
}

impl Store {
    fn encode(&self, out: &mut Vec<u8>) {
        let last = match self {
            Store::Sparse(lows) => *lows.last().expect("a chunk holds an id"),
            Store::Dense(words) => {
                let top = words.last().expect("a chunk holds an id");
                ((words.len() - 1) * 64) as u16 + 63 - top.leading_zeros() as u16
            }
        };
        let (count, bytes) = (self.len(), usize::from(last >> 3) + 1);
        if count <= bytes as u64 {
            out.push(GAPS);
            put_varint(out, count);
            let mut next = 0;
            for low in self.iter() {
                put_varint(out, u64::from(low) - next);
                next = u64::from(low) + 1;
            }
        } else {
            out.push(BITS);
            put_varint(out, bytes as u64);
            let end = out.len() + bytes;
            match self {
                Store::Dense(words) => put_words(out, words),
                Store::Sparse(lows) => put_words(out, &to_dense(lows)),
            }
            out.truncate(end);
        }
    }

    fn decode(body: &mut Reader<'_>) -> Result<Self, FormatError> {
        match body.u8()? {
            GAPS => Self::decode_gaps(body),
            BITS => Self::decode_bits(body),
            _ => Err(FormatError::Damaged("form of a chunk")),
        }
    }

    fn decode_gaps(body: &mut Reader<'_>) -> Result<Self, FormatError> {
        let count = body.count(1)?;
        let mut lows = Vec::with_capacity(count);
        let mut next = 0_u64;
        for _ in 0..count {
            let low = next.saturating_add(body.varint()?);
            lows.push(u16::try_from(low).map_err(|_| FormatError::Damaged("gap"))?);
            next = low + 1;
        }
        if lows.is_empty() {
            return Err(FormatError::Damaged("empty chunk"));
        }
        Ok(if is_better_dense(&lows) { Store::Dense(to_dense(&lows)) } else { Store::Sparse(lows) })
    }

    fn decode_bits(body: &mut Reader<'_>) -> Result<Self, FormatError> {
        let length = body.count(1)?;
        let bytes = body.bytes(length)?;
        if length > 1 << (CHUNK_BITS - 3) || bytes.last().is_none_or(|&last| last == 0) {
            return Err(FormatError::Damaged("bits of a chunk"));
        }
        let words = bytes
            .chunks(8)
            .map(|chunk| chunk.iter().rev().fold(0_u64, |word, &byte| word << 8 | u64::from(byte)));
        Ok(Store::Dense(words.collect()))
    }
}

fn put_words(out: &mut Vec<u8>, words: &[u64]) {
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(ids in prop::collection::vec(prop_oneof![0..200_u32, 0..70_000_u32, any::<u32>()], 0..800)) {
            let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
            for id in ids {
                prop_assert_eq!(set.contains(id), model.contains(&id));
                prop_assert_eq!(set.insert(id), model.insert(id));
            }
            let mut bytes = Vec::new();
            set.encode(&mut bytes);
            let read = IdSet::decode(&mut Reader(&bytes)).expect("as it was written");
            prop_assert_eq!(read.iter().collect::<BTreeSet<_>>(), model.clone());
            let mut sorted = IdSet::default();
            model.iter().for_each(|&id| assert!(sorted.insert(id)));
            let mut again = Vec::new();
            sorted.encode(&mut again);
            prop_assert_eq!(bytes, again, "the order of insertion leaves no trace");
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
        }
    }

    #[track_caller]
    fn check_bits(ids: impl Iterator<Item = u32>, minted: u32, bits_max: f64) {
        let mut set = IdSet::default();
        for id in ids {
            assert!(set.insert(id));
        }
        let bits = set.heap_bytes() as f64 * 8.0 / f64::from(minted);
        assert!(bits <= bits_max, "{bits:.2} bits a minted id");
    }

    #[test]
    fn it_takes_a_bit_when_dense_and_sixteen_when_sparse() {
        check_bits(0..35_000, 35_000, 1.15);
        check_bits((0..35_000).rev(), 35_000, 1.15);
        check_bits((0..35_000).step_by(10), 35_000, 1.15);
        check_bits((0..35_000).step_by(100), 35_000, 0.25);
        check_bits(0..1_000_000, 1_000_000, 1.15);
    }
}
