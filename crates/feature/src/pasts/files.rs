//! The files of the store: one whole, and one for each time it was made durable since.
//!
//! ```text
//! pasts-EPOCH      EPOCH in 20 digits
//! frame*           length u64 | crc u32 over the payload | payload
//! first payload:   magic "RKNP" | version u8 | whole u8 | 2 zeros | plan u64 | previous epoch u64
//!                  epoch u64 | clock u32 | frames u32 that follow | partitions u16 | cut u64 each
//! second payload:  click*: partition u16 | offset u64 | kind u8 | counts u8 | users u8
//!                  tenant u32 | user u128 | ad, campaign, category, page, geo, device, placement u64
//!                  amount u64 | second u32
//! other payloads:  one a shard: (owner u64 | id u64 | entity u8 | past)*
//! ```
//!
//! A file that is not whole holds what changed after the previous one, which it names; so a chain with
//! a link missing is seen. Shards are written one by one, so a checkpoint takes the memory of one. Every
//! file is written beside its name and renamed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use reckon_disk::{Disk, File, Open};
use reckon_event::{Kind, Position, Pseudonym, TenantId};

use super::shard::Shard;
use super::{Click, Seen};
use crate::Error;
use crate::happened::{Happened, Key, Parts};
use crate::past::Past;
use crate::plan::Plan;

const MAGIC: [u8; 4] = *b"RKNP";
const VERSION: u8 = 2;
/// How a file's name ends until it is whole.
const BEING_WRITTEN: &str = "tmp";
/// The files of a chain; then a whole one replaces them.
const FILES_MAX: usize = 256;

pub struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The files in force: a whole one and what follows it, with their lengths.
    chain: Vec<(u64, u64)>,
    /// The files have something that was to be forgotten.
    is_stale: bool,
}

/// What was found beside pasts.
#[derive(Default)]
pub struct Kept {
    pub seen: Seen,
    pub clicks: BTreeMap<Position, Click>,
}

/// Takes a past that was found; later ones replace earlier ones.
pub type Restore<'a> = &'a mut dyn FnMut(Key, &[u32]);

enum Load {
    Failed(Error),
    Damaged(String),
}

fn failed(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let what = format!("{what} {}", path.display());
    move |error| Error::Failed { what, error: Box::new(error) }
}

fn damaged(path: &Path) -> Load {
    Load::Damaged(format!("{} is damaged", path.display()))
}

