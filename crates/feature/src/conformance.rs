//! The promises of [`FeatureStore`], one function each. An engine's tests call [`all`] with a way to
//! make a fresh store, and to open the same one again after a crash.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use reckon_event::{Applied, Bound, Epoch, TenantId, Timestamp};

use crate::{Counters, Entity, EntityKind, Error, FeatureStore, Read, Step, Update};

/// A store under test, which can be lost and opened again.
pub trait Subject {
    /// Opens the store on what it has kept; the one before is gone as in a crash.
    fn open(&mut self) -> Arc<dyn FeatureStore>;
}

/// One promise, held against a subject that has kept nothing yet.
type Promise = fn(&mut dyn Subject);

const PROMISES: [Promise; 9] = [
    unknown_is_not_an_error,
    an_epoch_counts_once,
    no_epoch_is_left_out,
    a_lower_generation_is_fenced,
    a_crash_leaves_what_was_persisted,
    counting_from_an_older_checkpoint_changes_nothing,
    a_store_begins_where_it_is_fed_from,
    a_read_is_of_one_cut,
    what_is_forgotten_does_not_come_back,
];

/// Every promise; `fresh` gives a subject that has kept nothing yet. Tells how many there are.
pub fn all(fresh: &mut dyn FnMut() -> Box<dyn Subject>) -> usize {
    for promise in PROMISES {
        promise(&mut *fresh());
    }
    PROMISES.len()
}

/// An ad of the default tenant.
pub const fn ad(key: u128) -> Entity {
    Entity { tenant: TenantId::DEFAULT, kind: EntityKind::Ad, key }
}

/// An epoch that read up to `number * 10` of partition 0.
pub fn epoch(number: u64, generation: u32) -> Epoch {
    let bound = Bound { partition: 0, from: (number - 1) * 10, to: number * 10 };
    Epoch { stage: 1, group: 0, generation, number, bounds: vec![bound] }
}

fn update(epoch: &Epoch, steps: &[(Entity, Step)]) -> Update {
    let at = Timestamp::from_seconds(1_000);
    let steps = steps.iter().map(|&(entity, step)| (entity, step, at)).collect();
    Update { steps, bounds: epoch.bounds.clone() }
}

fn give(store: &dyn FeatureStore, number: u64, steps: &[(Entity, Step)]) -> Result<Applied, Error> {
    let epoch = epoch(number, 1);
    store.apply(&epoch, update(&epoch, steps))
}

fn read(store: &dyn FeatureStore, entities: &[Entity]) -> Read {
    block_on(store.read(entities)).expect("a read")
}

fn impressions(counters: Option<Counters>) -> Option<u32> {
    counters.map(|counters| counters.slow.impressions as u32)
}

/// Waits for an engine's answer on this thread: engines answer at once, or from threads of their own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        thread::park();
    }
}

/// Wakes whoever waits in [`block_on`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What is not there is `None`.
pub fn unknown_is_not_an_error(subject: &mut dyn Subject) {
    let store = subject.open();
    assert_eq!(read(&*store, &[ad(1), ad(2)]).counters, [None, None]);
    assert_eq!(read(&*store, &[]).counters, []);
}

/// The same epoch twice counts once.
pub fn an_epoch_counts_once(subject: &mut dyn Subject) {
    let store = subject.open();
    let steps = [(ad(1), Step::Impression), (ad(1), Step::Impression), (ad(1), Step::Click)];
    assert_eq!(give(&*store, 1, &steps).expect("taken"), Applied::Fresh);
    assert_eq!(give(&*store, 1, &steps).expect("taken"), Applied::Again);
    let counters = read(&*store, &[ad(1)]).counters[0].expect("it was counted");
    assert_eq!((counters.slow.impressions, counters.slow.clicks), (2.0, 1.0));
}

/// What was forgotten is gone at once, also from copies, and after a persist and a crash; what comes
/// later begins anew.
pub fn what_is_forgotten_does_not_come_back(subject: &mut dyn Subject) {
    let store = subject.open();
    give(&*store, 1, &[(ad(1), Step::Click), (ad(2), Step::Impression)]).expect("taken");
    store.persist().expect("durable");
    store.forget(&[ad(1), ad(3)]).expect("forgotten");
    assert_eq!(read(&*store, &[ad(1)]).counters, [None]);
    for number in 2..6 {
        give(&*store, number, &[(ad(2), Step::Impression)]).expect("taken");
        assert_eq!(read(&*store, &[ad(1)]).counters, [None], "epoch {number}");
    }
    store.persist().expect("durable");
    drop(store);
    let store = subject.open();
    let found = read(&*store, &[ad(1), ad(2)]).counters;
    assert_eq!([impressions(found[0]), impressions(found[1])], [None, Some(5)]);
    give(&*store, 6, &[(ad(1), Step::Impression)]).expect("taken");
    assert_eq!(impressions(read(&*store, &[ad(1)]).counters[0]), Some(1), "it begins anew");
}

