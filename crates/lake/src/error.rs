//! What goes wrong with a lake.

use reckon_event::SubscriberError;

/// A lake that could not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The store of the objects failed.
    #[error("the lake's store failed: {0}")]
    Store(#[from] object_store::Error),
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
    pub(crate) fn parquet(path: &str) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        move |source| LakeError::Parquet { path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &str, what: impl Into<String>) -> Self {
        LakeError::Damaged { path: path.to_owned(), what: what.into() }
    }
}
