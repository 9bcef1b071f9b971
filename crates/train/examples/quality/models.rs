//! Our models: options chosen on the validation rows with the first seed, then fitted with every seed.
//!
//! What there is to choose from is what `reckon train` takes by default, and few others; the log loss
//! of the validation rows decides. Only then is a model asked about the test rows.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use reckon_train::fit::{CodeOptions, FitOptions, Learner, PAIRED_MAX, TreeOptions};
use reckon_train::split::for_each_batch;
use reckon_train::{Fitted, Order, Share, Silent, TrainError, fit};

use crate::sets::{Made, answers, file, made, write_answers};

/// One of our models.
pub struct Kind {
    /// As in the names of its files.
    pub name: &'static str,
    /// As it is printed.
    pub title: &'static str,
    /// The peer of its own kind.
    pub peer: &'static str,
}

/// All that are fitted here.
pub const KINDS: [Kind; 4] = [
    Kind { name: "reckon-lr", title: "reckon LR", peer: "vw" },
    Kind { name: "reckon-fm", title: "reckon FM", peer: "vw" },
    Kind { name: "reckon-trees", title: "reckon trees", peer: "lightgbm" },
    Kind { name: "reckon-dcn", title: "reckon DCN-v2", peer: "torch-dcn" },
];

/// Options to choose from, each with a name.
fn choices(kind: &str, rows: u64, fields: usize) -> Vec<(&'static str, Learner)> {
    match kind {
        "reckon-lr" => {
            let mut freer = Learner::usual_linear();
            if let Learner::Linear { options, .. } = &mut freer {
                options.l1 = 0.2;
            }
            with_pairs(vec![("usual", Learner::usual_linear()), ("l1 0.2", freer)], fields)
        }
        "reckon-fm" => {
            let usual = Learner::usual_factor(rows, false);
            let mut wider = usual.clone();
            if let Learner::Factor { alpha, linear_alpha, beta, spread, .. } = &mut wider {
                (*alpha, *linear_alpha, *beta, *spread) = (0.01, 0.01, 1.0, 0.1);
            }
            with_pairs(vec![("usual", usual), ("beta 1, spread 0.1", wider)], fields)
        }
        "reckon-trees" => trees(rows),
        _ => vec![("usual", Learner::usual_dcn(rows))],
    }
}

/// And the first of them with pairs of categories, where there are few enough.
fn with_pairs(
    mut choices: Vec<(&'static str, Learner)>,
    fields: usize,
) -> Vec<(&'static str, Learner)> {
    if (2..=PAIRED_MAX).contains(&fields) {
        let paired = choices[0].1.clone().paired();
        choices.push(("pairs of categories", paired.expect("these learners take pairs")));
    }
    choices
}

/// Those that LightGBM has to choose from as well, and how categories become numbers: with the log odds of
/// their clicks, by their ranks alone, or not at all.
fn trees(rows: u64) -> Vec<(&'static str, Learner)> {
    let grown = |leaves, leaf_rows, l2, codes| {
        let mut learner = Learner::usual_trees(rows);
        if let Learner::Trees { options, codes: own, .. } = &mut learner {
            // Drawn as LightGBM's, so that a seed is a chance; beside peers, so one thread.
            *options = TreeOptions {
                leaves,
                leaf_rows,
                l2,
                column_share: 0.8,
                row_share: 0.8,
                threads: 1,
                ..*options
            };
            *own = codes;
        }
        learner
    };
    let usual = CodeOptions::USUAL;
    let ranked = CodeOptions { prior_rows: 0.0, ..usual };
    let none = CodeOptions::NONE;
    vec![
        ("31 leaves, odds", grown(31, 20, 0.0, usual)),
        ("15 leaves, held, odds", grown(15, 50, 5.0, usual)),
        ("63 leaves, held, ranks", grown(63, 100, 5.0, ranked)),
        ("31 leaves, no categories", grown(31, 50, 0.0, none)),
        ("7 leaves, no categories", grown(7, 50, 5.0, none)),
    ]
}

/// Fits models on all sets, and asks them: those whose names are `reckon-` and one of these, or without any all.
pub fn fit_all(folder: &Path, seeds: u64, wanted: &[&str]) -> Result<(), TrainError> {
    let is_wanted = |kind: &&Kind| {
        wanted.is_empty()
            || wanted.iter().any(|name| kind.name.strip_prefix("reckon-") == Some(name))
    };
    for made in made(folder)? {
        for kind in KINDS.iter().filter(is_wanted) {
            if kind.name == "reckon-trees" && cfg!(not(feature = "lightgbm")) {
                eprintln!("left out: trees, since this build has no feature lightgbm");
                continue;
            }
            let began = Instant::now();
            fit_kind(&made, kind, seeds)?;
            eprintln!("{} {}: {:.1?}", made.set.name, kind.title, began.elapsed());
        }
    }
    Ok(())
}

fn fit_kind(made: &Made, kind: &Kind, seeds: u64) -> Result<(), TrainError> {
    let rows = made.parts.train.end - made.parts.train.start;
    let fields = made.table.schema().fields.len();
    let mut best: Option<(&str, Learner, Fitted)> = None;
    let mut told = Vec::new();
    for (name, learner) in choices(kind.name, rows, fields) {
        let (fitted, took) = fit_one(made, &learner, 1)?;
        told.push(format!(
            "{name}: validation log loss {:.5} after {} epochs, {took:.1?}",
            fitted.validation_loss, fitted.epochs
        ));
        let least = best.as_ref().map_or(f64::INFINITY, |(.., best)| best.validation_loss);
        if fitted.validation_loss < least {
            best = Some((name, learner, fitted));
        }
    }
    let (name, learner, first) = best.expect("each kind has options, and their losses are finite");
    let path = made.folder.join("answers").join(format!("{}.chosen", kind.name));
    let text = format!("{name} ({})", told.join("; "));
    fs::write(&path, &text).map_err(file(&path))?;
    eprintln!("{} {}: {text}", made.set.name, kind.title);
    answer(made, kind, &first, 1)?;
    for seed in 2..=seeds {
        answer(made, kind, &fit_one(made, &learner, seed)?.0, seed)?;
    }
    Ok(())
}

fn fit_one(made: &Made, learner: &Learner, seed: u64) -> Result<(Fitted, Duration), TrainError> {
    let began = Instant::now();
    let options = FitOptions { seed, ..FitOptions::of(learner.clone()) };
    let fitted = fit(&made.table, &made.parts, &options, &mut Silent)?;
    Ok((fitted, began.elapsed()))
}

/// Log odds of the validation rows, and of the test rows before and after calibration.
fn answer(made: &Made, kind: &Kind, fitted: &Fitted, seed: u64) -> Result<(), TrainError> {
    let (validation, test) = (made.parts.validation.clone(), made.parts.test.clone());
    for (part, rows, is_calibrated) in [
        ("validation", validation, false),
        ("test", test.clone(), false),
        ("calibrated", test, true),
    ] {
        let mut logits = Vec::new();
        for_each_batch(
            &made.table,
            &Share::all(rows),
            Order::Logged,
            |batch| match is_calibrated {
                true => fitted.calibrated(batch, &mut logits),
                false => fitted.logits(batch, &mut logits),
            },
        )?;
        write_answers(&answers(&made.folder, kind.name, seed, part), &logits)?;
    }
    Ok(())
}
