//! `reckon replay FORMAT FILES...`: real logs through the front door.
//!
//! A reader turns lines into events and collects them in batches; a few connections send the batches.
//! Events that could share an id or a person always take the same connection, so the order of the
//! file is kept where it can matter, and the same file gives the same verdicts each time. What an
//! event needs in the catalog is registered before its batch is sent. Event ids are made of the
//! line's number and content, so the same file sent again adds duplicates and nothing else.

mod batch;
mod jsonl;
mod read;
mod report;
mod send;
mod talkingdata;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

pub use report::Report;

use crate::command::client::Client;

/// A format of logs. Adding one is a file with a [`read::Lines`] and a line in [`Format::reader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Ad clicks as TalkingData published them: ip,app,device,os,channel,click_time,...
    Talkingdata,
    /// Reckon's own events as POST /v1/events takes them, one JSON object a line; one without an id
    /// gets its line's, and ads that are not registered yet are, at no price.
    Jsonl,
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
}

impl Options {
    /// With the usual batches and connections.
    pub fn new(format: Format, files: Vec<PathBuf>, to: String, key: Option<String>) -> Self {
        Options { format, files, to, key, conversions: false, batch_events: 5_000, connections: 4 }
    }
}

impl Format {
    fn reader(self, conversions: bool) -> Box<dyn read::Lines> {
        match self {
            Format::Talkingdata => Box::new(talkingdata::Clicks::new(conversions)),
            Format::Jsonl => Box::new(jsonl::Events::default()),
        }
    }
}

/// `reckon replay`: sends the files and prints what became of them on stdout.
pub fn run(arguments: &crate::args::Replay, key: Option<String>) -> Result<ExitCode> {
    let options = Options {
        conversions: arguments.conversions,
        ..Options::new(arguments.format, arguments.files.clone(), arguments.to.clone(), key)
    };
    let report = super::runtime(2)?.block_on(replay(&options))?;
    report.print(&options.files, &mut std::io::stdout().lock(), &mut std::io::stderr().lock())?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends the files and waits until all of it is counted.
pub async fn replay(options: &Options) -> Result<Report> {
    let client = Client::new(&options.to, options.key.as_deref())?;
    let lines = options.format.reader(options.conversions);
    send::send(client, lines, options).await
}
