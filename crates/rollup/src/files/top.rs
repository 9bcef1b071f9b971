//! Top lists: the ads with most of a figure, found among the leaders of runs, exactly.
//!
//! What is in memory is summed whole. A run gives its leaders' sums and a bound for everyone else
//! ([`super::leaders`]). Ads are then looked at in the order of the most they can have, each completed
//! by a look into the runs it does not lead in, until no ad left can be among the first. Where bounds do
//! not decide (all ads have about as many), what is missing is read after all: slower, and exactly the
//! same answer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use reckon_disk::Disk;

use super::Snapshot;
use super::block::Wanted;
use super::fold::Fold;
use super::leaders::Leaders;
use super::options::Dimensions;
use super::row::Select;
use super::run::Run;
use crate::sums::ranking::Ranking;
use crate::{Error, Filter};

/// Looks into runs after which reading them whole is as quick.
const LOOKS_MAX: usize = 512;

/// The columns of an ad's figures.
fn wanted() -> Wanted {
    Wanted::dimensions([true, false, false, false, false, false])
}

/// A run that is read by its leaders, and the part of it that is asked for.
struct Led {
    run: Arc<Run>,
    leaders: Arc<Leaders>,
    shape: (Dimensions, i64),
    select: Select,
    panes: Range<u32>,
    /// The most an ad that does not lead has in that part.
    bound: i64,
}

impl Led {
    fn new(
        run: &Arc<Run>,
        leaders: Arc<Leaders>,
        shape: (Dimensions, i64),
        (select, ranking): (Select, Ranking),
    ) -> Self {
        let span = run.meta.span;
        let pane = |second: i64| {
            let inside = second.clamp(span.start, span.end()) - span.start;
            u32::try_from(inside / shape.1).expect("panes of a run are few")
        };
        let panes = pane(select.from)..pane(select.to);
        let bound = leaders.bound(ranking.figure, panes.start as usize..panes.end as usize);
        Led { run: Arc::clone(run), leaders, shape, select, panes, bound }
    }

    /// What each leader has in the part that is asked for.
    fn sums(&self, ranking: Ranking) -> impl Iterator<Item = (u64, i64)> {
        let meta = &self.run.meta;
        let is_whole = meta.least >= self.select.from && meta.greatest < self.select.to;
        self.leaders.sums(ranking.figure, (!is_whole).then(|| self.panes.clone()))
    }
}

impl Snapshot {
    /// Adds of the runs what decides on the first ads: those who can be among them are summed whole,
    /// and the others left out.
    pub(super) fn fold_leaders(&mut self, disk: &dyn Disk, ranking: Ranking) -> Result<(), Error> {
        let led = self.fold_other_runs(disk, ranking)?;
        if led.is_empty() {
            return Ok(());
        }
        let known = Known::of(&mut self.fold, &led, ranking);
        let mut race = Race { ranking, led: &led, looks: 0, done: HashMap::default() };
        if race.decide(&known, &mut self.fold, disk)? {
            self.fold.keep(race.done.into_values().collect());
            return Ok(());
        }
        race.fold_rest(&mut self.fold, disk)
    }

    /// Sums runs without leaders, and returns the others.
    fn fold_other_runs(&mut self, disk: &dyn Disk, ranking: Ranking) -> Result<Vec<Led>, Error> {
        let Snapshot { stretches, select, fold, durable, .. } = self;
        let tenant = select.tenant.expect("a question has a tenant");
        let mut led = Vec::new();
        for stretch in stretches.iter() {
            let shape = durable.shape(stretch.cube);
            let select = Select { from: stretch.from, to: stretch.to, ..*select };
            let runs = durable.runs_of(stretch.cube);
            for run in runs.filter(|run| run.overlaps(select.from, select.to)) {
                match run.leaders(disk, tenant)? {
                    Some(leaders) => led.push(Led::new(run, leaders, shape, (select, ranking))),
                    None => run.scan(disk, shape, (&select, wanted()), |row| fold.add(row))?,
                }
            }
        }
        Ok(led)
    }
}

/// What is known of an ad before it is looked at closely.
#[derive(Clone, Copy)]
struct Ad {
    key: u64,
    /// What it has in memory, in runs that were read, and where it leads.
    value: i64,
    /// The bounds of the runs it leads in.
    spared: i64,
}

/// All ads that something is known of.
struct Known {
    ads: Vec<Ad>,
    places: HashTable<u32>,
    hasher: RandomState,
}

