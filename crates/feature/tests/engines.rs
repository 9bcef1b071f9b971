//! The promises of a feature store, kept by the one on a Redis Cluster of real servers; and what only
//! it can get wrong: a master that dies, scripts that are forgotten, slots that move, a node that has
//! lost what it had, two counters at once.
//!
//! The store in this process is the judge: whatever the cluster goes through, both have the same
//! counters, to the last bit.

#![expect(clippy::print_stdout, reason = "tests say what they compared")]

mod cluster;
mod histories;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use reckon_disk::SimDisk;
use reckon_event::{Applied, Bound, Epoch, TenantId, Timestamp};
use reckon_feature::conformance::{self, Subject, ad, epoch};
use reckon_feature::redis::Options;
use reckon_feature::{
    Counters, Entity, EntityKind, Error, FeatureStore, Memory, Read, Redis, Step, Update,
};

use self::cluster::Cluster;

/// One at a time: some do things to the cluster that all others would feel.
static TURN: Mutex<()> = Mutex::new(());

/// The cluster, and the turn to use it.
struct Bench {
    cluster: Cluster,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        let _turn = TURN.lock();
        Bench { cluster: Cluster::whole(), _turn }
    }

    /// A namespace that nobody has used.
    fn prefix(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("test-{}-{next}:", std::process::id())
    }

    fn options(&self, prefix: &str) -> Options {
        Options {
            prefix: prefix.to_owned(),
            // Servers, stores and tests share few cores.
            read_deadline: Duration::from_secs(20),
            write_deadline: Duration::from_secs(60),
            replica_wait: Duration::from_secs(2),
            ..Options::new(&self.cluster.nodes)
        }
    }

    fn open(&self, prefix: &str) -> Redis {
        let (store, lost) = Redis::open(self.options(prefix)).expect("it opens");
        assert_eq!(lost, None);
        store
    }

    /// A fresh store, and the judge.
    fn pair(&self) -> (Redis, Memory, String) {
        let prefix = self.prefix();
        let redis = self.open(&prefix);
        redis.begin_anew().expect("begun");
        (redis, memory(), prefix)
    }
}

fn memory() -> Memory {
    let disk = Arc::new(SimDisk::new(1));
    let opened = Memory::open(disk, Path::new("/features"), Default::default());
    opened.expect("it opens").0
}

/// A store that is opened again and again, with the same options.
struct OnCluster(Options);

impl Subject for OnCluster {
    fn open(&mut self) -> Arc<dyn FeatureStore> {
        let (store, lost) = Redis::open(self.0.clone()).expect("it opens");
        assert_eq!(lost, None);
        Arc::new(store)
    }
}

fn read(store: &dyn FeatureStore, entities: &[Entity]) -> Read {
    conformance::block_on(store.read(entities)).expect("a read")
}

fn shown(number: u64, generation: u32, entities: &[Entity]) -> (Epoch, Update) {
    let epoch = epoch(number, generation);
    let at = Timestamp::from_seconds(1_000 + i64::try_from(number).expect("small"));
    let steps = entities.iter().map(|&entity| (entity, Step::Impression, at)).collect();
    let update = Update { steps, bounds: epoch.bounds.clone() };
    (epoch, update)
}

/// Hands the same epoch to both.
fn give(redis: &Redis, memory: &Memory, number: u64, entities: &[Entity]) {
    let (epoch, update) = shown(number, 1, entities);
    memory.apply(&epoch, update.clone()).expect("taken");
    assert_eq!(redis.apply(&epoch, update).expect("taken"), Applied::Fresh, "epoch {number}");
}

/// Every bit of some counters.
fn bits(counters: Option<Counters>) -> Option<[u64; 8]> {
    let bits = |value: f32| u64::from(value.to_bits());
    counters.map(|counters| {
        [
            bits(counters.fast.impressions),
            bits(counters.fast.clicks),
            bits(counters.slow.impressions),
            bits(counters.slow.clicks),
            counters.at.0 as u64,
            counters.clicked.0 as u64,
            counters.minute.into(),
            counters.in_minute.into(),
        ]
    })
}

