//! A model was trained, and the next command did not take it; or a worse one took the place of a better one
//! and nobody said a word.
//!
//! Here the commands are called as people call them, one after the other, on rows of which it is known what
//! makes a click: train, evaluate, predict. Then the labels are thrown anew, and what is learned from that
//! is refused.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Output;

use reckon_model::{Random, sigmoid};
use serde_json::Value;

use crate::process::reckon_in;

const ROWS: usize = 6_000;

/// Rows whose clicks depend on a number and a category; or, `is_thrown`, on nothing.
fn write(path: &Path, is_thrown: bool) {
    let mut random = Random::new(11);
    let mut text = String::from("label,price,ad,user\n");
    for _ in 0..ROWS {
        let (price, ad, user) = (random.normal(), random.below(30), random.below(200));
        let known = if is_thrown { 0.0 } else { 1.5 * price + (ad % 5) as f32 * 0.8 - 1.6 };
        let label = u8::from(random.uniform() < f64::from(sigmoid(known - 1.0)));
        writeln!(text, "{label},{price},a{ad},u{user}").unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn told(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let text = String::from_utf8_lossy(&output.stderr);
        panic!("{error}: {}{text}", String::from_utf8_lossy(&output.stdout))
    })
}

/// Trains one kind; then evaluates it on the same rows and asks for each of them.
fn check(model: &str) {
    check_with(model, &[]);
}

fn check_with(model: &str, more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("rows.csv"), false);
    let trained = reckon_in(
        folder.path(),
        &[&["train", "--data", "csv:rows.csv", "--model", model, "--out", "one.bundle"], more]
            .concat(),
    );
    let figures = told(&trained);
    assert!(trained.status.success() && figures["accepted"] == true, "{model}: {figures}");
    let auc = figures["test"]["auc"].as_f64().unwrap();
    assert!(auc > 0.75, "{model}: {auc}");
    let page = std::fs::read_to_string(folder.path().join("one.bundle.html")).unwrap();
    assert!(page.contains("Receiver operating") && page.contains("price"), "{model}");
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("unfinished") || name.contains("judged"))
        .collect();
    assert!(left.is_empty(), "{model}: {left:?}");

    let on = ["one.bundle", "--data", "csv:rows.csv"];
    let evaluated = told(&reckon_in(folder.path(), &[&["evaluate"], &on[..]].concat()));
    assert_eq!(evaluated["rows"], ROWS, "{model}");
    let ratio = evaluated["calibration_ratio"].as_f64().unwrap();
    assert!((0.85..1.15).contains(&ratio), "{model}: {ratio}");
    let asked = reckon_in(folder.path(), &[&["predict"], &on[..]].concat());
    let lines = String::from_utf8(asked.stdout).unwrap();
    let answers: Vec<f64> = lines.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(answers.len(), ROWS, "{model}");
    let distinct: HashSet<_> = answers.iter().map(|answer| answer.to_bits()).collect();
    assert!(answers.iter().all(|p| (0.0..=1.0).contains(p)) && distinct.len() > 20, "{model}");
    let mean = answers.iter().sum::<f64>() / ROWS as f64;
    let clicks = evaluated["clicks"].as_f64().unwrap();
    assert!(
        (mean * ROWS as f64 / clicks - ratio).abs() < 1e-3,
        "{model}: one says one, one another"
    );
    println!(
        "{model}: AUC {auc:.3}, {ROWS} rows evaluated and predicted, {} distinct",
        distinct.len()
    );
}

#[test]
fn a_linear_model_goes_from_rows_to_answers() {
    check("linear");
}

#[test]
fn a_factorisation_machine_goes_from_rows_to_answers() {
    check("fm");
}

#[test]
fn pairs_go_from_rows_to_answers() {
    check_with("linear", &["--pairs"]);
    check_with("fm", &["--pairs"]);
    let folder = tempfile::tempdir().unwrap();
    let refused = reckon_in(folder.path(), &["train", "--model", "dcn", "--pairs"]);
    let reason = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && reason.contains("--pairs is for --model linear"),
        "{reason}"
    );
}

#[test]
fn a_network_goes_from_rows_to_answers() {
    check("dcn");
}

#[test]
#[cfg(feature = "lightgbm")]
fn trees_go_from_rows_to_answers() {
    check("lightgbm");
}

#[test]
#[cfg(feature = "lightgbm")]
fn two_stages_go_from_rows_to_answers() {
    check("two-stage");
}

#[test]
#[cfg(not(feature = "lightgbm"))]
fn a_build_without_lightgbm_says_so() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("rows.csv"), false);
    let arguments = ["train", "--data", "csv:rows.csv", "--model", "lightgbm"];
    let refused = reckon_in(folder.path(), &arguments);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains("make build"), "{told}");
}

#[test]
fn what_learned_from_thrown_labels_does_not_replace_a_model() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("rows.csv"), false);
    write(&folder.path().join("thrown.csv"), true);
    let train = |data, out, more: &[&str]| {
        let arguments = ["train", "--data", data, "--model", "linear", "--out", out];
        reckon_in(folder.path(), &[&arguments[..], more].concat())
    };
    assert!(train("csv:rows.csv", "good.bundle", &[]).status.success());
    let alone = train("csv:thrown.csv", "thrown.bundle", &[]);
    let figures = told(&alone);
    assert!(!alone.status.success() && figures["accepted"] == false, "{figures}");
    assert!(!folder.path().join("thrown.bundle").exists(), "it is not where it would be taken up");
    assert!(folder.path().join("thrown.bundle.refused").exists(), "it can be looked at");
    let page = std::fs::read_to_string(folder.path().join("thrown.bundle.html")).unwrap();
    assert!(page.contains("Refused"), "the page says so");
    // The same rows, the same model: as good as itself.
    let again = train("csv:rows.csv", "again.bundle", &["--against", "good.bundle"]);
    let figures = told(&again);
    assert!(again.status.success(), "{figures}");
    assert_eq!(figures["verdict"]["comparison"]["auc"]["middle"], 0.0);
}

#[test]
fn broken_and_foreign_bundles_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("rows.csv"), false);
    let arguments = ["train", "--data", "csv:rows.csv", "--model", "linear", "--out", "one.bundle"];
    assert!(reckon_in(folder.path(), &arguments).status.success());
    let mut bytes = std::fs::read(folder.path().join("one.bundle")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(folder.path().join("broken.bundle"), &bytes).unwrap();
    std::fs::write(folder.path().join("foreign.bundle"), b"PK\x03\x04 something else").unwrap();
    std::fs::write(folder.path().join("short.bundle"), &bytes[..100]).unwrap();
    let other = "label,cost\n1,2\n0,3\n";
    std::fs::write(folder.path().join("other.csv"), other).unwrap();
    for (bundle, data, reason) in [
        ("broken.bundle", "csv:rows.csv", "checksum"),
        ("foreign.bundle", "csv:rows.csv", "not a bundle"),
        ("short.bundle", "csv:rows.csv", "truncated"),
        ("one.bundle", "csv:other.csv", "has no column \"price\""),
        ("one.bundle", "nowhere", "no such folder"),
    ] {
        for command in ["evaluate", "predict"] {
            let asked = reckon_in(folder.path(), &[command, bundle, "--data", data]);
            let told = String::from_utf8_lossy(&asked.stderr);
            assert!(!asked.status.success() && told.contains(reason), "{bundle}: {told}");
        }
    }
}
