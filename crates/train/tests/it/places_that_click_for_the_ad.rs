//! Dear ads stand at the top, where everybody looks, and are clicked; cheap ones stand where few look. A
//! model that takes clicks for liking puts the dear ones first for ever. One that corrects for the place too
//! much, or by the wrong chances, is as wrong the other way, and looks like a cure.
//!
//! The log of these tests is invented: how likely each place is looked at and how likely each ad is liked
//! are known, and the order of ads at place 1 with them.

use std::path::Path;

use reckon_model::statistics::kendall_tau;
use reckon_model::{Random, sigmoid};
use reckon_train::fit::{Checkpoint, Epochs, FitOptions, Fitted, Learner};
use reckon_train::split::for_each_batch;
use reckon_train::{
    Order, Parts, Position, Progress, RowRef, Sampling, Schema, Share, Silent, Table, TableWriter,
    TrainError, fit,
};

use crate::learners::{dcn, factor, linear};

const LIST: usize = 6;
const ADS: u64 = 40;

/// An invented log.
#[derive(Clone, Copy)]
struct Log {
    rows: usize,
    seed: u64,
    /// The chance that a place is looked at falls by this power of it.
    bias: f64,
    /// Ads stand where they stand by chance, not by their price.
    is_shuffled: bool,
    /// Every so manieth list does not say where its rows stood; 0: none.
    unknown: usize,
}

const LOG: Log = Log { rows: 48_000, seed: 5, bias: 1.0, is_shuffled: false, unknown: 0 };

/// A number of an ad's or a pair's own, normal.
fn own(what: u64, number: u64) -> f32 {
    Random::new(what << 32 ^ number).normal()
}

/// Log odds of a click where it is looked at.
fn liking(user: u64, ad: u64, number: f32) -> f32 {
    own(1, ad) * 0.7 + own(2, (user % 6) * 5 + ad % 5) * 0.5 + number * 0.5 - 1.6
}

impl Log {
    fn seen(&self, place: usize) -> f64 {
        (place as f64).powf(-self.bias)
    }

    /// Writes its table; the truth of a row is that of place 1.
    fn write(&self, path: &Path) -> Table {
        let schema = Schema {
            numeric: vec!["number".to_owned()],
            fields: ["user", "ad"].map(str::to_owned).to_vec(),
            user_numeric: 0,
            user_fields: 1,
        };
        let mut writer = TableWriter::create(path, &schema).expect("a table begins");
        let mut random = Random::new(self.seed);
        for list in 0..self.rows / LIST {
            let user = random.below(60);
            let mut shown: Vec<(f32, u64)> = Vec::new();
            while shown.len() < LIST {
                let ad = random.below(ADS);
                let price = if self.is_shuffled { 0.0 } else { own(3, ad) };
                if shown.iter().all(|(_, other)| *other != ad) {
                    shown.push((price + 0.7 * random.normal(), ad));
                }
            }
            shown.sort_by(|a, b| b.0.total_cmp(&a.0));
            for (place, (_, ad)) in (1..).zip(shown) {
                let number = random.normal();
                let truth = sigmoid(liking(user, ad, number));
                let is_unknown = self.unknown > 0 && list % self.unknown == 0;
                let row = RowRef {
                    numeric: &[number],
                    keys: &[1 + user, 100 + ad],
                    label: random.uniform() < f64::from(truth) * self.seen(place),
                    weight: 1.0,
                    time: list as i64,
                    group: list as u64,
                    position: if is_unknown { 0 } else { place as u16 },
                    truth,
                };
                writer.push(row).expect("a row is written");
            }
        }
        writer.finish().expect("a table is finished")
    }
}

const EPOCHS: Epochs = Epochs { most: 8, patience: 2, batch: 128 };

/// What a model says at place 1 of rows it has not seen, beside the truth.
struct Recovered {
    /// Kendall's tau of the two orders of a list, in the mean of lists.
    tau: f64,
    /// Predicted clicks over true ones, all at place 1.
    ratio: f64,
    lists: usize,
}

fn recovered(fitted: &Fitted, table: &Table, parts: &Parts) -> Recovered {
    let (mut logits, mut truths) = (Vec::new(), Vec::new());
    for_each_batch(table, &Share::all(parts.test.clone()), Order::Logged, |batch| {
        truths.extend_from_slice(&batch.truths);
        fitted.calibrated(batch, &mut logits)
    })
    .expect("rows are scored");
    let wide = |numbers: &[f32]| numbers.iter().map(|&n| f64::from(n)).collect::<Vec<_>>();
    let lists = logits.chunks(LIST).zip(truths.chunks(LIST));
    let taus: Vec<f64> =
        lists.filter_map(|(ours, true_)| kendall_tau(&wide(ours), &wide(true_))).collect();
    assert!(taus.len() > 1_000, "{} lists", taus.len());
    let predicted: f64 = logits.iter().map(|&logit| f64::from(sigmoid(logit))).sum();
    Recovered {
        tau: taus.iter().sum::<f64>() / taus.len() as f64,
        ratio: predicted / wide(&truths).iter().sum::<f64>(),
        lists: taus.len(),
    }
}