/// Both say the same of these entities, at the same cut; tells of how many anything is known.
#[track_caller]
fn same(redis: &Redis, memory: &Memory, entities: &[Entity]) -> usize {
    let (left, right) = (read(redis, entities), read(memory, entities));
    assert_eq!(left.cut, right.cut, "the cut");
    for ((entity, left), right) in entities.iter().zip(left.counters).zip(&right.counters) {
        assert_eq!(bits(left), bits(*right), "{entity:?}");
    }
    right.counters.iter().flatten().count()
}

fn ads(keys: std::ops::Range<u128>) -> Vec<Entity> {
    keys.map(ad).collect()
}

#[test]
fn redis_keeps_every_promise() {
    let bench = Bench::new();
    let checked = conformance::all(&mut || {
        let (.., prefix) = bench.pair();
        Box::new(OnCluster(bench.options(&prefix)))
    });
    println!("redis: {checked} promises checked");
}

#[test]
fn any_history_is_the_one_in_memory() {
    let bench = Bench::new();
    let compared = histories::check(&bench, 24);
    assert!(compared > 1_000, "only {compared} counters were compared");
    println!("24 histories, {compared} counters the same to the last bit");
}

#[test]
fn a_master_dies_while_an_epoch_is_applied() {
    let bench = Bench::new();
    let (redis, memory, prefix) = bench.pair();
    let everyone = ads(0..3_000);
    let mut number = 0;
    for round in 0..3 {
        for _ in 0..3 {
            number += 1;
            give(&redis, &memory, number, &everyone);
        }
        redis.persist().expect("durable");
        let key = [format!("{prefix}features:mark"), format!("{prefix}ad:features:{:016x}", round)];
        let victim = bench.cluster.master_of(&key[usize::from(round > 0)]).port;
        let dead = std::thread::scope(|scope| {
            let killer = scope.spawn(|| bench.cluster.kill(victim));
            for _ in 0..8 {
                number += 1;
                give(&redis, &memory, number, &everyone);
            }
            killer.join().expect("killed")
        });
        assert_ne!(bench.cluster.master_of(&key[usize::from(round > 0)]).port, victim);
        assert_eq!(same(&redis, &memory, &everyone), 3_000, "after a failover");
        drop(dead);
        bench.cluster.await_whole();
        number += 1;
        give(&redis, &memory, number, &everyone);
    }
    assert_eq!(redis.status().losses, 0, "{:?}", redis.status());
    drop(redis);
    let redis = bench.open(&prefix);
    assert_eq!(redis.marks().applied, number, "what was applied is found again");
    same(&redis, &memory, &everyone);
    println!("3 masters died in {number} epochs of 3,000 entities: every counter the same");
}

/// The counter's process ends while an epoch is half written, and a master dies with it. The next
/// process goes on from the last persisted mark.
#[test]
fn a_counter_and_a_master_die_together() {
    let bench = Bench::new();
    let (redis, memory, prefix) = bench.pair();
    let everyone = ads(0..3_000);
    for number in 1..=5 {
        give(&redis, &memory, number, &everyone);
    }
    redis.persist().expect("durable");
    drop(redis);
    // Cut off at any place: the deadline passes while entities are being written.
    let options =
        Options { write_deadline: Duration::from_millis(1_500), ..bench.options(&prefix) };
    let (hasty, _) = Redis::open(options).expect("it opens");
    let victim = bench.cluster.master_of(&format!("{prefix}features:mark")).port;
    let _dead = bench.cluster.kill(victim);
    let (epoch, update) = shown(6, 1, &everyone);
    let cut_off = hasty.apply(&epoch, update);
    assert!(matches!(cut_off, Err(Error::Failed { .. })), "{cut_off:?}");
    drop(hasty);
    let redis = bench.open(&prefix);
    assert_eq!(redis.marks().persisted, Some(5));
    same(&redis, &memory, &everyone);
    for number in 4..=8 {
        let (epoch, update) = shown(number, 2, &everyone);
        memory.apply(&epoch, update.clone()).expect("taken");
        let applied = redis.apply(&epoch, update).expect("taken");
        assert_eq!(applied == Applied::Fresh, number > 5, "epoch {number}");
    }
    assert_eq!(same(&redis, &memory, &everyone), 3_000);
}

#[test]
fn forgotten_scripts_are_loaded_again() {
    let bench = Bench::new();
    let (redis, memory, _) = bench.pair();
    let everyone = ads(0..500);
    for number in 1..=5 {
        for node in bench.cluster.masters() {
            bench.cluster.ask(node.port, &["script", "flush", "sync"]).expect("flushed");
        }
        give(&redis, &memory, number, &everyone);
    }
    assert!(redis.status().retries >= 5, "scripts were missing: {:?}", redis.status());
    assert_eq!(same(&redis, &memory, &everyone), 500);
}