impl Known {
    fn of(fold: &mut Fold, led: &[Led], ranking: Ranking) -> Self {
        let count = fold.len() + led.iter().map(|led| led.leaders.len()).sum::<usize>();
        let mut known = Known {
            ads: Vec::with_capacity(count),
            places: HashTable::with_capacity(count),
            hasher: RandomState::default(),
        };
        for place in 0..fold.len() {
            let (key, sums) = fold.group(place);
            known.add(key, ranking.value(&sums.counts), 0);
        }
        for led in led {
            led.sums(ranking).for_each(|(key, sum)| known.add(key, sum, led.bound));
        }
        known
    }

    fn add(&mut self, key: u64, value: i64, spared: i64) {
        let Known { ads, places, hasher } = self;
        let hash = hasher.hash_one(key);
        if let Some(&place) = places.find(hash, |&place| ads[place as usize].key == key) {
            let ad = &mut ads[place as usize];
            ad.value += value;
            ad.spared += spared;
            return;
        }
        let place = u32::try_from(ads.len()).expect("leaders are few");
        ads.push(Ad { key, value, spared });
        places.insert_unique(hash, place, |&place| hasher.hash_one(ads[place as usize].key));
    }
}

/// The search for the first ads.
struct Race<'a> {
    ranking: Ranking,
    led: &'a [Led],
    /// How often an ad was looked up in a run it does not lead in.
    looks: usize,
    /// Ads that are summed whole, with the places of their groups.
    done: HashMap<u64, usize, RandomState>,
}

impl Race<'_> {
    /// True where the first ads are known: every other has less than the last of them.
    fn decide(&mut self, known: &Known, fold: &mut Fold, disk: &dyn Disk) -> Result<bool, Error> {
        let limit = self.ranking.limit;
        let unled: i64 = self.led.iter().map(|led| led.bound).sum();
        let most = |ad: &Ad| (ad.value + unled - ad.spared, ad.key);
        let mut left: BinaryHeap<(i64, u64)> = known.ads.iter().map(most).collect();
        let mut first: BinaryHeap<Reverse<i64>> = BinaryHeap::new();
        let last = |first: &BinaryHeap<Reverse<i64>>| {
            first.peek().filter(|_| first.len() == limit).map(|Reverse(last)| *last)
        };
        while let Some((most, key)) = left.pop() {
            if last(&first).is_some_and(|last| most < last) {
                break;
            }
            let value = self.complete(key, fold, disk)?;
            if self.looks > LOOKS_MAX {
                return Ok(false);
            }
            let Some(value) = value else { continue };
            first.push(Reverse(value));
            if first.len() > limit {
                first.pop();
            }
        }
        let is_all = self.led.iter().all(|led| led.leaders.is_all);
        Ok(match last(&first) {
            Some(last) => is_all || last > unled,
            None => is_all,
        })
    }

    /// Adds what an ad has in all runs, and returns its figure; `None` where all it had came to nothing,
    /// for that is no row and takes no place.
    fn complete(
        &mut self,
        ad: u64,
        fold: &mut Fold,
        disk: &dyn Disk,
    ) -> Result<Option<i64>, Error> {
        let place = fold.place_of_ad(ad)?;
        for led in self.led {
            if let Some(rows) = led.leaders.rows_of(ad) {
                let (_, sums) = fold.group(place);
                for row in rows.iter().filter(|row| led.panes.contains(&row.pane)) {
                    sums.add_figure(row.figure, row.count);
                    sums.spend.add(row.currency, row.spend);
                }
            } else if !led.leaders.is_all {
                self.looks += 1;
                let filter = Filter { ad: Some(ad), ..Filter::default() };
                let select = Select { filter, ..led.select };
                led.run.scan(disk, led.shape, (&select, wanted()), |row| fold.add(row))?;
            }
        }
        self.done.insert(ad, place);
        let (_, sums) = fold.group(place);
        Ok((!sums.is_zero()).then(|| self.ranking.value(&sums.counts)))
    }

    /// Adds everything that has not been added.
    fn fold_rest(&self, fold: &mut Fold, disk: &dyn Disk) -> Result<(), Error> {
        for led in self.led {
            // Rows of one ad follow each other.
            let mut last: Option<(u64, bool)> = None;
            led.run.scan(disk, led.shape, (&led.select, wanted()), |row| {
                let ad = row.key.ad;
                let is_done = match last {
                    Some((last, is_done)) if last == ad => is_done,
                    _ => self.done.contains_key(&ad),
                };
                last = Some((ad, is_done));
                if is_done { Ok(()) } else { fold.add(row) }
            })?;
        }
        Ok(())
    }
}
