//! One writer at a time, and whoever is not it any more finds out.

use std::sync::Barrier;

use bytes::Bytes;
use object_store::{ObjectStore, PutMode, PutOptions};
use reckon_event::{Applied, Subscriber, SubscriberError};

use super::history::{Step, hand, handed_over, history, in_lake};
use super::{Bench, keep, open, parquet_objects, read, wait};
use crate::{LakeOptions, LakePlace, LakeSubscriber, clear};

pub(super) fn a_lower_generation_is_fenced(bench: &dyn Bench) {
    let place = bench.place();
    let steps = history(3, 9, 20, 1);
    let mut old = open(&place, 1);
    keep(&mut old, &steps, 1..=4, 5);
    hand(&mut old, &steps, 5, 5).expect("taken");

    let mut new = open(&place, 2);
    let fenced = hand(&mut new, &steps, 5, 4);
    assert!(matches!(fenced, Err(SubscriberError::Fenced(5))), "{fenced:?}");
    assert_eq!(hand(&mut new, &steps, 4, 6).expect("known"), Applied::Again);
    let cut_off = old.persist();
    assert!(matches!(cut_off, Err(SubscriberError::Fenced(6))), "{cut_off:?}");
    keep(&mut new, &steps, 5..=9, 6);
    drop(old);
    assert_eq!(in_lake(&place), handed_over(&steps, 9));
    let gap = hand(&mut new, &history(3, 12, 20, 1), 11, 6);
    assert!(gap.expect_err("a gap").to_string().contains("10 is next"));
}

/// Also where both bear one number, as the first writers of two servers do that were pointed at one
/// bucket by mistake.
pub(super) fn an_older_writer_is_cut_off(bench: &dyn Bench) {
    for number in [1, 2] {
        let place = bench.place();
        let steps = history(8, 6, 20, 1);
        let mut old = open(&place, 1);
        keep(&mut old, &steps, 1..=3, 1);
        hand(&mut old, &steps, 4, 1).expect("taken");
        let mut new = open(&place, number);
        let cut_off = old.persist().expect_err("it is not the writer any more").to_string();
        assert!(cut_off.contains("another writer"), "{cut_off}");
        keep(&mut new, &steps, 4..=6, 1);
        assert!(old.persist().is_err(), "it stays cut off");
        assert_eq!(in_lake(&place), handed_over(&steps, 6));
    }
}

/// What all else stands on.
pub(super) fn an_object_is_made_once(bench: &dyn Bench) {
    let place = bench.place();
    for round in 0..20 {
        let path = format!("manifest/race-{round}.json");
        let start = Barrier::new(4);
        let make = |who: u8| {
            let (place, start, object) = (&place, &start, place.object(&path));
            move || {
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                let bytes = Bytes::from(vec![who; 40_000]);
                start.wait();
                wait(place.objects().put_opts(&object, bytes.into(), options)).map(|_| who)
            }
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|who| scope.spawn(make(who))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let winners: Vec<u8> =
            outcomes.iter().filter_map(|one| one.as_ref().ok()).copied().collect();
        assert_eq!(winners.len(), 1, "{path}: {outcomes:?}");
        assert_eq!(read(&place, &path), vec![winners[0]; 40_000], "{path}: the winner's, whole");
        for outcome in outcomes.iter().filter_map(|one| one.as_ref().err()) {
            let is_told = matches!(outcome, object_store::Error::AlreadyExists { .. });
            assert!(is_told, "{path}: {outcome}");
        }
    }
}

const EPOCHS: u64 = 8;

/// Opens when all do, feeds when all have; tells what stopped it.
fn compete(place: &LakePlace, steps: &[Step], writer: u64, start: &Barrier) -> Result<(), String> {
    start.wait();
    let opened = LakeSubscriber::open(place.clone(), LakeOptions::new(writer));
    start.wait();
    let mut lake = opened.map_err(|error| error.to_string())?;
    for number in 1..=EPOCHS {
        hand(&mut lake, steps, number, 1).map_err(|error| error.to_string())?;
        lake.persist().map_err(|error| error.to_string())?;
    }
    Ok(())
}

pub(super) fn of_two_writers_one_goes_on(bench: &dyn Bench) {
    for round in 0..6 {
        let place = bench.place();
        let steps = history(30 + round, EPOCHS, 20, 1);
        let start = Barrier::new(2);
        // In every second round both bear one number.
        let numbers = [1, 1 + round % 2];
        let outcomes = std::thread::scope(|scope| {
            let (place, steps, start) = (&place, &steps, &start);
            let run = |writer| scope.spawn(move || compete(place, steps, writer, start));
            numbers.map(run).map(|thread| thread.join().expect("no panic"))
        });
        let lost: Vec<&String> = outcomes.iter().filter_map(|one| one.as_ref().err()).collect();
        assert_eq!(lost.len(), 1, "round {round}: {outcomes:?}");
        assert!(lost[0].contains("another writer"), "round {round}: {}", lost[0]);
        assert_eq!(in_lake(&place), handed_over(&steps, EPOCHS), "round {round}");
    }
}

pub(super) fn a_cleared_lake_begins_again(bench: &dyn Bench) {
    let place = bench.place();
    let steps = history(9, 12, 30, 2);
    let mut old = open(&place, 1);
    keep(&mut old, &steps, 1..=6, 7);
    clear(&place, LakeOptions::new(2)).expect("it is emptied");
    assert_eq!(parquet_objects(&place), 0);
    hand(&mut old, &steps, 7, 7).expect("taken");
    assert!(old.persist().is_err(), "whoever had it open can write no more");
    let mut new = open(&place, 3);
    assert_eq!(new.persisted(), Some(0));
    keep(&mut new, &steps, 1..=12, 1);
    assert_eq!(in_lake(&place), handed_over(&steps, 12));
}
