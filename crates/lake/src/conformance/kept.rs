//! What was handed over is there, once, sorted, and in few files.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{UInt32Type, UInt64Type};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use reckon_event::{Applied, Subscriber};

use super::history::{batches, hand, handed_over, history, in_lake, lines_of};
use super::{Bench, keep, objects, open, parquet_objects, wait};
use crate::{LakePlace, LakeReader, Table};

fn is_sorted_by_ad(rows: &RecordBatch) -> bool {
    let ads = rows.column_by_name("ad_key").expect("a column");
    ads.as_primitive::<UInt64Type>().values().is_sorted()
}

fn tenants(rows: &RecordBatch) -> Vec<u32> {
    let column = rows.column_by_name("tenant").expect("a column");
    column.as_primitive::<UInt32Type>().values().to_vec()
}

pub(super) fn epochs_come_back_as_they_were_and_once(bench: &dyn Bench) {
    let place = bench.place();
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
}

pub(super) fn files_are_sorted_and_of_one_tenant_and_hour(bench: &dyn Bench) {
    let place = bench.place();
    let mut lake = open(&place, 1);
    keep(&mut lake, &history(2, 30, 60, 5), 1..=30, 1);
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
}

pub(super) fn small_files_become_few_and_no_row_changes(bench: &dyn Bench) {
    let place = bench.place();
    let steps = history(4, 60, 40, 1);
    let mut lake = open(&place, 1);
    let lease = lake.handle().lease();
    for number in 1..=60 {
        keep(&mut lake, &steps, number..=number, 1);
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
    keep(&mut lake, &history(4, 61, 40, 1), 61..=61, 2);
    lake.handle().merge().expect("merged");
    assert!(parquet_objects(&place) < objects, "without a lease they go");
    drop(lake);
    let _again = open(&place, 2);
    let live = batches(&place, Table::Records).len() + batches(&place, Table::Revisions).len();
    assert_eq!(parquet_objects(&place), live, "opening removes what nobody names");
}

/// More than any store tells of in one answer.
const MANY: usize = 1_100;

fn make_many(place: &LakePlace) {
    let name = |n: usize| format!("tenant=1/day=2026-11-21/hour=10/{n:012}-{n:012}-1-{n}.parquet");
    let made = futures::stream::iter(0..MANY)
        .map(|number| async move {
            let object = place.object(&name(number));
            place.objects().put(&object, Bytes::from_static(b"cut sh").into()).await
        })
        .buffer_unordered(8)
        .try_collect::<Vec<_>>();
    assert_eq!(wait(made).expect("they are written").len(), MANY);
}

pub(super) fn an_opening_removes_what_nobody_names(bench: &dyn Bench) {
    let place = bench.place();
    let steps = history(7, 5, 60, 2);
    let mut lake = open(&place, 1);
    keep(&mut lake, &steps, 1..=5, 1);
    drop(lake);
    let before = parquet_objects(&place);
    make_many(&place);
    let foreign = ["a.parquet", "tenant=1/a.parquet", "manifest/a.json", "manifest/7.json"];
    for path in foreign {
        super::replace(&place, path, Bytes::from_static(b"not the lake's"));
    }
    assert_eq!(parquet_objects(&place), before + MANY + 2, "all are listed");
    let lake = open(&place, 2);
    assert_eq!(lake.persisted(), Some(5));
    assert_eq!(parquet_objects(&place), before + 2);
    let left: BTreeSet<_> = objects(&place).into_iter().map(|one| one.location).collect();
    for path in foreign {
        assert!(left.contains(&place.object(path)), "{path} is not the lake's to remove");
    }
    assert_eq!(in_lake(&place), handed_over(&steps, 5));
}

pub(super) fn a_reader_sees_one_state(bench: &dyn Bench) {
    let place = bench.place();
    assert!(LakeReader::open(place.clone()).expect("it answers").is_none(), "there is no lake yet");
    let steps = history(7, 30, 40, 3);
    let mut lake = open(&place, 1);
    keep(&mut lake, &steps, 1..=20, 1);
    let reader = LakeReader::open(place.clone()).expect("it opens").expect("a lake");
    keep(&mut lake, &steps, 21..=30, 1);
    let asked = ["verdict", "epoch", "log_offset", "log_partition", "category_key"];
    let mut lines = Vec::new();
    for file in reader.manifest().files.iter().filter(|file| file.table == Table::Records) {
        for rows in reader.rows(file, &asked).expect("it is there") {
            let rows = rows.expect("rows");
            let names: Vec<_> =
                rows.schema().fields().iter().map(|field| field.name().clone()).collect();
            assert_eq!(names, asked);
            lines.extend(lines_of(&rows));
        }
    }
    lines.sort_unstable();
    assert_eq!(lines, handed_over(&steps, 20).0);
    assert!(lines.len() > 200, "{} rows", lines.len());
}
