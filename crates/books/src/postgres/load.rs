//! The whole catalog into memory, in pages of one transaction that sees one moment.

use reckon_event::TenantId;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, Postgres, QueryBuilder, Row};

use super::PostgresBooks;
use super::entity::Kept;
use crate::catalog::{Ad, AdEntry, Advertiser, Campaign, Snapshot};
use crate::error::Error;
use crate::rows::snapshot::{Histories, Payers, ROWS_PER_PAGE, TermsPlace, campaigns};
use crate::rows::{tenant_of, tenant_to_column};

pub(super) async fn snapshot(books: &PostgresBooks) -> Result<Snapshot, Error> {
    books.read_all(|session| Box::pin(load(session))).await
}

async fn load(connection: &mut PgConnection) -> Result<Snapshot, Error> {
    let advertisers = all::<Advertiser>(connection).await?;
    let histories = histories(connection).await?;
    let campaigns = campaigns(&advertisers, histories, all::<Campaign>(connection).await?)?;
    let ads = ads(connection, &Payers::new(&campaigns)).await?;
    Ok(Snapshot { advertisers, campaigns, ads })
}

async fn ads(connection: &mut PgConnection, payers: &Payers<'_>) -> Result<Vec<AdEntry>, Error> {
    let mut entries: Vec<AdEntry> = Vec::new();
    loop {
        let after = entries.last().map(|entry| (entry.tenant, entry.ad.ad_id.as_str()));
        let rows = page::<Ad>(connection, "tenant", after).await?;
        for row in &rows {
            let (tenant, ad) = owned(row)?;
            entries.push(payers.entry(tenant, ad)?);
        }
        if rows.len() < ROWS_PER_PAGE {
            return Ok(entries);
        }
    }
}

/// Every thing of a table with its tenant, by tenant and id.
async fn all<E: Kept>(connection: &mut PgConnection) -> Result<Vec<(TenantId, E)>, Error> {
    let mut things: Vec<(TenantId, E)> = Vec::new();
    loop {
        let after = things.last().map(|(tenant, last)| (*tenant, last.id()));
        let rows = page::<E>(connection, "tenant", after).await?;
        things.reserve(rows.len());
        for row in &rows {
            things.push(owned(row)?);
        }
        if rows.len() < ROWS_PER_PAGE {
            return Ok(things);
        }
    }
}

/// A thing with its tenant, of a row whose tail begins with that.
fn owned<E: Kept>(row: &PgRow) -> Result<(TenantId, E), Error> {
    Ok((tenant_of(row.try_get(E::WIDTH)?)?, E::of(FromRow::from_row(row)?)?))
}

async fn histories(connection: &mut PgConnection) -> Result<Histories, Error> {
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
    connection: &mut PgConnection,
    after: Option<&TermsPlace>,
) -> Result<Vec<PgRow>, Error> {
    let mut query = QueryBuilder::<Postgres>::new(
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

/// A page of a table in the order of its primary key: the columns of `E`, then those of `tail`.
pub(super) async fn page<E: Kept>(
    connection: &mut PgConnection,
    tail: &'static str,
    after: Option<(TenantId, &str)>,
) -> Result<Vec<PgRow>, Error> {
    let select = format!("SELECT {}, {tail} FROM {}", E::COLUMNS, E::TABLE);
    let mut query = QueryBuilder::<Postgres>::new(select);
    if let Some((tenant, last_id)) = after {
        query.push(format_args!(" WHERE (tenant, {}) > (", E::ID));
        query.separated(", ").push_bind(tenant_to_column(tenant)).push_bind(last_id);
        query.push(")");
    }
    query.push(format_args!(" ORDER BY tenant, {} LIMIT {ROWS_PER_PAGE}", E::ID));
    Ok(query.build().fetch_all(connection).await?)
}
