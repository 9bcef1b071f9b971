//! The promises of a feature store, kept by the one in memory, on the machine's disk and on a
//! simulated one that loses power; and what is its own: damage, and bounds.

#![expect(clippy::print_stdout, reason = "tests say what they compared")]

use std::path::Path;
use std::sync::Arc;

use reckon_disk::{Disk, Open, RealDisk, SimDisk, TempDir};
use reckon_event::{Applied, Timestamp};
use reckon_feature::conformance::{self, Subject, ad, epoch};
use reckon_feature::memory::Options;
use reckon_feature::{FeatureStore, Memory, Step, Update};

struct OnDisk {
    disk: Arc<dyn Disk>,
    dir: TempDir,
}

impl Subject for OnDisk {
    fn open(&mut self) -> Arc<dyn FeatureStore> {
        Arc::new(open(&self.disk, self.dir.path(), Options::default()))
    }
}

fn open(disk: &Arc<dyn Disk>, dir: &Path, options: Options) -> Memory {
    let (memory, damage) = Memory::open(Arc::clone(disk), dir, options).expect("it opens");
    assert_eq!(damage, None);
    memory
}

#[test]
fn memory_keeps_every_promise() {
    let checked = conformance::all(&mut || {
        Box::new(OnDisk { disk: Arc::new(RealDisk), dir: TempDir::new("features") })
    });
    println!("memory: {checked} promises checked");
}

/// Steps of epoch `number`: ad `number` and ad 0 are shown.
fn show(store: &Memory, number: u64) -> Applied {
    let epoch = epoch(number, 1);
    let at = Timestamp::from_seconds(i64::try_from(number).expect("small"));
    let steps = [u128::from(number), 0].map(|key| (ad(key), Step::Impression, at)).to_vec();
    store.apply(&epoch, Update { steps, bounds: epoch.bounds.clone() }).expect("taken")
}

#[test]
fn a_power_cut_at_any_sync_leaves_a_persisted_state() {
    let dir = Path::new("/features");
    let mut compared = 0;
    for seed in 0..200 {
        let sim = SimDisk::new(seed);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let store = open(&disk, dir, Options::default());
        sim.cut_power_at_sync(1 + seed % 97);
        let (mut number, mut kept) = (0, 0);
        while sim.has_power() {
            number += 1;
            show(&store, number);
            if store.persist().is_ok() {
                kept = number;
            }
        }
        drop(store);
        sim.crash(seed);
        let store = open(&disk, dir, Options::default());
        // The write that power failed in may have been finished, but nothing less was promised.
        let persisted = store.marks().persisted.unwrap_or(0);
        assert!(persisted == kept || persisted == number, "seed {seed}: {persisted}, not {kept}");
        assert_eq!(store.len() as u64, if persisted == 0 { 0 } else { persisted + 1 });
        compared += persisted;
    }
    assert!(compared > 0);
    println!("200 power cuts, {compared} epochs found again");
}

#[test]
fn damage_is_told_and_the_store_begins_anew() {
    let (disk, dir): (Arc<dyn Disk>, _) = (Arc::new(RealDisk), TempDir::new("features"));
    let store = open(&disk, dir.path(), Options::default());
    for number in 1..=3 {
        show(&store, number);
        store.persist().expect("durable");
    }
    drop(store);
    let path = disk.list(dir.path()).expect("a folder").pop().expect("a file");
    let file = disk.open(&path, Open::Write).expect("a file");
    file.write_at(&[0xff], 30).expect("damaged");
    let (store, damage) =
        Memory::open(Arc::clone(&disk), dir.path(), Options::default()).expect("it opens");
    assert!(damage.expect("told").contains("is damaged"));
    assert!(store.is_empty());
    assert_eq!(show(&store, 4), Applied::Fresh);
    store.persist().expect("durable");
    drop(store);
    assert_eq!(open(&disk, dir.path(), Options::default()).len(), 2, "ad 4 and ad 0");
}

#[test]
fn those_longest_without_an_event_are_let_go() {
    let (disk, dir): (Arc<dyn Disk>, _) = (Arc::new(RealDisk), TempDir::new("features"));
    let store = open(&disk, dir.path(), Options { entities_max: 100 });
    for number in 1..=1_000 {
        show(&store, number);
    }
    assert!((85..=100).contains(&store.len()), "{} are kept", store.len());
}
