//! Leases in SQLite: one statement, synced by its commit before the number is answered.

use async_trait::async_trait;
use reckon_event::Timestamp;

use super::SqliteBooks;
use crate::books::Leases;
use crate::check;
use crate::error::Error;
use crate::rows::u32_of;

#[async_trait]
impl Leases for SqliteBooks {
    async fn lease(&self, name: &str, now: Timestamp) -> Result<u32, Error> {
        check::id("name", name)?;
        let mut transaction = self.write().await?;
        let row: Option<(i64,)> = sqlx::query_as(
            "INSERT INTO leases (name, number, leased_at) VALUES (?, 1, ?) \
             ON CONFLICT (name) DO UPDATE SET \
               number = leases.number + 1, leased_at = excluded.leased_at \
             WHERE leases.number < 4294967295 \
             RETURNING number",
        )
        .bind(name)
        .bind(now.0)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((number,)) = row else {
            let problem = format!("`{name}` has given out every number: use another name");
            return Err(Error::invalid("name", &problem));
        };
        transaction.commit().await?;
        u32_of(number, "lease")
    }
}
