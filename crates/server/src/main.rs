//! `reckon`: what was typed is read in `args`, what it means is decided there, and one command is run.

use std::process::ExitCode;

use clap::Parser;
use reckon_server::args::Arguments;
use reckon_server::command;

fn main() -> ExitCode {
    // clap ends the process with 2 on wrong use, and with 0 on --help.
    let arguments = Arguments::parse();
    match command::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("reckon: {error:#}");
            ExitCode::from(1)
        }
    }
}
