//! Puts, reads and removals as plain calls, each durable when it answers.
//!
//! Subscribers are called from the counter's thread and know no futures, while `object_store` is all
//! futures. So the lake has a small runtime of its own, of one thread: its own. Nothing else runs on
//! it, and nobody outside needs to know.
//!
//! A store such as S3 answers a put when it is durable. A folder does not: `object_store` neither
//! syncs the file nor the folder its name stands in. Here both are synced, and the names of folders
//! that were made on the way.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use reckon_disk::{Disk, Open, RealDisk};
use tokio::runtime::{Builder, Runtime};

use crate::place::LakePlace;
use crate::{LakeError, Manifest};

/// What became of a put under a name that must be new.
pub(crate) enum Put {
    Made,
    /// There is an object of that name already.
    Exists,
}

pub(crate) struct Store {
    place: LakePlace,
    runtime: Runtime,
    /// Folders whose own names are durable.
    known: HashSet<PathBuf>,
    /// Folders in which names are new.
    dirty: HashSet<PathBuf>,
}

impl Store {
    /// To be used outside of any other runtime.
    pub fn new(place: LakePlace) -> Result<Self, LakeError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| LakeError::Folder { path: "a runtime".into(), source })?;
        let known = place.as_folder().map(Path::to_path_buf).into_iter().collect();
        Ok(Store { place, runtime, known, dirty: HashSet::new() })
    }

    /// Writes a new object. Its bytes are durable when this returns, its name after
    /// [`Store::sync_names`].
    pub fn put(&mut self, path: &str, bytes: Bytes) -> Result<Put, LakeError> {
        let object = self.place.object(path);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.place.objects().put_opts(&object, bytes.into(), options);
        match self.runtime.block_on(put) {
            Ok(_) => self.sync_file(path).map(|()| Put::Made),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Put::Exists),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_file(&mut self, path: &str) -> Result<(), LakeError> {
        let Some(folder) = self.place.as_folder() else { return Ok(()) };
        let file = folder.join(path);
        RealDisk.open(&file, Open::Write).and_then(|file| file.sync()).map_err(failed(&file))?;
        self.dirty.extend(file.parent().map(Path::to_path_buf));
        Ok(())
    }

    /// Makes the names of all new objects durable.
    pub fn sync_names(&mut self) -> Result<(), LakeError> {
        for dir in self.dirty.clone() {
            let mut dir = dir.as_path();
            loop {
                RealDisk.sync_dir(dir).map_err(failed(dir))?;
                match dir.parent() {
                    Some(parent) if self.known.insert(dir.to_path_buf()) => dir = parent,
                    _ => break,
                }
            }
        }
        self.dirty.clear();
        Ok(())
    }

    pub fn get(&self, path: &str) -> Result<Bytes, LakeError> {
        let object = self.place.object(path);
        let read = async { self.place.objects().get(&object).await?.bytes().await };
        Ok(self.runtime.block_on(read)?)
    }

    /// Removes an object; one that is not there is removed.
    pub fn remove(&self, path: &str) -> Result<(), LakeError> {
        let object = self.place.object(path);
        match self.runtime.block_on(self.place.objects().delete(&object)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of all objects of the lake.
    pub fn list(&self) -> Result<Vec<String>, LakeError> {
        let root = self.place.object("");
        let list = self.place.objects().list(Some(&root)).try_collect::<Vec<_>>();
        let objects = self.runtime.block_on(list)?;
        Ok(objects.iter().filter_map(|object| self.place.relative(&object.location)).collect())
    }

    pub fn latest(&self) -> Result<Option<Manifest>, LakeError> {
        self.runtime.block_on(Manifest::latest(&self.place))
    }

    pub fn manifest_numbers(&self) -> Result<Vec<u64>, LakeError> {
        self.runtime.block_on(Manifest::numbers(&self.place))
    }

    /// Removes what a put that a crash has cut off left beside its name. `object_store` writes a
    /// folder's objects under `name#n` first and does not list those.
    pub fn remove_staged(&self) -> Result<(), LakeError> {
        match self.place.as_folder() {
            Some(folder) => remove_staged_below(folder),
            None => Ok(()),
        }
    }
}

fn remove_staged_below(dir: &Path) -> Result<(), LakeError> {
    for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        if path.is_dir() {
            remove_staged_below(&path)?;
        } else if is_staged(&path) {
            std::fs::remove_file(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}

fn is_staged(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.rsplit_once('#')).is_some_and(|(stem, number)| {
        (stem.ends_with(".parquet") || stem.ends_with(".json"))
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> LakeError + use<> {
    let path = path.display().to_string();
    move |source| LakeError::Folder { path, source }
}
