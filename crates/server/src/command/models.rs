//! `reckon models`: bundles in files.

#![expect(clippy::print_stdout, reason = "what a bundle says is the command's data")]

use std::process::ExitCode;

use anyhow::{Context, Result};
use reckon_bundle::Bundle;
use serde_json::json;

use crate::args::{Models, ModelsWhat};

/// Does one of them.
pub fn run(asked: &Models) -> Result<ExitCode> {
    match &asked.what {
        ModelsWhat::Show { bundle } => {
            let opened = Bundle::open(bundle).with_context(|| bundle.display().to_string())?;
            let told = json!({"id": opened.id.to_string(), "manifest": opened.manifest,
                "golden_rows": opened.golden.rows()});
            println!("{}", serde_json::to_string_pretty(&told)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}
