//! Logs as others wrote them, and what they do wrong: a line that is too short, a label that is 2, a
//! number with a letter, a click rate that already knows the row's own click.
//!
//! The real logs lie in the folder that `RECKON_DATA` names; where it is unset, that is said, and what
//! needs them is left out.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use reckon_train::data::{DelimitedOptions, Format, import, key};
use reckon_train::{Order, Parts, Rows, Share, Silent, Table, TrainError};

fn read(table: &Table) -> Rows {
    let mut rows = Rows::new(table.schema());
    let mut cursor = table.read(&Share::all(0..table.len()), Order::Logged).expect("a cursor");
    cursor.next(&mut rows, usize::MAX).expect("rows");
    rows
}

fn log(folder: &Path, name: &str) -> Option<PathBuf> {
    let data = std::env::var_os("RECKON_DATA").map(PathBuf::from);
    let data = data.map(|data| if data.is_relative() { root().join(data) } else { data });
    if data.is_none() {
        println!("left out: {name}, because RECKON_DATA names no folder of real logs");
    }
    let _ = folder;
    data.map(|data| data.join(name))
}

/// The workspace's folder: tests run in their crate's.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Imports a real log, and says how many rows and clicks it has.
fn real(format: &Format, name: &str) -> Option<(Rows, Table)> {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path(), name)?;
    let table = import(format, &log, &folder.path().join("rows"), &mut Silent).expect(name);
    assert!(table.is_sorted());
    Parts::usual(&table).expect("it can be cut");
    Some((read(&table), table))
}

fn clicks(rows: &Rows) -> usize {
    rows.labels.iter().filter(|label| **label).count()
}

#[test]
fn criteo_is_read_and_counts_only_what_came_before() {
    let Some((rows, table)) = real(&Format::Criteo, "criteo/train.tsv") else { return };
    assert_eq!((rows.len(), clicks(&rows)), (8_000, 1_728));
    let (seen, rate) = (table.schema().column("C1 seen"), table.schema().column("C1 rate"));
    let (seen, rate) = (seen.expect("a column"), rate.expect("a column"));
    // Counted again, plainly.
    let mut counts: HashMap<u64, (f32, f32)> = HashMap::new();
    let mut all = (0.0f32, 0.0f32);
    let mut compared = 0;
    for row in rows.iter() {
        let (shown, clicked) = counts.get(&row.keys[0]).copied().unwrap_or_default();
        if row.keys[0] != 0 {
            let mean = (all.1 + 0.5) / (all.0 + 10.0);
            let expected = (clicked + 10.0 * mean) / (shown + 10.0);
            assert!((row.numeric[seen] - shown.ln_1p()).abs() < 1e-5);
            assert!((row.numeric[rate] - expected).abs() < 1e-5);
            let entry = counts.entry(row.keys[0]).or_default();
            let click = f32::from(u8::from(row.label));
            *entry = (shown + 1.0, clicked + click);
            all = (all.0 + 1.0, all.1 + click);
            compared += 1;
        }
    }
    assert_eq!(compared, 8_000);
}

#[test]
fn the_other_logs_are_read() {
    if let Some((rows, _)) = real(&Format::Avazu, "avazu/train.csv") {
        assert_eq!((rows.len(), clicks(&rows)), (8_999, 1_563));
    }
    for (name, expected) in [("men", 69), ("women", 46)] {
        let name = format!("open-bandit/bts/{name}/{name}.csv");
        if let Some((rows, _)) = real(&Format::OpenBandit, &name) {
            assert_eq!((rows.len(), clicks(&rows)), (10_000, expected));
            assert!(rows.positions.iter().all(|place| (1..=3).contains(place)));
        }
    }
    if let Some((rows, _)) = real(&Format::Mind, "mind/behaviors.tsv") {
        let lists = rows.groups.last().copied();
        assert_eq!(lists, Some(3_750));
        assert!((0.03..0.06).contains(&(clicks(&rows) as f64 / rows.len() as f64)));
    }
    if let Some((rows, _)) = real(&Format::Trivago, "trivago/trivago_val_100k.parquet.snappy") {
        let first = rows.iter().filter(|row| row.position == 1);
        assert_eq!(first.clone().count(), 13_597);
        assert_eq!(first.filter(|row| row.label).count(), 4_209);
    }
    if let Some((rows, _)) = real(&Format::Tiangong, "tiangong/train_per_query_quid.txt") {
        assert_eq!(rows.len(), 28_720);
        let clicked = |place| rows.iter().filter(|row| row.position == place && row.label).count();
        assert_eq!([1, 2, 10].map(clicked), [378, 252, 34]);
    }
}

