//! Tenants and API keys in SQLite.

use async_trait::async_trait;
use reckon_event::{TenantId, Timestamp};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::SqliteBooks;
use super::entity::require_tenant;
use crate::books::{Created, Keys, Outcome, Page};
use crate::check;
use crate::error::Error;
use crate::key::{ApiKey, SecretHash, Tenant};
use crate::rows::key::{
    KEY_COLUMNS, KeyColumns, TenantColumns, key_of, registered_tenant, same_key, same_tenant,
};
use crate::rows::tenant_to_column;

#[async_trait]
impl Keys for SqliteBooks {
    async fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        let rows: Vec<TenantColumns> =
            sqlx::query_as("SELECT tenant, name, created_at FROM tenants ORDER BY tenant")
                .fetch_all(&self.readers)
                .await?;
        rows.into_iter().map(registered_tenant).collect()
    }

    async fn create_tenant(&self, tenant: Tenant) -> Outcome<Tenant> {
        check::tenant(&tenant)?;
        let mut transaction = self.write().await?;
        let held = sqlx::query_as(
            "SELECT tenant, name, created_at FROM tenants WHERE tenant = ? OR name = ? \
             ORDER BY tenant LIMIT 1",
        )
        .bind(tenant_to_column(tenant.tenant))
        .bind(&tenant.name)
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some(row) = held {
            return same_tenant(registered_tenant(row)?, &tenant);
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
            .push(" ORDER BY tenant, key_id LIMIT 1")
            .build_query_as()
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(row) = held {
            return same_key(key_of(row)?, &key, secret);
        }
        insert_key(&mut transaction, &key, secret).await?;
        transaction.commit().await?;
        Ok(Created::New(key))
    }

    async fn key_by_secret(&self, secret: SecretHash) -> Result<Option<ApiKey>, Error> {
        let row: Option<KeyColumns> = query_key()
            .push("revoked_at IS NULL AND secret_hash = ")
            .push_bind(secret.0.as_slice())
            .build_query_as()
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(key_of).transpose()?.map(|(key, _)| key))
    }

    async fn list_keys(&self, tenant: TenantId, page: Page) -> Result<Vec<ApiKey>, Error> {
        check::page(&page)?;
        let mut query = query_key();
        query.push("tenant = ").push_bind(tenant_to_column(tenant));
        if let Some(after) = &page.after {
            query.push(" AND key_id > ").push_bind(after);
        }
        query.push(" ORDER BY key_id LIMIT ").push_bind(i64::from(page.limit));
        let rows: Vec<KeyColumns> = query.build_query_as().fetch_all(&self.readers).await?;
        rows.into_iter().map(|row| Ok(key_of(row)?.0)).collect()
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
            .build_query_as()
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or_else(|| Error::not_found("key", key_id))?;
        transaction.commit().await?;
        Ok(key_of(row)?.0)
    }
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
    QueryBuilder::new(format!("SELECT {KEY_COLUMNS} FROM api_keys WHERE "))
}
