//! Advertisers, campaigns and ads in SQLite, and the history of terms.

use async_trait::async_trait;
use reckon_event::{TenantId, Timestamp};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::SqliteBooks;
use super::entity::{self, Kept, ROWS_PER_STATEMENT, Values};
use crate::books::{Ads, Advertisers, Campaigns, Created, Outcome, Page};
use crate::catalog::{
    Ad, AdPatch, Advertiser, AdvertiserPatch, Campaign, CampaignPatch, Price, Targeting, Terms,
};
use crate::check;
use crate::error::Error;
use crate::rows::catalog::{TermsColumns, is_repriced, next_terms, price_of, terms_of};
use crate::rows::entity::Entity;
use crate::rows::tenant_to_column;

impl Kept for Advertiser {
    fn push(&self, values: &mut Values<'_>) {
        values
            .push_bind(&self.advertiser_id)
            .push_bind(&self.name)
            .push_bind(self.currency.to_string())
            .push_bind(self.created_at.0);
    }
}

impl Kept for Campaign {
    fn push(&self, values: &mut Values<'_>) {
        values
            .push_bind(&self.campaign_id)
            .push_bind(&self.advertiser_id)
            .push_bind(&self.name)
            .push_bind(self.cpc_micros)
            .push_bind(self.daily_budget_micros)
            .push_bind(self.targeting.as_ref().map(Targeting::as_str))
            .push_bind(self.status.as_str())
            .push_bind(self.created_at.0);
    }
}

impl Kept for Ad {
    fn push(&self, values: &mut Values<'_>) {
        values
            .push_bind(&self.ad_id)
            .push_bind(&self.campaign_id)
            .push_bind(&self.destination_url)
            .push_bind(self.category.as_deref())
            .push_bind(self.creative_size.as_deref())
            .push_bind(self.append_click_id.as_deref())
            .push_bind(self.locale.as_deref())
            .push_bind(self.quality_micros)
            .push_bind(self.status.as_str())
            .push_bind(self.created_at.0);
    }
}

#[async_trait]
impl Advertisers for SqliteBooks {
    async fn create_advertisers(
        &self,
        tenant: TenantId,
        advertisers: Vec<Advertiser>,
    ) -> Result<Vec<Outcome<Advertiser>>, Error> {
        let mut transaction = self.write().await?;
        let outcomes = entity::create(&mut transaction, self, tenant, advertisers).await?;
        transaction.commit().await?;
        Ok(outcomes)
    }

    async fn advertiser(&self, tenant: TenantId, advertiser_id: &str) -> Result<Advertiser, Error> {
        entity::get(&mut *self.readers.acquire().await?, tenant, advertiser_id).await
    }

    async fn list_advertisers(
        &self,
        tenant: TenantId,
        page: Page,
    ) -> Result<Vec<Advertiser>, Error> {
        entity::list(&mut *self.readers.acquire().await?, tenant, None, &page).await
    }

    async fn patch_advertiser(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
        patch: AdvertiserPatch,
    ) -> Result<Advertiser, Error> {
        let mut transaction = self.write().await?;
        let before: Advertiser = entity::get(&mut transaction, tenant, advertiser_id).await?;
        let after = patch.apply(before.clone());
        after.check()?;
        if after != before {
            entity::update(&mut transaction, tenant, &after).await?;
            transaction.commit().await?;
        }
        Ok(after)
    }
}

#[async_trait]
impl Campaigns for SqliteBooks {
    async fn create_campaigns(
        &self,
        tenant: TenantId,
        campaigns: Vec<Campaign>,
    ) -> Result<Vec<Outcome<Campaign>>, Error> {
        let mut transaction = self.write().await?;
        let outcomes = entity::create(&mut transaction, self, tenant, campaigns).await?;
        let new: Vec<&Campaign> = outcomes.iter().filter_map(new_campaign).collect();
        insert_first_terms(&mut transaction, tenant, &new).await?;
        transaction.commit().await?;
        Ok(outcomes)
    }

    async fn campaign(&self, tenant: TenantId, campaign_id: &str) -> Result<Campaign, Error> {
        entity::get(&mut *self.readers.acquire().await?, tenant, campaign_id).await
    }

    async fn list_campaigns(
        &self,
        tenant: TenantId,
        advertiser_id: Option<&str>,
        page: Page,
    ) -> Result<Vec<Campaign>, Error> {
        entity::list(&mut *self.readers.acquire().await?, tenant, advertiser_id, &page).await
    }

    async fn patch_campaign(
        &self,
        tenant: TenantId,
        campaign_id: &str,
        patch: CampaignPatch,
        at: Timestamp,
    ) -> Result<Campaign, Error> {
        check::time("at", at)?;
        let mut transaction = self.write().await?;
        let before: Campaign = entity::get(&mut transaction, tenant, campaign_id).await?;
        let after = patch.apply(before.clone());
        after.check()?;
        if is_repriced(&before, &after) {
            append_terms(&mut transaction, tenant, &after, at).await?;
        }
        if after != before {
            entity::update(&mut transaction, tenant, &after).await?;
            transaction.commit().await?;
        }
        Ok(after)
    }

