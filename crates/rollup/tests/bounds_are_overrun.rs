//! Everything has a bound: seconds, memory, texts, groups, rows, files. At each the store either keeps
//! going or says what to do; it never answers short.

use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk};
use reckon_event::{Cell, Currency, Deltas, Epoch, Kind, Measure, TenantId, Timestamp, Verdict};
use reckon_rollup::files::Pane;
use reckon_rollup::{
    BrokenKind, Cube, Dimension, Dimensions, Error, Field, Files, Granularity, Options, Query,
    RollupStore,
};

const DIR: &str = "/data/rollup";
const START: i64 = 1_795_255_200;

fn open(disk: &SimDisk, options: Options) -> Result<Files, Error> {
    Files::open(Arc::new(disk.clone()), Path::new(DIR), options)
}

fn fresh(options: Options) -> Files {
    open(&SimDisk::new(1), options).expect("it opens")
}

/// One click on each of `ads` in second `second`.
fn apply(store: &Files, number: u64, second: i64, ads: std::ops::Range<u64>) {
    let mut deltas = Deltas::default();
    for ad in ads {
        let cell = Cell {
            second: START + second,
            tenant: TenantId(1),
            ad,
            campaign: 0,
            region: 0,
            device: 0,
            placement: deltas.name(&format!("placement {ad}")),
            position: 0,
            kind: Kind::Click,
            verdict: Verdict::Counted,
            currency: Currency::EUR,
        };
        deltas.add(cell, Measure { count: 1, spend: 0 });
    }
    let epoch = Epoch { stage: 1, group: 0, generation: 1, number, bounds: Vec::new() };
    store.apply(&epoch, &deltas).expect("it follows");
}

fn query(from: i64, to: i64, granularity: Granularity, group_by: &[Dimension]) -> Query {
    let at = |second| Timestamp::from_seconds(START + second);
    let query = Query::new(TenantId(1), at(from), at(to), granularity);
    Query { group_by: group_by.to_vec(), ..query }
}

fn clicks(store: &Files, query: &Query) -> i64 {
    store.query(query).expect("it is kept").rows.iter().map(|row| row.counts.clicks).sum()
}

#[track_caller]
fn refused(store: &Files, query: &Query, expect: Field) -> String {
    match store.query(query) {
        Err(Error::Question { field, fix }) if field == expect => fix,
        other => panic!("{other:?}"),
    }
}

#[test]
fn seconds_go_when_their_hour_is_over() {
    let store = fresh(Options::default());
    for number in 1..=180 {
        let second = i64::try_from(number).expect("few") * 60;
        apply(&store, number, second, 0..5);
        store.persist().expect("the disk is sound");
    }
    let newest = 180 * 60;
    let kept = query(newest - 3_599, newest + 1, Granularity::Second, &[Dimension::Ad]);
    assert_eq!(clicks(&store, &kept), 60 * 5, "the last hour is whole");
    let gone = query(newest - 3_700, newest + 1, Granularity::Second, &[]);
    let fix = refused(&store, &gone, Field::From);
    assert_eq!(
        fix,
        "figures by second are kept from 2026-11-21T12:00:00Z on: ask from then on, or for wider \
         buckets"
    );
    let minutes = query(0, newest + 1, Granularity::Minute, &[]);
    assert_eq!(clicks(&store, &minutes), 180 * 5, "minutes have everything");
    assert_eq!(store.live(TenantId(1), None, 3_600).expect("it is kept").len(), 3_600);
}

#[test]
fn seconds_go_when_their_bytes_are_spent() {
    let store = fresh(Options::new(20_000));
    for number in 1..=10 {
        let second = i64::try_from(number).expect("few") * 60;
        apply(&store, number, second, 0..2_000);
        store.persist().expect("the disk is sound");
    }
    let by_ad = |from| query(from, 601, Granularity::Second, &[Dimension::Ad]);
    refused(&store, &by_ad(60), Field::From);
    assert_eq!(clicks(&store, &by_ad(600)), 2_000, "the newest stay");
    let total = query(60, 601, Granularity::Second, &[]);
    assert_eq!(clicks(&store, &total), 20_000, "the total by second is a cube of its own");
    assert_eq!(clicks(&store, &query(0, 660, Granularity::Minute, &[Dimension::Ad])), 20_000);
    // What comes late for a second that is gone is in the minutes, and the refusal stays.
    apply(&store, 11, 60, 0..1);
    store.persist().expect("the disk is sound");
    refused(&store, &by_ad(60), Field::From);
    assert_eq!(clicks(&store, &query(0, 660, Granularity::Minute, &[Dimension::Ad])), 20_001);
}

#[test]
fn memory_is_emptied_into_files() {
    let store = fresh(Options { hot_rows_max: 100, ..Options::default() });
    for number in 1..=10 {
        let second = i64::try_from(number).expect("few");
        apply(&store, number, second, 0..60);
    }
    let marks = store.marks();
    assert_eq!(marks.applied, Some(10));
    assert_eq!(marks.persisted, Some(8), "two epochs fit");
    assert_eq!(clicks(&store, &query(0, 60, Granularity::Total, &[])), 600);
}

