//! The same epochs handed to a server and to own files: every answer must be the same.

use std::path::PathBuf;
use std::sync::Arc;

use reckon_disk::{RealDisk, TempDir};
use reckon_event::{Applied, Cell, Deltas, Epoch, Measure, TenantId, Timestamp};
use reckon_rollup::clickhouse::{ClickHouse, Options};
use reckon_rollup::files::Merging;
use reckon_rollup::{
    Answer, Dimension, Dimensions, Error, Export, Field, Files, Granularity, Metric, Pane, Query,
    RollupStore,
};

use crate::random::{DIMENSIONS, METRICS, REGIONS, START};

/// An epoch of stage 1.
pub fn epoch(generation: u32, number: u64) -> Epoch {
    Epoch { stage: 1, group: 3, generation, number, bounds: Vec::new() }
}

/// What an epoch adds, with the texts of all regions.
pub fn deltas(cells: &[(Cell, Measure)]) -> Deltas {
    let mut deltas = Deltas::default();
    for text in REGIONS {
        deltas.name(text);
    }
    for (cell, measure) in cells {
        deltas.add(*cell, *measure);
    }
    deltas
}

/// Own files in a folder that vanishes.
pub struct OwnFiles {
    pub store: Files,
    _folder: TempDir,
}

impl OwnFiles {
    /// With the cubes of `options`, holding these epochs.
    pub fn of(options: &Options, epochs: &[Deltas]) -> Self {
        let folder = TempDir::new("rollup-twin");
        let dir: PathBuf = folder.path().join("rollup");
        let own = reckon_rollup::Options {
            cubes: options.cubes.clone(),
            merging: Merging::Inline,
            ..reckon_rollup::Options::default()
        };
        let store = Files::open(Arc::new(RealDisk), &dir, own).expect("it opens");
        let files = OwnFiles { store, _folder: folder };
        for deltas in epochs {
            files.apply(deltas);
        }
        files
    }

    pub fn apply(&self, deltas: &Deltas) {
        let number = self.store.marks().applied.unwrap_or(0) + 1;
        let applied = self.store.apply(&epoch(1, number), deltas).expect("it follows");
        assert_eq!(applied, Applied::Fresh);
    }
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    pub answers: u64,
    pub rows: u64,
    pub refused: u64,
}

/// Compares the answers to a question.
pub fn same(left: &ClickHouse, right: &Files, query: &Query, compared: &mut Compared) {
    match (left.query(query), right.query(query)) {
        (Ok(left), Ok(right)) => {
            let plain = |answer: &Answer| (answer.from, answer.to, answer.applied);
            assert_eq!(plain(&left), plain(&right), "{query:?}");
            assert_eq!(left.rows, right.rows, "{query:?} from {} and {}", left.cube, right.cube);
            compared.answers += 1;
            compared.rows += left.rows.len() as u64;
        }
        // Seconds are kept for so long at least: how much longer is for each engine to say.
        (Ok(_), Err(Error::Question { field: Field::From, .. }))
        | (Err(Error::Question { field: Field::From, .. }), Ok(_)) => compared.refused += 1,
        (Err(Error::Question { field: left, .. }), Err(Error::Question { field: right, .. })) => {
            assert_eq!(left, right, "{query:?}");
            compared.refused += 1;
        }
        (left, right) => panic!("{left:?} and {right:?} for {query:?}"),
    }
}

fn five_days() -> (Timestamp, Timestamp) {
    let from = Timestamp::from_seconds(START - 3_600);
    (from, from.plus(5 * Timestamp::DAY))
}

