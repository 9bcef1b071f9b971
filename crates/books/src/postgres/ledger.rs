//! Entries of the ledger in PostgreSQL: posted in one transaction, read in pages, summed on request.
//!
//! What a batch may break is looked up and refused with a name first; the triggers behind it are the
//! second lock.

use std::collections::HashMap;

use async_trait::async_trait;
use reckon_event::{AdjustmentReason, TenantId};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Postgres};

use super::entity::{column, places};
use super::period::stored;
use super::{PostgresBooks, behind, sought};
use crate::check;
use crate::error::Error;
use crate::ledger::{After, Balance, Entry, Ledger, Posted, Slice};
use crate::rows::ledger::{
    BalanceColumns, ENTRY_COLUMNS, EntryColumns, OF_AD, OF_CAMPAIGN, Ownership, Said, balance_of,
    days_of, entry_of, require_state, select_balances, select_page, split,
};
use crate::rows::period::day_to_column;
use crate::rows::tenant_to_column;

#[async_trait]
impl Ledger for PostgresBooks {
    async fn post(&self, entries: Vec<Entry>) -> Result<Posted, Error> {
        check::entries(&entries)?;
        let entries = entries.as_slice();
        self.write(|session| Box::pin(post(session, entries))).await
    }

    async fn entries(&self, slice: &Slice, after: After) -> Result<Vec<Entry>, Error> {
        check::slice(slice)?;
        let after = &after;
        self.read(|session| Box::pin(entries_page(session, slice, after))).await
    }

    async fn balances(&self, slice: &Slice) -> Result<Vec<Balance>, Error> {
        check::slice(slice)?;
        self.read(|session| Box::pin(balances(session, slice))).await
    }
}

async fn entries_page(
    connection: &mut PgConnection,
    slice: &Slice,
    after: &After,
) -> Result<Vec<Entry>, Error> {
    let from = ("ledger_entries", ENTRY_COLUMNS, "entry_key");
    let mut query = select_page::<Postgres>(from, &sought_slice(slice), behind_row(after));
    let rows: Vec<EntryColumns> = query.build_query_as().fetch_all(connection).await?;
    rows.into_iter().map(entry_of).collect()
}

async fn balances(connection: &mut PgConnection, slice: &Slice) -> Result<Vec<Balance>, Error> {
    let mut query = select_balances::<Postgres>(&sought_slice(slice));
    let rows: Vec<BalanceColumns> = query.build_query_as().fetch_all(connection).await?;
    rows.into_iter().map(balance_of).collect()
}

/// The slice, of nobody where its advertiser's name is no name.
pub(super) fn sought_slice(slice: &Slice) -> Slice {
    let advertiser_id = slice.advertiser_id.as_deref().map(|id| sought(id).to_owned());
    Slice { advertiser_id, ..slice.clone() }
}

/// The same place in terms of keys, which have no zero byte.
pub(super) fn behind_row(after: &After) -> After {
    after.as_ref().map(|(hour, key)| (*hour, behind(key).to_owned()))
}

async fn post(connection: &mut PgConnection, entries: &[Entry]) -> Result<Posted, Error> {
    let known = known(connection, entries).await?;
    let (new, same) = split(&known, entries)?;
    if !new.is_empty() {
        check_periods(connection, &new).await?;
        check_owners(connection, &Said::by_tenant(new.iter().copied())).await?;
        insert(connection, &new).await?;
    }
    Ok(Posted { new: new.len() as u64, same })
}

/// What stands under the keys of a batch.
async fn known(connection: &mut PgConnection, entries: &[Entry]) -> Result<Vec<Entry>, Error> {
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let select = format!("SELECT {ENTRY_COLUMNS} FROM ledger_entries WHERE entry_key = ANY($1)");
    let rows: Vec<EntryColumns> =
        sqlx::query_as(AssertSqlSafe(select)).bind(keys).fetch_all(connection).await?;
    rows.into_iter().map(entry_of).collect()
}

async fn check_periods(connection: &mut PgConnection, new: &[&Entry]) -> Result<(), Error> {
    for (day, is_adjustment) in days_of(new) {
        let period = stored(connection, day).await?.map(|stored| stored.period);
        require_state(day, period, is_adjustment)?;
    }
    Ok(())
}

/// Refuses what is said to belong together and does not.
pub(super) async fn check_owners(
    connection: &mut PgConnection,
    said: &[Said<'_>],
) -> Result<(), Error> {
    for said in said {
        let payers = owners(connection, said.tenant, &OF_CAMPAIGN, &said.campaigns()).await?;
        let campaigns = owners(connection, said.tenant, &OF_AD, &said.ads()).await?;
        said.check(&payers, &campaigns)?;
    }
    Ok(())
}

async fn owners(
    connection: &mut PgConnection,
    tenant: TenantId,
    of: &Ownership,
    ids: &[&str],
) -> Result<HashMap<String, String>, Error> {
    let Ownership { table, columns, id } = of;
    let select = format!("SELECT {columns} FROM {table} WHERE tenant = $1 AND {id} = ANY($2)");
    let ids: Vec<&str> = ids.iter().map(|id| sought(id)).collect();
    let rows: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(select))
        .bind(tenant_to_column(tenant))
        .bind(ids)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().collect())
}

async fn insert(connection: &mut PgConnection, new: &[&Entry]) -> Result<(), Error> {
    let text = format!(
        "INSERT INTO ledger_entries (day, {ENTRY_COLUMNS}) SELECT * FROM UNNEST({})",
        places(1, 17)
    );
    sqlx::query(AssertSqlSafe(text))
        .bind(column(new, |entry| day_to_column(entry.day())))
        .bind(column(new, |entry| entry.key.as_str()))
        .bind(column(new, |entry| entry.hour.0))
        .bind(column(new, |entry| tenant_to_column(entry.tenant)))
        .bind(column(new, |entry| entry.advertiser_id.as_str()))
        .bind(column(new, |entry| entry.campaign_id.as_str()))
        .bind(column(new, |entry| entry.ad_id.as_deref()))
        .bind(column(new, |entry| entry.currency.to_string()))
        .bind(column(new, |entry| entry.debit.as_str()))
        .bind(column(new, |entry| entry.credit.as_str()))
        .bind(column(new, |entry| entry.amount))
        .bind(column(new, |entry| entry.clicks))
        .bind(column(new, |entry| entry.kind.as_str()))
        .bind(column(new, |entry| entry.reason.map(AdjustmentReason::name)))
        .bind(column(new, |entry| entry.corrects.as_deref()))
        .bind(column(new, |entry| entry.cut.cast_signed()))
        .bind(column(new, |entry| entry.created_at.0))
        .execute(connection)
        .await?;
    Ok(())
}
