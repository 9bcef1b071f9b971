//! What PostgreSQL's failures mean: to a caller, to whoever runs the server, and to a transaction that
//! may be run again.

use std::error::Error as _;
use std::io::ErrorKind;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use crate::error::Error;

/// Classes of codes for what asking again cannot mend: a value out of range (22), a broken constraint
/// (23), SQL that fits no schema of ours (42), damaged files (XX).
const DAMAGE: [&str; 4] = ["22", "23", "42", "XX"];

/// A right that is missing is no damage.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Two transactions met: no order of both would have left the same, they wait for each other, or both
/// took one key that neither had seen.
const LOST_RACES: [&str; 3] = ["40001", "40P01", "23505"];

/// Whether PostgreSQL says that the tables are not what was written.
pub(crate) fn is_damage(said: &dyn DatabaseError) -> bool {
    let Some(said) = said.try_downcast_ref::<PgDatabaseError>() else { return false };
    let code = said.code();
    code != INSUFFICIENT_PRIVILEGE && DAMAGE.iter().any(|class| code.starts_with(class))
}

/// Whether a transaction failed only because of another, so that it may be run again. Every key is
/// looked for before it is taken, so a key that was taken all the same was taken at the same time.
pub(super) fn is_lost_race(error: &Error) -> bool {
    cause_of(error).and_then(code_of).is_some_and(|code| LOST_RACES.contains(&code))
}

/// What the database said that led to an error, if it was the database.
pub(super) fn cause_of(error: &Error) -> Option<&sqlx::Error> {
    error.source()?.downcast_ref()
}

fn code_of(cause: &sqlx::Error) -> Option<&str> {
    let said = cause.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    Some(said.code())
}

/// What a person can do about a failure.
pub(super) fn fix_of(cause: &sqlx::Error) -> &'static str {
    match cause {
        sqlx::Error::Tls(_) => "see that sslmode and sslrootcert of books.url fit the server",
        // A certificate that will not do comes as a handshake that could not be read.
        sqlx::Error::Io(cause) if cause.kind() == ErrorKind::InvalidData => {
            "see that sslmode and sslrootcert of books.url fit the server"
        }
        sqlx::Error::Io(_) => "see that the server runs and that books.url names it",
        sqlx::Error::PoolTimedOut => {
            "the server does not answer, or all connections are taken: see that it runs"
        }
        sqlx::Error::PoolClosed => "the books are closed",
        _ => code_of(cause).map_or("asking again is safe", fix_of_code),
    }
}

fn fix_of_code(code: &str) -> &'static str {
    match code {
        "28P01" | "28000" => "see that user and password of books.url are right",
        "3D000" => "create the database that books.url names",
        "3F000" => "create the schema that the search path names",
        "25006" => "this server only reads: name the primary in books.url",
        "53300" => "the server takes no more connections: raise its max_connections",
        "53100" => "the server's disk is full: make room",
        "57014" => {
            "a statement took longer than the bound of a call: see what the server waits for"
        }
        "57P03" => "the server is starting or stopping: ask again",
        INSUFFICIENT_PRIVILEGE => {
            "give the user of books.url all rights on the schema of the books"
        }
        _ => "asking again is safe",
    }
}
