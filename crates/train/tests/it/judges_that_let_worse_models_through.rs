//! A model that is worse than the one it replaces, one that bids twice what a click is worth, one that
//! answers with no number: each was let through by a judge that looked at one figure, or at none. And a
//! better one was refused, because the rows happened to be few.
//!
//! The models of these tests are made of the truth, which the market knows, and of what is done to it.

use reckon_model::{Random, log_odds, sigmoid};
use reckon_train::fit::{Epochs, FitOptions, Learner};
use reckon_train::judge::{Difference, JudgeOptions, Refusal, Scorer, Verdict};
use reckon_train::{Order, Parts, Rows, Schema, Share, Silent, Table, TrainError, fit, judge};

use crate::market::{self, Market};

const MARKET: Market = Market { rows: 12_000, list: 5, seed: 21, bias: 0.0, users: 35, ads: 20 };

/// The truth, times a slope, plus a shift, plus noise of its own.
struct Made {
    schema: Schema,
    slope: f32,
    shift: f32,
    noise: f32,
}

fn made(slope: f32, shift: f32, noise: f32) -> Made {
    Made { schema: market::schema(), slope, shift, noise }
}

impl Scorer for Made {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn score(&self, rows: &Rows, out: &mut Vec<f32>) -> Result<(), TrainError> {
        out.extend(rows.iter().map(|row| {
            // Of the row's numbers, so the same whenever it is asked.
            let seed =
                u64::from(row.numeric[0].to_bits()) << 32 | u64::from(row.numeric[2].to_bits());
            let noise = Random::new(seed).normal() * self.noise;
            log_odds(row.truth) * self.slope + self.shift + noise
        }));
        Ok(())
    }
}

fn table(market: Market) -> (tempfile::TempDir, Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let table = market::write(market, &folder.path().join("rows"));
    (folder, table)
}

fn judged(table: &Table, challenger: &dyn Scorer, champion: Option<&dyn Scorer>) -> Verdict {
    judge(table, 0..table.len(), challenger, champion, &JudgeOptions::default()).expect("a verdict")
}

#[test]
fn the_truth_replaces_a_noisy_model_and_not_the_other_way() {
    let (_folder, table) = table(MARKET);
    let (truth, noisy) = (made(1.0, 0.0, 0.0), made(1.0, 0.0, 0.7));
    let better = judged(&table, &truth, Some(&noisy));
    assert!(better.is_accepted(), "{better:?}");
    let compared = better.comparison.expect("a comparison");
    assert!(compared.auc.low > 0.0 && compared.log_loss.high < 0.0, "{compared:?}");
    let worse = judged(&table, &noisy, Some(&truth));
    let reasons: Vec<_> = worse.refusals.iter().map(ToString::to_string).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("its AUC is below the champion's by 0.0"), "{reasons:?}");
    assert!(reasons[1].starts_with("its log loss is above the champion's by 0.0"), "{reasons:?}");
    let (there, back) = (compared.auc.middle, worse.comparison.expect("a comparison").auc.middle);
    assert_eq!(there, -back);
    assert_eq!(worse.figures, Some(compared.champion));
}

#[test]
fn a_model_is_level_with_itself_and_with_what_few_rows_cannot_tell_from_it() {
    let (_folder, table) = table(MARKET);
    let truth = made(1.0, 0.0, 0.0);
    let same = judged(&table, &truth, Some(&truth));
    let none = Difference { low: 0.0, middle: 0.0, high: 0.0 };
    let compared = same.comparison.expect("a comparison");
    assert_eq!((compared.auc, compared.log_loss), (none, none));
    assert!(same.is_accepted());
    let close = made(1.0, 0.0, 0.1);
    let few = judge(&table, 0..300, &close, Some(&truth), &JudgeOptions::default());
    let few = few.expect("a verdict");
    let auc = few.comparison.expect("a comparison").auc;
    assert!(few.is_accepted() && auc.low < 0.0 && auc.high > 0.0, "{few:?}");
}