#[test]
fn texts_beyond_the_bound_are_keys() {
    let store = fresh(Options { names_max: 3, ..Options::default() });
    apply(&store, 1, 0, 0..5);
    let rows = store.query(&query(0, 60, Granularity::Total, &[Dimension::Placement]));
    let rows = rows.expect("it is kept").rows;
    let with_text = |row: &reckon_rollup::Row| {
        row.keys.placement.as_ref().is_some_and(|placement| placement.text.is_some())
    };
    assert_eq!((rows.len(), rows.iter().filter(|row| with_text(row)).count()), (5, 3));
}

#[test]
fn too_many_groups_are_refused() {
    let store = fresh(Options { groups_max: 99, ..Options::default() });
    apply(&store, 1, 0, 0..100);
    for _ in 0..2 {
        refused(&store, &query(0, 60, Granularity::Total, &[Dimension::Ad]), Field::GroupBy);
        assert_eq!(clicks(&store, &query(0, 60, Granularity::Total, &[])), 100);
        store.persist().expect("the disk is sound");
    }
    let few = Granularity::Sliding { window: 3_600, step: 1 };
    refused(&store, &query(0, 3_600, few, &[]), Field::GroupBy);
}

#[test]
fn what_no_cube_keeps_is_named() {
    let ads = Dimensions::of(&[Dimension::Ad]);
    let cubes = vec![Cube::new("ads_by_hour", ads, Pane::Hour)];
    let store = fresh(Options { cubes, ..Options::default() });
    apply(&store, 1, 0, 0..3);
    assert_eq!(clicks(&store, &query(0, 60, Granularity::Hour, &[Dimension::Ad])), 3);
    assert_eq!(clicks(&store, &query(0, 3_600, Granularity::Total, &[Dimension::Ad])), 3);
    let fix = refused(&store, &query(0, 60, Granularity::Minute, &[]), Field::GroupBy);
    assert_eq!(fix, "no cube keeps this: declare one with no dimensions by minute");
    let by_region = query(0, 60, Granularity::Day, &[Dimension::Region, Dimension::Ad]);
    let fix = refused(&store, &by_region, Field::GroupBy);
    assert_eq!(fix, "no cube keeps this: declare one with dimensions ad,region by day");
}

#[test]
fn the_smallest_cube_answers() {
    let store = fresh(Options::default());
    for number in 1..=20 {
        apply(&store, number, i64::try_from(number).expect("few") * 30, 0..50);
    }
    for _ in 0..2 {
        let check = |granularity, group_by: &[Dimension], expect: &str| {
            let query = query(0, 600, granularity, group_by);
            assert_eq!(store.query(&query).expect("it is kept").cube, expect);
        };
        check(Granularity::Minute, &[Dimension::Ad], "ads_by_minute");
        check(Granularity::Minute, &[Dimension::Placement], "detail_by_minute");
        check(Granularity::Day, &[Dimension::Region], "campaign_regions_by_minute");
        check(Granularity::Second, &[], "total_by_second");
        check(Granularity::Second, &[Dimension::Ad], "detail_by_second");
        store.persist().expect("the disk is sound");
    }
}

#[test]
fn files_stay_few_and_old_ones_go() {
    let disk = SimDisk::new(1);
    let cubes = vec![Cube::new("ads_by_minute", Dimensions::of(&[Dimension::Ad]), Pane::Minute)];
    let store = open(&disk, Options { cubes, ..Options::default() }).expect("it opens");
    let mut most = 0;
    for number in 1..=600 {
        // Ten days, sixty markers a day.
        let second = i64::try_from(number).expect("few") * 1_440;
        apply(&store, number, second, 0..10);
        store.persist().expect("the disk is sound");
        most = most.max(disk.list(Path::new(DIR)).expect("it can be listed").len());
    }
    eprintln!("at most {most} files for 600 markers over 10 days");
    assert!(most < 150, "{most} files");
    let days = query(0, 11 * 86_400, Granularity::Day, &[Dimension::Ad]);
    assert_eq!(clicks(&store, &days), 6_000);
}

#[test]
fn cubes_that_nothing_holds_are_refused() {
    let disk = SimDisk::new(1);
    let ads = Dimensions::of(&[Dimension::Ad]);
    let cubes = vec![Cube::new("ads_by_hour", ads, Pane::Hour)];
    let hours = Options { cubes, ..Options::default() };
    let store = open(&disk, hours.clone()).expect("it opens");
    apply(&store, 1, 0, 0..3);
    store.persist().expect("the disk is sound");
    drop(store);
    let refused = open(&disk, Options::default()).map(|_| ());
    let kind = BrokenKind::Mismatch;
    assert!(matches!(refused, Err(Error::Broken { kind: k, .. }) if k == kind), "{refused:?}");
    let mut days = hours.clone();
    days.cubes.push(Cube::new("total_by_day", Dimensions::NONE, Pane::Day));
    let store = open(&disk, days).expect("hours have the day");
    let day = query(0, 60, Granularity::Day, &[]);
    let answer = store.query(&day).expect("it is kept");
    assert_eq!((answer.cube.as_str(), answer.rows[0].counts.clicks), ("total_by_day", 3));
    drop(store);
    let mut kept = hours;
    kept.cubes[0].retention = Some(60);
    open(&disk, kept).expect("retention is not part of the declaration");
}
