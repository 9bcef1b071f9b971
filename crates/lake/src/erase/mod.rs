//! Takes persons out of the lake while every figure stays.
//!
//! Rows, verdicts, ads, prices and times stay: they are what was counted and billed. Whatever leads
//! back to a person is replaced, by values that are random to everyone who has not the erasure's key.
//! The replacement is the same in all files, so copies of one id are still copies of one id, and a
//! recount comes to the same verdicts.
//!
//! | column | in whose rows | becomes |
//! |---|---|---|
//! | `pseudonym` | the person's | the surrogate |
//! | `event_id`, `request_id` | the person's | keyed hash |
//! | `ip`, `payload` of a served row | the person's | NULL |
//! | `install_id`, `session_id` | all of an install the person used | keyed hash |
//! | `ip_tag` | all of an address the person used that day | keyed hash |
//!
//! The last two are replaced in other rows too. Rules compare clicks of one address, and copies of one
//! install's event may come with and without a user: with only some of them replaced, a recount would
//! come to other verdicts than those that were billed. For the same reason a row that comes later is
//! replaced with the same key, and the installs and addresses ([`Traces`]) must be known for as long as
//! rows may come: whoever asks keeps them durably **before** anything is changed, so that a crash in
//! between cannot lose them. An install that two persons share belongs to the first that was found
//! with it, and nothing is ever replaced twice, so the order of erasures does not matter.

mod replace;
mod traces;

use std::collections::{BTreeMap, HashSet};

use arrow::array::RecordBatch;
use arrow::row::{RowConverter, SortField};
use reckon_event::Pseudonym;
use xxhash_rust::xxh3::Xxh3Default;

use self::replace::Marks;
use self::traces::Claimed;
pub use self::traces::Traces;
use crate::keeper::Keeper;
use crate::manifest::Table;
use crate::part::{self, Encoder};
use crate::{LakeError, LakeFile};

/// Whom to erase, and what with. The secrets are drawn for this erasure alone, and thrown away when
/// no row of the person can come any more.
#[derive(Clone)]
pub struct ErasureRequest {
    /// The person, as the lake knows them.
    pub person: Pseudonym,
    /// A random pseudonym that nobody has.
    pub surrogate: Pseudonym,
    /// A random key for what is replaced by a keyed hash.
    pub key: [u8; 32],
    /// What is kept of earlier answers [`Erasure::Traced`].
    pub known: Traces,
    /// The last epoch of [`Erased`] since which nothing new was traced; 0 looks at everything.
    pub after_epoch: u64,
}

impl ErasureRequest {
    /// The first erasure of a person.
    pub const fn new(person: Pseudonym, surrogate: Pseudonym, key: [u8; 32]) -> Self {
        let known = Traces {
            installs: std::collections::BTreeSet::new(),
            ip_tags: std::collections::BTreeSet::new(),
        };
        ErasureRequest { person, surrogate, key, known, after_epoch: 0 }
    }
}

/// What was done to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasedFile {
    /// The file that is gone.
    pub before: String,
    /// The file that stands for it.
    pub after: String,
    /// Rows of both.
    pub rows: u64,
    /// Rows in which something was replaced.
    pub rows_changed: u64,
    /// The same by the place of the request for whom it was replaced.
    pub rows_changed_for: BTreeMap<usize, u64>,
    /// XXH3 over everything that was not replaced, in both.
    pub kept_checksum: String,
}

/// Rows of one person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PersonRows {
    /// Those that this erasure has found, and replaced.
    pub found: u64,
    /// Those among the files looked at that bore the surrogate already.
    pub replaced_before: u64,
}

/// The proof of an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// How many files were looked at.
    pub files_read: usize,
    /// Rows of each person, in the order of the requests.
    pub persons: Vec<PersonRows>,
    /// The files that were rewritten. The old ones are removed.
    pub files: Vec<ErasedFile>,
    /// The state of the lake since which the persons are gone.
    pub number: u64,
    /// The last epoch that is in it.
    pub epoch: u64,
}

/// The answer to an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// The persons were found with these installs and addresses, by the place of their request.
    /// Nothing is changed yet: keep them with what was known before, and ask again from epoch 0.
    Traced(BTreeMap<usize, Traces>),
    /// Done.
    Done(Erased),
}

/// A file rewritten, not yet put.
struct Rewritten {
    file: LakeFile,
    bytes: bytes::Bytes,
    changed: Changed,
    kept_checksum: String,
}

/// How many rows were changed, and for whom.
#[derive(Default)]
struct Changed {
    rows: u64,
    by_request: BTreeMap<usize, u64>,
}

