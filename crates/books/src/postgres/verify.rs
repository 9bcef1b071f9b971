//! The check of the books in PostgreSQL, at one moment and without changing them, with or without
//! servers at work: the database's own check of its indexes where it has one, then what we promise
//! beyond it.

use reckon_event::{TenantId, name_key};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, FromRow, Row};

use super::entity::Kept;
use super::period::{figures_page, stored};
use super::server::Server;
use super::{PostgresBooks, PostgresOptions, load, migrator};
use crate::catalog::{Ad, Advertiser, Campaign};
use crate::error::Error;
use crate::ledger::{LEDGER_ROWS_MAX, Slice};
use crate::rows::snapshot::ROWS_PER_PAGE;
use crate::rows::tenant_of;
use crate::rows::verify::{FINDINGS_MAX, HISTORY_RULES, Verification, row_problem};
use crate::rows::verify_ledger::{FigureCheck, RULES, day_of};
use crate::rows::{NameKey, schema};

/// Sees one moment, and leaves nobody who writes a trace of it.
const ONE_MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Which table names which other, by which columns. The database holds to them; whoever has the right
/// to may have told it not to.
const REFERENCES: [(&str, &str, &[&str]); 15] = [
    ("advertisers", "tenants", &["tenant"]),
    ("campaigns", "advertisers", &["tenant", "advertiser_id"]),
    ("campaign_terms", "campaigns", &["tenant", "campaign_id"]),
    ("ads", "campaigns", &["tenant", "campaign_id"]),
    ("api_keys", "tenants", &["tenant"]),
    ("replays", "tenants", &["tenant"]),
    ("tombstones", "tenants", &["tenant"]),
    ("persons", "tenants", &["tenant"]),
    ("period_closings", "periods", &["day"]),
    ("period_figures", "periods", &["day"]),
    ("period_figures", "ads", &["tenant", "ad_id"]),
    ("ledger_entries", "periods", &["day"]),
    ("ledger_entries", "campaigns", &["tenant", "campaign_id"]),
    ("ledger_entries", "ads", &["tenant", "ad_id"]),
    ("billing_profiles", "advertisers", &["tenant", "advertiser_id"]),
];

impl PostgresBooks {
    /// Checks the books at `url` without changing them. An error means that they could not be checked
    /// at all; damage that could be read around is a finding.
    pub async fn verify(url: &str, options: PostgresOptions) -> Result<Verification, Error> {
        verify_with(url, options, name_key).await
    }
}

async fn verify_with(
    url: &str,
    options: PostgresOptions,
    name_key: NameKey,
) -> Result<Verification, Error> {
    let server = Server::parse(url)?;
    let mut connection = server.connect(options, options.bulk_timeout).await?;
    let found = server.within(options.bulk_timeout, check(&mut connection, name_key)).await?;
    connection.close().await.ok();
    Ok(found)
}

async fn check(connection: &mut PgConnection, name_key: NameKey) -> Result<Verification, Error> {
    sqlx::raw_sql(ONE_MOMENT).execute(&mut *connection).await?;
    require_schema(connection).await?;
    let mut found = Verification::default();
    check_indexes(connection, &mut found).await?;
    check_references(connection, &mut found).await?;
    check_rows::<Advertiser>(connection, name_key, &mut found).await?;
    check_rows::<Campaign>(connection, name_key, &mut found).await?;
    check_rows::<Ad>(connection, name_key, &mut found).await?;
    check_histories(connection, &mut found).await?;
    check_ledger(connection, &mut found).await?;
    Ok(found)
}

