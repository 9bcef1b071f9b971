//! Which cubes answer: the cheapest way to put a stretch of time together from tiers, exactly; or what
//! is missing.
//!
//! A question over months takes its middle from days, what is left at both ends from hours, and what is
//! left of these from minutes. Each stretch is read from one cube, and a cube is read only where it has
//! everything: from its floor to where it is sealed. What is cheapest is told by the rows of the runs
//! that would be read.

use reckon_event::Timestamp;

use super::cube::{Declared, Dimensions, Pane};
use super::fold::bucket_seconds;
use crate::{Dimension, Error, Field, Filter, Granularity, Query};

/// Rows a run costs at least: a block is read whole.
const BLOCK_COST: u64 = 2_048;

/// What a question needs of cubes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub dimensions: Dimensions,
    /// Panes must divide this many seconds; `None`: any will do.
    pub grain: Option<i64>,
    /// The first second read: before the first asked for, where windows slide.
    pub from: i64,
    /// The first second no longer read.
    pub to: i64,
    pub filter: Filter,
}

/// A stretch of time that is read from one cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub cube: usize,
    pub from: i64,
    pub to: i64,
}

impl Need {
    pub(crate) fn of(query: &Query, (from, to): (i64, i64)) -> Self {
        let filter = &query.filter;
        let filtered = [
            (Dimension::Ad, filter.ad.is_some()),
            (Dimension::Campaign, filter.campaign.is_some()),
            (Dimension::Region, filter.region.is_some()),
            (Dimension::Device, filter.device.is_some()),
            (Dimension::Placement, filter.placement.is_some()),
            (Dimension::Position, filter.position.is_some()),
        ];
        let filtered = filtered.into_iter().filter(|(_, is)| *is).map(|(dimension, _)| dimension);
        Need {
            dimensions: filtered.fold(Dimensions::of(&query.group_by), Dimensions::with),
            grain: bucket_seconds(query.granularity),
            from: match query.granularity {
                Granularity::Sliding { window, step } => from + i64::from(step) - i64::from(window),
                _ => from,
            },
            to,
            filter: *filter,
        }
    }

    /// What panes must divide for a cube to answer alone.
    fn grain_alone(&self) -> i64 {
        self.grain
            .unwrap_or_else(|| Pane::dividing(self.from).min(Pane::dividing(self.to)).seconds())
    }

    fn is_kept_by(&self, cube: &Declared) -> bool {
        cube.dimensions.covers(self.dimensions)
            && self.grain.is_none_or(|grain| grain % cube.pane.seconds() == 0)
    }

    /// True where the filter leaves few rows of a cube's order.
    fn leads(&self, cube: &Declared) -> bool {
        match cube.dimensions.has(Dimension::Ad) {
            true => self.filter.ad.is_some(),
            false => self.filter.campaign.is_some() && cube.dimensions.has(Dimension::Campaign),
        }
    }
}

/// The stretches that answer, in the order of time; or why there are none. `extents` tells of a cube,
/// by its place, and the width of its panes what lies in the time that is needed.
pub(crate) fn plan(
    need: &Need,
    cubes: &[Declared],
    extents: impl Fn(usize, i64) -> Vec<Extent>,
) -> Result<Vec<Stretch>, Error> {
    let planner = Planner::new(need, cubes, extents);
    match planner.best(need.from, need.to, i64::MAX) {
        Some((_, stretches)) => Ok(stretches),
        None => Err(why_not(need, cubes)),
    }
}

fn why_not(need: &Need, cubes: &[Declared]) -> Error {
    let is_exact =
        |cube: &&Declared| need.is_kept_by(cube) && need.grain_alone() % cube.pane.seconds() == 0;
    match cubes.iter().filter(is_exact).min_by_key(|cube| cube.floor) {
        Some(cube) => gone(cube),
        None => undeclared(need),
    }
}

fn gone(cube: &Declared) -> Error {
    let floor = Timestamp::from_seconds(cube.floor);
    let pane = cube.pane.name();
    Error::question(
        Field::From,
        format!(
            "figures by {pane} are kept from {floor} on: ask from then on, or for wider buckets"
        ),
    )
}

