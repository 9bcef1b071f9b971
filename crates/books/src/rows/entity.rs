//! What advertisers, campaigns and ads have in common: a table each, and one decision about what is
//! to be made.
//!
//! A batch reads what it may meet ([`Known`]), decides each item without I/O ([`decide_all`]), then
//! writes what is new, all in one transaction.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};

use crate::books::{Created, Outcome};
use crate::error::Error;

/// The table a thing's parent stands in.
pub(crate) struct Parent {
    pub table: &'static str,
    pub id: &'static str,
}

/// A thing of the catalog with a table of its own.
pub(crate) trait Entity: Clone + PartialEq + Send + Sync + Sized + 'static {
    /// The values of [`Entity::COLUMNS`], in their order.
    type Columns: Send + Unpin;
    /// For messages.
    const WHAT: &'static str;
    const TABLE: &'static str;
    /// The column of its id, the first of [`Entity::COLUMNS`].
    const ID: &'static str;
    /// All columns but `tenant` and `name_key`.
    const COLUMNS: &'static str;
    /// How many [`Entity::COLUMNS`] are.
    const WIDTH: usize;
    /// Where its parent is, if it has one.
    const PARENT: Option<Parent>;

    fn id(&self) -> &str;
    fn parent_id(&self) -> &str;
    fn check(&self) -> Result<(), Error>;
    /// Equal in all that was asked for, that is in everything but the time.
    fn same(&self, other: &Self) -> bool;
    /// The thing a row tells of.
    fn of(columns: Self::Columns) -> Result<Self, Error>;
}

/// What a batch may meet in the books.
pub(crate) struct Known<E> {
    /// What stands under the keys of the batch.
    pub by_key: HashMap<u64, E>,
    /// Which of the parents it names are registered.
    pub parents: HashSet<String>,
}

/// What becomes of each item of a batch, in its order. `keys` are those of the items' names.
pub(crate) fn decide_all<E: Entity>(
    items: impl IntoIterator<Item = E>,
    keys: &[u64],
    mut known: Known<E>,
) -> Vec<Outcome<E>> {
    items.into_iter().zip(keys).map(|(item, &key)| decide(item, key, &mut known)).collect()
}

/// The items to write, with their keys.
pub(crate) fn new_with_keys<'a, E>(outcomes: &'a [Outcome<E>], keys: &[u64]) -> Vec<(u64, &'a E)> {
    let new = |(outcome, &key): (&'a Outcome<E>, &u64)| match outcome {
        Ok(Created::New(item)) => Some((key, item)),
        Ok(Created::Same(_)) | Err(_) => None,
    };
    outcomes.iter().zip(keys).filter_map(new).collect()
}

/// What becomes of one item, given all that stands in the books and all before it in its batch.
fn decide<E: Entity>(item: E, key: u64, known: &mut Known<E>) -> Outcome<E> {
    item.check()?;
    if let Some(parent) = E::PARENT
        && !known.parents.contains(item.parent_id())
    {
        let problem = format!("`{}` is not registered: register it first", item.parent_id());
        return Err(Error::invalid(parent.id, &problem));
    }
    match known.by_key.entry(key) {
        Entry::Vacant(free) => {
            free.insert(item.clone());
            Ok(Created::New(item))
        }
        Entry::Occupied(held) if held.get().id() != item.id() => {
            Err(Error::collision(E::ID, item.id(), held.get().id()))
        }
        Entry::Occupied(held) if held.get().same(&item) => Ok(Created::Same(held.get().clone())),
        Entry::Occupied(_) => Err(Error::conflict(format!(
            "{} `{}` is registered with other values: PATCH changes it",
            E::WHAT,
            item.id()
        ))),
    }
}
