//! The books people keep: tenants, advertisers, campaigns, ads, prices, API keys, leases, what
//! persons say of themselves, who was erased; and the ledger of what advertisers owe.
//!
//! Everything here was decided by a person (or must never be decided twice), so unlike counts it
//! cannot be rebuilt from the log: it is written with a sync before it is answered, and prices and
//! budgets keep their whole history, because a click is charged at the price of its event time.
//!
//! The seam is [`Books`], one small trait a subject; [`SqliteBooks`] is the embedded engine,
//! `PostgresBooks` (feature `postgres`) the one of whoever has a database. What every engine promises:
//!
//! - **Serializable**: concurrent writers leave what some order of them would have left.
//! - **Retryable**: [`ErrorKind::Unavailable`] may be asked again, whatever was left behind.
//! - **Idempotent by key**: creating the same thing twice answers [`Created::Same`]; a change
//!   to the value that already stands adds nothing to a history.
//! - **Histories only grow**, and never change what was true of an earlier time.
//!
//! The ledger is a seam of its own ([`Accounts`]), kept by the same engine: double entry, append-only,
//! a batch whole or not at all.
//!
//! Time and randomness are arguments: ids and secrets are made by the caller.

mod books;
mod catalog;
mod check;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod key;
mod ledger;
mod person;
#[cfg(feature = "postgres")]
mod postgres;
mod replay;
mod rows;
mod sqlite;
mod tombstone;

pub use books::{
    Ads, Advertisers, Books, Campaigns, Created, Keys, Leases, Outcome, Page, Replays,
};
pub use catalog::{
    Ad, AdEntry, AdPatch, Advertiser, AdvertiserPatch, Campaign, CampaignEntry, CampaignPatch,
    Price, Snapshot, Status, Targeting, Terms, terms_at,
};
pub use check::{
    BATCH_ITEMS_MAX, LABEL_BYTES_MAX, PAGE_ITEMS_MAX, TARGETING_BYTES_MAX, TERMS_MAX, URL_BYTES_MAX,
};
pub use error::{Error, ErrorKind};
pub use key::{ApiKey, KeyKind, Scopes, SecretHash, Tenant};
pub use ledger::{
    Account, Accounts, After, Balance, BillingProfile, ENTRY_KEY_BYTES_MAX, Entry, EntryKind,
    FIGURES_MAX, FrozenFigure, LEDGER_ROWS_MAX, Ledger, Period, Periods, Posted, Profiles, Slice,
    UnseenClicks, all_entries, all_figures,
};
pub use person::{INTERESTS_MAX, PERSONS_MAX, Person, Persons};
#[cfg(feature = "postgres")]
pub use postgres::{MovedIn, PostgresBooks, PostgresOptions};
pub use replay::{
    CLAIM_MICROS_MAX, Claim, RESPONSE_BYTES_MAX, RESPONSE_KEPT_MICROS, RequestDigest,
    StoredResponse,
};
pub use rows::verify::Verification;
pub use sqlite::SqliteBooks;
pub use tombstone::{ErasureState, ErasureWork, TOMBSTONES_MAX, Tombstone, Tombstones};
