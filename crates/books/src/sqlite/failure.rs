//! What SQLite's failures mean to a caller.

use std::path::Path;

use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteError;

use crate::error::Error;
use crate::rows::kind_of;

/// SQLite's primary result codes for a file that is not what was written: SQL that fits no schema of
/// ours (1), a malformed page (11), a broken constraint (19), no database at all (26).
const DAMAGE: [i32; 4] = [1, 11, 19, 26];

/// Whether SQLite says that a file is not what was written.
pub(crate) fn is_damage(said: &dyn DatabaseError) -> bool {
    let Some(said) = said.try_downcast_ref::<SqliteError>() else { return false };
    let extended = said.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(0);
    DAMAGE.contains(&(extended & 0xff))
}

/// Says which file could not be opened.
pub(super) fn opening_failure(path: &Path) -> impl FnOnce(sqlx::Error) -> Error {
    move |cause| {
        let message = format!("cannot open the books at {}: {cause}", path.display());
        Error::new(kind_of(&cause), message).caused_by(cause)
    }
}
