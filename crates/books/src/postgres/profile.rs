//! How advertisers are billed, in PostgreSQL.

use async_trait::async_trait;
use reckon_event::TenantId;
use sqlx::postgres::PgConnection;

use super::{PostgresBooks, entity, sought};
use crate::catalog::Advertiser;
use crate::check;
use crate::error::Error;
use crate::ledger::{BillingProfile, Profiles};
use crate::rows::ledger::profile_of;
use crate::rows::tenant_to_column;

#[async_trait]
impl Profiles for PostgresBooks {
    async fn billing_profile(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
    ) -> Result<BillingProfile, Error> {
        self.read(|session| Box::pin(profile(session, tenant, advertiser_id))).await
    }

    async fn set_billing_profile(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
        profile: BillingProfile,
    ) -> Result<(), Error> {
        check::profile(&profile)?;
        let profile = &profile;
        self.write(|session| Box::pin(set_profile(session, tenant, advertiser_id, profile))).await
    }
}

async fn profile(
    connection: &mut PgConnection,
    tenant: TenantId,
    advertiser_id: &str,
) -> Result<BillingProfile, Error> {
    let row = sqlx::query_as(
        "SELECT time_zone, unseen_clicks FROM billing_profiles \
         WHERE tenant = $1 AND advertiser_id = $2",
    )
    .bind(tenant_to_column(tenant))
    .bind(sought(advertiser_id))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        entity::get::<Advertiser>(connection, tenant, advertiser_id).await?;
        return Ok(BillingProfile::default());
    };
    profile_of(row)
}

async fn set_profile(
    connection: &mut PgConnection,
    tenant: TenantId,
    advertiser_id: &str,
    profile: &BillingProfile,
) -> Result<(), Error> {
    entity::get::<Advertiser>(connection, tenant, advertiser_id).await?;
    sqlx::query(
        "INSERT INTO billing_profiles (tenant, advertiser_id, time_zone, unseen_clicks) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, advertiser_id) DO UPDATE SET \
           time_zone = excluded.time_zone, unseen_clicks = excluded.unseen_clicks",
    )
    .bind(tenant_to_column(tenant))
    .bind(advertiser_id)
    .bind(&profile.time_zone)
    .bind(profile.unseen_clicks.as_str())
    .execute(connection)
    .await?;
    Ok(())
}
