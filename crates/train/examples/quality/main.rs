//! How good the models are beside their peers, on logs that others wrote.
//!
//! ```sh
//! quality split FOLDER         the logs of RECKON_DATA as tables, and as files for peers
//! quality fit FOLDER SEEDS     our models, by turns with nobody's help; or some: lr, fm, trees, dcn behind it
//! quality judge FOLDER SEEDS   everything that was said of the test rows, one judge for all
//! ```
//!
//! `bench/quality.sh` calls them in this order, with `bench/quality_peers.py` between. The labels of the
//! test rows are in no file that a peer can read, and our own models are not asked about those rows
//! before all of their options stand: options are chosen on the validation rows, by ours and by peers.

#![expect(clippy::print_stdout, reason = "this prints figures")]

mod compare;
mod models;
mod report;
mod sets;

use std::path::Path;
use std::process::ExitCode;

use reckon_train::TrainError;

/// Models are fitted with at most so many seeds.
const SEEDS_MAX: u64 = 100;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["split", folder] => sets::split(Path::new(folder)),
        ["fit", folder, seeds, ref wanted @ ..] => {
            with(seeds, |seeds| models::fit_all(Path::new(folder), seeds, wanted))
        }
        ["judge", folder, seeds] => with(seeds, |seeds| report::print(Path::new(folder), seeds)),
        _ => {
            eprintln!(
                "quality split FOLDER | quality fit FOLDER SEEDS [lr|fm|trees|dcn ...] | quality judge FOLDER SEEDS"
            );
            return ExitCode::FAILURE;
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn with(seeds: &str, work: impl FnOnce(u64) -> Result<(), TrainError>) -> Result<(), TrainError> {
    match seeds.parse() {
        Ok(seeds @ 1..=SEEDS_MAX) => work(seeds),
        _ => Err(TrainError::Data(format!("SEEDS is {seeds:?}: give a number from 1 to 100"))),
    }
}
