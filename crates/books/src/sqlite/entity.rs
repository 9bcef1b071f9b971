//! What advertisers, campaigns and ads have in common in SQLite: made in batches, read, listed and
//! changed by id.

use std::collections::{HashMap, HashSet};

use reckon_event::TenantId;
use sqlx::query_builder::Separated;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, QueryBuilder, Row, Sqlite};

use super::SqliteBooks;
use crate::books::{Outcome, Page};
use crate::check;
use crate::error::Error;
use crate::rows::entity::{Entity, Known, decide_all, new_with_keys};
use crate::rows::{key_to_column, tenant_to_column};

/// Rows of one statement. With at most 17 values a row this stays below SQLite's 32,766.
pub(super) const ROWS_PER_STATEMENT: usize = 500;

/// The values of one row being added to a statement.
pub(super) type Values<'a> = Separated<'a, Sqlite, &'static str>;

/// A thing of the catalog as SQLite keeps it.
pub(super) trait Kept: Entity<Columns: for<'r> FromRow<'r, SqliteRow>> {
    /// Adds the values of [`Entity::COLUMNS`].
    fn push(&self, values: &mut Values<'_>);
}

/// Reads a row that begins with [`Entity::COLUMNS`].
pub(super) fn read<E: Kept>(row: &SqliteRow) -> Result<E, Error> {
    E::of(E::Columns::from_row(row)?)
}

/// Makes those of `items` that are new and acceptable, and answers for each.
pub(super) async fn create<E: Kept>(
    connection: &mut SqliteConnection,
    books: &SqliteBooks,
    tenant: TenantId,
    items: Vec<E>,
) -> Result<Vec<Outcome<E>>, Error> {
    check::batch(items.len())?;
    require_tenant(connection, tenant).await?;
    let keys: Vec<u64> = items.iter().map(|item| (books.name_key)(item.id())).collect();
    let known = Known {
        by_key: known_by_key(connection, books, tenant, &keys).await?,
        parents: known_parents(connection, tenant, &items).await?,
    };
    let outcomes = decide_all(items, &keys, known);
    insert(connection, tenant, &new_with_keys(&outcomes, &keys)).await?;
    Ok(outcomes)
}

/// One lookup by key finds both what has the same id and what collides with it.
async fn known_by_key<E: Kept>(
    connection: &mut SqliteConnection,
    books: &SqliteBooks,
    tenant: TenantId,
    keys: &[u64],
) -> Result<HashMap<u64, E>, Error> {
    let mut known = HashMap::with_capacity(keys.len());
    for some in keys.chunks(ROWS_PER_STATEMENT) {
        let keys = some.iter().map(|&key| key_to_column(key));
        let mut query = select_each(E::TABLE, E::COLUMNS, "name_key", tenant, keys);
        for row in query.build().persistent(false).fetch_all(&mut *connection).await? {
            let item: E = read(&row)?;
            known.insert((books.name_key)(item.id()), item);
        }
    }
    Ok(known)
}

async fn known_parents<E: Kept>(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    items: &[E],
) -> Result<HashSet<String>, Error> {
    let mut known = HashSet::new();
    let Some(parent) = E::PARENT else { return Ok(known) };
    let asked: HashSet<&str> = items.iter().map(E::parent_id).collect();
    let asked: Vec<&str> = asked.into_iter().collect();
    for some in asked.chunks(ROWS_PER_STATEMENT) {
        let ids = some.iter().copied();
        let mut query = select_each(parent.table, parent.id, parent.id, tenant, ids);
        for row in query.build().persistent(false).fetch_all(&mut *connection).await? {
            known.insert(row.try_get(0)?);
        }
    }
    Ok(known)
}

/// Looks up rows by many values of one column of an index, value by value.
///
/// A join in fixed order rather than `tenant = ? AND column IN (...)`: SQLite takes a tenant to have
/// some ten rows, so it would read all of them rather than look up hundreds of values.
pub(super) fn select_each<'a, T>(
    table: &str,
    columns: &str,
    column: &str,
    tenant: TenantId,
    values: impl IntoIterator<Item = T>,
) -> QueryBuilder<Sqlite>
where
    T: sqlx::Encode<'a, Sqlite> + sqlx::Type<Sqlite>,
{
    let mut query = QueryBuilder::new("WITH asked (value) AS (");
    query.push_values(values, |mut row, value| {
        row.push_bind(value);
    });
    query.push(format_args!(") SELECT {columns} FROM asked CROSS JOIN {table} "));
    query.push(format_args!("ON {column} = asked.value AND tenant = "));
    query.push_bind(tenant_to_column(tenant));
    query
}

