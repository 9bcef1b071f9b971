//! What the simulated disk holds: the two images of a file, and the two tables of names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::SECTOR_BYTES;
use super::random::{Chance, Random};

/// One file: what a process sees, what is on the platter, and what lies between.
#[derive(Clone, Default)]
pub(super) struct Image {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Each sector written since the last sync, in all versions it went through.
    unsynced: BTreeMap<usize, Vec<[u8; SECTOR_BYTES]>>,
    /// Each length the file went through since the last sync.
    lengths: Vec<usize>,
}

impl Image {
    pub(super) const fn len(&self) -> u64 {
        self.live.len() as u64
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: usize) -> usize {
        let from = self.live.get(offset..).unwrap_or_default();
        let count = from.len().min(buf.len());
        buf[..count].copy_from_slice(&from[..count]);
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if end > self.live.len() {
            self.live.resize(end, 0);
            self.lengths.push(end);
        }
        self.live[offset..end].copy_from_slice(bytes);
        self.note(offset, end);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        let before = self.live.len();
        if len < before {
            self.live[len..].fill(0);
            self.note(len, before);
        }
        self.live.resize(len, 0);
        self.lengths.push(len);
    }

    /// Remembers the sectors of `from..to` as they are now.
    fn note(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            self.unsynced.entry(sector).or_default().push(sector_of(&self.live, sector));
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for (sector, _) in std::mem::take(&mut self.unsynced) {
            put(&mut self.durable, sector, &sector_of(&self.live, sector));
        }
        self.lengths.clear();
    }

    /// Some sectors arrive, the others are forgotten: the live image shows them, no later sync
    /// writes them.
    pub(super) fn sync_fails(&mut self, random: &mut Random) {
        if random.coin() {
            self.durable.resize(self.live.len(), 0);
        }
        for (sector, _) in std::mem::take(&mut self.unsynced) {
            if random.coin() {
                put(&mut self.durable, sector, &sector_of(&self.live, sector));
            }
        }
        self.lengths.clear();
    }

    pub(super) fn crash(&mut self, random: &mut Random, chance: Chance) {
        let before = self.durable.len();
        if !self.lengths.is_empty() && random.happens(chance) {
            let kept = random.below(self.lengths.len() as u64) as usize;
            // A seed that keeps all must keep the last state, not one on the way to it.
            let kept = if random.happens(chance) { self.lengths.len() - 1 } else { kept };
            self.durable.resize(self.lengths[kept], 0);
        }
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            if random.happens(chance) {
                let kept = random.below(versions.len() as u64) as usize;
                let kept = if random.happens(chance) { versions.len() - 1 } else { kept };
                put(&mut self.durable, sector, &versions[kept]);
            } else if sector * SECTOR_BYTES >= before && random.below(8) == 0 {
                put(&mut self.durable, sector, &garbage(random));
            }
        }
        self.lengths.clear();
        self.live.clone_from(&self.durable);
    }

    pub(super) fn flip(&mut self, byte: usize, mask: u8) {
        self.live[byte] ^= mask;
        if let Some(durable) = self.durable.get_mut(byte) {
            *durable ^= mask;
        }
    }

    pub(super) fn cut(&mut self, len: usize) {
        self.live.truncate(len);
        self.durable.truncate(len);
        self.unsynced.retain(|sector, _| sector * SECTOR_BYTES < len);
        self.lengths.clear();
    }
}

fn sector_of(bytes: &[u8], sector: usize) -> [u8; SECTOR_BYTES] {
    let mut out = [0; SECTOR_BYTES];
    let from = bytes.get(sector * SECTOR_BYTES..).unwrap_or_default();
    let count = from.len().min(SECTOR_BYTES);
    out[..count].copy_from_slice(&from[..count]);
    out
}

/// Writes a sector as far as the file reaches.
fn put(bytes: &mut [u8], sector: usize, content: &[u8; SECTOR_BYTES]) {
    let into = bytes.get_mut(sector * SECTOR_BYTES..).unwrap_or_default();
    let count = into.len().min(SECTOR_BYTES);
    into[..count].copy_from_slice(&content[..count]);
}

/// What was on the platter before the sector was given to this file.
fn garbage(random: &mut Random) -> [u8; SECTOR_BYTES] {
    let mut out = [0; SECTOR_BYTES];
    for eight in out.chunks_exact_mut(8) {
        eight.copy_from_slice(&random.next().to_le_bytes());
    }
    out
}

/// Which name leads to which image.
#[derive(Clone, Default)]
pub(super) struct Names {
    pub(super) files: BTreeMap<PathBuf, usize>,
    pub(super) dirs: BTreeSet<PathBuf>,
}

/// One change of the table of names.
#[derive(Clone)]
pub(super) enum NameChange {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl Names {
    pub(super) fn has_dir(&self, dir: &Path) -> bool {
        dir.as_os_str().is_empty() || dir == Path::new("/") || self.dirs.contains(dir)
    }

    pub(super) fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Create(path, image) => {
                self.files.insert(path.clone(), *image);
            }
            NameChange::Rename(from, to, image) => {
                if self.files.get(from) == Some(image) {
                    self.files.remove(from);
                }
                self.files.insert(to.clone(), *image);
            }
            NameChange::Remove(path) => {
                self.files.remove(path);
            }
        }
    }
}

impl NameChange {
    /// True where syncing `dir` makes it durable.
    pub(super) fn is_in(&self, dir: &Path) -> bool {
        let (NameChange::Create(path, _)
        | NameChange::Rename(_, path, _)
        | NameChange::Remove(path)) = self;
        path.parent().unwrap_or(Path::new("")) == dir
    }
}
