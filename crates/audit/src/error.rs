//! What goes wrong with an audit.

use datafusion::error::DataFusionError;
use reckon_lake::LakeError;

/// An audit that could not be done. Differences are no error: they are what an audit is for.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no lake where one was to be read.
    #[error("there is no lake here: nothing has been written yet")]
    NoLake,
    /// The lake does not reach as far as asked.
    #[error("the lake ends with epoch {has}; ask for a cut up to it instead of {asked}")]
    NotCovered {
        /// The last epoch in the lake.
        has: u64,
        /// The cut that was asked for.
        asked: u64,
    },
    /// The question is not one this takes.
    #[error("{0}")]
    Question(String),
    /// A file of the lake cannot be read, or a query failed.
    #[error("{0}")]
    Query(Box<DataFusionError>),
    /// The lake's manifest cannot be read.
    #[error("{0}")]
    Lake(#[from] LakeError),
    /// The figures of the rollup cannot be read.
    #[error("{0}")]
    Rollup(#[from] reckon_rollup::Error),
}

impl From<DataFusionError> for AuditError {
    fn from(error: DataFusionError) -> Self {
        AuditError::Query(Box::new(error))
    }
}

impl From<arrow::error::ArrowError> for AuditError {
    fn from(error: arrow::error::ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}
