//! Real accounts whose user is cut off at one of its calls: before anything is done, or after all of it
//! is done but before it is answered. In between there is nothing, as a call is one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use reckon_books::{
    After, Balance, BillingProfile, Created, Entry, Error, FrozenFigure, Leases, Ledger, Period,
    Periods, Posted, Profiles, Slice, SqliteBooks,
};
use reckon_event::{Day, TenantId, Timestamp};

/// Where the cut is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Before,
    After,
}

pub struct Failing {
    books: Arc<SqliteBooks>,
    calls: AtomicUsize,
    fails_at: usize,
    cut: Cut,
}

impl Failing {
    /// Fails at the `fails_at`th call, from 0, and at every later one, as a dead process does.
    pub fn new(books: Arc<SqliteBooks>, fails_at: usize, cut: Cut) -> Self {
        Failing { books, calls: AtomicUsize::new(0), fails_at, cut }
    }

    /// How many calls were made.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    async fn pass<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call > self.fails_at || (call == self.fails_at && self.cut == Cut::Before) {
            return Err(self.gone().await);
        }
        let done = work.await;
        if call == self.fails_at { Err(self.gone().await) } else { done }
    }

    /// An error as the books make one.
    async fn gone(&self) -> Error {
        self.books.lease("", Timestamp(0)).await.expect_err("an empty name")
    }
}

#[async_trait]
impl Ledger for Failing {
    async fn post(&self, entries: Vec<Entry>) -> Result<Posted, Error> {
        self.pass(self.books.post(entries)).await
    }

    async fn entries(&self, slice: &Slice, after: After) -> Result<Vec<Entry>, Error> {
        self.pass(self.books.entries(slice, after)).await
    }

    async fn balances(&self, slice: &Slice) -> Result<Vec<Balance>, Error> {
        self.pass(self.books.balances(slice)).await
    }
}

#[async_trait]
impl Periods for Failing {
    async fn freeze(
        &self,
        day: Day,
        cut: u64,
        figures: Vec<FrozenFigure>,
        at: Timestamp,
    ) -> Result<Created<Period>, Error> {
        self.pass(self.books.freeze(day, cut, figures, at)).await
    }

    async fn finish(&self, day: Day, at: Timestamp) -> Result<Period, Error> {
        self.pass(self.books.finish(day, at)).await
    }

    async fn periods(&self, first: Day, last: Day) -> Result<Vec<Period>, Error> {
        self.pass(self.books.periods(first, last)).await
    }

    async fn figures(&self, slice: &Slice, after: After) -> Result<Vec<FrozenFigure>, Error> {
        self.pass(self.books.figures(slice, after)).await
    }
}

#[async_trait]
impl Profiles for Failing {
    async fn billing_profile(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
    ) -> Result<BillingProfile, Error> {
        self.pass(self.books.billing_profile(tenant, advertiser_id)).await
    }

    async fn set_billing_profile(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
        profile: BillingProfile,
    ) -> Result<(), Error> {
        self.pass(self.books.set_billing_profile(tenant, advertiser_id, profile)).await
    }
}
