//! Persons whose erasure was asked for, and how far it is.
//!
//! ```text
//!             ask              the first proof             nothing can come any more
//!  (nothing) -----> asked ---------------------> erased -----------------------------> settled
//!                   work                         work, proof                           proof
//! ```
//!
//! A tombstone is written before anything is erased, so that whatever breaks off in between is known
//! and done again. The work stays while rows of the person may still come: they must be replaced by
//! the same values. With the work goes what could lead from the replaced values back to the person.

use std::fmt;

use async_trait::async_trait;
use reckon_event::{Pseudonym, TenantId, Timestamp};

use crate::books::Created;
use crate::error::Error;

/// The most tombstones of one page.
pub const TOMBSTONES_MAX: u32 = 10_000;

/// A person whose erasure was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Whose person.
    pub tenant: TenantId,
    /// Who.
    pub person: Pseudonym,
    /// When it was asked for first.
    pub asked_at: Timestamp,
    /// From when on nobody writes the pseudonym any more.
    pub quiet_at: Timestamp,
    /// What the erasure is done with; `None` once it is settled.
    pub work: Option<ErasureWork>,
    /// The proof as JSON; `None` before it was done for the first time.
    pub proof: Option<String>,
}

impl Tombstone {
    /// How far the erasure is.
    pub const fn state(&self) -> ErasureState {
        match (&self.work, &self.proof) {
            (Some(_), None) => ErasureState::Asked,
            (Some(_), Some(_)) => ErasureState::Erased,
            (None, _) => ErasureState::Settled,
        }
    }
}

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasureState {
    /// Nothing is computed of the person any more; the lake may still have rows.
    Asked,
    /// The lake is rid of the person; what comes late is erased again.
    Erased,
    /// Nothing can come any more; what it was done with is thrown away.
    Settled,
}

impl ErasureState {
    /// The name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErasureState::Asked => "asked",
            ErasureState::Erased => "erased",
            ErasureState::Settled => "settled",
        }
    }
}

/// What an erasure is done with. Secret: with it one could tell the person's rows from others.
#[derive(Clone, PartialEq, Eq)]
pub struct ErasureWork {
    /// What stands for the pseudonym.
    pub surrogate: Pseudonym,
    /// Keys the hashes that stand for the rest.
    pub key: [u8; 32],
    /// Installs and addresses of the person, as JSON.
    pub traces: String,
    /// The last epoch of the lake in which nothing of the person is left; 0 before.
    pub swept_epoch: u64,
}

impl fmt::Debug for ErasureWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErasureWork")
            .field("swept_epoch", &self.swept_epoch)
            .finish_non_exhaustive()
    }
}

/// Who was erased. Every engine promises: a tombstone is durable when answered, and stands for ever;
/// the first one of a person stands; what was settled never changes.
#[async_trait]
pub trait Tombstones: Send + Sync {
    /// Sets a tombstone. Where there is one it stays as it is, and is answered.
    async fn set_tombstone(&self, tombstone: Tombstone) -> Result<Created<Tombstone>, Error>;

    /// The tombstone of a person.
    async fn tombstone(
        &self,
        tenant: TenantId,
        person: Pseudonym,
    ) -> Result<Option<Tombstone>, Error>;

    /// Keeps how far the erasure is; `NotFound` where nobody asked for it, `Conflict` where it is
    /// settled already.
    async fn keep_erasure(&self, tombstone: &Tombstone) -> Result<(), Error>;

    /// A page of everyone with a tombstone behind `after`, by tenant and person, with
    /// [`Tombstone::quiet_at`]; at most [`TOMBSTONES_MAX`].
    async fn tombstones(
        &self,
        after: Option<(TenantId, Pseudonym)>,
    ) -> Result<Vec<(TenantId, Pseudonym, Timestamp)>, Error>;

    /// Erasures that are not settled, those asked for first first; at most `limit`.
    async fn erasures_at_work(&self, limit: u32) -> Result<Vec<Tombstone>, Error>;
}
