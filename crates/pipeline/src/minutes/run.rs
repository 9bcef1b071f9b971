//! A run: survivors by minute, in a file that is never changed.
//!
//! ```text
//! file minutes-<number>.run                                                 little endian
//! | set * | index | tail |
//! set:   whats u32 | rows u32 | what (66 bytes) * | row (60 bytes) * | CRC32C u32 of all before
//! index: class u8 | minute i64 | offset u64 | length u64 | rows u32          ascending, a set each
//! tail:  "RKMS" | version u16 | 0 u16 | sets u32 | CRC32C u32 of index and the 12 bytes before
//! ```

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_count::rules::{MinuteKey, MinuteSet, Row, What};
use reckon_disk::{Disk, File, Open};
use reckon_event::{Currency, Pseudonym, SourceClass, TenantId};

use crate::Error;
use crate::bytes::Reader;
use crate::numbered;

const MAGIC: &[u8; 4] = b"RKMS";
const VERSION: u16 = 1;
const TAIL_BYTES: usize = 16;
const INDEX_BYTES: usize = 29;

/// Where a set stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: u64,
    length: u64,
    rows: u32,
}

/// A run that can be read.
pub(super) struct Run {
    pub number: u64,
    path: PathBuf,
    file: Arc<dyn File>,
    index: BTreeMap<MinuteKey, Place>,
}

/// The word in the names of these files.
pub(super) const WORD: &str = "minutes";

/// Where the run of a number stands.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    numbered::path_of(dir, WORD, number)
}

impl Run {
    /// Opens a run: reads its index and checks it.
    pub fn open(disk: &dyn Disk, dir: &Path, number: u64) -> Result<Self, Error> {
        let path = path_of(dir, number);
        let failed = |error| Error::disk(format!("open {}", path.display()), error);
        let damaged = |what: &str| Error::damaged(path.display().to_string(), what);
        let file = match disk.open(&path, Open::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(damaged("missing")),
            opened => opened.map_err(failed)?,
        };
        let length = file.len().map_err(failed)?;
        let tail_at = length.checked_sub(TAIL_BYTES as u64).ok_or_else(|| damaged("length"))?;
        let tail = read_exact(&*file, &path, tail_at, TAIL_BYTES)?;
        let sets = read_tail(&tail).ok_or_else(|| damaged("tail"))?;
        let index_bytes = sets as usize * INDEX_BYTES;
        let index_at =
            tail_at.checked_sub(index_bytes as u64).ok_or_else(|| damaged("length of index"))?;
        let bytes = read_exact(&*file, &path, index_at, index_bytes)?;
        let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes), &tail[..12]);
        if tail[12..] != sum.to_le_bytes() {
            return Err(damaged("checksum of index"));
        }
        let index = read_index(&bytes).ok_or_else(|| damaged("index"))?;
        Ok(Run { number, path, file, index })
    }

    /// Its minutes, with how many rows each has.
    pub fn minutes(&self) -> impl Iterator<Item = (MinuteKey, u32)> + '_ {
        self.index.iter().map(|(key, place)| (*key, place.rows))
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.index.values().map(|place| u64::from(place.rows)).sum()
    }

    /// The survivors of a minute, where it has any.
    pub fn read(&self, key: MinuteKey) -> Result<Option<MinuteSet>, Error> {
        let Some(place) = self.index.get(&key) else { return Ok(None) };
        let length = usize::try_from(place.length).unwrap_or(usize::MAX);
        let bytes = read_exact(&*self.file, &self.path, place.offset, length)?;
        let set = read_set(&bytes).filter(|set| set.rows.len() == place.rows as usize);
        let damaged = || {
            let what = format!("minute at byte {}", place.offset);
            Error::damaged(self.path.display().to_string(), what)
        };
        set.map(Some).ok_or_else(damaged)
    }
}

/// Writes a run; it is durable, but for its name, when this returns.
pub(super) fn write(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    sets: impl Iterator<Item = Result<(MinuteKey, MinuteSet), Error>>,
) -> Result<(), Error> {
    let path = path_of(dir, number);
    let failed = |error| Error::disk(format!("write {}", path.display()), error);
    let file = disk.open(&path, Open::Truncate).map_err(failed)?;
    let (mut index, mut count, mut offset) = (Vec::new(), 0_u32, 0_u64);
    let mut bytes = Vec::new();
    for set in sets {
        let (key, set) = set?;
        bytes.clear();
        put_set(&mut bytes, &set);
        file.write_at(&bytes, offset).map_err(failed)?;
        let place = Place { offset, length: bytes.len() as u64, rows: set.rows.len() as u32 };
        put_place(&mut index, key, place);
        offset += place.length;
        count += 1;
    }
    let index_bytes = index.len();
    index.extend_from_slice(MAGIC);
    index.extend_from_slice(&VERSION.to_le_bytes());
    index.extend_from_slice(&[0; 2]);
    index.extend_from_slice(&count.to_le_bytes());
    debug_assert_eq!(index.len(), index_bytes + 12, "the tail but for its checksum");
    index.extend_from_slice(&crc32c::crc32c(&index).to_le_bytes());
    file.write_at(&index, offset).map_err(failed)?;
    file.sync().map_err(failed)
}

