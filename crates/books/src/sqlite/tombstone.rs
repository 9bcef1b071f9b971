//! Tombstones in SQLite.

use async_trait::async_trait;
use reckon_event::{Pseudonym, TenantId, Timestamp};
use sqlx::sqlite::SqliteConnection;

use super::entity::require_tenant;
use super::{SqliteBooks, person};
use crate::books::Created;
use crate::error::Error;
use crate::rows::tenant_to_column;
use crate::rows::tombstone::{
    COLUMNS, TombstoneColumns, erased_of, pseudonym_to_column, require_at_work, tombstone_of,
    work_of_new,
};
use crate::tombstone::{TOMBSTONES_MAX, Tombstone, Tombstones};

#[async_trait]
impl Tombstones for SqliteBooks {
    async fn set_tombstone(&self, tombstone: Tombstone) -> Result<Created<Tombstone>, Error> {
        let tenant = tombstone.tenant;
        let work = work_of_new(&tombstone)?;
        let mut transaction = self.write().await?;
        require_tenant(&mut transaction, tenant).await?;
        if let Some(stands) = found(&mut transaction, tenant, tombstone.person).await? {
            return Ok(Created::Same(stands));
        }
        sqlx::query(
            "INSERT INTO tombstones (tenant, person, asked_at, quiet_at, surrogate, secret, traces, \
               swept_epoch, proof) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant_to_column(tenant))
        .bind(pseudonym_to_column(tombstone.person))
        .bind(tombstone.asked_at.0)
        .bind(tombstone.quiet_at.0)
        .bind(pseudonym_to_column(work.surrogate))
        .bind(work.key.to_vec())
        .bind(&work.traces)
        .bind(work.swept_epoch.cast_signed())
        .bind(&tombstone.proof)
        .execute(&mut *transaction)
        .await?;
        person::remove(&mut transaction, tenant, tombstone.person).await?;
        transaction.commit().await?;
        Ok(Created::New(tombstone))
    }

    async fn tombstone(
        &self,
        tenant: TenantId,
        person: Pseudonym,
    ) -> Result<Option<Tombstone>, Error> {
        found(&mut *self.readers.acquire().await?, tenant, person).await
    }

    async fn keep_erasure(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        let Tombstone { tenant, person, work, proof, .. } = tombstone;
        let stands = found(&mut transaction, *tenant, *person).await?;
        require_at_work(stands.as_ref(), *person)?;
        let work = work.as_ref();
        sqlx::query(
            "UPDATE tombstones SET surrogate = ?, secret = ?, traces = ?, swept_epoch = ?, proof = ? \
             WHERE tenant = ? AND person = ?",
        )
        .bind(work.map(|work| pseudonym_to_column(work.surrogate)))
        .bind(work.map(|work| work.key.to_vec()))
        .bind(work.map(|work| &work.traces))
        .bind(work.map(|work| work.swept_epoch.cast_signed()))
        .bind(proof)
        .bind(tenant_to_column(*tenant))
        .bind(pseudonym_to_column(*person))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn tombstones(
        &self,
        after: Option<(TenantId, Pseudonym)>,
    ) -> Result<Vec<(TenantId, Pseudonym, Timestamp)>, Error> {
        let (tenant, person) = after.unwrap_or((TenantId(0), Pseudonym::NONE));
        let rows: Vec<(i64, Vec<u8>, i64)> = sqlx::query_as(
            "SELECT tenant, person, quiet_at FROM tombstones WHERE (tenant, person) > (?, ?) \
             ORDER BY tenant, person LIMIT ?",
        )
        .bind(tenant_to_column(tenant))
        .bind(pseudonym_to_column(person))
        .bind(TOMBSTONES_MAX)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(erased_of).collect()
    }

    async fn erasures_at_work(&self, limit: u32) -> Result<Vec<Tombstone>, Error> {
        let text = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM tombstones WHERE surrogate IS NOT NULL \
             ORDER BY asked_at, tenant, person LIMIT ?"
        ));
        let rows: Vec<TombstoneColumns> =
            sqlx::query_as(text).bind(limit).fetch_all(&self.readers).await?;
        rows.into_iter().map(tombstone_of).collect()
    }
}

async fn found(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    person: Pseudonym,
) -> Result<Option<Tombstone>, Error> {
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM tombstones WHERE tenant = ? AND person = ?"
    ));
    let row: Option<TombstoneColumns> = sqlx::query_as(text)
        .bind(tenant_to_column(tenant))
        .bind(pseudonym_to_column(person))
        .fetch_optional(connection)
        .await?;
    row.map(tombstone_of).transpose()
}