#[test]
fn slots_move_while_everyone_reads_and_writes() {
    let bench = Bench::new();
    let (redis, memory, _) = bench.pair();
    let everyone = ads(0..400);
    let masters = bench.cluster.masters();
    let (first, second) = (&masters[0], &masters[1]);
    let is_over = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    let mut number = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&is_over);
            bench.cluster.reshard(first, second, 300);
            bench.cluster.reshard(second, first, 300);
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                one_cut(&read(&redis, &everyone));
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        while !is_over.load(Ordering::Acquire) {
            number += 1;
            give(&redis, &memory, number, &everyone);
        }
    });
    assert_eq!(same(&redis, &memory, &everyone), 400);
    assert_eq!(redis.status().losses, 0, "{:?}", redis.status());
    let reads = reads.into_inner();
    assert!(number > 0 && reads > 0);
    println!(
        "600 slots moved during {number} epochs and {reads} reads: each of one cut, all the same"
    );
}

/// Says that something is over, however it ended.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Everyone in the read was shown in every epoch: all have the same counters, those of the cut.
fn one_cut(read: &Read) {
    let seen = read.cut.first().map_or(0, |offset| offset / 10);
    for counters in &read.counters {
        let at = counters.map_or(0, |counters| counters.at.seconds() - 1_000);
        assert_eq!(u64::try_from(at), Ok(seen), "as of epoch {seen}");
        assert_eq!(bits(*counters), bits(read.counters[0]));
    }
}

#[test]
fn a_node_that_has_lost_everything_is_seen() {
    let bench = Bench::new();
    let (redis, memory, prefix) = bench.pair();
    let everyone = ads(0..300);
    for number in 1..=3 {
        give(&redis, &memory, number, &everyone);
    }
    let mark = bench.cluster.master_of(&format!("{prefix}features:mark")).port;
    let masters = bench.cluster.masters();
    let other = masters.iter().find(|node| node.port != mark).expect("three masters").port;
    let mut number = 4;
    for (losses, port) in [(1, other), (2, mark)] {
        bench.cluster.ask(port, &["flushall"]).expect("flushed");
        let anew = self::memory();
        for _ in 0..3 {
            give(&redis, &anew, number, &everyone);
            number += 1;
        }
        assert_eq!(same(&redis, &anew, &everyone), 300, "as one that was fed from there on");
        let status = redis.status();
        assert_eq!(status.losses, losses, "{status:?}");
        println!("told: {}", status.lost.expect("what was lost"));
    }
    drop(redis);
    bench.cluster.ask(other, &["flushall"]).expect("flushed");
    let (redis, lost) = Redis::open(bench.options(&prefix)).expect("it opens");
    assert!(lost.expect("told at once").contains("tells of nothing"));
    assert_eq!((redis.marks().applied, redis.marks().persisted), (0, None));
    assert_eq!(read(&redis, &everyone).counters, vec![None; 300]);
}

#[test]
fn a_store_behind_the_checkpoint_begins_anew() {
    let bench = Bench::new();
    let (redis, memory, prefix) = bench.pair();
    for number in 1..=3 {
        give(&redis, &memory, number, &ads(0..3));
    }
    drop(redis);
    for (checkpoint, is_lost) in [(3, false), (4, true)] {
        let options = Options { checkpoint, ..bench.options(&prefix) };
        let (redis, lost) = Redis::open(options).expect("it opens");
        assert_eq!(lost.is_some(), is_lost, "{lost:?}");
        assert_eq!(redis.marks().persisted, (!is_lost).then_some(3));
    }
}

/// Two counters with the same lease, as after a start that was too early: each epoch counts once.
#[test]
fn two_counters_at_once_count_once() {
    let bench = Bench::new();
    let (one, memory, prefix) = bench.pair();
    let other = bench.open(&prefix);
    let everyone = ads(0..200);
    for number in 1..=20 {
        let (epoch, update) = shown(number, 1, &everyone);
        memory.apply(&epoch, update.clone()).expect("taken");
        std::thread::scope(|scope| {
            for store in [&one, &other] {
                let (epoch, update) = (&epoch, update.clone());
                scope.spawn(move || store.apply(epoch, update).expect("taken"));
            }
        });
        same(&one, &memory, &everyone);
        same(&other, &memory, &everyone);
    }
}

