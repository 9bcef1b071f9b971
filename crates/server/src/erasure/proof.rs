//! What is proved of an erasure, and kept with the tombstone.

use reckon_event::Timestamp;
use reckon_lake::{Erased, ErasedFile, PersonRows};
use serde::{Deserialize, Serialize};

/// The most files that a proof tells one by one; all of them are counted.
const FILES_TOLD_MAX: usize = 10_000;

/// The proof of an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When the lake was rid of the person first, RFC 3339.
    pub erased_at: String,
    /// Rows of the person, all of which bear a surrogate now.
    pub rows: u64,
    /// Files of the lake that were looked at.
    pub files_read: u64,
    /// Files that were rewritten.
    pub files_rewritten: u64,
    /// Which; the first 10,000.
    pub files: Vec<ProvedFile>,
    /// The state of the lake since which the person is gone.
    pub lake_state: u64,
    /// What was done since, for events that came late.
    pub repeats: Repeats,
    /// Until where the log may still have records of the person.
    pub log: Vec<Span>,
}

/// One rewritten file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvedFile {
    /// The file that is gone.
    pub before: String,
    /// The file that stands for it.
    pub after: String,
    /// Rows of both.
    pub rows: u64,
    /// Rows in which something of the person was replaced.
    pub rows_changed: u64,
    /// XXH3 over everything that was not replaced, equal in both.
    pub kept_checksum: String,
}

/// Later erasures of the same person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    /// How many.
    pub count: u64,
    /// Rows of the person that they found.
    pub rows: u64,
    /// Files that they rewrote.
    pub files_rewritten: u64,
    /// When the last one was, RFC 3339; empty before.
    pub last_at: String,
    /// The state of the lake since then.
    pub lake_state: u64,
}

/// A stretch of the log's beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Partition of the log.
    pub partition: u16,
    /// The offset behind it.
    pub to: u64,
}

impl Proof {
    /// With one more erasure, that found `rows` of the person at the place `at` of its requests. One
    /// that looked at everything counts every row, also those that a crash had left uncounted.
    pub fn note(
        before: Option<Proof>,
        erased: &Erased,
        at: usize,
        is_whole: bool,
        now: Timestamp,
    ) -> Proof {
        let PersonRows { found, replaced_before } = erased.persons[at];
        let files = erased.files.iter().filter_map(|file| ProvedFile::of(file, at));
        let Some(mut proof) = before else {
            let all: Vec<ProvedFile> = files.collect();
            return Proof {
                erased_at: now.to_string(),
                rows: found + replaced_before,
                files_read: erased.files_read as u64,
                files_rewritten: all.len() as u64,
                files: all.into_iter().take(FILES_TOLD_MAX).collect(),
                lake_state: erased.number,
                ..Proof::default()
            };
        };
        proof.rows = if is_whole { found + replaced_before } else { proof.rows + found };
        let repeats = &mut proof.repeats;
        repeats.count += 1;
        repeats.rows += found;
        repeats.files_rewritten += files.count() as u64;
        repeats.last_at = now.to_string();
        repeats.lake_state = erased.number;
        proof
    }
}

impl ProvedFile {
    fn of(file: &ErasedFile, at: usize) -> Option<Self> {
        Some(ProvedFile {
            before: file.before.clone(),
            after: file.after.clone(),
            rows: file.rows,
            rows_changed: *file.rows_changed_for.get(&at)?,
            kept_checksum: file.kept_checksum.clone(),
        })
    }
}
