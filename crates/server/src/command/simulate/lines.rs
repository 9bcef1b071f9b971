//! `reckon simulate --lines`: impressions of the market as text, for learners that read files.
//!
//! `--truth FILE` then holds what no learner can beat but by luck:
//!
//! ```text
//! {"seed": 1, "lines": 2000000, "clicks": n, "expected_clicks": x,
//!  "log_loss": of the true probabilities over the clicks as drawn, "log_loss_expected": in the mean
//!  over all draws, "log_loss_constant": of the click rate, "auc": of the true probabilities}
//! ```

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use reckon_market::{Lines, LinesTruth, Market};
use serde_json::{Value, json};

/// Bytes gathered before they are written.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes the lines to stdout, and what is known of them to a file.
pub fn write(market: &Market, count: u64, truth: Option<&Path>) -> Result<ExitCode> {
    let mut lines = Lines::new(market, count);
    match copy(&mut lines, &mut io::stdout().lock()) {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("stdout")?,
    }
    if let Some(path) = truth {
        let json = json_of(market.options.seed, lines.truth());
        std::fs::write(path, format!("{json:#}\n"))
            .with_context(|| format!("--truth: cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn copy(lines: &mut Lines<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + 4_096);
    while lines.append(&mut chunk) {
        if chunk.len() >= CHUNK_BYTES {
            out.write_all(&chunk)?;
            chunk.clear();
        }
    }
    out.write_all(&chunk)?;
    out.flush()
}

fn json_of(seed: u64, truth: &LinesTruth) -> Value {
    json!({
        "seed": seed, "lines": truth.lines, "clicks": truth.clicks,
        "expected_clicks": truth.expected_clicks, "log_loss": truth.log_loss(),
        "log_loss_expected": truth.expected_log_loss(),
        "log_loss_constant": truth.constant_log_loss(), "auc": truth.auc(),
    })
}
