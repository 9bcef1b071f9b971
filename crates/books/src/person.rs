//! What is known of persons beside their events: what they said they speak and like.
//!
//! A person is a pseudonym; who it stands for is nowhere in the books.

use async_trait::async_trait;
use reckon_event::{Pseudonym, TenantId, Timestamp};

use crate::error::Error;

/// The most persons of one page.
pub const PERSONS_MAX: u32 = 10_000;

/// The most interests of one person.
pub const INTERESTS_MAX: usize = 64;

/// What is known of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub person: Pseudonym,
    /// The language, such as `de-AT`.
    pub locale: Option<String>,
    /// Categories of ads the person has named, at most [`INTERESTS_MAX`], each once.
    pub interests: Vec<String>,
    /// When this was said.
    pub updated_at: Timestamp,
}

/// Persons. Every engine promises: what is set is durable when answered, and the last one set stands; with
/// a tombstone a person is gone and does not come back.
#[async_trait]
pub trait Persons: Send + Sync {
    /// Sets up to [`crate::BATCH_ITEMS_MAX`] persons, one outcome each in their order: `Invalid` where a field
    /// will not do, `Conflict` where the person was erased. All others are set, in one transaction.
    async fn set_persons(
        &self,
        tenant: TenantId,
        persons: Vec<Person>,
    ) -> Result<Vec<Result<(), Error>>, Error>;

    /// What is known of a person.
    async fn person(&self, tenant: TenantId, person: Pseudonym) -> Result<Option<Person>, Error>;

    /// A page of everyone behind `after`, by tenant and person; at most [`PERSONS_MAX`].
    async fn persons(
        &self,
        after: Option<(TenantId, Pseudonym)>,
    ) -> Result<Vec<(TenantId, Person)>, Error>;
}
