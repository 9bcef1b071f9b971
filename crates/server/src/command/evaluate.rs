//! `reckon evaluate` and `reckon predict`: a bundle asked about rows in a file.

#![expect(clippy::print_stdout, reason = "figures and scores are the commands' data")]

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use reckon_bundle::Bundle;
use reckon_disk::TempDir;
use reckon_train::{Share, TrainError, for_each_answer};

use super::rows::rows;
use crate::args::OnData;

/// Prints figures as JSON.
pub fn evaluate(asked: &OnData) -> Result<ExitCode> {
    let bundle = open(asked)?;
    let folder = TempDir::new("evaluate");
    let (table, _) = rows(&asked.rows, &folder)?;
    let figures =
        reckon_train::evaluate(&bundle, &table, &Share::all(0..table.len())).context("evaluate")?;
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(ExitCode::SUCCESS)
}

/// Prints a probability a line.
pub fn predict(asked: &OnData) -> Result<ExitCode> {
    let bundle = open(asked)?;
    let folder = TempDir::new("predict");
    let (table, _) = rows(&asked.rows, &folder)?;
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