fn with(learner: Learner, position: Position) -> FitOptions {
    FitOptions { position, ..FitOptions::of(learner) }
}

fn written(log: Log) -> (tempfile::TempDir, Table, Parts) {
    let folder = tempfile::tempdir().expect("a folder");
    let table = log.write(&folder.path().join("rows"));
    let parts = Parts::usual(&table).expect("parts");
    (folder, table, parts)
}

const TREATED: [Position; 3] = [Position::Feature, Position::Tower, Position::WEIGHTS];

/// The naive order is wrong, and each treatment's is closer to the truth; what is learned of places is true.
#[track_caller]
fn check(learner: &Learner, log: Log) {
    let (_folder, table, parts) = written(log);
    let fitted = |position| {
        let options = with(learner.clone(), position);
        fit(&table, &parts, &options, &mut Silent).expect("a model")
    };
    let naive = fitted(Position::Ignored);
    let plain = recovered(&naive, &table, &parts);
    let kind = naive.model.kind();
    println!("{kind}: ignored: tau {:.3} over {} lists", plain.tau, plain.lists);
    assert!(plain.ratio < 0.6, "most clicks are missing where few look: {}", plain.ratio);
    for position in TREATED {
        let fitted = fitted(position);
        let found = recovered(&fitted, &table, &parts);
        let chances: Vec<_> = (1..=LIST as u16).map(|at| fitted.examination.chance(at)).collect();
        let (name, Recovered { tau, ratio, .. }) = (position.name(), found);
        println!("{kind}: {name}: tau {tau:.3}, ratio {ratio:.3}, places {chances:.3?}");
        assert!(tau > plain.tau + 0.08, "{name}: {tau} beside {}", plain.tau);
        assert!((ratio - 1.0).abs() < 0.12, "{name}: {ratio}");
        if position == Position::Feature {
            continue;
        }
        for (place, chance) in (1..).zip(chances) {
            let is_near = (chance / log.seen(place)).ln().abs() < 0.2;
            assert!(is_near, "{name}: place {place}: {chance} for {}", log.seen(place));
        }
    }
}

#[test]
fn a_linear_model_is_cured() {
    check(&linear(EPOCHS), LOG);
}

#[test]
fn a_factorisation_machine_is_cured() {
    check(&factor(false, EPOCHS), LOG);
}

#[test]
fn a_network_is_cured() {
    check(&dcn(EPOCHS), LOG);
}

#[test]
fn lists_that_do_not_say_where_rows_stood_do_no_harm() {
    check(&linear(EPOCHS), Log { unknown: 4, ..LOG });
}