/// Compares what is kept, in few requests.
pub fn sums_are_the_same(left: &ClickHouse, right: &Files, compared: &mut Compared) {
    // Who only reads knows of what it has looked at last.
    assert_eq!(left.totals().expect("it answers"), right.totals().expect("it answers"));
    let marks = (left.marks(), right.marks());
    assert_eq!((marks.0.applied, marks.0.newest), (marks.1.applied, marks.1.newest));
    let (from, to) = five_days();
    for (dimensions, pane) in [
        (Dimensions::ALL, Pane::Minute),
        (Dimensions::of(&[Dimension::Ad, Dimension::Campaign]), Pane::Hour),
    ] {
        let export = Export { tenant: None, from, to, dimensions, pane };
        let left = left.export(&export).expect("it is kept");
        assert_eq!(left, right.export(&export).expect("it is kept"), "{export:?}");
        compared.rows += left.figures.len() as u64;
    }
    let live = |store: &dyn RollupStore| store.live(TenantId(1), None, 60).expect("it is kept");
    assert_eq!(live(left), live(right));
    same(left, right, &top(Metric::Clicks, 3), compared);
}

/// Compares everything that can be asked, in every shape.
pub fn all_the_same(left: &ClickHouse, right: &Files, compared: &mut Compared) {
    sums_are_the_same(left, right, compared);
    series_are_the_same(left, right, compared);
    top_lists_are_the_same(left, right, compared);
    // What each tenant has, and one who has nothing; all of them at last.
    for tenant in [1, 2, 3].map(TenantId) {
        exports_are_the_same(left, right, Some(tenant), compared);
        let live = |store: &dyn RollupStore| store.live(tenant, None, 60).expect("it is kept");
        assert_eq!(live(left), live(right));
    }
    exports_are_the_same(left, right, None, compared);
    let live = |store: &dyn RollupStore| store.live(TenantId(1), Some(0), 60).expect("it is kept");
    assert_eq!(live(left), live(right));
}

fn series_are_the_same(left: &ClickHouse, right: &Files, compared: &mut Compared) {
    let (from, to) = five_days();
    for granularity in [
        Granularity::Minute,
        Granularity::FiveMinutes,
        Granularity::Hour,
        Granularity::Day,
        Granularity::Total,
        Granularity::Sliding { window: 7_200, step: 3_600 },
    ] {
        for group_by in [
            &[][..],
            &[Dimension::Ad],
            &[Dimension::Campaign, Dimension::Region],
            &[Dimension::Device, Dimension::Reason],
            &DIMENSIONS,
        ] {
            let query = Query::new(TenantId(1), from, to, granularity);
            same(left, right, &Query { group_by: group_by.to_vec(), ..query }, compared);
        }
    }
}

fn top_lists_are_the_same(left: &ClickHouse, right: &Files, compared: &mut Compared) {
    let now = Timestamp::from_seconds(START + 43_400);
    for metric in METRICS {
        for (window, limit) in [(3_600, 2), (86_400, 4), (86_400, 1_000)] {
            same(left, right, &Query::top(TenantId(1), now, window, metric, limit), compared);
        }
    }
}

fn exports_are_the_same(
    left: &ClickHouse,
    right: &Files,
    tenant: Option<TenantId>,
    compared: &mut Compared,
) {
    let (from, to) = five_days();
    for (dimensions, pane) in [
        (Dimensions::ALL, Pane::Minute),
        (Dimensions::ALL, Pane::Day),
        (Dimensions::of(&[Dimension::Ad, Dimension::Campaign]), Pane::Hour),
        (Dimensions::of(&[Dimension::Campaign]), Pane::Hour),
        (Dimensions::NONE, Pane::Minute),
    ] {
        let export = Export { tenant, from, to, dimensions, pane };
        let left = left.export(&export).expect("it is kept");
        assert_eq!(left, right.export(&export).expect("it is kept"), "{export:?}");
        compared.rows += left.figures.len() as u64;
    }
}

/// The clicks that are counted of an ad, over a day, largest first.
pub fn top(metric: Metric, limit: u32) -> Query {
    Query::top(TenantId(1), Timestamp::from_seconds(START + 86_400), 2 * 86_400, metric, limit)
}
