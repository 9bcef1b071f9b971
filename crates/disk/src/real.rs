//! The disk of the machine: positioned reads and writes, `fdatasync`, synced folders.
//!
//! No cursor, no mapping, no direct I/O: `pread`, `pwrite` and `fdatasync` work in every container
//! and on every file system, and their failures are those the simulated disk plays.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Disk, File, Lock, Open};

/// Files as the operating system gives them.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(fs::File);

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(how != Open::Read);
        match how {
            Open::Read | Open::Write => {}
            Open::Create => {
                options.create_new(true);
            }
            Open::Truncate => {
                options.create(true).truncate(true);
            }
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths =
            entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(Path::new(""));
        self.create_dir_all(parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(parent)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(Lock::new(file))
    }
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TempDir, read_all, write_whole};

    #[test]
    fn files_are_written_read_and_listed() {
        let dir = TempDir::new("real-disk");
        let (disk, deep) = (RealDisk, dir.path().join("a/b"));
        disk.create_dir_all(&deep).expect("made");
        let path = deep.join("one");
        let file = disk.open(&path, Open::Create).expect("created");
        file.write_at(b"middle", 4).expect("written");
        file.sync().expect("synced");
        let mut all = [9; 12];
        assert_eq!(file.read_at(&mut all, 0).expect("read"), 10);
        assert_eq!(&all[..10], b"\0\0\0\0middle");
        assert_eq!(
            disk.open(&path, Open::Create).err().map(|e| e.kind()),
            Some(io::ErrorKind::AlreadyExists)
        );
        write_whole(&disk, &deep.join("two"), b"whole").expect("replaced");
        assert_eq!(disk.list(&deep).expect("listed"), [path, deep.join("two")]);
        assert_eq!(disk.list(&deep.join("none")).expect("listed"), Vec::<PathBuf>::new());
        assert_eq!(read_all(&disk, &deep.join("two")).expect("read"), Some(b"whole".to_vec()));
        assert_eq!(read_all(&disk, &deep.join("three")).expect("read"), None);
    }

    #[test]
    fn a_lock_is_held_once_and_let_go_with_its_holder() {
        let dir = TempDir::new("real-lock");
        let path = dir.path().join("lock");
        let held = RealDisk.lock(&path).expect("free");
        assert_eq!(RealDisk.lock(&path).expect_err("held").kind(), io::ErrorKind::WouldBlock);
        drop(held);
        RealDisk.lock(&path).expect("free again");
    }
}
