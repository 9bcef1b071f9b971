//! Rows of the ledger, and what becomes of a batch that is to be posted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use reckon_event::{AdjustmentReason, Day, TenantId, Timestamp};
use sqlx::{Database, Encode, QueryBuilder, Type};

use super::{currency_of, tenant_of, tenant_to_column, u64_of};
use crate::error::Error;
use crate::ledger::{
    Account, After, Balance, BillingProfile, Entry, EntryKind, FrozenFigure, LEDGER_ROWS_MAX,
    Period, Slice, UnseenClicks,
};

pub(crate) const ENTRY_COLUMNS: &str = "entry_key, hour, tenant, advertiser_id, campaign_id, ad_id, \
    currency, debit, credit, amount_micros, clicks, kind, reason, corrects, cut, created_at";

/// The values of [`ENTRY_COLUMNS`].
pub(crate) type EntryColumns = (
    String,
    i64,
    i64,
    String,
    String,
    Option<String>,
    String,
    String,
    String,
    i64,
    i64,
    String,
    Option<String>,
    Option<String>,
    i64,
    i64,
);

pub(crate) fn entry_of(columns: EntryColumns) -> Result<Entry, Error> {
    let (key, hour, tenant, advertiser_id, campaign_id, ad_id, currency, debit, credit, ..) =
        columns;
    let (.., amount, clicks, kind, reason, corrects, cut, created_at) = columns;
    Ok(Entry {
        key,
        hour: Timestamp(hour),
        tenant: tenant_of(tenant)?,
        advertiser_id,
        campaign_id,
        ad_id,
        currency: currency_of(&currency)?,
        debit: account_of(&debit)?,
        credit: account_of(&credit)?,
        amount,
        clicks,
        kind: EntryKind::parse(&kind).ok_or_else(|| unknown(&kind, "kind of entry"))?,
        reason: reason.as_deref().map(reason_of).transpose()?,
        corrects,
        cut: u64_of(cut, "cut")?,
        created_at: Timestamp(created_at),
    })
}

/// `tenant, advertiser_id, currency, account` and the two sums.
pub(crate) type BalanceColumns = (i64, String, String, String, i64, i64);

pub(crate) fn balance_of(columns: BalanceColumns) -> Result<Balance, Error> {
    let (tenant, advertiser_id, currency, account, debits, credits) = columns;
    Ok(Balance {
        tenant: tenant_of(tenant)?,
        advertiser_id,
        currency: currency_of(&currency)?,
        account: account_of(&account)?,
        debits,
        credits,
    })
}

/// `time_zone, unseen_clicks`.
pub(crate) fn profile_of((time_zone, policy): (String, String)) -> Result<BillingProfile, Error> {
    let unseen_clicks = UnseenClicks::parse(&policy).map_err(|_| unknown(&policy, "policy"))?;
    Ok(BillingProfile { time_zone, unseen_clicks })
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

/// What is new of a batch, and how much of it was there already, the same. `known` is what stands
/// under its keys.
pub(crate) fn split<'a>(
    known: &'a [Entry],
    entries: &'a [Entry],
) -> Result<(Vec<&'a Entry>, u64), Error> {
    let mut there: HashMap<&str, &Entry> =
        known.iter().map(|entry| (entry.key.as_str(), entry)).collect();
    let (mut new, mut same) = (Vec::new(), 0);
    for entry in entries {
        match there.get(entry.key.as_str()) {
            None => {
                there.insert(&entry.key, entry);
                new.push(entry);
            }
            Some(stands) if stands.same(entry) => same += 1,
            Some(_) => {
                let key = &entry.key;
                let problem = format!("entry `{key}` is posted with other values: it stands");
                return Err(Error::conflict(problem));
            }
        }
    }
    Ok((new, same))
}

/// The days that entries go to, each with whether adjustments do.
pub(crate) fn days_of(new: &[&Entry]) -> BTreeSet<(Day, bool)> {
    new.iter().map(|entry| (entry.day(), entry.kind == EntryKind::Adjustment)).collect()
}

/// Charges and credits are for frozen days, adjustments for closed ones.
pub(crate) fn require_state(
    day: Day,
    period: Option<Period>,
    is_adjustment: bool,
) -> Result<(), Error> {
    let problem = match (period.map(|period| period.closed_at.is_some()), is_adjustment) {
        (None, _) => "which is not frozen: freeze it first",
        (Some(false), true) => "which is not closed yet: what is known now is not late",
        (Some(true), false) => "which is closed: post an adjustment",
        (Some(false), false) | (Some(true), true) => return Ok(()),
    };
    Err(Error::invalid("hour", &format!("lies in {day}, {problem}")))
}

/// Who pays for what, as an entry or a figure says it.
pub(crate) struct Owners<'a> {
    pub tenant: TenantId,
    pub advertiser_id: &'a str,
    pub campaign_id: &'a str,
    pub ad_id: Option<&'a str>,
}

impl<'a> From<&'a Entry> for Owners<'a> {
    fn from(entry: &'a Entry) -> Self {
        Owners {
            tenant: entry.tenant,
            advertiser_id: &entry.advertiser_id,
            campaign_id: &entry.campaign_id,
            ad_id: entry.ad_id.as_deref(),
        }
    }
}

impl<'a> From<&'a FrozenFigure> for Owners<'a> {
    fn from(figure: &'a FrozenFigure) -> Self {
        Owners {
            tenant: figure.tenant,
            advertiser_id: &figure.advertiser_id,
            campaign_id: &figure.campaign_id,
            ad_id: Some(&figure.ad_id),
        }
    }
}

