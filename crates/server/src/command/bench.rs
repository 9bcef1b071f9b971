//! `reckon bench`: the project's own load generator.
//!
//! It shares its machine with what it measures, so it must be cheap: requests are rendered before the
//! clock starts, answers are read for their status and length only, and one thread drives all clicks and predictions.
//! With a rate it is an open loop: requests are due at fixed times whether or not earlier ones were
//! answered, and latency counts from when a request was due, so a stall is not left out of the
//! figures. Every click carries a token of its own, so each of them can count; afterwards the net clicks
//! of the server are compared with what was sent.

mod click;
mod crowd;
mod due;
mod engine;
mod fresh;
mod ingest;
mod learn;
mod machine;
mod measured;
mod mint;
mod outcome;
mod predict;
mod traffic;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::args::{IngestLoad, Learn, Load, Mint, PredictLoad};

pub use traffic::Traffic;

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
pub fn ingest(arguments: &IngestLoad, key: Option<String>) -> Result<ExitCode> {
    let load = &arguments.load;
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
        traffic: arguments.traffic,
        is_probed: arguments.fresh,
    };
    let outcome = ingest::run(&options)?;
    outcome.print(load.json, &mut std::io::stdout().lock())?;
    Ok(verdict(outcome.is_exact()))
}

/// `reckon bench predict`: `POST /api/predict` at several numbers of candidates.
pub fn predict(load: &PredictLoad, key: Option<String>) -> Result<ExitCode> {
    let options = predict::Options {
        to: load.to.clone(),
        key,
        seconds: load.seconds,
        connections: load.connections,
        rate: load.rate,
        mint: load.mint,
        candidates: load.candidates.iter().map(|&count| usize::from(count)).collect(),
        users: load.users,
        ads: load.ads,
        seed: load.seed,
    };
    let measured = predict::run(&options)?;
    measured.print(load.json, &mut std::io::stdout().lock())?;
    Ok(verdict(measured.is_good()))
}

/// `reckon bench mint`: prints what other load generators send, one request or event a line.
pub fn mint(arguments: &Mint, key: Option<String>) -> Result<ExitCode> {
    let host = super::client::Address::parse(&arguments.to)?;
    let minting = mint::Minting::new(host, key, arguments.count);
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
