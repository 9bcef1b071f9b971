//! `reckon models`: bundles in files.

#![expect(clippy::print_stdout, reason = "what a bundle says is the command's data")]

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use reckon_bundle::import::{ImportOptions, import};
use reckon_bundle::{BYTES_MAX, Bundle};
use serde_json::json;

use super::train::write;
use crate::args::{Models, ModelsWhat};
use crate::clock::Clock;

/// Does one of them.
pub fn run(asked: &Models) -> Result<ExitCode> {
    match &asked.what {
        ModelsWhat::Import { file, out, sampling } => take_in(file, out, *sampling)?,
        ModelsWhat::Show { bundle } => show(bundle)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn take_in(file: &Path, out: &Path, sampling: f64) -> Result<()> {
    let name = || file.display().to_string();
    let length = std::fs::metadata(file).with_context(name)?.len();
    ensure!(length <= BYTES_MAX, "{}: {length} bytes; at most {BYTES_MAX} are taken", name());
    let bytes = std::fs::read(file).with_context(name)?;
    let created_ms = Clock::new(1).now().0 / 1_000;
    let options = ImportOptions { sampling, created_ms, ..ImportOptions::default() };
    let id = write(&import(&bytes, &options).with_context(name)?, out)?;
    println!("{id}");
    Ok(())
}

fn show(bundle: &Path) -> Result<()> {
    let opened = Bundle::open(bundle).with_context(|| bundle.display().to_string())?;
    let told = json!({"id": opened.id.to_string(), "manifest": opened.manifest,
        "golden_rows": opened.golden.rows()});
    println!("{}", serde_json::to_string_pretty(&told)?);
    Ok(())
}
