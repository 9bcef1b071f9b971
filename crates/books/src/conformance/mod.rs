//! What every engine of the books promises, one function a promise.
//!
//! An engine brings a [`Bench`] and runs all of it with [`books_conformance!`](crate::books_conformance) or
//! [`promises`]; the list of promises stands once, so that an engine cannot leave one out unseen. The
//! functions panic where a promise is broken.

mod catalog;
mod keys;
mod ledger;
mod once;
mod persons;
mod terms;
mod tombstones;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use reckon_event::{Currency, TenantId, Timestamp, name_key};

pub use catalog::*;
pub use keys::*;
pub use ledger::*;
pub use once::*;
pub use persons::*;
pub use terms::*;
pub use tombstones::*;

use crate::books::{Books, Created, Page};
use crate::catalog::{Ad, Advertiser, Campaign, Status, Targeting};
use crate::error::{Error, ErrorKind};
use crate::ledger::Accounts;

/// Gives a name its 64-bit key.
pub type NameKey = fn(&str) -> u64;

/// One empty store, which can be opened any number of times.
#[async_trait]
pub trait Bench: Send + Sync {
    /// The ledger of the same store, as another process would open it.
    async fn accounts(&self) -> Arc<dyn Accounts>;

    /// Another client of the same store, as another process would be. `name_key` stands in for
    /// [`reckon_event::name_key`], so that two names can be made to collide.
    async fn open_with(&self, name_key: NameKey) -> Arc<dyn Books>;

    /// Another client of the same store.
    async fn open(&self) -> Arc<dyn Books> {
        self.open_with(name_key).await
    }
}

/// Hands every promise to a macro: the one place where they are listed.
#[doc(hidden)]
#[macro_export]
macro_rules! books_promises {
    ($use:ident $($argument:tt)*) => {
        $crate::$use! { $($argument)* =>
            what_is_created_is_there_after_reopening
            creating_again_is_the_same_and_creating_otherwise_conflicts
            a_bad_item_does_not_spoil_its_batch
            a_full_batch_is_taken_and_one_item_more_is_not
            names_with_one_key_are_refused_by_both_names
            lists_are_pages_in_byte_order
            a_patch_changes_what_it_names
            tenants_never_meet
            racing_creations_leave_one
            a_snapshot_is_everything
            a_price_holds_from_its_time
            a_history_never_goes_back
            prices_agree_with_a_naive_history
            racing_prices_are_all_in_the_history
            a_key_is_found_by_its_secret_until_it_is_revoked
            a_key_is_registered_once
            a_tenant_is_registered_once
            a_lease_is_never_given_twice
            a_repeated_request_gets_the_first_answer
            an_unanswered_request_may_be_taken_over
            an_answer_is_kept_for_a_day
            of_racing_requests_one_is_fresh
            a_tombstone_is_set_once
            an_erasure_is_settled_for_good
            tombstones_are_listed_whole
            a_person_is_what_was_set_last
            a_bad_person_does_not_spoil_the_others
            who_is_erased_is_gone_and_stays_so
            persons_are_listed_whole
            a_day_is_frozen_once
            an_entry_is_posted_once
            a_batch_is_whole_or_not_at_all
            a_closed_day_takes_adjustments_only
            balances_are_the_sums_of_entries
            racing_posts_leave_each_entry_once
            a_profile_is_what_was_set_last
        }
    };
}

/// Makes one `#[tokio::test]` a promise. The argument makes a new [`Bench`](crate::conformance::Bench).
#[macro_export]
macro_rules! books_conformance {
    ($bench:expr) => {
        $crate::books_promises! { books_promise_tests $bench }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! books_promise_tests {
    ($bench:expr => $($promise:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                $crate::conformance::$promise(&$bench).await;
            }
        )+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! books_promise_list {
    (=> $($promise:ident)+) => {
        vec![$(Promise {
            name: stringify!($promise),
            check: |bench| Box::pin($crate::conformance::$promise(bench)),
        }),+]
    };
}

/// A check of a promise under way; it panics where the promise is broken.
pub type Checking<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A promise, for engines whose test runs all of them on one server.
#[derive(Clone, Copy)]
pub struct Promise {
    /// The name of its function.
    pub name: &'static str,
    /// Checks it on a new store.
    pub check: for<'a> fn(&'a dyn Bench) -> Checking<'a>,
}

/// Every promise, in the order of its listing.
pub fn promises() -> Vec<Promise> {
    crate::books_promises! { books_promise_list }
}

const TENANT: TenantId = TenantId::DEFAULT;
const NOON: Timestamp = Timestamp::from_seconds(1_795_262_400);

fn advertiser(id: &str) -> Advertiser {
    Advertiser {
        advertiser_id: id.to_owned(),
        name: format!("Advertiser {id}"),
        currency: Currency::EUR,
        created_at: NOON,
    }
}

fn campaign(id: &str, advertiser_id: &str) -> Campaign {
    Campaign {
        campaign_id: id.to_owned(),
        advertiser_id: advertiser_id.to_owned(),
        name: format!("Campaign {id}"),
        cpc_micros: 250_000,
        daily_budget_micros: Some(50_000_000),
        targeting: Some(Targeting::parse(r#"{"geo": ["DE", "AT"]}"#).expect("an object")),
        status: Status::Active,
        created_at: NOON,
    }
}

fn ad(id: &str, campaign_id: &str) -> Ad {
    Ad {
        ad_id: id.to_owned(),
        campaign_id: campaign_id.to_owned(),
        destination_url: format!("https://shop.example/{}?q=1#top", id.len()),
        category: Some("shoes".to_owned()),
        creative_size: None,
        append_click_id: Some("click_id".to_owned()),
        locale: None,
        quality_micros: None,
        status: Status::Paused,
        created_at: NOON,
    }
}

/// A page of everything a promise makes.
fn all() -> Page {
    Page { after: None, limit: crate::PAGE_ITEMS_MAX }
}

/// Registers advertiser `acme` with campaign `spring`, and so makes room for ads.
async fn register_parents(books: &dyn Books, tenant: TenantId) {
    let acme = books.create_advertisers(tenant, vec![advertiser("acme")]).await;
    assert!(only(acme).expect("a sound advertiser").is_new());
    let spring = books.create_campaigns(tenant, vec![campaign("spring", "acme")]).await;
    assert!(only(spring).expect("a sound campaign").is_new());
}

/// The outcome of a batch of one.
#[track_caller]
fn only<T>(outcomes: Result<Vec<Result<Created<T>, Error>>, Error>) -> Result<Created<T>, Error> {
    let mut outcomes = outcomes.expect("the engine works");
    assert_eq!(outcomes.len(), 1, "one outcome an item");
    outcomes.remove(0)
}

#[track_caller]
fn expect_kind<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind) -> String {
    let error = result.expect_err("must be refused");
    assert_eq!(error.kind, kind, "{error}");
    error.message
}
