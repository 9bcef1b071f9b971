//! How work is done on a connection: within a bound of time, and where it writes, in transactions that
//! leave what some order of them would have left.
//!
//! ```text
//!   beside others:  BEGIN SERIALIZABLE, turns locked shared --- work --- COMMIT --> answer
//!                        ^                                       |
//!                        +------ taken back (40001, 40P01) ------+   up to 4 times, then
//!   alone:          BEGIN SERIALIZABLE, turns locked for itself --- work --- COMMIT --> answer
//!                        ^                                            |
//!                        +-------- taken back, at most 7 times -------+
//! ```
//!
//! The lock comes before the transaction sees anything (a `LOCK` takes no snapshot), so who has it alone
//! sees all that the others left, and meets nobody: but for one moment. PostgreSQL lets go of a
//! transaction's locks just before it notes for others that the transaction is over, so the next holder
//! may still find the one before beside itself, and be taken back for it. It then begins again. Nothing has
//! to be waited for between attempts: the database takes a transaction back only where another has come
//! through.
//!
//! Reading is serializable as well: who is told that a day is closed, and then sees none of its charges,
//! is never shown one later that was under way at the time. So a reader may be taken back like a writer,
//! and reads again.
//!
//! A session that is given up half-way, because its time is over or its caller is gone, is closed: the
//! server then takes back whatever was open. One that went well is held against the server before it is
//! kept, and again before it is used: a server that is gone without a word costs it its place, and who
//! comes next a part of its wait, but no call.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Postgres};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::failure::is_lost_race;
use super::{PostgresBooks, PostgresOptions};
use crate::error::Error;

const BESIDE_OTHERS: &str =
    "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE turns IN ROW SHARE MODE";

const ALONE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE turns IN EXCLUSIVE MODE";

/// One moment of everything, for reading in pages.
const ONE_MOMENT: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY";

/// A statement that is its own order, because all it changes is one row.
const ONE_ROW: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// How a writer begins, attempt by attempt: four times beside others, eight times alone. Whoever is alone
/// meets at most the end of the transaction before, and that many times in a row nobody does.
const WRITINGS: &[Option<&str>] =
    [[Some(BESIDE_OTHERS); 4], [Some(ALONE); 4], [Some(ALONE); 4]].as_flattened();

/// How a reader begins: each statement is a transaction of its own.
const READINGS: [Option<&str>; 5] = [None; 5];

/// How a reader begins that wants one moment.
const MOMENTS: [Option<&str>; 5] = [Some(ONE_MOMENT); 5];

/// Work under way on a session. Boxed, because the compiler cannot yet see of a closure's future that
/// it may move between threads.
pub(super) type Working<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// The connections of the books, made as they are needed. They are tested where they are taken: the
/// pool's own test waits without a bound, and so does its way of throwing one away.
pub(super) fn pool(connect: PgConnectOptions, options: PostgresOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(options.connections_max)
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .connect_lazy_with(connect)
}

/// A connection at work. `'a` is what the work borrows, which lives longer than any use of the session.
pub(super) struct Session<'a> {
    connection: PoolConnection<Postgres>,
    patience: Duration,
    is_settled: bool,
    borrowed: PhantomData<&'a ()>,
}

impl Session<'_> {
    /// Commits what was answered and takes back what failed.
    async fn end<T>(mut self, done: Result<T, Error>) -> Result<T, Error> {
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = sqlx::raw_sql(end).execute(&mut *self).await;
        // A commit that was refused left nothing; what else broke it, broke the connection.
        self.is_settled = !matches!(ended, Err(ref cause) if cause.as_database_error().is_none());
        match (done, ended) {
            (Ok(_), Err(cause)) => Err(cause.into()),
            (done, _) => done,
        }
    }
}

impl Deref for Session<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Session<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.connection.close_on_drop();
        } else if let Ok(runtime) = Handle::try_current() {
            // Left to itself it would wait for as long as the operating system does, in a place that
            // another could have.
            runtime.spawn(timeout(self.patience, self.connection.return_to_pool()));
        }
    }
}

