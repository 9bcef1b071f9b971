//! A model that learned the order of its rows instead of the rows; that was best after three rounds and
//! is handed out as it was after twenty; that saw one row in five of those not clicked and bids five times
//! too much; that is another one whenever it is trained again. Each looks like a model.
//!
//! The market of these tests knows its true probabilities, so a model is held against the truth itself.

use reckon_model::{calibration_ratio, expected_calibration_error, log_loss, sigmoid};
use reckon_train::fit::{Checkpoint, Encoding, Epochs, FitOptions, Fitted, Learner};
use reckon_train::split::for_each_batch;
use reckon_train::{
    Order, Parts, Position, Progress, RowRef, Rows, Sampling, Share, Silent, Table, TableWriter,
    TrainError, fit,
};

use crate::learners::{Said, dcn, factor, linear, paired, paired_factor};
use crate::market::{self, Market};

const MARKET: Market = Market { rows: 40_000, list: 5, seed: 11, bias: 0.0, users: 35, ads: 20 };
const EPOCHS: Epochs = Epochs { most: 10, patience: 2, batch: 128 };

/// The network with numbers as categories besides, a mean over epochs, and hidden results left out.
fn dcn_held() -> Learner {
    let mut learner = dcn(EPOCHS);
    if let Learner::Dcn { has_buckets, average, options, .. } = &mut learner {
        (*has_buckets, *average, options.dropout) = (true, 0.5, 0.1);
    }
    learner
}

/// A market's table in a folder that goes when it is dropped.
fn table(market: Market) -> (tempfile::TempDir, Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let table = market::write(market, &folder.path().join("rows"));
    (folder, table)
}

/// Fits, and holds the model against the truth: at most so much AUC is lost, and probabilities are
/// those that are seen.
fn check(learner: Learner, lost_max: f64) -> Fitted {
    let (_folder, table) = table(MARKET);
    let parts = Parts::usual(&table).expect("parts");
    let fitted = fit(&table, &parts, &FitOptions::of(learner), &mut Silent).expect("a model");
    let said = Said::of(&fitted, &table, &parts);
    let (auc, best) = (said.auc(), said.auc_of_truth());
    let error = expected_calibration_error(&said.probabilities(), &said.labels, 10);
    let loss = log_loss(&said.calibrated, &said.labels);
    println!(
        "{}: AUC {auc:.4} of {best:.4}, ECE {error:.4}, log loss {loss:.4}, {} rows, {} epochs",
        fitted.model.kind(),
        said.labels.len(),
        fitted.epochs,
    );
    assert!(best > 0.7, "a market in which something can be learned: {best}");
    assert!(auc > best - lost_max && auc < best + 0.01, "{auc} of {best}");
    assert!(error < 0.02, "{error}");
    assert_eq!(fitted.training.rows, parts.train.end - parts.train.start);
    assert_eq!((fitted.training.from_ms, fitted.sampling_w), (0, 1.0));
    fitted
}

#[test]
fn a_linear_model_learns_all_but_the_pairs() {
    check(linear(EPOCHS), 0.065);
}

#[test]
fn a_linear_model_of_pairs_learns_them() {
    let fitted = check(paired(EPOCHS), 0.03);
    assert_eq!(
        fitted.encoding.schema().fields,
        ["user", "straight", "ad", "bent", "noise", "user with ad"]
    );
}

#[test]
fn a_factorisation_machine_learns_pairs() {
    check(factor(false, EPOCHS), 0.03);
}

#[test]
fn a_factorisation_machine_may_have_a_weight_for_each_pair() {
    let fitted = check(paired_factor(EPOCHS), 0.03);
    assert_eq!(fitted.encoding.schema().fields[5], "user with ad");
}

#[test]
fn a_field_aware_machine_learns_pairs() {
    check(factor(true, EPOCHS), 0.025);
}

#[test]
fn a_network_learns_numbers_and_pairs() {
    let fitted = check(dcn(EPOCHS), 0.035);
    assert_eq!(fitted.encoding.encoding(), &Encoding::Plain);
}

#[test]
fn a_network_learns_curves_from_buckets() {
    let fitted = check(dcn_held(), 0.03);
    let Encoding::Both(columns) = fitted.encoding.encoding() else {
        panic!("{:?}", fitted.encoding)
    };
    assert_eq!(columns.iter().count(), market::schema().numeric.len());
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let (_folder, table) = table(Market { rows: 6_000, ..MARKET });
    let parts = Parts::usual(&table).expect("parts");
    for learner in [
        linear(EPOCHS),
        paired(EPOCHS),
        factor(false, EPOCHS),
        factor(true, EPOCHS),
        dcn(EPOCHS),
        dcn_held(),
    ] {
        let fitted = |seed| {
            let options = FitOptions { seed, ..FitOptions::of(learner.clone()) };
            fit(&table, &parts, &options, &mut Silent).expect("a model")
        };
        let (once, again, other) = (fitted(1), fitted(1), fitted(2));
        let kind = once.model.kind();
        assert_eq!(once.model.bytes(), again.model.bytes(), "{kind}");
        assert_eq!((&once.calibration, once.epochs), (&again.calibration, again.epochs), "{kind}");
        assert_eq!(once.encoding, again.encoding, "{kind}");
        assert_ne!(once.model.bytes(), other.model.bytes(), "{kind}: the seed decides the order");
    }
}

