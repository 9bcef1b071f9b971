//! The ledger: what advertisers owe, by double entry, and the days it was closed by.
//!
//! Every [`Entry`] moves an amount from one account of an advertiser to another, so the books balance
//! by their form; nothing is ever edited, and each entry has a key of its own, so that posting again
//! changes nothing. A day is frozen first (its figures at one cut of counting, [`Periods::freeze`]),
//! then charged, then closed; from then on it takes adjustments only, each naming what it corrects.
//!
//! ```text
//!   open ---- freeze ----> frozen ---- finish ----> closed
//!                          charges, credits         adjustments
//! ```
//!
//! Currencies are never added to each other: every sum here is of one.

use async_trait::async_trait;
use reckon_event::{AdjustmentReason, Currency, Day, Micros, TenantId, Timestamp};

use crate::books::Created;
use crate::error::Error;

/// The most entries posted, or rows read, at once.
pub const LEDGER_ROWS_MAX: usize = 10_000;

/// The most figures of one day.
pub const FIGURES_MAX: usize = 1_000_000;

/// The longest key of an entry, in bytes.
pub const ENTRY_KEY_BYTES_MAX: usize = 256;

/// An account of one advertiser in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// What the advertiser owes.
    Receivable,
    /// What was earned by clicks.
    Revenue,
    /// What was earned beyond a day's budget and is given back.
    OverDelivery,
}

impl Account {
    /// Every account.
    pub const ALL: [Account; 3] = [Account::Receivable, Account::Revenue, Account::OverDelivery];

    /// As the API and the database spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Account::Receivable => "receivable",
            Account::Revenue => "revenue",
            Account::OverDelivery => "over_delivery",
        }
    }

    /// Reads what [`Account::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|account| account.as_str() == text)
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Counted clicks at their price: receivable against revenue.
    Charge,
    /// What was delivered beyond the day's budget: over-delivery against receivable.
    Credit,
    /// What became known after the day was closed.
    Adjustment,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [EntryKind; 3] = [EntryKind::Charge, EntryKind::Credit, EntryKind::Adjustment];

    /// As the API and the database spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            EntryKind::Charge => "charge",
            EntryKind::Credit => "credit",
            EntryKind::Adjustment => "adjustment",
        }
    }

    /// Reads what [`EntryKind::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Unique for ever; the same key again is the same entry. At most [`ENTRY_KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// The start of the UTC hour it is for; its day is the period.
    pub hour: Timestamp,
    /// Whose.
    pub tenant: TenantId,
    /// Who pays.
    pub advertiser_id: String,
    /// For what.
    pub campaign_id: String,
    /// For which ad; `None` for the whole campaign.
    pub ad_id: Option<String>,
    /// Currency of `amount`.
    pub currency: Currency,
    /// The account that is debited.
    pub debit: Account,
    /// The account that is credited.
    pub credit: Account,
    /// How much; at least 0.
    pub amount: Micros,
    /// The clicks behind it; negative only in an adjustment.
    pub clicks: i64,
    /// What it is.
    pub kind: EntryKind,
    /// Why; adjustments only.
    pub reason: Option<AdjustmentReason>,
    /// The key it corrects; adjustments only.
    pub corrects: Option<String>,
    /// The epoch up to which it knows.
    pub cut: u64,
    /// When it was posted.
    pub created_at: Timestamp,
}

impl Entry {
    /// The period.
    pub fn day(&self) -> Day {
        Day::of(self.hour)
    }

    /// What it adds to what the advertiser owes.
    pub fn owed(&self) -> Micros {
        match (self.debit, self.credit) {
            (Account::Receivable, _) => self.amount,
            (_, Account::Receivable) => -self.amount,
            _ => 0,
        }
    }

    /// Equal in all but the time of posting.
    pub fn same(&self, other: &Self) -> bool {
        *self == Entry { created_at: self.created_at, ..other.clone() }
    }
}

