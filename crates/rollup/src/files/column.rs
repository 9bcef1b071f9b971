//! Columns of integers in few bytes: the codec of run files.
//!
//! Sorted, low-cardinality columns need no general compressor: a column is a constant, a frame of
//! packed differences from its least value, a dictionary with packed places, or runs of equal values;
//! the smallest is written. All of them decode at about a nanosecond a value.
//!
//! ```text
//!   constant     0 | value u64
//!   frame        1 | least u64 | bits u8 | packed
//!   dictionary   2 | count-1 u8 | value u64 * count | bits u8 | packed places
//!   runs         3 | run count u32 | column of values | column of lengths
//! ```

use std::ops::Range;

use super::wire::Reader;

const CONSTANT: u8 = 0;
const FRAME: u8 = 1;
const DICTIONARY: u8 = 2;
const RUNS: u8 = 3;

/// The most values in a dictionary.
const DICTIONARY_MAX: usize = 256;

/// Appends the encoded column of `values`, of which there is at least one.
pub(super) fn encode(values: &[u64], out: &mut Vec<u8>) {
    let runs = 1 + values.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if runs == 1 || runs * 3 > values.len() {
        return encode_flat(values, out);
    }
    let start = out.len();
    encode_runs(values, runs, out);
    let mut flat = Vec::new();
    encode_flat(values, &mut flat);
    if flat.len() < out.len() - start {
        out.truncate(start);
        out.extend_from_slice(&flat);
    }
}

fn encode_runs(values: &[u64], runs: usize, out: &mut Vec<u8>) {
    let (mut heads, mut lengths) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
    for run in values.chunk_by(|a, b| a == b) {
        heads.push(run[0]);
        lengths.push(run.len() as u64);
    }
    out.push(RUNS);
    out.extend_from_slice(&u32::try_from(runs).expect("blocks are small").to_le_bytes());
    encode_flat(&heads, out);
    encode_flat(&lengths, out);
}

/// Constant, frame or dictionary.
fn encode_flat(values: &[u64], out: &mut Vec<u8>) {
    let (least, greatest) = values
        .iter()
        .fold((u64::MAX, 0), |(least, most), &value| (least.min(value), most.max(value)));
    if least == greatest {
        out.push(CONSTANT);
        out.extend_from_slice(&least.to_le_bytes());
        return;
    }
    let frame_bits = bits(greatest - least);
    if frame_bits > 8
        && let Some(dictionary) = dictionary(values)
        && dictionary_bytes(&dictionary, values.len()) < packed_bytes(values.len(), frame_bits) + 10
    {
        return encode_dictionary(values, &dictionary, out);
    }
    out.push(FRAME);
    out.extend_from_slice(&least.to_le_bytes());
    out.push(frame_bits);
    pack(values.iter().map(|value| value - least), frame_bits, out);
}

/// The distinct values, sorted, where they are few.
fn dictionary(values: &[u64]) -> Option<Vec<u64>> {
    let mut seen: Vec<u64> = Vec::new();
    for &value in values {
        if seen.last() == Some(&value) {
            continue;
        }
        if let Err(place) = seen.binary_search(&value) {
            if seen.len() == DICTIONARY_MAX {
                return None;
            }
            seen.insert(place, value);
        }
    }
    Some(seen)
}

fn dictionary_bytes(dictionary: &[u64], count: usize) -> usize {
    3 + dictionary.len() * 8 + packed_bytes(count, bits(dictionary.len() as u64 - 1))
}

fn encode_dictionary(values: &[u64], dictionary: &[u64], out: &mut Vec<u8>) {
    out.push(DICTIONARY);
    out.push(u8::try_from(dictionary.len() - 1).expect("at most 256 values"));
    dictionary.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    let place_bits = bits(dictionary.len() as u64 - 1);
    out.push(place_bits);
    let place = |value: &u64| dictionary.binary_search(value).expect("all values are in it") as u64;
    pack(values.iter().map(place), place_bits, out);
}

/// Appends the values in `range` of an encoded column of `count` values to `out`; `None` where the
/// bytes are not a column of as many values. Constants, frames and dictionaries are decoded in the
/// range only.
pub(super) fn decode(
    reader: &mut Reader<'_>,
    count: usize,
    range: Range<usize>,
    out: &mut Vec<u64>,
) -> Option<()> {
    match reader.u8()? {
        CONSTANT => {
            let value = reader.u64()?;
            out.resize(out.len() + range.len(), value);
        }
        FRAME => {
            let least = reader.u64()?;
            let packed = Packed::read(reader, count, 64)?;
            packed.unpack(range, out, |value| least.checked_add(value))?;
        }
        DICTIONARY => decode_dictionary(reader, count, range, out)?,
        RUNS => decode_runs(reader, count, range, out)?,
        _ => return None,
    }
    Some(())
}

fn decode_dictionary(
    reader: &mut Reader<'_>,
    count: usize,
    range: Range<usize>,
    out: &mut Vec<u64>,
) -> Option<()> {
    let size = usize::from(reader.u8()?) + 1;
    let mut dictionary = [0; DICTIONARY_MAX];
    for value in &mut dictionary[..size] {
        *value = reader.u64()?;
    }
    let packed = Packed::read(reader, count, 8)?;
    packed.unpack(range, out, |place| dictionary[..size].get(place as usize).copied())
}

