//! Puts, reads and removals as plain calls, each durable when it answers.
//!
//! Subscribers are called from the counter's thread and know no futures, while `object_store` is all
//! futures. So the lake has a small runtime of its own, of one thread: its own. Nothing else runs on
//! it, and nobody outside needs to know.
//!
//! **Durable.** A store behind a network answers a put when it is durable. A folder does not:
//! `object_store` neither syncs the file nor the folder its name stands in. Here both are synced, and
//! the names of folders that were made on the way.
//!
//! **What became of a put.** Of a put that must make a new object "it is there already" says little:
//! the first of two tries may have made it, its answer lost, and `object_store` tries some failures
//! again without a word. It may even be said where nothing is, while another put is under way. So
//! whatever is there is read and handed back, and the caller decides by its bytes.

use std::cell::Cell;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutResult};
use reckon_disk::{Disk, Open, RealDisk};
use tokio::runtime::{Builder, Runtime};

use crate::place::LakePlace;
use crate::{LakeError, Manifest, Verified};

/// What became of a put under a name that must be new.
pub(crate) enum Put {
    Made,
    /// There is an object of that name, with these bytes: another's, or one's own of an earlier try.
    Exists(Bytes),
}

/// An object that is made once and never again, by which a store shows that it can tell.
const MADE_ONCE: &str = "made-once.txt";
const MADE_ONCE_TEXT: &[u8] = b"Made once. A store that makes it twice cannot hold a lake.\n";

/// Whoever opens a lake in a folder removes what is staged there, be it another's put that is under way:
/// such a put is made again, so often. Whose the lake is, is decided by manifests alone.
const STAGED_TRIES: u32 = 16;

pub(crate) struct Store {
    place: LakePlace,
    runtime: Runtime,
    /// Folders whose own names are durable.
    known: HashSet<PathBuf>,
    /// Folders in which names are new.
    dirty: HashSet<PathBuf>,
    /// True once a put was answered with the version it made.
    keeps_versions: Cell<bool>,
}