impl Files {
    /// Reads what is there. Damage is told, and nothing is taken then: the caller drops what was
    /// restored until it was seen.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        plan: &Plan,
        restore: Restore<'_>,
    ) -> Result<(Self, Kept, Option<String>), Error> {
        disk.create_dir_all(dir).map_err(failed("open", dir))?;
        // What was being written when the power went; it may have somebody who was to be forgotten.
        for path in disk.list(dir).map_err(failed("list", dir))? {
            if path.extension().is_some_and(|extension| extension == BEING_WRITTEN) {
                disk.remove(&path).map_err(failed("remove", &path))?;
            }
        }
        let mut files = Files { disk, dir: dir.to_owned(), chain: Vec::new(), is_stale: false };
        match files.load(plan, restore) {
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

    /// The files in force have something that is to be forgotten: the next one replaces them all.
    pub fn forget(&mut self) {
        self.is_stale = true;
    }

    /// Makes everything up to a cut durable.
    pub fn persist(
        &mut self,
        plan: &Plan,
        seen: &Seen,
        clicks: &BTreeMap<Position, Click>,
        changed: &[Position],
        shards: &[RwLock<Shard>],
    ) -> Result<(), Error> {
        if self.persisted() == Some(seen.epoch) && !self.is_stale {
            return Ok(());
        }
        let is_whole = self.is_whole_due();
        let path = self.path(seen.epoch);
        let sibling = path.with_extension(BEING_WRITTEN);
        let file = self.disk.open(&sibling, Open::Truncate).map_err(failed("write", &sibling))?;
        let mut frames = Frames { file, length: 0 };
        let previous = if is_whole { 0 } else { self.persisted().unwrap_or(0) };
        let mut written = frames.put(&head(plan, seen, is_whole, previous, shards.len()));
        written = written.and_then(|()| match is_whole {
            true => frames.put(&put_clicks(clicks.iter())),
            false => frames.put(&put_clicks(
                changed.iter().filter_map(|position| clicks.get_key_value(position)),
            )),
        });
        for shard in shards {
            written = written.and_then(|()| frames.put(&put_shard(plan, &shard.read(), is_whole)));
        }
        written
            .and_then(|()| frames.file.sync())
            .and_then(|()| self.disk.rename(&sibling, &path))
            .and_then(|()| self.disk.sync_dir(&self.dir))
            .map_err(failed("write", &path))?;
        // Only now: until here everything was to be written again.
        for shard in shards {
            shard.write().saved();
        }
        if is_whole {
            self.chain.clear();
            self.is_stale = false;
        }
        self.chain.retain(|&(epoch, _)| epoch != seen.epoch);
        self.chain.push((seen.epoch, frames.length));
        let first = self.chain[0].0;
        self.remove(|epoch| epoch < first)
    }

    fn is_whole_due(&self) -> bool {
        let [(_, whole), rest @ ..] = self.chain.as_slice() else {
            return true;
        };
        let length: u64 = rest.iter().map(|&(_, length)| length).sum();
        self.is_stale || length > *whole || self.chain.len() >= FILES_MAX
    }

    fn load(&mut self, plan: &Plan, restore: Restore<'_>) -> Result<Kept, Load> {
        let mut kept = Kept::default();
        let listed = self.listed().map_err(Load::Failed)?;
        let Some(first) = self.newest_whole(&listed)? else {
            return match listed.is_empty() {
                true => Ok(kept),
                false => Err(Load::Damaged(format!("{}: no whole file", self.dir.display()))),
            };
        };
        for &epoch in &listed[first..] {
            self.load_file(plan, epoch, &mut kept, restore)?;
        }
        Ok(kept)
    }

    fn load_file(
        &mut self,
        plan: &Plan,
        epoch: u64,
        kept: &mut Kept,
        restore: Restore<'_>,
    ) -> Result<(), Load> {
        let path = self.path(epoch);
        let mut reader = self.reader(&path)?;
        let head = reader.head(&path)?;
        if head.plan != plan.version() {
            return Err(Load::Damaged(format!("{} is of another plan", path.display())));
        }
        if head.seen.epoch != epoch || !head.is_whole && head.previous != kept.seen.epoch {
            return Err(damaged(&path));
        }
        let clicks = reader.frame(&path)?;
        let mut bytes = clicks.as_slice();
        while !bytes.is_empty() {
            let (position, click) = take_click(&mut bytes).ok_or_else(|| damaged(&path))?;
            kept.clicks.insert(position, click);
        }
        for _ in 1..head.frames {
            let frame = reader.frame(&path)?;
            let mut bytes = frame.as_slice();
            while !bytes.is_empty() {
                let (key, past) = take_past(plan, &mut bytes).ok_or_else(|| damaged(&path))?;
                restore(key, &past);
            }
        }
        if reader.at != reader.length {
            return Err(damaged(&path));
        }
        kept.seen = head.seen;
        self.chain.push((epoch, reader.length));
        Ok(())
    }

    fn newest_whole(&self, listed: &[u64]) -> Result<Option<usize>, Load> {
        for (at, &epoch) in listed.iter().enumerate().rev() {
            let path = self.path(epoch);
            if self.reader(&path)?.head(&path)?.is_whole {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn reader(&self, path: &Path) -> Result<Reader, Load> {
        let open = || {
            let file = self.disk.open(path, Open::Read)?;
            let length = file.len()?;
            Ok(Reader { file, length, at: 0 })
        };
        open().map_err(failed("read", path)).map_err(Load::Failed)
    }

    /// The epochs that files are named after, rising.
    fn listed(&self) -> Result<Vec<u64>, Error> {
        let paths = self.disk.list(&self.dir).map_err(failed("list", &self.dir))?;
        let epoch =
            |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("pasts-")?.parse().ok();
        Ok(paths.iter().filter_map(epoch).collect())
    }

    fn remove(&self, is_old: impl Fn(u64) -> bool) -> Result<(), Error> {
        for epoch in self.listed()?.into_iter().filter(|&epoch| is_old(epoch)) {
            let path = self.path(epoch);
            self.disk.remove(&path).map_err(failed("remove", &path))?;
        }
        Ok(())
    }

    fn path(&self, epoch: u64) -> PathBuf {
        self.dir.join(format!("pasts-{epoch:020}"))
    }
}

struct Frames {
    file: Arc<dyn File>,
    length: u64,
}

impl Frames {
    fn put(&mut self, payload: &[u8]) -> std::io::Result<()> {
        let mut head = (payload.len() as u64).to_le_bytes().to_vec();
        head.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        self.file.write_at(&head, self.length)?;
        self.file.write_at(payload, self.length + head.len() as u64)?;
        self.length += (head.len() + payload.len()) as u64;
        Ok(())
    }
}

struct Reader {
    file: Arc<dyn File>,
    length: u64,
    at: u64,
}

struct Head {
    is_whole: bool,
    plan: u64,
    previous: u64,
    frames: u32,
    seen: Seen,
}

impl Reader {
    fn bytes(&mut self, count: u64, path: &Path) -> Result<Vec<u8>, Load> {
        // A length that is damaged is beyond the file, and asks for no memory.
        if count > self.length - self.at {
            return Err(damaged(path));
        }
        let mut bytes = vec![0; count as usize];
        let read = self.file.read_at(&mut bytes, self.at);
        let read = read.map_err(failed("read", path)).map_err(Load::Failed)?;
        self.at += count;
        if read == bytes.len() { Ok(bytes) } else { Err(damaged(path)) }
    }

    fn frame(&mut self, path: &Path) -> Result<Vec<u8>, Load> {
        let head = self.bytes(12, path)?;
        let mut at = head.as_slice();
        let (length, crc) = (take(&mut at).map(u64::from_le_bytes), take(&mut at));
        let (Some(length), Some(crc)) = (length, crc.map(u32::from_le_bytes)) else {
            return Err(damaged(path));
        };
        let payload = self.bytes(length, path)?;
        if crc32c::crc32c(&payload) == crc { Ok(payload) } else { Err(damaged(path)) }
    }

    fn head(&mut self, path: &Path) -> Result<Head, Load> {
        let frame = self.frame(path)?;
        take_head(&mut frame.as_slice()).ok_or_else(|| damaged(path))
    }
}

fn head(plan: &Plan, seen: &Seen, is_whole: bool, previous: u64, shards: usize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[VERSION, u8::from(is_whole), 0, 0]);
    for number in [plan.version(), previous, seen.epoch] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&seen.clock.to_le_bytes());
    bytes.extend_from_slice(&(shards as u32 + 1).to_le_bytes());
    let partitions = u16::try_from(seen.cut.len()).expect("a log has at most 1,024 partitions");
    bytes.extend_from_slice(&partitions.to_le_bytes());
    bytes.extend(seen.cut.iter().flat_map(|offset| offset.to_le_bytes()));
    bytes
}

fn take_head(bytes: &mut &[u8]) -> Option<Head> {
    let [magic @ .., version, whole, _, _] = take::<8>(bytes)?;
    if magic != MAGIC || version != VERSION {
        return None;
    }
    let mut number = || take(bytes).map(u64::from_le_bytes);
    let (plan, previous, epoch) = (number()?, number()?, number()?);
    let clock = u32::from_le_bytes(take(bytes)?);
    let frames = u32::from_le_bytes(take(bytes)?);
    let partitions = u16::from_le_bytes(take(bytes)?);
    let cut = (0..partitions)
        .map(|_| take(bytes).map(u64::from_le_bytes))
        .collect::<Option<Vec<u64>>>()?;
    let seen = Seen { epoch, cut: cut.into(), clock };
    bytes.is_empty().then_some(Head { is_whole: whole == 1, plan, previous, frames, seen })
}

fn put_shard(plan: &Plan, shard: &Shard, is_whole: bool) -> Vec<u8> {
    let mut pasts: Vec<(Key, Past<'_>)> = match is_whole {
        true => shard.pasts().map(|past| (past.key(), past)).collect(),
        // One that was let go of is not written, and does not come back from here.
        false => shard.dirty.iter().filter_map(|&key| Some((key, shard.get(key)?))).collect(),
    };
    // The same pasts are the same bytes.
    pasts.sort_unstable_by_key(|&(key, _)| key);
    pasts.dedup_by_key(|&mut (key, _)| key);
    let mut bytes = Vec::new();
    for (key, past) in pasts {
        bytes.extend_from_slice(&key.owner.to_le_bytes());
        bytes.extend_from_slice(&key.id.to_le_bytes());
        bytes.push(past.entity());
        past.encode(&plan.entities[usize::from(past.entity())], &mut bytes);
    }
    bytes
}

fn take_past(plan: &Plan, bytes: &mut &[u8]) -> Option<(Key, Vec<u32>)> {
    let owner = u64::from_le_bytes(take(bytes)?);
    let id = u64::from_le_bytes(take(bytes)?);
    let [entity] = take(bytes)?;
    let key = Key { owner, id };
    Some((key, Past::decode(plan, key, entity, bytes)?))
}

fn put_clicks<'a>(clicks: impl Iterator<Item = (&'a Position, &'a Click)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (position, click) in clicks {
        let Happened { parts, kind, amount, second } = click.happened;
        bytes.extend_from_slice(&position.partition.to_le_bytes());
        bytes.extend_from_slice(&position.offset.to_le_bytes());
        bytes.extend_from_slice(&[kind.code(), click.counts.into(), click.is_users.into()]);
        bytes.extend_from_slice(&parts.tenant.0.to_le_bytes());
        bytes.extend_from_slice(&parts.user.0.to_le_bytes());
        let Parts { ad, campaign, category, page, geo, device, placement, .. } = parts;
        for number in [ad, campaign, category, page, geo, device, placement, amount] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&second.to_le_bytes());
    }
    bytes
}

fn take_click(bytes: &mut &[u8]) -> Option<(Position, Click)> {
    let partition = u16::from_le_bytes(take(bytes)?);
    let offset = u64::from_le_bytes(take(bytes)?);
    let [kind, counts, is_users] = take(bytes)?;
    let tenant = TenantId(u32::from_le_bytes(take(bytes)?));
    let user = Pseudonym(u128::from_le_bytes(take(bytes)?));
    let mut number = || take(bytes).map(u64::from_le_bytes);
    let parts = Parts {
        tenant,
        user,
        ad: number()?,
        campaign: number()?,
        category: number()?,
        page: number()?,
        geo: number()?,
        device: number()?,
        placement: number()?,
    };
    let amount = number()?;
    let second = u32::from_le_bytes(take(bytes)?);
    let happened = Happened { parts, kind: Kind::from_code(kind)?, amount, second };
    let click = Click { happened, is_users: is_users == 1, counts: counts == 1, event: None };
    Some((Position { partition, offset }, click))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}
