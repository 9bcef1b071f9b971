//! The way to the server: requests with a deadline, sent again where that changes nothing.
//!
//! The store is called from any thread, the client is asynchronous: a runtime of one thread does the
//! requests, and callers wait for its answer. A request that changes something is sent once unless it
//! may be there twice; whatever else fails is told to the caller, who knows what to do about it.

use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use clickhouse::error::Error as Failure;
use clickhouse::{Client, RowOwned, RowRead, RowWrite};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::options::Options;
use crate::{BrokenKind, Error};

/// Servers from this version on tell names and types with rows, and tell rows from an error.
const TELLS_TYPES_SINCE: u32 = 21;

/// Bytes a server sums in memory before it goes on on its disk.
const SPILL_BYTES: u64 = 1 << 30;

/// How long and how often requests are tried.
#[derive(Clone, Copy)]
struct Patience {
    deadline: Duration,
    attempts_max: u32,
    pause: Duration,
}

/// A database on a server.
pub(super) struct Server {
    /// With the database, for everything but making it.
    client: Client,
    handle: Handle,
    thread: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    patience: Patience,
    compact_deadline: Duration,
    /// For messages.
    place: String,
    version: String,
}

impl Server {
    /// Finds out what the server can do, and makes the database where it is missing.
    pub(super) fn connect(options: &Options) -> Result<Self, Error> {
        let (handle, thread) = start_runtime(options)?;
        let patience = Patience {
            deadline: options.deadline,
            attempts_max: options.attempts_max,
            pause: options.retry_pause,
        };
        let mut server = Server {
            client: client(options),
            handle,
            thread: Mutex::new(Some(thread)),
            patience,
            compact_deadline: options.compact_deadline,
            place: place(options),
            version: String::new(),
        };
        let version =
            server.read::<String>("asking for the version", "SELECT version()".to_owned());
        server.version = version?.pop().unwrap_or_default();
        let create = format!("CREATE DATABASE IF NOT EXISTS {}", options.database);
        server.repeat("making the database", create)?;
        let database = server.client.clone().with_database(&options.database);
        let major = server.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        server.client = if major.is_some_and(|major| major >= TELLS_TYPES_SINCE) {
            // Rows are handed over when this says so, whatever the user's profile says.
            database.with_validation(true).with_setting("async_insert", "0")
        } else {
            // An older one puts an error between the rows unless it is told to wait with them.
            database.with_setting("wait_end_of_query", "1")
        };
        Ok(server)
    }

    /// The version the server tells.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// For messages: the server's address and the database.
    pub(super) const fn place(&self) -> &String {
        &self.place
    }