impl Store {
    /// To be used outside of any other runtime.
    pub fn new(place: LakePlace) -> Result<Self, LakeError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| LakeError::Folder { path: "a runtime".into(), source })?;
        let known = place.as_folder().map(Path::to_path_buf).into_iter().collect();
        let keeps_versions = Cell::new(false);
        Ok(Store { place, runtime, known, dirty: HashSet::new(), keeps_versions })
    }

    /// Refuses a store behind a network that makes an object where one is: two writers would both
    /// believe that theirs is the next state. One that was asked once before is asked once.
    pub fn refuse_replacing(&mut self) -> Result<(), LakeError> {
        let Some(remote) = self.place.as_remote() else { return Ok(()) };
        let address = remote.address.clone();
        for _ in 0..2 {
            if let Put::Exists(_) = self.put(MADE_ONCE, &Bytes::from_static(MADE_ONCE_TEXT))? {
                return Ok(());
            }
        }
        Err(LakeError::Replaces { address })
    }

    /// Refuses a store that was seen to keep what is removed, unless somebody has answered for it.
    pub fn refuse_versions(&self) -> Result<(), LakeError> {
        match self.place.as_remote() {
            Some(remote) if self.keeps_versions.get() && !remote.may_keep_versions => {
                Err(LakeError::KeepsVersions { address: remote.address.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Writes a new object. Its bytes are durable when this returns, its name after
    /// [`Store::sync_names`].
    pub fn put(&mut self, path: &str, bytes: &Bytes) -> Result<Put, LakeError> {
        let object = self.place.object(path);
        let mut tries_left = STAGED_TRIES;
        let put = loop {
            tries_left -= 1;
            match self.ask(|| self.create(&object, bytes)) {
                Err(error) if tries_left > 0 && lost_what_was_staged(&error) => {}
                put => break put?,
            }
        };
        if let Put::Made = put {
            self.sync_file(path)?;
        }
        Ok(put)
    }

    async fn create(&self, object: &ObjectPath, bytes: &Bytes) -> object_store::Result<Put> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.place.objects().put_opts(object, bytes.clone().into(), options);
        match put.await {
            Ok(done) => {
                self.note_version(&done);
                Ok(Put::Made)
            }
            Err(taken @ Error::AlreadyExists { .. }) => match self.read(object).await {
                Ok(found) => Ok(Put::Exists(found)),
                // Another put of the name was under way, and has come to nothing.
                Err(Error::NotFound { .. }) => {
                    Err(Error::Generic { store: "lake", source: Box::new(taken) })
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// "null" is the version of everything where versions are not kept any more.
    fn note_version(&self, done: &PutResult) {
        if done.version.as_deref().is_some_and(|version| version != "null") {
            self.keeps_versions.set(true);
        }
    }

    async fn read(&self, object: &ObjectPath) -> object_store::Result<Bytes> {
        self.place.objects().get(object).await?.bytes().await
    }

    /// Asks something of the place's store, and waits.
    fn ask<T, F>(&self, asking: impl Fn() -> F) -> Result<T, LakeError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        self.runtime.block_on(self.place.ask(asking))
    }

    /// Makes the bytes of an object durable that was found where it should be made.
    pub fn sync_found(&mut self, path: &str) -> Result<(), LakeError> {
        self.sync_file(path)
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
        self.ask(|| self.read(&object))
    }

    /// Removes objects; one that is not there is removed.
    pub fn remove(&self, paths: &[String]) -> Result<(), LakeError> {
        let objects: Vec<_> = paths.iter().map(|path| self.place.object(path)).collect();
        self.ask(|| self.delete(&objects))
    }

    async fn delete(&self, objects: &[ObjectPath]) -> object_store::Result<()> {
        let objects: Vec<_> = objects.iter().cloned().map(Ok).collect();
        let mut outcomes =
            self.place.objects().delete_stream(futures::stream::iter(objects).boxed());
        let mut outcome = Ok(());
        while let Some(done) = outcomes.next().await {
            match done {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// The names of all objects of the lake.
    pub fn list(&self) -> Result<Vec<String>, LakeError> {
        let root = self.place.object("");
        let all = || self.place.objects().list(Some(&root)).try_collect::<Vec<_>>();
        let objects = self.ask(all)?;
        Ok(objects.iter().filter_map(|object| self.place.relative(&object.location)).collect())
    }

    pub fn latest(&self) -> Result<Option<Manifest>, LakeError> {
        self.runtime.block_on(Manifest::latest(&self.place))
    }

    /// Reads every file of a state.
    pub fn verify(&self, manifest: &Manifest) -> Verified {
        self.runtime.block_on(manifest.verify(&self.place))
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
            match std::fs::remove_file(&path) {
                // A put that was under way has given it its name.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.map_err(failed(&path))?,
            }
        }
    }
    Ok(())
}

/// True where a folder's file was gone before it could be given its name.
fn lost_what_was_staged(error: &LakeError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = match error {
        LakeError::Store(error @ Error::Generic { .. }) => Some(error),
        _ => None,
    };
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::NotFound) {
            return true;
        }
        cause = error.source();
    }
    false
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use reckon_disk::TempDir;

    use super::*;

    const PUTS: u32 = 1_000;

    /// Whoever opens the lake sweeps, while another has not yet heard that it is cut off.
    #[test]
    fn a_sweep_stops_no_put() {
        let folder = TempDir::new("lake-sweep");
        let place = LakePlace::folder(folder.path()).expect("a folder");
        let mut store = Store::new(place).expect("it opens");
        // How many are made; the sweeper sweeps once for each.
        let made = AtomicU32::new(0);
        let puts = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut swept = None;
                while swept != Some(PUTS) {
                    let now = Some(made.load(Ordering::Acquire));
                    if swept == now {
                        std::thread::yield_now();
                        continue;
                    }
                    swept = now;
                    remove_staged_below(folder.path()).expect("what is gone is gone");
                }
            });
            let bytes = Bytes::from(vec![7; 200_000]);
            let puts: Result<(), LakeError> = (0..PUTS).try_for_each(|number| {
                store.put(&format!("part-{number}.parquet"), &bytes)?;
                made.store(number + 1, Ordering::Release);
                Ok(())
            });
            made.store(PUTS, Ordering::Release);
            puts
        });
        puts.expect("each is made in the end");
    }
}
