//! Rows that are learned from or asked about: of a lake, or of a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reckon_disk::TempDir;
use reckon_event::{TenantId, Timestamp};
use reckon_lake::LakeReader;
use reckon_train::data::{DelimitedOptions, Format, import};
use reckon_train::lake::{self, LakeOptions};
use reckon_train::{Progress, Table};

use super::load_config;
use super::serve::stop_signal;
use crate::args::{Data, RowsOf, parse_data};
use crate::data_dir::DataDir;
use crate::engines;

/// The rows, and the version of the plan they are of; 0 where they are of none.
pub fn rows(asked: &RowsOf, folder: &TempDir) -> Result<(Table, u64)> {
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

/// Reads rows into a table of their own, which goes with its folder.
fn table(data: &Data, label: &str, folder: &TempDir) -> Result<Table> {
    let format = format(&data.format, label)?;
    let mut bar = Bar::default();
    let table = import(&format, &data.file, &folder.path().join("rows.table"), &mut bar);
    bar.0.finish_and_clear();
    table.with_context(|| format!("--data {}", data.file.display()))
}

fn format(name: &str, label: &str) -> Result<Format> {
    let options = || DelimitedOptions { label: label.to_owned(), ..DelimitedOptions::default() };
    match name {
        "csv" => Ok(Format::Csv(options())),
        "parquet" => Ok(Format::Parquet(options())),
        name => match Format::named(name) {
            Some(format) => Ok(format),
            None => bail!(
                "--data: {name:?} is no format; there are {}, csv and parquet",
                Format::NAMES.join(", ")
            ),
        },
    }
}

/// A bar on a terminal; none elsewhere. And whether somebody has said stop.
pub struct Bar(pub ProgressBar, Arc<AtomicBool>);

impl Default for Bar {
    fn default() -> Self {
        Bar(ProgressBar::hidden(), Arc::default())
    }
}

impl Bar {
    /// One that says stop when the process is asked to end; asked again, it ends at once.
    pub fn stopping() -> Result<Self> {
        let bar = Bar::default();
        let is_stopped = Arc::clone(&bar.1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                stop_signal().await;
                is_stopped.store(true, Ordering::Relaxed);
                stop_signal().await;
                std::process::exit(130);
            });
        });
        Ok(bar)
    }
}

impl Progress for Bar {
    fn is_stopped(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }

    fn advance(&mut self, step: &str, done: u64, total: u64) {
        if self.0.is_hidden() && total > 0 {
            let style = "{msg} {bar:40} {pos}/{len} rows, {per_sec}, {eta} left";
            let style = ProgressStyle::with_template(style).expect("a constant template");
            self.0 = ProgressBar::new(total).with_style(style);
        }
        self.0.set_message(step.to_owned());
        self.0.set_position(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_names() {
        for name in Format::NAMES {
            assert!(format(name, "label").is_ok(), "{name}");
        }
        assert!(matches!(format("csv", "clicked"), Ok(Format::Csv(it)) if it.label == "clicked"));
        let told = format("xml", "label").expect_err("no such format").to_string();
        assert!(told.contains("\"xml\" is no format") && told.contains("criteo"), "{told}");
    }
}
