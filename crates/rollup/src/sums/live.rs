//! The last seconds, asked for as any other question and filled up where nothing happened.

use reckon_event::{TenantId, Timestamp};

use crate::{Counts, Error, Field, Filter, Granularity, LiveSecond, Query, RollupStore};

/// The most seconds [`RollupStore::live`] answers.
const LIVE_SECONDS_MAX: u32 = 3_600;

/// See [`RollupStore::live`].
pub(crate) fn live(
    store: &dyn RollupStore,
    tenant: TenantId,
    ad: Option<u64>,
    seconds: u32,
) -> Result<Vec<LiveSecond>, Error> {
    if !(1..=LIVE_SECONDS_MAX).contains(&seconds) {
        let fix = format!("ask for 1 to {LIVE_SECONDS_MAX} seconds");
        return Err(Error::question(Field::Seconds, fix));
    }
    let Some(newest) = store.marks().newest else { return Ok(Vec::new()) };
    let to = newest.plus(Timestamp::SECOND);
    let from = to.plus(-i64::from(seconds) * Timestamp::SECOND);
    let filter = Filter { ad, ..Filter::default() };
    let query = Query { filter, ..Query::new(tenant, from, to, Granularity::Second) };
    let rows = store.query(&query)?.rows;
    let mut rows = rows.into_iter().peekable();
    let second = |at: u32| from.plus(i64::from(at) * Timestamp::SECOND);
    Ok((0..seconds)
        .map(|at| {
            let row = rows.next_if(|row| row.bucket == Some(second(at)));
            LiveSecond { second: second(at), counts: row.map_or(Counts::default(), |r| r.counts) }
        })
        .collect())
}
