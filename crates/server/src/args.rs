//! The command line, as it is typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use reckon_market::Trouble;

use crate::command::bench::Traffic;
use crate::command::replay::{self, Format};

/// Counts every ad click once, and predicts the next one.
#[derive(Debug, Parser)]
#[command(name = "reckon", version, propagate_version = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole system on this machine.
    Serve(Serve),
    /// Run the system on a temporary folder with a simulated market's day, and prove its figures.
    Demo(Demo),
    /// Send a market with known truth through the front door; the key is taken from RECKON_API_KEY.
    Simulate(Simulate),
    /// Send real logs through the front door; the key is taken from RECKON_API_KEY.
    Replay(Replay),
    /// Check log, checkpoints, rollup and books of a data folder while no server runs on it.
    Verify(Verify),
    /// Forget all that was derived from the log of a data folder, and count the log again.
    Rebuild(Rebuild),
    /// Take a data folder from the engines it has to those of another configuration.
    Move(Move),
    /// Recount from the lake and compare with the figures; exit code 1 where they differ.
    Reconcile(Reconcile),
    /// Close a day: freeze its figures and charge them.
    Close(OfDay),
    /// The invoices of a closed day, as CSV or JSON.
    Invoice(Invoice),
    /// Every record behind one figure.
    Explain(Explain),
    /// Erase a person, and print the proof.
    Erase(Erase),
    /// Ask the lake in SQL: tables `events`, `records`, `revisions`.
    Sql(Sql),
    /// Fit a model on rows that were served, or on those of a file, and write it as a bundle.
    Train(Train),
    /// How good a bundle's probabilities are on rows whose outcome is known, as JSON.
    Evaluate(OnData),
    /// What a bundle says of rows: one probability a line, in the order of the rows.
    Predict(OnData),
    /// Look at bundles, and make them of models that others have trained.
    Models(Models),
    /// Load a running server and print rates and latencies.
    Bench(Bench),
}

/// Where the data and the configuration are.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// A configuration file that lies over the defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder; made when missing.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

/// `reckon serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Where the data and the configuration are.
    #[command(flatten)]
    pub place: Place,
    /// Where to listen, over the configuration's server.listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where /metrics listens for operators, over server.admin_listen; "" switches it off.
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Where gRPC listens, over server.grpc_listen.
    #[arg(long, value_name = "ADDRESS")]
    pub grpc_listen: Option<String>,
    /// `wall`, or `scaled:N` for a clock N times as fast, for demos and tests.
    #[arg(long, value_name = "CLOCK", default_value = "wall", value_parser = parse_clock)]
    pub clock: u32,
}

/// `reckon rebuild`
#[derive(Debug, Args)]
pub struct Rebuild {
    /// Where the data and the configuration are.
    #[command(flatten)]
    pub place: Place,
}

