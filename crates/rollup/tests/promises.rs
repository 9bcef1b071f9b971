//! The own-files engine keeps the promises of the seam: on a real disk, and on one that loses power
//! each time a store is dropped, so that nothing counts as durable that has not been synced.

use std::path::PathBuf;
use std::sync::Arc;

use reckon_disk::{Disk, RealDisk, SimDisk, TempDir};
use reckon_rollup::conformance::{Engine, PROMISES};
use reckon_rollup::files::{Filling, Merging};
use reckon_rollup::{Dimensions, Files, Options, RollupStore};

struct OnDisk<F: Fn()> {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    before_open: F,
}

impl<F: Fn()> Engine for OnDisk<F> {
    fn open(&self) -> Arc<dyn RollupStore> {
        (self.before_open)();
        let disk = Arc::clone(&self.disk);
        Arc::new(Files::open(disk, &self.dir, self.options.clone()).expect("it opens"))
    }

    fn open_with_detail_only(&self) -> Arc<dyn RollupStore> {
        (self.before_open)();
        let mut options = self.options.clone();
        options
            .cubes
            .retain(|cube| cube.dimensions == Dimensions::ALL && cube.filling == Filling::AtOnce);
        assert_eq!(options.cubes.len(), 2, "by minute and by second");
        let disk = Arc::clone(&self.disk);
        Arc::new(Files::open(disk, &self.dir, options).expect("it opens"))
    }
}

#[test]
fn every_promise_is_kept_on_a_real_disk() {
    for (name, promise) in PROMISES {
        eprintln!("{name}");
        let folder = TempDir::new("rollup-promises");
        let dir = folder.path().join("rollup");
        let options = Options::default();
        promise(&OnDisk { disk: Arc::new(RealDisk), dir, options, before_open: || () });
    }
}

#[test]
fn every_promise_is_kept_through_power_cuts() {
    for (seed, (name, promise)) in (0..).zip(PROMISES) {
        eprintln!("{name}");
        let disk = SimDisk::new(seed);
        let handle = disk.clone();
        let before_open = move || handle.crash(seed);
        let merging = if seed % 2 == 0 { Merging::Thread } else { Merging::Inline };
        let options = Options { hot_rows_max: 40, fan_in: 2, merging, ..Options::default() };
        let dir = PathBuf::from("/data/rollup");
        promise(&OnDisk { disk: Arc::new(disk), dir, options, before_open });
    }
}
