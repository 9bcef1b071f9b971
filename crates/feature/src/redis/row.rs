//! An entity's counters as a hash: fields that anyone can read, and both versions packed.
//!
//! ```text
//! fast_impressions fast_clicks slow_impressions slow_clicks    decimals, exact to the last bit
//! at clicked                                                   microseconds since 1970; clicked 0: never
//! minute in_minute                                             minutes since 1970; events within it
//! _updated_at                                                  `at` in RFC 3339
//! _birth _epoch _generation                                    who wrote it: run, epoch, counter
//! _now      birth u64 | generation u32 | version
//! _before   version, or nothing
//! version   epoch u64 | fast 2 x f32 | slow 2 x f32 | at i64 | clicked i64 | minute u32 | in minute u32
//! ```
//!
//! A hash has two versions: while an epoch is written, entity by entity and node by node, reads take
//! the version before it. Reads ask for the packed fields only: a read of a thousand entities would
//! else be one of twelve thousand texts. Little endian, 60 and 48 bytes: below the 64 up to which
//! Redis keeps a hash in one piece.

use reckon_event::{TenantId, Timestamp};
use redis::{Cmd, Value};

use super::mark::Mark;
use crate::{Counters, Entity, EntityKind, Rate};

/// Counters, and the epoch that made them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Version {
    /// The epoch.
    pub epoch: u64,
    /// The counters after it.
    pub counters: Counters,
}

/// What stands at an entity's key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The run of the store it belongs to.
    pub birth: u64,
    /// Who wrote it.
    pub generation: u32,
    /// The newest version.
    pub now: Version,
    /// The one before; `None` where the entity was not there.
    pub before: Option<Version>,
}

/// An entity at an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// Nothing was known of it.
    Absent,
    /// Its counters.
    Known(Version),
    /// Both versions are newer: the epoch was read too long ago.
    MovedOn,
}

/// What is asked for, in this order.
const FIELDS: [&str; 2] = ["_now", "_before"];

const VERSION_BYTES: usize = 48;
const NOW_BYTES: usize = 12 + VERSION_BYTES;

impl Row {
    /// Asks for it.
    pub fn query(key: &str) -> Cmd {
        let mut query = redis::cmd("HMGET");
        query.arg(key).arg(&FIELDS);
        query
    }

    /// From the answer; `None` where there is nothing, an error names the field that holds something
    /// that was not written here.
    pub fn parse(answer: &Value) -> Result<Option<Self>, &'static str> {
        match answer {
            Value::Array(values) => match values.as_slice() {
                [Value::Nil, Value::Nil] => Ok(None),
                [Value::BulkString(now), Value::BulkString(before)] => {
                    Row::unpacked(now, before).map(Some)
                }
                _ => Err(FIELDS[0]),
            },
            _ => Err(FIELDS[0]),
        }
    }

    fn unpacked(now: &[u8], before: &[u8]) -> Result<Self, &'static str> {
        let now: &[u8; NOW_BYTES] = now.try_into().map_err(|_| FIELDS[0])?;
        let before = match before {
            [] => None,
            packed => Some(packed.try_into().map(version).map_err(|_| FIELDS[1])?),
        };
        Ok(Row {
            birth: u64::from_le_bytes(part(now, 0)),
            generation: u32::from_le_bytes(part(now, 8)),
            now: version(&part(now, 12)),
            before,
        })
    }

    /// The entity as the epoch of a mark left it.
    pub fn seen(&self, mark: &Mark) -> Seen {
        if mark.birth == 0 || self.birth < mark.birth {
            return Seen::Absent;
        }
        if self.birth > mark.birth {
            return Seen::MovedOn;
        }
        if self.now.epoch <= mark.epoch {
            return Seen::Known(self.now);
        }
        match self.before {
            None => Seen::Absent,
            Some(before) if before.epoch <= mark.epoch => Seen::Known(before),
            Some(_) => Seen::MovedOn,
        }
    }

    /// Whoever writes names what it has read by this.
    pub fn name(&self) -> String {
        format!("{}.{}.{}", self.birth, self.now.epoch, self.generation)
    }

    /// Adds fields and values to a command.
    pub fn put(&self, command: &mut Cmd) {
        let Version { epoch, counters } = self.now;
        let Counters { fast, slow, at, clicked, minute, in_minute } = counters;
        command.arg("fast_impressions").arg(decimal(fast.impressions));
        command.arg("fast_clicks").arg(decimal(fast.clicks));
        command.arg("slow_impressions").arg(decimal(slow.impressions));
        command.arg("slow_clicks").arg(decimal(slow.clicks));
        command.arg("at").arg(at.0).arg("clicked").arg(clicked.0);
        command.arg("minute").arg(minute).arg("in_minute").arg(in_minute);
        command.arg("_updated_at").arg(at.to_string());
        command.arg("_birth").arg(self.birth).arg("_epoch").arg(epoch);
        command.arg("_generation").arg(self.generation);
        let mut bytes = Vec::with_capacity(NOW_BYTES);
        bytes.extend_from_slice(&self.birth.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        pack(&mut bytes, &self.now);
        command.arg("_now").arg(&bytes);
        bytes.clear();
        if let Some(before) = &self.before {
            pack(&mut bytes, before);
        }
        command.arg("_before").arg(&bytes);
    }
}

