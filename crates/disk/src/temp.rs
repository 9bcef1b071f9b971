//! A folder for one test, removed with its holder.
//!
//! It stands here because every crate that keeps files needs one in its tests, and a dependency for
//! twenty lines is not worth its tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A fresh, empty folder below the system's temporary folder; gone when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one whose name holds `label`.
    ///
    /// # Panics
    /// Where the system's temporary folder cannot be written: no test can go on then.
    pub fn new(label: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("reckon-{label}-{}-{number}", process::id()));
        // A folder of that name can only be left over from a dead process with the same id.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the system's temporary folder can be written");
        TempDir(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Nothing hangs on it: what stays is removed by the system some day.
        let _ = fs::remove_dir_all(&self.0);
    }
}
