//! What goes wrong with a lake.

use reckon_event::SubscriberError;

/// A lake that could not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The store of the objects failed.
    #[error("the lake's store failed: {0}")]
    Store(#[from] object_store::Error),
    /// A store behind a network failed, as often as it was asked.
    #[error("the lake at {address} failed: {fix}: {source}")]
    Remote {
        /// Where it is.
        address: String,
        /// What may help.
        fix: &'static str,
        /// Why.
        source: object_store::Error,
    },
    /// A store behind a network did not answer in time. What was asked of it may be done all the same.
    #[error(
        "the lake at {address} did not answer within {deadline:?}: check that it can be reached"
    )]
    Deadline {
        /// Where it is.
        address: String,
        /// How long was waited.
        deadline: std::time::Duration,
    },
    /// A store that makes an object where there is one.
    #[error(
        "{address} made an object twice that was to be made once: its server does not know \
         `If-None-Match: *`, and cannot hold a lake that only one may write; use one that does"
    )]
    Replaces {
        /// Where it is.
        address: String,
    },
    /// A store that keeps older versions of what is removed.
    #[error(
        "{address} keeps versions of removed objects, so that an erased person would stay there: \
         suspend versioning, or have a lifecycle rule remove older versions and say so in the options"
    )]
    KeepsVersions {
        /// Where it is.
        address: String,
    },
    /// An option of a place that cannot be.
    #[error("{name}: {what}")]
    Setting {
        /// Which.
        name: String,
        /// What is wrong with it, and what it must be.
        what: String,
    },
    /// A file or folder could not be synced or read.
    #[error("{path}: {source}")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Parquet could not be written or read.
    #[error("{path}: {source}")]
    Parquet {
        /// Which object.
        path: String,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// Columns that do not fit together.
    #[error("columns of the lake do not fit: {0}")]
    Columns(#[from] arrow::error::ArrowError),
    /// An object that holds what no build writes.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// Which object.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A counter with a higher generation has taken over.
    #[error("fenced: generation {0} has taken over")]
    Fenced(u32),
    /// Another writer has opened this lake after this one.
    #[error("another writer ({0}) has opened this lake: only one may write")]
    Taken(u64),
    /// An epoch that does not follow the last.
    #[error("epoch {got} does not follow: {expected} is next")]
    Gap {
        /// The one that would follow.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// An epoch of another line: one lake takes one stage of one slot group.
    #[error("this lake takes epochs of stage {stage}, group {group} only")]
    OtherLine {
        /// The lake's stage.
        stage: u8,
        /// The lake's slot group.
        group: u16,
    },
    /// The lake's own thread is gone.
    #[error("the lake is closed")]
    Closed,
    /// A change that was thought to have failed was found done, and has changed the same files.
    #[error("an earlier change whose answer was lost was found done: ask again")]
    Overtaken,
}

impl From<LakeError> for SubscriberError {
    fn from(error: LakeError) -> Self {
        match error {
            LakeError::Fenced(generation) => SubscriberError::Fenced(generation),
            error => SubscriberError::Failed(Box::new(error)),
        }
    }
}

impl LakeError {
    /// True where an object is not there.
    pub(crate) const fn is_missing(&self) -> bool {
        use object_store::Error::NotFound;
        matches!(
            self,
            LakeError::Store(NotFound { .. }) | LakeError::Remote { source: NotFound { .. }, .. }
        )
    }

    pub(crate) fn parquet(path: &str) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        move |source| LakeError::Parquet { path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &str, what: impl Into<String>) -> Self {
        LakeError::Damaged { path: path.to_owned(), what: what.into() }
    }
}
