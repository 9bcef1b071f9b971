//! Where a lake is: a folder, or a prefix of an object store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    folder: Option<PathBuf>,
}

impl LakePlace {
    /// A folder of this machine, made where it is missing.
    pub fn folder(path: &Path) -> Result<Self, LakeError> {
        let failed = |source| LakeError::Folder { path: path.display().to_string(), source };
        RealDisk.create_dir_all(path).map_err(failed)?;
        let folder = path.canonicalize().map_err(failed)?;
        let objects = Arc::new(LocalFileSystem::new_with_prefix(&folder)?);
        Ok(LakePlace { objects, prefix: ObjectPath::default(), folder: Some(folder) })
    }

    /// A prefix of an object store whose puts are durable when they answer, and which creates an
    /// object only where none is (`PutMode::Create`), such as S3.
    pub fn store(objects: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        LakePlace { objects, prefix: ObjectPath::from(prefix), folder: None }
    }

    /// The store its objects lie in.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The folder it is, where it is one.
    pub fn as_folder(&self) -> Option<&Path> {
        self.folder.as_deref()
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
}
