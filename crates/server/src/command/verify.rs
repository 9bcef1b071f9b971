//! `reckon verify`: the offline check of a data folder, file by file.

#![expect(clippy::print_stdout, reason = "the findings are the command's data")]

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use reckon_disk::RealDisk;
use reckon_feature::PastsOptions;
use reckon_lake::LakeReader;

use super::{load_config, runtime};
use crate::args::Verify;
use crate::config::{Config, FeatureEngine, LogEngine, RollupEngine};
use crate::data_dir::DataDir;
use crate::{engines, skew};

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
    let mut findings = vec![
        log(&config, &dir)?,
        count(&dir)?,
        rollup(&config, &dir)?,
        features(&config, &dir)?,
        learner(&dir)?,
        lake(&config, &dir)?,
        runtime(1)?.block_on(books(&config, &dir))?,
    ];
    if arguments.rows > 0 {
        findings.push(rows(&config, &dir, arguments.rows)?);
    }
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

/// What an engine of another keeps is checked by that engine, whenever it is opened or read.
fn elsewhere(part: &'static str, keeper: &str) -> Result<Finding> {
    let looked_at = format!("kept by {keeper}, which checks it when it is read");
    Ok(Finding { part, looked_at, damages: Vec::new() })
}

fn log(config: &Config, dir: &DataDir) -> Result<Finding> {
    if config.log.engine == LogEngine::Kafka {
        return elsewhere("log", "Kafka");
    }
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

fn rollup(config: &Config, dir: &DataDir) -> Result<Finding> {
    if config.rollup.engine == RollupEngine::Clickhouse {
        let store = engines::open_rollup(config, dir, Arc::new(RealDisk))?;
        let looked_at = match store.marks().applied {
            Some(epoch) => format!("opened, all rows of its runs are there, up to epoch {epoch}"),
            None => "opened, empty".to_owned(),
        };
        return Ok(Finding { part: "rollup", looked_at, damages: Vec::new() });
    }
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

fn features(config: &Config, dir: &DataDir) -> Result<Finding> {
    if config.feature.engine == FeatureEngine::Redis {
        return elsewhere("features", "the Redis Cluster");
    }
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

/// Are served rows what the records say they should have been?
fn rows(config: &Config, dir: &DataDir, requests_max: usize) -> Result<Finding> {
    let plan = Arc::new(engines::plan(config)?);
    let options = PastsOptions { bytes_max: config.feature.bytes_max, ..PastsOptions::default() };
    let place = engines::lake_place(config, dir)?;
    let Some(lake) = LakeReader::open(place).context("lake")? else {
        let looked_at = "there is no lake yet".to_owned();
        return Ok(Finding { part: "rows", looked_at, damages: Vec::new() });
    };
    let compared = skew::compare(&lake, &plan, options, requests_max)?;
    let mut looked_at = format!(
        "{} rows of {} requests computed again, {} of others were shown elsewhere than they said",
        compared.skew.rows, compared.requests, compared.unlike
    );
    if compared.evicted > 0 {
        looked_at += "; feature.bytes_max is too small for all of their pasts";
    }
    Ok(Finding { part: "rows", looked_at, damages: compared.findings() })
}

async fn books(config: &Config, dir: &DataDir) -> Result<Finding> {
    let verification = engines::verify_books(config, dir).await?;
    Ok(Finding {
        part: "books",
        looked_at: format!("{} rows", verification.rows_checked),
        damages: verification.findings,
    })
}