#[test]
fn probabilities_that_are_off_are_refused_however_well_they_order() {
    let (_folder, table) = table(MARKET);
    let high = judged(&table, &made(1.0, 0.5, 0.0), None);
    let [Refusal::CalibrationRatio { ratio, min, max }] = high.refusals[..] else {
        panic!("{high:?}");
    };
    assert!(ratio > 1.25 && (min, max) == (0.8, 1.25), "{ratio}");
    let truth = judged(&table, &made(1.0, 0.0, 0.0), None);
    assert!(truth.is_accepted(), "{truth:?}");
    let (high, truth) = (high.figures.expect("figures"), truth.figures.expect("figures"));
    assert_eq!(high.auc, truth.auc);
    assert!(high.calibration_error > 3.0 * truth.calibration_error, "{high:?} {truth:?}");
}

#[test]
fn a_model_that_knows_nothing_or_answers_nothing_is_refused() {
    let (_folder, table) = table(MARKET);
    let rate = judged(&table, &made(1.0, 0.0, 0.0), None);
    let rate = log_odds((rate.clicks as f64 / rate.rows as f64) as f32);
    let constant = judged(&table, &made(0.0, rate, 0.0), None);
    assert!(
        matches!(constant.refusals[..], [Refusal::NoBetterThanConstant { .. }]),
        "{constant:?}"
    );
    let figures = constant.figures.expect("figures");
    assert_eq!((figures.auc, figures.log_loss), (0.5, constant.constant_log_loss));
    let silent = judged(&table, &made(1.0, f32::NAN, 0.0), None);
    assert_eq!(silent.refusals, [Refusal::NoNumbers { rows: 12_000 }]);
    assert_eq!(silent.figures, None);
    let unclicked = (0..table.len()).find(|&row| !is_clicked(&table, row));
    let row = unclicked.expect("a row that was not clicked");
    let options = JudgeOptions::default();
    let one = judge(&table, row..row + 1, &made(1.0, 0.0, 0.0), None, &options).expect("a verdict");
    assert_eq!(one.refusals, [Refusal::OneKind]);
}

fn is_clicked(table: &Table, row: u64) -> bool {
    let mut rows = Rows::new(table.schema());
    let share = Share::all(row..row + 1);
    table.read(&share, Order::Logged).expect("a cursor").next(&mut rows, 1).expect("a row");
    rows.labels[0]
}

