//! A schema of its own on the server that the environment names, so that no two tests meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use reckon_books::conformance::{Bench, NameKey};
use reckon_books::{Accounts, Books, PostgresBooks, PostgresOptions, Verification};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};

/// Schemas made by this process.
static PLACES: AtomicU32 = AtomicU32::new(0);

/// Connections of one client: a test has many clients on one server.
pub const CONNECTIONS: u32 = 4;

/// A variable of the environment, which `postgres.sh start` wrote down.
pub fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make engines-test`"))
}

pub fn options() -> PostgresOptions {
    PostgresOptions { connections_max: CONNECTIONS, ..PostgresOptions::default() }
}

/// One empty schema.
pub struct Place {
    /// The server, as an ordinary user and as the one who may do anything.
    server: String,
    admin: String,
    pub schema: String,
}

impl Place {
    pub async fn new() -> Self {
        Self::on(environment("RECKON_TEST_POSTGRES"), environment("RECKON_TEST_POSTGRES_ADMIN"))
            .await
    }

    /// A schema on another server.
    pub async fn on(server: String, admin: String) -> Self {
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let schema = format!("books_{}_{number}", std::process::id());
        let place = Place { server, admin, schema };
        let mut connection =
            PgConnection::connect(&place.server).await.expect("the server is there");
        let text = format!("DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0}", place.schema);
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.expect("a schema");
        connection.close().await.expect("closes");
        place
    }

    /// Where the books are, in the words of a configuration.
    pub fn url(&self) -> String {
        in_schema(&self.server, &self.schema)
    }

    pub async fn postgres(&self) -> PostgresBooks {
        self.postgres_with(options()).await
    }

    pub async fn postgres_with(&self, options: PostgresOptions) -> PostgresBooks {
        PostgresBooks::open(&self.url(), options).await.expect("the books open")
    }

    /// A connection beside the books.
    pub async fn beside(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("connects")
    }

    /// A connection of who may do anything, past every trigger and reference.
    async fn admin(&self) -> PgConnection {
        let url = format!("{}_admin", in_schema(&self.admin, &self.schema));
        let mut connection = PgConnection::connect(&url).await.expect("connects");
        run(&mut connection, "SET session_replication_role = replica").await;
        connection
    }

    /// Changes the tables behind the books' back.
    pub async fn tamper(&self, sql: &str) {
        run(&mut self.admin().await, sql).await;
    }

    /// Asks the server itself, in the name of who may see everything.
    pub async fn ask(&self, sql: &str) -> Vec<PgRow> {
        let mut connection = self.admin().await;
        sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("an answer")
    }

    /// Comes back once so many sessions wait for a lock on a table of this place.
    pub async fn until_waiting(&self, count: i64) {
        const ROUNDS_MAX: u32 = 200_000;
        let waiting = format!(
            "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND relation IN \
             (SELECT oid FROM pg_class WHERE relnamespace = '{}'::regnamespace)",
            self.schema
        );
        let mut connection = self.admin().await;
        for _ in 0..ROUNDS_MAX {
            let row = sqlx::query(AssertSqlSafe(waiting.as_str())).fetch_one(&mut connection).await;
            if row.expect("an answer").get::<i64, _>(0) >= count {
                return;
            }
        }
        panic!("nobody waits");
    }

    pub async fn verify(&self) -> Verification {
        PostgresBooks::verify(&self.url(), options()).await.expect("can be checked")
    }

    pub async fn findings(&self) -> Vec<String> {
        self.verify().await.findings
    }
}

/// The URL of a server with a schema in it.
pub fn in_schema(server: &str, schema: &str) -> String {
    format!("{server}?options[search_path]={schema}&application_name={schema}")
}

/// Runs statements that answer nothing.
pub async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.expect(sql);
}

#[async_trait]
impl Bench for Place {
    async fn accounts(&self) -> Arc<dyn Accounts> {
        Arc::new(self.postgres().await)
    }

    async fn open_with(&self, name_key: NameKey) -> Arc<dyn Books> {
        let opened = PostgresBooks::open_with_keys(&self.url(), options(), name_key).await;
        Arc::new(opened.expect("the books open"))
    }
}
