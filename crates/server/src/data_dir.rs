//! The data folder: what lies where, and who may have it open.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::clock::Clock;
use crate::config::Config;

/// A data folder: which file or folder in it is whose.
#[derive(Clone, Debug)]
pub struct DataDir(pub PathBuf);

/// Removes a folder with all that is in it, where it is there.
pub fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

impl DataDir {
    /// The log of events.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Checkpoints, epoch journal and opaque ids.
    pub fn count(&self) -> PathBuf {
        self.0.join("count")
    }

    /// Counters.
    pub fn rollup(&self) -> PathBuf {
        self.0.join("rollup")
    }

    /// Online features.
    pub fn features(&self) -> PathBuf {
        self.0.join("features")
    }

    /// Pasts that columns are computed from.
    pub fn pasts(&self) -> PathBuf {
        self.0.join("pasts")
    }

    /// What the online model has learned.
    pub fn learner(&self) -> PathBuf {
        self.0.join("learner")
    }

    /// Every record with its verdict, in Parquet.
    pub fn lake(&self) -> PathBuf {
        self.0.join("lake")
    }

    /// Reports of recounts.
    pub fn audit(&self) -> PathBuf {
        self.0.join("audit")
    }

    /// Where recounts sort what does not fit into memory; empty after a start.
    pub fn scratch(&self) -> PathBuf {
        self.audit().join("scratch")
    }

    /// What campaigns have spent.
    pub fn spend(&self) -> PathBuf {
        self.0.join("spend").join("campaigns")
    }

    /// The admin's key, alone.
    pub fn admin_key(&self) -> PathBuf {
        self.0.join("admin.key")
    }

    /// The keys that sign and encrypt.
    pub fn secrets(&self) -> PathBuf {
        self.0.join("secrets")
    }

    /// The books, where the configuration means a file.
    pub fn books(&self, config: &Config) -> Result<PathBuf> {
        match config.books.url.0.strip_prefix("sqlite:") {
            Some(path) => Ok(self.0.join(path.trim_start_matches("//"))),
            None => bail!("books.url: must begin with sqlite: or postgres:"),
        }
    }

    /// One server a folder: the lock goes with the process, however it ends.
    pub fn lock(&self) -> Result<File> {
        let path = self.0.join("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(_) => bail!("another reckon is running on {}", self.0.display()),
        }
    }

    /// A folder that was written by a scaled clock says so for ever.
    pub fn record_clock(&self, clock: &Clock) -> Result<()> {
        if clock.factor() == 1 {
            return Ok(());
        }
        let path = self.0.join("clock");
        std::fs::write(&path, format!("scaled:{}\n", clock.factor()))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
