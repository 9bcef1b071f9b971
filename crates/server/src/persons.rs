//! What persons say of themselves, in memory: a prediction must not ask the books.
//!
//! Loaded whole at the start and kept in step by the endpoint that changes the books. There are at most
//! so many as the configuration says; keys of words are kept, not the words.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use parking_lot::RwLock;
use reckon_books::{Books, Person};
use reckon_event::{Pseudonym, TenantId, name_key};

/// What models may know of a person. Keys are [`name_key`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Of the language; 0 where it was not said.
    pub locale: u64,
    /// Of categories the person has named.
    pub interests: Box<[u64]>,
}

impl Profile {
    fn of(person: &Person) -> Self {
        Profile {
            locale: person.locale.as_deref().map_or(0, name_key),
            interests: person.interests.iter().map(|interest| name_key(interest)).collect(),
        }
    }
}

type Map = HashMap<(TenantId, Pseudonym), Arc<Profile>, foldhash::fast::RandomState>;

/// Everyone who has said something, of all tenants.
pub struct Persons {
    known: RwLock<Map>,
    /// The most persons that are kept.
    count_max: usize,
    /// Held by who changes the books and then this, so that both see one order of writes.
    pub writing: tokio::sync::Mutex<()>,
}

impl Persons {
    /// Reads everyone from the books.
    pub async fn load(books: &dyn Books, count_max: usize) -> Result<Self> {
        let mut known = Map::default();
        let mut after = None;
        loop {
            let page = books.persons(after).await.context("books: cannot read persons")?;
            let Some((tenant, last)) = page.last() else { break };
            after = Some((*tenant, last.person));
            let profiles = page
                .iter()
                .map(|(tenant, person)| ((*tenant, person.person), Arc::new(Profile::of(person))));
            known.extend(profiles);
            anyhow::ensure!(
                known.len() <= count_max,
                "feature.persons_max: the books have more than {count_max} persons: raise it"
            );
        }
        Ok(Persons { known: RwLock::new(known), count_max, writing: tokio::sync::Mutex::default() })
    }

    /// What a person has said.
    pub fn profile(&self, tenant: TenantId, person: Pseudonym) -> Option<Arc<Profile>> {
        if !person.is_some() {
            return None;
        }
        self.known.read().get(&(tenant, person)).cloned()
    }

    /// How many have said something.
    pub fn count(&self) -> usize {
        self.known.read().len()
    }

    /// The most persons that are kept.
    pub const fn count_max(&self) -> usize {
        self.count_max
    }

    /// Whether all of these have room beside those who are there.
    pub fn has_room(&self, tenant: TenantId, persons: &[Person]) -> bool {
        let known = self.known.read();
        let is_new = |person: &&Person| !known.contains_key(&(tenant, person.person));
        known.len() + persons.iter().filter(is_new).count() <= self.count_max
    }

    /// Takes in what stands in the books now.
    pub fn put<'a>(&self, tenant: TenantId, persons: impl Iterator<Item = &'a Person>) {
        let mut known = self.known.write();
        for person in persons {
            known.insert((tenant, person.person), Arc::new(Profile::of(person)));
        }
    }

    /// Lets go of a person.
    pub fn remove(&self, tenant: TenantId, person: Pseudonym) {
        self.known.write().remove(&(tenant, person));
    }
}
