//! Prints how everything that was said of the test rows turned out.

use std::fs;
use std::path::Path;
use std::time::Instant;

use reckon_model::{Calibrator, CalibratorOptions, log_loss};
use reckon_train::split::for_each_batch;
use reckon_train::{Order, Share, TrainError};

use crate::compare::{Difference, Judged, Rows, Spread, spread};
use crate::models::KINDS;
use crate::sets::{Made, answers, made, read_answers};

/// The peers, as in the names of their files and as they are printed.
const PEERS: [(&str, &str); 3] =
    [("lightgbm", "LightGBM"), ("vw", "Vowpal Wabbit"), ("torch-dcn", "PyTorch DCN-v2")];
/// Candidates that the second stage scores.
const SECOND_STAGE: usize = 50;

/// What a model said.
struct Said {
    name: String,
    title: String,
    /// The peer of its own kind; none for a peer.
    peer: Option<&'static str>,
    /// Log odds, a seed each.
    validation: Vec<Vec<f32>>,
    raw: Vec<Vec<f32>>,
    calibrated: Vec<Vec<f32>>,
}

/// What a model said, judged.
struct Row {
    said: Said,
    raw: Judged,
    calibrated: Judged,
    /// Of the validation rows, before calibration: by it the best of ours is chosen.
    validation_loss: f64,
}

/// Judges all sets.
pub fn print(folder: &Path, seeds: u64) -> Result<(), TrainError> {
    println!(
        "test: the last fifth of each log by time; before it a tenth for stopping, choosing options and \
         calibration (ours and peers alike, with the same calibrator)\n\
         mean and deviation of {seeds} seeds; intervals: 95 % of draws of lists and seeds, paired"
    );
    for made in made(folder)? {
        let began = Instant::now();
        print_set(&made, seeds)?;
        eprintln!("{} judged: {:.1?}", made.set.name, began.elapsed());
    }
    Ok(())
}

fn print_set(made: &Made, seeds: u64) -> Result<(), TrainError> {
    let (validation, test) = (rows(made, &made.parts.validation)?, rows(made, &made.parts.test)?);
    println!("\n{}", heading(made, &validation, &test));
    let mut all = Vec::new();
    for (name, title, peer) in names() {
        let lengths = (validation.labels.len(), test.labels.len());
        match said(made, name, title, peer, seeds, lengths, &validation.labels)? {
            Some(said) => all.push(said),
            None => println!("  left out: {title}, which has not answered for every seed"),
        }
    }
    all.extend(two_stages(&all, &validation, &test));
    let rows = all.into_iter().map(|said| {
        let losses = said.validation.iter().map(|logits| log_loss(logits, &validation.labels));
        let validation_loss = spread(losses).mean;
        let (raw, calibrated) = (test.judge(&said.raw)?, test.judge(&said.calibrated)?);
        Ok(Row { said, raw, calibrated, validation_loss })
    });
    let rows = rows.collect::<Result<Vec<_>, TrainError>>()?;
    print_figures(&rows, &test);
    print_differences(&rows);
    print_choices(made, &rows);
    Ok(())
}

/// Ours, then peers.
fn names() -> impl Iterator<Item = (&'static str, &'static str, Option<&'static str>)> {
    let ours = KINDS.iter().map(|kind| (kind.name, kind.title, Some(kind.peer)));
    ours.chain(PEERS.iter().map(|&(name, title)| (name, title, None)))
}

/// Labels and ends of lists of a part.
fn rows(made: &Made, range: &std::ops::Range<u64>) -> Result<Rows, TrainError> {
    let mut rows = Rows { labels: Vec::new(), ends: Vec::new() };
    let mut last = None;
    for_each_batch(&made.table, &Share::all(range.clone()), Order::Logged, |batch| {
        for row in batch.iter() {
            if last.replace(row.group).is_some_and(|last| last != row.group) {
                rows.ends.push(rows.labels.len());
            }
            rows.labels.push(row.label);
        }
        Ok(())
    })?;
    rows.ends.push(rows.labels.len());
    Ok(rows)
}

