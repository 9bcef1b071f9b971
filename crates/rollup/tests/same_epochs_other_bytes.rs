//! The same epochs and the same markers give the same files, byte for byte, whatever order the hash
//! tables had, wherever the process was restarted, and whoever asked questions in between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_disk::{Disk, SimDisk, read_all};
use reckon_event::{Cell, Currency, Deltas, Epoch, Kind, Measure, TenantId, Timestamp, Verdict};
use reckon_rollup::files::{Merging, verify};
use reckon_rollup::{Dimension, Files, Granularity, Options, Query, RollupStore};

const DIR: &str = "/data/rollup";
const START: i64 = 1_795_255_200;

/// What a run is disturbed by. None of it may show in the files.
#[derive(Clone, Copy)]
struct Disturbed {
    segment_rows: usize,
    backwards: bool,
    asking: bool,
    reopening: bool,
    merging: Merging,
}

/// 400 cells from a fixed sequence, in fresh hash tables with seeds of their own.
fn deltas(number: u64, backwards: bool) -> Deltas {
    let mut cells: Vec<(Cell, Measure)> = (0..400u64)
        .map(|n| {
            let noise = (number * 400 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let minute = i64::try_from(number * 11 % 3_000).expect("small");
            let cell = Cell {
                second: START + minute * 60 + i64::try_from(noise >> 59).expect("small"),
                tenant: TenantId(1),
                ad: (noise >> 40) % 500,
                campaign: (noise >> 40) % 500 / 7,
                region: 0,
                device: 0,
                placement: noise >> 20 & 3,
                position: 0,
                kind: if noise & 1 == 0 { Kind::Click } else { Kind::Impression },
                verdict: Verdict::Counted,
                currency: Currency::EUR,
            };
            (cell, Measure { count: 1, spend: 100 })
        })
        .collect();
    if backwards {
        cells.reverse();
    }
    let mut deltas = Deltas::default();
    for name in ["DE", "NO", "FR"] {
        deltas.name(&format!("{name} {}", number / 10));
    }
    cells.into_iter().for_each(|(cell, measure)| deltas.add(cell, measure));
    deltas
}

fn open(disk: &SimDisk, Disturbed { segment_rows, merging, .. }: Disturbed) -> Files {
    let options = Options { fan_in: 3, segment_rows, merging, ..Options::default() };
    Files::open(Arc::new(disk.clone()), Path::new(DIR), options).expect("it opens")
}

/// The bytes of all files of runs and texts after 240 epochs and 60 markers.
fn files(disturbed: Disturbed) -> BTreeMap<PathBuf, Vec<u8>> {
    let disk = SimDisk::new(1);
    let mut store = open(&disk, disturbed);
    for number in 1..=240 {
        let epoch = Epoch { stage: 1, group: 0, generation: 1, number, bounds: Vec::new() };
        store.apply(&epoch, &deltas(number, disturbed.backwards)).expect("it follows");
        if disturbed.asking {
            let from = Timestamp::from_seconds(START);
            let to = from.plus(3 * Timestamp::DAY);
            let query = Query::new(TenantId(1), from, to, Granularity::Hour);
            let query = Query { group_by: vec![Dimension::Campaign], ..query };
            assert!(!store.query(&query).expect("it is sound").rows.is_empty());
        }
        if number % 4 == 0 {
            assert_eq!(store.persist().expect("the disk is sound"), number);
            if disturbed.reopening && number % 20 == 0 {
                drop(store);
                store = open(&disk, disturbed);
            }
        }
    }
    drop(store);
    // What a thread was in the middle of is no part of what is kept; opening removes it.
    drop(open(&disk, Disturbed { merging: Merging::Inline, ..disturbed }));
    let report = verify(&disk, Path::new(DIR)).expect("it can be listed");
    assert_eq!(report.damages, []);
    let paths = disk.list(Path::new(DIR)).expect("it can be listed").into_iter();
    // Manifests carry a number of their own, which an opening raises.
    let paths = paths.filter(|path| !path.to_string_lossy().contains("manifest"));
    paths
        .map(|path| {
            let bytes = read_all(&disk, &path).expect("it reads").expect("it is there");
            (path, bytes)
        })
        .collect()
}

#[test]
fn the_same_epochs_give_the_same_files() {
    let plain = Disturbed {
        segment_rows: 1 << 16,
        backwards: false,
        asking: false,
        reopening: false,
        merging: Merging::Inline,
    };
    let expect = files(plain);
    let bytes: usize = expect.values().map(Vec::len).sum();
    eprintln!("{} files of {bytes} bytes compared", expect.len());
    assert!(expect.len() > 10 && bytes > 100_000);
    let disturbances = [
        plain,
        Disturbed { backwards: true, ..plain },
        Disturbed { segment_rows: 37, ..plain },
        Disturbed { asking: true, reopening: true, ..plain },
        Disturbed { merging: Merging::Thread, ..plain },
        Disturbed { reopening: true, merging: Merging::Thread, ..plain },
    ];
    for disturbed in disturbances {
        let got = files(disturbed);
        assert!(got.keys().eq(expect.keys()), "the same files");
        for (path, bytes) in &expect {
            assert!(got[path] == *bytes, "{} differs", path.display());
        }
    }
}
