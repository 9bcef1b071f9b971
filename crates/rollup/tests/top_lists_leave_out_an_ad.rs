//! A top list is wrong if ordering all ads gives another. Runs large enough to have leaders, ads by
//! Zipf and ads that are all alike, revisions, several runs, what is in memory, and windows that begin
//! and end anywhere: each list is compared with the order of all ads, which is made another way.

use std::path::Path;
use std::sync::Arc;

use reckon_disk::SimDisk;
use reckon_event::{Cell, Currency, Deltas, Epoch, Kind, Measure, TenantId, Timestamp, Verdict};
use reckon_rollup::{Files, Metric, Options, Query, RollupStore};

/// 2026-11-21T10:00:00Z.
const START: i64 = 1_795_255_200;
const T: TenantId = TenantId(1);
const ADS: u64 = 6_000;

fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 32
}

fn cell(minute: i64, ad: u64, kind: Kind, verdict: Verdict) -> Cell {
    Cell {
        second: START + minute * 60,
        tenant: T,
        ad: mix(ad),
        campaign: ad / 20,
        region: 0,
        device: 0,
        placement: 0,
        position: 0,
        kind,
        verdict,
        currency: Currency::EUR,
    }
}

/// One epoch of `minutes`: impressions, clicks and duplicates of nearly every ad, `flat` or by Zipf.
fn deltas(number: u64, minutes: std::ops::Range<i64>, flat: bool) -> Deltas {
    let mut deltas = Deltas::default();
    for minute in minutes {
        for ad in 0..ADS {
            let noise = mix(number << 40 | minute.unsigned_abs() << 20 | ad);
            let most = if flat { 3 } else { 4_000 / (ad + 1) + 2 };
            let count = i64::try_from(noise % most).expect("small");
            let (kind, verdict) = match noise >> 60 {
                0..9 => (Kind::Click, Verdict::Counted),
                9..12 => (Kind::Impression, Verdict::Counted),
                _ => (Kind::Click, Verdict::Duplicate),
            };
            // Some is taken back.
            let count = if noise >> 50 & 15 == 0 { -count } else { count };
            let spend = if verdict == Verdict::Counted { count * 7 } else { 0 };
            deltas.add(cell(minute, ad, kind, verdict), Measure { count, spend });
        }
    }
    deltas
}

/// Compares lists of many windows, figures and lengths.
fn check(store: &Files) -> usize {
    let mut compared = 0;
    for (end, window) in
        [(60, 3_600), (47, 1_200), (120, 3_600), (95, 3_600), (130, 60), (120, 7_200)]
    {
        let now = Timestamp::from_seconds(START + end * 60);
        for by in [Metric::Clicks, Metric::ClicksGross, Metric::Impressions, Metric::Duplicates] {
            let mut query = Query::top(T, now, window, by, 1_000_000);
            let all = store.query(&query).expect("it is kept").rows;
            for limit in [1, 100, 512] {
                query.limit = Some(limit);
                let top = store.query(&query).expect("it is kept").rows;
                assert!(
                    top == all[..all.len().min(limit as usize)],
                    "{by:?} {window} {end} {limit}"
                );
                compared += top.len();
            }
        }
    }
    compared
}

fn lists_are_exact(flat: bool) {
    let options = Options { fan_in: 3, ..Options::default() };
    let disk = Arc::new(SimDisk::new(1));
    let store = Files::open(disk, Path::new("/data/rollup"), options).expect("it opens");
    let mut compared = 0;
    for number in 1..=14u64 {
        let first = i64::try_from(number - 1).expect("few") * 10;
        let epoch = Epoch { stage: 1, group: 0, generation: 1, number, bounds: Vec::new() };
        store.apply(&epoch, &deltas(number, first..first + 10, flat)).expect("it follows");
        if number != 14 {
            store.persist().expect("the disk is sound");
        }
        if number == 7 || number == 14 {
            compared += check(&store);
        }
    }
    eprintln!("{compared} rows of top lists compared");
    assert!(compared > 10_000);
}

#[test]
fn lists_of_popular_ads_are_exact() {
    lists_are_exact(false);
}

#[test]
fn lists_of_ads_that_are_all_alike_are_exact() {
    lists_are_exact(true);
}
