//! Why bytes are not taken for a bundle, or a file not for a model: always what is wrong, and where.

use crate::Foreign;

/// A bundle that is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Reading or writing failed.
    #[error("the bundle cannot be read or written: {0}")]
    File(#[from] std::io::Error),
    /// More than a bundle may hold.
    #[error("{what} is {found}; a bundle holds at most {max}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How large it is.
        found: u64,
        /// How large it may be.
        max: u64,
    },
    /// Something else.
    #[error("this is not a bundle: {0}")]
    Foreign(Foreign),
    /// The bytes end early.
    #[error("the bundle is truncated at byte {found}: it announces {announced} bytes")]
    Truncated {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        announced: u64,
    },
    /// The bytes go on behind the end.
    #[error("the bundle ends at byte {announced}, but {found} bytes are there")]
    Trailing {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        announced: u64,
    },
    /// Another build wrote them.
    #[error("version {0} of the bundle format is not known to this build, which reads version 1")]
    Version(u32),
    /// A checksum does not match.
    #[error("the bundle is damaged: {what} does not match its checksum (bytes {from} to {to})")]
    Damaged {
        /// The part of the bundle.
        what: String,
        /// The first byte of what the checksum covers.
        from: u64,
        /// The byte behind the last of what it covers.
        to: u64,
    },
    /// The layout cannot be.
    #[error("the bundle's layout is broken: {0}")]
    Layout(String),
    /// A section's content cannot be.
    #[error("section {section} of the bundle: {reason}")]
    Section {
        /// Its name.
        section: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model is sound and gives other numbers than when it was bundled.
    #[error(
        "golden row {row} is not reproduced: stage {stage} gives {what} {found}, and {expected} was \
         written (tolerance {tolerance}): this build scores this model differently, so it is refused"
    )]
    Golden {
        /// Which row.
        row: usize,
        /// Which stage.
        stage: usize,
        /// The logit or the probability.
        what: &'static str,
        /// What this build computes.
        found: f64,
        /// What was written.
        expected: f64,
        /// What they may differ by.
        tolerance: f64,
    },
    /// The parts do not belong together.
    #[error("{field}: {reason}")]
    Field {
        /// The field of the manifest or the contents.
        field: String,
        /// What is wrong with it, and what it must be.
        reason: String,
    },
}

impl BundleError {
    pub(crate) fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        BundleError::Field { field: field.into(), reason: reason.into() }
    }

    pub(crate) fn section(section: &str, reason: impl std::fmt::Display) -> Self {
        BundleError::Section { section: section.to_owned(), reason: reason.to_string() }
    }
}

/// A model of others that cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not what it was taken for.
    #[error("{0}")]
    Foreign(Foreign),
    /// The ONNX file says or needs what is not taken.
    #[error("the ONNX model is refused: {0}")]
    Onnx(String),
    /// What came out is no sound bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl ImportError {
    pub(crate) fn onnx(reason: impl Into<String>) -> Self {
        ImportError::Onnx(reason.into())
    }
}
