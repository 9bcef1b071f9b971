//! Answers kept for idempotency keys, in SQLite.

use async_trait::async_trait;
use reckon_event::{TenantId, Timestamp};
use sqlx::sqlite::SqliteConnection;

use super::SqliteBooks;
use super::entity::require_tenant;
use crate::books::Replays;
use crate::check;
use crate::error::Error;
use crate::replay::{Claim, RESPONSE_KEPT_MICROS, RequestDigest, StoredResponse};
use crate::rows::replay::{EXPIRED_PER_CALL, Held, HeldColumns, decide, held_of};
use crate::rows::tenant_to_column;

#[async_trait]
impl Replays for SqliteBooks {
    async fn begin(
        &self,
        tenant: TenantId,
        key: &str,
        digest: RequestDigest,
        now: Timestamp,
    ) -> Result<Claim, Error> {
        check::id("Idempotency-Key", key)?;
        let mut transaction = self.write().await?;
        require_tenant(&mut transaction, tenant).await?;
        let claim = decide(held(&mut transaction, tenant, key).await?, digest, now);
        if claim == Claim::Fresh {
            sqlx::query(
                "INSERT INTO replays (tenant, idempotency_key, request_digest, claimed_at) \
                 VALUES (?, ?, ?, ?) ON CONFLICT (tenant, idempotency_key) DO UPDATE SET \
                   request_digest = excluded.request_digest, claimed_at = excluded.claimed_at, \
                   status = NULL, body = NULL",
            )
            .bind(tenant_to_column(tenant))
            .bind(key)
            .bind(digest.0.as_slice())
            .bind(now.0)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
        }
        Ok(claim)
    }

    async fn complete(
        &self,
        tenant: TenantId,
        key: &str,
        digest: RequestDigest,
        response: StoredResponse,
    ) -> Result<(), Error> {
        check::response(&response)?;
        sqlx::query(
            "UPDATE replays SET status = ?, body = ? WHERE tenant = ? AND idempotency_key = ? \
             AND request_digest = ? AND status IS NULL",
        )
        .bind(i64::from(response.status))
        .bind(response.body)
        .bind(tenant_to_column(tenant))
        .bind(key)
        .bind(digest.0.as_slice())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn abandon(
        &self,
        tenant: TenantId,
        key: &str,
        digest: RequestDigest,
    ) -> Result<(), Error> {
        sqlx::query(
            "DELETE FROM replays WHERE tenant = ? AND idempotency_key = ? \
             AND request_digest = ? AND status IS NULL",
        )
        .bind(tenant_to_column(tenant))
        .bind(key)
        .bind(digest.0.as_slice())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn expire(&self, now: Timestamp) -> Result<u64, Error> {
        let done = sqlx::query(
            "DELETE FROM replays WHERE rowid IN \
             (SELECT rowid FROM replays WHERE claimed_at <= ? ORDER BY claimed_at LIMIT ?)",
        )
        .bind(now.plus(-RESPONSE_KEPT_MICROS).0)
        .bind(EXPIRED_PER_CALL)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }
}

async fn held(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    key: &str,
) -> Result<Option<Held>, Error> {
    let row: Option<HeldColumns> = sqlx::query_as(
        "SELECT request_digest, claimed_at, status, body FROM replays \
         WHERE tenant = ? AND idempotency_key = ?",
    )
    .bind(tenant_to_column(tenant))
    .bind(key)
    .fetch_optional(connection)
    .await?;
    row.map(held_of).transpose()
}
