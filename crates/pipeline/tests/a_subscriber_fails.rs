//! Subscribers that fail, fence, fall behind or run ahead; a pipeline that is stopped and waited for.
//!
//! The story: a store is down and counting goes on without it, an old counter keeps writing after a
//! new one has taken over, or somebody waits for ever for a pipeline that is gone.

#[path = "../../count/tests/traffic/mod.rs"]
mod traffic;

mod ledger;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledger::{Book, Ledger, Live, lock};
use reckon_count::Policy;
use reckon_disk::{Disk, SimDisk};
use reckon_event::{Applied, Counted, Epoch, Record, Subscriber, SubscriberError};
use reckon_eventlog::{DiskLog, EventLog, Outcome};
use reckon_pipeline::{
    Error, Options, Pipeline, Progress, Reached, Status, Stepped, recount, verify,
};
use traffic::Traffic;

const DIR: &str = "/counter";
const LONG: Duration = Duration::from_secs(60);

struct World {
    disk: SimDisk,
    log: Arc<dyn EventLog>,
    traffic: Traffic,
}

impl World {
    fn new(partitions: u16) -> Self {
        let options =
            reckon_eventlog::Options { lanes: partitions, ..reckon_eventlog::Options::default() };
        let log_disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        let opened = DiskLog::open(log_disk, Path::new("/log"), options, 1);
        let log = Arc::new(opened.expect("an empty disk").0);
        World { disk: SimDisk::new(2), log, traffic: Traffic::new(3, true) }
    }

    /// Appends records and gives the cut behind them.
    fn feed(&mut self, count: usize) -> Vec<u64> {
        for bytes in self.traffic.take(count) {
            let record = Record::decode(&bytes).expect("encoded here").0;
            let partition = self.log.partition_of(record.kind, record.slot);
            let outcome = self.log.append(partition, &bytes, 1).wait();
            assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
        }
        (0..self.log.partitions()).map(|partition| self.log.range(partition).end).collect()
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(self.disk(), 0, 0).expect("the disk works")
    }

    fn open(
        &self,
        generation: u32,
        subscribers: Vec<Box<dyn Subscriber>>,
    ) -> Result<Pipeline, Error> {
        let options = Options {
            epoch_interval: Duration::from_millis(1),
            epoch_records_max: 100,
            retry_pause: Duration::ZERO,
            ..Options::default()
        };
        let log = Arc::clone(&self.log);
        Pipeline::open(log, self.disk(), Path::new(DIR), options, generation, subscribers)
    }
}

/// Fails its first calls.
struct Failing {
    left: u32,
    error: fn() -> SubscriberError,
    taken: Arc<Mutex<Vec<u64>>>,
}

impl Subscriber for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn persisted(&self) -> Option<u64> {
        None
    }

    fn apply(&mut self, epoch: &Epoch, _: &Counted<'_>) -> Result<Applied, SubscriberError> {
        self.taken.lock().expect("nobody panics").push(epoch.number);
        if self.left == 0 {
            return Ok(Applied::Fresh);
        }
        self.left -= 1;
        Err((self.error)())
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        Ok(())
    }
}

fn failing(left: u32, error: fn() -> SubscriberError) -> (Failing, Arc<Mutex<Vec<u64>>>) {
    let taken: Arc<Mutex<Vec<u64>>> = Arc::default();
    (Failing { left, error, taken: Arc::clone(&taken) }, taken)
}

fn drain(pipeline: &mut Pipeline) {
    while pipeline.step().expect("it works") != Stepped::Idle {}
}

#[test]
fn a_short_failure_is_overcome_with_the_same_epoch() {
    let mut world = World::new(1);
    world.feed(50);
    let (subscriber, taken) = failing(4, || SubscriberError::Failed("down".into()));
    let mut pipeline = world.open(1, vec![Box::new(subscriber)]).expect("opens");
    pipeline.step().expect("the fifth attempt works");
    assert_eq!(*taken.lock().expect("nobody panics"), [1, 1, 1, 1, 1]);
    let snapshot = pipeline.progress().snapshot();
    assert_eq!((snapshot.retries, snapshot.epoch, &snapshot.status), (4, 1, &Status::Running));
    assert!(snapshot.last_error.as_ref().is_some_and(|error| error.contains("down")));
}

