//! Trees as LightGBM grows them here.

use std::path::Path;

use reckon_bundle::Bundle;
use reckon_model::{LinearOptions, Random, calibration_ratio, expected_calibration_error, sigmoid};
use reckon_train::bundled::{About, contents};
use reckon_train::fit::{
    Checkpoint, CodeOptions, Epochs, FitOptions, Fitted, Learner, TreeOptions,
};
use reckon_train::split::for_each_batch;
use reckon_train::{
    Order, Parts, Progress, RowRef, Rows, Sampling, Schema, Share, Silent, Table, TableWriter,
    TrainError, fit, for_each_answer,
};

use super::{EPOCHS, trees};
use crate::learners::{Said, probabilities};
use crate::market::{self, Market};

const OPTIONS: TreeOptions =
    TreeOptions { rate: 0.1, leaves: 15, leaf_rows: 40, threads: 2, ..TreeOptions::USUAL };

/// What a click depends on: a straight number, a bent one whose absence says something, the product of
/// two, and a category that comes as a number.
fn truth(row: &[f32]) -> f32 {
    let bent = if row[1].is_nan() { 0.9 } else { (row[1] * 2.0).sin() };
    let pair = if row[2] * row[3] > 0.0 { 0.8 } else { -0.8 };
    row[0] * 0.6 + bent + pair + (row[4] as u64 * 7 % 5) as f32 * 0.4 - 3.0
}

/// Rows whose true probabilities are known; `weigh` says what each weighs.
fn write(path: &Path, rows: usize, weigh: impl Fn(bool) -> f32) -> Table {
    let names = ["straight", "bent", "left", "right", "code", "noise"];
    let schema = Schema { numeric: names.map(str::to_owned).to_vec(), ..Schema::default() };
    let mut writer = TableWriter::create(path, &schema).expect("a table begins");
    let mut random = Random::new(5);
    for row in 0..rows {
        let bent = if random.below(6) == 0 { f32::NAN } else { random.normal() };
        let [straight, left, right, noise] = std::array::from_fn(|_| random.normal());
        let numeric = [straight, bent, left, right, random.below(12) as f32, noise];
        let truth = sigmoid(truth(&numeric));
        let label = random.uniform() < f64::from(truth);
        let (time, group) = (row as i64, row as u64);
        let (numeric, weight) = (&numeric[..], weigh(label));
        writer
            .push(RowRef { numeric, keys: &[], label, weight, time, group, position: 0, truth })
            .expect("a row is written");
    }
    writer.finish().expect("a table is finished")
}

/// A table, its parts and the folder that goes when it is dropped.
fn table(rows: usize) -> (tempfile::TempDir, Table, Parts) {
    let folder = tempfile::tempdir().expect("a folder");
    let table = write(&folder.path().join("rows"), rows, |_| 1.0);
    let parts = Parts::usual(&table).expect("parts");
    (folder, table, parts)
}

#[test]
fn trees_come_near_the_truth_and_leave_lines_behind() {
    let (_folder, table, parts) = table(60_000);
    let linear = Learner::linear(
        LinearOptions { bits: 14, ..LinearOptions::default() },
        Epochs { most: 10, patience: 2, batch: 128 },
    );
    let linear = fit(&table, &parts, &FitOptions::of(linear), &mut Silent).expect("a model");
    let line = Said::of(&linear, &table, &parts).auc();
    for is_row_wise in [false, true] {
        let options = TreeOptions { is_row_wise, ..OPTIONS };
        let epochs = Epochs { most: 500, ..EPOCHS };
        let options = FitOptions::of(Learner::Trees { options, codes: CodeOptions::USUAL, epochs });
        let fitted = fit(&table, &parts, &options, &mut Silent).expect("a model");
        let said = Said::of(&fitted, &table, &parts);
        let (auc, best) = (said.auc(), said.auc_of_truth());
        let error = expected_calibration_error(&probabilities(&said.calibrated), &said.labels, 10);
        println!(
            "{} trees: AUC {auc:.4} of {best:.4}, of lines {line:.4}, ECE {error:.4}, {} rows",
            fitted.epochs,
            said.labels.len()
        );
        assert_eq!(fitted.model.kind(), "trees");
        assert!(best > 0.75 && auc > best - 0.012 && auc < best + 0.01, "{auc} of {best}");
        assert!(auc > line + 0.03, "{auc}, {line}");
        assert!(error < 0.015, "{error}");
    }
}