/// `reckon move`
#[derive(Debug, Args)]
pub struct Move {
    /// The data folder, while no server runs on it.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// The configuration file it was run with; the defaults where not given.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// The configuration file it is to be run with.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// A running server; its key is taken from RECKON_API_KEY.
#[derive(Clone, Debug, Args)]
pub struct Server {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub to: String,
}

/// `reckon reconcile`
#[derive(Debug, Args)]
pub struct Reconcile {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// An hour, such as 2026-11-21T13:00:00Z; everything where neither hour nor day is given.
    #[arg(long, value_name = "HOUR", conflicts_with = "day")]
    pub hour: Option<String>,
    /// A UTC day, such as 2026-11-21.
    #[arg(long, value_name = "DAY")]
    pub day: Option<String>,
    /// Write the whole report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `reckon close`
#[derive(Debug, Args)]
pub struct OfDay {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// The UTC day, such as 2026-11-21.
    #[arg(long, value_name = "DAY")]
    pub day: String,
}

/// `reckon invoice`
#[derive(Debug, Args)]
pub struct Invoice {
    /// Which day of which server.
    #[command(flatten)]
    pub of: OfDay,
    /// Only this advertiser's.
    #[arg(long, value_name = "ID")]
    pub advertiser: Option<String>,
    /// Write JSON instead of CSV.
    #[arg(long)]
    pub json: bool,
}

/// `reckon explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// The ad; `(unknown)` for what names none that is registered.
    #[arg(long, value_name = "AD")]
    pub ad: String,
    /// The minute, such as 2026-11-21T13:05:00Z.
    #[arg(long, value_name = "MINUTE")]
    pub minute: String,
    /// Write JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// `reckon erase`
#[derive(Debug, Args)]
pub struct Erase {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// The user's id, as events name it.
    #[arg(long, value_name = "USER")]
    pub user: String,
    /// Write the whole proof as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which rows are learned from, or asked about.
#[derive(Debug, Args)]
pub struct RowsOf {
    /// A configuration file that lies over the defaults: it says where the lake is, and names the plan.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the rows are: a data folder, whose lake is read, or FORMAT:FILE; formats are criteo, avazu,
    /// open-bandit, mind, trivago, tiangong, csv and parquet.
    #[arg(long, value_name = "DIR|FORMAT:FILE", default_value = "data")]
    pub data: String,
    /// Rows served from this moment on, such as 2026-11-21T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Rows served before this moment.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// The column that says what was clicked, of csv and parquet.
    #[arg(long, value_name = "COLUMN", default_value = "label")]
    pub label: String,
}

/// `reckon evaluate` and `reckon predict`
#[derive(Debug, Args)]
pub struct OnData {
    /// The bundle.
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// The rows.
    #[command(flatten)]
    pub rows: RowsOf,
}

/// `reckon train`
#[derive(Debug, Args)]
pub struct Train {
    /// The rows.
    #[command(flatten)]
    pub rows: RowsOf,
    /// What to fit.
    #[arg(long, value_enum, default_value = "dcn")]
    pub model: Learner,
    /// Learn from one of so many rows that were not clicked; the bundle corrects for it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: u32,
    /// Decides every draw: the same rows and seed make the same bundle.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// Go over the training rows so often at most; of trees, grow so many at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub epochs: Option<u16>,
    /// What is done about the place at which a row was shown: a model answers for place 1.
    #[arg(long, value_enum, default_value = "ignored")]
    pub position: Position,
    /// Learn each two categories of a row as one more, as `linear` and `fm` can: for where what counts is who sees which
    /// ad, and there are rows enough to tell.
    #[arg(long)]
    pub pairs: bool,
    /// How many candidates of a request the second of two stages scores.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub top: u32,
    /// The bundle that this one is to replace: a worse one is refused. Without it the one that the
    /// configuration names, if any.
    #[arg(long, value_name = "BUNDLE")]
    pub against: Option<PathBuf>,
    /// Where the bundle is written. A refused one is written beside it, as BUNDLE.refused.
    #[arg(long, value_name = "BUNDLE", default_value = "model.bundle")]
    pub out: PathBuf,
    /// Where a page with plots is written; beside the bundle unless told.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// What is done about position bias; docs/training.md tells when to take which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Position {
    /// Nothing.
    Ignored,
    /// The place is one more field while learning, and 1 when asked.
    Feature,
    /// How likely a place is looked at is learned with the model, and left out of its answers.
    Tower,
    /// Clicks weigh more the less likely their place is looked at.
    Weights,
}

/// What is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Learner {
    /// A deep and cross network, DCN-v2.
    Dcn,
    /// Logistic regression.
    Linear,
    /// A factorisation machine.
    Fm,
    /// A field-aware factorisation machine.
    Ffm,
    /// Boosted trees, grown by LightGBM.
    Lightgbm,
    /// Trees for all candidates of a request, DCN-v2 for the best of them.
    TwoStage,
}

/// `reckon models`
#[derive(Debug, Args)]
pub struct Models {
    /// What to do.
    #[command(subcommand)]
    pub what: ModelsWhat,
}

/// `reckon models ...`
#[derive(Debug, Subcommand)]
pub enum ModelsWhat {
    /// Make a bundle of a LightGBM text model, an ONNX file, or DCN-v2 weights in safetensors.
    Import {
        /// The model.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where the bundle is written.
        #[arg(long, value_name = "BUNDLE")]
        out: PathBuf,
        /// The share of unclicked rows that it was trained on, above 0 and at most 1.
        #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
        sampling: f64,
    },
    /// Check a bundle, and tell what it says of itself.
    Show {
        /// The bundle.
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
    },
}

/// Rows in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The format's name.
    pub format: String,
    /// The file.
    pub file: PathBuf,
}

/// Reads FORMAT:FILE.
pub fn parse_data(text: &str) -> Result<Data, String> {
    match text.split_once(':') {
        Some((format, file)) if !file.is_empty() => {
            Ok(Data { format: format.to_owned(), file: file.into() })
        }
        _ => Err("must be a format, a colon and a file, such as csv:rows.csv".to_owned()),
    }
}

/// `reckon sql`
#[derive(Debug, Args)]
pub struct Sql {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// The question.
    pub query: String,
    /// Write JSON instead of CSV.
    #[arg(long)]
    pub json: bool,
}

/// `reckon demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// A configuration file that lies over the defaults, such as one that names other engines.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long the market's day takes, in seconds; 60 where not given. With it, or where stdout is no
    /// terminal, the demo ends by itself; else the server stays to be looked at until Ctrl-C.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=3_600))]
    pub seconds: Option<u64>,
    /// The seed of the market.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Visits a second, in the mean; each asks for one to four ads.
    #[arg(long, default_value_t = 700, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
}

