//! What can go wrong between a log and a model.

use std::path::{Path, PathBuf};

/// Why a step of training ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line of a log is not what its format says.
    #[error("{}, line {line}, column {column}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1 on.
        line: u64,
        /// The column's name.
        column: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A file as a whole is not what it should be.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An option is out of its range.
    #[error("{option}: {problem}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The data does not suffice for what was asked.
    #[error("{0}")]
    Data(String),
    /// LightGBM would not go on.
    #[error("LightGBM: {0}")]
    Library(String),
    /// The caller's [`crate::Progress`] said so.
    #[error("stopped before it was done")]
    Stopped,
    /// A kept state cannot be taken up.
    #[error(transparent)]
    State(#[from] reckon_model::StateError),
}

impl TrainError {
    pub(crate) fn file(path: &Path) -> impl Fn(std::io::Error) -> TrainError + use<'_> {
        move |source| TrainError::File { path: path.to_owned(), source }
    }

    pub(crate) fn content(path: &Path, problem: impl Into<String>) -> TrainError {
        TrainError::Content { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn option(option: &'static str, problem: impl Into<String>) -> TrainError {
        TrainError::Option { option, problem: problem.into() }
    }
}