impl PostgresBooks {
    /// Reads by one statement, or by several that need not be of one moment. It may be done several
    /// times.
    pub(super) async fn read<'a, T>(
        &self,
        work: impl for<'c> Fn(&'c mut Session<'a>) -> Working<'c, T>,
    ) -> Result<T, Error> {
        self.server.within(self.options.call_timeout, self.attempts(&READINGS, work)).await
    }

    /// Reads in as many statements as needed, all of one moment.
    pub(super) async fn read_all<'a, T>(
        &self,
        work: impl for<'c> Fn(&'c mut Session<'a>) -> Working<'c, T>,
    ) -> Result<T, Error> {
        self.server.within(self.options.bulk_timeout, self.attempts(&MOMENTS, work)).await
    }

    /// Changes one row by one statement, which waits for whoever is changing it.
    pub(super) async fn change_row<'a, T>(
        &self,
        work: impl for<'c> Fn(&'c mut Session<'a>) -> Working<'c, T>,
    ) -> Result<T, Error> {
        self.server.within(self.options.call_timeout, self.attempts(&[Some(ONE_ROW)], work)).await
    }

    /// Writes in one transaction, which may be run several times: `work` leaves nothing but rows.
    pub(super) async fn write<'a, T>(
        &self,
        work: impl for<'c> Fn(&'c mut Session<'a>) -> Working<'c, T>,
    ) -> Result<T, Error> {
        self.server.within(self.options.call_timeout, self.attempts(WRITINGS, work)).await
    }

    /// Writes as [`PostgresBooks::write`] does, with the time that very many rows need.
    pub(super) async fn write_many<'a, T>(
        &self,
        work: impl for<'c> Fn(&'c mut Session<'a>) -> Working<'c, T>,
    ) -> Result<T, Error> {
        self.server.within(self.options.bulk_timeout, self.attempts(WRITINGS, work)).await
    }

    /// Does the work until it is not taken back, at most once for each beginning.
    async fn attempts<'a, T>(
        &self,
        beginnings: &[Option<&'static str>],
        work: impl for<'c> Fn(&'c mut Session<'a>) -> Working<'c, T>,
    ) -> Result<T, Error> {
        let mut beginnings = beginnings.iter().peekable();
        while let Some(beginning) = beginnings.next() {
            let done = self.attempt(*beginning, &work).await;
            match done {
                Err(error) if is_lost_race(&error) && beginnings.peek().is_some() => {
                    self.races_lost.fetch_add(1, Ordering::Relaxed);
                }
                done => return done,
            }
        }
        unreachable!("the last attempt is answered, however it ends")
    }

    async fn attempt<'a, T>(
        &self,
        beginning: Option<&'static str>,
        work: impl for<'c> Fn(&'c mut Session<'a>) -> Working<'c, T>,
    ) -> Result<T, Error> {
        let mut session = self.session().await?;
        let Some(beginning) = beginning else {
            let done = work(&mut session).await;
            session.is_settled = true;
            return done;
        };
        sqlx::raw_sql(beginning).execute(&mut *session).await?;
        let done = work(&mut session).await;
        session.end(done).await
    }

    async fn session<'a>(&self) -> Result<Session<'a>, Error> {
        let connected = timeout(self.options.acquire_timeout, self.connection()).await;
        let connection = connected.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        let patience = self.options.patience();
        Ok(Session { connection, patience, is_settled: false, borrowed: PhantomData })
    }

    /// A connection whose other end answers. Where one does not, those that lie idle are of the same
    /// age or older: all of them are let go of, so that the next one is new.
    async fn connection(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        loop {
            let mut connection = self.pool.acquire().await?;
            if let Ok(Ok(())) = timeout(self.options.patience(), connection.ping()).await {
                return Ok(connection);
            }
            drop(connection.detach());
            while let Some(idle) = self.pool.try_acquire() {
                drop(idle.detach());
            }
        }
    }
}