fn decode_runs(
    reader: &mut Reader<'_>,
    count: usize,
    range: Range<usize>,
    out: &mut Vec<u64>,
) -> Option<()> {
    let runs = reader.u32()? as usize;
    if runs > count {
        return None;
    }
    let (mut heads, mut lengths) = (Vec::new(), Vec::new());
    for part in [&mut heads, &mut lengths] {
        // Runs of runs are never written; refusing them keeps damaged bytes from nesting.
        (reader.peek()? != RUNS).then_some(())?;
        decode(reader, runs, 0..runs, part)?;
    }
    let mut at = 0;
    for (head, length) in heads.into_iter().zip(lengths) {
        let end = at + usize::try_from(length).ok().filter(|length| *length <= count - at)?;
        let inside = end.min(range.end).saturating_sub(at.max(range.start));
        out.resize(out.len() + inside, head);
        at = end;
    }
    (at == count).then_some(())
}

/// How many bits a value needs.
fn bits(value: u64) -> u8 {
    u8::try_from(64 - value.leading_zeros()).expect("at most 64")
}

fn packed_bytes(count: usize, width: u8) -> usize {
    (count * usize::from(width)).div_ceil(8)
}

fn pack(values: impl Iterator<Item = u64>, width: u8, out: &mut Vec<u8>) {
    let width = u32::from(width);
    let (mut held, mut held_bits) = (0u64, 0);
    for value in values {
        held |= value << held_bits;
        held_bits += width;
        if held_bits >= 64 {
            out.extend_from_slice(&held.to_le_bytes());
            held_bits -= 64;
            held = value.checked_shr(width - held_bits).unwrap_or(0);
        }
    }
    out.extend_from_slice(&held.to_le_bytes()[..held_bits.div_ceil(8) as usize]);
}

/// Values packed in `width` bits each.
struct Packed<'a> {
    bytes: &'a [u8],
    width: u8,
}

impl<'a> Packed<'a> {
    fn read(reader: &mut Reader<'a>, count: usize, width_max: u8) -> Option<Self> {
        let width = reader.u8().filter(|width| *width <= width_max)?;
        Some(Packed { bytes: reader.bytes(packed_bytes(count, width))?, width })
    }

    fn unpack(
        &self,
        range: Range<usize>,
        out: &mut Vec<u64>,
        of: impl Fn(u64) -> Option<u64>,
    ) -> Option<()> {
        let mask = u64::MAX.checked_shr(64 - u32::from(self.width)).unwrap_or(0);
        out.reserve(range.len());
        for at in range {
            let bit = at * usize::from(self.width);
            out.push(of(word_at(self.bytes, bit, self.width) & mask)?);
        }
        Some(())
    }
}

/// The bits from `bit` on, as many as `width` at least where there are so many.
#[inline]
fn word_at(bytes: &[u8], bit: usize, width: u8) -> u64 {
    let (byte, shift) = (bit / 8, bit % 8);
    if width <= 56
        && let Some(word) = bytes.get(byte..byte + 8)
    {
        return u64::from_le_bytes(word.try_into().expect("eight bytes")) >> shift;
    }
    let mut word = [0; 16];
    let tail = &bytes[byte.min(bytes.len())..bytes.len().min(byte + 16)];
    word[..tail.len()].copy_from_slice(tail);
    (u128::from_le_bytes(word) >> shift) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[u64]) -> usize {
        let mut bytes = Vec::new();
        encode(values, &mut bytes);
        let mut reader = Reader::new(&bytes);
        let mut read = Vec::new();
        decode(&mut reader, values.len(), 0..values.len(), &mut read).expect("a column");
        assert_eq!(read, values);
        assert!(reader.is_empty(), "all bytes are read");
        let part = values.len() / 3..values.len() - values.len() / 4;
        read.clear();
        let mut reader = Reader::new(&bytes);
        decode(&mut reader, values.len(), part.clone(), &mut read).expect("a column");
        assert_eq!(read, values[part]);
        bytes.len()
    }

    #[test]
    fn each_shape_takes_few_bytes() {
        assert_eq!(check(&[7; 2_048]), 9);
        let small: Vec<u64> = (0..2_048).map(|n| n * 7_919 % 61).collect();
        assert_eq!(check(&small), 10 + 2_048 * 6 / 8);
        let wide: Vec<u64> = (0..2_048).map(|n| (n * 7_919 % 61) << 50).collect();
        assert_eq!(check(&wide), 3 + 61 * 8 + 2_048 * 6 / 8);
        let sorted: Vec<u64> = (0..2_048).map(|n| (n / 128) << 40 | 5).collect();
        assert!(check(&sorted) < 200);
        check(&[0, u64::MAX, 1]);
    }

    proptest! {
        #[test]
        fn columns_read_back(
            values in proptest::collection::vec(any::<u64>(), 1..300),
            shift in 0u32..64,
            repeat in 1usize..9,
        ) {
            let values: Vec<u64> =
                values.iter().flat_map(|v| std::iter::repeat_n(v >> shift, repeat)).collect();
            check(&values);
        }

        #[test]
        fn any_bytes_are_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            count in 0usize..300,
        ) {
            let mut out = Vec::new();
            if decode(&mut Reader::new(&bytes), count, 0..count, &mut out).is_some() {
                prop_assert_eq!(out.len(), count);
            }
        }
    }
}
