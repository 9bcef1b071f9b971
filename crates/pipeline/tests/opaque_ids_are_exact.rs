//! An opaque id is remembered exactly within its horizon, and disk and memory stay bounded.
//!
//! The story: a filter denies an id it holds, a merge loses one, an id of a strand that was silent for
//! a week is forgotten by the clock of others, or runs pile up for ever.

#![expect(clippy::print_stdout, reason = "the test tells how much it compared")]

#[path = "../../count/tests/traffic/mod.rs"]
#[expect(dead_code, reason = "only its generator of random numbers is used here")]
mod traffic;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use reckon_count::{FirstCopy, OpaqueKey, Policy, Strand};
use reckon_disk::{Disk, SimDisk};
use reckon_event::{Position, Slot, Timestamp, Topic};
use reckon_pipeline::OpaqueIds;
use traffic::Random;

const DIR: &str = "/ids";
const HORIZON: i64 = 7 * Timestamp::HOUR;
/// The last of them falls silent early on.
const STRANDS: [(u16, Topic); 4] =
    [(0, Topic::Impressions), (0, Topic::Clicks), (1_023, Topic::Events), (511, Topic::Clicks)];

struct World {
    random: Random,
    disk: SimDisk,
    ids: OpaqueIds,
    policy: Policy,
    now: Timestamp,
    clocks: BTreeMap<Strand, Timestamp>,
    /// Everything ever inserted.
    model: BTreeMap<(OpaqueKey, u64), FirstCopy>,
    keys: Vec<OpaqueKey>,
    offset: u64,
    /// What the last two checkpoints name.
    named: Vec<Vec<u8>>,
    /// What was inserted since the last of them.
    unsaved: Vec<(OpaqueKey, u64)>,
    found: u64,
    absent: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(Path::new(DIR)).expect("the disk works");
        World {
            random: Random::new(seed),
            ids: open(&disk, &[]),
            disk,
            policy: Policy { opaque_horizon: HORIZON, ..Policy::default() },
            now: Timestamp(1_795_255_200_000_000),
            clocks: BTreeMap::new(),
            model: BTreeMap::new(),
            keys: Vec::new(),
            offset: 0,
            named: vec![Vec::new()],
            unsaved: Vec::new(),
            found: 0,
            absent: 0,
        }
    }

    /// A record with an id, new or known: looks, compares, and inserts as the fold does.
    fn record(&mut self, strands: &[(u16, Topic)]) {
        let (slot, topic) = self.random.pick(strands);
        let strand = Strand { slot: Slot::new(slot).expect("below 1,024"), topic };
        let key = self.key(strand);
        self.offset += 1;
        self.now = self.now.plus(self.random.below(2 * Timestamp::SECOND as u64) as i64);
        let clock = self.clocks.entry(strand).or_default();
        *clock = (*clock).max(self.now);
        let position = Position { partition: 0, offset: self.offset };
        let is_kept = |copy: &FirstCopy| self.now.since(copy.received) < HORIZON;
        let expect = self.model.range((key, 0)..(key, self.offset)).next_back();
        let expect = expect.map(|(_, copy)| *copy).filter(is_kept);
        let got = self.ids.look(key, position).expect("the disk works").filter(is_kept);
        assert_eq!(got, expect, "{key:?} at {position:?}");
        if got.is_some() {
            self.found += 1;
            return;
        }
        self.absent += 1;
        let copy = FirstCopy { position, digest: self.random.next(), received: self.now };
        self.ids.insert(&[(key, copy)]);
        self.model.insert((key, self.offset), copy);
        self.unsaved.push((key, self.offset));
    }

    fn key(&mut self, strand: Strand) -> OpaqueKey {
        if !self.keys.is_empty() && self.random.percent(40) {
            let keys = &self.keys;
            let known = keys[self.random.below(keys.len() as u64) as usize];
            if known.strand() == Some(strand) {
                return known;
            }
        }
        let hash = u128::from(self.random.next()) | u128::from(self.random.next()) << 64;
        let key = OpaqueKey::new(strand, hash);
        self.keys.push(key);
        key
    }

    fn checkpoint(&mut self) {
        let clocks = &self.clocks;
        let names = self.ids.persist(&self.policy, &|strand| clocks.get(&strand).copied());
        self.named.push(names.expect("the disk works"));
        if self.named.len() > 2 {
            self.named.remove(0);
        }
        self.ids.remove_unnamed(self.named.iter().map(Vec::as_slice)).expect("the disk works");
        self.unsaved.clear();
    }

    /// What was not in a checkpoint is gone, and so is its place in the log: it will come again.
    fn crash(&mut self) {
        self.disk.crash(self.random.next());
        self.ids = open(&self.disk, self.named.last().expect("there is one"));
        self.ids.remove_unnamed(self.named.iter().map(Vec::as_slice)).expect("the disk works");
        for place in self.unsaved.drain(..) {
            self.model.remove(&place);
        }
    }

    fn live(&self) -> u64 {
        let is_kept = |key: OpaqueKey, copy: &FirstCopy| {
            self.clocks[&key.strand().expect("made of one")].since(copy.received) < HORIZON
        };
        self.model.iter().filter(|((key, _), copy)| is_kept(*key, copy)).count() as u64
    }
}

