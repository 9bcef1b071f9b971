//! What advertisers, campaigns and ads have in common in PostgreSQL: made in batches, read, listed and
//! changed by id.

use std::collections::{HashMap, HashSet};

use reckon_event::TenantId;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, FromRow, Postgres, QueryBuilder};

use super::{PostgresBooks, behind, sought};
use crate::books::{Outcome, Page};
use crate::check;
use crate::error::Error;
use crate::rows::entity::{Entity, Known, decide_all, new_with_keys};
use crate::rows::{NameKey, key_to_column, tenant_to_column};

/// A statement and its arguments.
pub(super) type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// A thing of the catalog as PostgreSQL keeps it.
pub(super) trait Kept: Entity<Columns: for<'r> FromRow<'r, PgRow>> {
    /// Adds one array for each of [`Entity::COLUMNS`].
    fn bind<'q>(query: Query<'q>, items: &[&Self]) -> Query<'q>;
}

/// One column of some rows.
pub(super) fn column<'a, R, T>(rows: &[&'a R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(|&row| value(row)).collect()
}

/// `$first, ...`: the places of so many arguments.
pub(super) fn places(first: usize, count: usize) -> String {
    (first..first + count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}

/// Makes those of `items` that are new and acceptable, and answers for each.
pub(super) async fn create<E: Kept>(
    connection: &mut PgConnection,
    name_key: NameKey,
    tenant: TenantId,
    items: &[E],
) -> Result<Vec<Outcome<E>>, Error> {
    require_tenant(connection, tenant).await?;
    let keys: Vec<u64> = items.iter().map(|item| name_key(item.id())).collect();
    let known = Known {
        by_key: known_by_key(connection, name_key, tenant, &keys).await?,
        parents: known_parents(connection, tenant, items).await?,
    };
    let outcomes = decide_all(items.iter().cloned(), &keys, known);
    insert(connection, tenant, &new_with_keys(&outcomes, &keys)).await?;
    Ok(outcomes)
}

/// One lookup by key finds both what has the same id and what collides with it.
async fn known_by_key<E: Kept>(
    connection: &mut PgConnection,
    name_key: NameKey,
    tenant: TenantId,
    keys: &[u64],
) -> Result<HashMap<u64, E>, Error> {
    let keys: Vec<i64> = keys.iter().map(|&key| key_to_column(key)).collect();
    let select =
        format!("SELECT {} FROM {} WHERE tenant = $1 AND name_key = ANY($2)", E::COLUMNS, E::TABLE);
    let rows: Vec<E::Columns> = sqlx::query_as(AssertSqlSafe(select))
        .bind(tenant_to_column(tenant))
        .bind(keys)
        .fetch_all(connection)
        .await?;
    let keyed = |item: E| (name_key(item.id()), item);
    rows.into_iter().map(|row| Ok(keyed(E::of(row)?))).collect()
}

async fn known_parents<E: Kept>(
    connection: &mut PgConnection,
    tenant: TenantId,
    items: &[E],
) -> Result<HashSet<String>, Error> {
    let Some(parent) = E::PARENT else { return Ok(HashSet::new()) };
    let asked: HashSet<&str> = items.iter().map(|item| sought(item.parent_id())).collect();
    let asked: Vec<&str> = asked.into_iter().collect();
    let (table, id) = (parent.table, parent.id);
    let select = format!("SELECT {id} FROM {table} WHERE tenant = $1 AND {id} = ANY($2)");
    let rows: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(select))
        .bind(tenant_to_column(tenant))
        .bind(asked)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

async fn insert<E: Kept>(
    connection: &mut PgConnection,
    tenant: TenantId,
    items: &[(u64, &E)],
) -> Result<(), Error> {
    if items.is_empty() {
        return Ok(());
    }
    let keys: Vec<i64> = items.iter().map(|&(key, _)| key_to_column(key)).collect();
    let things: Vec<&E> = items.iter().map(|&(_, item)| item).collect();
    let text = format!(
        "INSERT INTO {} (tenant, name_key, {}) SELECT $1, * FROM UNNEST($2, {})",
        E::TABLE,
        E::COLUMNS,
        places(3, E::WIDTH)
    );
    let query = sqlx::query(AssertSqlSafe(text)).bind(tenant_to_column(tenant)).bind(keys);
    E::bind(query, &things).execute(connection).await?;
    Ok(())
}

/// The thing of this id, or `NotFound`.
pub(super) async fn get<E: Kept>(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: &str,
) -> Result<E, Error> {
    let mut query = select::<E>(tenant);
    query.push(" AND ").push(E::ID).push(" = ").push_bind(sought(id));
    let row: Option<E::Columns> = query.build_query_as().fetch_optional(connection).await?;
    E::of(row.ok_or_else(|| Error::not_found(E::WHAT, id))?)
}

async fn list<E: Kept>(
    connection: &mut PgConnection,
    tenant: TenantId,
    parent_id: Option<&str>,
    page: &Page,
) -> Result<Vec<E>, Error> {
    let mut query = select::<E>(tenant);
    if let (Some(parent), Some(parent_id)) = (E::PARENT, parent_id) {
        query.push(" AND ").push(parent.id).push(" = ").push_bind(sought(parent_id));
    }
    if let Some(after) = &page.after {
        query.push(" AND ").push(E::ID).push(" > ").push_bind(behind(after));
    }
    query.push(" ORDER BY ").push(E::ID).push(" LIMIT ").push_bind(i64::from(page.limit));
    let rows: Vec<E::Columns> = query.build_query_as().fetch_all(connection).await?;
    rows.into_iter().map(E::of).collect()
}

/// Writes the thing over the one of its id.
pub(super) async fn update<E: Kept>(
    connection: &mut PgConnection,
    tenant: TenantId,
    item: &E,
) -> Result<(), Error> {
    let text = format!(
        "UPDATE {} SET ({}) = (SELECT * FROM UNNEST({})) WHERE tenant = $1 AND {} = $2",
        E::TABLE,
        E::COLUMNS,
        places(3, E::WIDTH),
        E::ID
    );
    let query = sqlx::query(AssertSqlSafe(text)).bind(tenant_to_column(tenant)).bind(item.id());
    E::bind(query, &[item]).execute(connection).await?;
    Ok(())
}

/// `SELECT` of a tenant's things, open for further conditions.
fn select<E: Kept>(tenant: TenantId) -> QueryBuilder<Postgres> {
    let head = format!("SELECT {} FROM {} WHERE tenant = ", E::COLUMNS, E::TABLE);
    let mut query = QueryBuilder::new(head);
    query.push_bind(tenant_to_column(tenant));
    query
}

/// A tenant nobody registered is refused by name, rather than by a foreign key.
pub(super) async fn require_tenant(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<(), Error> {
    let known = sqlx::query("SELECT 1 FROM tenants WHERE tenant = $1")
        .bind(tenant_to_column(tenant))
        .fetch_optional(connection)
        .await?;
    known.map(|_| ()).ok_or_else(|| Error::not_found("tenant", &tenant.0.to_string()))
}

impl PostgresBooks {
    /// Makes a batch of things of one table.
    pub(super) async fn create<E: Kept>(
        &self,
        tenant: TenantId,
        items: Vec<E>,
    ) -> Result<Vec<Outcome<E>>, Error> {
        check::batch(items.len())?;
        let (name_key, items) = (self.name_key, items.as_slice());
        self.write(|session| Box::pin(create(session, name_key, tenant, items))).await
    }

    /// The thing of this id, or `NotFound`.
    pub(super) async fn get<E: Kept>(&self, tenant: TenantId, id: &str) -> Result<E, Error> {
        self.read(|session| Box::pin(get(session, tenant, id))).await
    }

    /// A page of the tenant's things, or of those of one parent.
    pub(super) async fn list<E: Kept>(
        &self,
        tenant: TenantId,
        parent_id: Option<&str>,
        page: &Page,
    ) -> Result<Vec<E>, Error> {
        check::page(page)?;
        self.read(|session| Box::pin(list(session, tenant, parent_id, page))).await
    }

    /// Writes what a patch makes of a thing, and answers it.
    pub(super) async fn patch<E: Kept>(
        &self,
        tenant: TenantId,
        id: &str,
        apply: impl Fn(E) -> E + Send + Sync,
    ) -> Result<E, Error> {
        let apply = &apply;
        self.write(move |session| Box::pin(patch(session, tenant, id, apply))).await
    }
}

async fn patch<E: Kept>(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: &str,
    apply: &(impl Fn(E) -> E + Sync),
) -> Result<E, Error> {
    let before: E = get(connection, tenant, id).await?;
    let after = apply(before.clone());
    after.check()?;
    if after != before {
        update(connection, tenant, &after).await?;
    }
    Ok(after)
}
