//! Why a pipeline stops. It never goes on past any of these, and the log goes on without it.

use std::io;

use reckon_count::FormatError;
use reckon_event::DecodeError;
use reckon_eventlog::ReadError;

/// A pipeline that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed.
    #[error("cannot {action}: {source}")]
    Disk {
        /// What was tried.
        action: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A record of the log is not one this build can count.
    #[error("record at {partition}/{offset}: {source}")]
    Record {
        /// Its partition.
        partition: u16,
        /// Its offset.
        offset: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A record stands in a partition its slot does not belong to.
    #[error("record at {partition}/{offset} belongs to another partition")]
    Misplaced {
        /// Its partition.
        partition: u16,
        /// Its offset.
        offset: u64,
    },
    /// The log no longer has what an epoch has read.
    #[error("epoch {number} has read {partition}/{to}, but the log ends at {end}")]
    Lost {
        /// The epoch.
        number: u64,
        /// The partition.
        partition: u16,
        /// The epoch's upper bound.
        to: u64,
        /// The log's end.
        end: u64,
    },
    /// A file of the pipeline is damaged.
    #[error("damage in {place}: {what}")]
    Damaged {
        /// The file.
        place: String,
        /// What was found.
        what: String,
    },
    /// A file of the pipeline was written by a later build.
    #[error("{place} has format version {version}, which is newer than this build")]
    Newer {
        /// The file.
        place: String,
        /// Its version.
        version: u16,
    },
    /// A counter of a higher generation has taken over.
    #[error("fenced: {by} has seen generation {generation}")]
    Fenced {
        /// Who knows of it.
        by: String,
        /// The higher generation.
        generation: u32,
    },
    /// A subscriber failed as often as it may.
    #[error("{name} failed {attempts} times at epoch {number}: {last}")]
    Subscriber {
        /// Its name.
        name: &'static str,
        /// The epoch.
        number: u64,
        /// How often it was tried.
        attempts: u32,
        /// What it said last.
        last: String,
    },
    /// A subscriber has lost epochs that the checkpoint no longer replays.
    #[error("{name} has {persisted}, but epochs up to {checkpoint} are behind the checkpoint")]
    Behind {
        /// Its name.
        name: &'static str,
        /// The last epoch it has.
        persisted: u64,
        /// The checkpoint's epoch.
        checkpoint: u64,
    },
    /// A subscriber has epochs that were never logged here.
    #[error("{name} has epoch {persisted}, but the journal ends at {logged}")]
    Ahead {
        /// Its name.
        name: &'static str,
        /// The last epoch it has.
        persisted: u64,
        /// The last logged epoch.
        logged: u64,
    },
    /// The log is split otherwise than when the checkpoint was written.
    #[error("the log has {now} partitions; the checkpoint was made with {then}")]
    Repartitioned {
        /// Partitions of the log.
        now: u16,
        /// Partitions of the checkpoint.
        then: u16,
    },
    /// It has stopped before, for the reason given.
    #[error("halted: {0}")]
    Halted(String),
}

impl Error {
    pub(crate) fn disk(action: impl Into<String>, source: io::Error) -> Self {
        Error::Disk { action: action.into(), source }
    }

    pub(crate) fn damaged(place: impl Into<String>, what: impl Into<String>) -> Self {
        Error::Damaged { place: place.into(), what: what.into() }
    }

    pub(crate) fn state(place: &std::path::Path, error: FormatError) -> Self {
        Error::damaged(place.display().to_string(), error.to_string())
    }
}
