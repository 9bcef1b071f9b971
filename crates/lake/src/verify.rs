//! Reads every byte of a lake and holds it against its manifest.

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    Ok(look(&store, &manifest))
}

fn look(store: &Store, manifest: &Manifest) -> Verified {
    let mut found = Verified { number: manifest.number, ..Verified::default() };
    for file in &manifest.files {
        found.files += 1;
        found.rows += file.rows;
        found.bytes += file.bytes;
        if let Err(what) = look_at(store, file) {
            found.damage.push(Damage { path: file.path.clone(), what });
        }
    }
    found
}

fn look_at(store: &Store, file: &LakeFile) -> Result<(), String> {
    let bytes = store.get(&file.path).map_err(|error| error.to_string())?;
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
        look(&self.store, &self.manifest)
    }
}
