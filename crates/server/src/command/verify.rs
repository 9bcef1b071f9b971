//! `reckon verify`: the offline check of a data folder, file by file.

#![expect(clippy::print_stdout, reason = "the findings are the command's data")]

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use reckon_books::SqliteBooks;
use reckon_disk::RealDisk;

use super::{load_config, runtime};
use crate::args::Verify;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::engines;

/// What one part was found to be.
struct Finding {
    part: &'static str,
    looked_at: String,
    damages: Vec<String>,
}

/// Checks everything and prints it; exit code 1 on any damage.
pub fn run(arguments: &Verify) -> Result<ExitCode> {
    let config = load_config(arguments.config.as_deref())?;
    let dir = DataDir(arguments.data.clone());
    if !dir.0.is_dir() {
        bail!("{} is not a data folder", dir.0.display());
    }
    let _lock = dir.lock()?;
    let books = dir.books(&config)?;
    let findings = vec![
        log(&dir)?,
        count(&dir)?,
        rollup(&dir)?,
        features(&dir)?,
        learner(&dir)?,
        lake(&config, &dir)?,
        runtime(1)?.block_on(check_books(&books))?,
    ];
    let mut damaged = false;
    for finding in &findings {
        let word = if finding.damages.is_empty() { "sound" } else { "DAMAGED" };
        println!("{:<8} {word:<8} {}", finding.part, finding.looked_at);
        for damage in &finding.damages {
            println!("         {damage}");
            damaged = true;
        }
    }
    Ok(if damaged { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn log(dir: &DataDir) -> Result<Finding> {
    let report = reckon_eventlog::verify(&RealDisk, &dir.log()).context("log")?;
    Ok(Finding {
        part: "log",
        looked_at: format!(
            "{} records in {} segments, {} bytes",
            report.records, report.segments, report.bytes
        ),
        damages: report.findings,
    })
}

fn count(dir: &DataDir) -> Result<Finding> {
    let report = reckon_pipeline::verify(&RealDisk, &dir.count()).context("count")?;
    Ok(Finding {
        part: "count",
        looked_at: format!(
            "{} checkpoints, {} logged epochs, {} opaque ids",
            report.checkpoints, report.epochs, report.opaque_ids
        ),
        damages: report.damage,
    })
}

fn rollup(dir: &DataDir) -> Result<Finding> {
    let report = reckon_rollup::files::verify(&RealDisk, &dir.rollup()).context("rollup")?;
    let damages =
        report.damages.iter().map(|damage| format!("{}: {}", damage.path.display(), damage.what));
    Ok(Finding {
        part: "rollup",
        looked_at: format!(
            "{} rows in {} files, up to epoch {}",
            report.rows, report.files, report.epoch
        ),
        damages: damages.collect(),
    })
}

fn features(dir: &DataDir) -> Result<Finding> {
    let report = reckon_feature::memory::verify(Arc::new(RealDisk), &dir.features())?;
    Ok(Finding {
        part: "features",
        looked_at: format!("{} entities, up to epoch {}", report.entities, report.epoch),
        damages: report.damage.into_iter().collect(),
    })
}

fn learner(dir: &DataDir) -> Result<Finding> {
    let report = reckon_rollout::verify(Arc::new(RealDisk), &dir.learner()).context("learner")?;
    Ok(Finding {
        part: "learner",
        looked_at: format!("{} rows learned, up to epoch {}", report.rows, report.epoch),
        damages: report.damage.into_iter().collect(),
    })
}

fn lake(config: &Config, dir: &DataDir) -> Result<Finding> {
    let place = engines::lake_place(config, dir)?;
    let verified = reckon_lake::verify(&place).context("lake")?;
    let damages = verified.damage.iter().map(|damage| format!("{}: {}", damage.path, damage.what));
    Ok(Finding {
        part: "lake",
        looked_at: format!("{} rows in {} files", verified.rows, verified.files),
        damages: damages.collect(),
    })
}

async fn check_books(path: &std::path::Path) -> Result<Finding> {
    let verification = SqliteBooks::verify(path).await.context("books")?;
    Ok(Finding {
        part: "books",
        looked_at: format!("{} rows", verification.rows_checked),
        damages: verification.findings,
    })
}
