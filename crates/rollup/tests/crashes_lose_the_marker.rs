//! The power goes, a sync or a write fails, the disk is full, a bit rots: at every single place where
//! it can. What is found afterwards is exactly one marker's state, and never a wrong figure.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_disk::{Disk, Open, SimDisk};
use reckon_event::{Cell, Currency, Deltas, Epoch, Kind, Measure, TenantId, Timestamp, Verdict};
use reckon_rollup::files::{Merging, verify};
use reckon_rollup::{
    Answer, BrokenKind, Dimension, Error, Files, Granularity, Options, Query, RollupStore,
};

const DIR: &str = "/data/rollup";
const START: i64 = 1_795_255_200;
const ADS: u64 = 7;

fn options() -> Options {
    // Work within the marker, so that each place where it can fail is always the same one.
    Options { fan_in: 2, merging: Merging::Inline, ..Options::default() }
}

fn open(disk: &SimDisk) -> Result<Files, Error> {
    Files::open(Arc::new(disk.clone()), Path::new(DIR), options())
}

/// Epoch `number` adds `number` clicks to each ad, in a minute of its own, in a region of its own.
fn apply(store: &Files, number: u64) -> Result<(), Error> {
    let mut deltas = Deltas::default();
    let count = i64::try_from(number).expect("few");
    let region = deltas.name(&format!("region {number}"));
    for ad in 0..ADS {
        let cell = Cell {
            second: START + count * 20,
            tenant: TenantId(1),
            ad,
            campaign: 1,
            region,
            device: 0,
            placement: 0,
            position: 0,
            kind: Kind::Click,
            verdict: Verdict::Counted,
            currency: Currency::EUR,
        };
        deltas.add(cell, Measure { count, spend: 10 * count });
    }
    let epoch = Epoch { stage: 1, group: 0, generation: 1, number, bounds: Vec::new() };
    store.apply(&epoch, &deltas).map(|_| ())
}

fn ask(store: &Files) -> Result<Answer, Error> {
    let from = Timestamp::from_seconds(START);
    let query = Query::new(TenantId(1), from, from.plus(Timestamp::DAY), Granularity::Day);
    store.query(&Query { group_by: vec![Dimension::Ad, Dimension::Region], ..query })
}

/// Asserts that the store holds all of the epochs up to `number`, and nothing else.
#[track_caller]
fn check(store: &Files, number: u64) {
    let answer = ask(store).expect("it is sound");
    assert_eq!(answer.applied.unwrap_or(0), number);
    assert_eq!(answer.rows.len() as u64, ADS * number);
    for row in &answer.rows {
        let text = row.keys.region.as_ref().and_then(|r| r.text.as_deref()).expect("it has a text");
        let epoch: i64 = text.trim_start_matches("region ").parse().expect("a number");
        assert_eq!((row.counts.clicks, row.spend_micros()), (epoch, Some(10 * epoch)));
    }
    let total = i64::try_from(ADS * (1..=number).sum::<u64>()).expect("few");
    let totals = store.totals().expect("it is open");
    assert_eq!(totals.iter().map(|t| t.count).sum::<i64>(), total);
}

/// A disk with three markers on it, and one epoch beyond them in a store that is open.
fn sample(seed: u64) -> (SimDisk, Files) {
    let disk = SimDisk::new(seed);
    let store = open(&disk).expect("it opens");
    for number in 1..=3 {
        apply(&store, number).expect("it follows");
        assert_eq!(store.persist().expect("the disk is sound"), number);
    }
    apply(&store, 4).expect("it follows");
    (disk, store)
}

/// Lets `harm` happen while epoch 4 is made durable, then cuts the power, and judges what is left.
/// Returns whether anything went wrong.
fn survives(seed: u64, harm: impl Fn(&SimDisk)) -> bool {
    let (disk, store) = sample(seed);
    harm(&disk);
    let outcome = store.persist();
    let failed = outcome.is_err();
    if failed && disk.has_power() {
        check(&store, 4);
        let refused = apply(&store, 5);
        let kind = BrokenKind::Poisoned;
        assert!(matches!(refused, Err(Error::Broken { kind: k, .. }) if k == kind), "{refused:?}");
    }
    drop(store);
    if disk.has_power() && failed {
        // A new process without a power cut: what it finds it must be able to build upon.
        disk.set_capacity(None);
        let store = open(&disk).expect("it opens");
        let found = store.marks().persisted.expect("three markers were durable");
        check(&store, found);
        for number in found + 1..=6 {
            apply(&store, number).expect("it follows");
        }
        drop(store);
        disk.crash(seed);
        let store = open(&disk).expect("it opens");
        assert_eq!(store.marks().persisted, Some(found), "what was built upon is durable");
        check(&store, found);
        return true;
    }
    disk.crash(seed);
    disk.set_capacity(None);
    let store = open(&disk).expect("it opens");
    let found = store.marks().persisted.expect("three markers were durable");
    match outcome {
        Ok(marker) => assert_eq!(found, marker),
        Err(_) => assert!((3..=4).contains(&found)),
    }
    check(&store, found);
    let report = verify(&disk, Path::new(DIR)).expect("it can be listed");
    assert_eq!((report.damages.len(), report.strays.len()), (0, 0), "{report:?}");
    for number in found + 1..=6 {
        apply(&store, number).expect("it follows");
    }
    assert_eq!(store.persist().expect("the disk is sound"), 6);
    check(&store, 6);
    failed
}

