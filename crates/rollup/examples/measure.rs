//! What the rollup costs on this machine: `cargo run --release -p reckon-rollup --example measure
//! [minute rows in millions]`. One thread, a real disk, syncs on. Times are the thread's
//! own on the processor, so that a busy machine counts for less.
#![expect(clippy::print_stdout, reason = "figures are its output")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use reckon_disk::{RealDisk, TempDir};
use reckon_event::{Cell, Currency, Deltas, Epoch, Kind, Measure, TenantId, Timestamp, Verdict};
use reckon_rollup::files::verify;
use reckon_rollup::{Dimension, Files, Filter, Granularity, Metric, Options, Query, RollupStore};

const START: i64 = 1_795_219_200;
const T: TenantId = TenantId(1);

fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// A cell of ad number `ad`; keys are spread as hashes of names are.
fn cell(second: i64, ad: u64, variant: u64) -> Cell {
    Cell {
        second: START + second,
        tenant: T,
        ad: mix(ad + 1),
        campaign: mix(ad / 20 + 7),
        region: mix(1_000 + variant % 7),
        device: mix(2_000 + variant / 7 % 3),
        placement: mix(3_000 + variant / 21 % 4),
        position: u16::try_from(variant % 3).expect("small"),
        kind: if variant.is_multiple_of(10) { Kind::Click } else { Kind::Impression },
        verdict: Verdict::Counted,
        currency: Currency::EUR,
    }
}

fn epoch(number: u64) -> Epoch {
    Epoch { stage: 1, group: 0, generation: 1, number, bounds: Vec::new() }
}

fn open(folder: &TempDir, options: Options) -> Files {
    Files::open(Arc::new(RealDisk), &folder.path().join("rollup"), options)
        .expect("the folder is fresh")
}

/// Time this thread has spent on a processor; zero where the system does not tell.
fn on_processor() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Ten epochs a second for `seconds`, made before they are timed.
fn epochs(seconds: i64, cells: u64, ads: u64) -> Vec<Deltas> {
    (0..seconds * 10)
        .map(|tenth| {
            let mut deltas = Deltas::default();
            for n in 0..cells {
                let noise = mix(tenth.unsigned_abs() * cells + n);
                let cell = cell(tenth / 10, noise % ads, noise >> 40);
                deltas.add(cell, Measure { count: 1, spend: 1_000 });
            }
            deltas
        })
        .collect()
}

fn measure_apply(label: &str, seconds: i64, cells: u64, ads: u64) {
    let folder = TempDir::new("rollup-measure");
    let store = open(&folder, Options { hot_rows_max: usize::MAX, ..Options::default() });
    let epochs = epochs(seconds, cells, ads);
    let count: usize = epochs.iter().map(|deltas| deltas.cells.len()).sum();
    let start = on_processor();
    for (number, deltas) in (1..).zip(&epochs) {
        store.apply(&epoch(number), deltas).expect("it follows");
    }
    let applied = on_processor() - start;
    store.persist().expect("the disk is sound");
    let persisted = on_processor() - start - applied;
    let start = on_processor();
    let mut naive = Deltas::default();
    epochs.into_iter().for_each(|deltas| naive.merge(deltas));
    let merged = on_processor() - start;
    let per_cell = |time: Duration| time.as_nanos() / count.max(1) as u128;
    println!(
        "{label}: {count} cells: apply {} ns a cell, persist {} ns a cell ({persisted:?}); one plain \
         hash map of all cells takes {} ns a cell",
        per_cell(applied),
        per_cell(persisted),
        per_cell(merged),
    );
}

fn time(label: &str, store: &Files, query: &Query) {
    const TIMES: u32 = 12;
    let answer = store.query(query).expect("it is kept");
    let start = on_processor();
    for _ in 0..TIMES {
        assert_eq!(store.query(query).expect("it is kept").rows.len(), answer.rows.len());
    }
    let each = (on_processor() - start) / TIMES;
    println!("{label}: {each:?}, {} rows, from {}", answer.rows.len(), answer.cube);
}

