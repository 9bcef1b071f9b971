//! Entries of the ledger in SQLite: posted in one transaction, read in pages, summed on request.
//!
//! Balances are never stored: what is summed when asked cannot drift from what it sums. What a batch
//! may break is looked up and refused with a name first; the triggers behind it are the second lock.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use reckon_event::{AdjustmentReason, Day, TenantId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::catalog::read_currency;
use super::entity::{ROWS_PER_STATEMENT, select_each};
use super::key::read_tenant_id;
use super::period::{period_of, read_u64};
use super::{SqliteBooks, tenant_to_column};
use crate::check;
use crate::error::Error;
use crate::ledger::{
    Account, After, Balance, Entry, EntryKind, LEDGER_ROWS_MAX, Ledger, Period, Posted, Slice,
};

const COLUMNS: &str = "entry_key, hour, tenant, advertiser_id, campaign_id, ad_id, currency, \
    debit, credit, amount_micros, clicks, kind, reason, corrects, cut, created_at";

#[async_trait]
impl Ledger for SqliteBooks {
    async fn post(&self, entries: Vec<Entry>) -> Result<Posted, Error> {
        check::entries(&entries)?;
        let mut transaction = self.write().await?;
        let (new, same) = split(&mut transaction, entries).await?;
        let posted = Posted { new: new.len() as u64, same };
        if !new.is_empty() {
            check_periods(&mut transaction, &new).await?;
            let said: Vec<Owners<'_>> = new.iter().map(owners_in).collect();
            check_owners(&mut transaction, &said).await?;
            insert(&mut transaction, &new).await?;
            transaction.commit().await?;
        }
        Ok(posted)
    }

    async fn entries(&self, slice: &Slice, after: After) -> Result<Vec<Entry>, Error> {
        check::slice(slice)?;
        let head = format!("SELECT {COLUMNS} FROM ledger_entries");
        let mut query = QueryBuilder::<Sqlite>::new(head);
        push_slice(&mut query, slice);
        push_page(&mut query, "entry_key", after);
        let rows = query.build().fetch_all(&self.readers).await?;
        rows.iter().map(read_entry).collect()
    }

    async fn balances(&self, slice: &Slice) -> Result<Vec<Balance>, Error> {
        check::slice(slice)?;
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT tenant, advertiser_id, currency, account, SUM(debits), SUM(credits) FROM (",
        );
        for (at, side) in ["debit", "credit"].into_iter().enumerate() {
            let (debits, credits) =
                if at == 0 { ("amount_micros", "0") } else { ("0", "amount_micros") };
            query.push(if at == 0 { "" } else { " UNION ALL " });
            query.push(format_args!(
                "SELECT tenant, advertiser_id, currency, {side} AS account, {debits} AS debits, \
                 {credits} AS credits FROM ledger_entries"
            ));
            push_slice(&mut query, slice);
        }
        query.push(") AS sides GROUP BY tenant, advertiser_id, currency, account");
        query.push(" ORDER BY tenant, advertiser_id, currency, account");
        let rows = query.build().fetch_all(&self.readers).await?;
        rows.iter().map(read_balance).collect()
    }
}

/// What is new of a batch, and how much of it was there already, the same.
async fn split(
    connection: &mut SqliteConnection,
    entries: Vec<Entry>,
) -> Result<(Vec<Entry>, u64), Error> {
    let mut known = known(connection, &entries).await?;
    let (mut new, mut same) = (Vec::new(), 0);
    for entry in entries {
        match known.get(&entry.key) {
            None => {
                known.insert(entry.key.clone(), entry.clone());
                new.push(entry);
            }
            Some(there) if there.same(&entry) => same += 1,
            Some(_) => {
                let key = &entry.key;
                let problem = format!("entry `{key}` is posted with other values: it stands");
                return Err(Error::conflict(problem));
            }
        }
    }
    Ok((new, same))
}