    async fn terms(&self, tenant: TenantId, campaign_id: &str) -> Result<Vec<Terms>, Error> {
        let rows: Vec<TermsColumns> = sqlx::query_as(
            "SELECT effective_at, cpc_micros, daily_budget_micros FROM campaign_terms \
             WHERE tenant = ? AND campaign_id = ? ORDER BY sequence",
        )
        .bind(tenant_to_column(tenant))
        .bind(campaign_id)
        .fetch_all(&self.readers)
        .await?;
        if rows.is_empty() {
            return Err(Error::not_found("campaign", campaign_id));
        }
        Ok(rows.into_iter().map(terms_of).collect())
    }

    async fn price_at(
        &self,
        tenant: TenantId,
        campaign_id: &str,
        time: Timestamp,
    ) -> Result<Price, Error> {
        // The last terms begun by then; where none have, the first.
        let row = sqlx::query_as(
            "SELECT t.cpc_micros, a.currency FROM campaign_terms t \
             JOIN campaigns c ON c.tenant = t.tenant AND c.campaign_id = t.campaign_id \
             JOIN advertisers a ON a.tenant = c.tenant AND a.advertiser_id = c.advertiser_id \
             WHERE t.tenant = ?1 AND t.campaign_id = ?2 AND t.sequence = COALESCE( \
               (SELECT sequence FROM campaign_terms WHERE tenant = ?1 AND campaign_id = ?2 \
                AND effective_at <= ?3 ORDER BY sequence DESC LIMIT 1), 1)",
        )
        .bind(tenant_to_column(tenant))
        .bind(campaign_id)
        .bind(time.0)
        .fetch_optional(&self.readers)
        .await?
        .ok_or_else(|| Error::not_found("campaign", campaign_id))?;
        price_of(row)
    }
}

fn new_campaign(outcome: &Outcome<Campaign>) -> Option<&Campaign> {
    match outcome {
        Ok(Created::New(campaign)) => Some(campaign),
        Ok(Created::Same(_)) | Err(_) => None,
    }
}

async fn insert_first_terms(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    campaigns: &[&Campaign],
) -> Result<(), Error> {
    for some in campaigns.chunks(ROWS_PER_STATEMENT) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO campaign_terms \
             (tenant, campaign_id, sequence, effective_at, cpc_micros, daily_budget_micros) ",
        );
        query.push_values(some, |mut values, campaign| {
            values
                .push_bind(tenant_to_column(tenant))
                .push_bind(&campaign.campaign_id)
                .push_bind(1_i64)
                .push_bind(campaign.created_at.0)
                .push_bind(campaign.cpc_micros)
                .push_bind(campaign.daily_budget_micros);
        });
        query.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Adds what stands in `campaign` to its history, from `at` on but never from before the last terms.
async fn append_terms(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    campaign: &Campaign,
    at: Timestamp,
) -> Result<(), Error> {
    let last = sqlx::query_as(
        "SELECT sequence, effective_at FROM campaign_terms \
         WHERE tenant = ? AND campaign_id = ? ORDER BY sequence DESC LIMIT 1",
    )
    .bind(tenant_to_column(tenant))
    .bind(&campaign.campaign_id)
    .fetch_optional(&mut *connection)
    .await?;
    let (sequence, effective_at) = next_terms(campaign, last, at)?;
    sqlx::query("INSERT INTO campaign_terms VALUES (?, ?, ?, ?, ?, ?)")
        .bind(tenant_to_column(tenant))
        .bind(&campaign.campaign_id)
        .bind(sequence)
        .bind(effective_at)
        .bind(campaign.cpc_micros)
        .bind(campaign.daily_budget_micros)
        .execute(connection)
        .await?;
    Ok(())
}

#[async_trait]
impl Ads for SqliteBooks {
    async fn create_ads(&self, tenant: TenantId, ads: Vec<Ad>) -> Result<Vec<Outcome<Ad>>, Error> {
        let mut transaction = self.write().await?;
        let outcomes = entity::create(&mut transaction, self, tenant, ads).await?;
        transaction.commit().await?;
        Ok(outcomes)
    }

    async fn ad(&self, tenant: TenantId, ad_id: &str) -> Result<Ad, Error> {
        entity::get(&mut *self.readers.acquire().await?, tenant, ad_id).await
    }

    async fn list_ads(
        &self,
        tenant: TenantId,
        campaign_id: Option<&str>,
        page: Page,
    ) -> Result<Vec<Ad>, Error> {
        entity::list(&mut *self.readers.acquire().await?, tenant, campaign_id, &page).await
    }

    async fn patch_ad(&self, tenant: TenantId, ad_id: &str, patch: AdPatch) -> Result<Ad, Error> {
        let mut transaction = self.write().await?;
        let before: Ad = entity::get(&mut transaction, tenant, ad_id).await?;
        let after = patch.apply(before.clone());
        after.check()?;
        if after != before {
            entity::update(&mut transaction, tenant, &after).await?;
            transaction.commit().await?;
        }
        Ok(after)
    }
}
