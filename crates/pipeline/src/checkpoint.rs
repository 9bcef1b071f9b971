//! Checkpoints: the fold's memory after an epoch, in numbered files that are never changed.
//!
//! ```text
//! file checkpoint-<epoch>.state
//! | "RKCP" | version u16 | CRC32C u32 | body |                       CRC of the body, little endian
//! body: | epoch u64 | base u64 | generation u32 | group u16 | partitions u16 | position u64 * |
//!       | opaque runs: length u64, bytes | counting state: length u64, bytes |
//!       | state of the rules: length u64, bytes |                            from version 2 on
//! ```
//!
//! The state of the rules is always whole: what is large in it stands in runs of its own.
//!
//! A checkpoint is whole (base 0) or holds what changed since its base. A new whole one is written
//! when the changes have grown as large as the last whole one, so writing costs at most twice the
//! changes. The newest checkpoint and the one before it are kept with all they are based on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_count::State;
use reckon_disk::{Disk, read_all, write_whole};

use crate::Error;
use crate::bytes::{Reader, put_long};
use crate::journal::remove;

const MAGIC: &[u8; 4] = b"RKCP";
const VERSION: u16 = 2;
const HEAD_BYTES: usize = 10;
const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".state";
/// The newest and the one before it.
pub(crate) const KEPT: usize = 2;
/// Changes below this many bytes never force a whole checkpoint.
const CHANGES_BYTES_MIN: u64 = 1 << 20;
/// Nor may a chain be longer than this.
const CHAIN_MAX: usize = 64;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The epoch after which it was written.
    pub number: u64,
    /// The checkpoint it changes; 0 for a whole one.
    pub base: u64,
    pub generation: u32,
    pub group: u16,
    /// Where to read on, by partition.
    pub position: Vec<u64>,
    /// The runs of opaque ids that belong to it.
    pub runs: Vec<u8>,
    /// The second stage: rules, watermarks, and the minutes that may still be judged.
    pub judgement: Vec<u8>,
}

/// A checkpoint that has been read, with all it is based on.
pub(crate) struct Restored {
    pub head: Head,
    pub state: State,
    /// The numbers of its files, newest first.
    pub chain: Vec<u64>,
    /// Bytes of its whole file, and of the changes laid over it.
    sizes: (u64, u64),
}

/// The files of a folder.
pub(crate) struct Checkpoints {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The chain of the newest checkpoint, newest first.
    chain: Vec<u64>,
    /// The one before the newest, with its chain.
    previous: Option<(Head, Vec<u64>)>,
    newest: Option<Head>,
    sizes: (u64, u64),
}

impl Checkpoints {
    /// Reads the newest checkpoint. Where it is damaged, the one before it is taken, and the damage
    /// is told in the second value: the journal reaches back that far.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
    ) -> Result<(Self, Option<Restored>, Option<String>), Error> {
        let mut numbers = list(&*disk, dir)?;
        let mut checkpoints = Checkpoints {
            disk,
            dir: dir.to_owned(),
            chain: Vec::new(),
            previous: None,
            newest: None,
            sizes: (0, 0),
        };
        let Some(newest) = numbers.pop() else { return Ok((checkpoints, None, None)) };
        let (restored, damage) = match restore(&*checkpoints.disk, dir, newest) {
            Ok(restored) => (restored, None),
            Err(damage @ Error::Damaged { .. }) => {
                let Some(previous) = numbers.pop() else { return Err(damage) };
                (restore(&*checkpoints.disk, dir, previous)?, Some(damage.to_string()))
            }
            Err(error) => return Err(error),
        };
        if let Some(number) = numbers.pop() {
            let (head, chain) = read_chain(&*checkpoints.disk, dir, number)?;
            checkpoints.previous = Some((head, chain));
        }
        checkpoints.chain.clone_from(&restored.chain);
        checkpoints.newest = Some(restored.head.clone());
        checkpoints.sizes = restored.sizes;
        if damage.is_some() {
            checkpoints.remove_unneeded()?;
        }
        Ok((checkpoints, Some(restored), damage))
    }

    /// The newest and the one before it.
    pub fn kept(&self) -> impl Iterator<Item = &Head> {
        self.newest.iter().chain(self.previous.iter().map(|(head, _)| head))
    }

    /// The epoch behind which nothing will be asked for again.
    pub fn oldest_kept(&self) -> u64 {
        self.kept().map(|head| head.number).min().unwrap_or(0)
    }

    /// Writes the state as the checkpoint of `head`, whose `base` is filled in here.
    pub fn write(&mut self, mut head: Head, state: &mut State) -> Result<(), Error> {
        let is_whole = self.is_whole_due();
        head.base = if is_whole { 0 } else { self.chain[0] };
        let bytes = encode(&head, &if is_whole { state.encode() } else { state.encode_changes() });
        let path = path_of(&self.dir, head.number);
        write_whole(&*self.disk, &path, &bytes)
            .map_err(|error| Error::disk(format!("write {}", path.display()), error))?;
        state.mark_written();
        self.note(head, bytes.len() as u64);
        self.remove_unneeded()
    }

    fn is_whole_due(&self) -> bool {
        let (whole, changes) = self.sizes;
        self.chain.is_empty()
            || self.chain.len() >= CHAIN_MAX
            || changes > whole.max(CHANGES_BYTES_MIN)
    }

    fn note(&mut self, head: Head, bytes: u64) {
        let old_chain = self.chain.clone();
        if head.base == 0 {
            self.chain.clear();
            self.sizes = (bytes, 0);
        } else {
            self.sizes.1 += bytes;
        }
        self.chain.insert(0, head.number);
        self.previous = self.newest.replace(head).map(|head| (head, old_chain));
    }

    fn remove_unneeded(&self) -> Result<(), Error> {
        let previous = self.previous.iter().flat_map(|(_, chain)| chain);
        let needed: Vec<u64> = self.chain.iter().chain(previous).copied().collect();
        for number in list(&*self.disk, &self.dir)? {
            if !needed.contains(&number) {
                remove(&*self.disk, &path_of(&self.dir, number))?;
            }
        }
        Ok(())
    }
}

