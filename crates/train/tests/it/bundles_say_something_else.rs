//! A model was judged, put into a bundle, and the bundle says something else: another order of columns,
//! a correction made twice, a calibration of the sampled rows.

use reckon_bundle::Bundle;
use reckon_model::dcn::{Structure, TrainerOptions};
use reckon_model::{LinearOptions, auc};
use reckon_train::bundled::{About, contents};
use reckon_train::fit::{Epochs, FitOptions, Learner};
use reckon_train::split::for_each_batch;
use reckon_train::{Order, Parts, Sampling, Share, Silent, evaluate, fit, for_each_answer};

use crate::market::{self, Market};

const MARKET: Market = Market { rows: 30_000, list: 1, seed: 5, bias: 0.0, users: 35, ads: 20 };
const EPOCHS: Epochs = Epochs { most: 6, patience: 2, batch: 128 };

#[test]
fn a_bundle_answers_as_the_model_that_was_fitted() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = market::write(MARKET, &folder.path().join("rows"));
    let parts = Parts::usual(&table).expect("parts");
    let learner = Learner::Dcn {
        embedding: 4,
        buckets: 256,
        seen_min: 4,
        cross_layers: 2,
        rank: 0,
        hidden: vec![16],
        structure: Structure::Parallel,
        has_buckets: false,
        average: 0.0,
        options: TrainerOptions { rate: 5e-3, ..TrainerOptions::default() },
        epochs: EPOCHS,
    };
    let sampling = Sampling { one_in: 3, seed: 4 };
    let options = FitOptions { sampling, ..FitOptions::of(learner) };
    let fitted = fit(&table, &parts, &options, &mut Silent).expect("it learns");
    let about = About { plan: 0x77, created_ms: 9 };
    let mut bytes = Vec::new();
    let made = contents(&fitted, &table, &parts, &about).expect("contents");
    let id = made.write(&mut bytes).expect("a bundle");
    let bundle = Bundle::read(&bytes).expect("it reproduces its golden rows");
    assert_eq!(bundle.id, id);
    assert_eq!(bundle.manifest.plan.schema, "0000000000000077");
    assert!(bundle.manifest.stages[0].sampling < 0.4, "a third of what was not clicked");
    let test = Share::all(parts.test.clone());
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

#[test]
fn what_a_bundle_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let market = Market { rows: 3_000, ..MARKET };
    let table = market::write(market, &folder.path().join("rows"));
    let parts = Parts::usual(&table).expect("parts");
    let options = LinearOptions { bits: 10, ..LinearOptions::default() };
    let learner = Learner::Linear { options, epochs: Epochs { most: 1, ..EPOCHS } };
    let fitted = fit(&table, &parts, &FitOptions::of(learner), &mut Silent).expect("it learns");
    let told = contents(&fitted, &table, &parts, &About::default()).expect_err("refused");
    assert!(told.to_string().contains("use dcn"), "{told}");
}
