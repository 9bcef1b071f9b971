//! The books in one SQLite file: the embedded engine.
//!
//! One connection writes, in `BEGIN IMMEDIATE` transactions, so what a transaction decides on cannot
//! change under it, and transactions are serializable also between processes. Readers have
//! connections of their own and see the last commit (WAL). A commit is synced before it is
//! answered (`synchronous = FULL`): a lease given out twice would mint ids twice.
//!
//! Work on many rows is one statement for some hundred rows, because a statement's way to the
//! database thread and back costs more than its rows.

mod catalog;
mod entity;
mod failure;
mod key;
mod lease;
mod ledger;
#[cfg(test)]
mod ledger_tests;
mod load;
mod period;
mod person;
mod profile;
mod replay;
#[cfg(test)]
mod tests;
mod tombstone;
mod verify;
mod verify_ledger;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use reckon_event::name_key;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{SqlSafeStr, Sqlite, Transaction};

use crate::books::Books;
use crate::catalog::Snapshot;
use crate::error::Error;
use crate::rows::NameKey;
use crate::rows::schema::{self, migration_failure};
pub(crate) use failure::is_damage;
use failure::opening_failure;

/// How long a writer waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request waits for a connection; longer than [`BUSY_TIMEOUT`], so that who waits
/// behind a waiting writer learns what that one waits for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that only read.
const READERS: u32 = 4;

/// Pages the writer keeps in memory: those that a full batch of ads in a large catalog touches, so that
/// none is written twice (negative: KiB).
const WRITER_CACHE: &str = "-65536";

/// Rows a connection's thread may read ahead of who takes them.
const ROWS_AHEAD: usize = 1_024;

/// The books in one SQLite file.
#[derive(Debug)]
pub struct SqliteBooks {
    writer: SqlitePool,
    readers: SqlitePool,
    name_key: NameKey,
}

impl SqliteBooks {
    /// Opens the books at `path`, making or migrating them as needed; the folder must be there.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, name_key).await
    }

    /// Opens the books with `name_key` in place of [`reckon_event::name_key`], so that two names can be made to collide.
    #[cfg(feature = "conformance")]
    pub async fn open_with_keys(path: &Path, name_key: fn(&str) -> u64) -> Result<Self, Error> {
        Self::open_with(path, name_key).await
    }

    pub(crate) async fn open_with(path: &Path, name_key: NameKey) -> Result<Self, Error> {
        let options = connect_options(path).create_if_missing(true);
        // What is overwritten must be gone from the file: the secrets of an erasure, above all.
        let writing = options
            .clone()
            .pragma("cache_size", WRITER_CACHE)
            .pragma("temp_store", "memory")
            .pragma("secure_delete", "on");
        let writer = pool(1).connect_with(writing).await.map_err(opening_failure(path))?;
        migrator().run(&writer).await.map_err(migration_failure)?;
        let readers = pool(READERS)
            .connect_with(options.create_if_missing(false).pragma("query_only", "on"))
            .await
            .map_err(opening_failure(path))?;
        Ok(SqliteBooks { writer, readers, name_key })
    }

    /// A transaction in which nothing that was read can change before it commits.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

#[async_trait]
impl Books for SqliteBooks {
    async fn load_catalog(&self) -> Result<Snapshot, Error> {
        load::snapshot(self).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .row_buffer_size(ROWS_AHEAD)
}

fn pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// The schema, step by step; a step that was released is never edited.
fn migrator() -> Migrator {
    let books = include_str!("../../migrations/sqlite/0001_books.sql").into_sql_str();
    let ledger = include_str!("../../migrations/sqlite/0002_ledger.sql").into_sql_str();
    let tombstones = include_str!("../../migrations/sqlite/0003_tombstones.sql").into_sql_str();
    let persons = include_str!("../../migrations/sqlite/0004_persons.sql").into_sql_str();
    let ads = include_str!("../../migrations/sqlite/0005_ads.sql").into_sql_str();
    schema::migrator([
        (1, "books", books),
        (2, "ledger", ledger),
        (3, "tombstones", tombstones),
        (4, "persons", persons),
        (5, "ads", ads),
    ])
}
