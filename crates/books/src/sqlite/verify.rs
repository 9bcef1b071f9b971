//! The offline check of the books: SQLite's own checks, then what we promise beyond them.

use std::path::Path;

use reckon_event::{TenantId, name_key};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::entity::{Kept, read};
use super::failure::opening_failure;
use super::load;
use super::{BUSY_TIMEOUT, NameKey, SqliteBooks, migrator, verify_ledger};
use crate::catalog::{Ad, Advertiser, Campaign};
use crate::error::Error;
use crate::rows::snapshot::ROWS_PER_PAGE;
use crate::rows::verify::{FINDINGS_MAX, HISTORY_RULES, Verification, row_problem};
use crate::rows::{schema, tenant_of};

impl SqliteBooks {
    /// Checks the books at `path` without changing them. An error means that it could not be checked
    /// at all; damage that could be read around is a finding.
    pub async fn verify(path: &Path) -> Result<Verification, Error> {
        verify_with(path, name_key).await
    }
}

pub(super) async fn verify_with(path: &Path, name_key: NameKey) -> Result<Verification, Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT);
    let mut connection =
        SqliteConnection::connect_with(&options).await.map_err(opening_failure(path))?;
    let mut found = Verification::default();
    check_pages(&mut connection, &mut found).await?;
    if !found.is_sound() {
        // What a broken page says about its rows is not worth reading.
        return Ok(found);
    }
    let steps = "SELECT version FROM _sqlx_migrations WHERE success";
    schema::require_all(&sqlx::query_as(steps).fetch_all(&mut connection).await?, &migrator())?;
    check_references(&mut connection, &mut found).await?;
    check_rows::<Advertiser>(&mut connection, name_key, &mut found).await?;
    check_rows::<Campaign>(&mut connection, name_key, &mut found).await?;
    check_rows::<Ad>(&mut connection, name_key, &mut found).await?;
    check_histories(&mut connection, &mut found).await?;
    verify_ledger::check(&mut connection, &mut found).await?;
    connection.close().await?;
    Ok(found)
}

/// SQLite's check of every page, index entry and constraint.
async fn check_pages(
    connection: &mut SqliteConnection,
    found: &mut Verification,
) -> Result<(), Error> {
    for row in sqlx::query("PRAGMA integrity_check").fetch_all(connection).await? {
        let said: String = row.try_get(0)?;
        if said != "ok" {
            found.find(said);
        }
    }
    Ok(())
}

async fn check_references(
    connection: &mut SqliteConnection,
    found: &mut Verification,
) -> Result<(), Error> {
    for row in sqlx::query("PRAGMA foreign_key_check").fetch_all(connection).await? {
        let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        found.find(format!("a row of {table} names a row of {parent} that is not there"));
    }
    Ok(())
}

/// Every row can be read, is something we would take, and has the key of its name.
async fn check_rows<E: Kept>(
    connection: &mut SqliteConnection,
    name_key: NameKey,
    found: &mut Verification,
) -> Result<(), Error> {
    let mut last: Option<(TenantId, String)> = None;
    loop {
        let after = last.as_ref().map(|(tenant, id)| (*tenant, id.as_str()));
        let rows = load::page::<E>(connection, "tenant, name_key", after).await?;
        for row in &rows {
            let (tenant, id) = (tenant_of(row.try_get(E::WIDTH)?)?, row.try_get(0)?);
            let stored_key = row.try_get(E::WIDTH + 1)?;
            if let Some(problem) = row_problem(read::<E>(row), stored_key, name_key) {
                found.find(format!("{} `{id}` of tenant {}: {problem}", E::WHAT, tenant.0));
            }
            last = Some((tenant, id));
        }
        found.rows_checked += rows.len() as u64;
        if rows.len() < ROWS_PER_PAGE {
            return Ok(());
        }
    }
}

async fn check_histories(
    connection: &mut SqliteConnection,
    found: &mut Verification,
) -> Result<(), Error> {
    for (problem, wrong) in HISTORY_RULES {
        let limited = AssertSqlSafe(format!("{wrong} LIMIT {FINDINGS_MAX}"));
        for row in sqlx::query(limited).fetch_all(&mut *connection).await? {
            let campaign: String = row.try_get(1)?;
            let tenant = tenant_of(row.try_get(0)?)?.0;
            found.find(format!("campaign `{campaign}` of tenant {tenant} {problem}"));
        }
    }
    let terms: i64 = sqlx::query("SELECT COUNT(*) FROM campaign_terms")
        .fetch_one(connection)
        .await?
        .try_get(0)?;
    found.rows_checked += terms.unsigned_abs();
    Ok(())
}