fn read_exact(file: &dyn File, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
    let failed = |error| Error::disk(format!("read {}", path.display()), error);
    let within = file.len().map_err(failed)?.saturating_sub(offset);
    if (length as u64) > within {
        return Err(Error::damaged(path.display().to_string(), "shorter than its index says"));
    }
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, offset).map_err(failed)?;
    if read < length {
        return Err(Error::damaged(path.display().to_string(), "cut short"));
    }
    Ok(bytes)
}

fn read_tail(tail: &[u8]) -> Option<u32> {
    let mut reader = Reader(tail);
    let is_ours = &reader.array::<4>()? == MAGIC && reader.u16()? == VERSION && reader.u16()? == 0;
    let sets = reader.u32()?;
    is_ours.then_some(sets)
}

fn put_place(out: &mut Vec<u8>, key: MinuteKey, place: Place) {
    out.push(key.class as u8);
    out.extend_from_slice(&key.minute.to_le_bytes());
    out.extend_from_slice(&place.offset.to_le_bytes());
    out.extend_from_slice(&place.length.to_le_bytes());
    out.extend_from_slice(&place.rows.to_le_bytes());
}

fn read_index(bytes: &[u8]) -> Option<BTreeMap<MinuteKey, Place>> {
    let mut reader = Reader(bytes);
    let mut index = BTreeMap::new();
    while !reader.0.is_empty() {
        let key = read_key(&mut reader)?;
        let place = Place { offset: reader.u64()?, length: reader.u64()?, rows: reader.u32()? };
        index.insert(key, place);
    }
    Some(index)
}

/// A class and a minute, as they stand in indexes and checkpoints.
pub(crate) fn read_key(reader: &mut Reader<'_>) -> Option<MinuteKey> {
    let [class] = reader.array()?;
    let class = match class {
        1 => SourceClass::Server,
        2 => SourceClass::Client,
        _ => return None,
    };
    Some(MinuteKey { class, minute: reader.i64()? })
}

fn put_set(out: &mut Vec<u8>, set: &MinuteSet) {
    out.extend_from_slice(&(set.whats.len() as u32).to_le_bytes());
    out.extend_from_slice(&(set.rows.len() as u32).to_le_bytes());
    for what in &set.whats {
        out.extend_from_slice(&what.tenant.0.to_le_bytes());
        for key in [what.ad, what.campaign, what.region, what.device, what.placement] {
            out.extend_from_slice(&key.to_le_bytes());
        }
        out.extend_from_slice(&what.position.to_le_bytes());
        out.extend_from_slice(&what.currency.bytes());
        out.extend_from_slice(&what.price.to_le_bytes());
    }
    for row in &set.rows {
        out.extend_from_slice(&row.user.0.to_le_bytes());
        for number in [row.order, row.ip_tag, row.agent, row.offset] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&row.moment.to_le_bytes());
        out.extend_from_slice(&row.what.to_le_bytes());
        out.extend_from_slice(&row.partition.to_le_bytes());
        out.extend_from_slice(&row.slot.to_le_bytes());
    }
    let sum = crc32c::crc32c(out);
    out.extend_from_slice(&sum.to_le_bytes());
}

fn read_set(bytes: &[u8]) -> Option<MinuteSet> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if *sum != crc32c::crc32c(body).to_le_bytes() {
        return None;
    }
    let mut reader = Reader(body);
    let (whats, rows) = (reader.u32()?, reader.u32()?);
    let mut set = MinuteSet::default();
    for place in 0..whats {
        let what = read_what(&mut reader)?;
        if set.place(what) != place {
            return None;
        }
    }
    set.rows.reserve(rows as usize);
    for _ in 0..rows {
        set.rows.push(read_row(&mut reader, whats)?);
    }
    reader.0.is_empty().then_some(set)
}

fn read_what(reader: &mut Reader<'_>) -> Option<What> {
    Some(What {
        tenant: TenantId(reader.u32()?),
        ad: reader.u64()?,
        campaign: reader.u64()?,
        region: reader.u64()?,
        device: reader.u64()?,
        placement: reader.u64()?,
        position: reader.u16()?,
        currency: Currency::from_bytes(reader.array()?).ok()?,
        price: reader.i64()?,
    })
}

fn read_row(reader: &mut Reader<'_>, whats: u32) -> Option<Row> {
    let row = Row {
        user: Pseudonym(reader.u128()?),
        order: reader.u64()?,
        ip_tag: reader.u64()?,
        agent: reader.u64()?,
        offset: reader.u64()?,
        moment: reader.u32()?,
        what: reader.u32()?,
        partition: reader.u16()?,
        slot: reader.u16()?,
    };
    (row.what < whats && row.slot < reckon_event::SLOT_COUNT).then_some(row)
}
