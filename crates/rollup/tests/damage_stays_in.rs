//! A delta is lost, or counted twice, and nobody says so. An export shows it to whoever has counted
//! anew; replacing the span mends every tier, leaves a mark, and touches nothing else.

use std::path::Path;
use std::sync::Arc;

use reckon_disk::SimDisk;
use reckon_event::{Cell, Currency, Deltas, Epoch, Kind, Measure, TenantId, Timestamp, Verdict};
use reckon_rollup::files::{Merging, verify};
use reckon_rollup::{Export, Files, Options, Pane, RollupStore};

const DIR: &str = "/data/rollup";
/// 2026-11-21T10:00:00Z.
const START: i64 = 1_795_255_200;
const T: TenantId = TenantId(1);

fn cell(second: i64, ad: u64) -> Cell {
    Cell {
        second: START + second,
        tenant: T,
        ad,
        campaign: ad % 3,
        region: 0,
        device: 0,
        placement: 0,
        position: 0,
        kind: Kind::Click,
        verdict: Verdict::Counted,
        currency: Currency::EUR,
    }
}

const ONE: Measure = Measure { count: 1, spend: 100 };
const HOURS: i64 = 60;

fn open(disk: &SimDisk) -> Files {
    let options = Options { merging: Merging::Inline, ..Options::default() };
    Files::open(Arc::new(disk.clone()), Path::new(DIR), options).expect("it opens")
}

fn apply(store: &Files, number: u64, deltas: &Deltas) {
    let epoch = Epoch { stage: 1, group: 0, generation: 1, number, bounds: Vec::new() };
    store.apply(&epoch, deltas).expect("it follows");
    store.persist().expect("the disk is sound");
}

/// Sixty hours of clicks, one on each of seven ads an hour.
fn filled(disk: &SimDisk) -> Files {
    let store = open(disk);
    for hour in 0..HOURS {
        let mut deltas = Deltas::default();
        (0..7).for_each(|ad| deltas.add(cell(hour * 3_600 + 61, ad), ONE));
        apply(&store, hour.unsigned_abs() + 1, &deltas);
    }
    store
}

fn exports(store: &Files) -> Vec<Vec<(Cell, Measure)>> {
    let (from, to) =
        (Timestamp::from_seconds(START - 86_400), Timestamp::from_seconds(START + 5 * 86_400));
    let minutes = Export::ads_by_minute(None, from, to);
    let days = Export { pane: Pane::Day, ..minutes };
    let billed = Export::campaigns_by_hour(Some(T), from, to);
    let exports = [minutes, days, billed];
    exports.iter().map(|export| store.export(export).expect("it is kept").figures).collect()
}

fn is_mended(planted: &[(Cell, Measure)]) {
    let disk = SimDisk::new(1);
    let store = filled(&disk);
    let (truth, totals) = (exports(&store), store.totals().expect("it is open"));
    assert!(truth.iter().all(|figures| figures.len() > 20));
    for (cell, measure) in planted {
        store.plant(cell, *measure);
    }
    apply(&store, HOURS.unsigned_abs() + 1, &Deltas::default());
    let wrong = exports(&store);
    assert!(wrong.iter().zip(&truth).all(|(wrong, truth)| wrong != truth), "all exports show it");
    let report = verify(&disk, Path::new(DIR)).expect("it can be listed");
    assert_eq!(report.damages, [], "sums that agree with each other are no damage to files");
    let (from, to) = (START + 10 * 3_600 + 60, START + 10 * 3_600 + 120);
    let mut recount = Deltas::default();
    (0..7).for_each(|ad| recount.add(cell(10 * 3_600 + 61, ad), ONE));
    let (from, to) = (Timestamp::from_seconds(from), Timestamp::from_seconds(to));
    assert!(store.rebuild(T, from, to, &recount).expect("it can be") > 0);
    for _ in 0..2 {
        assert_eq!(exports(&store), truth);
        assert_eq!(store.totals().expect("it is open"), totals);
    }
    drop(store);
    disk.crash(3);
    let store = open(&disk);
    assert_eq!(exports(&store), truth);
    let report = verify(&disk, Path::new(DIR)).expect("it can be listed");
    assert_eq!(report.damages, []);
    let marks: Vec<_> =
        report.mends.iter().map(|mend| (mend.tenant, mend.from, mend.epoch)).collect();
    assert_eq!(marks, [(T, from, HOURS.unsigned_abs() + 1)]);
}

#[test]
fn a_lost_delta_is_mended() {
    is_mended(&[(cell(10 * 3_600 + 61, 4), Measure { count: -1, spend: -100 })]);
}

#[test]
fn a_doubled_delta_is_mended() {
    is_mended(&[(cell(10 * 3_600 + 61, 2), ONE), (cell(10 * 3_600 + 61, 99), ONE)]);
}

#[test]
fn a_rebuild_that_loses_power_is_whole_or_not_there() {
    let mut cut = 0;
    for place in 1..60 {
        let disk = SimDisk::new(place);
        let store = filled(&disk);
        let truth = exports(&store);
        store.plant(&cell(10 * 3_600 + 61, 2), ONE);
        apply(&store, HOURS.unsigned_abs() + 1, &Deltas::default());
        let wrong = exports(&store);
        disk.cut_power_at_sync(place);
        let mut recount = Deltas::default();
        (0..7).for_each(|ad| recount.add(cell(10 * 3_600 + 61, ad), ONE));
        let at = |minute: i64| Timestamp::from_seconds(START + 10 * 3_600 + minute * 60);
        let outcome = store.rebuild(T, at(1), at(2), &recount);
        drop(store);
        disk.crash(place);
        let found = exports(&open(&disk));
        match outcome {
            Ok(_) => assert!(found == truth),
            Err(_) => assert!(found == truth || found == wrong, "place {place}"),
        }
        let report = verify(&disk, Path::new(DIR)).expect("it can be listed");
        assert_eq!(report.damages, []);
        if outcome.is_ok() {
            break;
        }
        cut += 1;
    }
    assert!(cut > 5, "the power was cut {cut} times");
}
