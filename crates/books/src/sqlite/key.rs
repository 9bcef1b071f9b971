//! Tenants and API keys in SQLite.

use async_trait::async_trait;
use reckon_event::{TenantId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::entity::require_tenant;
use super::{SqliteBooks, tenant_to_column};
use crate::books::{Created, Keys, Outcome, Page};
use crate::check;
use crate::error::Error;
use crate::key::{ApiKey, KeyKind, Scopes, SecretHash, Tenant};

const SELECT_KEY: &str = "SELECT tenant, key_id, name, kind, scopes, requests_per_second, \
    created_at, revoked_at, secret_hash FROM api_keys WHERE ";

#[async_trait]
impl Keys for SqliteBooks {
    async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        let rows = sqlx::query("SELECT tenant, name, created_at FROM tenants ORDER BY tenant")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(read_tenant).collect()
    }

    async fn create_tenant(&self, tenant: Tenant) -> Outcome<Tenant> {
        check::tenant(&tenant)?;
        let mut transaction = self.write().await?;
        let held = sqlx::query(
            "SELECT tenant, name, created_at FROM tenants WHERE tenant = ? OR name = ?",
        )
        .bind(tenant_to_column(tenant.tenant))
        .bind(&tenant.name)
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some(row) = held {
            return same_tenant(read_tenant(&row)?, &tenant);
        }
        sqlx::query("INSERT INTO tenants (tenant, name, created_at) VALUES (?, ?, ?)")
            .bind(tenant_to_column(tenant.tenant))
            .bind(&tenant.name)
            .bind(tenant.created_at.0)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Created::New(tenant))
    }

    async fn create_key(&self, key: ApiKey, secret: SecretHash) -> Outcome<ApiKey> {
        check::key(&key)?;
        let mut transaction = self.write().await?;
        require_tenant(&mut transaction, key.tenant).await?;
        let held = query_key()
            .push("(tenant = ")
            .push_bind(tenant_to_column(key.tenant))
            .push(" AND key_id = ")
            .push_bind(&key.key_id)
            .push(") OR secret_hash = ")
            .push_bind(secret.0.as_slice())
            .build()
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(row) = held {
            return same_key(read_key(&row)?, read_secret(&row)?, key, secret);
        }
        insert_key(&mut transaction, &key, secret).await?;
        transaction.commit().await?;
        Ok(Created::New(key))
    }

    async fn key_by_secret(&self, secret: SecretHash) -> Result<Option<ApiKey>, Error> {
        let row = query_key()
            .push("revoked_at IS NULL AND secret_hash = ")
            .push_bind(secret.0.as_slice())
            .build()
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(read_key).transpose()
    }

    async fn list_keys(&self, tenant: TenantId, page: Page) -> Result<Vec<ApiKey>, Error> {
        check::page(&page)?;
        let mut query = query_key();
        query.push("tenant = ").push_bind(tenant_to_column(tenant));
        if let Some(after) = &page.after {
            query.push(" AND key_id > ").push_bind(after);
        }
        query.push(" ORDER BY key_id LIMIT ").push_bind(i64::from(page.limit));
        let rows = query.build().fetch_all(&self.readers).await?;
        rows.iter().map(read_key).collect()
    }

    async fn revoke_key(
        &self,
        tenant: TenantId,
        key_id: &str,
        at: Timestamp,
    ) -> Result<ApiKey, Error> {
        check::time("revoked_at", at)?;
        let mut transaction = self.write().await?;
        sqlx::query(
            "UPDATE api_keys SET revoked_at = ? \
             WHERE tenant = ? AND key_id = ? AND revoked_at IS NULL",
        )
        .bind(at.0)
        .bind(tenant_to_column(tenant))
        .bind(key_id)
        .execute(&mut *transaction)
        .await?;
        let row = query_key()
            .push("tenant = ")
            .push_bind(tenant_to_column(tenant))
            .push(" AND key_id = ")
            .push_bind(key_id)
            .build()
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or_else(|| Error::not_found("key", key_id))?;
        transaction.commit().await?;
        read_key(&row)
    }
}

