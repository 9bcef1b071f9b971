//! Books that move in from a SQLite file: every row as it is, in one transaction, into a database that
//! has none yet.
//!
//! Both schemas have the same tables and columns, which a test holds them to. Rows go over in the order in
//! which the triggers of the ledger allow them: charges before the day is closed, adjustments after.

use std::path::Path;

use futures::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::server::Server;
use super::{PostgresBooks, PostgresOptions, migrator};
use crate::error::{Error, ErrorKind};

/// Rows of one statement.
const ROWS_PER_PAGE: usize = 1_000;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Number,
    Text,
    Bytes,
}

/// Some rows of a table.
struct Part {
    table: &'static str,
    condition: &'static str,
}

const fn part(table: &'static str) -> Part {
    Part { table, condition: "true" }
}

/// All rows of the books, what is named before what names it.
const PARTS: [Part; 16] = [
    // The default tenant is there already.
    Part { table: "tenants", condition: "tenant <> 1" },
    part("advertisers"),
    part("campaigns"),
    part("campaign_terms"),
    part("ads"),
    part("api_keys"),
    part("leases"),
    part("replays"),
    part("periods"),
    part("period_figures"),
    Part { table: "ledger_entries", condition: "kind <> 'adjustment'" },
    part("period_closings"),
    Part { table: "ledger_entries", condition: "kind = 'adjustment'" },
    part("billing_profiles"),
    part("tombstones"),
    part("persons"),
];

/// What has moved in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovedIn {
    /// Rows of all tables.
    pub rows: u64,
}

impl PostgresBooks {
    /// Copies the books of a file, which no server has open, into the database at `url`. All of them are
    /// there when it returns, and none where it fails.
    ///
    /// `Invalid` where the database will not do, `Conflict` where it has books already.
    pub async fn move_in(
        from: &Path,
        url: &str,
        options: PostgresOptions,
    ) -> Result<MovedIn, Error> {
        let server = Server::parse(url)?;
        server.prepare(&migrator(), options).await?;
        let mut old = SqliteConnectOptions::new().filename(from).read_only(true).connect().await?;
        let mut new = server.connect(options, options.bulk_timeout).await?;
        let moved = server.within(options.bulk_timeout, move_all(&mut old, &mut new)).await?;
        old.close().await.ok();
        new.close().await.ok();
        Ok(moved)
    }
}

async fn move_all(old: &mut SqliteConnection, new: &mut PgConnection) -> Result<MovedIn, Error> {
    sqlx::raw_sql("BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE turns IN EXCLUSIVE MODE")
        .execute(&mut *new)
        .await?;
    let mut moved = MovedIn::default();
    for part in &PARTS {
        refuse_rows(part, new).await?;
    }
    for part in &PARTS {
        moved.rows += move_part(part, old, new).await?;
    }
    sqlx::raw_sql("COMMIT").execute(&mut *new).await?;
    Ok(moved)
}

async fn refuse_rows(part: &Part, new: &mut PgConnection) -> Result<(), Error> {
    let question = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {})", part.table, part.condition);
    let has_some: bool = sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(new).await?;
    if has_some {
        let message = format!(
            "the database has books already (table {}): name an empty database or schema in books.url",
            part.table
        );
        return Err(Error::conflict(message));
    }
    Ok(())
}

async fn move_part(
    part: &Part,
    old: &mut SqliteConnection,
    new: &mut PgConnection,
) -> Result<u64, Error> {
    let columns = columns(part.table, old).await?;
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    let (table, condition) = (part.table, part.condition);
    let read = format!("SELECT {names} FROM {table} WHERE {condition}");
    let write = insertion(table, &names, &columns);
    let mut rows = sqlx::query(AssertSqlSafe(read)).fetch(old);
    let (mut page, mut moved) = (Vec::with_capacity(ROWS_PER_PAGE), 0);
    loop {
        let next = rows.try_next().await?;
        let is_last = next.is_none();
        page.extend(next);
        if page.len() == ROWS_PER_PAGE || (is_last && !page.is_empty()) {
            insert(&write, &columns, &page, new).await?;
            moved += page.len() as u64;
            page.clear();
        }
        if is_last {
            return Ok(moved);
        }
    }
}

async fn insert(
    write: &str,
    columns: &[(String, Type)],
    page: &[SqliteRow],
    new: &mut PgConnection,
) -> Result<(), Error> {
    let mut insert = sqlx::query(AssertSqlSafe(write.to_owned()));
    for (at, (_, kind)) in columns.iter().enumerate() {
        insert = match kind {
            Type::Number => insert.bind(column::<i64>(page, at)?),
            Type::Text => insert.bind(column::<String>(page, at)?),
            Type::Bytes => insert.bind(column::<Vec<u8>>(page, at)?),
        };
    }
    insert.execute(new).await?;
    Ok(())
}

fn insertion(table: &str, names: &str, columns: &[(String, Type)]) -> String {
    let array = |(at, (_, kind)): (usize, &(String, Type))| match kind {
        Type::Number => format!("${}::bigint[]", at + 1),
        Type::Text => format!("${}::text[]", at + 1),
        Type::Bytes => format!("${}::bytea[]", at + 1),
    };
    let arrays: Vec<String> = columns.iter().enumerate().map(array).collect();
    format!("INSERT INTO {table} ({names}) SELECT * FROM UNNEST({})", arrays.join(", "))
}

/// The columns of a table of the file.
async fn columns(table: &str, old: &mut SqliteConnection) -> Result<Vec<(String, Type)>, Error> {
    let question = "SELECT name, type FROM pragma_table_info(?) ORDER BY cid";
    let rows: Vec<(String, String)> = sqlx::query_as(question).bind(table).fetch_all(old).await?;
    let kind = |(name, kind): (String, String)| match kind.as_str() {
        "INTEGER" => Ok((name, Type::Number)),
        "TEXT" => Ok((name, Type::Text)),
        "BLOB" => Ok((name, Type::Bytes)),
        other => {
            let message = format!("the file's table {table} has a column {name} of type {other}");
            Err(Error::new(ErrorKind::Damaged, message))
        }
    };
    rows.into_iter().map(kind).collect()
}

fn column<'r, T>(rows: &'r [SqliteRow], at: usize) -> Result<Vec<Option<T>>, Error>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    Ok(rows.iter().map(|row| row.try_get(at)).collect::<Result<_, sqlx::Error>>()?)
}