/// What was counted for an ad in an hour, as it stood when the day was frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenFigure {
    /// The key of the charge that follows from it.
    pub key: String,
    /// The start of the UTC hour.
    pub hour: Timestamp,
    /// Whose.
    pub tenant: TenantId,
    /// Who pays.
    pub advertiser_id: String,
    /// For what.
    pub campaign_id: String,
    /// For which ad.
    pub ad_id: String,
    /// Currency of `spend` and of the budget.
    pub currency: Currency,
    /// Counted clicks.
    pub clicks: i64,
    /// Duplicate clicks.
    pub duplicates: i64,
    /// Clicks of any other verdict.
    pub invalid: i64,
    /// Price of the counted clicks.
    pub spend: Micros,
    /// The campaign's budget of the day, as in force in that hour; `None` is without limit.
    pub daily_budget: Option<Micros>,
}

/// A day that is frozen, and perhaps closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The day.
    pub day: Day,
    /// The last epoch its figures hold.
    pub cut: u64,
    /// How many figures it has.
    pub figure_count: u64,
    /// When it was frozen.
    pub frozen_at: Timestamp,
    /// When everything that follows from its figures had been posted.
    pub closed_at: Option<Timestamp>,
}

/// How an advertiser is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillingProfile {
    /// IANA name of the zone whose days invoices have.
    pub time_zone: String,
    /// What a click costs whose impression never came.
    pub unseen_clicks: UnseenClicks,
}

impl Default for BillingProfile {
    fn default() -> Self {
        BillingProfile { time_zone: "UTC".to_owned(), unseen_clicks: UnseenClicks::Pay }
    }
}

/// What a counted click costs whose impression has not come by the lateness bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnseenClicks {
    /// Its price.
    #[default]
    Pay,
    /// Nothing: it is taken back by an adjustment.
    Credit,
}

impl UnseenClicks {
    /// As the API and the database spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            UnseenClicks::Pay => "pay",
            UnseenClicks::Credit => "credit",
        }
    }

    /// Reads what [`UnseenClicks::as_str`] writes.
    pub fn parse(text: &str) -> Result<Self, Error> {
        [UnseenClicks::Pay, UnseenClicks::Credit]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| Error::invalid("unseen_clicks", "must be pay or credit"))
    }
}

/// Which rows of the ledger: of hours that start in `from..to`, of everyone, a tenant, or one
/// advertiser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The first hour.
    pub from: Timestamp,
    /// The hour behind the last.
    pub to: Timestamp,
    /// Whose; `None` is everyone.
    pub tenant: Option<TenantId>,
    /// Whose within the tenant; `None` is everyone in it. Only with a tenant.
    pub advertiser_id: Option<String>,
}

impl Slice {
    /// Everything of a day.
    pub fn of_day(day: Day) -> Self {
        Slice { from: day.start(), to: day.end(), tenant: None, advertiser_id: None }
    }

    /// What of it is one advertiser's.
    #[must_use]
    pub fn of_advertiser(self, tenant: TenantId, advertiser_id: &str) -> Self {
        Slice { tenant: Some(tenant), advertiser_id: Some(advertiser_id.to_owned()), ..self }
    }

    /// What of it is one tenant's.
    #[must_use]
    pub fn of_tenant(self, tenant: TenantId) -> Self {
        Slice { tenant: Some(tenant), ..self }
    }
}

/// Where a page begins: behind the row of this hour and key; `None` is at the first.
pub type After = Option<(Timestamp, String)>;

/// What became of a batch of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Posted {
    /// Entries that were not there before.
    pub new: u64,
    /// Entries that were there already, the same.
    pub same: u64,
}

/// The sums of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Whose.
    pub tenant: TenantId,
    /// Who pays.
    pub advertiser_id: String,
    /// Of both sums.
    pub currency: Currency,
    /// Which account.
    pub account: Account,
    /// All that was debited.
    pub debits: Micros,
    /// All that was credited.
    pub credits: Micros,
}

