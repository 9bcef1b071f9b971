//! Advertisers, campaigns and ads in PostgreSQL, and the history of terms.

use async_trait::async_trait;
use reckon_event::{TenantId, Timestamp};
use sqlx::postgres::PgConnection;

use super::entity::{self, Kept, Query, column};
use super::{PostgresBooks, sought};
use crate::books::{Ads, Advertisers, Campaigns, Created, Outcome, Page};
use crate::catalog::{
    Ad, AdPatch, Advertiser, AdvertiserPatch, Campaign, CampaignPatch, Price, Targeting, Terms,
};
use crate::check;
use crate::error::Error;
use crate::rows::catalog::{TermsColumns, is_repriced, next_terms, price_of, terms_of};
use crate::rows::entity::Entity;
use crate::rows::{NameKey, tenant_to_column};

impl Kept for Advertiser {
    fn bind<'q>(query: Query<'q>, items: &[&Self]) -> Query<'q> {
        query
            .bind(column(items, |item| item.advertiser_id.as_str()))
            .bind(column(items, |item| item.name.as_str()))
            .bind(column(items, |item| item.currency.to_string()))
            .bind(column(items, |item| item.created_at.0))
    }
}

impl Kept for Campaign {
    fn bind<'q>(query: Query<'q>, items: &[&Self]) -> Query<'q> {
        query
            .bind(column(items, |item| item.campaign_id.as_str()))
            .bind(column(items, |item| item.advertiser_id.as_str()))
            .bind(column(items, |item| item.name.as_str()))
            .bind(column(items, |item| item.cpc_micros))
            .bind(column(items, |item| item.daily_budget_micros))
            .bind(column(items, |item| item.targeting.as_ref().map(Targeting::as_str)))
            .bind(column(items, |item| item.status.as_str()))
            .bind(column(items, |item| item.created_at.0))
    }
}

impl Kept for Ad {
    fn bind<'q>(query: Query<'q>, items: &[&Self]) -> Query<'q> {
        query
            .bind(column(items, |item| item.ad_id.as_str()))
            .bind(column(items, |item| item.campaign_id.as_str()))
            .bind(column(items, |item| item.destination_url.as_str()))
            .bind(column(items, |item| item.category.as_deref()))
            .bind(column(items, |item| item.creative_size.as_deref()))
            .bind(column(items, |item| item.append_click_id.as_deref()))
            .bind(column(items, |item| item.locale.as_deref()))
            .bind(column(items, |item| item.quality_micros))
            .bind(column(items, |item| item.status.as_str()))
            .bind(column(items, |item| item.created_at.0))
    }
}

#[async_trait]
impl Advertisers for PostgresBooks {
    async fn create_advertisers(
        &self,
        tenant: TenantId,
        advertisers: Vec<Advertiser>,
    ) -> Result<Vec<Outcome<Advertiser>>, Error> {
        self.create(tenant, advertisers).await
    }

    async fn advertiser(&self, tenant: TenantId, advertiser_id: &str) -> Result<Advertiser, Error> {
        self.get(tenant, advertiser_id).await
    }

    async fn list_advertisers(
        &self,
        tenant: TenantId,
        page: Page,
    ) -> Result<Vec<Advertiser>, Error> {
        self.list(tenant, None, &page).await
    }

    async fn patch_advertiser(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
        patch: AdvertiserPatch,
    ) -> Result<Advertiser, Error> {
        self.patch(tenant, advertiser_id, |before| patch.clone().apply(before)).await
    }
}

#[async_trait]
impl Campaigns for PostgresBooks {
    async fn create_campaigns(
        &self,
        tenant: TenantId,
        campaigns: Vec<Campaign>,
    ) -> Result<Vec<Outcome<Campaign>>, Error> {
        check::batch(campaigns.len())?;
        let (name_key, campaigns) = (self.name_key, campaigns.as_slice());
        self.write(|session| Box::pin(create_campaigns(session, name_key, tenant, campaigns))).await
    }

    async fn campaign(&self, tenant: TenantId, campaign_id: &str) -> Result<Campaign, Error> {
        self.get(tenant, campaign_id).await
    }

    async fn list_campaigns(
        &self,
        tenant: TenantId,
        advertiser_id: Option<&str>,
        page: Page,
    ) -> Result<Vec<Campaign>, Error> {
        self.list(tenant, advertiser_id, &page).await
    }

    async fn patch_campaign(
        &self,
        tenant: TenantId,
        campaign_id: &str,
        patch: CampaignPatch,
        at: Timestamp,
    ) -> Result<Campaign, Error> {
        check::time("at", at)?;
        let patch = &patch;
        self.write(|session| Box::pin(patch_campaign(session, tenant, campaign_id, patch, at)))
            .await
    }

    async fn terms(&self, tenant: TenantId, campaign_id: &str) -> Result<Vec<Terms>, Error> {
        self.read(|session| Box::pin(terms(session, tenant, campaign_id))).await
    }

    async fn price_at(
        &self,
        tenant: TenantId,
        campaign_id: &str,
        time: Timestamp,
    ) -> Result<Price, Error> {
        self.read(|session| Box::pin(price_at(session, tenant, campaign_id, time))).await
    }
}

