//! What SQLite's failures mean to a caller.

use std::path::Path;

use sqlx::migrate::MigrateError;

use crate::error::{Error, ErrorKind};

/// SQLite's primary result codes for a file that is not what was written: SQL that fits no schema of
/// ours (1), a malformed page (11), a broken constraint (19), no database at all (26).
const DAMAGE: [i32; 4] = [1, 11, 19, 26];

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

/// Damage is what asking again cannot mend: a file that is not what was written, a broken constraint
/// (every one is checked before it can break), or a value that reads as nothing we write.
fn kind_of(cause: &sqlx::Error) -> ErrorKind {
    match cause {
        sqlx::Error::Database(database) => {
            let extended = database.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(0);
            if DAMAGE.contains(&(extended & 0xff)) {
                ErrorKind::Damaged
            } else {
                ErrorKind::Unavailable
            }
        }
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. } => ErrorKind::Damaged,
        _ => ErrorKind::Unavailable,
    }
}

/// Says which file could not be opened.
pub(super) fn opening_failure(path: &Path) -> impl FnOnce(sqlx::Error) -> Error {
    move |cause| {
        let message = format!("cannot open the books at {}: {cause}", path.display());
        Error::new(kind_of(&cause), message).caused_by(cause)
    }
}

/// A schema this build does not know is not damage to mend but a newer build's books.
pub(super) fn migration_failure(cause: MigrateError) -> Error {
    match cause {
        MigrateError::VersionMissing(version) => Error::damaged(format!(
            "the books have schema version {version}, which this build does not know: use a newer build"
        ))
        .caused_by(cause),
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => cause.into(),
        other => {
            Error::damaged(format!("the books cannot be migrated: {other}")).caused_by(other)
        }
    }
}
