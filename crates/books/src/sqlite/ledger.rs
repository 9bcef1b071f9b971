//! Entries of the ledger in SQLite: posted in one transaction, read in pages, summed on request.
//!
//! What a batch may break is looked up and refused with a name first; the triggers behind it are the
//! second lock.

use std::collections::HashMap;

use async_trait::async_trait;
use reckon_event::{AdjustmentReason, TenantId};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::SqliteBooks;
use super::entity::{ROWS_PER_STATEMENT, select_each};
use super::period::stored;
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
impl Ledger for SqliteBooks {
    async fn post(&self, entries: Vec<Entry>) -> Result<Posted, Error> {
        check::entries(&entries)?;
        let mut transaction = self.write().await?;
        let known = known(&mut transaction, &entries).await?;
        let (new, same) = split(&known, &entries)?;
        if !new.is_empty() {
            check_periods(&mut transaction, &new).await?;
            check_owners(&mut transaction, &Said::by_tenant(new.iter().copied())).await?;
            insert(&mut transaction, &new).await?;
            transaction.commit().await?;
        }
        Ok(Posted { new: new.len() as u64, same })
    }

    async fn entries(&self, slice: &Slice, after: After) -> Result<Vec<Entry>, Error> {
        check::slice(slice)?;
        let from = ("ledger_entries", ENTRY_COLUMNS, "entry_key");
        let mut query = select_page::<Sqlite>(from, slice, after);
        let rows: Vec<EntryColumns> = query.build_query_as().fetch_all(&self.readers).await?;
        rows.into_iter().map(entry_of).collect()
    }

    async fn balances(&self, slice: &Slice) -> Result<Vec<Balance>, Error> {
        check::slice(slice)?;
        let mut query = select_balances::<Sqlite>(slice);
        let rows: Vec<BalanceColumns> = query.build_query_as().fetch_all(&self.readers).await?;
        rows.into_iter().map(balance_of).collect()
    }
}

/// What stands under the keys of a batch.
async fn known(connection: &mut SqliteConnection, entries: &[Entry]) -> Result<Vec<Entry>, Error> {
    let mut known = Vec::new();
    for some in entries.chunks(ROWS_PER_STATEMENT) {
        let head = format!("SELECT {ENTRY_COLUMNS} FROM ledger_entries WHERE entry_key IN (");
        let mut query = QueryBuilder::<Sqlite>::new(head);
        let mut keys = query.separated(", ");
        for entry in some {
            keys.push_bind(&entry.key);
        }
        query.push(")");
        let rows: Vec<EntryColumns> =
            query.build_query_as().persistent(false).fetch_all(&mut *connection).await?;
        for row in rows {
            known.push(entry_of(row)?);
        }
    }
    Ok(known)
}

async fn check_periods(connection: &mut SqliteConnection, new: &[&Entry]) -> Result<(), Error> {
    for (day, is_adjustment) in days_of(new) {
        let period = stored(connection, day).await?.map(|stored| stored.period);
        require_state(day, period, is_adjustment)?;
    }
    Ok(())
}

/// Refuses what is said to belong together and does not.
pub(super) async fn check_owners(
    connection: &mut SqliteConnection,
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
    connection: &mut SqliteConnection,
    tenant: TenantId,
    of: &Ownership,
    ids: &[&str],
) -> Result<HashMap<String, String>, Error> {
    let mut owners = HashMap::with_capacity(ids.len());
    for some in ids.chunks(ROWS_PER_STATEMENT) {
        let ids = some.iter().copied();
        let mut query = select_each(of.table, of.columns, of.id, tenant, ids);
        let rows: Vec<(String, String)> =
            query.build_query_as().persistent(false).fetch_all(&mut *connection).await?;
        owners.extend(rows);
    }
    Ok(owners)
}

async fn insert(connection: &mut SqliteConnection, new: &[&Entry]) -> Result<(), Error> {
    for some in new.chunks(ROWS_PER_STATEMENT) {
        let head = format!("INSERT INTO ledger_entries (day, {ENTRY_COLUMNS}) ");
        let mut query = QueryBuilder::<Sqlite>::new(head);
        query.push_values(some, |mut values, entry| {
            values
                .push_bind(day_to_column(entry.day()))
                .push_bind(&entry.key)
                .push_bind(entry.hour.0)
                .push_bind(tenant_to_column(entry.tenant))
                .push_bind(&entry.advertiser_id)
                .push_bind(&entry.campaign_id)
                .push_bind(entry.ad_id.as_deref())
                .push_bind(entry.currency.to_string())
                .push_bind(entry.debit.as_str())
                .push_bind(entry.credit.as_str())
                .push_bind(entry.amount)
                .push_bind(entry.clicks)
                .push_bind(entry.kind.as_str())
                .push_bind(entry.reason.map(AdjustmentReason::name))
                .push_bind(entry.corrects.as_deref())
                .push_bind(entry.cut.cast_signed())
                .push_bind(entry.created_at.0);
        });
        query.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}
