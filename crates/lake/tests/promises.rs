//! What a lake promises, on a folder and on a store in memory alike.

mod history;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::RecordBatch;
use arrow::datatypes::{UInt32Type, UInt64Type};
use history::{batches, hand, handed_over, history, in_lake};
use object_store::memory::InMemory;
use reckon_disk::TempDir;
use reckon_event::{Applied, Pseudonym, Subscriber, SubscriberError};
use reckon_lake::{
    Erased, Erasure, ErasureRequest, LakeOptions, LakePlace, LakeSubscriber, Table, verify,
};

fn everywhere(check: impl Fn(LakePlace)) {
    let folder = TempDir::new("lake");
    check(LakePlace::folder(folder.path()).expect("a folder"));
    check(LakePlace::store(Arc::new(InMemory::new()), "some/prefix"));
}

fn open(place: &LakePlace, writer: u64) -> LakeSubscriber {
    LakeSubscriber::open(place.clone(), LakeOptions::new(writer)).expect("it opens")
}

fn is_sorted_by_ad(rows: &RecordBatch) -> bool {
    let ads = rows.column_by_name("ad_key").expect("a column");
    ads.as_primitive::<UInt64Type>().values().is_sorted()
}

fn tenants(rows: &RecordBatch) -> Vec<u32> {
    let column = rows.column_by_name("tenant").expect("a column");
    column.as_primitive::<UInt32Type>().values().to_vec()
}

#[test]
fn epochs_come_back_as_they_were_and_once() {
    everywhere(|place| {
        let steps = history(1, 40, 50, 5);
        let mut lake = open(&place, 1);
        for number in 1..=40 {
            assert_eq!(hand(&mut lake, &steps, number, 1).expect("taken"), Applied::Fresh);
            assert_eq!(hand(&mut lake, &steps, number, 1).expect("known"), Applied::Again);
            if number == 20 {
                lake.persist().expect("durable");
            }
        }
        assert_eq!(lake.persisted(), Some(20), "what is not persisted is not in");
        assert_eq!(in_lake(&place), handed_over(&steps, 20));
        lake.persist().expect("durable");
        let covered = lake.handle().covered();
        assert_eq!(covered.epoch, 40);
        let ends: Vec<u64> = steps[39].bounds.iter().map(|bound| bound.to).collect();
        assert_eq!(covered.positions.iter().map(|at| at.to).collect::<Vec<_>>(), ends);
        let all = handed_over(&steps, 40);
        assert_eq!(in_lake(&place), all);
        assert!(all.0.len() > 500 && all.1.len() > 20, "{} and {} rows", all.0.len(), all.1.len());
    });
}

#[test]
fn files_are_sorted_and_of_one_tenant_and_hour() {
    everywhere(|place| {
        let steps = history(2, 30, 60, 5);
        let mut lake = open(&place, 1);
        for number in 1..=30 {
            hand(&mut lake, &steps, number, 1).expect("taken");
        }
        lake.persist().expect("durable");
        let files = batches(&place, Table::Records);
        assert!(files.len() > 8, "{} files", files.len());
        for (path, rows) in &files {
            for rows in rows {
                let found: BTreeSet<u32> = tenants(rows).into_iter().collect();
                assert_eq!(found.len(), 1, "{path}");
                assert!(path.starts_with(&format!("tenant={}/", found.first().expect("one"))));
                assert!(is_sorted_by_ad(rows), "{path}");
            }
        }
    });
}

#[test]
fn a_lower_generation_is_fenced_and_an_older_writer_is_cut_off() {
    everywhere(|place| {
        let steps = history(3, 9, 20, 1);
        let mut old = open(&place, 1);
        for number in 1..=4 {
            hand(&mut old, &steps, number, 5).expect("taken");
        }
        old.persist().expect("durable");
        hand(&mut old, &steps, 5, 5).expect("taken");

        let mut new = open(&place, 2);
        let fenced = hand(&mut new, &steps, 5, 4);
        assert!(matches!(fenced, Err(SubscriberError::Fenced(5))), "{fenced:?}");
        assert_eq!(hand(&mut new, &steps, 4, 6).expect("known"), Applied::Again);
        let cut_off = old.persist();
        assert!(matches!(cut_off, Err(SubscriberError::Fenced(6))), "{cut_off:?}");
        for number in 5..=9 {
            assert_eq!(hand(&mut new, &steps, number, 6).expect("taken"), Applied::Fresh);
        }
        new.persist().expect("durable");
        drop(old);
        assert_eq!(in_lake(&place), handed_over(&steps, 9));
        let gap = hand(&mut new, &history(3, 12, 20, 1), 11, 6);
        assert!(gap.expect_err("a gap").to_string().contains("10 is next"));
    });
}

