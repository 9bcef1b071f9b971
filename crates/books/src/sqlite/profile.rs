//! How advertisers are billed, in SQLite.

use async_trait::async_trait;
use reckon_event::TenantId;

use super::{SqliteBooks, entity};
use crate::catalog::Advertiser;
use crate::check;
use crate::error::Error;
use crate::ledger::{BillingProfile, Profiles};
use crate::rows::ledger::profile_of;
use crate::rows::tenant_to_column;

#[async_trait]
impl Profiles for SqliteBooks {
    async fn billing_profile(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
    ) -> Result<BillingProfile, Error> {
        let mut connection = self.readers.acquire().await?;
        let row = sqlx::query_as(
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
        profile_of(row)
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
