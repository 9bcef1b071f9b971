//! Leases in PostgreSQL: one row changed by one statement, flushed by its commit before the number is
//! answered.

use async_trait::async_trait;
use reckon_event::Timestamp;
use sqlx::postgres::PgConnection;

use super::PostgresBooks;
use crate::books::Leases;
use crate::check;
use crate::error::Error;
use crate::rows::u32_of;

#[async_trait]
impl Leases for PostgresBooks {
    async fn lease(&self, name: &str, now: Timestamp) -> Result<u32, Error> {
        check::id("name", name)?;
        self.change_row(|session| Box::pin(next(session, name, now))).await
    }
}

/// Who comes second waits for the row and counts on from what the first left: nothing is taken back,
/// and nothing has to be done again.
async fn next(connection: &mut PgConnection, name: &str, now: Timestamp) -> Result<u32, Error> {
    let row: Option<(i64,)> = sqlx::query_as(
        "INSERT INTO leases (name, number, leased_at) VALUES ($1, 1, $2) \
         ON CONFLICT (name) DO UPDATE SET \
           number = leases.number + 1, leased_at = excluded.leased_at \
         WHERE leases.number < 4294967295 \
         RETURNING number",
    )
    .bind(name)
    .bind(now.0)
    .fetch_optional(connection)
    .await?;
    let Some((number,)) = row else {
        let problem = format!("`{name}` has given out every number: use another name");
        return Err(Error::invalid("name", &problem));
    };
    u32_of(number, "lease")
}