/// What is said of who pays, by tenant.
pub(crate) struct Said<'a> {
    pub tenant: TenantId,
    owners: Vec<Owners<'a>>,
}

impl<'a> Said<'a> {
    /// What entries or figures say, one for each tenant among them.
    pub(crate) fn by_tenant<T>(rows: impl IntoIterator<Item = &'a T>) -> Vec<Said<'a>>
    where
        T: 'a,
        Owners<'a>: From<&'a T>,
    {
        let mut by_tenant: BTreeMap<TenantId, Vec<Owners<'a>>> = BTreeMap::new();
        for owners in rows.into_iter().map(Owners::from) {
            by_tenant.entry(owners.tenant).or_default().push(owners);
        }
        by_tenant.into_iter().map(|(tenant, owners)| Said { tenant, owners }).collect()
    }

    /// The campaigns it names, each once.
    pub(crate) fn campaigns(&self) -> Vec<&'a str> {
        once(self.owners.iter().map(|owners| owners.campaign_id))
    }

    /// The ads it names, each once.
    pub(crate) fn ads(&self) -> Vec<&'a str> {
        once(self.owners.iter().filter_map(|owners| owners.ad_id))
    }

    /// A campaign pays for its own ads and is paid for by its own advertiser. `payers` are the
    /// advertisers of campaigns, `campaigns` the campaigns of ads.
    pub(crate) fn check(
        &self,
        payers: &HashMap<String, String>,
        campaigns: &HashMap<String, String>,
    ) -> Result<(), Error> {
        for Owners { advertiser_id, campaign_id, ad_id, .. } in &self.owners {
            let payer = payers.get(*campaign_id);
            require_owner("campaign_id", campaign_id, payer, advertiser_id)?;
            if let Some(ad_id) = ad_id {
                require_owner("ad_id", ad_id, campaigns.get(*ad_id), campaign_id)?;
            }
        }
        Ok(())
    }
}

fn once<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    ids.collect::<BTreeSet<_>>().into_iter().collect()
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

/// Where it stands whose a thing is.
pub(crate) struct Ownership {
    pub table: &'static str,
    pub columns: &'static str,
    pub id: &'static str,
}

pub(crate) const OF_CAMPAIGN: Ownership =
    Ownership { table: "campaigns", columns: "campaign_id, advertiser_id", id: "campaign_id" };
pub(crate) const OF_AD: Ownership =
    Ownership { table: "ads", columns: "ad_id, campaign_id", id: "ad_id" };

/// The sums of a slice; reads [`BalanceColumns`].
///
/// Balances are never stored: what is summed when asked cannot drift from what it sums.
pub(crate) fn select_balances<D: Database>(slice: &Slice) -> QueryBuilder<D>
where
    i64: for<'q> Encode<'q, D> + Type<D>,
    String: for<'q> Encode<'q, D> + Type<D>,
{
    let mut query = QueryBuilder::new(
        "SELECT tenant, advertiser_id, currency, account, CAST(SUM(debits) AS BIGINT), \
         CAST(SUM(credits) AS BIGINT) FROM (",
    );
    let sides = [("debit", "amount_micros", "0"), ("credit", "0", "amount_micros")];
    for (at, (side, debits, credits)) in sides.into_iter().enumerate() {
        query.push(if at == 0 { "" } else { " UNION ALL " });
        query.push(format_args!(
            "SELECT tenant, advertiser_id, currency, {side} AS account, {debits} AS debits, \
             {credits} AS credits FROM ledger_entries"
        ));
        push_slice(&mut query, slice);
    }
    query.push(") AS sides GROUP BY tenant, advertiser_id, currency, account");
    query.push(" ORDER BY tenant, advertiser_id, currency, account");
    query
}

/// A page of a slice by hour and `key`, the first of `columns`.
pub(crate) fn select_page<D: Database>(
    (table, columns, key): (&str, &str, &str),
    slice: &Slice,
    after: After,
) -> QueryBuilder<D>
where
    i64: for<'q> Encode<'q, D> + Type<D>,
    String: for<'q> Encode<'q, D> + Type<D>,
{
    let mut query = QueryBuilder::new(format!("SELECT {columns} FROM {table}"));
    push_slice(&mut query, slice);
    if let Some((hour, last)) = after {
        query.push(format_args!(" AND (hour, {key}) > ("));
        query.separated(", ").push_bind(hour.0).push_bind(last);
        query.push(")");
    }
    query.push(format_args!(" ORDER BY hour, {key} LIMIT {LEDGER_ROWS_MAX}"));
    query
}

/// The condition of a slice, from `WHERE` on.
fn push_slice<D: Database>(query: &mut QueryBuilder<D>, slice: &Slice)
where
    i64: for<'q> Encode<'q, D> + Type<D>,
    String: for<'q> Encode<'q, D> + Type<D>,
{
    query.push(" WHERE hour >= ").push_bind(slice.from.0);
    query.push(" AND hour < ").push_bind(slice.to.0);
    if let Some(tenant) = slice.tenant {
        query.push(" AND tenant = ").push_bind(tenant_to_column(tenant));
    }
    if let Some(advertiser_id) = &slice.advertiser_id {
        query.push(" AND advertiser_id = ").push_bind(advertiser_id.clone());
    }
}