async fn terms(
    connection: &mut PgConnection,
    tenant: TenantId,
    campaign_id: &str,
) -> Result<Vec<Terms>, Error> {
    let rows: Vec<TermsColumns> = sqlx::query_as(
        "SELECT effective_at, cpc_micros, daily_budget_micros FROM campaign_terms \
         WHERE tenant = $1 AND campaign_id = $2 ORDER BY sequence",
    )
    .bind(tenant_to_column(tenant))
    .bind(sought(campaign_id))
    .fetch_all(connection)
    .await?;
    if rows.is_empty() {
        return Err(Error::not_found("campaign", campaign_id));
    }
    Ok(rows.into_iter().map(terms_of).collect())
}

async fn price_at(
    connection: &mut PgConnection,
    tenant: TenantId,
    campaign_id: &str,
    time: Timestamp,
) -> Result<Price, Error> {
    // The last terms begun by then; where none have, the first.
    let row = sqlx::query_as(
        "SELECT t.cpc_micros, a.currency FROM campaign_terms t \
         JOIN campaigns c ON c.tenant = t.tenant AND c.campaign_id = t.campaign_id \
         JOIN advertisers a ON a.tenant = c.tenant AND a.advertiser_id = c.advertiser_id \
         WHERE t.tenant = $1 AND t.campaign_id = $2 AND t.sequence = COALESCE( \
           (SELECT sequence FROM campaign_terms WHERE tenant = $1 AND campaign_id = $2 \
            AND effective_at <= $3 ORDER BY sequence DESC LIMIT 1), 1)",
    )
    .bind(tenant_to_column(tenant))
    .bind(sought(campaign_id))
    .bind(time.0)
    .fetch_optional(connection)
    .await?;
    price_of(row.ok_or_else(|| Error::not_found("campaign", campaign_id))?)
}

async fn create_campaigns(
    connection: &mut PgConnection,
    name_key: NameKey,
    tenant: TenantId,
    campaigns: &[Campaign],
) -> Result<Vec<Outcome<Campaign>>, Error> {
    let outcomes = entity::create(connection, name_key, tenant, campaigns).await?;
    let new: Vec<&Campaign> = outcomes.iter().filter_map(new_campaign).collect();
    insert_first_terms(connection, tenant, &new).await?;
    Ok(outcomes)
}

fn new_campaign(outcome: &Outcome<Campaign>) -> Option<&Campaign> {
    match outcome {
        Ok(Created::New(campaign)) => Some(campaign),
        Ok(Created::Same(_)) | Err(_) => None,
    }
}

async fn insert_first_terms(
    connection: &mut PgConnection,
    tenant: TenantId,
    campaigns: &[&Campaign],
) -> Result<(), Error> {
    if campaigns.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO campaign_terms (tenant, sequence, campaign_id, effective_at, cpc_micros, \
           daily_budget_micros) SELECT $1, 1, * FROM UNNEST($2, $3, $4, $5)",
    )
    .bind(tenant_to_column(tenant))
    .bind(column(campaigns, |campaign| campaign.campaign_id.as_str()))
    .bind(column(campaigns, |campaign| campaign.created_at.0))
    .bind(column(campaigns, |campaign| campaign.cpc_micros))
    .bind(column(campaigns, |campaign| campaign.daily_budget_micros))
    .execute(connection)
    .await?;
    Ok(())
}

async fn patch_campaign(
    connection: &mut PgConnection,
    tenant: TenantId,
    campaign_id: &str,
    patch: &CampaignPatch,
    at: Timestamp,
) -> Result<Campaign, Error> {
    let before: Campaign = entity::get(connection, tenant, campaign_id).await?;
    let after = patch.clone().apply(before.clone());
    after.check()?;
    if is_repriced(&before, &after) {
        append_terms(connection, tenant, &after, at).await?;
    }
    if after != before {
        entity::update(connection, tenant, &after).await?;
    }
    Ok(after)
}

/// Adds what stands in `campaign` to its history, from `at` on but never from before the last terms.
async fn append_terms(
    connection: &mut PgConnection,
    tenant: TenantId,
    campaign: &Campaign,
    at: Timestamp,
) -> Result<(), Error> {
    let last = sqlx::query_as(
        "SELECT sequence, effective_at FROM campaign_terms \
         WHERE tenant = $1 AND campaign_id = $2 ORDER BY sequence DESC LIMIT 1",
    )
    .bind(tenant_to_column(tenant))
    .bind(&campaign.campaign_id)
    .fetch_optional(&mut *connection)
    .await?;
    let (sequence, effective_at) = next_terms(campaign, last, at)?;
    sqlx::query(
        "INSERT INTO campaign_terms (tenant, campaign_id, sequence, effective_at, cpc_micros, \
           daily_budget_micros) VALUES ($1, $2, $3, $4, $5, $6)",
    )
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
impl Ads for PostgresBooks {
    async fn create_ads(&self, tenant: TenantId, ads: Vec<Ad>) -> Result<Vec<Outcome<Ad>>, Error> {
        self.create(tenant, ads).await
    }

    async fn ad(&self, tenant: TenantId, ad_id: &str) -> Result<Ad, Error> {
        self.get(tenant, ad_id).await
    }

    async fn list_ads(
        &self,
        tenant: TenantId,
        campaign_id: Option<&str>,
        page: Page,
    ) -> Result<Vec<Ad>, Error> {
        self.list(tenant, campaign_id, &page).await
    }

    async fn patch_ad(&self, tenant: TenantId, ad_id: &str, patch: AdPatch) -> Result<Ad, Error> {
        self.patch(tenant, ad_id, |before| patch.clone().apply(before)).await
    }
}
