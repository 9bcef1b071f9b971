//! Reads: many entities on many nodes, all as one epoch left them.
//!
//! An epoch that the mark names has reached every node. So a read takes the mark first, and then from
//! each entity the version that the marked epoch left: the newest, or the one before it where the
//! next epoch is being written. Only when a second epoch comes in between are both versions too new,
//! and the read begins again.
//!
//! To save the way to the mark and back, a read goes out together with the question for the mark, at
//! the epoch that this process has seen last. It stands if the mark says so too.

use std::sync::Arc;

use super::link::{Command, Fault};
use super::mark::Mark;
use super::row::{Row, Seen, entity_key};
use super::slots::slot_of;
use super::{Error, Shared};
use crate::{Counters, Entity, Read};

/// A read that two epochs overtake so many times in a row is given up, if its deadline has not passed.
const ATTEMPTS_MAX: usize = 256;

/// Reads counters, one for each of `entities`, all at one cut.
pub async fn read(shared: &Shared, entities: &[Entity]) -> Result<Read, Error> {
    let keys: Vec<_> =
        entities.iter().map(|entity| entity_key(&shared.options.prefix, entity)).collect();
    let mark = Command::plain(shared.mark_slot, Mark::query(&shared.mark_key));
    let rows = keys.iter().map(|key| Command::plain(slot_of(key), Row::query(key)));
    let commands: Vec<_> = std::iter::once(mark).chain(rows).collect();
    let mut at = shared.known();
    for attempt in 0..ATTEMPTS_MAX {
        let values = shared.reader.send(&commands).await.map_err(Error::redis("read"))?;
        let mark = Mark::parse(&values[0]);
        let mark = mark.map_err(|field| shared.damaged("read", &shared.mark_key, field))?;
        // A mark that was taken before the entities were asked for is as new as the read.
        let is_fresh = attempt > 0 || mark.point() == at.point();
        if is_fresh && let Some(counters) = resolve(shared, &keys, &values[1..], &at)? {
            return Ok(Read { cut: Arc::clone(&at.cut), counters });
        }
        at = shared.learn(mark);
    }
    let what = "counters";
    Err(Error::redis("read")(Fault::Restless { address: shared.reader.address(), what }))
}

/// Everyone as of a mark; `None` where somebody has moved on.
fn resolve(
    shared: &Shared,
    keys: &[String],
    values: &[redis::Value],
    mark: &Mark,
) -> Result<Option<Vec<Option<Counters>>>, Error> {
    let mut counters = Vec::with_capacity(keys.len());
    for (key, value) in keys.iter().zip(values) {
        let row = Row::parse(value).map_err(|field| shared.damaged("read", key, field))?;
        counters.push(match row.map_or(Seen::Absent, |row| row.seen(mark)) {
            Seen::Absent => None,
            Seen::Known(version) => Some(version.counters),
            Seen::MovedOn => return Ok(None),
        });
    }
    Ok(Some(counters))
}