#[test]
fn a_long_failure_halts_the_pipeline_and_not_the_log() {
    let mut world = World::new(1);
    world.feed(250);
    let ledger = world.ledger();
    let book = Arc::clone(&ledger.book);
    let (subscriber, _) = failing(99, || SubscriberError::Failed("down".into()));
    let mut pipeline = world.open(1, vec![Box::new(ledger), Box::new(subscriber)]).expect("opens");
    assert!(matches!(pipeline.step(), Err(Error::Subscriber { attempts: 5, number: 1, .. })));
    assert!(matches!(pipeline.step(), Err(Error::Halted(_))));
    assert!(matches!(pipeline.checkpoint(), Err(Error::Halted(_))));
    let snapshot = pipeline.progress().snapshot();
    assert!(matches!(&snapshot.status, Status::Failed(why) if why.contains("down")));
    assert_eq!(pipeline.progress().wait_until(&[1], LONG), Reached::Ended);
    let cut = world.feed(10);
    drop(pipeline);
    // The ledger had taken the epoch: it is asked again, and has it.
    let first = lock(&book).epochs.clone();
    let mut ledger = world.ledger();
    ledger.book = book;
    let book = Arc::clone(&ledger.book);
    let mut pipeline = world.open(2, vec![Box::new(ledger)]).expect("opens");
    drain(&mut pipeline);
    let book = lock(&book);
    assert_eq!((book.again, book.generation), (1, 2));
    assert_eq!(book.epochs[&1], first[&1]);
    assert_eq!(pipeline.progress().snapshot().position, cut);
}

#[test]
fn whoever_is_fenced_stops_at_once() {
    let mut world = World::new(1);
    world.feed(10);
    let (subscriber, taken) = failing(1, || SubscriberError::Fenced(9));
    let mut pipeline = world.open(1, vec![Box::new(subscriber)]).expect("opens");
    assert!(matches!(pipeline.step(), Err(Error::Fenced { generation: 9, .. })));
    assert_eq!(taken.lock().expect("nobody panics").len(), 1);
    drop(pipeline);
    let mut pipeline = world.open(7, vec![]).expect("opens");
    drain(&mut pipeline);
    pipeline.checkpoint().expect("it works");
    drop(pipeline);
    let older = world.open(6, vec![]);
    assert!(matches!(older.err(), Some(Error::Fenced { generation: 7, .. })));
}

#[test]
fn only_one_counter_has_the_folder() {
    let world = World::new(1);
    let pipeline = world.open(1, vec![]).expect("opens");
    assert!(matches!(world.open(2, vec![]).err(), Some(Error::Disk { .. })));
    drop(pipeline);
    world.open(3, vec![]).expect("opens");
}

