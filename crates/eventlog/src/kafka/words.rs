//! The words of a value: keys, ids, times and bytes as JSON text.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use base64_simd::STANDARD;
use reckon_event::{ImpressionId, RecordId, Slot, Timestamp};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A 64-bit key: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key(pub u64);

/// A pseudonym: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Person(pub u128);

/// A record's id: appender and number, 16 hexadecimal digits each. Always as long, so that it can be
/// written when the rest is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Id(pub RecordId);

/// A minted impression's id: incarnation, slot, hour and number, decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Impression(pub ImpressionId);

/// A time: RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Time(pub Timestamp);

/// Bytes: base64, with padding.
#[derive(Clone, Debug)]
pub(crate) enum Base64<'a> {
    /// To be written.
    Bytes(&'a [u8]),
    /// As it was read.
    Text(Cow<'a, str>),
}

/// True for what a value leaves out.
pub(crate) fn is_absent<T: Absent>(word: &T) -> bool {
    word.is_absent()
}

/// What may be left out of a value.
pub(crate) trait Absent {
    /// True where it is.
    fn is_absent(&self) -> bool;
}

macro_rules! absent_is_default {
    ($($word:ty),*) => {
        $(impl Absent for $word {
            fn is_absent(&self) -> bool {
                *self == <$word>::default()
            }
        })*
    };
}

absent_is_default!(u8, u16, u32, i64, Key, Person);

impl Absent for Cow<'_, str> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl Absent for Base64<'_> {
    fn is_absent(&self) -> bool {
        match self {
            Base64::Bytes(bytes) => bytes.is_empty(),
            Base64::Text(text) => text.is_empty(),
        }
    }
}

impl Default for Base64<'_> {
    fn default() -> Self {
        Base64::Bytes(&[])
    }
}

impl Base64<'_> {
    /// The bytes; `None` where the text is not base64.
    pub fn decoded(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Base64::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
            Base64::Text(text) if text.is_empty() => Some(Cow::Borrowed(&[])),
            Base64::Text(text) => STANDARD.decode_to_vec(text.as_bytes()).ok().map(Cow::Owned),
        }
    }
}

impl Id {
    /// Its text.
    pub fn text(self) -> [u8; 33] {
        let mut text = [0; 33];
        write!(&mut text[..], "{:016x}-{:016x}", self.0.appender, self.0.sequence)
            .expect("16 digits, a dash and 16 digits");
        text
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.0.appender, self.0.sequence)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for Impression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A word that is read from text.
trait Word: Sized {
    const EXPECTED: &'static str;

    fn parse(text: &str) -> Option<Self>;
}

impl Word for Key {
    const EXPECTED: &'static str = "a key of up to 16 hexadecimal digits";

    fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Key)
    }
}

impl Word for Person {
    const EXPECTED: &'static str = "a pseudonym of up to 32 hexadecimal digits";

    fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Person)
    }
}

impl Word for Id {
    const EXPECTED: &'static str = "an appender and a number, in hexadecimal digits, with a dash";

    fn parse(text: &str) -> Option<Self> {
        let (appender, sequence) = text.split_once('-')?;
        let (appender, sequence) = (Key::parse(appender)?.0, Key::parse(sequence)?.0);
        Some(Id(RecordId { appender, sequence }))
    }
}

impl Word for Impression {
    const EXPECTED: &'static str = "an impression's incarnation-slot-hour-number";

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = || parts.next();
        let id = ImpressionId {
            incarnation: part()?.parse().ok()?,
            slot: Slot::new(part()?.parse().ok()?)?,
            hour: part()?.parse().ok()?,
            sequence: part()?.parse().ok()?,
        };
        part().is_none().then_some(Impression(id))
    }
}

impl Word for Time {
    const EXPECTED: &'static str = "an RFC 3339 time of the years 1970 to 2199";

    fn parse(text: &str) -> Option<Self> {
        Timestamp::parse(text).ok().map(Time)
    }
}

/// Reads a word from borrowed text or from a copy without escapes.
struct WordVisitor<T>(std::marker::PhantomData<T>);

impl<T: Word> Visitor<'_> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).ok_or_else(|| E::custom(format_args!("{text:?} is not {}", T::EXPECTED)))
    }
}

macro_rules! words_as_text {
    ($($word:ty),*) => {
        $(
            impl Serialize for $word {
                fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    to.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $word {
                fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    from.deserialize_str(WordVisitor(std::marker::PhantomData))
                }
            }
        )*
    };
}

words_as_text!(Key, Person, Id, Impression, Time);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Base64::Bytes(bytes) => to.serialize_str(&STANDARD.encode_to_string(bytes)),
            Base64::Text(text) => to.serialize_str(text),
        }
    }
}

struct Base64Visitor;

impl<'de> Visitor<'de> for Base64Visitor {
    type Value = Base64<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Base64::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Base64::Text(Cow::Owned(text.to_owned())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Base64<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Base64Visitor)
    }
}