/// `reckon simulate`
#[derive(Clone, Debug, Args)]
pub struct Simulate {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub to: String,
    /// The seed: the same one gives the same market and the same visits.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Visits a second of the wall's clock, in the mean; each asks for one to four ads.
    #[arg(long, default_value_t = 700, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// How long new visits come, in seconds of the wall's clock.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Where to write what truly happened, as JSON.
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// Write so many impressions to stdout as lines of Vowpal Wabbit; no server is asked.
    #[arg(long, value_name = "N", conflicts_with_all = ["to", "rate", "seconds", "troubles"])]
    pub lines: Option<u64>,
    /// People who come back.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub users: u32,
    /// Ads; about a quarter of them begin later.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub ads: u32,
    /// How often something goes wrong, from 0 to 1, such as `bot=0.01`, `late_phone=0` or `all=0`; may
    /// be given more than once.
    #[arg(long = "trouble", value_name = "NAME=RATE", value_parser = parse_trouble)]
    pub troubles: Vec<TroubleRate>,
}

/// A trouble, or all of them, and how often it is to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TroubleRate {
    /// Which; `None` for all.
    pub trouble: Option<Trouble>,
    /// How often.
    pub rate: f64,
}

/// `reckon replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// The format of the files.
    #[arg(value_enum)]
    pub format: Format,
    /// The files, in order.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub to: String,
    /// Send the conversions that a log tells of beside its clicks.
    #[arg(long)]
    pub conversions: bool,
    /// Rows that are predicted before the outcome of the first of them is learned: fewer know more of
    /// the rows before them, more are faster.
    #[arg(long, value_name = "ROWS", default_value_t = replay::IN_FLIGHT, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub in_flight: u16,
    /// From a prediction to its click, in milliseconds: more than the server's rules.too_fast_ms.
    #[arg(long, value_name = "MS", default_value_t = replay::CLICK_AFTER_MS, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub click_after_ms: u64,
    /// Predict and count every row of a predicted log once more, though it was sent before; and keep
    /// no answers for a second run, which is faster.
    #[arg(long)]
    pub anew: bool,
}

/// `reckon verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Computes the rows of so many served requests again, from the records in the lake.
    #[arg(long, value_name = "REQUESTS", default_value_t = 0)]
    pub rows: usize,
    /// A configuration file that lies over the defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `reckon bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// What to load.
    #[command(subcommand)]
    pub what: BenchWhat,
}