/// The shortest decimal that is this very number, read as 32 bits or as 64.
fn decimal(value: f32) -> String {
    format!("{:?}", f64::from(value))
}

fn pack(bytes: &mut Vec<u8>, version: &Version) {
    let Counters { fast, slow, at, clicked, minute, in_minute } = version.counters;
    bytes.extend_from_slice(&version.epoch.to_le_bytes());
    for part in [fast.impressions, fast.clicks, slow.impressions, slow.clicks] {
        bytes.extend_from_slice(&part.to_le_bytes());
    }
    bytes.extend_from_slice(&at.0.to_le_bytes());
    bytes.extend_from_slice(&clicked.0.to_le_bytes());
    bytes.extend_from_slice(&minute.to_le_bytes());
    bytes.extend_from_slice(&in_minute.to_le_bytes());
}

fn version(bytes: &[u8; VERSION_BYTES]) -> Version {
    let float = |at| f32::from_le_bytes(part(bytes, at));
    let rate = |at| Rate { impressions: float(at), clicks: float(at + 4) };
    let counters = Counters {
        fast: rate(8),
        slow: rate(16),
        at: Timestamp(i64::from_le_bytes(part(bytes, 24))),
        clicked: Timestamp(i64::from_le_bytes(part(bytes, 32))),
        minute: u32::from_le_bytes(part(bytes, 40)),
        in_minute: u32::from_le_bytes(part(bytes, 44)),
    };
    Version { epoch: u64::from_le_bytes(part(bytes, 0)), counters }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of that length")
}

/// The key of an entity. No name of a person stands in it: a user is their pseudonym, ads and
/// campaigns are their keys, all in hex.
pub fn entity_key(prefix: &str, entity: &Entity) -> String {
    let tenant = match entity.tenant {
        TenantId::DEFAULT => String::new(),
        TenantId(tenant) => format!("t{tenant}:"),
    };
    match entity.kind {
        EntityKind::Tenant => format!("{prefix}{tenant}tenant:features:{:016x}", entity.key),
        EntityKind::User => format!("{prefix}{tenant}user:features:{:032x}", entity.key),
        EntityKind::Ad => format!("{prefix}{tenant}ad:features:{:016x}", entity.key),
        EntityKind::Campaign => format!("{prefix}{tenant}campaign:features:{:016x}", entity.key),
    }
}

