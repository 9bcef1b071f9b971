//! `reckon simulate`: a market with known truth, sent through the real front door.

mod lines;

use std::process::ExitCode;

use anyhow::{Result, bail};
use reckon_market::{Market, Options, Trouble, Troubles};

use crate::args::Simulate;

/// Writes lines, or drives a server; exit code 1 where the server counted something else than happened.
pub fn run(arguments: &Simulate, key: Option<String>) -> Result<ExitCode> {
    let market = Market::new(options(arguments));
    match arguments.lines {
        Some(count) => lines::write(&market, count, arguments.truth.as_deref()),
        None => bail!("not yet {key:?}"),
    }
}

/// The market that was asked for.
fn options(arguments: &Simulate) -> Options {
    let mut troubles = Troubles::usual();
    for asked in &arguments.troubles {
        for trouble in Trouble::ALL {
            if asked.trouble.is_none_or(|only| only == trouble) {
                troubles = troubles.with(trouble, asked.rate);
            }
        }
    }
    Options {
        user_count: arguments.users as usize,
        ad_count: arguments.ads as usize,
        troubles,
        ..Options::new(arguments.seed)
    }
}
