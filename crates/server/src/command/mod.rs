//! The commands, one file each. Data goes to stdout, everything else to stderr.

pub mod bench;
pub mod books;
pub mod client;
pub mod demo;
pub mod erase;
pub mod evaluate;
pub mod models;
pub mod rebuild;
pub mod relocate;
pub mod replay;
mod rows;
pub mod serve;
pub mod simulate;
pub mod train;
pub mod verify;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::args::{Arguments, BenchWhat, Command};
use crate::config::Config;

/// Runs one command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Serve(serve) => serve::run(&serve),
        Command::Demo(demo) => demo::run(&demo),
        Command::Simulate(simulate) => {
            simulate::run(&simulate, std::env::var("RECKON_API_KEY").ok())
        }
        Command::Verify(verify) => verify::run(&verify),
        Command::Rebuild(rebuild) => rebuild::run(&rebuild),
        Command::Move(asked) => relocate::run(&asked),
        Command::Reconcile(asked) => books::reconcile(&asked),
        Command::Close(asked) => books::close(&asked),
        Command::Invoice(asked) => books::invoice(&asked),
        Command::Explain(asked) => books::explain(&asked),
        Command::Erase(asked) => erase::run(&asked),
        Command::Sql(asked) => books::sql(&asked),
        Command::Train(asked) => train::run(&asked),
        Command::Evaluate(asked) => evaluate::evaluate(&asked),
        Command::Predict(asked) => evaluate::predict(&asked),
        Command::Models(asked) => models::run(&asked),
        Command::Replay(replay) => replay::run(&replay, std::env::var("RECKON_API_KEY").ok()),
        Command::Bench(bench) => match bench.what {
            BenchWhat::Click(load) => bench::click(&load, std::env::var("RECKON_API_KEY").ok()),
            BenchWhat::Ingest(load) => bench::ingest(&load, std::env::var("RECKON_API_KEY").ok()),
            BenchWhat::Predict(load) => bench::predict(&load, std::env::var("RECKON_API_KEY").ok()),
            BenchWhat::Learn(learn) => bench::learn(&learn),
            BenchWhat::Mint(mint) => bench::mint(&mint, std::env::var("RECKON_API_KEY").ok()),
        },
    }
}

/// A runtime of `threads` workers; 0 leaves one core to the log and the counter. On two cores one
/// worker answers 1.1 to 1.3 times as many clicks as two that wake each other.
pub fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if threads > 0 { threads } else { cores.saturating_sub(1).max(1) };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all().build().context("cannot start the runtime")
}

/// The configuration with this process's environment.
pub fn load_config(file: Option<&std::path::Path>) -> Result<Config> {
    Config::load(file, std::env::vars())
}