fn heading(made: &Made, validation: &Rows, test: &Rows) -> String {
    let schema = made.table.schema();
    let clicks = test.labels.iter().filter(|label| **label).count();
    format!(
        "{}: {} rows learned from, {} for validation, {} judged in {} lists ({clicks} clicked); {} \
         columns, {} fields\n  {}; {}",
        made.set.name,
        made.parts.train.end,
        validation.labels.len(),
        test.labels.len(),
        test.ends.len(),
        schema.numeric.len(),
        schema.fields.len(),
        made.set.lists,
        made.set.position,
    )
}

fn said(
    made: &Made,
    name: &str,
    title: &str,
    peer: Option<&'static str>,
    seeds: u64,
    (validation_rows, test_rows): (usize, usize),
    labels: &[bool],
) -> Result<Option<Said>, TrainError> {
    let mut said = Said {
        name: name.to_owned(),
        title: title.to_owned(),
        peer,
        validation: Vec::new(),
        raw: Vec::new(),
        calibrated: Vec::new(),
    };
    for seed in 1..=seeds {
        let path = |part: &str| answers(&made.folder, name, seed, part);
        let Some(validation) = read_answers(&path("validation"), validation_rows)? else {
            return Ok(None);
        };
        let Some(raw) = read_answers(&path("test"), test_rows)? else { return Ok(None) };
        // Ours come calibrated; peers get the same calibration.
        let calibrated = match read_answers(&path("calibrated"), test_rows)? {
            Some(calibrated) => calibrated,
            None => calibrated(&validation, labels, &raw),
        };
        said.validation.push(validation);
        said.raw.push(raw);
        said.calibrated.push(calibrated);
    }
    Ok(Some(said))
}

/// What `fit` does after learning.
fn calibrated(validation: &[f32], labels: &[bool], logits: &[f32]) -> Vec<f32> {
    let mut calibrator = Calibrator::new(CalibratorOptions { half_life: 1e12, deviation: 0.1 });
    for (&logit, &label) in validation.iter().zip(labels) {
        calibrator.observe(logit, 1.0);
        if label {
            calibrator.click(logit, 1.0);
        }
    }
    let calibration = calibrator.fit();
    logits.iter().map(|&logit| calibration.logit(logit)).collect()
}

/// Trees for all candidates of a list, the network for the best of them.
fn two_stages(all: &[Said], validation: &Rows, test: &Rows) -> Option<Said> {
    let find = |name: &str| all.iter().find(|said| said.name == name);
    let (first, second) = (find("reckon-trees")?, find("reckon-dcn")?);
    let join = |rows: &Rows, order: &[Vec<f32>], first: &[Vec<f32>], second: &[Vec<f32>]| {
        let seeds = order.iter().zip(first).zip(second);
        seeds.map(|((order, first), second)| best_again(rows, order, first, second)).collect()
    };
    Some(Said {
        name: "reckon-stages".to_owned(),
        title: "reckon two stages".to_owned(),
        peer: Some("lightgbm"),
        validation: join(validation, &first.validation, &first.validation, &second.validation),
        raw: join(test, &first.raw, &first.raw, &second.raw),
        calibrated: join(test, &first.raw, &first.calibrated, &second.calibrated),
    })
}

/// The first stage's log odds, with those of the best of each list by the second.
fn best_again(rows: &Rows, order: &[f32], first: &[f32], second: &[f32]) -> Vec<f32> {
    let mut logits = first.to_vec();
    let mut start = 0;
    for &end in &rows.ends {
        let mut places: Vec<_> = (start..end).collect();
        places.sort_by(|&a, &b| order[b].total_cmp(&order[a]).then(a.cmp(&b)));
        for &place in places.iter().take(SECOND_STAGE) {
            logits[place] = second[place];
        }
        start = end;
    }
    logits
}

