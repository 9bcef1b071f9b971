//! The seam to files: one small trait, a real disk behind it and a simulated one that fails on demand.
//!
//! It is a crate of floor 0, beside `event`, because log, rollup and pipeline keep files of their own
//! and none of them may use another. Whoever writes through this trait can be tested against power
//! cuts, torn writes, full disks and failed syncs without a single change.
//!
//! The contract is POSIX's, spelt out: bytes are durable after [`File::sync`] on the handle that wrote
//! them; a name is durable after [`Disk::sync_dir`] on its folder; a failed sync says nothing about
//! what reached the disk and must never be retried on the same handle.

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod real;
mod sim;
mod temp;

pub use real::RealDisk;
pub use sim::{SECTOR_BYTES, SimDisk};
pub use temp::TempDir;

/// How [`Disk::open`] treats a file that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Must exist; read only.
    Read,
    /// Must exist; read and write.
    Write,
    /// Must not exist; read and write.
    Create,
    /// Made when missing, emptied when not; read and write.
    Truncate,
}

/// One open file. Offsets are absolute; there is no cursor.
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf` at `offset`, growing the file with zeros where needed. After an error any
    /// part of it may have been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or grows the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Makes bytes and length durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// True where nothing is in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Holds a lock on a file for as long as it lives; a crash lets go of it.
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>);

impl Lock {
    fn new(held: impl Any + Send + Sync) -> Self {
        Lock(Box::new(held))
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// A tree of files. Paths are taken as given; the simulated disk treats them as keys.
pub trait Disk: Send + Sync {
    /// Opens one file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;
    /// The files and folders directly inside `dir`, sorted by name; an absent folder is empty.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes a folder and its parents; the names of those it made are durable when it returns.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Replaces `to` by `from` in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes `path` where it is missing and locks it for this holder alone;
    /// [`io::ErrorKind::WouldBlock`] where another holds it, in this process or another.
    fn lock(&self, path: &Path) -> io::Result<Lock>;
}

/// Reads a whole file; `None` where there is none.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Writes a file so that after any crash it is either the old one or the new one: a sibling is
/// written and synced, renamed over the name, and the folder is synced.
pub fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut sibling = path.as_os_str().to_owned();
    sibling.push(".tmp");
    let sibling = PathBuf::from(sibling);
    let file = disk.open(&sibling, Open::Truncate)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&sibling, path)?;
    match path.parent() {
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    }
}
