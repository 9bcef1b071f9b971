//! Top lists: the server ranks the ads of the runs, memory is added to those who can be among the first.
//!
//! The server tells the ads with most of a figure, some more than are asked for. What is in memory moves
//! some of them; who is not told has at most what the last one has, and what memory adds. Whoever can be
//! among the first that way is summed whole. Where that does not decide, all ads are summed: slower, and
//! exactly the same answer.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::Shared;
use super::question::Snapshot;
use super::rows::Ranked;
use super::statement::{counted_as, fill, filter};
use crate::sums::fold::Fold;
use crate::sums::ranking::Ranking;
use crate::{Error, Query};

/// Ads the server tells beyond those that are asked for.
const SPARE: usize = 1_024;

/// Ads that are summed whole; where more can be among the first, all are.
const WHOLE_MAX: usize = 6_000;

impl Shared {
    /// Adds what decides on the first ads: those who can be among them are summed whole, and the others
    /// left out.
    pub(super) fn fold_first(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        ranking: Ranking,
        fold: &mut Fold,
    ) -> Result<(), Error> {
        let Some((runs, sources)) = snapshot.read_from() else { return Ok(()) };
        let asked = ranking.limit + SPARE;
        let text = fill(
            include_str!("sql/ranking.sql"),
            &[
                ("figure", &counted_as(ranking.figure)),
                ("runs", &runs),
                ("sources", &sources),
                ("filter", &filter(Some(query.tenant.0), &query.filter)),
                ("limit", &asked.to_string()),
            ],
        );
        let told = self.server.read::<Ranked>("asking for the first ads", text)?;
        let memory: HashMap<u64, i64> = (0..fold.len())
            .map(|place| {
                let (ad, sums) = fold.group(place);
                (ad, ranking.value(&sums.counts))
            })
            .collect();
        let Some(first) = first(&told, told.len() < asked, &memory, ranking.limit) else {
            return self.fold_groups(snapshot, query, None, fold);
        };
        self.fold_groups(snapshot, query, Some(&first), fold)?;
        let places = first.iter().map(|ad| fold.place_of_ad(*ad)).collect::<Result<_, _>>()?;
        fold.keep(places);
        Ok(())
    }
}

/// The ads that can be among the first `limit`, each once; `None` where what is known does not tell.
/// `is_all`: no ad has rows in a run but those that are told.
fn first(
    told: &[Ranked],
    is_all: bool,
    memory: &HashMap<u64, i64>,
    limit: usize,
) -> Option<Vec<u64>> {
    let added = |ad: u64| memory.get(&ad).copied().unwrap_or(0);
    let mut known: Vec<(i64, u64)> =
        told.iter().map(|ranked| (ranked.value + added(ranked.by_ad), ranked.by_ad)).collect();
    let is_told: HashSet<u64> = told.iter().map(|r| r.by_ad).collect();
    let untold = memory.iter().filter(|(ad, _)| !is_told.contains(ad));
    if is_all {
        known.extend(untold.clone().map(|(ad, value)| (*value, *ad)));
    }
    // Most first, then by key: the one order there is.
    known.sort_unstable_by_key(|(value, ad)| (Reverse(*value), *ad));
    // Ads that have come to nothing are no rows, so the last of the first must be more than nothing.
    let last = known.get(limit - 1).filter(|(value, _)| *value > 0)?;
    let mut first: Vec<u64> =
        known.iter().take_while(|(value, _)| *value >= last.0).map(|(_, ad)| *ad).collect();
    if !is_all {
        let least = told.last()?;
        // Who is told nothing of, and has nothing in memory, comes after the last one that is told.
        if (last.0, Reverse(last.1)) < (least.value, Reverse(least.by_ad)) {
            return None;
        }
        first.extend(untold.filter(|(_, v)| least.value + **v >= last.0).map(|(ad, _)| *ad));
    }
    (first.len() <= WHOLE_MAX).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(values: &[(u64, i64)]) -> Vec<Ranked> {
        values.iter().map(|&(by_ad, value)| Ranked { by_ad, value }).collect()
    }

    fn sorted(first: Option<Vec<u64>>) -> Option<Vec<u64>> {
        first.map(|mut first| {
            first.sort_unstable();
            first
        })
    }

    #[test]
    fn memory_lifts_an_ad_that_is_not_told() {
        let told = told(&[(1, 10), (2, 9), (3, 8), (4, 7)]);
        let memory = HashMap::from([(9, 2), (8, 1)]);
        assert_eq!(sorted(first(&told, false, &memory, 2)), Some(vec![1, 2, 9]));
    }

    #[test]
    fn what_memory_takes_away_may_leave_it_open() {
        let told = told(&[(1, 10), (2, 9), (3, 8)]);
        let memory = HashMap::from([(1, -5), (2, -5)]);
        assert_eq!(first(&told, false, &memory, 2), None, "an ad that is not told may have 8");
        assert_eq!(sorted(first(&told, true, &memory, 2)), Some(vec![1, 3]));
    }

    #[test]
    fn nothing_is_not_among_the_first() {
        let told = told(&[(1, 10), (2, 0)]);
        assert_eq!(first(&told, true, &HashMap::new(), 2), None);
        assert_eq!(first(&told, true, &HashMap::new(), 3), None);
    }
}
