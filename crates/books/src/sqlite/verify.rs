//! The offline check of the books: SQLite's own checks, then what we promise beyond them.

use std::path::Path;

use reckon_event::{TenantId, name_key};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::failure::opening_failure;
use super::key::read_tenant_id;
use super::load::{self, ROWS_PER_PAGE};
use super::{BUSY_TIMEOUT, NameKey, SqliteBooks, entity::Entity, key_to_column, verify_ledger};
use crate::catalog::{Ad, Advertiser, Campaign};
use crate::error::Error;

/// The most findings that are kept; one is enough to act.
pub(super) const FINDINGS_MAX: usize = 100;

/// What is wrong with a campaign's history, as a query that answers (tenant, campaign) of each wrong
/// one, and what it means.
const HISTORY_RULES: [(&str, &str); 3] = [
    (
        "has a price or budget other than its last terms",
        "SELECT c.tenant, c.campaign_id FROM campaigns c LEFT JOIN campaign_terms t \
         ON t.tenant = c.tenant AND t.campaign_id = c.campaign_id AND t.sequence = \
           (SELECT MAX(sequence) FROM campaign_terms m \
            WHERE m.tenant = c.tenant AND m.campaign_id = c.campaign_id) \
         WHERE t.sequence IS NULL OR t.cpc_micros <> c.cpc_micros \
            OR t.daily_budget_micros IS DISTINCT FROM c.daily_budget_micros",
    ),
    (
        "has first terms that do not hold from its making",
        "SELECT c.tenant, c.campaign_id FROM campaigns c LEFT JOIN campaign_terms t \
         ON t.tenant = c.tenant AND t.campaign_id = c.campaign_id AND t.sequence = 1 \
         WHERE t.effective_at IS DISTINCT FROM c.created_at",
    ),
    (
        "has a gap or a step back in its terms",
        "SELECT t.tenant, t.campaign_id FROM campaign_terms t LEFT JOIN campaign_terms p \
         ON p.tenant = t.tenant AND p.campaign_id = t.campaign_id AND p.sequence = t.sequence - 1 \
         WHERE t.sequence > 1 AND (p.sequence IS NULL OR p.effective_at > t.effective_at)",
    ),
];

/// What the check of the books found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Rows of the catalog and the ledger compared with what they must be.
    pub rows_checked: u64,
    /// Each a sentence that names the place; the first 100.
    pub findings: Vec<String>,
}

impl Verification {
    /// Whether nothing was found.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

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
async fn check_rows<E: Entity>(
    connection: &mut SqliteConnection,
    name_key: NameKey,
    found: &mut Verification,
) -> Result<(), Error> {
    let mut last: Option<(TenantId, String)> = None;
    loop {
        let after = last.as_ref().map(|(tenant, id)| (*tenant, id.as_str()));
        let rows = load::page::<E>(connection, "tenant, name_key", after).await?;
        for row in &rows {
            let (tenant, id): (TenantId, String) = (read_tenant_id(row, 0)?, row.try_get(2)?);
            if let Some(problem) = row_problem(E::read(row, 2), row.try_get(1)?, name_key) {
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

fn row_problem<E: Entity>(
    read: Result<E, Error>,
    stored_key: i64,
    name_key: NameKey,
) -> Option<String> {
    let thing = match read {
        Ok(thing) => thing,
        Err(error) => return Some(error.to_string()),
    };
    if key_to_column(name_key(thing.id())) != stored_key {
        return Some("its stored key is not the key of its name".to_owned());
    }
    thing.check().err().map(|error| error.to_string())
}

async fn check_histories(
    connection: &mut SqliteConnection,
    found: &mut Verification,
) -> Result<(), Error> {
    for (problem, wrong) in HISTORY_RULES {
        let limited = AssertSqlSafe(format!("{wrong} LIMIT {FINDINGS_MAX}"));
        for row in sqlx::query(limited).fetch_all(&mut *connection).await? {
            let campaign: String = row.try_get(1)?;
            let tenant = read_tenant_id(&row, 0)?.0;
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
