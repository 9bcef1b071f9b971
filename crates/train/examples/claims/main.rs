//! What is claimed of training, on a market whose truth is known, and on lists of real people.
//!
//! 1. All places are looked at; one in ten of the rows not clicked is learned from: what is lost, and
//!    whether probabilities are still right.
//! 2. Places are looked at less and less: which order each treatment finds, beside the true one.
//! 3. Click curves by rank of TianGong-ST and trivago, before and after.
//!
//! `ROWS` and `SEEDS` say how large the markets are and how many; `LARGE` is one more market of so many
//! rows, 0 for none; `CLAIM` is `sampling`, `places` or `curves` where only one is asked for; `RECKON_DATA` is the folder of real logs. Lakes and tables lie below `TMPDIR`.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod columns;
mod figures;
mod logs;
mod written;

use std::path::Path;

use reckon_market::POSITION_DECAY;
use reckon_model::LinearOptions;
use reckon_model::dcn::{Structure, TrainerOptions};
use reckon_train::Position;
use reckon_train::fit::{Epochs, Learner};

use crate::figures::{Asked, Report, figures};

/// What ends the run says why.
pub type Done<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Done<()> {
    let rows: u64 = number("ROWS", 1_000_000)?;
    let seeds: u64 = number("SEEDS", 5)?;
    let large: u64 = number("LARGE", 10_000_000)?;
    if is_wanted("curves") {
        real_logs()?;
    }
    if seeds > 0 {
        markets(&format!("{seeds} markets of {rows} rows"), 1..=seeds, rows)?;
    }
    if large > 0 {
        markets(&format!("one market of {large} rows"), 1..=1, large)?;
    }
    Ok(())
}

fn number(name: &str, usual: u64) -> Done<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name}: {text} is no number").into()),
        Err(_) => Ok(usual),
    }
}

/// `CLAIM` names one; without it, all are wanted.
fn is_wanted(claim: &str) -> bool {
    std::env::var("CLAIM").is_ok_and(|asked| asked == claim) || std::env::var("CLAIM").is_err()
}

const EPOCHS: Epochs = Epochs { most: 8, patience: 1, batch: 512 };

fn linear() -> Learner {
    Learner::linear(LinearOptions::default(), EPOCHS)
}

fn factor() -> Learner {
    Learner::Factor {
        is_field_aware: false,
        has_pairs: false,
        factors: 8,
        bits: 18,
        alpha: 0.03,
        linear_alpha: 0.05,
        beta: 1.0,
        spread: 0.1,
        l2: 1e-5,
        epochs: EPOCHS,
    }
}

fn dcn() -> Learner {
    Learner::Dcn {
        embedding: 8,
        buckets: 1 << 12,
        seen_min: 8,
        cross_layers: 2,
        rank: 32,
        hidden: vec![64, 32],
        structure: Structure::Parallel,
        has_buckets: false,
        average: 0.0,
        options: TrainerOptions::default(),
        epochs: Epochs { batch: 1_024, ..EPOCHS },
    }
}

fn learners() -> [(&'static str, Learner); 3] {
    [("linear", linear()), ("fm", factor()), ("dcn", dcn())]
}

/// Beyond so many rows only the quickest learner sees all of them, and the network leaves places to the others.
const ROWS_FOR_ALL: u64 = 5_000_000;

/// Both claims, on a market a seed.
fn markets(what: &str, seeds: std::ops::RangeInclusive<u64>, rows: u64) -> Done<()> {
    if is_wanted("sampling") {
        let mut report = Report::default();
        for seed in seeds.clone() {
            run(seed, rows, 0.0, &sampled(rows), &mut report)?;
        }
        println!();
        println!("== {what}: every place is looked at; judged by the last fifth, as it was logged");
        report.print_calibration();
    }
    if is_wanted("places") {
        let mut report = Report::default();
        for seed in seeds {
            run(seed, rows, POSITION_DECAY, &placed(rows), &mut report)?;
        }
        println!();
        println!("== {what}: place k is looked at with chance k^-{POSITION_DECAY}; all of place 1");
        report.print_places(reckon_market::examination);
    }
    println!();
    Ok(())
}

/// Each learner on all rows, and on one in ten of those not clicked.
fn sampled(rows: u64) -> Vec<Asked> {
    let of = |(name, learner): (&'static str, Learner)| {
        [1, 10].map(|one_in| Asked {
            name,
            learner: learner.clone(),
            position: Position::Ignored,
            one_in,
        })
    };
    let mut all: Vec<Asked> = learners().into_iter().flat_map(of).collect();
    all.retain(|asked| rows < ROWS_FOR_ALL || asked.one_in > 1 || asked.name == "linear");
    all
}

/// Each learner with each treatment. The network learns slowest, and sees one in ten of those not clicked.
fn placed(rows: u64) -> Vec<Asked> {
    let treatments = [Position::Ignored, Position::Feature, Position::Tower, Position::WEIGHTS];
    let of = |(name, learner): (&'static str, Learner)| {
        let one_in = if rows >= ROWS_FOR_ALL || name == "dcn" { 10 } else { 1 };
        treatments.map(|position| Asked { name, learner: learner.clone(), position, one_in })
    };
    let mut all: Vec<Asked> = learners().into_iter().flat_map(of).collect();
    all.retain(|asked| rows < ROWS_FOR_ALL || asked.name != "dcn");
    all
}

fn run(seed: u64, rows: u64, decay: f64, all: &[Asked], report: &mut Report) -> Done<()> {
    let folder = tempfile::tempdir()?;
    let mut written = written::written(seed, rows, decay, folder.path())?;
    for (number, asked) in all.iter().enumerate() {
        let (found, places) = figures(asked, &mut written, seed)?;
        eprintln!(
            "seed {seed}: {} {} 1 in {} {found:?}",
            asked.name,
            asked.position.name(),
            asked.one_in
        );
        report.take(number, asked, found, places);
    }
    Ok(())
}

fn real_logs() -> Done<()> {
    let Some(data) = std::env::var_os("RECKON_DATA") else {
        println!(
            "left out: click curves by rank, because RECKON_DATA names no folder of real logs"
        );
        return Ok(());
    };
    println!(
        "== click curves by rank: all rows, the last fifth, and what models say of that fifth"
    );
    for (name, log) in [
        ("tiangong", "tiangong/train_per_query_quid.txt"),
        ("trivago", "trivago/trivago_val_100k.parquet.snappy"),
    ] {
        let folder = tempfile::tempdir()?;
        let log = Path::new(&data).join(log);
        if log.exists() {
            logs::curves(name, &log, &linear(), folder.path())?;
        } else {
            println!("left out: {name}, because RECKON_DATA has no {}", log.display());
        }
    }
    Ok(())
}