/// What to load.
#[derive(Debug, Subcommand)]
pub enum BenchWhat {
    /// GET /click with one fresh token each.
    Click(Load),
    /// POST /v1/events in batches of clicks, one fresh token each.
    Ingest(IngestLoad),
    /// POST /api/predict at several numbers of candidates.
    Predict(PredictLoad),
    /// Print fresh clicks, one a line, for other load generators.
    Mint(Mint),
    /// Let the online model learn a file of Vowpal Wabbit's text format; no server is asked.
    Learn(Learn),
}

/// What to print.
#[derive(Clone, Debug, Args)]
pub struct Mint {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub to: String,
    /// How many.
    #[arg(long, default_value_t = 100_000)]
    pub count: usize,
    /// Events as POST /v1/events takes them, instead of the paths of /click.
    #[arg(long)]
    pub events: bool,
}

/// What to learn.
#[derive(Clone, Debug, Args)]
pub struct Learn {
    /// Rows: `1 |namespace feature feature:number ...`, with the label 1 (clicked) or -1.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The model has 2^BITS weights, 8 to 28.
    #[arg(long, default_value_t = 22)]
    pub bits: u8,
    /// How often to learn it, each time from the beginning, to tell the time it takes.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Writes the log odds of each row, as they were before it was learned, one a line.
    #[arg(long, value_name = "FILE")]
    pub scores: Option<PathBuf>,
    /// Log odds of another learner for the same rows, one a line, to compare with.
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How to load it.
#[derive(Clone, Debug, Args)]
pub struct Load {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub to: String,
    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Connections side by side; 64 for clicks and 8 for batches where not given.
    #[arg(long)]
    pub connections: Option<usize>,
    /// Events a second, sent whether or not earlier ones were answered; 0 sends as fast as answers come.
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Events in a batch.
    #[arg(long, default_value_t = 1_000)]
    pub batch: usize,
    /// Tokens minted before; each is used once, and the run ends when they are used up.
    #[arg(long)]
    pub count: Option<usize>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How to send batches.
#[derive(Clone, Debug, Args)]
pub struct IngestLoad {
    /// How to load it.
    #[command(flatten)]
    pub load: Load,
    /// Every click tells an address and an agent, and this much of them is of one ad, user or address.
    #[arg(long, value_enum)]
    pub traffic: Option<Traffic>,
    /// Click on an ad of its own beside the load, and tell how long an acknowledged click takes to
    /// be visible in /v1/metrics.
    #[arg(long)]
    pub fresh: bool,
}

/// How to ask for predictions.
#[derive(Clone, Debug, Args)]
pub struct PredictLoad {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub to: String,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// Connections side by side.
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Requests a second, sent whether or not earlier ones were answered; 0 asks as fast as answers
    /// come first, and then at 70 % of that rate.
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Candidates of a request; each number is measured by itself.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1_000], value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub candidates: Vec<u16>,
    /// How many of the best get a token.
    #[arg(long, default_value_t = 10)]
    pub mint: usize,
    /// People who come back.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub users: u32,
    /// Ads that are registered for it.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub ads: u32,
    /// The seed of who is asked about.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

fn parse_trouble(text: &str) -> Result<TroubleRate, String> {
    let (name, rate) = text.split_once('=').ok_or("write NAME=RATE, such as bot=0.01")?;
    let rate: f64 = rate.parse().map_err(|_| "RATE is a number from 0 to 1")?;
    if !(0.0..=1.0).contains(&rate) {
        return Err("RATE is a number from 0 to 1".to_owned());
    }
    match (name, Trouble::parse(name)) {
        ("all", _) => Ok(TroubleRate { trouble: None, rate }),
        (_, Some(trouble)) => Ok(TroubleRate { trouble: Some(trouble), rate }),
        (_, None) => {
            let names = Trouble::ALL.map(Trouble::name).join(", ");
            Err(format!("NAME is one of all, {names}"))
        }
    }
}

fn parse_clock(text: &str) -> Result<u32, String> {
    match text.split_once(':') {
        None if text == "wall" => Ok(1),
        Some(("scaled", factor)) => match factor.parse() {
            Ok(factor @ 1..=100_000) => Ok(factor),
            _ => Err("scaled:N takes N from 1 to 100000".to_owned()),
        },
        _ => Err("write wall or scaled:N".to_owned()),
    }
}