/// How long an entity is kept without an event: a fifth more or less than asked for, by its key, so
/// that what was written at once does not go at once.
pub fn seconds_to_live(key: &str, around: u32) -> u32 {
    let fifth = around / 5;
    around - fifth + crc32c::crc32c(key.as_bytes()) % (2 * fifth + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn counters() -> impl Strategy<Value = Counters> {
        let rate = || {
            (any::<f32>(), any::<f32>())
                .prop_filter("a number", |(left, right)| !left.is_nan() && !right.is_nan())
                .prop_map(|(impressions, clicks)| Rate { impressions, clicks })
        };
        (rate(), rate(), any::<i64>(), any::<i64>(), any::<u32>(), any::<u32>()).prop_map(
            |(fast, slow, at, clicked, minute, in_minute)| Counters {
                fast,
                slow,
                at: Timestamp(at),
                clicked: Timestamp(clicked),
                minute,
                in_minute,
            },
        )
    }

    fn version() -> impl Strategy<Value = Version> {
        (any::<u64>(), counters()).prop_map(|(epoch, counters)| Version { epoch, counters })
    }

    /// The fields of a row, as they are put.
    fn fields(row: &Row) -> HashMap<String, Vec<u8>> {
        let mut command = Cmd::new();
        row.put(&mut command);
        let arguments: Vec<_> = command
            .args_iter()
            .map(|argument| match argument {
                redis::Arg::Simple(bytes) => bytes.to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a name");
        arguments.chunks(2).map(|pair| (name(&pair[0]), pair[1].clone())).collect()
    }

    /// What Redis would answer after a row was put.
    fn answer(row: &Row) -> Value {
        let put = fields(row);
        Value::Array(FIELDS.map(|field| Value::BulkString(put[field].clone())).into())
    }

    fn number<T: std::str::FromStr>(put: &HashMap<String, Vec<u8>>, field: &str) -> Option<T> {
        std::str::from_utf8(&put[field]).ok()?.parse().ok()
    }

    proptest! {
        #[test]
        fn a_row_is_read_as_it_was_put(
            birth in any::<u64>(),
            generation in any::<u32>(),
            now in version(),
            before in proptest::option::of(version()),
        ) {
            let row = Row { birth, generation, now, before };
            prop_assert_eq!(Row::parse(&answer(&row)), Ok(Some(row)));
            let longest = fields(&row).into_values().map(|value| value.len()).max();
            prop_assert!(longest <= Some(64), "Redis would take the hash apart");
        }

        #[test]
        fn what_others_read_is_the_same(now in version()) {
            let put = fields(&Row { birth: 7, generation: 3, now, before: None });
            let told = Counters {
                fast: Rate {
                    impressions: number(&put, "fast_impressions").expect("a decimal"),
                    clicks: number(&put, "fast_clicks").expect("a decimal"),
                },
                slow: Rate {
                    impressions: number(&put, "slow_impressions").expect("a decimal"),
                    clicks: number(&put, "slow_clicks").expect("a decimal"),
                },
                at: Timestamp(number(&put, "at").expect("a number")),
                clicked: Timestamp(number(&put, "clicked").expect("a number")),
                minute: number(&put, "minute").expect("a number"),
                in_minute: number(&put, "in_minute").expect("a number"),
            };
            prop_assert_eq!(told, now.counters);
            prop_assert_eq!(number(&put, "_epoch"), Some(now.epoch));
            prop_assert_eq!(number(&put, "_birth"), Some(7));
            prop_assert_eq!(number(&put, "_generation"), Some(3));
        }

        #[test]
        fn decimals_are_exact(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assume!(!value.is_nan());
            let wide: f64 = decimal(value).parse().expect("a number");
            prop_assert_eq!(wide.to_bits(), f64::from(value).to_bits());
            prop_assert_eq!(decimal(value).parse::<f32>().map(f32::to_bits), Ok(bits));
        }
    }

    #[test]
    fn what_is_not_ours_is_told_by_its_field() {
        let counters = Counters::new(Timestamp(7));
        let now = Version { epoch: 1, counters };
        let row = Row { birth: 1, generation: 1, now, before: None };
        let with = |at: usize, other: Value| {
            let Value::Array(mut values) = answer(&row) else { panic!("an array") };
            values[at] = other;
            Row::parse(&Value::Array(values))
        };
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        assert_eq!(with(0, text("many")), Err("_now"));
        assert_eq!(with(0, Value::Nil), Err("_now"));
        assert_eq!(with(1, text("many")), Err("_before"));
        assert_eq!(Row::parse(&Value::Array(vec![Value::Nil; 2])), Ok(None));
    }

    #[test]
    fn a_row_is_seen_as_of_an_epoch() {
        let version = |epoch| Version { epoch, counters: Counters::new(Timestamp(7)) };
        let mark = |birth, epoch| Mark { birth, epoch, ..Mark::default() };
        let row = Row { birth: 5, generation: 1, now: version(8), before: Some(version(6)) };
        let new = Row { before: None, ..row };
        assert_eq!(row.seen(&mark(5, 8)), Seen::Known(version(8)));
        assert_eq!(row.seen(&mark(5, 7)), Seen::Known(version(6)));
        assert_eq!(row.seen(&mark(5, 5)), Seen::MovedOn);
        assert_eq!(row.seen(&mark(4, 9)), Seen::MovedOn, "the store has begun anew since");
        assert_eq!(row.seen(&mark(6, 9)), Seen::Absent, "from before it began anew");
        assert_eq!(new.seen(&mark(5, 7)), Seen::Absent);
        assert_eq!(row.seen(&Mark::default()), Seen::Absent);
    }

    #[test]
    fn keys_are_told_apart() {
        let key =
            |tenant, kind| entity_key("", &Entity { tenant: TenantId(tenant), kind, key: 255 });
        assert_eq!(key(1, EntityKind::User), "user:features:000000000000000000000000000000ff");
        assert_eq!(key(1, EntityKind::Ad), "ad:features:00000000000000ff");
        assert_eq!(key(7, EntityKind::Ad), "t7:ad:features:00000000000000ff");
        assert_eq!(key(7, EntityKind::Campaign), "t7:campaign:features:00000000000000ff");
        assert_eq!(key(1, EntityKind::Tenant), "tenant:features:00000000000000ff");
    }

    #[test]
    fn lives_differ_by_a_fifth() {
        let lives = (0..1_000).map(|key| seconds_to_live(&key.to_string(), 86_400));
        let (min, max) =
            lives.fold((u32::MAX, 0), |(min, max), life| (min.min(life), max.max(life)));
        assert!(
            (69_120..70_000).contains(&min) && (102_800..=103_680).contains(&max),
            "{min} {max}"
        );
        assert_eq!(seconds_to_live("a", 1), 1, "never none");
    }
}
