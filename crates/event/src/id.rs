//! Who and what: slots, tenants, names people give, ids Reckon mints.

use std::fmt;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// The number of slots, fixed for ever: it stands in every minted id.
pub const SLOT_COUNT: u16 = 1_024;

/// One of [`SLOT_COUNT`] logical partitions. Partitions of a log are ranges of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot with this number; `None` from [`SLOT_COUNT`] on.
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOT_COUNT { Some(Slot(number)) } else { None }
    }

    /// The slot of whatever a 64-bit key stands for. Takes the top bits, so any good hash will do.
    pub const fn of_key(key: u64) -> Self {
        Slot((key >> 54) as u16)
    }

    /// The number, below [`SLOT_COUNT`].
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Which of `count` contiguous ranges of slots this one falls in.
    pub const fn range_of(self, count: u16) -> u16 {
        (self.0 as u32 * count as u32 / SLOT_COUNT as u32) as u16
    }

    /// The numbers of the slots in range `number` of `count`: what [`Slot::range_of`] puts there.
    pub const fn range(number: u16, count: u16) -> Range<u16> {
        first_of(number, count)..first_of(number + 1, count)
    }
}

/// The first slot of a range, rounded up.
const fn first_of(number: u16, count: u16) -> u16 {
    (number as u32 * SLOT_COUNT as u32).div_ceil(count as u32) as u16
}

/// A tenant: everything of one never meets anything of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u32);

impl TenantId {
    /// The tenant of a fresh installation.
    pub const DEFAULT: TenantId = TenantId(1);
}

/// The longest id a person may give to anything, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Why a given id is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing in it.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("must be at most 128 bytes")]
    TooLong,
    /// Holds a control character.
    #[error("must not hold control characters")]
    Control,
}

/// Checks an id that people gave: 1 to 128 bytes of UTF-8 without control characters.
pub fn valid_name(text: &str) -> Result<&str, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(IdError::TooLong);
    }
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(IdError::Control);
    }
    Ok(text)
}

/// The 64-bit key of a name (XXH3, seed 0). It stands in tokens, records and rollups; two ads whose
/// names collide cannot both be registered.
pub fn name_key(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// A short name with its key, as dimensions of the rollup carry it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// [`name_key`] of `text`.
    pub key: u64,
    /// The name itself.
    pub text: String,
}

/// The id of one minted impression: dense within (incarnation, slot, hour), so that exact
/// deduplication is a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImpressionId {
    /// The minter's lease number, new at every start of a minter.
    pub incarnation: u32,
    /// The slot of the user it was minted for.
    pub slot: Slot,
    /// Hours since 1970 by the minter's own never-falling hour.
    pub hour: u32,
    /// Counts from 0 within the three above.
    pub sequence: u32,
}

impl fmt::Display for ImpressionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.incarnation, self.slot.0, self.hour, self.sequence)
    }
}

/// The id of one record: who appended it and the how-manieth of that appender it is.
///
/// An append whose outcome is unknown is repeated with the same id; whoever reads the log drops
/// every record whose sequence is not above the highest seen of its appender in its slot.
/// The zero id means "not stamped yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The appender: a leased incarnation and the generation of its log handle.
    pub appender: u64,
    /// Rises by one with each record of the appender, from 1.
    pub sequence: u64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.appender, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_split_into_even_ranges() {
        for count in [1, 2, 7, 64] {
            let ranges: Vec<u16> = (0..SLOT_COUNT).map(|n| Slot(n).range_of(count)).collect();
            assert!(ranges.is_sorted(), "{count} ranges are contiguous");
            assert_eq!((ranges[0], ranges[1023]), (0, count - 1));
            for number in 0..count {
                let slots: Vec<u16> =
                    (0..SLOT_COUNT).filter(|&slot| ranges[usize::from(slot)] == number).collect();
                assert_eq!(Slot::range(number, count).collect::<Vec<_>>(), slots);
            }
        }
        assert_eq!(Slot::new(SLOT_COUNT), None);
        assert_eq!(Slot::of_key(u64::MAX).number(), SLOT_COUNT - 1);
    }

    #[test]
    fn names_are_bounded_and_printable() {
        assert_eq!(valid_name("ad-1"), Ok("ad-1"));
        assert_eq!(valid_name(""), Err(IdError::Empty));
        assert_eq!(valid_name(&"x".repeat(129)), Err(IdError::TooLong));
        assert_eq!(valid_name("a\nb"), Err(IdError::Control));
    }

    #[test]
    fn keys_of_names_never_change() {
        assert_eq!(name_key(""), 0x2d06_8005_38d3_94c2);
        assert_eq!(name_key("ad-1"), 12_892_458_192_024_228_567);
    }
}
