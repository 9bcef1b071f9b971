//! Reads every byte of a lake and holds it against its manifest.

use bytes::Bytes;
use object_store::ObjectStoreExt;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::keeper::Keeper;
use crate::part::checksum;
use crate::store::Store;
use crate::{LakeError, LakeFile, LakePlace, Manifest};

/// What a look at every file has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The state that was looked at.
    pub number: u64,
    /// How many files were read.
    pub files: usize,
    /// How many rows they hold.
    pub rows: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// What is wrong, file by file.
    pub damage: Vec<Damage>,
}

/// One file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// Which.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

/// Reads a lake that nobody needs to have open. To be called outside of any runtime.
pub fn verify(place: &LakePlace) -> Result<Verified, LakeError> {
    let store = Store::new(place.clone())?;
    let manifest = store.latest()?.unwrap_or_else(Manifest::empty);
    Ok(store.verify(&manifest))
}

impl Manifest {
    /// Reads every file that this state names, one after the other.
    pub async fn verify(&self, place: &LakePlace) -> Verified {
        let mut found = Verified { number: self.number, ..Verified::default() };
        for file in &self.files {
            found.files += 1;
            found.rows += file.rows;
            found.bytes += file.bytes;
            let object = place.object(&file.path);
            let read = || async { place.objects().get(&object).await?.bytes().await };
            let looked = place
                .ask(read)
                .await
                .map_err(|error| error.to_string())
                .and_then(|b| look_at(file, b));
            if let Err(what) = looked {
                found.damage.push(Damage { path: file.path.clone(), what });
            }
        }
        found
    }
}

fn look_at(file: &LakeFile, bytes: Bytes) -> Result<(), String> {
    if bytes.len() as u64 != file.bytes {
        return Err(format!("it has {} bytes instead of {}", bytes.len(), file.bytes));
    }
    if checksum(&bytes) != file.checksum {
        return Err("its checksum does not fit".to_owned());
    }
    let reader = SerializedFileReader::new(bytes).map_err(|error| error.to_string())?;
    let rows = reader.metadata().file_metadata().num_rows();
    if u64::try_from(rows) != Ok(file.rows) {
        return Err(format!("it has {rows} rows instead of {}", file.rows));
    }
    Ok(())
}

impl Keeper {
    /// Reads every file of the state that is durable.
    pub fn verify(&self) -> Verified {
        self.store.verify(&self.manifest)
    }
}