#[test]
fn one_in_five_with_its_correction_is_calibrated_and_without_it_is_not() {
    let (_folder, table) = table(MARKET);
    let parts = Parts::usual(&table).expect("parts");
    for learner in [linear(EPOCHS), factor(false, EPOCHS), dcn(EPOCHS)] {
        let sampling = Sampling { one_in: 5, seed: 4 };
        let options = FitOptions { sampling, ..FitOptions::of(learner) };
        let fitted = fit(&table, &parts, &options, &mut Silent).expect("a model");
        assert!((fitted.sampling_w - 0.2).abs() < 0.01, "{}", fitted.sampling_w);
        let said = Said::of(&fitted, &table, &parts);
        let ratio = calibration_ratio(&said.probabilities(), &said.labels).expect("clicks");
        let error = expected_calibration_error(&said.probabilities(), &said.labels, 10);
        // The correction alone: log odds before the calibration, which could hide a missing one.
        let mut corrected = Vec::new();
        for_each_batch(&table, &Share::all(parts.test.clone()), Order::Logged, |batch| {
            fitted.logits(batch, &mut corrected)
        })
        .expect("rows are scored");
        let share = |shift: f32| {
            let shifted: Vec<_> = corrected.iter().map(|logit| sigmoid(logit + shift)).collect();
            calibration_ratio(&shifted, &said.labels).expect("clicks")
        };
        let (with, without) = (share(0.0), share(-fitted.sampling_w.ln() as f32));
        println!(
            "{}: ratio {ratio:.3}, ECE {error:.4}; before calibration {with:.3}, uncorrected {without:.3}",
            fitted.model.kind()
        );
        assert!((ratio - 1.0).abs() < 0.08 && error < 0.02, "{ratio} {error}");
        assert!((with - 1.0).abs() < 0.2, "{with}");
        assert!(without > 1.8, "{without}: the test could not have told");
    }
}

#[test]
fn what_is_kept_is_the_best_epoch_and_not_the_last() {
    let (_folder, table) = table(Market { rows: 6_000, ..MARKET });
    let parts = Parts::usual(&table).expect("parts");
    let of = |most, patience| {
        // Rates at which the machine learns its rows by heart.
        let epochs = Epochs { most, patience, batch: 64 };
        let mut learner = factor(false, EPOCHS);
        if let Learner::Factor { alpha, linear_alpha, epochs: own, .. } = &mut learner {
            (*alpha, *linear_alpha, *own) = (0.5, 0.5, epochs);
        }
        fit(&table, &parts, &FitOptions::of(learner), &mut Silent).expect("a model")
    };
    let patient = of(12, 12);
    assert!(patient.epochs < 12, "more epochs did harm: {}", patient.epochs);
    let cut = of(patient.epochs, 12);
    assert_eq!(cut.model.bytes(), patient.model.bytes());
    assert_eq!(cut.validation_loss, patient.validation_loss);
}

/// Ends the work after some batches.
struct Impatient {
    left: usize,
    seen: Vec<(u64, u64)>,
}

impl Progress for Impatient {
    fn advance(&mut self, _step: &str, done: u64, total: u64) {
        self.left -= 1;
        self.seen.push((done, total));
    }

    fn is_stopped(&self) -> bool {
        self.left == 0
    }
}

#[test]
fn a_fit_says_how_far_it_is_and_ends_when_told() {
    let (_folder, table) = table(Market { rows: 6_000, ..MARKET });
    let parts = Parts::usual(&table).expect("parts");
    let mut impatient = Impatient { left: 3, seen: Vec::new() };
    let ended = fit(&table, &parts, &FitOptions::of(linear(EPOCHS)), &mut impatient);
    assert!(matches!(ended, Err(TrainError::Stopped)), "{ended:?}");
    let total = parts.train.end;
    assert_eq!(impatient.seen, [(128, total), (256, total), (384, total)]);
}

#[test]
fn what_cannot_be_learned_is_refused_with_the_reason() {
    let (folder, table) = table(Market { rows: 6_000, ..MARKET });
    let parts = Parts::usual(&table).expect("parts");
    let refused = |table: &Table, options: FitOptions| {
        fit(table, &parts, &options, &mut Silent).expect_err("it is refused").to_string()
    };
    let mut none = linear(EPOCHS);
    if let Learner::Linear { epochs, .. } = &mut none {
        epochs.most = 0;
    }
    assert!(refused(&table, FitOptions::of(none)).starts_with("epochs: at least one"));
    let mut wild = linear(EPOCHS);
    if let Learner::Linear { options, .. } = &mut wild {
        options.alpha = 0.0;
    }
    let reason = refused(&table, FitOptions::of(wild));
    assert!(reason.contains("alpha must be above 0"), "{reason}");
    let alone = with_one_field(&table, &folder.path().join("alone"));
    let reason = refused(&alone, FitOptions::of(paired(EPOCHS)));
    assert!(reason.starts_with("pairs: rows have 1 fields"), "{reason}");
    let options =
        FitOptions { sampling: Sampling { one_in: 0, seed: 1 }, ..FitOptions::of(linear(EPOCHS)) };
    assert!(refused(&table, options).starts_with("sampling: one in at least 1"));
    let unclicked = without_clicks(&table, &folder.path().join("unclicked"));
    let reason = refused(&unclicked, FitOptions::of(dcn(EPOCHS)));
    assert!(reason.contains("nothing can be learned"), "{reason}");
}

