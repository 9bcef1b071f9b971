//! A table that tears: a chunk that a bit flips in, a file that was cut off, a list that a cut between
//! training and test runs through, a shuffled reading that loses rows or draws them twice. A model
//! would be trained all the same, and nobody would know why it is worse.

use std::collections::HashSet;
use std::fs;

use reckon_train::split::for_each_batch;
use reckon_train::{Order, Parts, Rows, Sampling, Share, Table, TableWriter, TrainError};

use crate::market::{self, Market};

const MARKET: Market = Market { rows: 30_000, list: 7, seed: 3, bias: 0.0, users: 300, ads: 200 };

fn read(table: &Table, share: &Share, order: Order, batch: usize) -> Rows {
    let mut all = Rows::new(table.schema());
    let mut rows = Rows::new(table.schema());
    let mut cursor = table.read(share, order).expect("a cursor");
    while cursor.next(&mut rows, batch).expect("a batch") {
        assert!(rows.len() <= batch);
        all.extend(&rows, 0..rows.len());
    }
    all
}

fn bits(rows: &Rows) -> Vec<u32> {
    rows.numeric.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = market::write(MARKET, &folder.path().join("rows"));
    assert_eq!((table.len(), table.entries().len(), table.is_sorted()), (30_000, 4, true));
    let all = Share::all(0..table.len());
    let once = read(&table, &all, Order::Logged, 1_000);
    let again = read(&Table::open(table.path()).expect("it opens"), &all, Order::Logged, 77);
    assert_eq!((bits(&once), &once.keys, &once.labels), (bits(&again), &again.keys, &again.labels));
    assert_eq!(once.times, again.times);
    let clicks: u32 = table.entries().iter().map(|entry| entry.clicks).sum();
    assert_eq!(clicks as usize, once.labels.iter().filter(|label| **label).count());
}

#[test]
fn a_shuffled_reading_has_each_row_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = market::write(MARKET, &folder.path().join("rows"));
    let share = Share::all(5_000..29_001);
    let logged = read(&table, &share, Order::Logged, 512);
    let sorted = |rows: &Rows| {
        let mut bits: Vec<_> = bits(rows).chunks(3).map(<[u32]>::to_vec).collect();
        bits.sort_unstable();
        bits
    };
    let mut orders = HashSet::new();
    for seed in 0..4 {
        let shuffled = read(&table, &share, Order::Shuffled(seed), 512);
        assert_eq!(sorted(&shuffled), sorted(&logged));
        assert_eq!(bits(&shuffled), bits(&read(&table, &share, Order::Shuffled(seed), 99)));
        orders.insert(bits(&shuffled)[..30].to_vec());
    }
    assert_eq!(orders.len(), 4, "each seed has an order of its own");
}

#[test]
fn a_skipped_reading_goes_on_where_the_other_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = market::write(MARKET, &folder.path().join("rows"));
    let share = Share { rows: 100..25_000, sampling: Sampling { one_in: 3, seed: 1 } };
    let whole = read(&table, &share, Order::Shuffled(5), 256);
    for skipped in [0u64, 1, 255, 4_000, whole.len() as u64 - 1] {
        let mut cursor = table.read(&share, Order::Shuffled(5)).expect("a cursor");
        assert!(cursor.skip(skipped).expect("rows are there"));
        let mut rest = Rows::new(table.schema());
        cursor.next(&mut rest, usize::MAX).expect("the rest");
        assert_eq!(bits(&rest), bits(&whole)[skipped as usize * 3..]);
    }
    let mut cursor = table.read(&share, Order::Shuffled(5)).expect("a cursor");
    assert!(!cursor.skip(whole.len() as u64 + 1).expect("no error"));
}

#[test]
fn damage_anywhere_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows");
    let table = market::write(Market { rows: 500, ..MARKET }, &path);
    let whole = fs::read(&path).expect("its bytes");
    let all = Share::all(0..table.len());
    let sees = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        let opened = Table::open(&path);
        opened.and_then(|table| for_each_batch(&table, &all, Order::Logged, |_| Ok(()))).is_err()
    };
    let mut compared = 0;
    for place in (0..whole.len()).step_by(97).chain(whole.len() - 60..whole.len()) {
        let mut damaged = whole.clone();
        damaged[place] ^= 4;
        assert!(sees(&damaged), "a flipped bit in byte {place} goes unseen");
        compared += 1;
    }
    for length in [0, 3, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        assert!(sees(&whole[..length]), "cut off after {length} bytes");
    }
    assert!(compared > 200, "{compared} places");
    assert!(!sees(&whole), "the whole file is read");
}

