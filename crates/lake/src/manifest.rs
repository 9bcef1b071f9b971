//! The list of what is in the lake: one small object for each state the lake has been in.
//!
//! ```text
//! manifest/00000000000000000041.json      create-only; the highest number is the lake
//! { "version": 1, "number": 41, "writer": 7, "generation": 3, "stage": 1, "group": 0,
//!   "epoch": 1204, "positions": [{"partition": 0, "to": 88123}],
//!   "files": [{"path": "tenant=1/day=2026-11-21/hour=10/....parquet", "table": "records", "rows": ...}],
//!   "checksum": "9f..." }
//! ```
//!
//! An object store gives no rename and no append, but it gives "create, unless it is there". So a
//! state is a new object under the next number, and of two writers only one gets the number. Each
//! opening takes a number for itself, which is how an older writer learns that it is one.

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use reckon_event::Timestamp;
use serde::{Deserialize, Serialize};

use crate::LakeError;
use crate::part::checksum;
use crate::place::LakePlace;

/// The version of manifests this build writes.
pub const MANIFEST_VERSION: u8 = 1;
/// The version of the tables' columns this build writes: 2 has `category_key`.
pub(crate) const FILE_FORMAT: u8 = 2;
pub(crate) const FOLDER: &str = "manifest";
/// So often is looked for the newest state while others keep making newer ones.
const LOOKS_MAX: u32 = 10;

/// Which table a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Every record with its first verdict.
    Records,
    /// Verdicts that rules on closed minutes have changed.
    Revisions,
}

/// The earliest and the latest of some times, in microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The earliest.
    pub first: i64,
    /// The latest.
    pub last: i64,
}

impl Span {
    /// True where some time of `from..to` lies in it.
    pub const fn meets(&self, from: Timestamp, to: Timestamp) -> bool {
        self.first < to.0 && from.0 <= self.last
    }
}

/// One Parquet file that is in the lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeFile {
    /// Below the lake's root.
    pub path: String,
    /// What its rows are.
    pub table: Table,
    /// Version of its columns.
    pub format: u8,
    /// Whose records; 0 for revisions, which are of all tenants.
    pub tenant: u32,
    /// Hours since 1970 in which its rows were received (revisions: made).
    pub hour: u32,
    /// The first epoch any of its rows came in.
    pub first_epoch: u64,
    /// The last one.
    pub last_epoch: u64,
    /// How many rows.
    pub rows: u64,
    /// How many bytes.
    pub bytes: u64,
    /// XXH3 of its bytes, sixteen hexadecimal digits.
    pub checksum: String,
    /// When its rows were received (revisions: the watermark at which they were made).
    pub received: Span,
    /// When its rows' events happened.
    pub happened: Span,
}

/// How far one partition of the log is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredTo {
    /// The partition.
    pub partition: u16,
    /// The offset behind the last record that is in the lake.
    pub to: u64,
}

/// A state of the lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this list's form.
    pub version: u8,
    /// Its own number.
    pub number: u64,
    /// Who wrote it.
    pub writer: u64,
    /// The highest generation that has handed over an epoch.
    pub generation: u32,
    /// The stage of counting whose epochs these are; 0 before the first.
    pub stage: u8,
    /// The slot group.
    pub group: u16,
    /// The last epoch that is in.
    pub epoch: u64,
    /// How far the log is covered.
    pub positions: Vec<CoveredTo>,
    /// Every file that is in.
    pub files: Vec<LakeFile>,
    /// XXH3 of this list with this field empty.
    pub checksum: String,
}

impl Manifest {
    pub(crate) fn empty() -> Self {
        Manifest {
            version: MANIFEST_VERSION,
            number: 0,
            writer: 0,
            generation: 0,
            stage: 0,
            group: 0,
            epoch: 0,
            positions: Vec::new(),
            files: Vec::new(),
            checksum: String::new(),
        }
    }

    /// The name of the object with a number.
    pub(crate) fn name(number: u64) -> String {
        format!("{FOLDER}/{number:020}.json")
    }

    /// The number in an object's name.
    pub(crate) fn number_of(path: &str) -> Option<u64> {
        let name = path.strip_prefix(FOLDER)?.strip_prefix('/')?;
        let number = name.strip_suffix(".json")?.parse().ok()?;
        (Self::name(number) == path).then_some(number)
    }

    pub(crate) fn encode(&mut self) -> Vec<u8> {
        self.checksum = self.sum();
        serde_json::to_vec(self).expect("a list of plain fields is JSON")
    }

    fn sum(&self) -> String {
        let bare = Manifest { checksum: String::new(), ..self.clone() };
        checksum(&serde_json::to_vec(&bare).expect("a list of plain fields is JSON"))
    }

    pub(crate) fn decode(path: &str, bytes: &[u8]) -> Result<Self, LakeError> {
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|error| LakeError::damaged(path, error.to_string()))?;
        if manifest.version != MANIFEST_VERSION {
            let what = format!("version {} is not known to this build", manifest.version);
            return Err(LakeError::damaged(path, what));
        }
        if manifest.sum() != manifest.checksum {
            return Err(LakeError::damaged(path, "checksum mismatch"));
        }
        Ok(manifest)
    }

    /// The state a lake is in: the highest number that is whole. `None` where there is no lake.
    ///
    /// A manifest that is not whole was being written when the power went: nobody was told of it. If
    /// one rots later, the lake falls back by some epochs and says so by its `epoch`: the pipeline
    /// refuses a subscriber that has lost what a checkpoint relies on.
    pub async fn latest(place: &LakePlace) -> Result<Option<Manifest>, LakeError> {
        for _ in 1..LOOKS_MAX {
            match Self::look(place).await {
                // Somebody has opened the lake since it was listed, and removed it: there is a newer one.
                Err(error) if error.is_missing() => {}
                found => return found,
            }
        }
        Self::look(place).await
    }

    async fn look(place: &LakePlace) -> Result<Option<Manifest>, LakeError> {
        let mut numbers = Self::numbers(place).await?;
        let mut damage = None;
        while let Some(number) = numbers.pop() {
            let path = Self::name(number);
            let object = place.object(&path);
            let read = || async { place.objects().get(&object).await?.bytes().await };
            let bytes = place.ask(read).await?;
            match Self::decode(&path, &bytes) {
                Ok(manifest) => return Ok(Some(manifest)),
                // The first state of a lake has no files: cut short, it is a lake that never was.
                Err(_) if number == 1 => {}
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// The numbers that are there, ascending.
    pub(crate) async fn numbers(place: &LakePlace) -> Result<Vec<u64>, LakeError> {
        let folder = place.object(FOLDER);
        let list = || place.objects().list(Some(&folder)).try_collect::<Vec<_>>();
        let objects = place.ask(list).await?;
        let names = objects.iter().filter_map(|object| place.relative(&object.location));
        let mut numbers: Vec<u64> = names.filter_map(|name| Self::number_of(&name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// How many records are in the lake.
    pub fn record_count(&self) -> u64 {
        let records = self.files.iter().filter(|file| file.table == Table::Records);
        records.map(|file| file.rows).sum()
    }
}