/// Categories, numbers, and a bundle that says the same.
#[test]
fn categories_are_learned_and_a_bundle_says_what_was_fitted() {
    let folder = tempfile::tempdir().expect("a folder");
    let market = Market { rows: 40_000, list: 1, seed: 11, bias: 0.0, users: 35, ads: 20 };
    let table = market::write(market, &folder.path().join("rows"));
    let parts = Parts::usual(&table).expect("parts");
    let options = FitOptions { sampling: Sampling { one_in: 2, seed: 4 }, ..trees(OPTIONS) };
    let fitted = fit(&table, &parts, &options, &mut Silent).expect("a model");
    let said = Said::of(&fitted, &table, &parts);
    let (auc, best) = (said.auc(), said.auc_of_truth());
    println!("{} trees: AUC {auc:.4} of {best:.4}, {} rows", fitted.epochs, said.labels.len());
    // Of the pairs of 35 and 20, which say most, a linear model loses 0.065.
    assert!(auc > best - 0.04 && auc < best + 0.01, "{auc} of {best}");
    let text = std::str::from_utf8(fitted.model.bytes()).expect("a text");
    assert!(text.contains("feature_names=straight user user_odds bent noise ad ad_odds\n"));
    assert!(text.contains("num_cat=") && text.contains("cat_threshold="), "sets of categories");

    let about = About { plan: 0, created_ms: 1 };
    let contents = contents(&fitted, &table, &parts, &about).expect("contents");
    let mut bytes = Vec::new();
    contents.write(&mut bytes).expect("a bundle");
    let bundle = Bundle::read(&bytes).expect("it reproduces its golden rows");
    let (mut compared, mut farthest) = (0, 0.0_f32);
    for_each_answer(&bundle, &table, &Share::all(parts.test.clone()), |rows, answers| {
        let mut own = Vec::new();
        fitted.logits(rows, &mut own)?;
        for (logit, answer) in own.iter().zip(answers) {
            let curved = contents.curves[0].probability(0, *logit);
            farthest = farthest.max((curved - answer).abs());
            compared += 1;
        }
        Ok(())
    })
    .expect("answers");
    println!("{compared} answers compared, at most {farthest:e} apart");
    assert!(compared as u64 == parts.test.end - parts.test.start && farthest < 1e-5);
}

#[test]
fn one_in_five_with_its_correction_is_calibrated_and_without_it_is_not() {
    let (_folder, table, parts) = table(60_000);
    let options = FitOptions { sampling: Sampling { one_in: 5, seed: 4 }, ..trees(OPTIONS) };
    let fitted = fit(&table, &parts, &options, &mut Silent).expect("a model");
    assert!((fitted.sampling_w - 0.2).abs() < 0.01, "{}", fitted.sampling_w);
    let said = Said::of(&fitted, &table, &parts);
    let ratio = |shift: f64| {
        let shifted: Vec<_> = said.logits.iter().map(|logit| logit + shift as f32).collect();
        calibration_ratio(&probabilities(&shifted), &said.labels).expect("clicks")
    };
    let (with, without) = (ratio(0.0), ratio(-fitted.sampling_w.ln()));
    let (auc, best) = (said.auc(), said.auc_of_truth());
    println!("ratio {with:.3}, uncorrected {without:.3}, AUC {auc:.4} of {best:.4}");
    assert!((with - 1.0).abs() < 0.08, "{with}");
    assert!(without > 1.8, "{without}: the test could not have told");
    assert!(auc > best - 0.02, "{auc} {best}");
}

#[test]
fn a_row_counts_as_often_as_it_weighs() {
    let folder = tempfile::tempdir().expect("a folder");
    let share = |weight: f32| {
        let path = folder.path().join(format!("rows-{weight}"));
        let table = write(&path, 30_000, |label| if label { weight } else { 1.0 });
        let parts = Parts::usual(&table).expect("parts");
        let fitted = fit(&table, &parts, &trees(OPTIONS), &mut Silent).expect("a model");
        let said = Said::of(&fitted, &table, &parts);
        let clicks = said.labels.iter().filter(|label| **label).count() as f64;
        let odds = clicks * f64::from(weight) / (said.labels.len() as f64 - clicks);
        let mean = probabilities(&said.logits).iter().map(|&one| f64::from(one)).sum::<f64>();
        // Of all that the rows stand for, the share of clicks; and what the model says of the rows.
        (odds / (1.0 + odds), mean / said.labels.len() as f64, fitted)
    };
    let ((plain, said, once), (heavy, heavier, five)) = (share(1.0), share(5.0));
    println!("share of clicks {plain:.4}, said {said:.4}; by weight {heavy:.4}, said {heavier:.4}");
    assert!((said / plain - 1.0).abs() < 0.08, "{said} {plain}");
    // The mean over unweighted rows of what is true for weighted ones lies between the two shares.
    assert!(heavier > plain * 1.8 && heavier < heavy, "{heavier}: {plain} to {heavy}");
    assert!(five.validation_loss > once.validation_loss, "heavy clicks are less certain");
}