async fn known(
    connection: &mut SqliteConnection,
    entries: &[Entry],
) -> Result<HashMap<String, Entry>, Error> {
    let mut known = HashMap::with_capacity(entries.len());
    for some in entries.chunks(ROWS_PER_STATEMENT) {
        let head = format!("SELECT {COLUMNS} FROM ledger_entries WHERE entry_key IN (");
        let mut query = QueryBuilder::<Sqlite>::new(head);
        let mut keys = query.separated(", ");
        for entry in some {
            keys.push_bind(&entry.key);
        }
        query.push(")");
        for row in query.build().persistent(false).fetch_all(&mut *connection).await? {
            let entry = read_entry(&row)?;
            known.insert(entry.key.clone(), entry);
        }
    }
    Ok(known)
}

/// Charges and credits are for frozen days, adjustments for closed ones.
async fn check_periods(connection: &mut SqliteConnection, new: &[Entry]) -> Result<(), Error> {
    let wanted: BTreeSet<(Day, bool)> =
        new.iter().map(|entry| (entry.day(), entry.kind == EntryKind::Adjustment)).collect();
    for (day, is_adjustment) in wanted {
        let period = period_of(connection, day).await?;
        if let Some(problem) = period_problem(period, is_adjustment) {
            return Err(Error::invalid("hour", &format!("lies in {day}, {problem}")));
        }
    }
    Ok(())
}

fn period_problem(period: Option<Period>, is_adjustment: bool) -> Option<&'static str> {
    match (period.map(|period| period.closed_at.is_some()), is_adjustment) {
        (None, _) => Some("which is not frozen: freeze it first"),
        (Some(false), true) => Some("which is not closed yet: what is known now is not late"),
        (Some(true), false) => Some("which is closed: post an adjustment"),
        (Some(false), false) | (Some(true), true) => None,
    }
}

/// Who pays for what, as an entry or a figure says it.
pub(super) struct Owners<'a> {
    pub(super) tenant: TenantId,
    pub(super) advertiser_id: &'a str,
    pub(super) campaign_id: &'a str,
    pub(super) ad_id: Option<&'a str>,
}

fn owners_in(entry: &Entry) -> Owners<'_> {
    Owners {
        tenant: entry.tenant,
        advertiser_id: &entry.advertiser_id,
        campaign_id: &entry.campaign_id,
        ad_id: entry.ad_id.as_deref(),
    }
}

