//! Answers kept for idempotency keys, in PostgreSQL.

use async_trait::async_trait;
use reckon_event::{TenantId, Timestamp};
use sqlx::postgres::PgConnection;

use super::entity::require_tenant;
use super::{PostgresBooks, sought};
use crate::books::Replays;
use crate::check;
use crate::error::Error;
use crate::replay::{Claim, RESPONSE_KEPT_MICROS, RequestDigest, StoredResponse};
use crate::rows::replay::{EXPIRED_PER_CALL, Held, HeldColumns, decide, held_of};
use crate::rows::tenant_to_column;

#[async_trait]
impl Replays for PostgresBooks {
    async fn begin(
        &self,
        tenant: TenantId,
        key: &str,
        digest: RequestDigest,
        now: Timestamp,
    ) -> Result<Claim, Error> {
        check::id("Idempotency-Key", key)?;
        self.write(|session| Box::pin(begin(session, tenant, key, digest, now))).await
    }

    async fn complete(
        &self,
        tenant: TenantId,
        key: &str,
        digest: RequestDigest,
        response: StoredResponse,
    ) -> Result<(), Error> {
        check::response(&response)?;
        let response = &response;
        self.write(|session| Box::pin(complete(session, tenant, key, digest, response))).await
    }

    async fn abandon(
        &self,
        tenant: TenantId,
        key: &str,
        digest: RequestDigest,
    ) -> Result<(), Error> {
        self.write(|session| Box::pin(abandon(session, tenant, key, digest))).await
    }

    async fn expire(&self, now: Timestamp) -> Result<u64, Error> {
        self.write(|session| Box::pin(expire(session, now))).await
    }
}

async fn complete(
    connection: &mut PgConnection,
    tenant: TenantId,
    key: &str,
    digest: RequestDigest,
    response: &StoredResponse,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE replays SET status = $1, body = $2 WHERE tenant = $3 AND idempotency_key = $4 \
         AND request_digest = $5 AND status IS NULL",
    )
    .bind(i64::from(response.status))
    .bind(response.body.as_slice())
    .bind(tenant_to_column(tenant))
    .bind(sought(key))
    .bind(digest.0.as_slice())
    .execute(connection)
    .await?;
    Ok(())
}

async fn abandon(
    connection: &mut PgConnection,
    tenant: TenantId,
    key: &str,
    digest: RequestDigest,
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM replays WHERE tenant = $1 AND idempotency_key = $2 \
         AND request_digest = $3 AND status IS NULL",
    )
    .bind(tenant_to_column(tenant))
    .bind(sought(key))
    .bind(digest.0.as_slice())
    .execute(connection)
    .await?;
    Ok(())
}

async fn expire(connection: &mut PgConnection, now: Timestamp) -> Result<u64, Error> {
    let done = sqlx::query(
        "DELETE FROM replays WHERE (tenant, idempotency_key) IN \
         (SELECT tenant, idempotency_key FROM replays WHERE claimed_at <= $1 \
          ORDER BY claimed_at LIMIT $2)",
    )
    .bind(now.plus(-RESPONSE_KEPT_MICROS).0)
    .bind(EXPIRED_PER_CALL)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

async fn begin(
    connection: &mut PgConnection,
    tenant: TenantId,
    key: &str,
    digest: RequestDigest,
    now: Timestamp,
) -> Result<Claim, Error> {
    require_tenant(connection, tenant).await?;
    let claim = decide(held(connection, tenant, key).await?, digest, now);
    if claim == Claim::Fresh {
        sqlx::query(
            "INSERT INTO replays (tenant, idempotency_key, request_digest, claimed_at) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, idempotency_key) DO UPDATE SET \
               request_digest = excluded.request_digest, claimed_at = excluded.claimed_at, \
               status = NULL, body = NULL",
        )
        .bind(tenant_to_column(tenant))
        .bind(key)
        .bind(digest.0.as_slice())
        .bind(now.0)
        .execute(connection)
        .await?;
    }
    Ok(claim)
}

async fn held(
    connection: &mut PgConnection,
    tenant: TenantId,
    key: &str,
) -> Result<Option<Held>, Error> {
    let row: Option<HeldColumns> = sqlx::query_as(
        "SELECT request_digest, claimed_at, status, body FROM replays \
         WHERE tenant = $1 AND idempotency_key = $2",
    )
    .bind(tenant_to_column(tenant))
    .bind(key)
    .fetch_optional(connection)
    .await?;
    row.map(held_of).transpose()
}