fn same_tenant(held: Tenant, asked: &Tenant) -> Outcome<Tenant> {
    if held.tenant == asked.tenant && held.name == asked.name {
        return Ok(Created::Same(held));
    }
    let message = format!("tenant {} is named `{}`: choose another", held.tenant.0, held.name);
    Err(Error::conflict(message))
}

fn same_key(
    held: ApiKey,
    held_secret: SecretHash,
    asked: ApiKey,
    asked_secret: SecretHash,
) -> Outcome<ApiKey> {
    if held.key_id != asked.key_id || held.tenant != asked.tenant {
        // Whose secret it is, is nobody's business.
        return Err(Error::conflict("this secret is another key's: draw a new one".to_owned()));
    }
    let times = (held.created_at, held.revoked_at);
    let asked = ApiKey { created_at: times.0, revoked_at: times.1, ..asked };
    if held_secret == asked_secret && held == asked {
        return Ok(Created::Same(held));
    }
    Err(Error::conflict(format!("key `{}` is registered with other values", held.key_id)))
}

async fn insert_key(
    connection: &mut SqliteConnection,
    key: &ApiKey,
    secret: SecretHash,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO api_keys (tenant, key_id, secret_hash, name, kind, scopes, \
         requests_per_second, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant_to_column(key.tenant))
    .bind(&key.key_id)
    .bind(secret.0.as_slice())
    .bind(&key.name)
    .bind(key.kind.as_str())
    .bind(i64::from(key.scopes.bits()))
    .bind(key.requests_per_second.map(i64::from))
    .bind(key.created_at.0)
    .execute(connection)
    .await?;
    Ok(())
}

fn query_key() -> QueryBuilder<Sqlite> {
    QueryBuilder::new(SELECT_KEY)
}

pub(super) fn read_tenant_id(row: &SqliteRow, column: usize) -> Result<TenantId, Error> {
    Ok(TenantId(read_u32(row.try_get(column)?, "tenant")?))
}

pub(super) fn read_u32(value: i64, what: &str) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::damaged(format!("{value} is no {what}")))
}

fn read_tenant(row: &SqliteRow) -> Result<Tenant, Error> {
    Ok(Tenant {
        tenant: read_tenant_id(row, 0)?,
        name: row.try_get(1)?,
        created_at: Timestamp(row.try_get(2)?),
    })
}

fn read_key(row: &SqliteRow) -> Result<ApiKey, Error> {
    let kind: &str = row.try_get(3)?;
    let scopes: i64 = row.try_get(4)?;
    let limit: Option<i64> = row.try_get(5)?;
    let revoked_at: Option<i64> = row.try_get(7)?;
    Ok(ApiKey {
        key_id: row.try_get(1)?,
        tenant: read_tenant_id(row, 0)?,
        name: row.try_get(2)?,
        kind: KeyKind::parse(kind).map_err(|_| Error::damaged(format!("`{kind}` is no kind")))?,
        scopes: read_scopes(scopes)?,
        requests_per_second: limit.map(|limit| read_u32(limit, "rate limit")).transpose()?,
        created_at: Timestamp(row.try_get(6)?),
        revoked_at: revoked_at.map(Timestamp),
    })
}

fn read_scopes(bits: i64) -> Result<Scopes, Error> {
    let known = u8::try_from(bits).ok().and_then(Scopes::from_bits);
    known.ok_or_else(|| Error::damaged(format!("{bits} is no set of scopes")))
}

fn read_secret(row: &SqliteRow) -> Result<SecretHash, Error> {
    let bytes: &[u8] = row.try_get(8)?;
    let hash = bytes.try_into().map_err(|_| Error::damaged("a secret's hash is cut".to_owned()))?;
    Ok(SecretHash(hash))
}
