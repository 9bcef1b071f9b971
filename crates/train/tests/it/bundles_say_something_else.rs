//! A model was judged, put into a bundle, and the bundle says something else: another order of columns,
//! a correction made twice, a calibration of the sampled rows.

use reckon_bundle::{Bundle, Contents, Scored, Scratch};
use reckon_model::auc;
use reckon_model::dcn::{Structure, TrainerOptions};
use reckon_train::bundled::{About, contents, two_stages};
use reckon_train::fit::{Epochs, FitOptions, Learner};
use reckon_train::judge::{JudgeOptions, judge_bundles};
use reckon_train::split::for_each_batch;
use reckon_train::{
    Fitted, Order, Parts, Position, Rows, Sampling, Share, Silent, Table, evaluate, fit,
    for_each_answer, report,
};

use crate::learners::{dcn, factor, linear, paired, paired_factor};
use crate::market::{self, Market};

const MARKET: Market = Market { rows: 30_000, list: 1, seed: 5, bias: 0.0, users: 35, ads: 20 };
const EPOCHS: Epochs = Epochs { most: 6, patience: 2, batch: 128 };
const SHORT: Epochs = Epochs { most: 2, patience: 1, batch: 128 };

#[test]
fn a_bundle_answers_as_the_model_that_was_fitted() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = market::write(MARKET, &folder.path().join("rows"));
    let parts = Parts::usual(&table).expect("parts");
    let sampling = Sampling { one_in: 3, seed: 4 };
    let options = FitOptions { sampling, ..FitOptions::of(dcn(EPOCHS)) };
    let fitted = fit(&table, &parts, &options, &mut Silent).expect("it learns");
    let about = About { plan: 0x77, created_ms: 9 };
    let mut bytes = Vec::new();
    let made = contents(&fitted, &table, &parts, &about).expect("contents");
    let id = made.write(&mut bytes).expect("a bundle");
    let bundle = Bundle::read(&bytes).expect("it reproduces its golden rows");
    assert_eq!(bundle.id, id);
    assert_eq!(bundle.manifest.plan.schema, "0000000000000077");
    assert!(bundle.manifest.stages[0].sampling < 0.4, "a third of what was not clicked");
    let test = Share::all(parts.test);
    let (mut answers, mut logits, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for_each_answer(&bundle, &table, &test, |rows, said| {
        answers.extend_from_slice(said);
        labels.extend_from_slice(&rows.labels);
        Ok(())
    })
    .expect("answers");
    for_each_batch(&table, &test, Order::Logged, |batch| fitted.logits(batch, &mut logits))
        .expect("log odds");
    assert_eq!(answers.len(), logits.len());
    // Calibration keeps the order.
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    let falls = order.windows(2).filter(|pair| answers[pair[1]] < answers[pair[0]] - 1e-4).count();
    assert_eq!(falls, 0, "of {} neighbours", answers.len());
    let judged = evaluate(&bundle, &table, &test).expect("figures");
    assert_eq!(judged.rows as usize, answers.len());
    assert_eq!(judged.auc, auc(&answers, &labels));
    assert!(judged.auc.expect("both kinds") > 0.65, "{judged:?}");
    assert!(judged.ece < 0.03, "{judged:?}");
    let ratio = judged.calibration_ratio.expect("clicks");
    assert!((0.9..1.1).contains(&ratio), "{judged:?}");
    assert_eq!(judged.deciles.iter().map(|slice| slice.rows).sum::<u64>(), judged.rows);
    assert!(judged.log_loss < judged.log_loss_constant, "{judged:?}");
}

fn network() -> Learner {
    Learner::Dcn {
        embedding: 4,
        buckets: 64,
        seen_min: 4,
        cross_layers: 1,
        rank: 4,
        hidden: vec![8],
        structure: Structure::Stacked,
        has_buckets: true,
        average: 0.5,
        options: TrainerOptions { rate: 5e-3, ..TrainerOptions::default() },
        epochs: SHORT,
    }
}

/// A table, a model that was fitted on it, and the bundle of it.
fn bundled(learner: Learner) -> (tempfile::TempDir, Table, Parts, Fitted, Bundle) {
    bundled_with(learner, Position::Ignored)
}

fn bundled_with(
    learner: Learner,
    position: Position,
) -> (tempfile::TempDir, Table, Parts, Fitted, Bundle) {
    let folder = tempfile::tempdir().expect("a folder");
    let market = Market { rows: 6_000, list: 6, ..MARKET };
    let table = market::write(market, &folder.path().join("rows"));
    let parts = Parts::usual(&table).expect("parts");
    let sampling = Sampling { one_in: 2, seed: 4 };
    let options = FitOptions { sampling, position, ..FitOptions::of(learner) };
    let fitted = fit(&table, &parts, &options, &mut Silent).expect("it learns");
    let made = contents(&fitted, &table, &parts, &About::default()).expect("contents");
    let bundle = read(&made);
    (folder, table, parts, fitted, bundle)
}