fn open(disk: &SimDisk, named: &[u8]) -> OpaqueIds {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    OpaqueIds::open(disk, Path::new(DIR), named).expect("the disk works")
}

#[test]
fn looks_agree_with_a_plain_map() {
    let (mut found, mut absent, mut merged) = (0, 0, 0);
    for seed in 0..6 {
        let mut world = World::new(seed);
        for round in 0..150 {
            let strands = if round < 20 { &STRANDS[..] } else { &STRANDS[..3] };
            for _ in 0..world.random.below(500) {
                world.record(strands);
            }
            match world.random.below(10) {
                0 => world.crash(),
                1..=7 => world.checkpoint(),
                _ => {}
            }
        }
        world.checkpoint();
        let (stats, live) = (world.ids.stats(), world.live());
        assert!(stats.on_disk >= live, "{stats:?} for {live} live ids");
        assert!(stats.on_disk < live * 2, "{stats:?} for {live} live ids");
        assert!(stats.runs < 60, "{stats:?}");
        let files = world.disk.list(Path::new(DIR)).expect("the disk works").len() as u64;
        assert!(files < stats.runs * 2 + 8, "{files} files for {stats:?}");
        world.record(&STRANDS[3..]);
        merged += stats.merged;
        found += world.found;
        absent += world.absent;
    }
    println!("{found} ids found, {absent} new, {merged} merged");
    assert!(found > 10_000 && absent > 10_000 && merged > 10_000);
}

#[test]
fn damage_is_told_and_never_an_answer() {
    let mut world = World::new(9);
    (0..400).for_each(|_| world.record(&STRANDS));
    world.checkpoint();
    let path = world.disk.list(Path::new(DIR)).expect("the disk works").remove(0);
    let named = world.named.last().expect("there is one").clone();
    let bytes = reckon_disk::read_all(&world.disk, &path).expect("readable").expect("there");
    let mut told = 0;
    for at in (0..bytes.len() as u64).step_by(7) {
        let disk = world.disk.fork();
        disk.flip(&path, at, (at % 8) as u8);
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let Ok(mut ids) = OpaqueIds::open(disk, Path::new(DIR), &named) else {
            told += 1;
            continue;
        };
        for (&(key, offset), copy) in &world.model {
            let position = Position { partition: 0, offset: offset + 1 };
            match ids.look(key, position) {
                Ok(got) => assert_eq!(got, Some(*copy), "byte {at}"),
                Err(_) => told += 1,
            }
        }
    }
    assert!(told > 1_000, "{told} damages told");
}
