//! Which cube answers: the smallest declared one that is exact, or what is missing.

use super::Durable;
use super::fold::bucket_seconds;
use super::manifest::Declared;
use super::options::{Dimensions, Pane};
use crate::{Dimension, Error, Field, Granularity, Query};
use reckon_event::Timestamp;

/// What a question needs of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    dimensions: Dimensions,
    /// Panes must divide this many seconds.
    grain: i64,
    /// The first second read: before the first asked for, where windows slide.
    pub from: i64,
    /// The first second no longer read.
    pub to: i64,
}

impl Need {
    pub(super) fn of(query: &Query, (from, to): (i64, i64)) -> Self {
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
            grain: bucket_seconds(query.granularity).unwrap_or_else(|| whole(from, to)),
            from: match query.granularity {
                Granularity::Sliding { window, step } => from + i64::from(step) - i64::from(window),
                _ => from,
            },
            to,
        }
    }

    fn is_kept_by(&self, cube: &Declared) -> bool {
        cube.dimensions.covers(self.dimensions) && self.grain % cube.pane.seconds() == 0
    }
}

/// The widest pane both ends of a total are multiples of.
fn whole(from: i64, to: i64) -> i64 {
    Pane::dividing(from).min(Pane::dividing(to)).seconds()
}

/// The place of the cube to read, or why there is none.
pub(super) fn choose(need: &Need, durable: &Durable) -> Result<usize, Error> {
    let cubes = &durable.manifest.cubes;
    let exact = || cubes.iter().enumerate().filter(|(_, cube)| need.is_kept_by(cube));
    let size = |place: usize| {
        let runs = durable.runs.iter().filter(|run| usize::from(run.meta.cube) == place);
        let overlapping = runs.filter(|run| run.overlaps(need.from, need.to));
        overlapping.map(|run| run.meta.rows).sum::<u64>()
    };
    let best = exact()
        .filter(|(_, cube)| cube.floor <= need.from)
        .min_by_key(|(place, cube)| {
            (size(*place), cube.dimensions.len(), -cube.pane.seconds(), *place)
        })
        .map(|(place, _)| place);
    best.ok_or_else(|| match exact().min_by_key(|(_, cube)| cube.floor) {
        Some((_, cube)) => gone(cube),
        None => undeclared(need),
    })
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
    let pane = Pane::dividing(need.grain).name();
    let dimensions = match need.dimensions.names() {
        names if names.is_empty() => "no dimensions".to_owned(),
        names => format!("dimensions {names}"),
    };
    Error::question(
        Field::GroupBy,
        format!("no cube keeps this: declare one with {dimensions} by {pane}"),
    )
}
