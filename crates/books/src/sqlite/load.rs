//! The whole catalog into memory, in pages of one read transaction.
//!
//! Campaigns come first and are shared by their ads; ads come in the order of their primary key, so
//! a page is one range scan and nothing is sorted.

use std::collections::HashMap;
use std::sync::Arc;

use reckon_event::{Currency, TenantId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::SqliteBooks;
use super::catalog::read_terms;
use super::entity::Entity;
use super::key::read_tenant_id;
use super::tenant_to_column;
use crate::catalog::{Ad, AdEntry, Advertiser, Campaign, CampaignEntry, Snapshot, Terms};
use crate::error::Error;

/// Rows held at once beside what is made of them.
pub(super) const ROWS_PER_PAGE: usize = 10_000;

/// Campaigns and terms meet by tenant and id.
type ById<T> = HashMap<(TenantId, String), T>;

pub(super) async fn snapshot(books: &SqliteBooks) -> Result<Snapshot, Error> {
    let mut transaction = books.readers.begin().await?;
    let advertisers = all::<Advertiser>(&mut transaction).await?;
    let campaigns = campaigns(&mut transaction, &advertisers).await?;
    let ads = ads(&mut transaction, &campaigns).await?;
    transaction.rollback().await?;
    Ok(Snapshot { advertisers, campaigns, ads })
}

async fn campaigns(
    connection: &mut SqliteConnection,
    advertisers: &[(TenantId, Advertiser)],
) -> Result<Vec<Arc<CampaignEntry>>, Error> {
    let currency_of: HashMap<(TenantId, &str), Currency> = advertisers
        .iter()
        .map(|(tenant, advertiser)| ((*tenant, advertiser.id()), advertiser.currency))
        .collect();
    let mut histories = histories(connection).await?;
    let mut entries = Vec::new();
    for (tenant, campaign) in all::<Campaign>(connection).await? {
        let currency = currency_of.get(&(tenant, campaign.parent_id()));
        let terms = histories.remove(&(tenant, campaign.campaign_id.clone()));
        let (Some(&currency), Some(terms)) = (currency, terms) else {
            let id = &campaign.campaign_id;
            return Err(Error::damaged(format!("campaign `{id}` has no advertiser or no terms")));
        };
        entries.push(Arc::new(CampaignEntry { tenant, campaign, currency, terms }));
    }
    Ok(entries)
}

async fn ads(
    connection: &mut SqliteConnection,
    campaigns: &[Arc<CampaignEntry>],
) -> Result<Vec<AdEntry>, Error> {
    let campaign_of: HashMap<(TenantId, &str), &Arc<CampaignEntry>> =
        campaigns.iter().map(|entry| ((entry.tenant, entry.campaign.id()), entry)).collect();
    let with_campaign = |(tenant, ad): (TenantId, Ad)| {
        let Some(&campaign) = campaign_of.get(&(tenant, ad.parent_id())) else {
            return Err(Error::damaged(format!("ad `{}` has no campaign", ad.ad_id)));
        };
        Ok(AdEntry { tenant, ad, campaign: Arc::clone(campaign) })
    };
    all::<Ad>(connection).await?.into_iter().map(with_campaign).collect()
}

async fn histories(connection: &mut SqliteConnection) -> Result<ById<Vec<Terms>>, Error> {
    let mut histories: ById<Vec<Terms>> = HashMap::new();
    let mut last: Option<(TenantId, String, i64)> = None;
    loop {
        let rows = terms_page(connection, last.as_ref()).await?;
        for row in &rows {
            let (tenant, campaign_id) = (read_tenant_id(row, 0)?, row.try_get(1)?);
            histories.entry((tenant, campaign_id)).or_default().push(read_terms(row, 3)?);
        }
        match rows.last() {
            Some(row) if rows.len() == ROWS_PER_PAGE => {
                last = Some((read_tenant_id(row, 0)?, row.try_get(1)?, row.try_get(2)?));
            }
            _ => return Ok(histories),
        }
    }
}

async fn terms_page(
    connection: &mut SqliteConnection,
    after: Option<&(TenantId, String, i64)>,
) -> Result<Vec<SqliteRow>, Error> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT tenant, campaign_id, sequence, effective_at, cpc_micros, daily_budget_micros \
         FROM campaign_terms",
    );
    if let Some((tenant, campaign_id, sequence)) = after {
        query.push(" WHERE (tenant, campaign_id, sequence) > (");
        let mut values = query.separated(", ");
        values.push_bind(tenant_to_column(*tenant)).push_bind(campaign_id).push_bind(*sequence);
        query.push(")");
    }
    query.push(" ORDER BY tenant, campaign_id, sequence LIMIT ").push_bind(page_limit());
    Ok(query.build().fetch_all(connection).await?)
}

/// Every thing of a table with its tenant, by tenant and id.
async fn all<E: Entity>(connection: &mut SqliteConnection) -> Result<Vec<(TenantId, E)>, Error> {
    let mut things: Vec<(TenantId, E)> = Vec::new();
    loop {
        let after = things.last().map(|(tenant, last)| (*tenant, last.id()));
        let rows = page::<E>(connection, "tenant", after).await?;
        things.reserve(rows.len());
        for row in &rows {
            things.push((read_tenant_id(row, 0)?, E::read(row, 1)?));
        }
        if rows.len() < ROWS_PER_PAGE {
            return Ok(things);
        }
    }
}

/// A page of a table in the order of its primary key: the columns of `head`, then those of `E`.
pub(super) async fn page<E: Entity>(
    connection: &mut SqliteConnection,
    head: &'static str,
    after: Option<(TenantId, &str)>,
) -> Result<Vec<SqliteRow>, Error> {
    let select = format!("SELECT {head}, {} FROM {}", E::COLUMNS, E::TABLE);
    let mut query = QueryBuilder::<Sqlite>::new(select);
    if let Some((tenant, last_id)) = after {
        query.push(format_args!(" WHERE (tenant, {}) > (", E::ID));
        query.separated(", ").push_bind(tenant_to_column(tenant)).push_bind(last_id);
        query.push(")");
    }
    query.push(format_args!(" ORDER BY tenant, {} LIMIT ", E::ID)).push_bind(page_limit());
    Ok(query.build().fetch_all(connection).await?)
}

fn page_limit() -> i64 {
    i64::try_from(ROWS_PER_PAGE).expect("a small constant")
}
