//! `reckon-sim`: many histories on disks that fail, or one of them told step by step.
#![expect(clippy::print_stdout, reason = "a command tells what it did")]

use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Parser;
use reckon_sim::{Breach, run, sweep};

/// How many histories must show everything that can happen.
const ENOUGH: u64 = 500;
/// A line of progress after so many.
const PROGRESS: u64 = 1_000;

/// Lives through histories of the house without its edge, on disks that fail, judged by plain sets.
#[derive(Parser)]
struct Arguments {
    /// How many histories.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One history only, told step by step.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_fine = match arguments.seed {
        Some(seed) => replay(seed),
        None => many(arguments.from, arguments.seeds),
    };
    if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64) -> bool {
    let mut step = 0;
    let mut tell = |words: &str| {
        step += 1;
        println!("{step:>5}  {words}");
    };
    match run(seed, None, Some(&mut tell)) {
        Ok(tally) => {
            println!("{tally}");
            true
        }
        Err(Breach { what, .. }) => {
            println!("BREACH: {what}");
            false
        }
    }
}

fn many(from: u64, seeds: u64) -> bool {
    let threads = available_parallelism().map_or(1, usize::from);
    let progress = |done: u64| {
        if done.is_multiple_of(PROGRESS) {
            println!("{done} of {seeds}");
        }
    };
    let (tally, breaches) = sweep(from..from.saturating_add(seeds), threads, &progress);
    println!("{tally}");
    for breach in &breaches {
        println!("BREACH: {breach}; replay it with: make sim SEED={}", breach.seed);
    }
    let missing = tally.missing();
    if seeds >= ENOUGH && breaches.is_empty() && !missing.is_empty() {
        println!("never occurred: {}", missing.join(", "));
        return false;
    }
    breaches.is_empty()
}
