//! `reckon train`: rows that were served, or those of a file, become a bundle.

#![expect(clippy::print_stdout, reason = "figures are the command's data")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use reckon_bundle::{Bundle, BundleId, Contents};
use reckon_disk::TempDir;
use reckon_train::bundled::{About, contents, two_stages};
use reckon_train::fit::{self, Checkpoint, FitOptions};
use reckon_train::judge::{JudgeOptions, judge_bundles};
use reckon_train::{Parts, Sampling, Table, TrainError, fit as fit_model, report};
use serde_json::json;

use super::load_config;
use super::rows::{Bar, rows};
use crate::args::{Learner, Position, Train, parse_data};
use crate::clock::Clock;

/// Batches between two writes of an unfinished fit.
const KEPT_EVERY: u64 = 2_000;

/// Fits, calibrates, judges, writes the bundle and the page, and prints how it does on rows it has not seen.
pub fn run(asked: &Train) -> Result<ExitCode> {
    if asked.pairs && !matches!(asked.model, Learner::Linear | Learner::Fm) {
        bail!(
            "--pairs is for --model linear and fm: the others see two categories together as they are"
        );
    }
    let folder = TempDir::new("train");
    let champion = champion(asked)?;
    let (table, plan) = rows(&asked.rows, &folder)?;
    let parts = Parts::usual(&table).context("train")?;
    let about = About { plan, created_ms: Clock::new(1).now().0 / 1_000 };
    let made = fitted(asked, &table, &parts, &about)?;
    let waiting = beside(&asked.out, "judged");
    write(&made, &waiting)?;
    let bundle = Bundle::open(&waiting).with_context(|| waiting.display().to_string())?;
    let options = JudgeOptions { seed: asked.seed, ..JudgeOptions::default() };
    // A model that was treated answers for place 1, whatever place a row had.
    let place = (asked.position != Position::Ignored).then_some(1);
    let test = parts.test.clone();
    let verdict = judge_bundles(&table, test, &bundle, champion.as_ref(), place, &options);
    let verdict = verdict.context("judge")?;
    let is_accepted = verdict.is_accepted();
    let refusals: Vec<_> = verdict.refusals.iter().map(ToString::to_string).collect();
    let report = report(&bundle, &table, &parts, Some(verdict)).context("report")?;
    let out = if is_accepted { asked.out.clone() } else { beside(&asked.out, "refused") };
    let page = asked.report.clone().unwrap_or_else(|| beside(&asked.out, "html"));
    std::fs::write(&page, report.html())
        .with_context(|| format!("cannot write {}", page.display()))?;
    std::fs::rename(&waiting, &out).with_context(|| format!("cannot write {}", out.display()))?;
    let told = json!({"bundle": out, "report": page, "id": report.bundle, "rows": table.len(),
        "accepted": is_accepted, "refusals": refusals, "test": report.evaluation,
        "verdict": report.verdict});
    println!("{}", serde_json::to_string_pretty(&told)?);
    if is_accepted {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("refused: {}; the bundle is kept as {}", refusals.join("; "), out.display());
    Ok(ExitCode::FAILURE)
}

/// A file beside another one.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(what);
    path.with_file_name(name)
}

/// The bundle that a new one would replace.
fn champion(asked: &Train) -> Result<Option<Bundle>> {
    let named = match &asked.against {
        Some(path) => Some(path.clone()),
        // Rows of a file have their own columns: what answers for the lake's has nothing to say of them.
        None if parse_data(&asked.rows.data).is_ok() => None,
        None => {
            let config = load_config(asked.rows.config.as_deref())?;
            Some(config.model.bundle).filter(|path| !path.is_empty()).map(PathBuf::from)
        }
    };
    let open = |path: PathBuf| Bundle::open(&path).with_context(|| path.display().to_string());
    named.map(open).transpose()
}

/// The contents of a bundle of one or two models.
fn fitted(asked: &Train, table: &Table, parts: &Parts, about: &About) -> Result<Contents> {
    let mut bar = Bar::stopping()?;
    let mut fit = |number: u8, learner: fit::Learner| {
        let kept = beside(&asked.out, &format!("unfinished-{number}"));
        let sampling = Sampling { one_in: asked.sample, seed: asked.seed };
        let options = FitOptions {
            sampling,
            seed: asked.seed,
            position: match asked.position {
                Position::Ignored => reckon_train::Position::Ignored,
                Position::Feature => reckon_train::Position::Feature,
                Position::Tower => reckon_train::Position::Tower,
                Position::Weights => reckon_train::Position::WEIGHTS,
            },
            checkpoint: Some(Checkpoint { path: kept.clone(), batches: KEPT_EVERY }),
            ..FitOptions::of(learner)
        };
        let fitted = fit_model(table, parts, &options, &mut bar);
        bar.0.finish_and_clear();
        fitted.map_err(|error| match error {
            TrainError::Stopped => {
                anyhow!("stopped; the same command goes on from {}", kept.display())
            }
            error => anyhow::Error::new(error).context("train"),
        })
    };
    let learner = |which| learner(which, asked, parts.train.end - parts.train.start);
    if asked.model == Learner::TwoStage {
        let first = fit(1, learner(Learner::Lightgbm)?)?;
        let second = fit(2, learner(Learner::Dcn)?)?;
        return two_stages(&first, (&second, asked.top), table, parts, about).context("train");
    }
    let fitted = fit(1, learner(asked.model)?)?;
    contents(&fitted, table, parts, about).context("train")
}

/// What is fitted, as it does well on logs of clicks with so many training rows.
fn learner(which: Learner, asked: &Train, rows: u64) -> Result<fit::Learner> {
    let mut learner = match which {
        Learner::Dcn => fit::Learner::usual_dcn(rows),
        Learner::Linear => fit::Learner::usual_linear(),
        Learner::Fm => fit::Learner::usual_factor(rows, false),
        Learner::Ffm => fit::Learner::usual_factor(rows, true),
        Learner::Lightgbm => fit::Learner::usual_trees(rows),
        Learner::TwoStage => bail!("two stages are two models"),
    };
    if asked.pairs {
        learner = learner.paired().context("this model takes no pairs")?;
    }
    if let Some(epochs) = asked.epochs {
        learner.epochs_mut().most = epochs.into();
    }
    Ok(learner)
}

/// Writes a bundle beside its place, syncs it and gives it its name: it is there whole, or not at all.
pub fn write(contents: &Contents, path: &Path) -> Result<BundleId> {
    let beside = path.with_extension("being-written");
    let wrong = || format!("cannot write {}", path.display());
    let mut out = BufWriter::new(File::create(&beside).with_context(wrong)?);
    let id = contents.write(&mut out).with_context(wrong)?;
    out.flush().with_context(wrong)?;
    out.get_ref().sync_all().with_context(wrong)?;
    std::fs::rename(&beside, path).with_context(wrong)?;
    Ok(id)
}