#[test]
fn a_counter_that_wakes_up_late_is_turned_away() {
    let bench = Bench::new();
    let (old, memory, prefix) = bench.pair();
    let everyone = ads(0..100);
    give(&old, &memory, 1, &everyone);
    let new = bench.open(&prefix);
    for number in 2..=3 {
        let (epoch, update) = shown(number, 2, &everyone);
        memory.apply(&epoch, update.clone()).expect("taken");
        new.apply(&epoch, update).expect("taken");
    }
    for number in [2, 4] {
        let (epoch, update) = shown(number, 1, &everyone);
        let late = old.apply(&epoch, update);
        assert!(matches!(late, Err(Error::Fenced(2))), "epoch {number}: {late:?}");
    }
    same(&new, &memory, &everyone);
    same(&old, &memory, &everyone);
}

/// Somebody deletes counters while another process computes the next ones from them.
#[test]
fn who_is_forgotten_meanwhile_does_not_come_back() {
    let bench = Bench::new();
    let (counter, memory, prefix) = bench.pair();
    let eraser = bench.open(&prefix);
    let everyone = ads(0..2_000);
    let (mut gone, mut anew) = (0, 0);
    for round in 0..10 {
        give(&counter, &memory, 2 * round + 1, &everyone);
        let (epoch, update) = shown(2 * round + 2, 1, &everyone);
        memory.apply(&epoch, update.clone()).expect("taken");
        std::thread::scope(|scope| {
            scope.spawn(|| counter.apply(&epoch, update).expect("taken"));
            for some in everyone.chunks(100) {
                eraser.forget(some).expect("forgotten");
            }
        });
        // Forgotten before its new version was written, or after: what was before is in neither.
        for counters in read(&counter, &everyone).counters {
            let known = counters.map(|counters| counters.slow.impressions);
            assert!(known.is_none_or(|impressions| impressions == 1.0), "{round}: {known:?}");
            gone += u32::from(known.is_none());
            anew += u32::from(known.is_some());
        }
    }
    println!("forgotten while an epoch came: {gone} after it, {anew} before");
}

#[test]
fn anyone_can_read_the_fields() {
    let bench = Bench::new();
    let (redis, _, prefix) = bench.pair();
    let epoch = epoch(1, 1);
    let at = Timestamp::parse("2026-03-14T10:05:00Z").expect("a time");
    let later = at.plus(90 * Timestamp::MINUTE);
    let steps = vec![(ad(0xab), Step::Impression, at), (ad(0xab), Step::Click, later)];
    redis.apply(&epoch, Update { steps, bounds: epoch.bounds.clone() }).expect("taken");
    let key = format!("{prefix}ad:features:00000000000000ab");
    let field = |name: &str| bench.cluster.ask_any(&["hget", &key, name]);
    let expect = [
        ("fast_impressions", "0.3535533845424652"),
        ("fast_clicks", "1.0"),
        ("slow_clicks", "1.0"),
        ("at", &later.0.to_string()),
        ("clicked", &later.0.to_string()),
        ("_updated_at", "2026-03-14T11:35:00Z"),
        ("_epoch", "1"),
    ];
    for (name, value) in expect {
        assert_eq!(field(name), value, "{name}");
    }
    let found = read(&redis, &[ad(0xab)]).counters[0].expect("it is there");
    let told: f64 = field("slow_impressions").parse().expect("a decimal");
    assert_eq!(told.to_bits(), f64::from(found.slow.impressions).to_bits(), "to the last bit");
    let (epoch, update) = shown(2, 1, &[ad(0xab)]);
    redis.apply(&epoch, update).expect("taken");
    assert_eq!(bench.cluster.ask_any(&["object", "encoding", &key]), "listpack", "one block");
    println!("an entity takes {} bytes", bench.cluster.ask_any(&["memory", "usage", &key]));
    let lives: u32 = bench.cluster.ask_any(&["ttl", &key]).parse().expect("seconds");
    assert!((69_000..=103_680).contains(&lives), "{lives} s");
}

