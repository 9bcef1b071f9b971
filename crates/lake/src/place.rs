//! Where a lake is: a folder, or a prefix of an object store, here or behind a network.
//!
//! All three are used through `object_store`. What differs is what makes a put durable, and what its
//! failure says. A folder must be synced. A store behind a network answers when a put is durable, but
//! an answer may be lost, so calls are tried again within a deadline, and what became of a put is read
//! back rather than assumed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use reckon_disk::{Disk, RealDisk};

use crate::LakeError;

/// The root of a lake.
#[derive(Clone, Debug)]
pub struct LakePlace {
    objects: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A store whose answers are never lost, such as one in memory.
    Near,
    /// A store behind a network.
    Remote(Arc<Remote>),
}

/// What must be known of a store behind a network.
#[derive(Debug)]
pub(crate) struct Remote {
    /// Its address, as errors name it.
    pub address: String,
    /// How often a call is made at most before its failure is told.
    pub tries: u32,
    /// How long to wait before the next try.
    pub pause: Duration,
    /// The longest that one call takes with all its tries.
    pub deadline: Duration,
    /// True where somebody has promised that what is removed does not stay as an older version.
    pub may_keep_versions: bool,
}

impl LakePlace {
    /// A folder of this machine, made where it is missing.
    pub fn folder(path: &Path) -> Result<Self, LakeError> {
        let failed = |source| LakeError::Folder { path: path.display().to_string(), source };
        RealDisk.create_dir_all(path).map_err(failed)?;
        let folder = path.canonicalize().map_err(failed)?;
        let objects = Arc::new(LocalFileSystem::new_with_prefix(&folder)?);
        Ok(LakePlace { objects, prefix: ObjectPath::default(), kind: Kind::Folder(folder) })
    }

    /// A prefix of an object store whose puts are durable when they answer, and which creates an
    /// object only where none is (`PutMode::Create`). Each call is made once: for a store behind a
    /// network there are constructors of their own.
    pub fn store(objects: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        LakePlace { objects, prefix: ObjectPath::from(prefix), kind: Kind::Near }
    }

    #[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "engines behind features use it"))]
    pub(crate) fn remote(
        objects: Arc<dyn ObjectStore>,
        prefix: ObjectPath,
        remote: Remote,
    ) -> Self {
        LakePlace { objects, prefix, kind: Kind::Remote(Arc::new(remote)) }
    }

    /// The same place, reached through another store: one that counts, fails or delays on the way.
    pub fn through(&self, objects: Arc<dyn ObjectStore>) -> Self {
        LakePlace { objects, ..self.clone() }
    }

    /// The store its objects lie in.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The folder it is, where it is one.
    pub fn as_folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Folder(folder) => Some(folder),
            Kind::Near | Kind::Remote(_) => None,
        }
    }

    pub(crate) fn as_remote(&self) -> Option<&Remote> {
        match &self.kind {
            Kind::Remote(remote) => Some(remote),
            Kind::Folder(_) | Kind::Near => None,
        }
    }

    /// The store's name of an object whose name below the root is given.
    pub fn object(&self, below: &str) -> ObjectPath {
        self.prefix.parts().chain(ObjectPath::from(below).parts()).collect()
    }

    /// The name below the root of one of the store's objects.
    pub(crate) fn relative(&self, object: &ObjectPath) -> Option<String> {
        let below: ObjectPath = object.prefix_match(&self.prefix)?.collect();
        Some(below.to_string())
    }

    /// Asks something of the store, and asks again after a failure that may pass, as often and as long
    /// as the place wants.
    pub(crate) async fn ask<T, F>(&self, asking: impl Fn() -> F) -> Result<T, LakeError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let Some(remote) = self.as_remote() else {
            return asking().await.map_err(|error| self.failed(error));
        };
        match tokio::time::timeout(remote.deadline, remote.ask(asking)).await {
            Ok(done) => done.map_err(|error| self.failed(error)),
            Err(_) => {
                let Remote { address, deadline, .. } = remote;
                Err(LakeError::Deadline { address: address.clone(), deadline: *deadline })
            }
        }
    }

    /// A failure of the store, with where it is and what to do about it where that is known.
    fn failed(&self, source: object_store::Error) -> LakeError {
        match self.as_remote() {
            Some(Remote { address, .. }) => {
                LakeError::Remote { address: address.clone(), fix: fix_of(&source), source }
            }
            None => LakeError::Store(source),
        }
    }
}

impl Remote {
    async fn ask<T, F>(&self, asking: impl Fn() -> F) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        for _ in 1..self.tries {
            match asking().await {
                Err(object_store::Error::Generic { .. }) => tokio::time::sleep(self.pause).await,
                done => return done,
            }
        }
        asking().await
    }
}

fn fix_of(error: &object_store::Error) -> &'static str {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    match error {
        NotFound { .. } => {
            "make the bucket where it is missing; an object that is missing was removed"
        }
        PermissionDenied { .. } | Unauthenticated { .. } => {
            "check the keys, and that they may get, put, delete and list below the prefix"
        }
        _ => "check the address, the region and that the server is up",
    }
}