#[test]
fn no_cut_tears_a_list_or_a_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    for (list, rows) in [(1, 100), (7, 30_000), (25, 20_000), (300, 9_000)] {
        let market = Market { list, rows, ..MARKET };
        let table = market::write(market, &folder.path().join(format!("{list}")));
        let parts = Parts::usual(&table).expect("parts");
        let groups = |range: std::ops::Range<u64>| -> HashSet<u64> {
            read(&table, &Share::all(range), Order::Logged, 4_096).groups.into_iter().collect()
        };
        let (train, validation, test) = (
            groups(parts.train.clone()),
            groups(parts.validation.clone()),
            groups(parts.test.clone()),
        );
        assert!(train.is_disjoint(&validation) && validation.is_disjoint(&test));
        assert!(train.is_disjoint(&test));
        let share = |range: &std::ops::Range<u64>| (range.end - range.start) as f64 / rows as f64;
        let slack = list as f64 / rows as f64 + 1e-9;
        assert!((share(&parts.test) - 0.2).abs() <= slack, "{parts:?}");
        assert!((share(&parts.validation) - 0.1).abs() <= 2.0 * slack, "{parts:?}");
    }
}

#[test]
fn rows_out_of_order_and_torn_lists_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = market::write(Market { rows: 50, ..MARKET }, &folder.path().join("rows"));
    let rows = read(&table, &Share::all(0..50), Order::Logged, 64);
    let backwards = folder.path().join("backwards");
    let mut writer = TableWriter::create(&backwards, table.schema()).expect("begun");
    for index in (0..50).rev() {
        writer.push(rows.row(index)).expect("written");
    }
    let unsorted = writer.finish().expect("finished");
    let error = Parts::usual(&unsorted).expect_err("out of order").to_string();
    assert!(error.contains("sort"), "{error}");
    let mut writer = TableWriter::create(&backwards, table.schema()).expect("begun");
    writer.push(rows.row(0)).and_then(|()| writer.push(rows.row(20))).expect("written");
    let error = writer.push(rows.row(1)).expect_err("torn");
    assert!(matches!(error, TrainError::Content { .. }), "{error}");
}

#[test]
fn sampling_keeps_every_click_and_says_what_it_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = market::write(MARKET, &folder.path().join("rows"));
    let clicks = |rows: &Rows| rows.labels.iter().filter(|label| **label).count();
    let all = read(&table, &Share::all(0..30_000), Order::Logged, 4_096);
    for one_in in [1, 2, 10] {
        let share = Share { rows: 0..30_000, sampling: Sampling { one_in, seed: 8 } };
        let kept = read(&table, &share, Order::Logged, 4_096);
        assert_eq!(clicks(&kept), clicks(&all));
        let counted = share.count(&table).expect("counted");
        assert_eq!((counted.rows, counted.clicks), (kept.len() as u64, clicks(&kept) as u64));
        let share = (kept.len() - clicks(&kept)) as f64 / (all.len() - clicks(&all)) as f64;
        assert!((counted.kept() - share).abs() < 1e-12);
        assert!((counted.kept() * f64::from(one_in) - 1.0).abs() < 0.05, "{}", counted.kept());
    }
}

/// The plan of features has numbers and categories of one name, such as the weekday.
#[test]
fn a_number_and_a_category_may_have_one_name() {
    let plan = reckon_feature::Plan::default();
    let schema = reckon_train::lake::schema(&plan);
    assert!(schema.numeric.iter().any(|name| schema.fields.contains(name)), "there are some");
    schema.check().expect("every plan is a schema");
    let mut columns = schema.clone();
    columns.numeric.push(schema.numeric[0].clone());
    let mut fields = schema.clone();
    fields.fields.push(schema.fields[0].clone());
    for (schema, says) in [(columns, "two columns are called"), (fields, "two fields are called")] {
        let told = schema.check().expect_err("refused").to_string();
        assert!(told.contains(says), "{told}");
    }
}