fn read(contents: &Contents) -> Bundle {
    let mut bytes = Vec::new();
    contents.write(&mut bytes).expect("a bundle");
    Bundle::read(&bytes).expect("it reproduces its golden rows")
}

/// The test rows; of every fifth a number is missing, of every seventh a key is one nobody has seen, of
/// every eleventh one is missing.
fn odd_rows(table: &Table, parts: &Parts) -> Rows {
    let mut all = Rows::new(table.schema());
    for_each_batch(table, &Share::all(parts.test.clone()), Order::Logged, |batch| {
        all.extend(batch, 0..batch.len());
        Ok(())
    })
    .expect("rows");
    for row in 0..all.len() {
        let (number, key) = (row % all.columns, row % all.fields);
        if row % 5 == 0 {
            all.numeric[row * all.columns + number] = f32::NAN;
        }
        if row % 7 == 0 {
            all.keys[row * all.fields + key] = 0x1234_5678_9abc + row as u64;
        }
        if row % 11 == 0 {
            all.keys[row * all.fields + key] = 0;
        }
    }
    all
}

/// Log odds of a stage for each row, asked one by one.
fn stage(bundle: &Bundle, stage: usize, rows: &Rows) -> Vec<f32> {
    let (manifest, mut scratch) = (&bundle.manifest, Scratch::default());
    let one = |row: reckon_train::RowRef<'_>| {
        let (user_numeric, numeric) = row.numeric.split_at(manifest.user_columns);
        let (user_keys, keys) = row.keys.split_at(manifest.user_fields);
        let rows = reckon_bundle::Rows { user_numeric, user_keys, numeric, keys, count: 1 };
        let mut logit = [0.0];
        bundle.score_stage(stage, rows, &mut scratch, &mut logit).expect("it scores");
        logit[0]
    };
    rows.iter().map(one).collect()
}

/// A bundle's log odds are those of the model that went into it, row by row.
fn check(learner: Learner) {
    check_with(learner, Position::Ignored);
}

fn check_with(learner: Learner, position: Position) {
    let (_folder, table, parts, fitted, bundle) = bundled_with(learner, position);
    let rows = odd_rows(&table, &parts);
    let correction = fitted.sampling_w.ln() as f32;
    let mut logits = Vec::new();
    fitted.logits(&rows, &mut logits).expect("log odds");
    let found = stage(&bundle, 0, &rows);
    let tolerance = bundle.models().next().expect("a stage").tolerance();
    let mut distinct = std::collections::HashSet::new();
    for (row, (found, wanted)) in found.iter().zip(&logits).enumerate() {
        let off = (found + correction - wanted).abs();
        assert!(off <= tolerance * (1.0 + wanted.abs()), "row {row}: {found} {wanted}");
        distinct.insert(wanted.to_bits());
    }
    assert!(found.len() > 1_000 && distinct.len() > 500, "{} rows", found.len());
}

#[test]
fn a_linear_model_is_the_one_that_was_fitted() {
    check(linear(SHORT));
}

#[test]
fn pairs_are_those_that_were_fitted() {
    check(paired(SHORT));
    check(paired_factor(SHORT));
}

#[test]
fn a_factorisation_machine_is_the_one_that_was_fitted() {
    check(factor(false, SHORT));
}

#[test]
fn a_field_aware_one_is_the_one_that_was_fitted() {
    check(factor(true, SHORT));
}

#[test]
fn a_network_is_the_one_that_was_fitted() {
    check(network());
}

#[test]
fn a_place_that_was_a_field_is_place_1_in_a_bundle() {
    let factors = [factor(false, SHORT), paired_factor(SHORT), factor(true, SHORT)];
    for learner in [linear(SHORT), paired(SHORT), network()].into_iter().chain(factors) {
        check_with(learner, Position::Feature);
    }
}

#[test]
fn a_tower_stays_behind() {
    check_with(linear(SHORT), Position::Tower);
    check_with(network(), Position::WEIGHTS);
}

