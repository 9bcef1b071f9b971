//! The dictionary of texts behind the keys of regions, devices and placements.
//!
//! A text is kept before the first epoch that uses it becomes durable. Texts only ever join, so the
//! dictionary needs no epoch of its own: one file for what each `persist` adds, rewritten as one when
//! there are many.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::RandomState;
use reckon_disk::{Disk, Open, read_all};

use super::wire::{Reader, put_text, seal, unseal};
use crate::Error;

const MAGIC: &[u8; 8] = b"RKNTXT01";

/// The file of some texts.
pub(super) fn names_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("names-{id:016}"))
}

/// Texts by key.
#[derive(Default)]
pub(super) struct Names {
    texts: HashMap<u64, Arc<str>, RandomState>,
    /// Keys no file has yet.
    fresh: Vec<u64>,
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn has(&self, key: u64) -> bool {
        self.texts.contains_key(&key)
    }

    pub(super) fn get(&self, key: u64) -> Option<&Arc<str>> {
        self.texts.get(&key)
    }

    /// Remembers a text; the first of a key stays.
    pub(super) fn learn(&mut self, key: u64, text: &str) {
        if !self.has(key) {
            self.texts.insert(key, text.into());
            self.fresh.push(key);
        }
    }

    /// Texts no file has yet, sorted by key.
    pub(super) fn fresh(&self) -> Vec<(u64, Arc<str>)> {
        self.sorted(self.fresh.iter())
    }

    /// All texts, sorted by key.
    pub(super) fn all(&self) -> Vec<(u64, Arc<str>)> {
        self.sorted(self.texts.keys())
    }

    fn sorted<'a>(&self, keys: impl Iterator<Item = &'a u64>) -> Vec<(u64, Arc<str>)> {
        let mut texts: Vec<_> = keys.map(|key| (*key, Arc::clone(&self.texts[key]))).collect();
        texts.sort_unstable_by_key(|(key, _)| *key);
        texts
    }

    /// Files have all texts now.
    pub(super) fn settle(&mut self) {
        self.fresh.clear();
    }

    /// Adds the texts of a file.
    pub(super) fn load(&mut self, disk: &dyn Disk, dir: &Path, id: u64) -> Result<(), Error> {
        let texts = read_names(disk, dir, id)?;
        for (key, text) in texts {
            self.texts.entry(key).or_insert_with(|| text.into());
        }
        Ok(())
    }
}

/// Writes and syncs a file of texts.
pub(super) fn write_names(
    disk: &dyn Disk,
    dir: &Path,
    id: u64,
    texts: &[(u64, Arc<str>)],
) -> Result<(), Error> {
    let mut bytes = MAGIC.to_vec();
    for (key, text) in texts {
        bytes.extend_from_slice(&key.to_le_bytes());
        put_text(&mut bytes, text);
    }
    seal(&mut bytes);
    let path = names_path(dir, id);
    let failed = |error| Error::io(&path.display(), error);
    let file = disk.open(&path, Open::Truncate).map_err(failed)?;
    file.write_at(&bytes, 0).map_err(failed)?;
    file.sync().map_err(failed)
}

/// Reads a file of texts.
pub(super) fn read_names(
    disk: &dyn Disk,
    dir: &Path,
    id: u64,
) -> Result<Vec<(u64, String)>, Error> {
    let path = names_path(dir, id);
    let bytes = read_all(disk, &path).map_err(|error| Error::io(&path.display(), error))?;
    let bytes = bytes.ok_or_else(|| Error::damaged(&path.display(), "the file is missing"))?;
    decode(&bytes).ok_or_else(|| Error::damaged(&path.display(), "it is not a file of texts"))
}

fn decode(bytes: &[u8]) -> Option<Vec<(u64, String)>> {
    let mut reader = Reader::new(unseal(bytes)?.strip_prefix(MAGIC)?);
    let mut texts = Vec::new();
    while !reader.is_empty() {
        texts.push((reader.u64()?, reader.text()?.to_owned()));
    }
    Some(texts)
}
