//! Persons in SQLite.

use async_trait::async_trait;
use reckon_event::{Pseudonym, TenantId};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use super::SqliteBooks;
use super::entity::require_tenant;
use crate::check;
use crate::error::Error;
use crate::person::{PERSONS_MAX, Person, Persons};
use crate::rows::person::{COLUMNS, PersonColumns, erased, interests_to_column, person_of};
use crate::rows::tenant_to_column;
use crate::rows::tombstone::pseudonym_to_column;

#[async_trait]
impl Persons for SqliteBooks {
    async fn set_persons(
        &self,
        tenant: TenantId,
        persons: Vec<Person>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        check::batch(persons.len())?;
        let mut transaction = self.write().await?;
        require_tenant(&mut transaction, tenant).await?;
        let mut outcomes = Vec::with_capacity(persons.len());
        for person in &persons {
            let outcome = match check::person(person) {
                Err(error) => Err(error),
                Ok(()) => set(&mut transaction, tenant, person).await?,
            };
            outcomes.push(outcome);
        }
        transaction.commit().await?;
        Ok(outcomes)
    }

    async fn person(&self, tenant: TenantId, person: Pseudonym) -> Result<Option<Person>, Error> {
        let text = format!("SELECT {COLUMNS} FROM persons WHERE tenant = ? AND person = ?");
        let row: Option<PersonColumns> = sqlx::query_as(AssertSqlSafe(text))
            .bind(tenant_to_column(tenant))
            .bind(pseudonym_to_column(person))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(person_of).transpose()?.map(|(_, person)| person))
    }

    async fn persons(
        &self,
        after: Option<(TenantId, Pseudonym)>,
    ) -> Result<Vec<(TenantId, Person)>, Error> {
        let (tenant, person) = after.unwrap_or((TenantId(0), Pseudonym::NONE));
        let text = format!(
            "SELECT {COLUMNS} FROM persons WHERE (tenant, person) > (?, ?) \
             ORDER BY tenant, person LIMIT ?"
        );
        let rows: Vec<PersonColumns> = sqlx::query_as(AssertSqlSafe(text))
            .bind(tenant_to_column(tenant))
            .bind(pseudonym_to_column(person))
            .bind(PERSONS_MAX)
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(person_of).collect()
    }
}

async fn set(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    person: &Person,
) -> Result<Result<(), Error>, Error> {
    let set = sqlx::query(
        "INSERT INTO persons (tenant, person, locale, interests, updated_at) \
         SELECT ?1, ?2, ?3, ?4, ?5 \
         WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE tenant = ?1 AND person = ?2) \
         ON CONFLICT (tenant, person) DO UPDATE SET locale = excluded.locale, \
           interests = excluded.interests, updated_at = excluded.updated_at",
    )
    .bind(tenant_to_column(tenant))
    .bind(pseudonym_to_column(person.person))
    .bind(&person.locale)
    .bind(interests_to_column(person))
    .bind(person.updated_at.0)
    .execute(connection)
    .await?;
    Ok(if set.rows_affected() == 0 { Err(erased()) } else { Ok(()) })
}

/// With a tombstone a person is gone.
pub(super) async fn remove(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    person: Pseudonym,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM persons WHERE tenant = ? AND person = ?")
        .bind(tenant_to_column(tenant))
        .bind(pseudonym_to_column(person))
        .execute(connection)
        .await?;
    Ok(())
}
