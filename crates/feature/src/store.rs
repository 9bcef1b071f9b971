//! The seam: what every engine that keeps online features promises.

use std::sync::Arc;

use async_trait::async_trait;
use reckon_event::{Applied, Bound, Epoch, TenantId, Timestamp};

use crate::Counters;

/// What kind of thing counters belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntityKind {
    /// Everything of a tenant: the prior of all others.
    Tenant = 1,
    /// A user, by pseudonym.
    User = 2,
    /// An ad, by key.
    Ad = 3,
    /// A campaign, by key.
    Campaign = 4,
}

impl EntityKind {
    /// The kind of a number; `None` for one this build does not know.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => EntityKind::Tenant,
            2 => EntityKind::User,
            3 => EntityKind::Ad,
            4 => EntityKind::Campaign,
            _ => return None,
        })
    }
}

/// Whose counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    /// Whose entity.
    pub tenant: TenantId,
    /// What kind of thing it is.
    pub kind: EntityKind,
    /// Which one: a key, or a pseudonym.
    pub key: u128,
}

/// What happened to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was shown, or was shown something.
    Impression,
    /// It was clicked, or clicked.
    Click,
}

/// All that one epoch adds.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Steps in the order they happened.
    pub steps: Vec<(Entity, Step, Timestamp)>,
    /// What the epoch read of the log.
    pub bounds: Vec<Bound>,
}

/// How far a store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The last epoch that reads see; 0 before the first.
    pub applied: u64,
    /// The last epoch that would survive a crash now, as far as the engine can keep anything; `None`
    /// where nothing has ever been kept, or all was lost.
    pub persisted: Option<u64>,
}

/// The answer to a read: everything in it belongs to one cut.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// The offset behind the last record of each partition that is counted in it.
    pub cut: Arc<[u64]>,
    /// One for each entity that was asked for; `None` for one of which nothing is known.
    pub counters: Vec<Option<Counters>>,
}

/// A store that cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A counter with a higher generation has taken over.
    #[error("fenced: generation {0} has taken over")]
    Fenced(u32),
    /// An epoch is missing in between.
    #[error("epoch {got} cannot follow epoch {has}")]
    Gap {
        /// The last one applied.
        has: u64,
        /// The one handed over.
        got: u64,
    },
    /// The engine failed.
    #[error("features: {what}: {error}")]
    Failed {
        /// What was being done.
        what: String,
        /// Why it could not be done.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Online features. Every engine keeps these promises, and `conformance.rs` proves it:
///
/// - a read is a batch, and all of it is of one cut, however many machines it comes from;
/// - an epoch is seen whole or not at all; the same epoch twice counts once; none is left out;
/// - an epoch that could not be applied is handed over again, and is then as if it came once;
/// - a lower generation than one seen before is fenced;
/// - what is not there is not an error; who has had no event for long may be let go, and begins anew;
/// - after a crash it is as it was at [`Marks::persisted`] or at a later epoch that was applied, and
///   [`FeatureStore::marks`] says at which: what comes again up to there changes nothing;
/// - what was forgotten is not read any more, and after the next persist no store that is opened again
///   has it.
///
/// A store is a cache. One that has lost more than its engine can keep begins anew, as if it had never
/// been fed, rather than answer from what is left; engines say what they can keep.
#[async_trait]
pub trait FeatureStore: Send + Sync {
    /// Reads counters, one for each of `entities`, all at one cut.
    async fn read(&self, entities: &[Entity]) -> Result<Read, Error>;

    /// Takes an epoch.
    fn apply(&self, epoch: &Epoch, update: Update) -> Result<Applied, Error>;

    /// Lets go of entities at once: reads do not find them. Later steps of them begin anew.
    fn forget(&self, entities: &[Entity]) -> Result<(), Error>;

    /// Makes everything applied so far durable.
    fn persist(&self) -> Result<(), Error>;

    /// How far it has come.
    fn marks(&self) -> Marks;
}