/// The epoch of a folder's newest checkpoint; 0 where there is none. For stores elsewhere that have to
/// know, before they are opened, what must not be missing in them.
pub fn newest_checkpoint(disk: &dyn Disk, dir: &Path) -> Result<u64, Error> {
    Ok(list(disk, dir)?.last().copied().unwrap_or(0))
}

/// The numbers of a folder's checkpoints, ascending.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, Error> {
    let paths =
        disk.list(dir).map_err(|error| Error::disk(format!("list {}", dir.display()), error))?;
    let mut numbers: Vec<u64> = paths.iter().filter_map(|path| number_of(path)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a checkpoint and lays it over all it is based on.
pub(crate) fn restore(disk: &dyn Disk, dir: &Path, number: u64) -> Result<Restored, Error> {
    let mut files = vec![read(disk, dir, number)?];
    while let Some(base) = files.last().map(|file| file.0.base).filter(|&base| base != 0) {
        files.push(read(disk, dir, base)?);
    }
    let chain = files.iter().map(|(head, _)| head.number).collect();
    let sizes: Vec<u64> = files.iter().map(|(_, bytes)| bytes.len() as u64).collect();
    let (whole, changes) = sizes.split_last().expect("there is at least the one asked for");
    let sizes = (*whole, changes.iter().sum());
    let mut state = State::new();
    for (head, bytes) in files.iter().rev() {
        let path = path_of(dir, head.number);
        state.apply_changes(bytes).map_err(|error| Error::state(&path, error))?;
    }
    state.mark_written();
    let (head, _) = files.swap_remove(0);
    Ok(Restored { head, state, chain, sizes })
}

fn read_chain(disk: &dyn Disk, dir: &Path, number: u64) -> Result<(Head, Vec<u64>), Error> {
    let (head, _) = read(disk, dir, number)?;
    let mut chain = vec![number];
    let mut base = head.base;
    while base != 0 {
        chain.push(base);
        base = read(disk, dir, base)?.0.base;
    }
    Ok((head, chain))
}

fn read(disk: &dyn Disk, dir: &Path, number: u64) -> Result<(Head, Vec<u8>), Error> {
    let path = path_of(dir, number);
    let bytes = read_all(disk, &path)
        .map_err(|error| Error::disk(format!("read {}", path.display()), error))?
        .ok_or_else(|| Error::damaged(path.display().to_string(), "missing"))?;
    if let Some(version) = newer_version(&bytes) {
        return Err(Error::Newer { place: path.display().to_string(), version });
    }
    let (head, state) =
        decode(&bytes).ok_or_else(|| Error::damaged(path.display().to_string(), "checksum"))?;
    if head.number != number || head.base >= number {
        return Err(Error::damaged(path.display().to_string(), "number"));
    }
    Ok((head, state))
}

fn encode(head: &Head, state: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(state.len() + 256);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&head.number.to_le_bytes());
    out.extend_from_slice(&head.base.to_le_bytes());
    out.extend_from_slice(&head.generation.to_le_bytes());
    out.extend_from_slice(&head.group.to_le_bytes());
    out.extend_from_slice(&(head.position.len() as u16).to_le_bytes());
    for offset in &head.position {
        out.extend_from_slice(&offset.to_le_bytes());
    }
    put_long(&mut out, &head.runs);
    put_long(&mut out, state);
    put_long(&mut out, &head.judgement);
    let sum = crc32c::crc32c(&out[HEAD_BYTES..]);
    out[6..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    out
}

/// The version of a file that a later build wrote.
fn newer_version(bytes: &[u8]) -> Option<u16> {
    let mut reader = Reader(bytes);
    let is_ours = &reader.array::<4>()? == MAGIC;
    reader.u16().filter(|&version| is_ours && version > VERSION)
}

fn decode(bytes: &[u8]) -> Option<(Head, Vec<u8>)> {
    let mut reader = Reader(bytes);
    let is_ours = &reader.array::<4>()? == MAGIC;
    let version = reader.u16()?;
    if !is_ours || !(1..=VERSION).contains(&version) || reader.u32()? != crc32c::crc32c(reader.0) {
        return None;
    }
    let (number, base, generation) = (reader.u64()?, reader.u64()?, reader.u32()?);
    let (group, partitions) = (reader.u16()?, reader.u16()?);
    let position = (0..partitions).map(|_| reader.u64()).collect::<Option<_>>()?;
    let runs = reader.long()?.to_vec();
    let state = reader.long()?.to_vec();
    let judgement = if version > 1 { reader.long()?.to_vec() } else { Vec::new() };
    let head = Head { number, base, generation, group, position, runs, judgement };
    reader.0.is_empty().then_some((head, state))
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:020}{SUFFIX}"))
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}