#[test]
fn stages_of_two_kinds_each_take_rows_their_own_way() {
    let (_folder, table, parts, first, alone) = bundled(linear(SHORT));
    let options = FitOptions::of(network());
    let second = fit(&table, &parts, &options, &mut Silent).expect("it learns");
    let of_second = read(&contents(&second, &table, &parts, &About::default()).expect("contents"));
    let both = two_stages(&first, (&second, 2), &table, &parts, &About::default());
    let both = read(&both.expect("contents"));
    let rows = odd_rows(&table, &parts);
    let (firsts, seconds) = (stage(&both, 0, &rows), stage(&both, 1, &rows));
    assert_eq!(firsts, stage(&alone, 0, &rows));
    assert_eq!(seconds, stage(&of_second, 0, &rows));
    assert_ne!(firsts, seconds);
    // A request of six: the first stage's best two are answered by the second.
    let (manifest, mut scratch) = (&both.manifest, Scratch::default());
    let mut again = 0;
    for start in (0..rows.len() - 6).step_by(6) {
        let row = rows.row(start);
        let (mut numeric, mut keys) = (Vec::new(), Vec::new());
        for row in (start..start + 6).map(|at| rows.row(at)) {
            numeric.extend_from_slice(&row.numeric[manifest.user_columns..]);
            keys.extend_from_slice(&row.keys[manifest.user_fields..]);
        }
        let request = reckon_bundle::Rows {
            user_numeric: &row.numeric[..manifest.user_columns],
            user_keys: &row.keys[..manifest.user_fields],
            numeric: &numeric,
            keys: &keys,
            count: 6,
        };
        let mut scored = [Scored::default(); 6];
        both.score(request, &mut scratch, &mut scored).expect("it scores");
        again += scored.iter().filter(|one| one.stage == 1).count();
    }
    assert_eq!(again, (rows.len() - 6).div_ceil(6) * 2);
}

#[test]
fn stages_of_other_columns_do_not_stand_together() {
    let (_folder, table, parts, first, _) = bundled(linear(SHORT));
    let mut second =
        fit(&table, &parts, &FitOptions::of(linear(SHORT)), &mut Silent).expect("it learns");
    second.schema.numeric[0].push('x');
    let told = two_stages(&first, (&second, 2), &table, &parts, &About::default());
    let told = told.expect_err("refused").to_string();
    assert!(told.contains("rows of the same columns"), "{told}");
}

#[test]
fn a_bundle_is_judged_by_what_it_answers_and_a_page_tells_of_it() {
    let (_folder, table, parts, _, lines) = bundled(linear(SHORT));
    let (_other, _, _, _, factors) = bundled(factor(false, SHORT));
    let options = JudgeOptions::default();
    let test = || parts.test.clone();
    let alone = judge_bundles(&table, test(), &lines, None, None, &options).expect("a verdict");
    let figures = alone.figures.expect("figures");
    let judged = evaluate(&lines, &table, &Share::all(test())).expect("figures");
    assert_eq!(Some(figures.auc), judged.auc);
    assert!((figures.log_loss - judged.log_loss).abs() < 1e-6);
    let beside = judge_bundles(&table, test(), &lines, Some(&factors), None, &options);
    let back = judge_bundles(&table, test(), &factors, Some(&lines), None, &options);
    let beside = beside.expect("a verdict");
    let (there, back) = (beside.comparison.expect("both"), back.expect("a verdict"));
    assert_eq!(there.auc.middle, -back.comparison.expect("both").auc.middle);
    assert_ne!(there.auc.middle, 0.0);
    let report = report(&lines, &table, &parts, Some(beside)).expect("a report");
    assert_eq!(report.calibration.iter().map(|bin| bin.rows).sum::<u64>(), judged.rows);
    let page = report.html();
    for wanted in ["Receiver operating", "Calibration", "Drift", "champion", "straight"] {
        assert!(page.contains(wanted), "the page has no {wanted}");
    }
    assert!(!page.contains("http"), "nothing is loaded from elsewhere");
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

#[test]
fn a_model_for_place_1_is_judged_by_place_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let market = Market { rows: 30_000, list: 6, bias: 1.0, ..MARKET };
    let table = market::write(market, &folder.path().join("rows"));
    let parts = Parts::usual(&table).expect("parts");
    let options = FitOptions { position: Position::Tower, ..FitOptions::of(linear(SHORT)) };
    let fitted = fit(&table, &parts, &options, &mut Silent).expect("it learns");
    let bundle = read(&contents(&fitted, &table, &parts, &About::default()).expect("contents"));
    let judged = |place| {
        let options = JudgeOptions::default();
        judge_bundles(&table, parts.test.clone(), &bundle, None, place, &options)
            .expect("a verdict")
    };
    let (all, first) = (judged(None), judged(Some(1)));
    assert_eq!(all.rows, first.rows * 6);
    let ratio =
        |verdict: &reckon_train::Verdict| verdict.figures.expect("figures").calibration_ratio;
    assert!(ratio(&all) > 1.5, "elsewhere fewer click: {all:?}");
    assert!(!all.is_accepted() && first.is_accepted(), "{first:?}");
    assert!((0.85..1.15).contains(&ratio(&first)), "{first:?}");
}
