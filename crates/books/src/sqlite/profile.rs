//! How advertisers are billed, in SQLite.

use async_trait::async_trait;
use reckon_event::TenantId;
use sqlx::Row;

use super::{SqliteBooks, entity, tenant_to_column};
use crate::catalog::Advertiser;
use crate::check;
use crate::error::Error;
use crate::ledger::{BillingProfile, Profiles, UnseenClicks};

#[async_trait]
impl Profiles for SqliteBooks {
    async fn billing_profile(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
    ) -> Result<BillingProfile, Error> {
        let mut connection = self.readers.acquire().await?;
        let row = sqlx::query(
            "SELECT time_zone, unseen_clicks FROM billing_profiles \
             WHERE tenant = ? AND advertiser_id = ?",
        )
        .bind(tenant_to_column(tenant))
        .bind(advertiser_id)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else {
            entity::get::<Advertiser>(&mut connection, tenant, advertiser_id).await?;
            return Ok(BillingProfile::default());
        };
        let policy: &str = row.try_get(1)?;
        let unseen_clicks = UnseenClicks::parse(policy)
            .map_err(|_| Error::damaged(format!("`{policy}` is no policy")))?;
        Ok(BillingProfile { time_zone: row.try_get(0)?, unseen_clicks })
    }

    async fn set_billing_profile(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
        profile: BillingProfile,
    ) -> Result<(), Error> {
        check::profile(&profile)?;
        let mut transaction = self.write().await?;
        entity::get::<Advertiser>(&mut transaction, tenant, advertiser_id).await?;
        sqlx::query(
            "INSERT INTO billing_profiles (tenant, advertiser_id, time_zone, unseen_clicks) \
             VALUES (?, ?, ?, ?) ON CONFLICT (tenant, advertiser_id) DO UPDATE SET \
               time_zone = excluded.time_zone, unseen_clicks = excluded.unseen_clicks",
        )
        .bind(tenant_to_column(tenant))
        .bind(advertiser_id)
        .bind(&profile.time_zone)
        .bind(profile.unseen_clicks.as_str())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}
