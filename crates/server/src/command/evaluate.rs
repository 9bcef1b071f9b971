//! `reckon evaluate` and `reckon predict`: a bundle asked about rows in a file.

#![expect(clippy::print_stdout, reason = "figures and scores are the commands' data")]

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reckon_bundle::Bundle;
use reckon_disk::TempDir;
use reckon_train::data::{DelimitedOptions, Format, import};
use reckon_train::{Progress, Share, Table, TrainError, for_each_answer};

use crate::args::{Data, OnData};

/// Prints figures as JSON.
pub fn evaluate(asked: &OnData) -> Result<ExitCode> {
    let bundle = open(asked)?;
    let folder = TempDir::new("evaluate");
    let table = table(&asked.data, &asked.label, &folder)?;
    let figures =
        reckon_train::evaluate(&bundle, &table, &Share::all(0..table.len())).context("evaluate")?;
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(ExitCode::SUCCESS)
}

/// Prints a probability a line.
pub fn predict(asked: &OnData) -> Result<ExitCode> {
    let bundle = open(asked)?;
    let folder = TempDir::new("predict");
    let table = table(&asked.data, &asked.label, &folder)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = |error: std::io::Error| TrainError::Data(format!("stdout: {error}"));
    for_each_answer(&bundle, &table, &Share::all(0..table.len()), |_, answers| {
        answers.iter().try_for_each(|answer| writeln!(out, "{answer}")).map_err(written)
    })
    .context("predict")?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn open(asked: &OnData) -> Result<Bundle> {
    Bundle::open(&asked.bundle).with_context(|| asked.bundle.display().to_string())
}

/// Reads rows into a table of their own, which goes with its folder.
pub fn table(data: &Data, label: &str, folder: &TempDir) -> Result<Table> {
    let format = format(&data.format, label)?;
    let mut bar = Bar(ProgressBar::hidden());
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

/// A bar on a terminal; none elsewhere.
pub struct Bar(pub ProgressBar);

impl Progress for Bar {
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