#[test]
fn who_has_lost_epochs_or_has_too_many_is_refused() {
    let mut world = World::new(1);
    world.feed(500);
    let mut pipeline = world.open(1, vec![Box::new(world.ledger())]).expect("opens");
    pipeline.step().expect("it works");
    pipeline.checkpoint().expect("it works");
    let early = world.disk.fork();
    drain(&mut pipeline);
    pipeline.checkpoint().expect("it works");
    drop(pipeline);
    let old: Arc<dyn Disk> = Arc::new(early.clone());
    let behind = Ledger::open(old, 0, 0).expect("the disk works");
    let refused = world.open(2, vec![Box::new(behind)]).err();
    assert!(matches!(refused, Some(Error::Behind { name: "ledger", persisted: 1, .. })));
    let ahead = world.ledger();
    world.disk = early;
    let refused = world.open(2, vec![Box::new(ahead)]).err();
    assert!(matches!(refused, Some(Error::Ahead { name: "ledger", logged: 1, .. })));
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_it() {
    let mut world = World::new(1);
    let mut pipeline = world.open(1, vec![Box::new(world.ledger())]).expect("opens");
    for _ in 0..3 {
        world.feed(200);
        drain(&mut pipeline);
        pipeline.checkpoint().expect("it works");
    }
    drop(pipeline);
    assert!(verify(&world.disk, Path::new(DIR)).expect("readable").damage.is_empty());
    let newest = world.disk.list(Path::new(DIR)).expect("the disk works").into_iter();
    let newest = newest.filter(|path| path.extension().is_some_and(|end| end == "state")).max();
    world.disk.flip(&newest.expect("there are checkpoints"), 200, 3);
    let report = verify(&world.disk, Path::new(DIR)).expect("readable");
    assert_eq!(report.damage.len(), 1, "{report:?}");
    let ledger = world.ledger();
    let book = Arc::clone(&ledger.book);
    let mut pipeline = world.open(2, vec![Box::new(ledger)]).expect("opens");
    assert!(pipeline.progress().snapshot().last_error.is_some(), "the damage is told");
    drain(&mut pipeline);
    assert!(lock(&book).again > 0);
    let judge = recount(&*world.log, None, &Policy::default()).expect("the log is whole");
    assert_eq!(pipeline.totals(), judge.totals);
    assert_eq!(lock(&book).lines, judge.lines);
    pipeline.checkpoint().expect("it works");
    drop(pipeline);
    assert!(verify(&world.disk, Path::new(DIR)).expect("readable").damage.is_empty());
}

#[test]
fn a_thread_counts_what_comes_and_can_be_waited_for() {
    for partitions in [1, 7] {
        let mut world = World::new(partitions);
        let live = Live { book: Arc::default() };
        let book: Arc<Mutex<Book>> = Arc::clone(&live.book);
        let ledger = world.ledger();
        let pipeline = world.open(1, vec![Box::new(ledger), Box::new(live)]).expect("opens");
        let running = pipeline.spawn().expect("a thread");
        let progress: Arc<Progress> = Arc::clone(running.progress());
        for _ in 0..5 {
            let cut = world.feed(100);
            assert_eq!(progress.wait_until(&cut, LONG), Reached::Yes);
            let snapshot = progress.snapshot();
            assert_eq!(snapshot.totals.seen(), cut.iter().sum::<u64>());
            assert!(snapshot.received.iter().any(|at| at.0 > 0));
        }
        assert_eq!(progress.wait_until(&[u64::MAX], Duration::ZERO), Reached::TimedOut);
        let pipeline = running.stop().expect("it stops");
        assert_eq!(progress.snapshot().status, Status::Stopped);
        assert_eq!(progress.wait_until(&[u64::MAX], LONG), Reached::Ended);
        assert!(!pipeline.is_dirty() && progress.snapshot().checkpoint > 0);
        let judge = recount(&*world.log, None, &Policy::default()).expect("the log is whole");
        assert_eq!(pipeline.totals(), judge.totals);
        assert_eq!(lock(&book).lines, judge.lines);
    }
}

#[test]
fn held_it_stands_still_at_an_epoch_and_still_writes_checkpoints() {
    let mut world = World::new(3);
    let ledger = world.ledger();
    let pipeline = world.open(1, vec![Box::new(ledger)]).expect("opens");
    let running = pipeline.spawn().expect("a thread");
    let progress: Arc<Progress> = Arc::clone(running.progress());
    let first = world.feed(100);
    assert_eq!(progress.wait_until(&first, LONG), Reached::Yes);
    let holds = [progress.hold(LONG).expect("held"), progress.hold(LONG).expect("held twice")];
    let held = progress.snapshot();
    let second = world.feed(100);
    progress.request_checkpoint();
    assert_eq!(progress.wait_checkpoint(held.epoch, LONG), Reached::Yes);
    assert_eq!(progress.snapshot().position, held.position, "nothing was counted meanwhile");
    let [one, other] = holds;
    drop(one);
    assert_eq!(progress.wait_until(&second, Duration::ZERO), Reached::TimedOut);
    drop(other);
    assert_eq!(progress.wait_until(&second, LONG), Reached::Yes);
    let held = progress.hold(LONG).expect("held");
    running.stop().expect("being held does not keep it from stopping");
    drop(held);
    assert!(matches!(progress.hold(LONG), Err(Reached::Ended)));
}

#[test]
fn a_panicking_subscriber_ends_the_wait() {
    let mut world = World::new(1);
    let (subscriber, _) = failing(1, || panic!("a broken invariant"));
    let pipeline = world.open(1, vec![Box::new(subscriber)]).expect("opens");
    let running = pipeline.spawn().expect("a thread");
    let cut = world.feed(1);
    assert_eq!(running.progress().wait_until(&cut, LONG), Reached::Ended);
    let snapshot = running.progress().snapshot();
    assert!(matches!(&snapshot.status, Status::Failed(why) if why.contains("panicked")));
    assert!(matches!(running.stop().err(), Some(Error::Halted(_))));
}
