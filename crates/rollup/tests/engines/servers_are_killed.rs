//! The server is killed at random moments, between rows and marker among them, and started on what it has
//! left. A store of a higher generation finds every epoch that was persisted, none twice and none in part;
//! and a store that lives through it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reckon_event::Deltas;
use reckon_rollup::clickhouse::{ClickHouse, Compacting, Options};
use reckon_rollup::{BrokenKind, Error, RollupStore};

use crate::requests_are_cut::{Fate, Proxy, history};
use crate::servers::{Database, Server, each_server};
use crate::twins::{Compared, OwnFiles, all_the_same, epoch, sums_are_the_same};

/// Impatient, so that a server that is gone is noticed soon.
fn options(database: &Database) -> Options {
    Options {
        fan_in: 2,
        compacting: Compacting::Thread,
        attempts_max: 1,
        deadline: Duration::from_secs(20),
        ..database.options()
    }
}

/// Epochs over and over: the same cells again, so that sums tell how often each was counted.
fn epochs(count: usize) -> Vec<Deltas> {
    history().into_iter().cycle().take(count).collect()
}

/// Hands epochs over until the server is gone; tells how far it was persisted.
fn feed(store: &ClickHouse, generation: u32, epochs: &[Deltas], persisted: &AtomicU64) {
    let first = store.marks().applied.unwrap_or(0);
    for (number, deltas) in (1..).zip(epochs).skip(usize::try_from(first).expect("few")) {
        let applied = store.apply(&epoch(generation, number), deltas);
        match applied.and_then(|_| store.persist()) {
            Ok(number) => persisted.store(number, Ordering::Release),
            Err(Error::Broken { kind: BrokenKind::Io, .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Kills the server after so many more markers; some milliseconds later each time.
fn kill_after(
    server: &Server,
    (persisted, is_over): (&AtomicU64, impl Fn() -> bool),
    markers: u64,
    round: u64,
) {
    let from = persisted.load(Ordering::Acquire);
    while persisted.load(Ordering::Acquire) < from + markers {
        assert!(!is_over(), "markers fail before the server is killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(round * 7 % 23));
    server.kill();
}

#[test]
fn at_random_moments() {
    const ROUNDS: u64 = 5;
    each_server(|server| {
        let (database, epochs) = (Database::new(server), epochs(400));
        let persisted = Arc::new(AtomicU64::new(0));
        let mut compared = Compared::default();
        for round in 0..ROUNDS {
            let store = ClickHouse::open(options(&database)).expect("it opens");
            let found = store.marks().applied.unwrap_or(0);
            let told = persisted.load(Ordering::Acquire);
            assert!((told..=told + 1).contains(&found), "{found} is there, {told} was persisted");
            let known = usize::try_from(found).expect("few");
            let files = OwnFiles::of(&options(&database), &epochs[..known]);
            match round + 1 == ROUNDS {
                false => sums_are_the_same(&store, &files.store, &mut compared),
                true => all_the_same(&store, &files.store, &mut compared),
            }
            let generation = u32::try_from(round).expect("few") + 1;
            std::thread::scope(|scope| {
                let fed = scope.spawn(|| feed(&store, generation, &epochs, &persisted));
                kill_after(server, (&persisted, || fed.is_finished()), 4 + round, round);
                fed.join().expect("only the server dies");
            });
            drop(store);
            server.again();
        }
        let reached = persisted.load(Ordering::Acquire);
        eprintln!("{}: killed {ROUNDS} times in {reached} markers; {compared:?}", server.name);
        assert!(reached > ROUNDS * 4 && reached < 400 && compared.answers > 50);
    });
}

/// The rows of an epoch are there, its marker is not: killed in between.
#[test]
fn between_rows_and_marker() {
    each_server(|server| {
        let (database, epochs) = (Database::new(server), history());
        let killed = server.clone();
        let markers = AtomicU64::new(0);
        let proxy = Proxy::new(server, move |_, text| {
            let is_marker = text.contains("INTO") && text.contains("commits");
            // The first one takes over an empty database.
            if is_marker && markers.fetch_add(1, Ordering::AcqRel) == 3 {
                killed.kill();
                return Fate::CutBefore;
            }
            Fate::Passes
        });
        let through = Options {
            url: proxy.url.clone(),
            compacting: Compacting::Inline,
            fan_in: 9,
            ..options(&database)
        };
        let persisted = AtomicU64::new(0);
        let store = ClickHouse::open(through).expect("it opens");
        feed(&store, 1, &epochs, &persisted);
        drop(store);
        server.again();
        assert_eq!(database.runs(), 3, "the third run is there");
        assert_eq!(database.named_runs(), 2, "and nobody names it");
        let mut compared = Compared::default();
        let direct = Options { compacting: Compacting::Inline, ..options(&database) };
        let store = ClickHouse::open(direct.clone()).expect("it opens");
        all_the_same(&store, &OwnFiles::of(&direct, &epochs[..2]).store, &mut compared);
        feed(&store, 2, &epochs, &persisted);
        assert_eq!(store.marks().persisted, Some(8));
        all_the_same(&store, &OwnFiles::of(&direct, &epochs).store, &mut compared);
        assert_eq!(database.runs(), database.named_runs());
    });
}

/// The store lives on: markers fail while the server is gone, and are made up for when it is back.
#[test]
fn a_store_outlives_its_server() {
    each_server(|server| {
        let (database, epochs) = (Database::new(server), history());
        let options = options(&database);
        let store = ClickHouse::open(options.clone()).expect("it opens");
        let files = OwnFiles::of(&options, &epochs[..3]);
        for number in 1..=2 {
            store.apply(&epoch(1, number), &epochs[number as usize - 1]).expect("it follows");
        }
        store.persist().expect("the server is there");
        server.kill();
        store.apply(&epoch(1, 3), &epochs[2]).expect("memory takes it");
        for _ in 0..2 {
            let refused = store.persist();
            assert!(
                matches!(refused, Err(Error::Broken { kind: BrokenKind::Io, .. })),
                "{refused:?}"
            );
            assert_eq!(store.marks().persisted, Some(2));
        }
        server.again();
        all_the_same(&store, &files.store, &mut Compared::default());
        assert_eq!(store.persist().expect("the server is back"), 3);
        all_the_same(&store, &files.store, &mut Compared::default());
    });
}

/// Rows that are missing are told, not left out of a sum.
#[test]
fn a_run_that_is_lost_is_told() {
    each_server(|server| {
        let (database, epochs) = (Database::new(server), history());
        let options = Options { fan_in: 9, compacting: Compacting::Inline, ..options(&database) };
        let store = ClickHouse::open(options.clone()).expect("it opens");
        for number in 1..=3 {
            store.apply(&epoch(1, number), &epochs[number as usize - 1]).expect("it follows");
            store.persist().expect("the server is there");
        }
        drop(store);
        let run = database.ask("SELECT max(run) FROM {db}.rows");
        database.ask(&format!("ALTER TABLE {{db}}.rows DROP PARTITION {}", run.trim()));
        let Err(Error::Broken { kind: BrokenKind::Damaged, source, .. }) =
            ClickHouse::open(options)
        else {
            panic!("a run is missing")
        };
        assert!(source.to_string().contains("fill a new database"), "{source}");
    });
}
