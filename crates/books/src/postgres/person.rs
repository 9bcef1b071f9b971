//! Persons in PostgreSQL.

use async_trait::async_trait;
use reckon_event::{Pseudonym, TenantId};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::PostgresBooks;
use super::entity::require_tenant;
use crate::check;
use crate::error::Error;
use crate::person::{PERSONS_MAX, Person, Persons};
use crate::rows::person::{COLUMNS, PersonColumns, erased, interests_to_column, person_of};
use crate::rows::tenant_to_column;
use crate::rows::tombstone::pseudonym_to_column;

#[async_trait]
impl Persons for PostgresBooks {
    async fn set_persons(
        &self,
        tenant: TenantId,
        persons: Vec<Person>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        check::batch(persons.len())?;
        let persons = &persons;
        self.write(|session| Box::pin(set_all(session, tenant, persons))).await
    }

    async fn person(&self, tenant: TenantId, person: Pseudonym) -> Result<Option<Person>, Error> {
        self.read(|session| Box::pin(found(session, tenant, person))).await
    }

    async fn persons(
        &self,
        after: Option<(TenantId, Pseudonym)>,
    ) -> Result<Vec<(TenantId, Person)>, Error> {
        let after = after.unwrap_or((TenantId(0), Pseudonym::NONE));
        self.read(|session| Box::pin(page(session, after))).await
    }
}

async fn set_all(
    connection: &mut PgConnection,
    tenant: TenantId,
    persons: &[Person],
) -> Result<Vec<Result<(), Error>>, Error> {
    require_tenant(connection, tenant).await?;
    let mut outcomes = Vec::with_capacity(persons.len());
    for person in persons {
        let outcome = match check::person(person) {
            Err(error) => Err(error),
            Ok(()) => set(connection, tenant, person).await?,
        };
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

async fn set(
    connection: &mut PgConnection,
    tenant: TenantId,
    person: &Person,
) -> Result<Result<(), Error>, Error> {
    let set = sqlx::query(
        "INSERT INTO persons (tenant, person, locale, interests, updated_at) \
         SELECT $1, $2, $3, $4, $5 \
         WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE tenant = $1 AND person = $2) \
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

async fn found(
    connection: &mut PgConnection,
    tenant: TenantId,
    person: Pseudonym,
) -> Result<Option<Person>, Error> {
    let text = format!("SELECT {COLUMNS} FROM persons WHERE tenant = $1 AND person = $2");
    let row: Option<PersonColumns> = sqlx::query_as(AssertSqlSafe(text))
        .bind(tenant_to_column(tenant))
        .bind(pseudonym_to_column(person))
        .fetch_optional(connection)
        .await?;
    Ok(row.map(person_of).transpose()?.map(|(_, person)| person))
}

async fn page(
    connection: &mut PgConnection,
    (tenant, person): (TenantId, Pseudonym),
) -> Result<Vec<(TenantId, Person)>, Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM persons WHERE (tenant, person) > ($1, $2) \
         ORDER BY tenant, person LIMIT $3"
    );
    let rows: Vec<PersonColumns> = sqlx::query_as(AssertSqlSafe(text))
        .bind(tenant_to_column(tenant))
        .bind(pseudonym_to_column(person))
        .bind(i64::from(PERSONS_MAX))
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(person_of).collect()
}

/// With a tombstone a person is gone.
pub(super) async fn remove(
    connection: &mut PgConnection,
    tenant: TenantId,
    person: Pseudonym,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM persons WHERE tenant = $1 AND person = $2")
        .bind(tenant_to_column(tenant))
        .bind(pseudonym_to_column(person))
        .execute(connection)
        .await?;
    Ok(())
}