/// The interval of the log loss's difference is that of a mean over lists: 1.96 standard errors to
/// both sides, as the sums of the lists have it.
#[test]
fn the_interval_is_as_wide_as_its_standard_error_says() {
    let (_folder, table) = table(MARKET);
    let (truth, noisy) = (made(1.0, 0.0, 0.0), made(1.0, 0.0, 0.3));
    let options = JudgeOptions { resamples: 2_000, ..JudgeOptions::default() };
    let verdict = judge(&table, 0..table.len(), &noisy, Some(&truth), &options).expect("a verdict");
    let mut rows = Rows::new(table.schema());
    let mut cursor = table.read(&Share::all(0..table.len()), Order::Logged).expect("a cursor");
    cursor.next(&mut rows, usize::MAX).expect("rows");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    noisy.score(&rows, &mut ours).expect("scores");
    truth.score(&rows, &mut theirs).expect("scores");
    let loss = |logit: f32, label: bool| {
        let probability = f64::from(sigmoid(logit));
        -(if label { probability } else { 1.0 - probability }).ln()
    };
    // Five rows a list, as the market was told.
    let lists: Vec<f64> = (0..rows.len() / 5)
        .map(|list| {
            let rows_of = list * 5..list * 5 + 5;
            rows_of
                .map(|at| loss(ours[at], rows.labels[at]) - loss(theirs[at], rows.labels[at]))
                .sum()
        })
        .collect();
    let count = lists.len() as f64;
    let mean = lists.iter().sum::<f64>() / count;
    let variance = lists.iter().map(|sum| (sum - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let error = (variance / count).sqrt() / 5.0;
    let found = verdict.comparison.expect("a comparison").log_loss;
    println!("{count} lists: {found:?}, standard error {error:.6}");
    assert!((found.middle - mean / 5.0).abs() < 1e-6, "{found:?} {mean}");
    for side in [found.middle - found.low, found.high - found.middle] {
        assert!((side / (1.96 * error) - 1.0).abs() < 0.12, "{side} of {error}");
    }
}

#[test]
fn a_verdict_is_json_with_its_reasons() {
    let (_folder, table) = table(Market { rows: 2_000, ..MARKET });
    let verdict = judged(&table, &made(1.0, 1.5, 0.0), Some(&made(1.0, 0.0, 0.0)));
    let json = serde_json::to_string(&verdict).expect("JSON");
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["rows"], 2_000);
    assert_eq!(value["refusals"][0]["reason"], "no_better_than_constant");
    assert_eq!(value["refusals"][1]["reason"], "calibration_ratio");
    assert_eq!(value["refusals"][2]["reason"], "worse_log_loss");
    let back: Verdict = serde_json::from_str(&json).expect("a verdict");
    assert_eq!((back.rows, back.clicks, back.refusals.len()), (2_000, verdict.clicks, 3));
    assert_eq!(judged(&table, &made(1.0, 1.5, 0.0), Some(&made(1.0, 0.0, 0.0))), verdict);
}

#[test]
fn what_cannot_be_judged_is_an_error_that_names_what_to_do() {
    let (_folder, table) = table(Market { rows: 500, ..MARKET });
    let truth = made(1.0, 0.0, 0.0);
    let usual = JudgeOptions::default();
    let refused =
        |challenger: &dyn Scorer, champion: Option<&dyn Scorer>, options: JudgeOptions| {
            let refused = judge(&table, 0..table.len(), challenger, champion, &options);
            refused.expect_err("it is refused").to_string()
        };
    let mut foreign = made(1.0, 0.0, 0.0);
    foreign.schema.numeric.swap(0, 1);
    assert!(refused(&foreign, None, usual).starts_with("model: it wants other columns"));
    assert!(refused(&truth, Some(&foreign), usual).starts_with("champion: it wants other columns"));
    let silent = made(1.0, f32::NAN, 0.0);
    let reason = refused(&truth, Some(&silent), usual);
    assert!(reason.starts_with("champion: its log odds of 500 rows are no numbers"), "{reason}");
    let few = JudgeOptions { resamples: 3, ..usual };
    assert!(refused(&truth, None, few).starts_with("resamples: 40 to"));
    let none = JudgeOptions { bins: 0, ..usual };
    assert!(refused(&truth, None, none).starts_with("bins: 1 to"));
    let swapped = JudgeOptions { ratio_min: 1.25, ratio_max: 0.8, ..usual };
    assert!(refused(&truth, None, swapped).starts_with("ratio_min: "));
}

#[test]
fn a_fitted_model_without_pairs_does_not_replace_one_that_learned_them() {
    let (_folder, table) = table(Market { rows: 30_000, ..MARKET });
    let parts = Parts::usual(&table).expect("parts");
    let machine = |is_field_aware, factors, alpha| Learner::Factor {
        is_field_aware,
        has_pairs: false,
        factors,
        bits: 12,
        alpha,
        linear_alpha: 0.06,
        beta: 1.0,
        spread: 0.1,
        l2: 0.0,
        epochs: Epochs { most: 8, patience: 2, batch: 128 },
    };
    let fitted =
        |learner| fit(&table, &parts, &FitOptions::of(learner), &mut Silent).expect("a model");
    // Vectors that hardly move are none.
    let (pairs, plain) = (fitted(machine(true, 4, 0.05)), fitted(machine(false, 1, 1e-6)));
    let options = JudgeOptions::default();
    let up = judge(&table, parts.test.clone(), &pairs, Some(&plain), &options).expect("a verdict");
    let down =
        judge(&table, parts.test.clone(), &plain, Some(&pairs), &options).expect("a verdict");
    println!("{:?}", up.comparison);
    assert!(up.is_accepted(), "{up:?}");
    let reasons = &down.refusals[..];
    assert!(
        matches!(reasons, [Refusal::WorseAuc { .. }, Refusal::WorseLogLoss { .. }]),
        "{reasons:?}"
    );
}