/// Refuses a database that is not what this build would have made of it.
async fn require_schema(connection: &mut PgConnection) -> Result<(), Error> {
    let rows: Vec<(i64,)> = sqlx::query_as("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(connection)
        .await?;
    schema::require_all(&rows, &migrator())
}

/// The extension `amcheck` holds every index against its table, where it is there and may be used.
async fn check_indexes(
    connection: &mut PgConnection,
    found: &mut Verification,
) -> Result<(), Error> {
    let function: Option<(String,)> = sqlx::query_as(
        "SELECT quote_ident(n.nspname) || '.bt_index_check' FROM pg_extension e \
         JOIN pg_namespace n ON n.oid = e.extnamespace JOIN pg_proc p ON p.pronamespace = n.oid \
         WHERE e.extname = 'amcheck' AND p.proname = 'bt_index_check' AND p.pronargs = 2 \
         AND has_schema_privilege(n.oid, 'usage') AND has_function_privilege(p.oid, 'execute')",
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some((function,)) = function else { return Ok(()) };
    let text = format!("SELECT {function}($1::oid::regclass, true)");
    let indexes: Vec<(i64, String)> = sqlx::query_as(
        "SELECT i.indexrelid::bigint, i.indexrelid::regclass::text FROM pg_index i \
         JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam \
         WHERE a.amname = 'btree' AND c.relnamespace = current_schema()::regnamespace \
         ORDER BY 2",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (oid, name) in indexes {
        // A failed statement would end the transaction: what was found so far goes on from here.
        sqlx::raw_sql("SAVEPOINT an_index").execute(&mut *connection).await?;
        let query = sqlx::query(AssertSqlSafe(text.clone())).bind(oid);
        let checked = query.execute(&mut *connection).await;
        if let Err(sqlx::Error::Database(said)) = checked {
            found.find(format!("index {name}: {said}"));
            sqlx::raw_sql("ROLLBACK TO an_index").execute(&mut *connection).await?;
        } else {
            checked?;
        }
    }
    Ok(())
}

async fn check_references(
    connection: &mut PgConnection,
    found: &mut Verification,
) -> Result<(), Error> {
    for (child, parent, columns) in REFERENCES {
        let is_named = |column: &&str| format!("c.{column} IS NOT NULL");
        let is_parent = |column: &&str| format!("p.{column} = c.{column}");
        let named: Vec<String> = columns.iter().map(is_named).collect();
        let same: Vec<String> = columns.iter().map(is_parent).collect();
        let (named, same) = (named.join(" AND "), same.join(" AND "));
        let orphans = format!(
            "SELECT COUNT(*) FROM {child} c WHERE {named} \
             AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE {same})"
        );
        let (count,): (i64,) =
            sqlx::query_as(AssertSqlSafe(orphans)).fetch_one(&mut *connection).await?;
        for _ in 0..count.unsigned_abs().min(FINDINGS_MAX as u64) {
            found.find(format!("a row of {child} names a row of {parent} that is not there"));
        }
    }
    Ok(())
}

/// Every row can be read, is something we would take, and has the key of its name.
async fn check_rows<E: Kept>(
    connection: &mut PgConnection,
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
            let thing = E::Columns::from_row(row).map_err(Error::from).and_then(E::of);
            if let Some(problem) = row_problem(thing, stored_key, name_key) {
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
    connection: &mut PgConnection,
    found: &mut Verification,
) -> Result<(), Error> {
    for (problem, wrong) in HISTORY_RULES {
        let limited = AssertSqlSafe(format!("{wrong} LIMIT {FINDINGS_MAX}"));
        let campaigns: Vec<(i64, String)> =
            sqlx::query_as(limited).fetch_all(&mut *connection).await?;
        for (tenant, campaign) in campaigns {
            found.find(format!("campaign `{campaign}` of tenant {tenant} {problem}"));
        }
    }
    found.rows_checked += count(connection, "campaign_terms").await?;
    Ok(())
}

async fn check_ledger(
    connection: &mut PgConnection,
    found: &mut Verification,
) -> Result<(), Error> {
    for (problem, wrong) in RULES {
        let limited = AssertSqlSafe(format!("{wrong} LIMIT {FINDINGS_MAX}"));
        let places: Vec<(String,)> = sqlx::query_as(limited).fetch_all(&mut *connection).await?;
        for (place,) in places {
            found.find(format!("ledger: {place} {problem}"));
        }
    }
    let days: Vec<(i64,)> =
        sqlx::query_as("SELECT day FROM periods ORDER BY day").fetch_all(&mut *connection).await?;
    for (number,) in days {
        check_figures(connection, number, found).await?;
    }
    found.rows_checked += count(connection, "ledger_entries").await?;
    Ok(())
}

async fn check_figures(
    connection: &mut PgConnection,
    number: i64,
    found: &mut Verification,
) -> Result<(), Error> {
    let Some(day) = day_of(number, found) else { return Ok(()) };
    let Some(stored) = stored(connection, day).await? else { return Ok(()) };
    let (mut check, mut after) = (FigureCheck::new(), None);
    loop {
        let page = figures_page(connection, &Slice::of_day(day), &after).await?;
        check.add(&page);
        after = page.last().map(|figure| (figure.hour, figure.key.clone()));
        if page.len() < LEDGER_ROWS_MAX {
            break;
        }
    }
    check.finish(&stored, found);
    Ok(())
}

async fn count(connection: &mut PgConnection, table: &str) -> Result<u64, Error> {
    let text = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    let (count,): (i64,) = sqlx::query_as(text).fetch_one(connection).await?;
    Ok(count.unsigned_abs())
}