/// Runs `harm` at the first, second, ... place until there is none left; for several seeds.
fn at_every_place(harm: impl Fn(&SimDisk, u64)) {
    let mut harmed = 0;
    for seed in 0..16 {
        let places = (1..).take_while(|&place| survives(seed, |disk| harm(disk, place))).count();
        assert!(places > 5, "a marker takes several steps");
        harmed += places;
    }
    eprintln!("{harmed} failures survived");
}

#[test]
fn the_power_goes_at_any_sync() {
    at_every_place(SimDisk::cut_power_at_sync);
}

#[test]
fn any_sync_fails() {
    at_every_place(SimDisk::fail_sync);
}

#[test]
fn any_write_fails() {
    at_every_place(SimDisk::fail_write);
}

#[test]
fn the_disk_is_full() {
    let mut full = 0;
    for spare in (0..6_000).step_by(200) {
        full += u32::from(survives(spare, |disk| {
            disk.set_capacity(Some(disk.used_bytes() + spare));
        }));
    }
    assert!(full > 3, "{full} times the disk was full");
}

#[test]
fn a_folder_that_is_open_is_not_opened_twice() {
    let (disk, store) = sample(1);
    let second = open(&disk);
    assert!(matches!(second, Err(Error::Broken { .. })), "it is locked");
    drop(store);
    check(&open(&disk).expect("it opens"), 3);
}

fn bytes_of(disk: &SimDisk, path: &Path) -> io::Result<u64> {
    disk.open(path, Open::Read)?.len()
}

fn files_of(disk: &SimDisk) -> Vec<(PathBuf, u64)> {
    let files = disk.list(Path::new(DIR)).expect("it can be listed").into_iter();
    let files = files.filter(|path| !path.ends_with("lock"));
    files.map(|path| (path.clone(), bytes_of(disk, &path).expect("it is there"))).collect()
}

/// A damaged store may refuse, but never answers wrongly, and `verify` names the damage.
fn check_damaged(disk: &SimDisk, what: &str) {
    let report = verify(disk, Path::new(DIR)).expect("it can be listed");
    assert!(!report.damages.is_empty(), "{what} was not found");
    match open(disk).and_then(|store| ask(&store)) {
        Ok(answer) => assert_eq!(answer.rows.len() as u64, 4 * ADS, "{what}"),
        Err(Error::Broken { kind: BrokenKind::Damaged, .. }) => {}
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (disk, store) = sample(5);
    store.persist().expect("the disk is sound");
    drop(store);
    let mut flips = 0;
    for (path, bytes) in files_of(&disk) {
        for byte in 0..bytes {
            let disk = disk.fork();
            disk.flip(&path, byte, u8::try_from(byte % 8).expect("below 8"));
            check_damaged(&disk, &format!("byte {byte} of {}", path.display()));
            flips += 1;
        }
    }
    eprintln!("{flips} flips found");
    assert!(flips > 1_000);
}

#[test]
fn every_short_or_missing_file_is_found() {
    let (disk, store) = sample(6);
    store.persist().expect("the disk is sound");
    drop(store);
    let files = files_of(&disk);
    for (path, bytes) in &files {
        for length in (0..*bytes).step_by(7) {
            let disk = disk.fork();
            disk.cut_file(path, length);
            check_damaged(&disk, &format!("{} cut to {length} bytes", path.display()));
        }
        if !path.to_string_lossy().contains("manifest") {
            let disk = disk.fork();
            disk.remove(path).expect("it is there");
            check_damaged(&disk, &format!("{} removed", path.display()));
        }
    }
    assert!(files.len() > 5, "{} files", files.len());
}
