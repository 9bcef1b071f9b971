//! The whole catalog into memory, in pages of one read transaction.
//!
//! Campaigns come first and are shared by their ads; ads come in the order of their primary key, so
//! a page is one range scan and nothing is sorted.

use std::collections::HashMap;
use std::sync::Arc;

use reckon_event::{Currency, TenantId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::SqliteBooks;
use super::catalog::{read_terms, status_of};
use super::entity::Entity;
use super::key::read_tenant_id;
use super::tenant_to_column;
use crate::catalog::{Ad, AdEntry, Advertiser, Campaign, CampaignEntry, Snapshot, Terms};
use crate::error::Error;

/// Rows held at once beside what is made of them.
pub(super) const ROWS_PER_PAGE: usize = 10_000;

/// Ads of one text: at most some 5 MB of it.
const ADS_PER_PAGE: usize = 2_000;

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
    let mut entries: Vec<AdEntry> = Vec::new();
    loop {
        let last = entries.last().map(|entry| (entry.tenant, entry.ad.id()));
        let page = ads_page(connection, last).await?;
        let is_last = page.len() < ADS_PER_PAGE;
        for columns in page {
            let (tenant, ad) = read_ad(columns)?;
            let Some(&campaign) = campaign_of.get(&(tenant, ad.parent_id())) else {
                return Err(Error::damaged(format!("ad `{}` has no campaign", ad.ad_id)));
            };
            entries.push(AdEntry { tenant, ad, campaign: Arc::clone(campaign) });
        }
        if is_last {
            return Ok(entries);
        }
    }
}

/// The columns of an ad as [`ads_page`] asks for them.
type AdColumns =
    (u32, String, String, String, Option<String>, Option<String>, Option<String>, String, i64);

/// A page of ads as one JSON text. There may be a million of them, and a row's way from the
/// database's thread to ours costs some times more than writing it as JSON and reading that.
async fn ads_page(
    connection: &mut SqliteConnection,
    after: Option<(TenantId, &str)>,
) -> Result<Vec<AdColumns>, Error> {
    let columns = format!("tenant, {}", Ad::COLUMNS);
    let head =
        format!("SELECT json_group_array(json_array({columns})) FROM (SELECT {columns} FROM ads");
    let mut query = QueryBuilder::<Sqlite>::new(head);
    push_range::<Ad>(&mut query, after, ADS_PER_PAGE);
    query.push(")");
    let row = query.build().fetch_one(connection).await?;
    let json: &str = row.try_get(0)?;
    serde_json::from_str(json)
        .map_err(|cause| Error::damaged(format!("an ad cannot be read: {cause}")).caused_by(cause))
}

fn read_ad(columns: AdColumns) -> Result<(TenantId, Ad), Error> {
    let (
        tenant,
        ad_id,
        campaign_id,
        destination_url,
        category,
        creative_size,
        parameter,
        status,
        at,
    ) = columns;
    let ad = Ad {
        ad_id,
        campaign_id,
        destination_url,
        category,
        creative_size,
        append_click_id: parameter,
        status: status_of(&status)?,
        created_at: Timestamp(at),
    };
    Ok((TenantId(tenant), ad))
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
    query.push(" ORDER BY tenant, campaign_id, sequence LIMIT ").push(ROWS_PER_PAGE);
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
    push_range::<E>(&mut query, after, ROWS_PER_PAGE);
    Ok(query.build().fetch_all(connection).await?)
}

fn push_range<E: Entity>(
    query: &mut QueryBuilder<Sqlite>,
    after: Option<(TenantId, &str)>,
    rows_max: usize,
) {
    if let Some((tenant, last_id)) = after {
        query.push(format_args!(" WHERE (tenant, {}) > (", E::ID));
        query.separated(", ").push_bind(tenant_to_column(tenant)).push_bind(last_id);
        query.push(")");
    }
    query.push(format_args!(" ORDER BY tenant, {} LIMIT {rows_max}", E::ID));
}
