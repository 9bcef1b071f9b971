//! Who is erased leaves rows, figures and no trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use object_store::memory::InMemory;
use reckon_event::{Pseudonym, Subscriber};

use super::history::{batches, hand, handed_over, history, in_lake};
use super::{Bench, keep, open, parquet_objects, read, replace, values};
use crate::{Erased, Erasure, ErasureRequest, LakePlace, LakeSubscriber, Table, verify};

/// Asks until it is done, as whoever keeps traces does; `requests` are what is known after it.
fn erase(lake: &LakeSubscriber, requests: &mut [ErasureRequest]) -> Erased {
    loop {
        match lake.handle().erase(requests.to_vec()).expect("it is erased") {
            Erasure::Done(erased) => return erased,
            Erasure::Traced(traced) => {
                for (at, traces) in traced {
                    requests[at].known.merge(traces);
                    requests[at].after_epoch = 0;
                }
            }
        }
    }
}

pub(super) fn an_erased_person_leaves_rows_and_no_trace(bench: &dyn Bench) {
    let place = bench.place();
    let steps = history(5, 30, 60, 3);
    let mut lake = open(&place, 1);
    for number in 1..=30 {
        hand(&mut lake, &steps, number, 1).expect("taken");
    }
    let person = Pseudonym(2);
    let mut request = [ErasureRequest::new(person, Pseudonym(0xdead_beef), [9; 32])];
    lake.persist().expect("durable");
    let text = Some(format!("{:032x}", person.0));
    let before = values(&place, "pseudonym").iter().filter(|who| **who == text).count();
    let objects = parquet_objects(&place);
    let erased = erase(&lake, &mut request);
    assert_eq!(erased.persons[0].found, before as u64);
    assert!(before > 50 && !erased.files.is_empty(), "{before} rows");
    assert_eq!(parquet_objects(&place), objects, "the old files are gone at once");
    assert!(values(&place, "pseudonym").iter().all(|who| *who != text));
    let surrogate = Some(format!("{:032x}", 0xdead_beef_u32));
    let after = values(&place, "pseudonym").iter().filter(|who| **who == surrogate).count();
    assert_eq!(after, before, "every row is still there");
    assert_eq!(in_lake(&place), handed_over(&steps, 30), "and its verdict");
    // The history has three installs and two known tags, and this person has used them all.
    for (column, old) in [("install_id", "phone"), ("install_id", "watch"), ("ip_tag", "1")] {
        assert!(values(&place, column).iter().all(|v| v.as_deref() != Some(old)), "{column} {old}");
    }
    let again = erase(&lake, &mut request);
    assert_eq!((again.persons[0].found, again.files.len()), (0, 0));
    assert_eq!(again.persons[0].replaced_before, before as u64, "a crash would lose no count");
    drop(lake);
    assert_eq!(verify(&place).expect("it reads").damage, []);
}

/// Pairs of values of a row, as the map from the first to the second; two values of one is `None`.
fn mapping(before: &[Option<String>], after: &[Option<String>]) -> Option<usize> {
    let mut map = BTreeMap::new();
    let pairs = before.iter().zip(after);
    pairs.for_each(|(old, new)| {
        map.entry(old.clone()).or_insert_with(BTreeSet::new).insert(new.clone());
    });
    map.values().all(|new| new.len() == 1).then_some(map.len())
}

pub(super) fn who_is_erased_again_is_replaced_by_the_same(bench: &dyn Bench) {
    let place = bench.place();
    let steps = history(5, 30, 60, 3);
    let mut lake = open(&place, 1);
    let mut requests = [2, 3]
        .map(|who| ErasureRequest::new(Pseudonym(who), Pseudonym(who << 90), [who as u8; 32]));
    for number in 1..=30 {
        hand(&mut lake, &steps, number, 1).expect("taken");
        // One after the other, both of them several times, and in turns.
        if number % 7 == 0 {
            lake.persist().expect("durable");
            let count = if number < 14 { 1 } else { 2 };
            let erased = erase(&lake, &mut requests[..count]);
            requests[..count].iter_mut().for_each(|one| one.after_epoch = erased.epoch);
        }
    }
    lake.persist().expect("durable");
    assert!(requests[0].after_epoch > 0, "only new files are looked at");
    let erased = erase(&lake, &mut requests);
    assert!(erased.persons[0].found > 0, "{erased:?}");
    assert_eq!(in_lake(&place), handed_over(&steps, 30));
    // What was equal is equal, and what was not is not: a recount cannot tell the difference.
    let plain = LakePlace::store(Arc::new(InMemory::new()), "plain");
    let mut other = open(&plain, 1);
    for number in 1..=30 {
        hand(&mut other, &steps, number, 1).expect("taken");
        if number % 7 == 0 {
            other.persist().expect("durable");
        }
    }
    other.persist().expect("durable");
    let by_place = |place: &LakePlace, name: &str| {
        let mut rows: Vec<_> = values(place, "log_partition")
            .into_iter()
            .zip(values(place, "log_offset"))
            .zip(values(place, name))
            .collect();
        rows.sort();
        rows.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    for name in ["pseudonym", "install_id", "ip_tag"] {
        let (before, after) = (by_place(&plain, name), by_place(&place, name));
        let there = mapping(&before, &after).unwrap_or_else(|| panic!("{name}: split"));
        assert_eq!(mapping(&after, &before), Some(there), "{name}: joined");
        assert_ne!(before, after, "{name}");
    }
}

/// A put that was given up may arrive when the person is gone from everything that is known.
pub(super) fn what_arrives_late_goes_with_the_person(bench: &dyn Bench) {
    let place = bench.place();
    let steps = history(12, 6, 60, 1);
    let mut lake = open(&place, 1);
    keep(&mut lake, &steps, 1..=6, 1);
    let path = batches(&place, Table::Records).into_keys().next().expect("a file");
    let (folder, _) = path.rsplit_once('/').expect("it is in a folder");
    replace(
        &place,
        &format!("{folder}/000000000001-000000000006-1-999.parquet"),
        read(&place, &path),
    );
    let before = parquet_objects(&place);
    let mut request = [ErasureRequest::new(Pseudonym(2), Pseudonym(0xdead_beef), [9; 32])];
    let erased = erase(&lake, &mut request);
    assert!(!erased.files.is_empty());
    assert_eq!(parquet_objects(&place), before - 1);
    assert_eq!(in_lake(&place), handed_over(&steps, 6));
}