/// Everything of a text but its parameters.
fn grown(fitted: &Fitted) -> &str {
    let text = std::str::from_utf8(fitted.model.bytes()).expect("a text");
    &text[..text.find("end of trees").expect("trees end")]
}

#[test]
fn one_seed_has_one_text_whatever_the_threads() {
    let (_folder, table, parts) = table(8_000);
    let drawn = TreeOptions { column_share: 0.7, row_share: 0.7, ..OPTIONS };
    let text = |seed, options| {
        let options = FitOptions { seed, ..trees(options) };
        fit(&table, &parts, &options, &mut Silent).expect("a model")
    };
    for options in [OPTIONS, drawn] {
        let (once, again) = (text(3, options), text(3, options));
        assert_eq!(once.model.bytes(), again.model.bytes());
        assert_eq!((once.epochs, once.validation_loss), (again.epochs, again.validation_loss));
        let alone = text(3, TreeOptions { threads: 1, ..options });
        assert!(grown(&once) == grown(&alone), "one thread grows what two grow");
    }
    assert_ne!(grown(&text(3, drawn)), grown(&text(4, drawn)), "the seed decides the draws");
}

/// Ends the work when so many trees have grown.
struct Impatient {
    left: usize,
}

impl Progress for Impatient {
    fn advance(&mut self, step: &str, _done: u64, _total: u64) {
        self.left -= usize::from(step == "trees");
    }

    fn is_stopped(&self) -> bool {
        self.left == 0
    }
}