/// A gap is refused, and changes nothing.
pub fn no_epoch_is_left_out(subject: &mut dyn Subject) {
    let store = subject.open();
    give(&*store, 1, &[(ad(1), Step::Impression)]).expect("taken");
    let gap = give(&*store, 3, &[(ad(1), Step::Impression)]);
    assert!(matches!(gap, Err(Error::Gap { has: 1, got: 3 })), "{gap:?}");
    assert_eq!(impressions(read(&*store, &[ad(1)]).counters[0]), Some(1));
}

/// A generation below one that was seen is turned away.
pub fn a_lower_generation_is_fenced(subject: &mut dyn Subject) {
    let store = subject.open();
    let (new, old) = (epoch(1, 2), epoch(2, 1));
    store.apply(&new, update(&new, &[])).expect("taken");
    let fenced = store.apply(&old, update(&old, &[(ad(1), Step::Impression)]));
    assert!(matches!(fenced, Err(Error::Fenced(2))), "{fenced:?}");
    assert_eq!(read(&*store, &[ad(1)]).counters[0], None);
}

/// After a crash it is as some epoch left it that was applied, and none before what was last made
/// durable: an engine may keep more than it was asked to. It says which epoch that is.
pub fn a_crash_leaves_what_was_persisted(subject: &mut dyn Subject) {
    let store = subject.open();
    assert_eq!(store.marks().persisted, None, "nothing has been kept yet");
    let mut number = 0;
    for round in 1..=6_u32 {
        for key in 0..20 {
            number += 1;
            give(&*store, number, &[(ad(key % 7), Step::Impression)]).expect("taken");
        }
        store.persist().expect("durable");
        assert_eq!(store.marks().persisted, Some(number), "round {round}");
    }
    let at_persist = read(&*store, &[ad(0), ad(6)]);
    give(&*store, number + 1, &[(ad(0), Step::Impression)]).expect("taken");
    let at_crash = read(&*store, &[ad(0), ad(6)]);
    drop(store);
    let store = subject.open();
    let applied = store.marks().applied;
    let found = read(&*store, &[ad(0), ad(6)]);
    assert!((number..=number + 1).contains(&applied), "{applied}, not {number} or the next");
    let expect = if applied == number { &at_persist } else { &at_crash };
    assert_eq!(found.counters, expect.counters, "as epoch {applied} left it");
    assert_eq!(found.cut, expect.cut, "and it says so");
    assert_eq!(give(&*store, applied, &[]).expect("taken"), Applied::Again);
    let next = give(&*store, applied + 1, &[(ad(0), Step::Click)]);
    assert_eq!(next.expect("taken"), Applied::Fresh);
}

/// A counter that goes on from before what the store has hands over the same epochs again: they are
/// in already, whoever hands them over, and what follows is not.
pub fn counting_from_an_older_checkpoint_changes_nothing(subject: &mut dyn Subject) {
    let store = subject.open();
    let shown = [(ad(1), Step::Impression)];
    for number in 1..=10 {
        give(&*store, number, &shown).expect("taken");
    }
    store.persist().expect("durable");
    drop(store);
    let store = subject.open();
    for number in 4..=11 {
        let epoch = epoch(number, 2);
        let applied = store.apply(&epoch, update(&epoch, &shown)).expect("taken");
        assert_eq!(applied == Applied::Fresh, number == 11, "epoch {number}: {applied:?}");
    }
    assert_eq!(impressions(read(&*store, &[ad(1)]).counters[0]), Some(11));
    let fenced = give(&*store, 12, &shown);
    assert!(matches!(fenced, Err(Error::Fenced(2))), "the one before: {fenced:?}");
}

/// A store that has kept nothing takes the first epoch it is given, whatever its number.
pub fn a_store_begins_where_it_is_fed_from(subject: &mut dyn Subject) {
    let store = subject.open();
    assert_eq!(give(&*store, 41, &[(ad(1), Step::Click)]).expect("taken"), Applied::Fresh);
    assert_eq!(give(&*store, 42, &[]).expect("taken"), Applied::Fresh);
}

/// While epochs come in, a read never sees one half: two ads that are always shown together always
/// have as many impressions, and the cut is that of the epoch they belong to.
pub fn a_read_is_of_one_cut(subject: &mut dyn Subject) {
    let store = subject.open();
    const EPOCHS: u64 = 2_000;
    std::thread::scope(|scope| {
        let writer = Arc::clone(&store);
        scope.spawn(move || {
            for number in 1..=EPOCHS {
                let steps = [(ad(1), Step::Impression), (ad(2), Step::Impression)];
                give(&*writer, number, &steps).expect("taken");
            }
        });
        let mut seen = 0;
        while seen < EPOCHS {
            let read = read(&*store, &[ad(1), ad(2)]);
            let [left, right] = [read.counters[0], read.counters[1]].map(impressions);
            assert_eq!(left, right, "both or neither");
            seen = u64::from(left.unwrap_or(0));
            assert_eq!(read.cut.first().copied().unwrap_or(0), seen * 10, "the cut of {seen}");
        }
    });
}