/// Entries, and sums of them.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Posts up to [`LEDGER_ROWS_MAX`] entries, all of them or none, durable when answered. Entries
    /// that are there already and the same change nothing. `Conflict` where a key is taken by
    /// something that differs; `Invalid` where the day is not in the state that takes such an entry
    /// (charges and credits: frozen; adjustments: closed), or ad, campaign and advertiser are not
    /// registered as belonging together.
    async fn post(&self, entries: Vec<Entry>) -> Result<Posted, Error>;

    /// A page of entries by hour and key; fewer than [`LEDGER_ROWS_MAX`] only at the end.
    async fn entries(&self, slice: &Slice, after: After) -> Result<Vec<Entry>, Error>;

    /// The sums of every account that has entries, by tenant, advertiser, currency and account.
    async fn balances(&self, slice: &Slice) -> Result<Vec<Balance>, Error>;
}

/// Days and the figures they were frozen with.
#[async_trait]
pub trait Periods: Send + Sync {
    /// Freezes a day with its figures, whole or not at all, durable when answered. Freezing it again
    /// with the same cut and figures is `Same`, otherwise a `Conflict`. At most [`FIGURES_MAX`], of that
    /// day, each key once, of ads, campaigns and advertisers that belong together.
    async fn freeze(
        &self,
        day: Day,
        cut: u64,
        figures: Vec<FrozenFigure>,
        at: Timestamp,
    ) -> Result<Created<Period>, Error>;

    /// Closes a frozen day: no charge or credit comes to it any more. Closing it again changes
    /// nothing. `NotFound` where it is not frozen.
    async fn finish(&self, day: Day, at: Timestamp) -> Result<Period, Error>;

    /// The frozen and closed days from `first` to `last`, both included; at most
    /// [`LEDGER_ROWS_MAX`].
    async fn periods(&self, first: Day, last: Day) -> Result<Vec<Period>, Error>;

    /// A page of frozen figures by hour and key; fewer than [`LEDGER_ROWS_MAX`] only at the end.
    async fn figures(&self, slice: &Slice, after: After) -> Result<Vec<FrozenFigure>, Error>;
}

/// How advertisers are billed.
#[async_trait]
pub trait Profiles: Send + Sync {
    /// The profile of an advertiser; the default where none was set. `NotFound` for an advertiser
    /// who is not registered.
    async fn billing_profile(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
    ) -> Result<BillingProfile, Error>;

    /// Sets the profile. That the zone is one people know, the caller has found out.
    async fn set_billing_profile(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
        profile: BillingProfile,
    ) -> Result<(), Error>;
}

/// All that billing needs, as `Arc<dyn Accounts>`.
pub trait Accounts: Ledger + Periods + Profiles {}

impl<T: Ledger + Periods + Profiles + ?Sized> Accounts for T {}

/// Every row of a slice, page by page. `page` reads the page behind a row, `place` tells a row's
/// hour and key.
async fn all_of<T, F>(
    mut page: impl FnMut(After) -> F,
    place: fn(&T) -> (Timestamp, &str),
) -> Result<Vec<T>, Error>
where
    F: Future<Output = Result<Vec<T>, Error>>,
{
    let mut all: Vec<T> = Vec::new();
    loop {
        let after = all.last().map(place).map(|(hour, key)| (hour, key.to_owned()));
        let rows = page(after).await?;
        let is_last = rows.len() < LEDGER_ROWS_MAX;
        all.extend(rows);
        if is_last {
            return Ok(all);
        }
    }
}

/// Every entry of a slice.
pub async fn all_entries(
    ledger: &(impl Ledger + ?Sized),
    slice: &Slice,
) -> Result<Vec<Entry>, Error> {
    all_of(|after| ledger.entries(slice, after), |entry: &Entry| (entry.hour, &entry.key)).await
}

/// Every frozen figure of a slice.
pub async fn all_figures(
    periods: &(impl Periods + ?Sized),
    slice: &Slice,
) -> Result<Vec<FrozenFigure>, Error> {
    all_of(
        |after| periods.figures(slice, after),
        |figure: &FrozenFigure| (figure.hour, &figure.key),
    )
    .await
}