/// Stops after each few trees and goes on, until it is through; the model, and how often it stopped.
fn resumed(table: &Table, parts: &Parts, options: &FitOptions, path: &Path) -> (Fitted, usize) {
    let mut stops = 0;
    loop {
        match fit(table, parts, options, &mut Impatient { left: 17 }) {
            Ok(fitted) => return (fitted, stops),
            Err(TrainError::Stopped) => stops += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(path.exists());
    }
}

#[test]
fn what_goes_on_after_a_stop_is_the_forest_that_never_stopped() {
    let (folder, table, parts) = table(8_000);
    let path = folder.path().join("unfinished");
    let checkpoint = Some(Checkpoint { path: path.clone(), batches: 1_000 });
    let sampling = Sampling { one_in: 3, seed: 1 };
    let mut all = 0;
    for sampling in [Sampling::NONE, sampling] {
        for is_row_wise in [false, true] {
            let plain = FitOptions { sampling, ..trees(TreeOptions { is_row_wise, ..OPTIONS }) };
            let whole = fit(&table, &parts, &plain, &mut Silent).expect("a model");
            let options = FitOptions { checkpoint: checkpoint.clone(), ..plain };
            let (fitted, stops) = resumed(&table, &parts, &options, &path);
            assert_eq!(fitted.epochs, whole.epochs);
            assert!(fitted.model.bytes() == whole.model.bytes(), "another forest");
            assert_eq!(fitted.validation_loss, whole.validation_loss);
            assert_eq!(fitted.calibration, whole.calibration);
            assert!(!path.exists(), "what is through leaves nothing");
            all += stops;
        }
    }
    println!("stopped {all} times");
    assert!(all >= 12, "{all}");
}

#[test]
fn with_draws_what_goes_on_is_another_forest_as_good_and_always_the_same() {
    let (folder, table, parts) = table(30_000);
    let path = folder.path().join("unfinished");
    let plain = trees(TreeOptions { column_share: 0.6, row_share: 0.6, ..OPTIONS });
    let whole = fit(&table, &parts, &plain, &mut Silent).expect("a model");
    let checkpoint = Some(Checkpoint { path: path.clone(), batches: 5 });
    let options = FitOptions { checkpoint, ..plain };
    let (once, stops) = resumed(&table, &parts, &options, &path);
    let (again, _) = resumed(&table, &parts, &options, &path);
    assert_eq!(once.model.bytes(), again.model.bytes());
    let (before, after) = (grown(&whole), grown(&once));
    let tree = |text: &str, number: usize| {
        let from = text.find(&format!("\nTree={number}\n")).expect("a tree");
        text[from + 1..].split("\nTree=").next().expect("a tree").trim_end().to_owned()
    };
    assert!((0..17).all(|number| tree(before, number) == tree(after, number)), "until the stop");
    assert_ne!(tree(before, 17), tree(after, 17), "drawn anew");
    let of = |fitted| Said::of(fitted, &table, &parts).auc();
    let (before, after) = (of(&whole), of(&once));
    println!("stopped {stops} times: AUC {after:.4}, never stopped {before:.4}");
    assert!((before - after).abs() < 0.01 && stops >= 2, "{before} {after} {stops}");
}

#[test]
fn a_stop_before_the_first_tree_keeps_nothing_and_loses_nothing() {
    struct AtOnce;
    impl Progress for AtOnce {
        fn advance(&mut self, _step: &str, _done: u64, _total: u64) {}

        fn is_stopped(&self) -> bool {
            true
        }
    }
    let (folder, table, parts) = table(3_000);
    let path = folder.path().join("unfinished");
    let checkpoint = Some(Checkpoint { path: path.clone(), batches: 10 });
    let options = FitOptions { checkpoint, ..trees(OPTIONS) };
    let stopped = fit(&table, &parts, &options, &mut AtOnce);
    assert!(matches!(stopped, Err(TrainError::Stopped)), "{stopped:?}");
    assert!(!path.exists());
    let ended = fit(&table, &parts, &options, &mut Impatient { left: 4 });
    assert!(matches!(ended, Err(TrainError::Stopped)), "{ended:?}");
    let kept = std::fs::read(&path).expect("it is kept");
    let stopped = fit(&table, &parts, &options, &mut AtOnce);
    assert!(matches!(stopped, Err(TrainError::Stopped)), "{stopped:?}");
    assert_eq!(std::fs::read(&path).expect("it is kept"), kept);
}

#[test]
fn what_cannot_be_grown_is_refused_with_the_reason() {
    let (folder, table, parts) = table(3_000);
    let refused = |table: &Table, options: TreeOptions| {
        let said = fit(table, &parts, &trees(options), &mut Silent);
        said.expect_err("it is refused").to_string()
    };
    let cases = [
        ("trees.rate", TreeOptions { rate: 0.0, ..OPTIONS }),
        ("trees.rate", TreeOptions { rate: f64::NAN, ..OPTIONS }),
        ("trees.leaves", TreeOptions { leaves: 1, ..OPTIONS }),
        ("trees.leaf_rows", TreeOptions { leaf_rows: 1 << 40, ..OPTIONS }),
        ("trees.column_share", TreeOptions { column_share: 1.5, ..OPTIONS }),
        ("trees.row_share", TreeOptions { row_share: -0.1, ..OPTIONS }),
        ("trees", TreeOptions { l2: -1.0, ..OPTIONS }),
        ("trees.bins", TreeOptions { bins: 70_000, ..OPTIONS }),
        ("trees.lone_categories", TreeOptions { lone_categories: 0, ..OPTIONS }),
        ("trees.threads", TreeOptions { threads: 1 << 20, ..OPTIONS }),
    ];
    for (option, options) in cases {
        let reason = refused(&table, options);
        assert!(reason.starts_with(&format!("{option}: ")), "{option}: {reason}");
    }
    let reason = refused(&table, TreeOptions { leaf_rows: 2_000, ..OPTIONS });
    assert!(reason.contains("no column parts the rows"), "{reason}");
    let copied = |name: &str, change: fn(RowRef<'_>, &mut dyn FnMut(RowRef<'_>))| {
        let path = folder.path().join(name);
        let mut writer = TableWriter::create(&path, table.schema()).expect("a table begins");
        let all = Share::all(0..table.len());
        for_each_batch(&table, &all, Order::Logged, |batch: &Rows| {
            batch.iter().for_each(|row| {
                change(row, &mut |row| writer.push(row).expect("a row is written"));
            });
            Ok(())
        })
        .expect("rows are copied");
        writer.finish().expect("a table is finished")
    };
    let clicked = copied("clicked", |row, push| push(RowRef { label: true, ..row }));
    assert!(refused(&clicked, OPTIONS).contains("nothing can be learned"));
    let heavy = copied("heavy", |row, push| push(RowRef { weight: f32::NAN, ..row }));
    assert!(refused(&heavy, OPTIONS).contains("a row weighs NaN"));
    let light = copied("light", |row, push| push(RowRef { weight: 0.0, ..row }));
    let reason = refused(&light, OPTIONS);
    assert!(reason.contains("weights above 0") || reason.contains("no column parts"), "{reason}");
}
