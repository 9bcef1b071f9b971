//! An entity's counters as a hash: fields that anyone can read, and the version before them.
//!
//! ```text
//! fast_impressions fast_clicks slow_impressions slow_clicks    decimals, exact to the last bit
//! at clicked                                                   microseconds since 1970; clicked 0: never
//! minute in_minute                                             minutes since 1970; events within it
//! _updated_at                                                  `at` in RFC 3339
//! _birth _epoch _generation                                    who wrote it: run, epoch, counter
//! _before   epoch u64 | fast 2 x f32 | slow 2 x f32 | at i64 | clicked i64 | minute u32 | in minute u32
//! ```
//!
//! A hash has two versions: while an epoch is written, entity by entity and node by node, reads take
//! the version before it. Little endian, 48 bytes: below the 64 up to which Redis keeps a hash in one
//! piece.

use reckon_event::{TenantId, Timestamp};
use redis::{Cmd, Value};

use super::mark::{Mark, text};
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
const FIELDS: [&str; 12] = [
    "_birth",
    "_epoch",
    "_generation",
    "_before",
    "fast_impressions",
    "fast_clicks",
    "slow_impressions",
    "slow_clicks",
    "at",
    "clicked",
    "minute",
    "in_minute",
];

const BEFORE_BYTES: usize = 48;

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
        let Value::Array(values) = answer else { return Err("(all)") };
        let values: &[Value; 12] = values.as_slice().try_into().map_err(|_| "(all)")?;
        if values[0] == Value::Nil {
            return Ok(None);
        }
        let field = Fields(values);
        let now = Counters {
            fast: Rate { impressions: field.f32(4)?, clicks: field.f32(5)? },
            slow: Rate { impressions: field.f32(6)?, clicks: field.f32(7)? },
            at: Timestamp(field.number(8)?),
            clicked: Timestamp(field.number(9)?),
            minute: field.number(10)?,
            in_minute: field.number(11)?,
        };
        Ok(Some(Row {
            birth: field.number(0)?,
            generation: field.number(2)?,
            now: Version { epoch: field.number(1)?, counters: now },
            before: field.before()?,
        }))
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
        command.arg("_before").arg(self.before.map_or(Vec::new(), |before| packed(&before)));
    }
}

/// The shortest decimal that is this very number, read as 32 bits or as 64.
fn decimal(value: f32) -> String {
    format!("{:?}", f64::from(value))
}

struct Fields<'a>(&'a [Value; 12]);

impl Fields<'_> {
    fn number<T: std::str::FromStr>(&self, at: usize) -> Result<T, &'static str> {
        text(&self.0[at]).and_then(|text| text.parse().ok()).ok_or(FIELDS[at])
    }

    fn f32(&self, at: usize) -> Result<f32, &'static str> {
        self.number::<f64>(at).map(|value| value as f32)
    }

    fn before(&self) -> Result<Option<Version>, &'static str> {
        match &self.0[3] {
            Value::BulkString(bytes) if bytes.is_empty() => Ok(None),
            Value::BulkString(bytes) => unpacked(bytes).map(Some).ok_or(FIELDS[3]),
            _ => Err(FIELDS[3]),
        }
    }
}

fn packed(version: &Version) -> Vec<u8> {
    let Counters { fast, slow, at, clicked, minute, in_minute } = version.counters;
    let mut bytes = Vec::with_capacity(BEFORE_BYTES);
    bytes.extend_from_slice(&version.epoch.to_le_bytes());
    for part in [fast.impressions, fast.clicks, slow.impressions, slow.clicks] {
        bytes.extend_from_slice(&part.to_le_bytes());
    }
    bytes.extend_from_slice(&at.0.to_le_bytes());
    bytes.extend_from_slice(&clicked.0.to_le_bytes());
    bytes.extend_from_slice(&minute.to_le_bytes());
    bytes.extend_from_slice(&in_minute.to_le_bytes());
    bytes
}

fn unpacked(bytes: &[u8]) -> Option<Version> {
    let bytes: &[u8; BEFORE_BYTES] = bytes.try_into().ok()?;
    let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    let eight = |at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[at..at + 8]);
        eight
    };
    let rate = |at: usize| Rate {
        impressions: f32::from_le_bytes(four(at)),
        clicks: f32::from_le_bytes(four(at + 4)),
    };
    let counters = Counters {
        fast: rate(8),
        slow: rate(16),
        at: Timestamp(i64::from_le_bytes(eight(24))),
        clicked: Timestamp(i64::from_le_bytes(eight(32))),
        minute: u32::from_le_bytes(four(40)),
        in_minute: u32::from_le_bytes(four(44)),
    };
    Some(Version { epoch: u64::from_le_bytes(eight(0)), counters })
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

    /// What Redis would answer after a row was put.
    fn answer(row: &Row) -> Value {
        let mut command = Cmd::new();
        row.put(&mut command);
        let arguments: Vec<_> = command
            .args_iter()
            .map(|argument| match argument {
                redis::Arg::Simple(bytes) => bytes.to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        let value = |field: &&str| {
            let pair = arguments.chunks(2).find(|pair| pair[0] == field.as_bytes());
            Value::BulkString(pair.expect("every field is put")[1].clone())
        };
        Value::Array(FIELDS.iter().map(value).collect())
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
        let Value::Array(mut values) = answer(&row) else { panic!("an array") };
        values[6] = Value::BulkString(b"many".to_vec());
        assert_eq!(Row::parse(&Value::Array(values)), Err("slow_impressions"));
        assert_eq!(Row::parse(&Value::Array(vec![Value::Nil; 12])), Ok(None));
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
