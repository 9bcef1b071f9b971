//! `reckon train`: rows that were served, or those of a file, become a bundle.

#![expect(clippy::print_stdout, reason = "figures are the command's data")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use reckon_bundle::{Bundle, BundleId, Contents};
use reckon_disk::TempDir;
use reckon_event::{TenantId, Timestamp};
use reckon_lake::LakeReader;
use reckon_model::dcn::{Structure, TrainerOptions};
use reckon_train::bundled::{About, contents};
use reckon_train::fit::{self, Epochs, FitOptions};
use reckon_train::lake::{self, LakeOptions};
use reckon_train::{Parts, Sampling, Share, Table, evaluate, fit as fit_model};
use serde_json::json;

use super::evaluate::{Bar, table};
use super::load_config;
use crate::args::{Learner, Train, parse_data};
use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::engines;

/// Fits, calibrates, writes the bundle and prints how it does on rows it has not seen.
pub fn run(asked: &Train) -> Result<ExitCode> {
    let learner = learner(asked)?;
    let folder = TempDir::new("train");
    let (table, plan) = rows(asked, &folder)?;
    let parts = Parts::usual(&table).context("train")?;
    let sampling = Sampling { one_in: asked.sample, seed: asked.seed };
    let options = FitOptions { sampling, seed: asked.seed, ..FitOptions::of(learner) };
    let mut bar = Bar(ProgressBar::hidden());
    let fitted = fit_model(&table, &parts, &options, &mut bar);
    bar.0.finish_and_clear();
    let fitted = fitted.context("train")?;
    let about = About { plan, created_ms: Clock::new(1).now().0 / 1_000 };
    let id = write(&contents(&fitted, &table, &parts, &about).context("train")?, &asked.out)?;
    let bundle = Bundle::open(&asked.out).with_context(|| asked.out.display().to_string())?;
    let judged = evaluate(&bundle, &table, &Share::all(parts.test)).context("train")?;
    let told = json!({"bundle": asked.out, "id": id.to_string(), "rows": table.len(),
        "epochs": fitted.epochs, "test": judged});
    println!("{}", serde_json::to_string_pretty(&told)?);
    Ok(ExitCode::SUCCESS)
}

fn learner(asked: &Train) -> Result<fit::Learner> {
    let epochs = Epochs { most: asked.epochs.into(), ..Epochs::USUAL };
    match asked.model {
        Learner::Dcn => Ok(fit::Learner::Dcn {
            embedding: 16,
            buckets: 1 << 16,
            seen_min: 4,
            cross_layers: 3,
            rank: 64,
            hidden: vec![256, 256],
            structure: Structure::Parallel,
            has_buckets: false,
            average: 0.5,
            options: TrainerOptions::default(),
            epochs,
        }),
        Learner::Linear => bail!("--model linear: bundles cannot hold its buckets yet; take dcn"),
        Learner::Lightgbm => bail!(
            "--model lightgbm: this build does not fit trees; fit them with LightGBM, and take them in \
             by `reckon models import`"
        ),
    }
}

/// The rows, and the version of the plan they are of; 0 where they are of none.
fn rows(asked: &Train, folder: &TempDir) -> Result<(Table, u64)> {
    if let Ok(data) = parse_data(&asked.data) {
        return Ok((table(&data, &asked.label, folder)?, 0));
    }
    let config = load_config(asked.config.as_deref())?;
    let dir = DataDir(asked.data.clone().into());
    if !dir.0.is_dir() {
        bail!("--data {}: there is no such folder; a file is named as FORMAT:FILE", asked.data);
    }
    let plan = engines::plan(&config)?;
    let place = engines::lake_place(&config, &dir)?;
    let Some(lake) = LakeReader::open(place).context("lake")? else {
        bail!("--data {}: its lake is empty: let a server run on it first", asked.data);
    };
    let mut options = LakeOptions::new(TenantId::DEFAULT, plan.version());
    options.window_us = config.model.attribution_s * Timestamp::SECOND;
    let moment = |text: &Option<String>, option, usual| match text {
        Some(text) => Timestamp::parse(text).with_context(|| format!("{option} {text}")),
        None => Ok(usual),
    };
    options.from = moment(&asked.from, "--from", options.from)?;
    options.to = moment(&asked.to, "--to", options.to)?;
    let path = folder.path().join("rows.table");
    let (table, counts) = lake::table(&lake, &plan, &options, &path).context("lake")?;
    eprintln!(
        "{} rows, {} clicked; left out: {} not shown, {} may still be clicked, {} of other plans, {} erased",
        counts.taken,
        counts.clicked,
        counts.not_shown,
        counts.young,
        counts.other_plan,
        counts.erased
    );
    Ok((table, plan.version()))
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