#[test]
fn values_at_the_limits_come_back() {
    let bench = Bench::new();
    let (redis, memory, _) = bench.pair();
    let entity = |tenant, kind, key| Entity { tenant: TenantId(tenant), kind, key };
    let kinds = [EntityKind::Tenant, EntityKind::User, EntityKind::Ad, EntityKind::Campaign];
    let entities: Vec<_> = [0, 1, u32::MAX]
        .into_iter()
        .flat_map(|tenant| kinds.map(|kind| entity(tenant, kind, u128::MAX)))
        .collect();
    let times = [i64::MIN, 0, 1, Timestamp::MAX.0, i64::MAX];
    for (at, number) in times.into_iter().zip(u64::MAX - 5..) {
        let bound = Bound { partition: 1_023, from: number - 1, to: number };
        let epoch = Epoch { stage: 1, group: 0, generation: u32::MAX, number, bounds: vec![bound] };
        let steps = entities.iter().flat_map(|&entity| {
            [Step::Impression, Step::Click].map(|step| (entity, step, Timestamp(at)))
        });
        let update = Update { steps: steps.collect(), bounds: epoch.bounds.clone() };
        memory.apply(&epoch, update.clone()).expect("taken");
        redis.apply(&epoch, update).expect("taken");
        assert_eq!(same(&redis, &memory, &entities), 12, "at {at}");
    }
}

#[test]
fn errors_name_the_engine_the_address_and_the_fix() {
    let bench = Bench::new();
    let (redis, _, prefix) = bench.pair();
    let (epoch, update) = shown(1, 1, &[ad(1)]);
    redis.apply(&epoch, update).expect("taken");
    let key = format!("{prefix}ad:features:0000000000000001");
    bench.cluster.ask_any(&["hset", &key, "_now", "many"]);
    let found = conformance::block_on(redis.read(&[ad(1)])).expect_err("damaged");
    let told = found.to_string();
    for part in ["redis at 127.0.0.1", "_now", &key, "delete the key"] {
        assert!(told.contains(part), "{part} is missing: {told}");
    }
    let nobody = Redis::open(Options::new("127.0.0.1:1")).err().expect("nobody is there");
    assert!(nobody.to_string().contains("redis at 127.0.0.1:1"), "{nobody}");
    let options = Options { prefix: "a{b}".to_owned(), ..bench.options("") };
    let refused = Redis::open(options).err().expect("it would change slots");
    assert!(refused.to_string().contains("prefix"), "{refused}");
}

/// How long reads take, alone and while counting goes on: figures to look at, nothing is asserted of
/// them.
#[test]
fn hot_reads_are_measured() {
    let bench = Bench::new();
    let (redis, memory, _) = bench.pair();
    let user = |key| Entity { tenant: TenantId::DEFAULT, kind: EntityKind::User, key };
    let everyone: Vec<_> = ads(0..2_000).into_iter().chain((0..1_000).map(user)).collect();
    give(&redis, &memory, 1, &everyone);
    let measure = |when: &str| {
        for (ads_count, rounds) in [(50, 4_000), (1_000, 400)] {
            let mut took = Vec::new();
            for round in 0..rounds {
                let first = round % 1_000;
                let entities: Vec<_> =
                    ads(first..first + ads_count).into_iter().chain([user(first)]).collect();
                let began = Instant::now();
                let found = read(&redis, &entities);
                took.push(began.elapsed());
                assert_eq!(found.counters.iter().flatten().count(), entities.len());
            }
            println!("reading 1 user and {ads_count} ads, {when}: {}", percentiles(&mut took));
        }
    };
    measure("alone");
    let is_over = AtomicBool::new(false);
    let (mut applied, mut epochs) = (Vec::new(), 1);
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                epochs += 1;
                let began = Instant::now();
                give(&redis, &memory, epochs, &ads(0..200));
                applied.push(began.elapsed());
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        measure("an epoch of 200 ads each 50 ms");
    });
    println!("applying an epoch of 200 ads: {}", percentiles(&mut applied));
    let everyone = ads(0..50_000);
    let began = Instant::now();
    give(&redis, &memory, epochs + 1, &everyone);
    println!("applying an epoch of 50,000 ads: {:?}", began.elapsed());
}

fn percentiles(took: &mut [Duration]) -> String {
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    format!("p50 {:?}, p99 {:?}, {} times", at(50), at(99), took.len())
}
