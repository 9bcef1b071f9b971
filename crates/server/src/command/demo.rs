//! `reckon demo`: the whole system on a temporary folder, a simulated market's day in a minute, and the
//! proof.
//!
//! The clock is scaled so that the run is a day of the market's. Each part of the proof has a path of
//! its own: the verdicts sum to the records in the log; the rollup equals a naive recount of the log,
//! line by line, and a recount of the lake by SQL; the first day, closed, is charged as the naive
//! recount says; and the figures that the front door answers equal what the market knows that it did.
//! A last part tells what the served model has learned: its log loss, against the true probabilities,
//! beside that of a constant and of the truth itself.

#![expect(clippy::print_stdout, reason = "the proof is the command's data")]

mod live;
mod proof;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use reckon_disk::{RealDisk, TempDir};
use reckon_market::Options;
use reckon_pipeline::Unjudged;
use tokio::runtime::Handle;

use super::serve::{Listening, stop_signal};
use super::simulate::{self, Settings, Simulation};
use super::{load_config, runtime};
use crate::app::App;
use crate::args::Demo;
use crate::beat;
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::engines::{self, System};

/// How long the day takes where nobody says, in seconds.
const SECONDS: u64 = 60;
/// A day of the market's, in seconds.
const DAY_SECONDS: u64 = 86_400;
/// How often it is looked whether the last minutes of the market are closed, and how long between.
const SETTLE_LOOKS_MAX: u32 = 300;
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// Longest that a redirect waits for the disk: an answer without an acknowledgement proves nothing.
const REDIRECT_WAIT_MS: u64 = 30_000;

/// Runs the day, then the proof; exit code 1 where the proof fails.
pub fn run(arguments: &Demo) -> Result<ExitCode> {
    let config = config(arguments.config.as_deref())?;
    let folder = TempDir::new("demo");
    let dir = DataDir(folder.path().to_owned());
    let seconds = arguments.seconds.unwrap_or(SECONDS);
    let factor = u32::try_from(DAY_SECONDS / seconds).context("--seconds")?;
    // People have a thread of their own, as they have machines of their own.
    let crowd = runtime(1)?;
    runtime(config.server.threads)?.block_on(async {
        let clock = Arc::new(Clock::new(factor));
        let system = engines::start(config, &dir, Arc::new(RealDisk), clock).await?;
        let listening = Listening::open(&system).await?;
        let house = House::of(&system, &listening, crowd.handle().clone())?;
        house.announce(seconds, folder.path());
        let proved = tokio::select! {
            proved = house.day(arguments, seconds) => proved,
            () = stop_signal() => Err(anyhow!("stopped before the proof")),
        };
        if proved.is_ok() && arguments.seconds.is_none() && std::io::stdout().is_terminal() {
            eprintln!(
                "\nreckon keeps running, so that the console can be looked at: {}",
                house.console()
            );
            eprintln!("press Ctrl-C to end it");
            stop_signal().await;
        }
        listening.close().await;
        system.stop().await?;
        Ok(if proved? { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}

fn config(file: Option<&Path>) -> Result<Config> {
    let mut config = load_config(file)?;
    "127.0.0.1:0".clone_into(&mut config.server.listen);
    config.server.admin_listen.clear();
    // The market says for each of its people where they sit, as a proxy would.
    "x-forwarded-for".clone_into(&mut config.server.client_ip_header);
    config.click.wait_ms_max = REDIRECT_WAIT_MS;
    // A second that an engine takes is half an hour of the market's: rows wait for their labels all day.
    config.model.attribution_s = config.model.attribution_s.max(DAY_SECONDS.cast_signed());
    Ok(config)
}

/// The running system, as the day needs it.
struct House {
    app: Arc<App>,
    url: String,
    key: String,
    crowd: Handle,
}

impl House {
    fn of(system: &System, listening: &Listening, crowd: Handle) -> Result<Self> {
        let key = system.fresh_admin_key.clone().context("a fresh folder has a fresh key")?;
        let url = format!("http://{}", listening.address);
        Ok(House { app: Arc::clone(&system.app), url, key, crowd })
    }

    /// Where the figures can be looked at; the key stands behind the `#`, which no browser sends.
    fn console(&self) -> String {
        format!("{}/console/#key={}", self.url, self.key)
    }

    fn announce(&self, seconds: u64, folder: &Path) {
        let House { url, key, .. } = self;
        eprintln!("reckon is running on {url}: a day of a simulated market in {seconds} seconds");
        eprintln!("  look at    {}", self.console());
        eprintln!(
            "  or ask     curl -s -H 'Authorization: Bearer {key}' '{url}/v1/metrics?granularity=1m'"
        );
        eprintln!("  its data   {}  (removed at the end)\n", folder.display());
    }

    /// The day and its proof; true where everything holds.
    async fn day(&self, arguments: &Demo, seconds: u64) -> Result<bool> {
        let settings = Settings {
            to: self.url.clone(),
            key: self.key.clone(),
            options: Options::new(arguments.seed),
            visits_per_second: f64::from(arguments.rate),
            duration: Duration::from_secs(seconds),
            rules: simulate::rules(&self.app.config),
        };
        let simulation = Arc::new(Simulation::prepare(&settings).await?);
        live::show(&self.app, &simulation, &self.crowd, seconds).await?;
        self.settle().await?;
        let app = Arc::clone(&self.app);
        let by_log = tokio::task::spawn_blocking(move || proof::by_log(&app)).await;
        let (by_log, lines) = by_log.context("the proof")??;
        let by_lake = proof::by_lake(&self.app).await?;
        let by_books = proof::by_books(&self.app, &lines).await?;
        let by_market = proof::by_market(&simulation).await?;
        Ok(by_log && by_lake && by_books && by_market)
    }

    /// Waits until everything is counted and every minute is closed and judged.
    async fn settle(&self) -> Result<()> {
        for _ in 0..SETTLE_LOOKS_MAX {
            if beat::settle(&self.app).await?.unjudged == Unjudged::default() {
                return Ok(());
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
        bail!("the last minutes did not close")
    }
}
