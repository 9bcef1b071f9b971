//! The server is killed within a request and started again: whatever the request was, what was
//! answered for is there, and the lake goes on.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use reckon_event::{Pseudonym, Subscriber};
use reckon_lake::conformance::history::{Step, hand, handed_over, history, in_lake};
use reckon_lake::conformance::{keep, open, read};
use reckon_lake::{Erasure, ErasureRequest, LakePlace, LakeSubscriber, S3Options, verify};

use crate::place;
use crate::proxy::{Fault, Proxy, Request};
use crate::server::OwnServer;

/// Kills the server within the `nth` request that changes something, and starts it again.
fn killed_within(
    nth: u64,
    server: &Arc<OwnServer>,
) -> impl FnMut(&Request) -> Fault + Send + use<> {
    let (mut changes, server) = (0, Arc::clone(server));
    move |request| {
        changes += u64::from(request.method() != "GET");
        if request.method() == "GET" || changes != nth {
            return Fault::None;
        }
        let server = Arc::clone(&server);
        Fault::Within(Arc::new(move || {
            server.kill();
            server.start_again();
        }))
    }
}

struct World {
    server: Arc<OwnServer>,
    proxy: Proxy,
}

impl World {
    fn new() -> Self {
        let server = Arc::new(OwnServer::start());
        let proxy = Proxy::before(&server.server.endpoint, |_| Fault::None);
        World { server, proxy }
    }

    fn place(&self) -> LakePlace {
        place(&self.server.server.options_by(&self.proxy.endpoint()))
    }

    /// How many requests have been cut off by a kill.
    fn kills(&self) -> u64 {
        self.proxy.counts().get("within").copied().unwrap_or_default()
    }
}

#[test]
fn a_server_killed_within_a_put_is_waited_for() {
    let world = World::new();
    let steps = history(40, 5, 40, 1);
    for nth in 1..=8 {
        let place = world.place();
        let mut lake = open(&place, 1);
        keep(&mut lake, &steps, 1..=2, 1);
        world.proxy.set_plan(killed_within(nth, &world.server));
        for number in 3..=5 {
            keep(&mut lake, &steps, number..=number, 1);
        }
        world.proxy.set_plan(|_| Fault::None);
        assert_eq!(world.kills(), nth, "one a round");
        assert_eq!(in_lake(&place), handed_over(&steps, 5), "killed within put {nth}");
        assert_eq!(verify(&place).expect("it reads").damage, []);
    }
}

#[test]
fn a_server_that_stays_away_loses_nothing_that_was_answered_for() {
    let world = World::new();
    let options = S3Options {
        request: Duration::from_secs(1),
        deadline: Duration::from_secs(2),
        ..world.server.server.options()
    };
    let place = place(&options);
    let steps = history(41, 6, 40, 1);
    let mut lake = open(&place, 1);
    keep(&mut lake, &steps, 1..=3, 1);
    world.server.kill();
    hand(&mut lake, &steps, 4, 1).expect("taken");
    let told = lake.persist().expect_err("nobody is there").to_string();
    assert!(told.contains("that the server is up"), "{told}");
    // Once the writer waits for it, and once it dies with it.
    world.server.start_again();
    lake.persist().expect("it is there again");
    assert_eq!(lake.persisted(), Some(4));
    world.server.kill();
    hand(&mut lake, &steps, 5, 1).expect("taken");
    lake.persist().expect_err("nobody is there");
    drop(lake);
    world.server.start_again();
    let mut lake = open(&place, 2);
    let had = lake.persisted().expect("a lake is durable");
    assert_eq!(had, 4);
    keep(&mut lake, &steps, had + 1..=6, 1);
    assert_eq!(in_lake(&place), handed_over(&steps, 6));
}

const PERSON: Pseudonym = Pseudonym(2);

/// Erases until it is done, asking again where it failed, as the server does.
fn erase(lake: &LakeSubscriber) -> u64 {
    let mut request = ErasureRequest::new(PERSON, Pseudonym(0xdead_beef), [9; 32]);
    for _ in 0..20 {
        match lake.handle().erase(vec![request.clone()]) {
            Ok(Erasure::Done(erased)) => {
                return erased.persons[0].found + erased.persons[0].replaced_before;
            }
            Ok(Erasure::Traced(traced)) => {
                traced.into_values().for_each(|traces| request.known.merge(traces));
            }
            Err(error) => println!("asked again: {error}"),
        }
    }
    panic!("it is never done");
}

/// True where any object below the place, named or not, has a row of the person.
fn has_trace(place: &LakePlace) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let root = place.object("");
    let list = place.objects().list(Some(&root)).try_collect::<Vec<_>>();
    let objects = runtime.expect("a runtime").block_on(list).expect("a list");
    let below = |one: &object_store::ObjectMeta| {
        one.location
            .as_ref()
            .strip_prefix(root.as_ref())
            .expect("below")
            .trim_matches('/')
            .to_owned()
    };
    let files = objects.iter().map(below).filter(|path| path.ends_with(".parquet"));
    files.into_iter().any(|path| has_person(read(place, &path)))
}

fn has_person(bytes: bytes::Bytes) -> bool {
    use arrow::array::AsArray;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|one| one.build());
    let text = format!("{:032x}", PERSON.0);
    reader.expect("Parquet").any(|rows| {
        let rows = rows.expect("rows");
        let people = rows.column_by_name("pseudonym").map(|one| one.as_string::<i32>().clone());
        people.is_some_and(|people| people.iter().flatten().any(|who| who == text))
    })
}

fn rows_of_person(steps: &[Step]) -> usize {
    steps.iter().flat_map(|step| &step.records).filter(|(_, record)| record.user == PERSON).count()
}

#[test]
fn a_server_killed_within_an_erasure_keeps_nothing_of_the_person() {
    let world = World::new();
    let steps = history(42, 6, 60, 2);
    let expect = rows_of_person(&steps) as u64;
    assert!(expect > 10, "{expect} rows");
    for nth in 1..=10 {
        let place = world.place();
        let mut lake = open(&place, 1);
        for number in 1..=6 {
            keep(&mut lake, &steps, number..=number, 1);
        }
        assert!(has_trace(&place));
        world.proxy.set_plan(killed_within(nth, &world.server));
        assert_eq!(erase(&lake), expect, "killed within change {nth}");
        world.proxy.set_plan(|_| Fault::None);
        assert!(!has_trace(&place), "killed within change {nth}");
        assert_eq!(in_lake(&place), handed_over(&steps, 6), "killed within change {nth}");
        drop(lake);
        assert_eq!(verify(&place).expect("it reads").damage, []);
        assert_eq!(world.kills(), nth, "one a round");
    }
}
