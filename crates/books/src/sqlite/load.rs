//! The whole catalog into memory, in pages of one read transaction.
//!
//! Ads come in the order of their primary key, so a page is one range scan and nothing is sorted.

use reckon_event::TenantId;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, QueryBuilder, Row, Sqlite};

use super::SqliteBooks;
use super::entity::{Kept, read};
use crate::catalog::{Ad, AdEntry, Advertiser, Campaign, Snapshot};
use crate::error::Error;
use crate::rows::entity::Entity;
use crate::rows::snapshot::{Histories, Payers, ROWS_PER_PAGE, TermsPlace, campaigns};
use crate::rows::{tenant_of, tenant_to_column};

/// Ads of one text: at most some 5 MB of it.
const ADS_PER_PAGE: usize = 2_000;

pub(super) async fn snapshot(books: &SqliteBooks) -> Result<Snapshot, Error> {
    let mut transaction = books.readers.begin().await?;
    let advertisers = all::<Advertiser>(&mut transaction).await?;
    let histories = histories(&mut transaction).await?;
    let campaigns = campaigns(&advertisers, histories, all::<Campaign>(&mut transaction).await?)?;
    let ads = ads(&mut transaction, &Payers::new(&campaigns)).await?;
    transaction.rollback().await?;
    Ok(Snapshot { advertisers, campaigns, ads })
}

async fn ads(
    connection: &mut SqliteConnection,
    payers: &Payers<'_>,
) -> Result<Vec<AdEntry>, Error> {
    let mut entries: Vec<AdEntry> = Vec::new();
    loop {
        let last = entries.last().map(|entry| (entry.tenant, entry.ad.id()));
        let page = ads_page(connection, last).await?;
        let is_last = page.len() < ADS_PER_PAGE;
        for (tenant, columns) in page {
            entries.push(payers.entry(TenantId(tenant), Ad::of(columns)?)?);
        }
        if is_last {
            return Ok(entries);
        }
    }
}

/// A page of ads as one JSON text. There may be a million of them, and a row's way from the
/// database's thread to ours costs some times more than writing it as JSON and reading that.
async fn ads_page(
    connection: &mut SqliteConnection,
    after: Option<(TenantId, &str)>,
) -> Result<Vec<(u32, <Ad as Entity>::Columns)>, Error> {
    let columns = Ad::COLUMNS;
    let mut query = QueryBuilder::<Sqlite>::new(format!(
        "SELECT json_group_array(json_array(tenant, json_array({columns}))) \
         FROM (SELECT tenant, {columns} FROM ads"
    ));
    push_range::<Ad>(&mut query, after, ADS_PER_PAGE);
    query.push(")");
    let row = query.build().fetch_one(connection).await?;
    let json: &str = row.try_get(0)?;
    serde_json::from_str(json)
        .map_err(|cause| Error::damaged(format!("an ad cannot be read: {cause}")).caused_by(cause))
}

async fn histories(connection: &mut SqliteConnection) -> Result<Histories, Error> {
    let mut histories = Histories::default();
    let mut last: Option<TermsPlace> = None;
    loop {
        let rows = terms_page(connection, last.as_ref()).await?;
        let is_last = rows.len() < ROWS_PER_PAGE;
        for row in &rows {
            let (tenant, campaign_id, sequence, at, cpc, budget) = FromRow::from_row(row)?;
            let place = (tenant, campaign_id, sequence);
            histories.add(&place, (at, cpc, budget))?;
            last = Some(place);
        }
        if is_last {
            return Ok(histories);
        }
    }
}

async fn terms_page(
    connection: &mut SqliteConnection,
    after: Option<&TermsPlace>,
) -> Result<Vec<SqliteRow>, Error> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT tenant, campaign_id, sequence, effective_at, cpc_micros, daily_budget_micros \
         FROM campaign_terms",
    );
    if let Some((tenant, campaign_id, sequence)) = after {
        query.push(" WHERE (tenant, campaign_id, sequence) > (");
        let mut values = query.separated(", ");
        values.push_bind(*tenant).push_bind(campaign_id).push_bind(*sequence);
        query.push(")");
    }
    query.push(" ORDER BY tenant, campaign_id, sequence LIMIT ").push(ROWS_PER_PAGE);
    Ok(query.build().fetch_all(connection).await?)
}

/// Every thing of a table with its tenant, by tenant and id.
async fn all<E: Kept>(connection: &mut SqliteConnection) -> Result<Vec<(TenantId, E)>, Error> {
    let mut things: Vec<(TenantId, E)> = Vec::new();
    loop {
        let after = things.last().map(|(tenant, last)| (*tenant, last.id()));
        let rows = page::<E>(connection, "tenant", after).await?;
        things.reserve(rows.len());
        for row in &rows {
            things.push((tenant_of(row.try_get(E::WIDTH)?)?, read(row)?));
        }
        if rows.len() < ROWS_PER_PAGE {
            return Ok(things);
        }
    }
}

/// A page of a table in the order of its primary key: the columns of `E`, then those of `tail`.
pub(super) async fn page<E: Kept>(
    connection: &mut SqliteConnection,
    tail: &'static str,
    after: Option<(TenantId, &str)>,
) -> Result<Vec<SqliteRow>, Error> {
    let select = format!("SELECT {}, {tail} FROM {}", E::COLUMNS, E::TABLE);
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
