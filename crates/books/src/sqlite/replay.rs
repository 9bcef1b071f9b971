//! Answers kept for idempotency keys, in SQLite.

use async_trait::async_trait;
use reckon_event::{TenantId, Timestamp};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::entity::require_tenant;
use super::{SqliteBooks, tenant_to_column};
use crate::books::Replays;
use crate::check;
use crate::error::Error;
use crate::replay::{CLAIM_MICROS_MAX, Claim, RESPONSE_KEPT_MICROS, RequestDigest, StoredResponse};

/// Answers forgotten in one transaction, so that a writer never waits long.
const EXPIRED_PER_CALL: i64 = 10_000;

/// What stands under an idempotency key.
struct Held {
    digest: RequestDigest,
    claimed_at: Timestamp,
    response: Option<StoredResponse>,
}

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

/// What to do with a request, given what stands under its key.
fn decide(held: Option<Held>, digest: RequestDigest, now: Timestamp) -> Claim {
    let Some(held) = held else { return Claim::Fresh };
    let age = now.since(held.claimed_at);
    match held.response {
        _ if age >= RESPONSE_KEPT_MICROS => Claim::Fresh,
        _ if held.digest != digest => Claim::Mismatch,
        Some(response) => Claim::Replay(response),
        None if age >= CLAIM_MICROS_MAX => Claim::Fresh,
        None => Claim::InProgress,
    }
}

async fn held(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    key: &str,
) -> Result<Option<Held>, Error> {
    let row = sqlx::query(
        "SELECT request_digest, claimed_at, status, body FROM replays \
         WHERE tenant = ? AND idempotency_key = ?",
    )
    .bind(tenant_to_column(tenant))
    .bind(key)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read_held).transpose()
}

fn read_held(row: &SqliteRow) -> Result<Held, Error> {
    let digest: &[u8] = row.try_get(0)?;
    let digest = digest.try_into().map_err(|_| Error::damaged("a digest is cut".to_owned()))?;
    let status: Option<i64> = row.try_get(2)?;
    let body: Option<Vec<u8>> = row.try_get(3)?;
    let response =
        status.zip(body).map(|(status, body)| read_response(status, body)).transpose()?;
    Ok(Held { digest: RequestDigest(digest), claimed_at: Timestamp(row.try_get(1)?), response })
}

fn read_response(status: i64, body: Vec<u8>) -> Result<StoredResponse, Error> {
    let status =
        u16::try_from(status).map_err(|_| Error::damaged(format!("{status} is no HTTP status")))?;
    Ok(StoredResponse { status, body })
}
