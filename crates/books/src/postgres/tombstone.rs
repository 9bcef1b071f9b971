//! Tombstones in PostgreSQL.

use async_trait::async_trait;
use reckon_event::{Pseudonym, TenantId, Timestamp};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::entity::require_tenant;
use super::{PostgresBooks, person};
use crate::books::Created;
use crate::error::Error;
use crate::rows::tenant_to_column;
use crate::rows::tombstone::{
    COLUMNS, TombstoneColumns, erased_of, pseudonym_to_column, require_at_work, tombstone_of,
    work_of_new,
};
use crate::tombstone::{ErasureWork, TOMBSTONES_MAX, Tombstone, Tombstones};

#[async_trait]
impl Tombstones for PostgresBooks {
    async fn set_tombstone(&self, tombstone: Tombstone) -> Result<Created<Tombstone>, Error> {
        let tombstone = &tombstone;
        let work = work_of_new(tombstone)?;
        self.write(|session| Box::pin(set(session, tombstone, work))).await
    }

    async fn tombstone(
        &self,
        tenant: TenantId,
        person: Pseudonym,
    ) -> Result<Option<Tombstone>, Error> {
        self.read(|session| Box::pin(found(session, tenant, person))).await
    }

    async fn keep_erasure(&self, tombstone: &Tombstone) -> Result<(), Error> {
        self.write(|session| Box::pin(keep(session, tombstone))).await
    }

    async fn tombstones(
        &self,
        after: Option<(TenantId, Pseudonym)>,
    ) -> Result<Vec<(TenantId, Pseudonym, Timestamp)>, Error> {
        let after = after.unwrap_or((TenantId(0), Pseudonym::NONE));
        self.read(|session| Box::pin(page(session, after))).await
    }

    async fn erasures_at_work(&self, limit: u32) -> Result<Vec<Tombstone>, Error> {
        self.read(|session| Box::pin(at_work(session, limit))).await
    }
}

async fn page(
    connection: &mut PgConnection,
    (tenant, person): (TenantId, Pseudonym),
) -> Result<Vec<(TenantId, Pseudonym, Timestamp)>, Error> {
    let rows: Vec<(i64, Vec<u8>, i64)> = sqlx::query_as(
        "SELECT tenant, person, quiet_at FROM tombstones WHERE (tenant, person) > ($1, $2) \
         ORDER BY tenant, person LIMIT $3",
    )
    .bind(tenant_to_column(tenant))
    .bind(pseudonym_to_column(person))
    .bind(i64::from(TOMBSTONES_MAX))
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(erased_of).collect()
}

async fn at_work(connection: &mut PgConnection, limit: u32) -> Result<Vec<Tombstone>, Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM tombstones WHERE surrogate IS NOT NULL \
         ORDER BY asked_at, tenant, person LIMIT $1"
    );
    let rows: Vec<TombstoneColumns> =
        sqlx::query_as(AssertSqlSafe(text)).bind(i64::from(limit)).fetch_all(connection).await?;
    rows.into_iter().map(tombstone_of).collect()
}

async fn set(
    connection: &mut PgConnection,
    tombstone: &Tombstone,
    work: &ErasureWork,
) -> Result<Created<Tombstone>, Error> {
    let tenant = tombstone.tenant;
    require_tenant(connection, tenant).await?;
    if let Some(stands) = found(connection, tenant, tombstone.person).await? {
        return Ok(Created::Same(stands));
    }
    sqlx::query(
        "INSERT INTO tombstones (tenant, person, asked_at, quiet_at, surrogate, secret, traces, \
           swept_epoch, proof) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(tenant_to_column(tenant))
    .bind(pseudonym_to_column(tombstone.person))
    .bind(tombstone.asked_at.0)
    .bind(tombstone.quiet_at.0)
    .bind(pseudonym_to_column(work.surrogate))
    .bind(work.key.as_slice())
    .bind(&work.traces)
    .bind(work.swept_epoch.cast_signed())
    .bind(&tombstone.proof)
    .execute(&mut *connection)
    .await?;
    person::remove(connection, tenant, tombstone.person).await?;
    Ok(Created::New(tombstone.clone()))
}

async fn keep(connection: &mut PgConnection, tombstone: &Tombstone) -> Result<(), Error> {
    let Tombstone { tenant, person, proof, .. } = tombstone;
    let stands = found(connection, *tenant, *person).await?;
    require_at_work(stands.as_ref(), *person)?;
    let work = tombstone.work.as_ref();
    sqlx::query(
        "UPDATE tombstones SET surrogate = $1, secret = $2, traces = $3, swept_epoch = $4, \
           proof = $5 WHERE tenant = $6 AND person = $7",
    )
    .bind(work.map(|work| pseudonym_to_column(work.surrogate)))
    .bind(work.map(|work| work.key.to_vec()))
    .bind(work.map(|work| work.traces.as_str()))
    .bind(work.map(|work| work.swept_epoch.cast_signed()))
    .bind(proof)
    .bind(tenant_to_column(*tenant))
    .bind(pseudonym_to_column(*person))
    .execute(connection)
    .await?;
    Ok(())
}

async fn found(
    connection: &mut PgConnection,
    tenant: TenantId,
    person: Pseudonym,
) -> Result<Option<Tombstone>, Error> {
    let text = format!("SELECT {COLUMNS} FROM tombstones WHERE tenant = $1 AND person = $2");
    let row: Option<TombstoneColumns> = sqlx::query_as(AssertSqlSafe(text))
        .bind(tenant_to_column(tenant))
        .bind(pseudonym_to_column(person))
        .fetch_optional(connection)
        .await?;
    row.map(tombstone_of).transpose()
}
