//! The edge: where an event is opened, stamped, judged by what it says of itself, and logged.
//!
//! Nothing here counts. The edge decides one thing a record: the outcome of step 1 (a token that does
//! not open, a robot, a prefetch ...), and writes it into the record together with the facts and the
//! versions of the lists that led to it. Counting reads the log and needs no key and no list.

mod agents;
mod batch;
mod click;
mod incoming;
mod judge;
mod lists;
mod networks;
mod query;
mod scan;
mod serve;
mod spool;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use reckon_billing::Spend;
use reckon_event::{Claims, Pseudonym, Record, TenantId, Timestamp, TokenError};
use reckon_eventlog::{EventLog, Outcome, Receipt};

pub use agents::{Agents, device_of};
pub use batch::{Authority, BatchAnswer, BatchError, Rejected, ingest};
pub use click::{Landing, Redirect, click, pixel};
pub use incoming::{Said, Text};
pub use judge::{Source, Thresholds, Visitor};
pub use lists::{Changed, Lists};
pub use networks::Networks;
pub use query::{Query, parameter};
pub use serve::{
    Asker, CANDIDATES_MAX, Offer, Scored, Scorer, ServedAd, eligible, offer, score, serve,
};
pub use spool::Spool;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::erasure::ErasedPersons;
use crate::mint::Minter;
use crate::persons::Persons;
use crate::secrets::Secrets;

/// What the edge may do, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Thresholds of step 1.
    pub thresholds: Thresholds,
    /// Unsigned clicks count, one a person and ad.
    pub unsigned_counts: bool,
    /// How long a redirect waits for the log.
    pub wait_max: Duration,
    /// Client times further ahead are set to the receive time, in microseconds.
    pub future_skew_us: i64,
    /// Client times further back are refused, in microseconds.
    pub age_us_max: i64,
    /// The most events of one batch.
    pub batch_events_max: usize,
    /// The outer bound sealed in a token, in microseconds after minting.
    pub expiry_us: i64,
    /// Version of the rules above, as records carry it.
    pub rules_version: u32,
}

/// What became of events at the edge, for `/metrics`.
#[derive(Debug, Default)]
pub struct Meters {
    /// Events that were acknowledged as durable.
    pub logged: AtomicU64,
    /// Clicks and pixels answered without being durable.
    pub degraded: AtomicU64,
    /// Events that were lost: neither logged nor kept by their sender.
    pub unlogged: AtomicU64,
    /// Events of batches that were refused, each told to its sender.
    pub rejected: AtomicU64,
}

/// Everything an event needs on its way into the log.
pub struct Edge {
    /// Tells the receive time.
    pub clock: Arc<Clock>,
    /// Opens and seals.
    pub secrets: Secrets,
    /// Knows ads and prices.
    pub catalog: Arc<Catalog>,
    /// Knows what persons say of themselves.
    pub persons: Persons,
    /// Mints ids.
    pub minter: Minter,
    /// Know robots and data centres; swapped when their files change.
    pub lists: ArcSwap<Lists>,
    /// What campaigns have spent today.
    pub spend: Spend,
    /// Where events become durable.
    pub log: Arc<dyn EventLog>,
    /// Where clicks wait for a broken log.
    pub spool: Arc<Spool>,
    /// Scores, and logs the rows.
    pub scorer: Scorer,
    /// Who was erased.
    pub erased: Arc<ErasedPersons>,
    /// What the configuration allows.
    pub policy: Policy,
    /// What became of events.
    pub meters: Arc<Meters>,
}

impl Edge {
    /// The tenant of requests that name none.
    pub const fn open_tenant(&self) -> TenantId {
        TenantId::DEFAULT
    }

    /// The pseudonym of a user as events are to carry it.
    fn pseudonym(&self, tenant: TenantId, user_id: &str, now: Timestamp) -> Pseudonym {
        match user_id {
            "" => Pseudonym::NONE,
            user_id => {
                let user = self.secrets.pseudonyms.pseudonym(tenant, user_id);
                self.erased.named(tenant, user, now)
            }
        }
    }

    /// What a token seals, with its user as events are to carry it.
    fn open_token(&self, text: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let claims = self.secrets.ring.open(text)?;
        Ok(Claims { user: self.erased.named(claims.tenant, claims.user, now), ..claims })
    }

    /// Logs one record. True once it is durable; false when it had to be spooled, or the log did not
    /// answer in time (it may still become durable, but nobody was told so).
    async fn log_one(&self, record: &Record<'_>) -> bool {
        use std::sync::atomic::Ordering::Relaxed;

        let mut bytes = Vec::with_capacity(320);
        record.encode(&mut bytes);
        let partition = self.log.partition_of(record.kind, record.slot);
        let receipt = self.log.append(partition, &bytes, 1);
        let mut appended =
            Appended { waiting: Some((receipt, bytes)), partition, spool: &self.spool };
        let outcome = tokio::time::timeout(self.policy.wait_max, appended.outcome()).await;
        if outcome.is_ok_and(|outcome| matches!(outcome, Outcome::Durable(_))) {
            appended.waiting = None;
            self.meters.logged.fetch_add(1, Relaxed);
            return true;
        }
        self.meters.degraded.fetch_add(1, Relaxed);
        false
    }
}

/// A record whose append has not been answered with "durable". Dropped as such, because the log
/// refused, took too long, or the person hung up, it goes to the spool once the log has answered.
struct Appended<'a> {
    waiting: Option<(Receipt, Vec<u8>)>,
    partition: u16,
    spool: &'a Arc<Spool>,
}

impl Appended<'_> {
    async fn outcome(&mut self) -> Outcome {
        let (receipt, _) = self.waiting.as_mut().expect("taken only when it is durable or dropped");
        receipt.await
    }
}

impl Drop for Appended<'_> {
    fn drop(&mut self) {
        let Some((receipt, bytes)) = self.waiting.take() else {
            return;
        };
        let (spool, partition, first) = (Arc::clone(self.spool), self.partition, receipt.first);
        match receipt.outcome() {
            Some(outcome) => spool.keep(partition, bytes, outcome, first),
            None => drop(tokio::spawn(async move {
                spool.keep(partition, bytes, receipt.await, first);
            })),
        }
    }
}
