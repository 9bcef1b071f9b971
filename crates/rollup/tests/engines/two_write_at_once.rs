//! Two stores are open on one database. The one of the higher generation writes; whatever the other one
//! does is refused at its marker and changes nothing, and a store that only reads follows.

use reckon_event::{Applied, Deltas};
use reckon_rollup::clickhouse::{ClickHouse, Options};
use reckon_rollup::{BrokenKind, Error, Metric, Refusal, RollupStore};

use crate::requests_are_cut::history;
use crate::servers::{Database, each_server};
use crate::twins::{Compared, OwnFiles, all_the_same, deltas, epoch, sums_are_the_same, top};

fn fenced<T: std::fmt::Debug>(outcome: Result<T, Error>) -> u32 {
    match outcome {
        Err(Error::Refused(Refusal::Fenced(generation))) => generation,
        other => panic!("{other:?}"),
    }
}

fn holds(store: &ClickHouse, options: &Options, epochs: &[Deltas]) {
    all_the_same(store, &OwnFiles::of(options, epochs).store, &mut Compared::default());
}

/// The same in few requests, for every step of a history.
fn sums_to(store: &ClickHouse, options: &Options, epochs: &[Deltas]) {
    let files = OwnFiles::of(options, epochs);
    sums_are_the_same(store, &files.store, &mut Compared::default());
}

#[test]
fn a_lower_generation_changes_nothing() {
    each_server(|server| {
        let (database, epochs) = (Database::new(server), history());
        let options = Options { fan_in: 2, ..database.options() };
        let open = || ClickHouse::open(options.clone()).expect("it opens");
        let lower = open();
        for number in 1..=3 {
            lower.apply(&epoch(1, number), &epochs[number as usize - 1]).expect("it follows");
        }
        lower.persist().expect("the server is there");
        // Not persisted, and counted again by whoever takes over.
        lower.apply(&epoch(1, 4), &epochs[3]).expect("it follows");
        let higher = open();
        assert_eq!(higher.marks().applied, Some(3));
        higher.apply(&epoch(2, 4), &epochs[3]).expect("it follows");
        lower.apply(&epoch(1, 5), &deltas(&[])).expect("it knows of nobody yet");
        assert_eq!(fenced(lower.persist()), 2);
        assert_eq!(fenced(lower.apply(&epoch(1, 6), &epochs[5])), 2);
        assert_eq!(fenced(lower.persist()), 2, "not once, and then as if nothing had been");
        holds(&lower, &options, &epochs[..3]);
        for number in 5..=8 {
            higher.apply(&epoch(2, number), &epochs[number as usize - 1]).expect("it follows");
            higher.persist().expect("the server is there");
            // Runs it read from have been compacted and dropped meanwhile.
            let known = usize::try_from(number).expect("few");
            sums_to(&lower, &options, &epochs[..known]);
        }
        holds(&lower, &options, &epochs);
        holds(&higher, &options, &epochs);
        assert_eq!(database.runs(), database.named_runs());
    });
}

#[test]
fn a_question_finds_out_that_somebody_else_writes() {
    each_server(|server| {
        let (database, epochs) = (Database::new(server), history());
        let open = || ClickHouse::open(database.options()).expect("it opens");
        let lower = open();
        for number in 1..=2 {
            lower.apply(&epoch(1, number), &epochs[number as usize - 1]).expect("it follows");
            lower.persist().expect("the server is there");
        }
        lower.apply(&epoch(1, 3), &epochs[2]).expect("it follows");
        let higher = open();
        let again = higher.apply(&epoch(4, 2), &epochs[1]).expect("it is known");
        assert_eq!(again, Applied::Again);
        let answer = lower.query(&top(Metric::Clicks, 9)).expect("it answers");
        assert_eq!(answer.applied, Some(2), "what only it has in memory is not its to count");
        assert_eq!(fenced(lower.persist()), 4);
        assert_eq!(lower.marks().generation, 4);
    });
}

#[test]
fn of_one_generation_the_later_one_writes() {
    each_server(|server| {
        let (database, epochs) = (Database::new(server), history());
        let open = || ClickHouse::open(database.options()).expect("it opens");
        let earlier = open();
        earlier.apply(&epoch(1, 1), &epochs[0]).expect("it follows");
        let later = open();
        later.apply(&epoch(1, 1), &epochs[0]).expect("it follows");
        let refused = earlier.persist();
        assert!(
            matches!(refused, Err(Error::Broken { kind: BrokenKind::Poisoned, .. })),
            "{refused:?}"
        );
        let refused = earlier.apply(&epoch(1, 2), &epochs[1]);
        assert!(
            matches!(refused, Err(Error::Broken { kind: BrokenKind::Poisoned, .. })),
            "{refused:?}"
        );
        assert_eq!(later.persist().expect("the server is there"), 1);
        let answer = earlier.query(&top(Metric::Clicks, 9)).expect("it answers");
        assert_eq!(answer.applied, Some(1));
    });
}

#[test]
fn a_reader_follows_and_takes_nothing() {
    each_server(|server| {
        let (database, epochs) = (Database::new(server), history());
        let options = Options { fan_in: 2, ..database.options() };
        let open = || ClickHouse::open(options.clone()).expect("it opens");
        let (reader, writer) = (open(), open());
        for number in 1..=8 {
            writer.apply(&epoch(1, number), &epochs[number as usize - 1]).expect("it follows");
            writer.persist().expect("the server is there");
            let known = usize::try_from(number).expect("few");
            sums_to(&reader, &options, &epochs[..known]);
        }
        holds(&reader, &options, &epochs);
        let claims = database.ask("SELECT count() FROM {db}.claims");
        assert_eq!(claims.trim(), "1", "who only reads has claimed nothing");
    });
}

/// Many claim at once: each takes the next epoch where it can, and none is counted twice.
#[test]
fn many_take_over_at_the_same_moment() {
    each_server(|server| {
        let (database, epochs) = (Database::new(server), history());
        let options = database.options();
        let open = || ClickHouse::open(options.clone()).expect("it opens");
        let first = open();
        first.apply(&epoch(1, 1), &epochs[0]).expect("it follows");
        first.persist().expect("the server is there");
        let outcomes: Vec<Result<u64, Error>> = std::thread::scope(|scope| {
            let take_over = |generation: u32| {
                let epochs = &epochs;
                let open = &open;
                move || {
                    let store = open();
                    store.apply(&epoch(generation, 2), &epochs[1])?;
                    store.persist()
                }
            };
            let threads: Vec<_> = (2..6).map(|n| scope.spawn(take_over(n))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(done >= 1, "the highest generation is never kept out: {outcomes:?}");
        assert!(outcomes[3].is_ok(), "{outcomes:?}");
        holds(&open(), &options, &epochs[..2]);
    });
}
