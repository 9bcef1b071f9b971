//! Erasing a person: who was erased, what is done about it, and what can be proved of it.
//!
//! ```text
//! ask      a tombstone in the books, durably: from here on a crash changes nothing
//! forget   nothing is read or built of the person any more; profile and counters go
//! count    all that was acknowledged is counted, and a checkpoint brings it to the lake
//! erase    the lake: traces are kept in the books first, then files are rewritten
//! prove    the proof goes into the books
//! sweep    again every ten minutes: tokens and late batches still bring events
//! quiet    after the longest horizon the edge does not write the pseudonym any more
//! settle   a day later the last sweep; the secrets of the erasure are thrown away
//! ```
//!
//! Until it is quiet, events keep the pseudonym: a copy of an event that came before the erasure must
//! still be known as one, or it would be billed twice.

mod proof;
mod sweep;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use reckon_books::{Books, ErasureState, ErasureWork, Tombstone};
use reckon_event::{Erasures, Pseudonym, TenantId, Timestamp};
use reckon_feature::{Entity, EntityKind};
use reckon_lake::Traces;

pub use proof::{Proof, ProvedFile, Repeats, Span};
pub use sweep::{GRACE, run, sweep};

use crate::app::App;
use crate::engines;

/// Since when nobody writes a person's pseudonym, by person.
type Quiet = HashMap<(TenantId, Pseudonym), Timestamp, foldhash::fast::RandomState>;

/// Everyone with a tombstone. Readers never wait; a new tombstone copies the map.
#[derive(Default)]
pub struct ErasedPersons {
    quiet: ArcSwap<Quiet>,
    writing: Mutex<()>,
    /// One sweep at a time.
    turn: tokio::sync::Mutex<()>,
    /// Wakes who sweeps, where an erasure was not finished by whoever asked for it.
    unfinished: tokio::sync::Notify,
}

impl ErasedPersons {
    /// Reads everyone from the books.
    pub async fn load(books: &dyn Books) -> Result<Self> {
        let mut quiet = Quiet::default();
        let mut after = None;
        loop {
            let page = books.tombstones(after).await.context("books: cannot read tombstones")?;
            let Some(&(tenant, person, _)) = page.last() else { break };
            after = Some((tenant, person));
            quiet.extend(page.into_iter().map(|(tenant, person, at)| ((tenant, person), at)));
        }
        Ok(ErasedPersons { quiet: ArcSwap::from_pointee(quiet), ..ErasedPersons::default() })
    }

    fn add(&self, tombstone: &Tombstone) {
        let _one_writer = self.writing.lock();
        let mut quiet = Quiet::clone(&self.quiet.load());
        quiet.insert((tombstone.tenant, tombstone.person), tombstone.quiet_at);
        self.quiet.store(Arc::new(quiet));
    }

    /// The person as events are to name them: nobody, once an erasure has become quiet.
    pub fn named(&self, tenant: TenantId, user: Pseudonym, now: Timestamp) -> Pseudonym {
        let quiet = self.quiet.load();
        if quiet.is_empty() || !user.is_some() {
            return user;
        }
        let is_quiet = quiet.get(&(tenant, user)).is_some_and(|&since| now >= since);
        if is_quiet { Pseudonym::NONE } else { user }
    }
}

impl Erasures for ErasedPersons {
    fn is_erased(&self, tenant: TenantId, user: Pseudonym) -> bool {
        let quiet = self.quiet.load();
        !quiet.is_empty() && quiet.contains_key(&(tenant, user))
    }
}

/// Erases a person, or takes an erasure up again; answers when the lake is rid of them. An error means
/// that it is not finished: it was noted, and goes on by itself.
pub async fn erase(app: &Arc<App>, tenant: TenantId, person: Pseudonym) -> Result<Tombstone> {
    // Whoever asked may hang up; what has begun is finished all the same.
    let app = Arc::clone(app);
    tokio::spawn(async move { erase_whole(&app, tenant, person).await }).await?
}

