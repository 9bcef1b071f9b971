//! Tenants and API keys in PostgreSQL.

use async_trait::async_trait;
use reckon_event::{TenantId, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder};

use super::entity::require_tenant;
use super::{PostgresBooks, behind, sought};
use crate::books::{Created, Keys, Outcome, Page};
use crate::check;
use crate::error::Error;
use crate::key::{ApiKey, SecretHash, Tenant};
use crate::rows::key::{
    KEY_COLUMNS, KeyColumns, TenantColumns, key_of, registered_tenant, same_key, same_tenant,
};
use crate::rows::tenant_to_column;

#[async_trait]
impl Keys for PostgresBooks {
    async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        self.read(|session| Box::pin(tenants(session))).await
    }

    async fn create_tenant(&self, tenant: Tenant) -> Outcome<Tenant> {
        check::tenant(&tenant)?;
        let tenant = &tenant;
        self.write(|session| Box::pin(create_tenant(session, tenant))).await
    }

    async fn create_key(&self, key: ApiKey, secret: SecretHash) -> Outcome<ApiKey> {
        check::key(&key)?;
        let key = &key;
        self.write(|session| Box::pin(create_key(session, key, secret))).await
    }

    async fn key_by_secret(&self, secret: SecretHash) -> Result<Option<ApiKey>, Error> {
        self.read(|session| Box::pin(key_by_secret(session, secret))).await
    }

    async fn list_keys(&self, tenant: TenantId, page: Page) -> Result<Vec<ApiKey>, Error> {
        check::page(&page)?;
        let page = &page;
        self.read(|session| Box::pin(list_keys(session, tenant, page))).await
    }

    async fn revoke_key(
        &self,
        tenant: TenantId,
        key_id: &str,
        at: Timestamp,
    ) -> Result<ApiKey, Error> {
        check::time("revoked_at", at)?;
        self.write(|session| Box::pin(revoke_key(session, tenant, key_id, at))).await
    }
}

async fn tenants(connection: &mut PgConnection) -> Result<Vec<Tenant>, Error> {
    let rows: Vec<TenantColumns> =
        sqlx::query_as("SELECT tenant, name, created_at FROM tenants ORDER BY tenant")
            .fetch_all(connection)
            .await?;
    rows.into_iter().map(registered_tenant).collect()
}

async fn key_by_secret(
    connection: &mut PgConnection,
    secret: SecretHash,
) -> Result<Option<ApiKey>, Error> {
    let row: Option<KeyColumns> = query_key()
        .push("revoked_at IS NULL AND secret_hash = ")
        .push_bind(secret.0.as_slice())
        .build_query_as()
        .fetch_optional(connection)
        .await?;
    Ok(row.map(key_of).transpose()?.map(|(key, _)| key))
}

async fn list_keys(
    connection: &mut PgConnection,
    tenant: TenantId,
    page: &Page,
) -> Result<Vec<ApiKey>, Error> {
    let mut query = query_key();
    query.push("tenant = ").push_bind(tenant_to_column(tenant));
    if let Some(after) = &page.after {
        query.push(" AND key_id > ").push_bind(behind(after));
    }
    query.push(" ORDER BY key_id LIMIT ").push_bind(i64::from(page.limit));
    let rows: Vec<KeyColumns> = query.build_query_as().fetch_all(connection).await?;
    rows.into_iter().map(|row| Ok(key_of(row)?.0)).collect()
}

async fn create_tenant(connection: &mut PgConnection, tenant: &Tenant) -> Outcome<Tenant> {
    let held = sqlx::query_as(
        "SELECT tenant, name, created_at FROM tenants WHERE tenant = $1 OR name = $2 \
         ORDER BY tenant LIMIT 1",
    )
    .bind(tenant_to_column(tenant.tenant))
    .bind(&tenant.name)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = held {
        return same_tenant(registered_tenant(row)?, tenant);
    }
    sqlx::query("INSERT INTO tenants (tenant, name, created_at) VALUES ($1, $2, $3)")
        .bind(tenant_to_column(tenant.tenant))
        .bind(&tenant.name)
        .bind(tenant.created_at.0)
        .execute(connection)
        .await?;
    Ok(Created::New(tenant.clone()))
}

async fn create_key(
    connection: &mut PgConnection,
    key: &ApiKey,
    secret: SecretHash,
) -> Outcome<ApiKey> {
    require_tenant(connection, key.tenant).await?;
    let held = query_key()
        .push("(tenant = ")
        .push_bind(tenant_to_column(key.tenant))
        .push(" AND key_id = ")
        .push_bind(&key.key_id)
        .push(") OR secret_hash = ")
        .push_bind(secret.0.as_slice())
        .push(" ORDER BY tenant, key_id LIMIT 1")
        .build_query_as()
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = held {
        return same_key(key_of(row)?, key, secret);
    }
    insert_key(connection, key, secret).await?;
    Ok(Created::New(key.clone()))
}

async fn insert_key(
    connection: &mut PgConnection,
    key: &ApiKey,
    secret: SecretHash,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO api_keys (tenant, key_id, secret_hash, name, kind, scopes, \
         requests_per_second, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
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

async fn revoke_key(
    connection: &mut PgConnection,
    tenant: TenantId,
    key_id: &str,
    at: Timestamp,
) -> Result<ApiKey, Error> {
    sqlx::query(
        "UPDATE api_keys SET revoked_at = $1 \
         WHERE tenant = $2 AND key_id = $3 AND revoked_at IS NULL",
    )
    .bind(at.0)
    .bind(tenant_to_column(tenant))
    .bind(sought(key_id))
    .execute(&mut *connection)
    .await?;
    let row = query_key()
        .push("tenant = ")
        .push_bind(tenant_to_column(tenant))
        .push(" AND key_id = ")
        .push_bind(sought(key_id))
        .build_query_as()
        .fetch_optional(connection)
        .await?;
    Ok(key_of(row.ok_or_else(|| Error::not_found("key", key_id))?)?.0)
}

fn query_key() -> QueryBuilder<Postgres> {
    QueryBuilder::new(format!("SELECT {KEY_COLUMNS} FROM api_keys WHERE "))
}
