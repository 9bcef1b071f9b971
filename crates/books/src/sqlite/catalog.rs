//! Advertisers, campaigns and ads in SQLite, and the history of terms.

use async_trait::async_trait;
use reckon_event::{Currency, TenantId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::entity::{self, Entity, Parent, ROWS_PER_STATEMENT, Values};
use super::{SqliteBooks, tenant_to_column};
use crate::books::{Ads, Advertisers, Campaigns, Created, Outcome, Page};
use crate::catalog::{
    Ad, AdPatch, Advertiser, AdvertiserPatch, Campaign, CampaignPatch, Price, Status, Targeting,
    Terms,
};
use crate::check::{self, TERMS_MAX};
use crate::error::Error;

impl Entity for Advertiser {
    const WHAT: &'static str = "advertiser";
    const TABLE: &'static str = "advertisers";
    const ID: &'static str = "advertiser_id";
    const COLUMNS: &'static str = "advertiser_id, name, currency, created_at";
    const PARENT: Option<Parent> = None;

    fn id(&self) -> &str {
        &self.advertiser_id
    }

    fn parent_id(&self) -> &str {
        ""
    }

    fn check(&self) -> Result<(), Error> {
        check::advertiser(self)
    }

    fn same(&self, other: &Self) -> bool {
        *self == Advertiser { created_at: self.created_at, ..other.clone() }
    }

    fn push(&self, values: &mut Values<'_>) {
        values
            .push_bind(&self.advertiser_id)
            .push_bind(&self.name)
            .push_bind(self.currency.to_string())
            .push_bind(self.created_at.0);
    }

    fn read(row: &SqliteRow, first: usize) -> Result<Self, Error> {
        Ok(Advertiser {
            advertiser_id: row.try_get(first)?,
            name: row.try_get(first + 1)?,
            currency: read_currency(row, first + 2)?,
            created_at: Timestamp(row.try_get(first + 3)?),
        })
    }
}

impl Entity for Campaign {
    const WHAT: &'static str = "campaign";
    const TABLE: &'static str = "campaigns";
    const ID: &'static str = "campaign_id";
    const COLUMNS: &'static str = "campaign_id, advertiser_id, name, cpc_micros, \
        daily_budget_micros, targeting, status, created_at";
    const PARENT: Option<Parent> = Some(Parent { table: "advertisers", id: "advertiser_id" });

    fn id(&self) -> &str {
        &self.campaign_id
    }

    fn parent_id(&self) -> &str {
        &self.advertiser_id
    }

    fn check(&self) -> Result<(), Error> {
        check::campaign(self)
    }

    fn same(&self, other: &Self) -> bool {
        *self == Campaign { created_at: self.created_at, ..other.clone() }
    }

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

    fn read(row: &SqliteRow, first: usize) -> Result<Self, Error> {
        let targeting: Option<String> = row.try_get(first + 5)?;
        Ok(Campaign {
            campaign_id: row.try_get(first)?,
            advertiser_id: row.try_get(first + 1)?,
            name: row.try_get(first + 2)?,
            cpc_micros: row.try_get(first + 3)?,
            daily_budget_micros: row.try_get(first + 4)?,
            targeting: targeting.map(Targeting::stored),
            status: read_status(row, first + 6)?,
            created_at: Timestamp(row.try_get(first + 7)?),
        })
    }
}

impl Entity for Ad {
    const WHAT: &'static str = "ad";
    const TABLE: &'static str = "ads";
    const ID: &'static str = "ad_id";
    const COLUMNS: &'static str = "ad_id, campaign_id, destination_url, category, creative_size, \
        append_click_id, status, created_at";
    const PARENT: Option<Parent> = Some(Parent { table: "campaigns", id: "campaign_id" });

    fn id(&self) -> &str {
        &self.ad_id
    }

    fn parent_id(&self) -> &str {
        &self.campaign_id
    }

    fn check(&self) -> Result<(), Error> {
        check::ad(self)
    }

    fn same(&self, other: &Self) -> bool {
        *self == Ad { created_at: self.created_at, ..other.clone() }
    }

    fn push(&self, values: &mut Values<'_>) {
        values
            .push_bind(&self.ad_id)
            .push_bind(&self.campaign_id)
            .push_bind(&self.destination_url)
            .push_bind(self.category.as_deref())
            .push_bind(self.creative_size.as_deref())
            .push_bind(self.append_click_id.as_deref())
            .push_bind(self.status.as_str())
            .push_bind(self.created_at.0);
    }

    fn read(row: &SqliteRow, first: usize) -> Result<Self, Error> {
        Ok(Ad {
            ad_id: row.try_get(first)?,
            campaign_id: row.try_get(first + 1)?,
            destination_url: row.try_get(first + 2)?,
            category: row.try_get(first + 3)?,
            creative_size: row.try_get(first + 4)?,
            append_click_id: row.try_get(first + 5)?,
            status: read_status(row, first + 6)?,
            created_at: Timestamp(row.try_get(first + 7)?),
        })
    }
}

pub(super) fn read_currency(row: &SqliteRow, column: usize) -> Result<Currency, Error> {
    let text: &str = row.try_get(column)?;
    Currency::parse(text).map_err(|_| Error::damaged(format!("`{text}` is no currency")))
}

fn read_status(row: &SqliteRow, column: usize) -> Result<Status, Error> {
    status_of(row.try_get(column)?)
}

pub(super) fn status_of(text: &str) -> Result<Status, Error> {
    Status::parse(text).map_err(|_| Error::damaged(format!("`{text}` is no status")))
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
        if (after.cpc_micros, after.daily_budget_micros)
            != (before.cpc_micros, before.daily_budget_micros)
        {
            append_terms(&mut transaction, tenant, &after, at).await?;
        }
        if after != before {
            entity::update(&mut transaction, tenant, &after).await?;
            transaction.commit().await?;
        }
        Ok(after)
    }

    async fn terms(&self, tenant: TenantId, campaign_id: &str) -> Result<Vec<Terms>, Error> {
        let rows = sqlx::query(
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
        rows.iter().map(|row| read_terms(row, 0)).collect()
    }

    async fn price_at(
        &self,
        tenant: TenantId,
        campaign_id: &str,
        time: Timestamp,
    ) -> Result<Price, Error> {
        // The last terms begun by then; where none have, the first.
        let row = sqlx::query(
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
        Ok(Price { cpc_micros: row.try_get(0)?, currency: read_currency(&row, 1)? })
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
    let last = sqlx::query(
        "SELECT sequence, effective_at FROM campaign_terms \
         WHERE tenant = ? AND campaign_id = ? ORDER BY sequence DESC LIMIT 1",
    )
    .bind(tenant_to_column(tenant))
    .bind(&campaign.campaign_id)
    .fetch_optional(&mut *connection)
    .await?
    .ok_or_else(|| Error::damaged(format!("campaign `{}` has no terms", campaign.campaign_id)))?;
    let (sequence, last_at): (i64, i64) = (last.try_get(0)?, last.try_get(1)?);
    if sequence >= i64::from(TERMS_MAX) {
        let problem = "was changed 65536 times, which is the bound: register a new campaign";
        return Err(Error::invalid("cpc_micros", problem));
    }
    sqlx::query("INSERT INTO campaign_terms VALUES (?, ?, ?, ?, ?, ?)")
        .bind(tenant_to_column(tenant))
        .bind(&campaign.campaign_id)
        .bind(sequence + 1)
        .bind(at.0.max(last_at))
        .bind(campaign.cpc_micros)
        .bind(campaign.daily_budget_micros)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) fn read_terms(row: &SqliteRow, first: usize) -> Result<Terms, Error> {
    Ok(Terms {
        from: Timestamp(row.try_get(first)?),
        cpc_micros: row.try_get(first + 1)?,
        daily_budget_micros: row.try_get(first + 2)?,
    })
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
