//! Top lists: the ads with most of a figure, found among the leaders of runs, exactly.
//!
//! What is in memory, and small runs, are summed whole. A large run gives its leaders' sums and a bound
//! for everyone else ([`super::leaders`]). Ads are then looked at in the order of the most they can
//! have, each completed by a look into the runs it does not lead in, until no ad left can be among the
//! first. Where bounds do not decide (all ads have about as many), what is missing is read after all:
//! slower, and exactly the same answer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use reckon_disk::Disk;

use super::Snapshot;
use super::block::Wanted;
use super::fold::Fold;
use super::leaders::{GROSS, LEADERS, Leaders};
use super::options::Dimensions;
use super::row::Select;
use super::run::Run;
use crate::{Dimension, Direction, Error, Filter, Granularity, Metric, Order, OrderBy, Query};

/// Looks into runs after which reading them whole is as quick.
const LOOKS_MAX: usize = 512;

/// The columns of an ad's figures.
fn wanted() -> Wanted {
    Wanted::dimensions([true, false, false, false, false, false])
}

/// A question that leaders can answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranking {
    /// The place of the figure among those ads are ranked by.
    figure: usize,
    limit: usize,
}

impl Ranking {
    /// The ads with most of a count, over one window, of everything.
    pub(super) fn of(query: &Query) -> Option<Self> {
        let Some(OrderBy { by: Order::Metric(by), direction: Direction::Descending }) =
            query.order_by
        else {
            return None;
        };
        let is_plain = query.granularity == Granularity::Total
            && query.group_by == [Dimension::Ad]
            && query.filter == Filter::default();
        let limit = query.limit.filter(|_| is_plain)? as usize;
        let figure = match by {
            Metric::Impressions => 0,
            Metric::Views => 1,
            Metric::Clicks => 2,
            Metric::Duplicates => 3,
            Metric::Invalid => 4,
            Metric::Conversions => 5,
            Metric::ClicksGross => GROSS,
            Metric::Ctr | Metric::SpendMicros => return None,
        };
        (limit <= LEADERS / 2).then_some(Ranking { figure, limit })
    }

    fn value(self, fold: &Fold, place: usize) -> i64 {
        let (_, figures) = fold.group(place);
        match self.figure {
            GROSS => figures[2] + figures[3] + figures[4],
            figure => figures[figure],
        }
    }
}

/// A run that is read by its leaders, and the part of it that is asked for.
struct Led {
    run: Arc<Run>,
    leaders: Arc<Vec<Leaders>>,
    place: usize,
    shape: (Dimensions, i64),
    select: Select,
    /// The most an ad that does not lead has in that part.
    bound: i64,
}

impl Led {
    fn leaders(&self) -> &Leaders {
        &self.leaders[self.place]
    }

    /// Adds the leaders' sums; `spared` gets, for each group, the bounds of the runs it leads in.
    fn fold(&self, fold: &mut Fold, spared: &mut Vec<i64>) -> Result<(), Error> {
        let panes = self.panes();
        let panes = u32::try_from(panes.start).unwrap_or(0)..u32::try_from(panes.end).unwrap_or(0);
        for (ad, rows) in self.leaders().iter() {
            let place = fold.place_of_ad(ad)?;
            for row in rows.iter().filter(|row| panes.contains(&row.pane)) {
                fold.add_figure(place, row.figure, row.count);
                fold.add_spend(place, row.currency, row.spend);
            }
            if spared.len() <= place {
                spared.resize(place + 1, 0);
            }
            spared[place] += self.bound;
        }
        Ok(())
    }

    fn panes(&self) -> std::ops::Range<usize> {
        panes_of(&self.run, self.shape.1, &self.select)
    }
}

/// The panes of a run that are asked for, counted from the start of its span.
fn panes_of(run: &Run, pane_seconds: i64, select: &Select) -> std::ops::Range<usize> {
    let span = run.meta.span;
    let pane = |second: i64| {
        let inside = second.clamp(span.start, span.end()) - span.start;
        usize::try_from(inside / pane_seconds).expect("just clamped")
    };
    pane(select.from)..pane(select.to)
}

