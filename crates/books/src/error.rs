//! Why the books did not do what they were asked, as a kind a caller can act upon and a message a
//! person can act upon.

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is nothing of that id.
    NotFound,
    /// The id is taken by something that differs.
    Conflict,
    /// The 64-bit key of the name is taken by another name: choose another name.
    Collision,
    /// A value is not acceptable; the message says what would be.
    Invalid {
        /// The field as the API spells it.
        field: &'static str,
    },
    /// The engine cannot be reached, is busy or out of space. Asking again is safe.
    Unavailable,
    /// What is stored cannot be what was written. Asking again will not help; `reckon verify` will.
    Damaged,
}

/// A refusal or a failure.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What a caller can do about it.
    pub kind: ErrorKind,
    /// What a person can do about it.
    pub message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        Self::new(ErrorKind::NotFound, format!("there is no {what} `{id}`"))
    }

    pub(crate) fn conflict(message: String) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    pub(crate) fn collision(field: &str, asked: &str, holder: &str) -> Self {
        let message = format!(
            "{field} `{asked}` has the same 64-bit key as `{holder}`, which is registered: choose another {field}"
        );
        Self::new(ErrorKind::Collision, message)
    }

    pub(crate) fn invalid(field: &'static str, problem: &str) -> Self {
        Self::new(ErrorKind::Invalid { field }, format!("{field} {problem}"))
    }

    pub(crate) fn damaged(message: String) -> Self {
        Self::new(ErrorKind::Damaged, message)
    }

    pub(crate) fn new(kind: ErrorKind, message: String) -> Self {
        Error { kind, message, source: None }
    }

    pub(crate) fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }
}