    /// All rows of a question. It is sent again where it did not get through.
    pub(super) fn read<T>(&self, what: &'static str, statement: String) -> Result<Vec<T>, Error>
    where
        T: RowOwned + RowRead + Send + 'static,
    {
        let client = self.client.clone();
        self.try_often(what, move || {
            let query = client.query(&statement);
            query.fetch_all::<T>()
        })
    }

    /// Does what may be done twice.
    pub(super) fn repeat(&self, what: &'static str, statement: String) -> Result<(), Error> {
        let client = self.client.clone();
        self.try_often(what, move || client.query(&statement).execute())
    }

    /// Does once what may take long.
    pub(super) fn compact(&self, what: &'static str, statement: &str) -> Result<(), Error> {
        let deadline = self.compact_deadline;
        let client = self.client.clone();
        let client = client
            .with_setting("max_execution_time", deadline.as_secs().max(1).to_string())
            .with_setting("max_bytes_before_external_group_by", SPILL_BYTES.to_string());
        let query = client.query(statement);
        self.wait(what, deadline, query.execute())
    }

    /// Hands rows over, once.
    pub(super) fn insert<T>(
        &self,
        what: &'static str,
        table: &'static str,
        rows: impl Iterator<Item = T> + Send + 'static,
    ) -> Result<(), Error>
    where
        T: RowOwned + RowWrite + Send + Sync,
    {
        let client = self.client.clone();
        self.wait(what, self.patience.deadline, insert(client, table, rows))
    }

    /// Hands a row over that may be there twice.
    pub(super) fn insert_often<T>(
        &self,
        what: &'static str,
        table: &'static str,
        row: &T,
    ) -> Result<(), Error>
    where
        T: RowOwned + RowWrite + Clone + Send + Sync,
    {
        let (client, row) = (self.client.clone(), row.clone());
        self.try_often(what, move || insert(client.clone(), table, std::iter::once(row.clone())))
    }

    /// Sends a request again, after a pause, while it does not get through, up to the deadline.
    fn try_often<T, F>(
        &self,
        what: &'static str,
        send: impl Fn() -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let Patience { deadline, attempts_max, mut pause } = self.patience;
        self.wait(what, deadline, async move {
            let mut attempt = 1;
            loop {
                match send().await {
                    Err(failure) if attempt < attempts_max && is_passing(&failure) => {}
                    outcome => return outcome,
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
                attempt += 1;
            }
        })
    }

    /// Waits for the runtime to do it.
    fn wait<T: Send + 'static>(
        &self,
        what: &'static str,
        deadline: Duration,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = sync_channel(1);
        self.handle.spawn(async move {
            let outcome = tokio::time::timeout(deadline, work).await;
            // Whoever has asked is gone where this fails.
            let _ = tell.send(outcome.unwrap_or(Err(Failure::TimedOut)));
        });
        match told.recv() {
            Ok(outcome) => outcome.map_err(|failure| self.broken(what, &failure)),
            Err(_) => Err(Error::broken(BrokenKind::Poisoned, &self.place, "the store is closed")),
        }
    }

    /// Whatever waits is told that the store is closed, and so is whoever comes later.
    pub(super) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = thread {
            // The thread is gone already where either fails.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }

    fn broken(&self, what: &str, failure: &Failure) -> Error {
        let (kind, fix) = judge(failure);
        Error::broken(kind, &self.place, format!("{what}: {failure}: {fix}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

async fn insert<T>(
    client: Client,
    table: &str,
    rows: impl Iterator<Item = T>,
) -> Result<(), Failure>
where
    T: RowOwned + RowWrite,
{
    let mut insert = client.insert::<T>(table).await?;
    for row in rows {
        insert.write(&row).await?;
    }
    insert.end().await
}

fn client(options: &Options) -> Client {
    let seconds = options.deadline.as_secs().max(1);
    let mut client = Client::default()
        .with_url(&options.url)
        .with_validation(false)
        .with_setting("max_execution_time", seconds.to_string());
    if let Some(user) = &options.user {
        client = client.with_user(user);
    }
    if let Some(password) = &options.password {
        client = client.with_password(password);
    }
    client
}

/// Without what stands before the host: it may be a password.
fn place(options: &Options) -> String {
    let after_scheme = options.url.rsplit("://").next().unwrap_or_default();
    let host = after_scheme.rsplit('@').next().unwrap_or_default();
    format!("ClickHouse at {host}, database {}", options.database)
}

type Runtime = (Handle, (oneshot::Sender<()>, JoinHandle<()>));

fn start_runtime(options: &Options) -> Result<Runtime, Error> {
    let failed = |error| Error::io(&place(options), error);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let run = move || {
        // It ends when it is told to, or when nobody is left who could tell.
        let _ = runtime.block_on(stopped);
    };
    let thread = std::thread::Builder::new().name("rollup-clickhouse".to_owned()).spawn(run);
    Ok((handle, (stop, thread.map_err(failed)?)))
}

/// True where the server cannot have begun with it, or said that it is busy.
fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::Network(_) => true,
        Failure::BadResponse(text) => code(text) == Some(TOO_MANY_QUERIES),
        _ => false,
    }
}

const TOO_MANY_QUERIES: u32 = 202;
const NOT_ENOUGH_SPACE: u32 = 243;
/// Tables, columns, types or functions that the server does not know, or that are not as they were.
const UNKNOWN: [u32; 7] = [10, 16, 46, 47, 53, 60, 81];
/// Names, passwords and rights.
const DENIED: [u32; 4] = [192, 193, 497, 516];

/// The number of an exception.
fn code(text: &str) -> Option<u32> {
    let after = &text[text.find("Code: ")? + 6..];
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..digits].parse().ok()
}

fn judge(failure: &Failure) -> (BrokenKind, &'static str) {
    let code = match failure {
        Failure::BadResponse(text) => code(text),
        _ => None,
    };
    match (failure, code) {
        (_, Some(NOT_ENOUGH_SPACE)) => (BrokenKind::Full, "make room on the server's disk"),
        (_, Some(code)) if DENIED.contains(&code) => {
            (BrokenKind::Io, "give a user who may make, read and write this database")
        }
        (_, Some(code)) if UNKNOWN.contains(&code) => {
            (BrokenKind::Mismatch, "give a database that this engine has made, or an empty one")
        }
        (Failure::Network(_) | Failure::TimedOut, _) => {
            (BrokenKind::Io, "see that the server runs, is reached from here and is not overloaded")
        }
        (Failure::BadResponse(_), _) => (BrokenKind::Io, "see the server's log"),
        (Failure::InvalidParams(_) | Failure::Unsupported(_), _) => {
            (BrokenKind::Mismatch, "give the server's address as http://host:port")
        }
        _ => (BrokenKind::Damaged, "the answer is not of the form that was asked for"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_exception_is_read_from_old_and_new_texts() {
        let old = "Code: 60, e.displayText() = DB::Exception: Table a.b doesn't exist.";
        let new = "Code: 60. DB::Exception: Unknown table expression identifier 'b'";
        assert_eq!((code(old), code(new), code("502 Bad Gateway")), (Some(60), Some(60), None));
    }

    #[test]
    fn passwords_do_not_reach_messages() {
        let options = Options::new("http://user:secret@host:8123", "counts", 1);
        assert_eq!(place(&options), "ClickHouse at host:8123, database counts");
    }
}