#[track_caller]
fn check(format: &Format, text: &str, line: u64, column: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    fs::write(&log, text).expect("written");
    let error =
        import(format, &log, &folder.path().join("rows"), &mut Silent).expect_err("refused");
    match &error {
        TrainError::Line { line: seen, column: name, .. } => {
            assert_eq!((*seen, name.as_str()), (line, column), "{error}");
        }
        _ => panic!("{error}"),
    }
}

fn csv() -> Format {
    let options = DelimitedOptions {
        label: "click".to_owned(),
        categorical: vec!["ad".to_owned()],
        history: true,
        ..DelimitedOptions::default()
    };
    Format::Csv(options)
}

#[test]
fn a_bad_line_is_named() {
    let good = format!("1{}{}\n", "\t5".repeat(13), "\tab".repeat(26));
    check(&Format::Criteo, &format!("{good}2{}", &good[1..]), 2, "label");
    check(&Format::Criteo, &format!("{good}{}", good.replacen("5", "5x", 1)), 2, "I1");
    check(&Format::Criteo, &format!("{good}{good}1\t5\n"), 3, "I2");
    check(&Format::Criteo, &format!("{}\t1\n", good.trim_end()), 1, "behind the last");
    check(&csv(), "click,ad,price\n1,7,2.5\n0,8,3\nno,8,3\n", 4, "click");
    check(&csv(), "click,ad,price\n1,7,2.5\n0,8\n", 3, "price");
    let late: String = (0..10_001).map(|_| "0,8,3\n").collect();
    check(&csv(), &format!("click,ad,price\n1,7,2.5\n{late}0,8,cheap\n"), 10_004, "price");
    check(&Format::Tiangong, "1\t2\t[1, 2]\t[1, 1]\t[0, 2]\n", 1, "clicks");
    check(&Format::Tiangong, "1\t2\t[1, 2]\t[1, 1]\t[0]\n", 1, "clicks");
}

#[test]
fn a_file_tells_what_its_columns_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log.csv");
    fs::write(&log, "click,ad,price,list,city\n1,7,2.5,a,Oslo\n0,8,,a,\n0,7,3,b,Rome\n")
        .expect("written");
    let options = DelimitedOptions {
        label: "click".to_owned(),
        group: Some("list".to_owned()),
        categorical: vec!["ad".to_owned()],
        history: true,
        ..DelimitedOptions::default()
    };
    let path = folder.path().join("rows");
    let table = import(&Format::Csv(options), &log, &path, &mut Silent).expect("read");
    let names = ["price", "ad seen", "ad rate", "city seen", "city rate"];
    assert_eq!(table.schema().numeric, names);
    assert_eq!(table.schema().fields, ["ad", "city"]);
    let rows = read(&table);
    assert_eq!(rows.keys[..2], [key("ad", "7"), key("city", "Oslo")]);
    assert_eq!(rows.row(1).keys[1], 0, "an empty category is missing");
    assert!(rows.row(1).numeric[0].is_nan());
    assert_eq!(rows.row(2).numeric[1], 2f32.ln(), "one row with ad 7 came before");
    let unknown = DelimitedOptions { label: "clicked".to_owned(), ..DelimitedOptions::default() };
    let error =
        import(&Format::Csv(unknown), &log, &path, &mut Silent).expect_err("no such column");
    assert!(error.to_string().contains("click, ad, price, list, city"), "{error}");
}

#[test]
fn rows_of_one_list_do_not_know_each_others_clicks() {
    let Some((rows, table)) = real(&Format::Tiangong, "tiangong/train_per_query_quid.txt") else {
        return;
    };
    let seen = table.schema().column("pair seen").expect("a column");
    for list in 0..rows.len() / 10 {
        // The same pair can stand in a list once only: its count is of earlier lists.
        let first = rows.row(list * 10).numeric[1];
        assert!((0..10).all(|place| rows.row(list * 10 + place).numeric[1] == first));
    }
    assert_eq!(rows.row(0).numeric[seen], 0.0);
}
