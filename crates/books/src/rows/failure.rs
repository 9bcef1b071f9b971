//! What a failure of a database means to a caller.

use crate::error::{Error, ErrorKind};

impl From<sqlx::Error> for Error {
    fn from(cause: sqlx::Error) -> Self {
        let kind = kind_of(&cause);
        let message = match kind {
            ErrorKind::Damaged => format!("the books are damaged, run `reckon verify`: {cause}"),
            _ => format!("the books are not available: {cause}"),
        };
        Error::new(kind, message).caused_by(cause)
    }
}

/// Damage is what asking again cannot mend: tables that are not what was written, a broken constraint
/// (every one is checked before it can break), or a value that reads as nothing we write.
pub(crate) fn kind_of(cause: &sqlx::Error) -> ErrorKind {
    let is_damage = match cause {
        sqlx::Error::Database(said) => is_damage(&**said),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. } => true,
        _ => false,
    };
    if is_damage { ErrorKind::Damaged } else { ErrorKind::Unavailable }
}

#[cfg(feature = "postgres")]
fn is_damage(said: &dyn sqlx::error::DatabaseError) -> bool {
    crate::sqlite::is_damage(said) || crate::postgres::is_damage(said)
}

#[cfg(not(feature = "postgres"))]
fn is_damage(said: &dyn sqlx::error::DatabaseError) -> bool {
    crate::sqlite::is_damage(said)
}
