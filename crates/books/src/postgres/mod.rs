//! The books in a PostgreSQL database: the engine of whoever runs several servers, or a database
//! already.
//!
//! Whatever writes is a serializable transaction: the database lets several run at once and takes one
//! back where no order of them would have left the same. That one is run again here, a few times beside
//! all others and then alone ([`session`]), so that who writes always comes to an end. A commit is
//! flushed to the disk before it is answered; a server that is told otherwise is refused ([`server`]).
//!
//! Work on many rows is one statement of arrays, because a statement's way to the server and back
//! costs more than its rows.
//!
//! URL, options, and what each failure leaves, are told in `docs/postgres.md`.
//!
//! A text of the database holds no zero byte. No name has one either, so who asks for such a name is
//! told that there is none ([`sought`]).

mod catalog;
mod entity;
mod failure;
mod key;
mod lease;
mod ledger;
mod load;
mod move_in;
mod period;
mod person;
mod profile;
mod replay;
mod server;
mod session;
mod tombstone;
mod verify;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reckon_event::name_key;
use sqlx::SqlSafeStr;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPool;

use crate::books::Books;
use crate::catalog::Snapshot;
use crate::error::Error;
use crate::rows::{NameKey, schema};
pub(crate) use failure::is_damage;
pub use move_in::MovedIn;
use server::Server;

/// How much of the server is taken, and how long it is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Connections at once; who finds all of them taken waits for one.
    pub connections_max: u32,
    /// How long a connection is waited for, a free one or a new one.
    pub acquire_timeout: Duration,
    /// How long a call may take, with all its statements and attempts; also the server's bound of one
    /// statement.
    pub call_timeout: Duration,
    /// The same for calls whose work grows with the catalog or a day: loading the catalog, freezing.
    pub bulk_timeout: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        PostgresOptions {
            connections_max: 8,
            acquire_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
            bulk_timeout: Duration::from_secs(600),
        }
    }
}

impl PostgresOptions {
    /// How long a connection may take to show that the server is still at its other end. Half of the
    /// wait for one, so that the other half is left to make a new one.
    fn patience(self) -> Duration {
        self.acquire_timeout / 2
    }
}

/// The books in a PostgreSQL database.
pub struct PostgresBooks {
    pool: PgPool,
    server: Server,
    options: PostgresOptions,
    name_key: NameKey,
    races_lost: AtomicU64,
}

impl fmt::Debug for PostgresBooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBooks").field("at", &self.server.address).finish_non_exhaustive()
    }
}

impl PostgresBooks {
    /// Opens the books at `url`, making or migrating them as needed; database and schema must be there.
    ///
    /// The URL is one of PostgreSQL, `postgres://user:password@host:port/database`, with parameters
    /// such as `sslmode` (`verify-full` where the way to the server is not trusted), `sslrootcert`,
    /// `sslcert`, `sslkey`, `application_name` and `options[search_path]` for a schema of its own.
    /// What it leaves out is taken from the variables of PostgreSQL's own programs (`PGPASSWORD`...).
    ///
    /// `Invalid` where the URL, the server or its settings will not do, `Unavailable` where the server
    /// is not there, `Damaged` where the database holds a newer build's books.
    pub async fn open(url: &str, options: PostgresOptions) -> Result<Self, Error> {
        Self::open_with(url, options, name_key).await
    }

    /// Opens the books with `name_key` in place of [`reckon_event::name_key`], so that two names can
    /// be made to collide.
    #[cfg(feature = "conformance")]
    pub async fn open_with_keys(
        url: &str,
        options: PostgresOptions,
        name_key: fn(&str) -> u64,
    ) -> Result<Self, Error> {
        Self::open_with(url, options, name_key).await
    }

    async fn open_with(
        url: &str,
        options: PostgresOptions,
        name_key: NameKey,
    ) -> Result<Self, Error> {
        let server = Server::parse(url)?;
        server.prepare(&migrator(), options).await?;
        let pool = session::pool(server.connect_options(options), options);
        Ok(PostgresBooks { pool, server, options, name_key, races_lost: AtomicU64::new(0) })
    }

    /// How often a transaction was taken back by the database for another's sake, and run again.
    pub fn races_lost(&self) -> u64 {
        self.races_lost.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Books for PostgresBooks {
    async fn load_catalog(&self) -> Result<Snapshot, Error> {
        load::snapshot(self).await
    }

    async fn close(&self) {
        // Who does not let go of a connection by then is cut off with the process.
        tokio::time::timeout(self.options.call_timeout, self.pool.close()).await.ok();
    }
}

/// The schema, step by step; a step that was released is never edited.
fn migrator() -> Migrator {
    let books = include_str!("../../migrations/postgres/0001_books.sql").into_sql_str();
    let ledger = include_str!("../../migrations/postgres/0002_ledger.sql").into_sql_str();
    let tombstones = include_str!("../../migrations/postgres/0003_tombstones.sql").into_sql_str();
    let persons = include_str!("../../migrations/postgres/0004_persons.sql").into_sql_str();
    let ads = include_str!("../../migrations/postgres/0005_ads.sql").into_sql_str();
    schema::migrator([
        (1, "books", books),
        (2, "ledger", ledger),
        (3, "tombstones", tombstones),
        (4, "persons", persons),
        (5, "ads", ads),
    ])
}

/// A name to look for. One with a zero byte is nobody's, and no text of the database: in its place
/// stands the empty name, which is nobody's either.
fn sought(name: &str) -> &str {
    if name.contains('\0') { "" } else { name }
}

/// Where a page begins. Names have no zero byte, so whatever is behind `a\0b` is behind `a`.
fn behind(name: &str) -> &str {
    name.split('\0').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_byte_is_no_part_of_a_name() {
        assert_eq!((sought("a"), sought("a\0b"), sought("\0")), ("a", "", ""));
        assert_eq!((behind("a"), behind("a\0b"), behind("\0")), ("a", "a", ""));
    }
}