/// Fills 30 days with `rows` minute rows of 100,000 ads, and asks.
fn measure_queries(rows: u64) {
    const DAYS: i64 = 30;
    const PER_EPOCH: u64 = 100_000;
    let folder = TempDir::new("rollup-measure");
    let store = open(&folder, Options::default());
    let epochs = rows / PER_EPOCH;
    let minutes = DAYS.unsigned_abs() * 1_440 / epochs;
    let (mut made, start) = (Duration::ZERO, Instant::now());
    for number in 1..=epochs {
        let making = Instant::now();
        let first = i64::try_from(number - 1).expect("small") * DAYS * 1_440
            / i64::try_from(epochs).expect("small");
        let mut deltas = Deltas::default();
        for n in 0..PER_EPOCH {
            let noise = mix(number * PER_EPOCH + n);
            // One ad in every minute; the others by chance.
            let ad = if n % 1_000 == 0 { 1 } else { noise % 100_000 };
            let minute = first + i64::try_from((noise >> 20) % minutes).expect("small");
            deltas.add(cell(minute * 60, ad, noise >> 40), Measure { count: 1, spend: 1_000 });
        }
        made += making.elapsed();
        store.apply(&epoch(number), &deltas).expect("it follows");
        if number % (epochs / DAYS.unsigned_abs()).max(1) == 0 {
            store.persist().expect("the disk is sound");
        }
    }
    store.persist().expect("the disk is sound");
    println!("filled with {rows} cells over {DAYS} days in {:?}", start.elapsed() - made);
    let report = verify(&RealDisk, &folder.path().join("rollup")).expect("it can be listed");
    assert!(report.damages.is_empty(), "{:?}", report.damages);
    println!(
        "{} files, {} rows, {:.2} bytes a row",
        report.files,
        report.rows,
        report.bytes as f64 / report.rows as f64
    );
    let at = |minute: i64| Timestamp::from_seconds(START + minute * 60);
    let month = |granularity| Query::new(T, at(0), at(DAYS * 1_440), granularity);
    let one_ad = Filter { ad: Some(mix(2)), ..Filter::default() };
    time("1 ad x 30 d by minute", &store, &Query { filter: one_ad, ..month(Granularity::Minute) });
    let rare = Filter { ad: Some(mix(4_242)), ..Filter::default() };
    time("1 rare ad x 30 d by day", &store, &Query { filter: rare, ..month(Granularity::Day) });
    let campaign = Filter { campaign: Some(mix(7)), ..Filter::default() };
    let regions = vec![Dimension::Region];
    let query = Query { filter: campaign, group_by: regions, ..month(Granularity::Day) };
    time("1 campaign x 30 d by day x region", &store, &query);
    let now = store.marks().newest.expect("it is filled");
    time("top 100 ads of the last hour", &store, &Query::top(T, now, 3_600, Metric::Clicks, 100));
    time("total x 30 d by hour", &store, &month(Granularity::Hour));
    let sliding = Granularity::Sliding { window: 300, step: 60 };
    time("1 ad, 5 m sliding by 1 m, 30 d", &store, &Query { filter: one_ad, ..month(sliding) });
    let live = Query::new(T, now.plus(-60 * Timestamp::SECOND), now, Granularity::Second);
    time("the last 60 seconds of 1 ad", &store, &Query { filter: one_ad, ..live });
    drop(store);
    let start = Instant::now();
    drop(open(&folder, Options::default()));
    println!("reopened in {:?}", start.elapsed());
}

fn main() {
    measure_apply("hot ad", 5_000, 4, 1);
    measure_apply("hot ad, all its variants", 500, 200, 1);
    measure_apply("10k distinct cells an epoch, 100k ads", 5, 10_000, 100_000);
    measure_apply("100k distinct cells an epoch, 1M ads", 5, 100_000, 1_000_000);
    let millions = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(6);
    if millions > 0 {
        measure_queries(millions * 1_000_000);
    }
}
