//! What goes wrong, in three lives: a bad question, an epoch that may not go in, a broken store.

use std::io;

/// The part of a question an error is about, by the name clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `from`
    From,
    /// `to`
    To,
    /// `granularity`
    Granularity,
    /// `window`
    Window,
    /// `step`
    Step,
    /// `group_by`
    GroupBy,
    /// `order_by`
    OrderBy,
    /// `limit`
    Limit,
    /// `seconds`
    Seconds,
}

impl Field {
    /// The name clients use.
    pub const fn name(self) -> &'static str {
        match self {
            Field::From => "from",
            Field::To => "to",
            Field::Granularity => "granularity",
            Field::Window => "window",
            Field::Step => "step",
            Field::GroupBy => "group_by",
            Field::OrderBy => "order_by",
            Field::Limit => "limit",
            Field::Seconds => "seconds",
        }
    }
}

/// Why an epoch was not taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A counter with a higher generation has handed over an epoch.
    #[error("fenced: generation {0} has taken over")]
    Fenced(u32),
    /// It does not follow the last one.
    #[error("epoch {got} was handed over where {expected} follows")]
    Gap {
        /// The only number that would be new.
        expected: u64,
        /// The number handed over.
        got: u64,
    },
    /// It belongs to another stage or slot group than the epochs before it.
    #[error("the store holds stage {stage} of slot group {group}, and nothing else")]
    OtherLine {
        /// The stage that is held.
        stage: u8,
        /// The group that is held.
        group: u16,
    },
}

/// How a store is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenKind {
    /// Reading or writing failed.
    Io,
    /// There is no space left.
    Full,
    /// Bytes are not what was written.
    Damaged,
    /// An earlier failure left the outcome open: open the store anew.
    Poisoned,
    /// The files were written under another declaration of cubes, or by a later build.
    Mismatch,
}

/// Why a call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The question cannot be answered; `fix` says what to ask instead.
    #[error("`{}`: {fix}", field.name())]
    Question {
        /// What is wrong.
        field: Field,
        /// What to do about it.
        fix: String,
    },
    /// The epoch was not taken.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store is broken.
    #[error("rollup store is broken ({kind:?}) at {place}: {source}")]
    Broken {
        /// How.
        kind: BrokenKind,
        /// Where: a file, or a part of the store.
        place: String,
        /// What was found.
        source: io::Error,
    },
}

impl Error {
    /// A question that cannot be answered.
    pub fn question(field: Field, fix: impl Into<String>) -> Self {
        Error::Question { field, fix: fix.into() }
    }

    /// A failed operation on a file.
    pub fn io(place: &impl ToString, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BrokenKind::Full,
            _ => BrokenKind::Io,
        };
        Error::Broken { kind, place: place.to_string(), source }
    }

    /// Bytes that are not what was written.
    pub fn damaged(place: &impl ToString, what: impl Into<String>) -> Self {
        Self::broken(BrokenKind::Damaged, place, what)
    }

    /// A broken store of any kind.
    pub fn broken(kind: BrokenKind, place: &impl ToString, what: impl Into<String>) -> Self {
        Error::Broken { kind, place: place.to_string(), source: io::Error::other(what.into()) }
    }
}