/// A campaign pays for its own ads and is paid for by its own advertiser.
pub(super) async fn check_owners(
    connection: &mut SqliteConnection,
    said: &[Owners<'_>],
) -> Result<(), Error> {
    let tenants: BTreeSet<TenantId> = said.iter().map(|owners| owners.tenant).collect();
    for tenant in tenants {
        let of_tenant = || said.iter().filter(|owners| owners.tenant == tenant);
        let campaigns = of_tenant().map(|owners| owners.campaign_id);
        let payers = owners(connection, tenant, &OF_CAMPAIGN, campaigns.collect()).await?;
        let ads = of_tenant().filter_map(|owners| owners.ad_id);
        let campaigns = owners(connection, tenant, &OF_AD, ads.collect()).await?;
        for Owners { advertiser_id, campaign_id, ad_id, .. } in of_tenant() {
            let payer = payers.get(*campaign_id);
            require_owner("campaign_id", campaign_id, payer, advertiser_id)?;
            if let Some(ad_id) = ad_id {
                require_owner("ad_id", ad_id, campaigns.get(*ad_id), campaign_id)?;
            }
        }
    }
    Ok(())
}

struct Ownership {
    table: &'static str,
    columns: &'static str,
    id: &'static str,
}

const OF_CAMPAIGN: Ownership =
    Ownership { table: "campaigns", columns: "campaign_id, advertiser_id", id: "campaign_id" };
const OF_AD: Ownership = Ownership { table: "ads", columns: "ad_id, campaign_id", id: "ad_id" };

async fn owners(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    of: &Ownership,
    ids: HashSet<&str>,
) -> Result<HashMap<String, String>, Error> {
    let mut owners = HashMap::with_capacity(ids.len());
    let ids: Vec<&str> = ids.into_iter().collect();
    for some in ids.chunks(ROWS_PER_STATEMENT) {
        let ids = some.iter().copied();
        let mut query = select_each(of.table, of.columns, of.id, tenant, ids);
        for row in query.build().persistent(false).fetch_all(&mut *connection).await? {
            owners.insert(row.try_get(0)?, row.try_get(1)?);
        }
    }
    Ok(owners)
}

fn require_owner(
    field: &'static str,
    id: &str,
    owner: Option<&String>,
    named: &str,
) -> Result<(), Error> {
    match owner {
        Some(owner) if owner == named => Ok(()),
        Some(owner) => {
            Err(Error::invalid(field, &format!("`{id}` belongs to `{owner}`, not to `{named}`")))
        }
        None => Err(Error::invalid(field, &format!("`{id}` is not registered"))),
    }
}

async fn insert(connection: &mut SqliteConnection, new: &[Entry]) -> Result<(), Error> {
    for some in new.chunks(ROWS_PER_STATEMENT) {
        let head = format!("INSERT INTO ledger_entries (day, {COLUMNS}) ");
        let mut query = QueryBuilder::<Sqlite>::new(head);
        query.push_values(some, |mut values, entry| {
            values
                .push_bind(i64::from(entry.day().number()))
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

/// The condition of a slice, from `WHERE` on.
pub(super) fn push_slice(query: &mut QueryBuilder<Sqlite>, slice: &Slice) {
    query.push(" WHERE hour >= ").push_bind(slice.from.0);
    query.push(" AND hour < ").push_bind(slice.to.0);
    if let Some(tenant) = slice.tenant {
        query.push(" AND tenant = ").push_bind(tenant_to_column(tenant));
    }
    if let Some(advertiser_id) = &slice.advertiser_id {
        query.push(" AND advertiser_id = ").push_bind(advertiser_id.clone());
    }
}

/// The order of a page by hour and `key`, and where it begins.
pub(super) fn push_page(query: &mut QueryBuilder<Sqlite>, key: &'static str, after: After) {
    if let Some((hour, last)) = after {
        query.push(format_args!(" AND (hour, {key}) > ("));
        query.separated(", ").push_bind(hour.0).push_bind(last);
        query.push(")");
    }
    query.push(format_args!(" ORDER BY hour, {key} LIMIT {LEDGER_ROWS_MAX}"));
}

fn read_entry(row: &SqliteRow) -> Result<Entry, Error> {
    let (kind, reason): (&str, Option<&str>) = (row.try_get(11)?, row.try_get(12)?);
    Ok(Entry {
        key: row.try_get(0)?,
        hour: Timestamp(row.try_get(1)?),
        tenant: read_tenant_id(row, 2)?,
        advertiser_id: row.try_get(3)?,
        campaign_id: row.try_get(4)?,
        ad_id: row.try_get(5)?,
        currency: read_currency(row, 6)?,
        debit: account_of(row.try_get(7)?)?,
        credit: account_of(row.try_get(8)?)?,
        amount: row.try_get(9)?,
        clicks: row.try_get(10)?,
        kind: EntryKind::parse(kind).ok_or_else(|| unknown(kind, "kind of entry"))?,
        reason: reason.map(reason_of).transpose()?,
        corrects: row.try_get(13)?,
        cut: read_u64(row.try_get(14)?, "cut")?,
        created_at: Timestamp(row.try_get(15)?),
    })
}

fn read_balance(row: &SqliteRow) -> Result<Balance, Error> {
    Ok(Balance {
        tenant: read_tenant_id(row, 0)?,
        advertiser_id: row.try_get(1)?,
        currency: read_currency(row, 2)?,
        account: account_of(row.try_get(3)?)?,
        debits: row.try_get(4)?,
        credits: row.try_get(5)?,
    })
}

fn account_of(text: &str) -> Result<Account, Error> {
    Account::parse(text).ok_or_else(|| unknown(text, "account"))
}

fn reason_of(text: &str) -> Result<AdjustmentReason, Error> {
    AdjustmentReason::parse(text).ok_or_else(|| unknown(text, "reason"))
}

fn unknown(text: &str, what: &str) -> Error {
    Error::damaged(format!("`{text}` is no {what}"))
}