impl Keeper {
    /// Erases persons from every file of the lake. What is not committed yet is committed first;
    /// events of them that come later need another erasure.
    pub fn erase(&mut self, requests: &[ErasureRequest]) -> Result<Erasure, LakeError> {
        self.commit()?;
        let files = self.files_after(requests.iter().map(|request| request.after_epoch).min());
        let mut claimed = Claimed::new(requests);
        for file in &files {
            for rows in part::decode(&file.path, self.checked(file)?)? {
                claimed.gather(&rows?);
            }
        }
        let traced = claimed.take_found();
        if !traced.is_empty() {
            return Ok(Erasure::Traced(traced));
        }
        let mut erased = Erased { files_read: files.len(), ..Erased::default() };
        erased.persons = claimed.rows.clone();
        self.rewrite_files(&files, &claimed, &mut erased)?;
        (erased.number, erased.epoch) = (self.manifest.number, self.manifest.epoch);
        Ok(Erasure::Done(erased))
    }

    fn files_after(&self, epoch: Option<u64>) -> Vec<LakeFile> {
        let after = epoch.unwrap_or(u64::MAX);
        let records = self.manifest.files.iter().filter(|file| file.table == Table::Records);
        records.filter(|file| file.last_epoch > after || after == 0).cloned().collect()
    }

    fn rewrite_files(
        &mut self,
        files: &[LakeFile],
        claimed: &Claimed<'_>,
        erased: &mut Erased,
    ) -> Result<(), LakeError> {
        let mut fresh = Vec::new();
        for file in files {
            match self.rewrite_file(file, claimed) {
                Ok(None) => {}
                Ok(Some((done, written))) => {
                    erased.files.push(done);
                    fresh.push(written);
                }
                Err(error) => {
                    self.give_up(fresh);
                    return Err(error);
                }
            }
        }
        let gone: HashSet<String> = erased.files.iter().map(|file| file.before.clone()).collect();
        if !gone.is_empty() {
            self.replace(&gone, &fresh)?;
        }
        // Files that were merged away before may hold the persons as well. Where one could not be
        // removed, whoever asked must ask again.
        if !gone.is_empty() || claimed.looks_at_everything() {
            self.remove_replaced()?;
            self.remove_strays()?;
        }
        Ok(())
    }

    fn rewrite_file(
        &mut self,
        file: &LakeFile,
        claimed: &Claimed<'_>,
    ) -> Result<Option<(ErasedFile, LakeFile)>, LakeError> {
        let Some(rewritten) = self.rewrite(file, claimed)? else { return Ok(None) };
        let written = self.put_file(rewritten.file, &rewritten.bytes)?;
        let done = ErasedFile {
            before: file.path.clone(),
            after: written.path.clone(),
            rows: file.rows,
            rows_changed: rewritten.changed.rows,
            rows_changed_for: rewritten.changed.by_request,
            kept_checksum: rewritten.kept_checksum,
        };
        Ok(Some((done, written)))
    }

    fn rewrite(
        &self,
        file: &LakeFile,
        claimed: &Claimed<'_>,
    ) -> Result<Option<Rewritten>, LakeError> {
        let mut encoder: Option<Encoder> = None;
        let (mut kept_before, mut kept_after) = (Xxh3Default::new(), Xxh3Default::new());
        let mut changed = Changed::default();
        for rows in part::decode(&file.path, self.checked(file)?)? {
            let rows = rows?;
            let marks = Marks::of(&rows, claimed);
            marks.count(&mut changed);
            let replaced = marks.replace(&rows, claimed.requests)?;
            hash_kept(&mut kept_before, &marks.blank(&rows)?)?;
            hash_kept(&mut kept_after, &marks.blank(&replaced)?)?;
            let encoder = match &mut encoder {
                Some(encoder) => encoder,
                none => none.insert(Encoder::new(file.table, &replaced)?),
            };
            encoder.write(&replaced)?;
        }
        let Some(encoder) = encoder.filter(|_| changed.rows > 0) else { return Ok(None) };
        let (written, bytes) = encoder.finish(file.tenant, file.hour)?;
        let (before, after) = (kept_before.digest(), kept_after.digest());
        assert!(written.rows == file.rows && before == after, "only the persons' values change");
        let kept_checksum = format!("{after:016x}");
        Ok(Some(Rewritten { file: written, bytes, changed, kept_checksum }))
    }
}

fn hash_kept(hasher: &mut Xxh3Default, rows: &RecordBatch) -> Result<(), LakeError> {
    let types = rows.schema_ref().fields().iter().map(|f| SortField::new(f.data_type().clone()));
    let converter = RowConverter::new(types.collect())?;
    for row in &converter.convert_columns(rows.columns())? {
        hasher.update(row.data());
    }
    Ok(())
}
