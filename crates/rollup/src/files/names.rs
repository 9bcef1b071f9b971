//! The dictionary of texts behind the keys of regions, devices and placements.
//!
//! A text is kept before the first epoch that uses it becomes durable. Texts only ever join, so the
//! dictionary needs no epoch of its own: one file for what each `persist` adds, rewritten as one when
//! there are many.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_disk::{Disk, Open, read_all};

use super::wire::{Reader, put_text, seal, unseal};
use crate::Error;
use crate::sums::names::Names;

const MAGIC: &[u8; 8] = b"RKNTXT01";

/// The file of some texts.
pub(super) fn names_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("names-{id:016}"))
}

impl Names {
    /// Adds the texts of a file.
    pub(super) fn load(&mut self, disk: &dyn Disk, dir: &Path, id: u64) -> Result<(), Error> {
        let texts = read_names(disk, dir, id)?;
        self.know(texts);
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
