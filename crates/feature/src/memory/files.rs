//! The files of the store: one whole, and one for each time it was made durable since.
//!
//! ```text
//! counters-EPOCH      EPOCH in 20 digits
//! magic "RKNF" | version u8 | whole u8 | 2 zeros | previous epoch u64 | epoch u64
//! partitions u16 | cut u64 each | rows u32 | row* | crc u32 over all before it
//! row: tenant u32 | kind u8 | key u128 | fast 2 x f32 | slow 2 x f32 | at i64 | clicked i64
//!      minute u32 | in minute u32
//! ```
//!
//! A file that is not whole holds the rows that changed after the previous one, which it names; so a
//! chain with a link missing is seen. Every file is written beside its name and renamed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_disk::{Disk, read_all, write_whole};
use reckon_event::{TenantId, Timestamp};

use super::side::Map;
use crate::{Counters, Entity, EntityKind, Error, Rate};

const MAGIC: [u8; 4] = *b"RKNF";
const VERSION: u8 = 1;
const ROW_BYTES: usize = 61;

/// What was found in the folder.
#[derive(Default)]
pub struct Kept {
    pub epoch: u64,
    pub cut: Vec<u64>,
    pub counters: Map,
}

pub struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The files in force: a whole one and what follows it, with their lengths.
    chain: Vec<(u64, usize)>,
    changed: HashSet<Entity, foldhash::fast::RandomState>,
    /// The files have something that was to be forgotten.
    is_stale: bool,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The last epoch that is durable; 0 before the first.
    pub epoch: u64,
    /// Entities whose counters are kept.
    pub entities: u64,
    /// What is wrong.
    pub damage: Option<String>,
}

/// Checks the files in a folder without changing them.
pub fn verify(disk: Arc<dyn Disk>, dir: &Path) -> Result<Report, Error> {
    let mut files = Files::new(disk, dir);
    match files.load() {
        Ok(kept) => {
            Ok(Report { epoch: kept.epoch, entities: kept.counters.len() as u64, damage: None })
        }
        Err(Load::Damaged(what)) => Ok(Report { damage: Some(what), ..Report::default() }),
        Err(Load::Failed(error)) => Err(error),
    }
}