fn undeclared(need: &Need) -> Error {
    let pane = Pane::dividing(need.grain_alone()).name();
    let dimensions = match need.dimensions.names() {
        names if names.is_empty() => "no dimensions".to_owned(),
        names => format!("dimensions {names}"),
    };
    Error::question(
        Field::GroupBy,
        format!("no cube keeps this: declare one with {dimensions} by {pane}"),
    )
}

/// A run as the planner sees it: its first second, the one behind its last, its rows.
pub(crate) type Extent = (i64, i64, u64);

struct Candidate<'a> {
    place: usize,
    cube: &'a Declared,
    pane: i64,
    leads: bool,
    runs: Vec<Extent>,
}

impl Candidate<'_> {
    /// What of a stretch it has, in whole panes.
    fn part(&self, from: i64, to: i64) -> (i64, i64) {
        let up = |second: i64| (second + self.pane - 1).div_euclid(self.pane) * self.pane;
        let to = to.min(self.cube.sealed).max(from).div_euclid(self.pane) * self.pane;
        (up(from.max(self.cube.floor)), to)
    }

    /// About how many rows are read, wider ones counting for more.
    fn cost(&self, from: i64, to: i64) -> u64 {
        let rows = |&(first, end, rows): &Extent| {
            let inside = end.min(to) - first.max(from);
            if inside <= 0 {
                return 0;
            }
            let share = inside.unsigned_abs() as f64 / (end - first).unsigned_abs() as f64;
            let read = (rows as f64 * share) as u64;
            BLOCK_COST + if self.leads { read.min(BLOCK_COST) } else { read }
        };
        self.runs.iter().map(rows).sum::<u64>() * (8 + u64::from(self.cube.dimensions.len()))
    }
}

/// A way to answer, with what it costs.
type Way = (u64, Vec<Stretch>);

struct Planner<'a> {
    candidates: Vec<Candidate<'a>>,
}

impl<'a> Planner<'a> {
    fn new(
        need: &Need,
        cubes: &'a [Declared],
        extents: impl Fn(usize, i64) -> Vec<Extent>,
    ) -> Self {
        let candidate = |(place, cube): (usize, &'a Declared)| {
            let pane = cube.pane.seconds();
            Candidate { place, cube, pane, leads: need.leads(cube), runs: extents(place, pane) }
        };
        let kept = cubes.iter().enumerate().filter(|(_, cube)| need.is_kept_by(cube));
        let mut candidates: Vec<Candidate<'a>> = kept.map(candidate).collect();
        // Among ways that cost the same the first one stays: fewer dimensions, wider panes.
        candidates.sort_by_key(|c| (c.cube.dimensions.len(), -c.pane, c.place));
        Planner { candidates }
    }

    /// The cheapest way to answer a stretch with panes narrower than `pane_max` seconds: each cube
    /// answers what it can in the middle, and narrower ones what is left.
    fn best(&self, from: i64, to: i64, pane_max: i64) -> Option<Way> {
        if from == to {
            return Some((0, Vec::new()));
        }
        let narrower = self.candidates.iter().filter(|candidate| candidate.pane < pane_max);
        let ways = narrower.filter_map(|candidate| self.around(candidate, from, to));
        ways.min_by_key(|(cost, stretches)| (*cost, stretches.len()))
    }

    fn around(&self, candidate: &Candidate<'_>, from: i64, to: i64) -> Option<Way> {
        let (middle_from, middle_to) = candidate.part(from, to);
        if middle_from >= middle_to {
            return None;
        }
        let (before_cost, mut stretches) = self.best(from, middle_from, candidate.pane)?;
        let (after_cost, after) = self.best(middle_to, to, candidate.pane)?;
        stretches.push(Stretch { cube: candidate.place, from: middle_from, to: middle_to });
        stretches.extend(after);
        Some((before_cost + candidate.cost(middle_from, middle_to) + after_cost, stretches))
    }
}