impl Snapshot {
    /// Adds of the runs what decides on the first ads: those who can be among them are summed whole,
    /// and the others left out or in part.
    pub(super) fn fold_leaders(&mut self, disk: &dyn Disk, ranking: Ranking) -> Result<(), Error> {
        let led = self.fold_small_runs(disk, ranking)?;
        if led.is_empty() {
            return Ok(());
        }
        let mut spared = Vec::new();
        for led in &led {
            led.fold(&mut self.fold, &mut spared)?;
        }
        spared.resize(self.fold.len(), 0);
        let mut race = Race { ranking, led: &led, looked: HashSet::default(), first: Vec::new() };
        if race.decide(&mut self.fold, &spared, disk)? {
            let first = std::mem::take(&mut race.first);
            self.fold.keep(first);
            return Ok(());
        }
        race.fold_rest(&mut self.fold, disk)
    }

    /// Sums runs without leaders, and returns the others.
    fn fold_small_runs(&mut self, disk: &dyn Disk, ranking: Ranking) -> Result<Vec<Led>, Error> {
        let Snapshot { stretches, select, fold, durable, .. } = self;
        let tenant = select.tenant.expect("a question has a tenant");
        let mut led = Vec::new();
        for stretch in stretches.iter() {
            let shape = durable.shape(stretch.cube);
            let select = Select { from: stretch.from, to: stretch.to, ..*select };
            let runs = durable.runs_of(stretch.cube);
            for run in runs.filter(|run| run.overlaps(select.from, select.to)) {
                let Some((leaders, place)) = run.leaders(disk, tenant)? else {
                    run.scan(disk, shape, (&select, wanted()), |row| fold.add(row))?;
                    continue;
                };
                let panes = panes_of(run, shape.1, &select);
                let bound = leaders[place].bound(ranking.figure, panes);
                led.push(Led { run: Arc::clone(run), leaders, place, shape, select, bound });
            }
        }
        Ok(led)
    }
}

/// The search for the first ads.
struct Race<'a> {
    ranking: Ranking,
    led: &'a [Led],
    /// Runs by place and ads that have been looked up in them.
    looked: HashSet<(usize, u64), RandomState>,
    /// Groups that are summed whole.
    first: Vec<usize>,
}

impl Race<'_> {
    /// True where the first ads are known: every other has less than the last of them.
    fn decide(&mut self, fold: &mut Fold, spared: &[i64], disk: &dyn Disk) -> Result<bool, Error> {
        let unlisted: i64 = self.led.iter().map(|led| led.bound).sum();
        let most = |place: usize| self.ranking.value(fold, place) + unlisted - spared[place];
        let mut left: BinaryHeap<(i64, usize)> = (0..fold.len()).map(|at| (most(at), at)).collect();
        let mut best: BinaryHeap<Reverse<i64>> = BinaryHeap::new();
        let ranking = self.ranking;
        while let Some((most, place)) = left.pop() {
            let last = best.peek().map(|Reverse(last)| *last);
            if best.len() == ranking.limit && last.is_some_and(|last| most < last) {
                break;
            }
            self.complete(place, fold, disk)?;
            if self.looked.len() > LOOKS_MAX {
                return Ok(false);
            }
            best.push(Reverse(ranking.value(fold, place)));
            if best.len() > ranking.limit {
                best.pop();
            }
        }
        let last = best.peek().map(|Reverse(last)| *last);
        Ok(best.len() == ranking.limit && last.is_some_and(|last| last > unlisted))
    }

    /// Adds what an ad has in the runs it does not lead in.
    fn complete(&mut self, place: usize, fold: &mut Fold, disk: &dyn Disk) -> Result<(), Error> {
        let (ad, _) = fold.group(place);
        for (at, led) in self.led.iter().enumerate() {
            if led.leaders().has(ad) {
                continue;
            }
            self.looked.insert((at, ad));
            let filter = Filter { ad: Some(ad), ..Filter::default() };
            let select = Select { filter, ..led.select };
            led.run.scan(disk, led.shape, (&select, wanted()), |row| fold.add(row))?;
        }
        self.first.push(place);
        Ok(())
    }

    /// Adds everything that has not been added.
    fn fold_rest(&self, fold: &mut Fold, disk: &dyn Disk) -> Result<(), Error> {
        for (at, led) in self.led.iter().enumerate() {
            let is_in = |ad| led.leaders().has(ad) || self.looked.contains(&(at, ad));
            // Rows of one ad follow each other.
            let mut last: Option<(u64, bool)> = None;
            led.run.scan(disk, led.shape, (&led.select, wanted()), |row| {
                let ad = row.key.ad;
                let known = match last {
                    Some((last, known)) if last == ad => known,
                    _ => is_in(ad),
                };
                last = Some((ad, known));
                if known { Ok(()) } else { fold.add(row) }
            })?;
        }
        Ok(())
    }
}