/// The same rows, of which nobody clicked one.
fn without_clicks(table: &Table, path: &std::path::Path) -> Table {
    let mut writer = TableWriter::create(path, table.schema()).expect("a table begins");
    let all = Share::all(0..table.len());
    let mut push = |row: RowRef<'_>| writer.push(RowRef { label: false, ..row });
    for_each_batch(table, &all, Order::Logged, |batch: &Rows| batch.iter().try_for_each(&mut push))
        .expect("rows are copied");
    writer.finish().expect("a table is finished")
}

fn with_one_field(table: &Table, path: &std::path::Path) -> Table {
    let mut schema = table.schema().clone();
    schema.fields.truncate(1);
    let mut writer = TableWriter::create(path, &schema).expect("a table begins");
    let all = Share::all(0..table.len());
    let mut push = |row: RowRef<'_>| writer.push(RowRef { keys: &row.keys[..1], ..row });
    for_each_batch(table, &all, Order::Logged, |batch: &Rows| batch.iter().try_for_each(&mut push))
        .expect("rows are copied");
    writer.finish().expect("a table is finished")
}

#[test]
fn a_fit_that_was_stopped_goes_on_bit_for_bit() {
    let (folder, table) = table(Market { rows: 6_000, ..MARKET });
    let parts = Parts::usual(&table).expect("parts");
    let path = folder.path().join("unfinished");
    let mut stops = 0;
    for learner in [
        linear(EPOCHS),
        paired(EPOCHS),
        factor(false, EPOCHS),
        factor(true, EPOCHS),
        dcn(EPOCHS),
        dcn_held(),
    ] {
        let plain = FitOptions::of(learner);
        let whole = fit(&table, &parts, &plain, &mut Silent).expect("a model");
        let checkpoint = Some(Checkpoint { path: path.clone(), batches: 7 });
        let options = FitOptions { checkpoint, ..plain };
        let resumed = loop {
            // 33 batches are an epoch, so stops fall everywhere in them.
            let mut impatient = Impatient { left: 25, seen: Vec::new() };
            match fit(&table, &parts, &options, &mut impatient) {
                Ok(fitted) => break fitted,
                Err(TrainError::Stopped) => stops += 1,
                Err(error) => panic!("{error}"),
            }
            assert!(path.exists());
        };
        assert_eq!(resumed.model.bytes(), whole.model.bytes(), "{}", whole.model.kind());
        assert_eq!(resumed.calibration, whole.calibration);
        assert_eq!(
            (resumed.epochs, resumed.validation_loss),
            (whole.epochs, whole.validation_loss)
        );
        assert!(!path.exists(), "what is through leaves nothing");
    }
    println!("stopped {stops} times");
    assert!(stops > 12, "{stops}");
}

#[test]
fn an_unfinished_fit_that_is_damaged_or_anothers_is_refused() {
    let (folder, table) = table(Market { rows: 6_000, ..MARKET });
    let parts = Parts::usual(&table).expect("parts");
    let path = folder.path().join("unfinished");
    let checkpoint = Some(Checkpoint { path: path.clone(), batches: 100 });
    let options = FitOptions { checkpoint, ..FitOptions::of(factor(false, EPOCHS)) };
    let mut impatient = Impatient { left: 5, seen: Vec::new() };
    fit(&table, &parts, &options, &mut impatient).expect_err("it is stopped");
    let kept = std::fs::read(&path).expect("it is kept");
    let refused = |options: &FitOptions| {
        fit(&table, &parts, options, &mut Silent).expect_err("it is refused").to_string()
    };
    let placed = FitOptions { position: Position::Feature, ..options.clone() };
    for other in [FitOptions { seed: 2, ..options.clone() }, placed] {
        let reason = refused(&other);
        assert!(reason.contains("begun with other options or rows: remove it"), "{reason}");
    }
    for place in (0..kept.len()).step_by(kept.len() / 50) {
        let mut damaged = kept.clone();
        damaged[place] ^= 4;
        std::fs::write(&path, &damaged).expect("it is written");
        assert!(refused(&options).contains("no whole unfinished fit"), "byte {place}");
        std::fs::write(&path, &kept[..place]).expect("it is written");
        assert!(refused(&options).contains("no whole unfinished fit"), "cut at {place}");
    }
    std::fs::write(&path, &kept).expect("it is written");
    fit(&table, &parts, &options, &mut Silent).expect("it goes on");
}