fn print_figures(rows: &[Row], test: &Rows) {
    let show = |spread: Spread, digits: usize| {
        format!("{:.digits$} ±{:.digits$}", spread.mean, spread.deviation)
    };
    println!(
        "  {:20} {:15} {:15} {:15} {:13} {:15}",
        "", "AUC", "log loss", "ECE", "ratio", "log loss before calibration"
    );
    for Row { said, raw, calibrated, .. } in rows {
        println!(
            "  {:20} {:15} {:15} {:15} {:13} {:15}",
            said.title,
            show(calibrated.spread(|one| one.auc), 4),
            show(calibrated.spread(|one| one.log_loss), 4),
            show(calibrated.spread(|one| one.ece), 4),
            show(calibrated.spread(|one| one.ratio), 3),
            show(raw.spread(|one| one.log_loss), 4),
        );
    }
    let rate = test.labels.iter().filter(|label| **label).count() as f64 / test.labels.len() as f64;
    let constant = -(rate * rate.ln() + (1.0 - rate) * (1.0 - rate).ln());
    println!("  {:20} {:15} {constant:.4}", "the test's click rate", "0.5");
    if let Some(best) = rows.iter().find(|row| row.said.peer.is_some()) {
        let (auc, log_loss) = best.calibrated.noise();
        println!(
            "  noise floor: drawing lists anew moves an AUC by ±{auc:.4} and a log loss by \
             ±{log_loss:.4} ({})",
            best.said.title
        );
    }
}

fn print_differences(rows: &[Row]) {
    let ours = || rows.iter().filter(|row| row.said.peer.is_some());
    for row in ours() {
        let own = rows.iter().find(|other| Some(other.said.name.as_str()) == row.said.peer);
        if let Some(own) = own {
            let whom = own.said.title.clone();
            println!("  {:20} beside {whom:16} {}", row.said.title, beside(row, own, own));
        }
    }
    let by = |figure: fn(&Row) -> f64| move |a: &&Row, b: &&Row| figure(a).total_cmp(&figure(b));
    let auc = |row: &Row| row.calibrated.spread(|one| one.auc).mean;
    let peers = || rows.iter().filter(|row| row.said.peer.is_none());
    let best = ours().min_by(by(|row| row.validation_loss));
    let (by_auc, by_loss) = (peers().max_by(by(auc)), peers().min_by(by(least_loss)));
    if let (Some(best), Some(by_auc), Some(by_loss)) = (best, by_auc, by_loss) {
        println!(
            "  our best by validation, {}, beside the best peer of each figure by test, {} and {}: {}",
            best.said.title,
            by_auc.said.title,
            by_loss.said.title,
            beside(best, by_auc, by_loss)
        );
    }
}

/// The better of a peer's log losses: as it came, and calibrated.
fn least_loss(row: &Row) -> f64 {
    let mean = |judged: &Judged| judged.spread(|one| one.log_loss).mean;
    mean(&row.raw).min(mean(&row.calibrated))
}

/// One of ours beside the peers: AUC beside one, log loss beside another, or the same.
fn beside(ours: &Row, by_auc: &Row, by_loss: &Row) -> String {
    let mean = |judged: &Judged| judged.spread(|one| one.log_loss).mean;
    let (raw, calibrated) = (&by_loss.raw, &by_loss.calibrated);
    let theirs = if mean(raw) < mean(calibrated) { raw } else { calibrated };
    let auc = ours.calibrated.auc_less(&by_auc.calibrated);
    let loss = ours.calibrated.log_loss_less(theirs);
    format!("AUC {}; log loss {}", shown(auc, false), shown(loss, true))
}

fn shown(found: Difference, is_less_better: bool) -> String {
    let Difference { low, middle, high } = found;
    let (is_ahead, is_behind) =
        if is_less_better { (high < 0.0, low > 0.0) } else { (low > 0.0, high < 0.0) };
    let word = match (is_ahead, is_behind) {
        (true, _) => "ahead",
        (_, true) => "behind",
        _ => "level",
    };
    format!("{middle:+.4} [{low:+.4}, {high:+.4}] {word}")
}

/// Which options each model chose on the validation rows.
fn print_choices(made: &Made, rows: &[Row]) {
    for Row { said, .. } in rows {
        let path = made.folder.join("answers").join(format!("{}.chosen", said.name));
        if let Ok(text) = fs::read_to_string(path) {
            println!("  {} chose {}", said.title, text.trim());
        }
    }
}
