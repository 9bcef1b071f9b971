//! What advertisers, campaigns and ads have in common in SQLite: made in batches, read, listed and
//! changed by id.
//!
//! A batch reads what it may meet, decides each item without I/O ([`decide`]), then writes what is
//! new, all in one transaction.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};

use reckon_event::TenantId;
use sqlx::query_builder::Separated;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::{SqliteBooks, key_to_column, tenant_to_column};
use crate::books::{Created, Outcome, Page};
use crate::check;
use crate::error::Error;

/// Rows of one statement. With at most 12 values a row this stays below SQLite's 32,766.
pub(super) const ROWS_PER_STATEMENT: usize = 500;

/// The values of one row being added to a statement.
pub(super) type Values<'a> = Separated<'a, Sqlite, &'static str>;

/// The table a thing's parent stands in.
pub(super) struct Parent {
    pub table: &'static str,
    pub id: &'static str,
}

/// A thing of the catalog with a table of its own.
pub(super) trait Entity: Clone + PartialEq + Send + Sync + Sized + 'static {
    /// For messages.
    const WHAT: &'static str;
    const TABLE: &'static str;
    /// The column of its id, the first of [`Entity::COLUMNS`].
    const ID: &'static str;
    /// All columns but `tenant` and `name_key`, in the order of `push` and `read`.
    const COLUMNS: &'static str;
    /// Where its parent is, if it has one.
    const PARENT: Option<Parent>;

    fn id(&self) -> &str;
    fn parent_id(&self) -> &str;
    fn check(&self) -> Result<(), Error>;
    /// Equal in all that was asked for, that is in everything but the time.
    fn same(&self, other: &Self) -> bool;
    fn push(&self, values: &mut Values<'_>);
    /// Reads a row that has [`Entity::COLUMNS`] from column `first` on.
    fn read(row: &SqliteRow, first: usize) -> Result<Self, Error>;
}

/// What a batch may meet in the books.
struct Known<E> {
    by_key: HashMap<u64, E>,
    parents: HashSet<String>,
}

/// Makes those of `items` that are new and acceptable, and answers for each.
pub(super) async fn create<E: Entity>(
    connection: &mut SqliteConnection,
    books: &SqliteBooks,
    tenant: TenantId,
    items: Vec<E>,
) -> Result<Vec<Outcome<E>>, Error> {
    check::batch(items.len())?;
    require_tenant(connection, tenant).await?;
    let keys: Vec<u64> = items.iter().map(|item| (books.name_key)(item.id())).collect();
    let mut known = Known {
        by_key: known_by_key(connection, books, tenant, &keys).await?,
        parents: known_parents(connection, tenant, &items).await?,
    };
    let decisions = items.into_iter().zip(&keys);
    let outcomes: Vec<_> = decisions.map(|(item, &key)| decide(item, key, &mut known)).collect();
    let new: Vec<(u64, &E)> = outcomes.iter().zip(keys).filter_map(new_with_key).collect();
    insert(connection, tenant, &new).await?;
    Ok(outcomes)
}

fn new_with_key<E>((outcome, key): (&Outcome<E>, u64)) -> Option<(u64, &E)> {
    match outcome {
        Ok(Created::New(item)) => Some((key, item)),
        Ok(Created::Same(_)) | Err(_) => None,
    }
}

/// What becomes of one item, given all that stands in the books and all before it in its batch.
fn decide<E: Entity>(item: E, key: u64, known: &mut Known<E>) -> Outcome<E> {
    item.check()?;
    if let Some(parent) = E::PARENT
        && !known.parents.contains(item.parent_id())
    {
        let problem = format!("`{}` is not registered: register it first", item.parent_id());
        return Err(Error::invalid(parent.id, &problem));
    }
    match known.by_key.entry(key) {
        Entry::Vacant(free) => {
            free.insert(item.clone());
            Ok(Created::New(item))
        }
        Entry::Occupied(held) if held.get().id() != item.id() => {
            Err(Error::collision(E::ID, item.id(), held.get().id()))
        }
        Entry::Occupied(held) if held.get().same(&item) => Ok(Created::Same(held.get().clone())),
        Entry::Occupied(_) => Err(Error::conflict(format!(
            "{} `{}` is registered with other values: PATCH changes it",
            E::WHAT,
            item.id()
        ))),
    }
}

/// One lookup by key finds both what has the same id and what collides with it.
async fn known_by_key<E: Entity>(
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
            let item = E::read(&row, 0)?;
            known.insert((books.name_key)(item.id()), item);
        }
    }
    Ok(known)
}

async fn known_parents<E: Entity>(
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

async fn insert<E: Entity>(
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
pub(super) async fn get<E: Entity>(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    id: &str,
) -> Result<E, Error> {
    let mut query = select::<E>(tenant);
    query.push(" AND ").push(E::ID).push(" = ").push_bind(id);
    match query.build().fetch_optional(connection).await? {
        Some(row) => E::read(&row, 0),
        None => Err(Error::not_found(E::WHAT, id)),
    }
}

/// A page of the tenant's things, or of those of one parent.
pub(super) async fn list<E: Entity>(
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
    rows.iter().map(|row| E::read(row, 0)).collect()
}

/// Writes the thing over the one of its id.
pub(super) async fn update<E: Entity>(
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
fn select<E: Entity>(tenant: TenantId) -> QueryBuilder<Sqlite> {
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
