//! Tombstones in SQLite.

use async_trait::async_trait;
use reckon_event::{Pseudonym, TenantId, Timestamp};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::entity::require_tenant;
use super::key::read_tenant_id;
use super::{SqliteBooks, tenant_to_column};
use crate::books::Created;
use crate::error::Error;
use crate::tombstone::{ErasureState, ErasureWork, TOMBSTONES_MAX, Tombstone, Tombstones};

const COLUMNS: &str =
    "tenant, person, asked_at, quiet_at, surrogate, secret, traces, swept_epoch, proof";

#[async_trait]
impl Tombstones for SqliteBooks {
    async fn set_tombstone(&self, tombstone: Tombstone) -> Result<Created<Tombstone>, Error> {
        let Tombstone { tenant, person, .. } = tombstone;
        let Some(work) = tombstone.work.as_ref().filter(|_| person.is_some()) else {
            return Err(Error::invalid("person", "a new tombstone needs a person and its work"));
        };
        let mut transaction = self.write().await?;
        require_tenant(&mut transaction, tenant).await?;
        if let Some(stands) = found(&mut transaction, tenant, person).await? {
            return Ok(Created::Same(stands));
        }
        sqlx::query(
            "INSERT INTO tombstones (tenant, person, asked_at, quiet_at, surrogate, secret, traces, \
               swept_epoch, proof) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant_to_column(tenant))
        .bind(bytes_of(person))
        .bind(tombstone.asked_at.0)
        .bind(tombstone.quiet_at.0)
        .bind(bytes_of(work.surrogate))
        .bind(work.key.to_vec())
        .bind(&work.traces)
        .bind(work.swept_epoch.cast_signed())
        .bind(&tombstone.proof)
        .execute(&mut *transaction)
        .await?;
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
        match found(&mut transaction, *tenant, *person).await?.map(|stands| stands.state()) {
            None => return Err(Error::not_found("tombstone", &format!("{:032x}", person.0))),
            Some(ErasureState::Settled) => {
                return Err(Error::conflict("the erasure is settled already".to_owned()));
            }
            Some(ErasureState::Asked | ErasureState::Erased) => {}
        }
        let work = work.as_ref();
        sqlx::query(
            "UPDATE tombstones SET surrogate = ?, secret = ?, traces = ?, swept_epoch = ?, proof = ? \
             WHERE tenant = ? AND person = ?",
        )
        .bind(work.map(|work| bytes_of(work.surrogate)))
        .bind(work.map(|work| work.key.to_vec()))
        .bind(work.map(|work| &work.traces))
        .bind(work.map(|work| work.swept_epoch.cast_signed()))
        .bind(proof)
        .bind(tenant_to_column(*tenant))
        .bind(bytes_of(*person))
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
        let rows = sqlx::query(
            "SELECT tenant, person, quiet_at FROM tombstones WHERE (tenant, person) > (?, ?) \
             ORDER BY tenant, person LIMIT ?",
        )
        .bind(tenant_to_column(tenant))
        .bind(bytes_of(person))
        .bind(TOMBSTONES_MAX)
        .fetch_all(&self.readers)
        .await?;
        let read = |row: &SqliteRow| {
            Ok((read_tenant_id(row, 0)?, read_pseudonym(row, 1)?, Timestamp(row.try_get(2)?)))
        };
        rows.iter().map(read).collect()
    }

    async fn erasures_at_work(&self, limit: u32) -> Result<Vec<Tombstone>, Error> {
        let text = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM tombstones WHERE surrogate IS NOT NULL \
             ORDER BY asked_at, tenant, person LIMIT ?"
        ));
        let rows = sqlx::query(text).bind(limit).fetch_all(&self.readers).await?;
        rows.iter().map(read_tombstone).collect()
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
    let query = sqlx::query(text).bind(tenant_to_column(tenant)).bind(bytes_of(person));
    query.fetch_optional(connection).await?.as_ref().map(read_tombstone).transpose()
}

fn bytes_of(who: Pseudonym) -> Vec<u8> {
    who.0.to_be_bytes().to_vec()
}

fn cut<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::damaged("a tombstone is cut".to_owned()))
}

fn read_pseudonym(row: &SqliteRow, column: usize) -> Result<Pseudonym, Error> {
    Ok(Pseudonym(u128::from_be_bytes(cut(row.try_get(column)?)?)))
}

fn read_tombstone(row: &SqliteRow) -> Result<Tombstone, Error> {
    let secret: Option<&[u8]> = row.try_get(5)?;
    let work = match secret {
        None => None,
        Some(secret) => {
            let swept_epoch: i64 = row.try_get(7)?;
            Some(ErasureWork {
                surrogate: read_pseudonym(row, 4)?,
                key: cut(secret)?,
                traces: row.try_get(6)?,
                swept_epoch: swept_epoch.cast_unsigned(),
            })
        }
    };
    Ok(Tombstone {
        tenant: read_tenant_id(row, 0)?,
        person: read_pseudonym(row, 1)?,
        asked_at: Timestamp(row.try_get(2)?),
        quiet_at: Timestamp(row.try_get(3)?),
        work,
        proof: row.try_get(8)?,
    })
}