#[test]
fn where_all_places_are_looked_at_nothing_is_made_worse() {
    let log = Log { bias: 0.0, ..LOG };
    let (_folder, table, parts) = written(log);
    let mut compared = 0;
    for learner in [linear(EPOCHS), factor(false, EPOCHS)] {
        let of = |position| {
            let options = with(learner.clone(), position);
            let fitted = fit(&table, &parts, &options, &mut Silent).expect("a model");
            (recovered(&fitted, &table, &parts), fitted)
        };
        let (plain, naive) = of(Position::Ignored);
        for position in TREATED {
            let (found, fitted) = of(position);
            println!(
                "{}: {}: tau {:.3} beside {:.3}, ratio {:.3}",
                naive.model.kind(),
                position.name(),
                found.tau,
                plain.tau,
                found.ratio
            );
            assert!(found.tau > plain.tau - 0.02, "{} beside {}", found.tau, plain.tau);
            assert!((found.ratio - 1.0).abs() < 0.1, "{}", found.ratio);
            for place in 1..=LIST as u16 {
                let chance = fitted.examination.chance(place);
                assert!(chance > 0.85, "place {place}: {chance}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 36);
}

#[test]
fn rates_of_places_are_what_places_do_only_where_chance_put_the_ads_there() {
    let weights = Position::Weights { clip: 10.0, is_shuffled: true };
    let chances = |log: Log| {
        let (_folder, table, parts) = written(log);
        let fitted =
            fit(&table, &parts, &with(linear(EPOCHS), weights), &mut Silent).expect("a model");
        (2..=LIST as u16).map(|at| fitted.examination.chance(at)).collect::<Vec<_>>()
    };
    let shuffled = chances(Log { is_shuffled: true, ..LOG });
    for (place, chance) in (2..).zip(&shuffled) {
        assert!((chance / LOG.seen(place)).ln().abs() < 0.2, "place {place}: {chance}");
    }
    println!("rates of shuffled lists: {shuffled:.3?}");
}

#[test]
fn a_clip_of_1_weighs_nothing_and_a_lower_one_is_refused() {
    let (_folder, table, parts) = written(Log { rows: 12_000, ..LOG });
    let of = |position| fit(&table, &parts, &with(linear(EPOCHS), position), &mut Silent);
    let weights = |clip| Position::Weights { clip, is_shuffled: true };
    let learned = |position| of(position).expect("a model").model.bytes().to_vec();
    // Not the number of epochs, which is chosen by another loss: the same first ones are the same model.
    let one = |position| {
        let mut learner = linear(EPOCHS);
        if let Learner::Linear { epochs, .. } = &mut learner {
            epochs.most = 1;
        }
        let fitted = fit(&table, &parts, &with(learner, position), &mut Silent);
        fitted.expect("a model").model.bytes().to_vec()
    };
    assert_eq!(one(weights(1.0)), one(Position::Ignored));
    assert_ne!(one(weights(1.5)), one(Position::Ignored));
    // Nothing weighs more than 1 / (1 / 6): clips above are all the same.
    assert_ne!(learned(weights(2.0)), learned(weights(1e6)));
    for clip in [0.5, f32::NAN, f32::INFINITY] {
        let reason = of(weights(clip)).expect_err("it is refused").to_string();
        assert!(reason.starts_with("position.clip: at least 1"), "{reason}");
    }
}

#[test]
fn a_log_without_places_is_refused_with_the_reason() {
    let (_folder, table, parts) = written(Log { rows: 6_000, unknown: 1, ..LOG });
    for position in [Position::Tower, Position::WEIGHTS] {
        let refused = fit(&table, &parts, &with(linear(EPOCHS), position), &mut Silent);
        let reason = refused.expect_err("it is refused").to_string();
        assert!(reason.starts_with("position: no training row at place 1"), "{reason}");
    }
}

#[test]
fn one_in_five_of_the_others_finds_the_same_places_and_level() {
    let (_folder, table, parts) = written(LOG);
    for position in TREATED {
        let sampling = Sampling { one_in: 5, seed: 4 };
        let options = FitOptions { sampling, ..with(factor(false, EPOCHS), position) };
        let fitted = fit(&table, &parts, &options, &mut Silent).expect("a model");
        let found = recovered(&fitted, &table, &parts);
        let chances: Vec<_> = (1..=LIST as u16).map(|at| fitted.examination.chance(at)).collect();
        let (name, Recovered { tau, ratio, .. }) = (position.name(), found);
        println!("one in five: {name}: tau {tau:.3}, ratio {ratio:.3}, places {chances:.3?}");
        assert!((ratio - 1.0).abs() < 0.15, "{name}: {ratio}");
        if position != Position::Feature {
            for (place, chance) in (1..).zip(chances) {
                assert!((chance / LOG.seen(place)).ln().abs() < 0.3, "place {place}: {chance}");
            }
        }
    }
}

/// Ends the work after some batches.
struct Impatient(usize);

impl Progress for Impatient {
    fn advance(&mut self, _step: &str, _done: u64, _total: u64) {
        self.0 -= 1;
    }

    fn is_stopped(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn a_tower_that_was_stopped_goes_on_bit_for_bit() {
    let (folder, table, parts) = written(Log { rows: 6_000, ..LOG });
    let path = folder.path().join("unfinished");
    for learner in [linear(EPOCHS), dcn(EPOCHS)] {
        let plain = with(learner, Position::Tower);
        let whole = fit(&table, &parts, &plain, &mut Silent).expect("a model");
        let checkpoint = Some(Checkpoint { path: path.clone(), batches: 7 });
        let options = FitOptions { checkpoint, ..plain };
        let mut stops = 0;
        let resumed = loop {
            match fit(&table, &parts, &options, &mut Impatient(25)) {
                Ok(fitted) => break fitted,
                Err(TrainError::Stopped) => stops += 1,
                Err(error) => panic!("{error}"),
            }
        };
        assert!(stops > 2, "{stops}");
        assert_eq!(resumed.model.bytes(), whole.model.bytes());
        assert_eq!(resumed.examination, whole.examination);
        assert_eq!(resumed.calibration, whole.calibration);
        assert_eq!(resumed.validation_loss, whole.validation_loss);
    }
}
