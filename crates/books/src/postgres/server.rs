//! A server that may keep the books: where it is, what is required of it, and how connections to it
//! are set up.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};

use super::PostgresOptions;
use super::failure::{cause_of, fix_of};
use crate::error::{Error, ErrorKind};
use crate::rows::schema::migration_failure;

/// The oldest version that is still mended by its makers, and the one the suite is run against from.
const VERSION_MIN: i64 = 14;

/// Where the books are.
pub(super) struct Server {
    /// For messages: without user and password.
    pub(super) address: String,
    connect: PgConnectOptions,
}

impl Server {
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let connect = PgConnectOptions::from_str(url).map_err(|cause| {
            let problem = format!(
                "must be like postgres://user:password@host:5432/database, and is not: {cause}"
            );
            Error::invalid("books.url", &problem)
        })?;
        let place = match connect.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", connect.get_host(), connect.get_port()),
        };
        let database = connect.get_database().unwrap_or(connect.get_username());
        Ok(Server { address: format!("postgres://{place}/{database}"), connect })
    }

    /// How the books' own connections are set up.
    pub(super) fn connect_options(&self, options: PostgresOptions) -> PgConnectOptions {
        // A scan of a whole table would be taken for interest in all of its rows, and every transaction
        // that changes any of them for a rival.
        self.with_timeout(options.call_timeout)
            .options([("enable_seqscan", "off"), ("default_transaction_isolation", "serializable")])
    }

    /// A connection's settings, with a bound on each of its statements.
    fn with_timeout(&self, timeout: Duration) -> PgConnectOptions {
        let bound = format!("{}ms", timeout.as_millis());
        let settings = self.connect.clone().options([
            ("statement_timeout", bound.as_str()),
            // A client that is gone without a word lets go of what it locked.
            ("idle_in_transaction_session_timeout", bound.as_str()),
        ]);
        // A stronger promise than the local disk's (`remote_apply`) is the owner's to ask for.
        let is_said =
            settings.get_options().is_some_and(|said| said.contains("synchronous_commit"));
        if is_said { settings } else { settings.options([("synchronous_commit", "on")]) }
    }

    /// A connection of its own, to a server that may keep the books.
    pub(super) async fn connect(
        &self,
        options: PostgresOptions,
        statement_timeout: Duration,
    ) -> Result<PgConnection, Error> {
        let connect = self.with_timeout(statement_timeout);
        let connecting = async {
            let mut connection = connect.connect().await?;
            Traits::ask(&mut connection).await?.check(&self.address)?;
            Ok(connection)
        };
        self.within(options.acquire_timeout, connecting).await
    }

    /// Brings the schema to what this build knows.
    pub(super) async fn prepare(
        &self,
        migrator: &Migrator,
        options: PostgresOptions,
    ) -> Result<(), Error> {
        self.connect(options, options.acquire_timeout).await?.close().await.ok();
        // A connection of its own: one that fails on the way still holds the lock of who migrates.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(options.acquire_timeout)
            .connect_lazy_with(self.with_timeout(options.bulk_timeout));
        let migrating = async { migrator.run(&pool).await.map_err(migration_failure) };
        let migrated = self.within(options.bulk_timeout, migrating).await;
        tokio::time::timeout(options.acquire_timeout, pool.close()).await.ok();
        migrated
    }

    /// Waits for an answer, no longer than `bound`; a failure tells where the books are, and the fix.
    pub(super) async fn within<T>(
        &self,
        bound: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(bound, work).await {
            Ok(done) => done.map_err(|error| self.explain(error)),
            Err(_) => Err(self.no_answer(bound)),
        }
    }

    /// Adds where the books are, and the fix, to what the database said.
    fn explain(&self, mut error: Error) -> Error {
        let Some(cause) = cause_of(&error) else { return error };
        let address = &self.address;
        let message = match error.kind {
            ErrorKind::Unavailable => {
                format!("the books at {address} are not available: {cause}: {}", fix_of(cause))
            }
            _ => format!("the books at {address} are damaged, run `reckon verify`: {cause}"),
        };
        error.message = message;
        error
    }

    fn no_answer(&self, within: Duration) -> Error {
        let message = format!(
            "the books at {} gave no answer within {} ms: see that the server runs; asking again is safe",
            self.address,
            within.as_millis()
        );
        Error::new(ErrorKind::Unavailable, message)
    }
}

/// What a server is, as far as it matters.
struct Traits {
    version: i64,
    encoding: String,
    fsync: String,
    synchronous_commit: String,
    is_standby: bool,
    schema: Option<String>,
}

