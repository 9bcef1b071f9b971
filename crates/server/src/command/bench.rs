//! `reckon bench`: the project's own load generator.
//!
//! It shares its machine with what it measures, so it must be cheap: requests are rendered before the
//! clock starts, answers are read for their status and length only, and one thread drives all clicks.
//! With a rate it is an open loop: requests are due at fixed times whether or not earlier ones were
//! answered, and latency counts from when a request was due, so a stall is not left out of the
//! figures. Every request carries a token of its own, so each of them can count; afterwards the net
//! clicks of the server are compared with what was sent.

mod click;
mod due;
mod ingest;
mod learn;
mod machine;
mod mint;
mod outcome;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::args::{Learn, Load, Mint};

/// Clicks in flight by default.
const CLICK_CONNECTIONS: usize = 64;
/// Batches in flight by default.
const INGEST_CONNECTIONS: usize = 8;

/// `reckon bench click`: `GET /click`, one fresh token each.
pub fn click(load: &Load, key: Option<String>) -> Result<ExitCode> {
    let default_count =
        if load.rate > 0 { load.rate * load.seconds } else { 100_000 * load.seconds };
    let options = click::Options {
        to: load.to.clone(),
        key,
        seconds: load.seconds,
        connections: load.connections.unwrap_or(CLICK_CONNECTIONS),
        rate: load.rate,
        count: load.count.map_or(usize::try_from(default_count)?, |count| count),
    };
    let outcome = click::run(&options)?;
    outcome.print(load.json, &mut std::io::stdout().lock())?;
    Ok(verdict(outcome.is_exact()))
}

/// `reckon bench ingest`: `POST /v1/events` in batches of clicks, one fresh token each.
pub fn ingest(load: &Load, key: Option<String>) -> Result<ExitCode> {
    let default_count =
        if load.rate > 0 { load.rate * load.seconds } else { 200_000 * load.seconds };
    let options = ingest::Options {
        to: load.to.clone(),
        key,
        seconds: load.seconds,
        connections: load.connections.unwrap_or(INGEST_CONNECTIONS),
        rate: load.rate,
        batch: load.batch,
        count: load.count.map_or(usize::try_from(default_count)?, |count| count),
    };
    let outcome = ingest::run(&options)?;
    outcome.print(load.json, &mut std::io::stdout().lock())?;
    Ok(verdict(outcome.is_exact()))
}

/// `reckon bench mint`: prints what other load generators send, one request or event a line.
pub fn mint(arguments: &Mint, key: Option<String>) -> Result<ExitCode> {
    let host = super::client::Address::parse(&arguments.to)?;
    let minting = mint::Minting { to: host, key, count: arguments.count };
    let lines = match arguments.events {
        true => minting.run(mint::render_event)?,
        false => minting.run(mint::render_path)?,
    };
    std::io::stdout().lock().write_all(lines.bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `reckon bench learn`: the online model on a file.
pub fn learn(arguments: &Learn) -> Result<ExitCode> {
    learn::run(arguments, &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn verdict(exact: bool) -> ExitCode {
    if exact { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
