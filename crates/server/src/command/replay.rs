//! `reckon replay FORMAT FILES...`: real logs through the front door.
//!
//! A line is either events or a prediction with its outcome. Of events a reader makes batches, which
//! a few connections send (`send.rs`); events that could share an id or a person always take the same
//! connection, so the order of the file is kept where it can matter, and the same file gives the same
//! verdicts each time. Predictions are asked for a row each, and their outcomes told in the order of
//! the file (`predict.rs`). What a line needs in the catalog is registered before it is sent.
//!
//! A file may be sent again. Event ids are made of the line's number and content, so a second run
//! adds duplicates and nothing else. A prediction is asked for under such an id too (as its
//! `Idempotency-Key`), and for 24 hours the server gives the first run's answer with its token again, so impressions and clicks are
//! duplicates as well, and a run that was broken off is completed by the next. Later, or with
//! `--anew`, every row is a new prediction and a new impression.

mod avazu;
mod batch;
mod columns;
mod criteo;
mod jsonl;
mod judged;
mod learned;
mod open_bandit;
mod outcome;
mod predict;
mod read;
mod report;
mod row;
mod send;
mod talkingdata;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

pub use judged::{Predictions, Quality};
pub use report::Report;

use crate::command::client::Client;

/// A format of logs. Adding one is a file with a `read::Lines` or a `row::Rows`, and a line in
/// `Format::reader`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Ad clicks as TalkingData published them: ip,app,device,os,channel,click_time,...
    Talkingdata,
    /// Reckon's own events as POST /v1/events takes them, one JSON object a line; one without an id
    /// gets its line's, and ads that are not registered yet are, at no price.
    Jsonl,
    /// Impressions of the Open Bandit Dataset with position, propensity and click: the item is the
    /// ad, each row a prediction, its impression, and its click.
    OpenBandit,
    /// Rows as Criteo published them (label, 13 integers, 26 categories, by tabs): the second
    /// category is the ad, each row a prediction now, its impression, and its click.
    Criteo,
    /// Rows as Avazu published them (24 columns): C14 is the ad, each row a prediction, its impression
    /// in its hour, and its click.
    Avazu,
}

/// What lines of a format are.
enum Reader {
    /// Events.
    Events(Box<dyn read::Lines>),
    /// Predictions with their outcome.
    Predictions(Box<dyn row::Rows>),
}

/// What to send, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format of the files.
    pub format: Format,
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// The server's URL.
    pub to: String,
    /// An API key with the scopes `collect`, `manage` and `read`.
    pub key: Option<String>,
    /// Send the conversions that a log tells of beside its clicks.
    pub conversions: bool,
    /// Events in a batch; the server takes 10,000 at most by default.
    pub batch_events: usize,
    /// Connections that send side by side.
    pub connections: usize,
    /// Predictions asked for before the outcome of the first of them is learned.
    pub in_flight: usize,
    /// From a prediction to its click, at least: sooner it would be no person's
    /// (`rules.too_fast_ms`).
    pub click_after: Duration,
    /// Rows are new ones, even if the same file was sent before.
    pub anew: bool,
}

/// Predictions in flight. More make a replay faster, and predictions know less of the rows just
/// before them.
pub const IN_FLIGHT: u16 = 128;
/// From a prediction to its click, in milliseconds: more than the server's default of 100.
pub const CLICK_AFTER_MS: u64 = 150;

impl Options {
    /// With the usual batches and connections.
    pub fn new(format: Format, files: Vec<PathBuf>, to: String, key: Option<String>) -> Self {
        Options {
            format,
            files,
            to,
            key,
            conversions: false,
            batch_events: 5_000,
            connections: 4,
            in_flight: usize::from(IN_FLIGHT),
            click_after: Duration::from_millis(CLICK_AFTER_MS),
            anew: false,
        }
    }
}

impl Format {
    fn reader(self, conversions: bool) -> Reader {
        match self {
            Format::Talkingdata => Reader::Events(Box::new(talkingdata::Clicks::new(conversions))),
            Format::Jsonl => Reader::Events(Box::new(jsonl::Events::default())),
            Format::OpenBandit => Reader::Predictions(Box::new(open_bandit::OpenBandit::default())),
            Format::Criteo => Reader::Predictions(Box::new(criteo::Criteo::default())),
            Format::Avazu => Reader::Predictions(Box::new(avazu::Avazu::default())),
        }
    }
}

/// `reckon replay`: sends the files and prints what became of them on stdout.
pub fn run(arguments: &crate::args::Replay, key: Option<String>) -> Result<ExitCode> {
    let options = Options {
        conversions: arguments.conversions,
        in_flight: usize::from(arguments.in_flight),
        click_after: Duration::from_millis(arguments.click_after_ms),
        anew: arguments.anew,
        ..Options::new(arguments.format, arguments.files.clone(), arguments.to.clone(), key)
    };
    let report = super::runtime(2)?.block_on(replay(&options))?;
    report.print(&options.files, &mut std::io::stdout().lock(), &mut std::io::stderr().lock())?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends the files and waits until all of it is counted.
pub async fn replay(options: &Options) -> Result<Report> {
    let client = Client::new(&options.to, options.key.as_deref())?;
    match options.format.reader(options.conversions) {
        Reader::Events(lines) => send::send(client, lines, options).await,
        Reader::Predictions(rows) => predict::send(client, rows, options).await,
    }
}