impl Traits {
    async fn ask(connection: &mut PgConnection) -> Result<Self, Error> {
        let (version, encoding, fsync, synchronous_commit, is_standby, schema) = sqlx::query_as(
            "SELECT current_setting('server_version_num')::bigint, \
             current_setting('server_encoding'), current_setting('fsync'), \
             current_setting('synchronous_commit'), pg_is_in_recovery(), current_schema()::text",
        )
        .fetch_one(connection)
        .await?;
        Ok(Traits { version, encoding, fsync, synchronous_commit, is_standby, schema })
    }

    fn check(&self, address: &str) -> Result<(), Error> {
        let problem = self.problem();
        problem.map_or(Ok(()), |problem| {
            Err(Error::invalid("books.url", &format!("names {address}, {problem}")))
        })
    }

    /// Why the books cannot be kept there, if they cannot.
    fn problem(&self) -> Option<String> {
        let version = self.version / 10_000;
        if version < VERSION_MIN {
            return Some(format!(
                "which is PostgreSQL {version}: the books need {VERSION_MIN} or later"
            ));
        }
        let problem = if self.encoding != "UTF8" {
            "whose texts are not UTF-8: create the database with ENCODING 'UTF8'"
        } else if self.is_standby {
            "which is a standby and only reads: name the primary"
        } else if self.fsync != "on" {
            "which forgets what it answered: set fsync to on"
        } else if self.synchronous_commit == "off" {
            "which answers before a commit is on its disk: set synchronous_commit to on"
        } else if self.schema.is_none() {
            "whose search path names no schema that is there: create it"
        } else {
            return None;
        };
        Some(problem.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Traits {
        Traits {
            version: 150_013,
            encoding: "UTF8".to_owned(),
            fsync: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
            is_standby: false,
            schema: Some("public".to_owned()),
        }
    }

    #[track_caller]
    fn check(server: &Traits, expected: &str) {
        let error = server.check("postgres://books.example:5432/reckon").expect_err(expected);
        assert_eq!(error.kind, ErrorKind::Invalid { field: "books.url" });
        let head = "books.url names postgres://books.example:5432/reckon, ";
        assert_eq!(error.to_string(), format!("{head}{expected}"));
    }

    #[test]
    fn a_server_that_will_not_do_is_refused_by_what_is_wrong_with_it() {
        assert!(sound().check("anywhere").is_ok());
        assert!(Traits { version: 140_000, ..sound() }.check("anywhere").is_ok());
        let old = Traits { version: 130_021, ..sound() };
        check(&old, "which is PostgreSQL 13: the books need 14 or later");
        let latin = Traits { encoding: "LATIN1".to_owned(), ..sound() };
        check(&latin, "whose texts are not UTF-8: create the database with ENCODING 'UTF8'");
        let standby = Traits { is_standby: true, ..sound() };
        check(&standby, "which is a standby and only reads: name the primary");
        let forgetful = Traits { fsync: "off".to_owned(), ..sound() };
        check(&forgetful, "which forgets what it answered: set fsync to on");
        let hasty = Traits { synchronous_commit: "off".to_owned(), ..sound() };
        let said = "which answers before a commit is on its disk: set synchronous_commit to on";
        check(&hasty, said);
        let homeless = Traits { schema: None, ..sound() };
        check(&homeless, "whose search path names no schema that is there: create it");
    }

    #[test]
    fn an_address_tells_no_password() {
        let server =
            Server::parse("postgres://me:secret@books.example:7000/reckon").expect("a URL");
        assert_eq!(server.address, "postgres://books.example:7000/reckon");
        let Err(error) = Server::parse("postgres://me:secret@books.example:a/reckon") else {
            panic!("a port is a number");
        };
        assert_eq!(error.kind, ErrorKind::Invalid { field: "books.url" });
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_stronger_commit_is_left_alone() {
        let of = |url: &str| {
            let server = Server::parse(url).expect("a URL");
            server.connect_options(PostgresOptions::default()).get_options().map(str::to_owned)
        };
        let plain = of("postgres://localhost/reckon").expect("settings");
        assert!(plain.contains("synchronous_commit=on"), "{plain}");
        let url = "postgres://localhost/reckon?options[synchronous_commit]=remote_apply";
        let stronger = of(url).expect("settings");
        assert!(stronger.contains("synchronous_commit=remote_apply"), "{stronger}");
        assert!(!stronger.contains("synchronous_commit=on"), "{stronger}");
    }
}