async fn insert<E: Kept>(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    items: &[(u64, &E)],
) -> Result<(), Error> {
    for some in items.chunks(ROWS_PER_STATEMENT) {
        let head = format!("INSERT INTO {} (tenant, name_key, {}) ", E::TABLE, E::COLUMNS);
        let mut query = QueryBuilder::<Sqlite>::new(head);
        query.push_values(some, |mut values, (key, item)| {
            values.push_bind(tenant_to_column(tenant)).push_bind(key_to_column(*key));
            item.push(&mut values);
        });
        query.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The thing of this id, or `NotFound`.
pub(super) async fn get<E: Kept>(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    id: &str,
) -> Result<E, Error> {
    let mut query = select::<E>(tenant);
    query.push(" AND ").push(E::ID).push(" = ").push_bind(id);
    match query.build().fetch_optional(connection).await? {
        Some(row) => read(&row),
        None => Err(Error::not_found(E::WHAT, id)),
    }
}

/// A page of the tenant's things, or of those of one parent.
pub(super) async fn list<E: Kept>(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    parent_id: Option<&str>,
    page: &Page,
) -> Result<Vec<E>, Error> {
    check::page(page)?;
    let mut query = select::<E>(tenant);
    if let (Some(parent), Some(parent_id)) = (E::PARENT, parent_id) {
        query.push(" AND ").push(parent.id).push(" = ").push_bind(parent_id);
    }
    if let Some(after) = &page.after {
        query.push(" AND ").push(E::ID).push(" > ").push_bind(after);
    }
    query.push(" ORDER BY ").push(E::ID).push(" LIMIT ").push_bind(i64::from(page.limit));
    let rows = query.build().fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// Writes the thing over the one of its id.
pub(super) async fn update<E: Kept>(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    item: &E,
) -> Result<(), Error> {
    let head = format!("UPDATE {} SET ({}) = (", E::TABLE, E::COLUMNS);
    let mut query = QueryBuilder::<Sqlite>::new(head);
    item.push(&mut query.separated(", "));
    query.push(") WHERE tenant = ").push_bind(tenant_to_column(tenant));
    query.push(" AND ").push(E::ID).push(" = ").push_bind(item.id());
    query.build().execute(connection).await?;
    Ok(())
}

/// `SELECT` of a tenant's things, open for further conditions.
fn select<E: Kept>(tenant: TenantId) -> QueryBuilder<Sqlite> {
    let head = format!("SELECT {} FROM {} WHERE tenant = ", E::COLUMNS, E::TABLE);
    let mut query = QueryBuilder::new(head);
    query.push_bind(tenant_to_column(tenant));
    query
}

/// A tenant nobody registered is refused by name, rather than by a foreign key.
pub(super) async fn require_tenant(
    connection: &mut SqliteConnection,
    tenant: TenantId,
) -> Result<(), Error> {
    let known = sqlx::query("SELECT 1 FROM tenants WHERE tenant = ?")
        .bind(tenant_to_column(tenant))
        .fetch_optional(connection)
        .await?;
    known.map(|_| ()).ok_or_else(|| Error::not_found("tenant", &tenant.0.to_string()))
}