#[test]
fn small_files_become_few_and_no_row_changes() {
    everywhere(|place| {
        let steps = history(4, 60, 40, 1);
        let mut lake = open(&place, 1);
        let lease = lake.handle().lease();
        for number in 1..=60 {
            hand(&mut lake, &steps, number, 1).expect("taken");
            lake.persist().expect("durable");
        }
        let merges = lake.handle().merge().expect("merged");
        assert_eq!(lake.handle().trouble(), None);
        let files = batches(&place, Table::Records);
        assert!(files.len() < 60, "{} files after {merges} merges", files.len());
        assert!(files.values().flatten().all(is_sorted_by_ad));
        assert_eq!(in_lake(&place), handed_over(&steps, 60));
        let objects = parquet_objects(&place);
        assert!(objects > files.len() + 60, "a lease keeps old files: {objects}");
        drop(lease);
        hand(&mut lake, &history(4, 61, 40, 1), 61, 2).expect("taken");
        lake.persist().expect("durable");
        lake.handle().merge().expect("merged");
        assert!(parquet_objects(&place) < objects, "without a lease they go");
        drop(lake);
        let _again = open(&place, 2);
        let live = batches(&place, Table::Records).len() + batches(&place, Table::Revisions).len();
        assert_eq!(parquet_objects(&place), live, "opening removes what nobody names");
    });
}

fn parquet_objects(place: &LakePlace) -> usize {
    use futures::TryStreamExt;
    use object_store::ObjectStore;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let root = place.object("");
    let list = place.objects().list(Some(&root)).try_collect::<Vec<_>>();
    let objects = runtime.expect("a runtime").block_on(list).expect("a list");
    objects.iter().filter(|object| object.location.as_ref().ends_with(".parquet")).count()
}

/// All values of one column, as text.
fn values(place: &LakePlace, name: &str) -> Vec<Option<String>> {
    let files = batches(place, Table::Records);
    let mut all = Vec::new();
    for rows in files.values().flatten() {
        let column = rows.column_by_name(name).expect("a column");
        let text = arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).expect("text");
        all.extend(text.as_string::<i32>().iter().map(|text| text.map(str::to_owned)));
    }
    all
}

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

#[test]
fn an_erased_person_leaves_rows_and_no_trace() {
    everywhere(|place| {
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
            assert!(
                values(&place, column).iter().all(|v| v.as_deref() != Some(old)),
                "{column} {old}"
            );
        }
        let again = erase(&lake, &mut request);
        assert_eq!((again.persons[0].found, again.files.len()), (0, 0));
        assert_eq!(again.persons[0].replaced_before, before as u64, "a crash would lose no count");
        drop(lake);
        assert_eq!(verify(&place).expect("it reads").damage, []);
    });
}

/// Pairs of values of a row, as the map from the first to the second; two values of one is `None`.
fn mapping(before: &[Option<String>], after: &[Option<String>]) -> Option<usize> {
    let mut map = std::collections::BTreeMap::new();
    let pairs = before.iter().zip(after);
    pairs.for_each(|(old, new)| {
        map.entry(old.clone()).or_insert_with(BTreeSet::new).insert(new.clone());
    });
    map.values().all(|new| new.len() == 1).then_some(map.len())
}

#[test]
fn who_is_erased_while_events_come_is_replaced_by_the_same() {
    everywhere(|place| {
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
    });
}

#[test]
fn damage_is_found_and_named() {
    let folder = TempDir::new("lake-damage");
    let place = LakePlace::folder(folder.path()).expect("a folder");
    let steps = history(6, 10, 60, 1);
    let mut lake = open(&place, 1);
    for number in 1..=10 {
        hand(&mut lake, &steps, number, 1).expect("taken");
    }
    lake.persist().expect("durable");
    drop(lake);
    let whole = verify(&place).expect("it reads");
    assert!(whole.damage.is_empty() && whole.rows > 100 && whole.files > 2, "{whole:?}");
    let path = batches(&place, Table::Records).into_keys().next().expect("a file");
    let file = folder.path().join(&path);
    let mut bytes = std::fs::read(&file).expect("it reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&file, bytes).expect("it writes");
    let found = verify(&place).expect("it reads");
    assert_eq!(found.damage.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), [path]);
}