async fn erase_whole(app: &Arc<App>, tenant: TenantId, person: Pseudonym) -> Result<Tombstone> {
    let persons = &app.edge.persons;
    let turn = persons.writing.lock().await;
    let set = app.books.set_tombstone(fresh(app, tenant, person)).await.context("books")?;
    persons.remove(tenant, person);
    drop(turn);
    let tombstone = set.into_inner();
    app.edge.erased.add(&tombstone);
    if tombstone.state() == ErasureState::Settled {
        return Ok(tombstone);
    }
    if let Some(pasts) = app.edge.scorer.predictor.pasts().cloned() {
        tokio::task::spawn_blocking(move || pasts.forget(tenant, person)).await?;
    }
    forget_counters(app, vec![entity(tenant, person)]).await?;
    if let Err(error) = sweep(Arc::clone(app)).await {
        app.edge.erased.unfinished.notify_one();
        return Err(error);
    }
    let stands = app.books.tombstone(tenant, person).await.context("books")?;
    stands.context("books: a tombstone has gone")
}

/// Makes erasures begin anew, for a lake that is filled again from the log. Those that are settled
/// cannot, as their secrets are gone: where there are any, answers how many, and changes nothing.
pub async fn begin_anew(books: &dyn Books) -> Result<usize> {
    let persons = ErasedPersons::load(books).await?.quiet.load().len();
    let work = books.erasures_at_work(sweep::AT_WORK_MAX).await.context("books")?;
    if work.len() < persons {
        return Ok(persons - work.len());
    }
    for mut stone in work {
        stone.work.iter_mut().for_each(|work| work.swept_epoch = 0);
        books.keep_erasure(&stone).await.context("books")?;
    }
    Ok(0)
}

fn fresh(app: &App, tenant: TenantId, person: Pseudonym) -> Tombstone {
    let asked_at = app.edge.clock.now();
    let traces = serde_json::to_string(&Traces::default()).expect("sets of texts are JSON");
    let surrogate = Pseudonym(rand::random::<u128>().max(1));
    Tombstone {
        tenant,
        person,
        asked_at,
        quiet_at: asked_at.plus(quiet_after(app)),
        work: Some(ErasureWork { surrogate, key: rand::random(), traces, swept_epoch: 0 }),
        proof: None,
    }
}

/// After so long no copy of an event from before can be counted, and no token from before is taken.
fn quiet_after(app: &App) -> i64 {
    let policy = engines::count_policy(&app.config);
    policy.minted_horizon.max(policy.opaque_horizon).max(policy.rules_horizon)
}

/// A person's counters.
pub const fn entity(tenant: TenantId, person: Pseudonym) -> Entity {
    Entity { tenant, kind: EntityKind::User, key: person.0 }
}

async fn forget_counters(app: &Arc<App>, persons: Vec<Entity>) -> Result<()> {
    let features = Arc::clone(&app.features);
    let forgotten = tokio::task::spawn_blocking(move || features.forget(&persons));
    forgotten.await?.context("features cannot be forgotten")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_named_until_it_is_quiet() {
        let erased = ErasedPersons::default();
        let person = Pseudonym(5);
        assert!(!erased.is_erased(TenantId(1), person));
        erased.add(&Tombstone {
            tenant: TenantId(1),
            person,
            asked_at: Timestamp(10),
            quiet_at: Timestamp(20),
            work: None,
            proof: None,
        });
        assert!(erased.is_erased(TenantId(1), person));
        assert!(!erased.is_erased(TenantId(2), person), "of one tenant alone");
        for (now, named) in [(10, person), (19, person), (20, Pseudonym::NONE)] {
            assert_eq!(erased.named(TenantId(1), person, Timestamp(now)), named, "{now}");
        }
        assert_eq!(erased.named(TenantId(1), Pseudonym(6), Timestamp(99)), Pseudonym(6));
    }
}