impl Files {
    fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Files {
            disk,
            dir: dir.to_owned(),
            chain: Vec::new(),
            changed: HashSet::default(),
            is_stale: false,
        }
    }

    /// Reads what is there. Damage is told and everything is left out: what a part of it would say
    /// is wrong.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Self, Kept, Option<String>), Error> {
        let failed = |error| Error::disk(format!("open {}", dir.display()), error);
        disk.create_dir_all(dir).map_err(failed)?;
        let mut files = Files::new(disk, dir);
        match files.load() {
            Ok(kept) => Ok((files, kept, None)),
            Err(Load::Failed(error)) => Err(error),
            Err(Load::Damaged(what)) => {
                files.chain.clear();
                files.remove(|_| true)?;
                Ok((files, Kept::default(), Some(what)))
            }
        }
    }

    /// The epoch of the newest file.
    pub fn persisted(&self) -> Option<u64> {
        self.chain.last().map(|&(epoch, _)| epoch)
    }

    /// Notes whose counters an epoch has changed.
    pub fn note(&mut self, entities: impl Iterator<Item = Entity>) {
        self.changed.extend(entities);
    }

    /// The files in force have something that is to be forgotten: the next one replaces them all.
    pub fn forget(&mut self) {
        self.is_stale = true;
    }

    /// Makes everything up to an epoch durable.
    pub fn persist(&mut self, epoch: u64, cut: &[u64], counters: &Map) -> Result<(), Error> {
        if self.persisted() == Some(epoch) && !self.is_stale {
            return Ok(());
        }
        let is_whole = self.is_whole_due(counters.len());
        let previous = if is_whole { 0 } else { self.persisted().unwrap_or(0) };
        let mut bytes = head(is_whole, previous, epoch, cut);
        if is_whole {
            put_rows(&mut bytes, counters.iter().map(|(entity, counters)| (*entity, *counters)));
        } else {
            // One that was let go of is not in the whole any more, and does not come back.
            let rows = self.changed.iter().filter_map(|e| Some((*e, *counters.get(e)?)));
            put_rows(&mut bytes, rows);
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let path = self.path(epoch);
        write_whole(&*self.disk, &path, &bytes)
            .map_err(|error| Error::disk(format!("write {}", path.display()), error))?;
        self.changed.clear();
        if is_whole {
            self.is_stale = false;
            self.chain.clear();
        }
        self.chain.push((epoch, bytes.len()));
        if is_whole { self.tidy() } else { Ok(()) }
    }

    /// A whole file is written first, and again when what follows it has grown as long as it is.
    fn is_whole_due(&self, entities: usize) -> bool {
        let Some((_, following)) = self.chain.split_first().filter(|_| !self.is_stale) else {
            return true;
        };
        let length: usize = following.iter().map(|&(_, length)| length).sum();
        length + self.changed.len() * ROW_BYTES > entities * ROW_BYTES || following.len() >= 256
    }

    fn load(&mut self) -> Result<Kept, Load> {
        let mut kept = Kept::default();
        let listed = self.listed()?;
        let Some(first) = self.newest_whole(&listed)? else {
            return match listed.is_empty() {
                true => Ok(kept),
                false => Err(Load::Damaged(format!("{}: no whole file", self.dir.display()))),
            };
        };
        for &epoch in &listed[first..] {
            let path = self.path(epoch);
            let bytes = self.bytes(&path)?;
            let file = parse(&bytes).ok_or_else(|| damaged(&path))?;
            if file.epoch != epoch || !file.is_whole && file.previous != kept.epoch {
                return Err(damaged(&path));
            }
            kept.epoch = epoch;
            kept.cut = file.cut;
            kept.counters.extend(file.rows);
            self.chain.push((epoch, bytes.len()));
        }
        Ok(kept)
    }

    fn newest_whole(&self, listed: &[u64]) -> Result<Option<usize>, Load> {
        for (at, &epoch) in listed.iter().enumerate().rev() {
            let path = self.path(epoch);
            let bytes = self.bytes(&path)?;
            let is_whole = *bytes.get(5).ok_or_else(|| damaged(&path))? == 1;
            if is_whole {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>, Load> {
        let bytes = read_all(&*self.disk, path)
            .map_err(|error| Error::disk(format!("read {}", path.display()), error))
            .map_err(Load::Failed)?;
        bytes.ok_or_else(|| damaged(path))
    }

    /// The epochs that files are named after, rising.
    fn listed(&self) -> Result<Vec<u64>, Load> {
        let paths = self
            .disk
            .list(&self.dir)
            .map_err(|error| Error::disk(format!("list {}", self.dir.display()), error))
            .map_err(Load::Failed)?;
        let epoch =
            |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("counters-")?.parse().ok();
        Ok(paths.iter().filter_map(epoch).collect())
    }

    /// Removes what a whole file has replaced.
    fn tidy(&self) -> Result<(), Error> {
        let whole = self.chain[0].0;
        self.remove(|epoch| epoch < whole)
    }

    fn remove(&self, is_old: impl Fn(u64) -> bool) -> Result<(), Error> {
        let Ok(listed) = self.listed() else {
            return Ok(());
        };
        for epoch in listed.into_iter().filter(|&epoch| is_old(epoch)) {
            let path = self.path(epoch);
            self.disk
                .remove(&path)
                .map_err(|error| Error::disk(format!("remove {}", path.display()), error))?;
        }
        Ok(())
    }

    fn path(&self, epoch: u64) -> PathBuf {
        self.dir.join(format!("counters-{epoch:020}"))
    }
}

impl Error {
    fn disk(what: String, error: std::io::Error) -> Self {
        Error::Failed { what, error: Box::new(error) }
    }
}

enum Load {
    Failed(Error),
    Damaged(String),
}

fn damaged(path: &Path) -> Load {
    Load::Damaged(format!("{} is damaged", path.display()))
}

fn head(is_whole: bool, previous: u64, epoch: u64, cut: &[u64]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[VERSION, u8::from(is_whole), 0, 0]);
    bytes.extend_from_slice(&previous.to_le_bytes());
    bytes.extend_from_slice(&epoch.to_le_bytes());
    let partitions = u16::try_from(cut.len()).expect("a log has at most 1,024 partitions");
    bytes.extend_from_slice(&partitions.to_le_bytes());
    for offset in cut {
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    bytes
}

/// Rows in the order of their entities: the same counters are the same bytes.
fn put_rows(bytes: &mut Vec<u8>, rows: impl Iterator<Item = (Entity, Counters)>) {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_unstable_by_key(|&(entity, _)| entity);
    bytes.extend_from_slice(&u32::try_from(rows.len()).expect("bounded").to_le_bytes());
    for (entity, counters) in rows {
        bytes.extend_from_slice(&entity.tenant.0.to_le_bytes());
        bytes.push(entity.kind as u8);
        bytes.extend_from_slice(&entity.key.to_le_bytes());
        for rate in [counters.fast, counters.slow] {
            bytes.extend_from_slice(&rate.impressions.to_le_bytes());
            bytes.extend_from_slice(&rate.clicks.to_le_bytes());
        }
        bytes.extend_from_slice(&counters.at.0.to_le_bytes());
        bytes.extend_from_slice(&counters.clicked.0.to_le_bytes());
        bytes.extend_from_slice(&counters.minute.to_le_bytes());
        bytes.extend_from_slice(&counters.in_minute.to_le_bytes());
    }
}

struct Parsed {
    is_whole: bool,
    previous: u64,
    epoch: u64,
    cut: Vec<u64>,
    rows: Vec<(Entity, Counters)>,
}

/// `None` where the bytes are not what [`Files::persist`] writes.
fn parse(bytes: &[u8]) -> Option<Parsed> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut at = Cursor(body);
    let [magic @ .., version, whole, _, _] = at.take::<8>()?;
    if magic != MAGIC || version != VERSION {
        return None;
    }
    let (previous, epoch) = (u64::from_le_bytes(at.take()?), u64::from_le_bytes(at.take()?));
    let partitions = u16::from_le_bytes(at.take()?);
    let cut =
        (0..partitions).map(|_| Some(u64::from_le_bytes(at.take()?))).collect::<Option<_>>()?;
    let count = u32::from_le_bytes(at.take()?) as usize;
    if at.0.len() != count * ROW_BYTES {
        return None;
    }
    let rows = (0..count).map(|_| at.row()).collect::<Option<_>>()?;
    Some(Parsed { is_whole: whole == 1, previous, epoch, cut, rows })
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn rate(&mut self) -> Option<Rate> {
        let impressions = f32::from_le_bytes(self.take()?);
        let clicks = f32::from_le_bytes(self.take()?);
        Some(Rate { impressions, clicks })
    }

    fn row(&mut self) -> Option<(Entity, Counters)> {
        let tenant = TenantId(u32::from_le_bytes(self.take()?));
        let [code] = self.take()?;
        let kind = EntityKind::from_code(code)?;
        let entity = Entity { tenant, kind, key: u128::from_le_bytes(self.take()?) };
        let counters = Counters {
            fast: self.rate()?,
            slow: self.rate()?,
            at: Timestamp(i64::from_le_bytes(self.take()?)),
            clicked: Timestamp(i64::from_le_bytes(self.take()?)),
            minute: u32::from_le_bytes(self.take()?),
            in_minute: u32::from_le_bytes(self.take()?),
        };
        Some((entity, counters))
    }
}
