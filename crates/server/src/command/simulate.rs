//! `reckon simulate`: a market with known truth, sent through the real front door.
//!
//! Visits come at a set rate whatever becomes of earlier ones (an open loop), and every latency is
//! measured from when its request was due, so that a server that stalls cannot hide it. A machine that
//! is too slow for the rate makes the run longer, and nothing in it uncertain: what is counted in which
//! hour follows from what the server says, not from the timetable.
//!
//! The market's time is the server's. On a scaled clock a day of it fits in a minute; on the wall's a
//! run of a minute is a minute of the market, and hours of drift and launches are not reached.

pub mod behaviour;
pub mod compare;
mod lines;
pub mod report;
mod requests;
mod shop;
mod time;
mod traffic;
mod truth;
mod wire;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use reckon_event::Timestamp;
use reckon_market::{Curve, Judgement, Market, Options, Rules, Trouble, Troubles};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::behaviour::ServerRules;
use self::compare::{Comparison, Figures, Width};
use self::shop::WriteKey;
use self::time::ServerTime;
pub use self::traffic::Traffic;
pub use self::truth::{Asked, Mark, Truth};
use self::wire::Wire;
use super::client::{Call, Client};
use crate::args::Simulate;
use crate::clock::Clock;
use crate::config::Config;

/// Connections of people, and of the servers of pages and shops.
const CONNECTIONS: usize = 64;
/// Visits under way at once; later ones begin late.
const VISITS_MAX: usize = 1_000;
/// Parts of a run that predictions are judged in.
const PARTS: usize = 24;
/// Counting is taken to be stuck when nothing was added for this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two questions.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// What to simulate where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's URL.
    pub to: String,
    /// A key with all scopes.
    pub key: String,
    /// The market.
    pub options: Options,
    /// Visits a second of the wall's clock, in the mean.
    pub visits_per_second: f64,
    /// How long they come, by the wall's clock.
    pub duration: Duration,
    /// The rules with numbers in them, as the server has them.
    pub rules: Rules,
}

/// Writes lines, or drives a server; exit code 1 where the server counted something else than happened.
pub fn run(arguments: &Simulate, key: Option<String>) -> Result<ExitCode> {
    let options = options(arguments);
    if let Some(count) = arguments.lines {
        return lines::write(&Market::new(options), count, arguments.truth.as_deref());
    }
    let Some(key) = key else {
        bail!("set RECKON_API_KEY; `reckon serve` keeps a key with all scopes in DIR/admin.key");
    };
    let settings = Settings {
        to: arguments.to.clone(),
        key,
        options,
        visits_per_second: f64::from(arguments.rate),
        duration: Duration::from_secs(arguments.seconds),
        rules: rules(&super::load_config(None)?),
    };
    super::runtime(0)?.block_on(simulate(&settings, arguments.truth.as_deref()))
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

/// The rules of a server with this configuration.
pub fn rules(config: &Config) -> Rules {
    let too_fast_ms = if config.rules.enabled { config.rules.too_fast_ms } else { 0 };
    Rules {
        too_fast_us: too_fast_ms * 1_000,
        expiry_us: config.token.expiry_s * Timestamp::SECOND,
        expiry_batch_us: config.token.expiry_batch_s * Timestamp::SECOND,
    }
}

async fn simulate(settings: &Settings, truth_file: Option<&Path>) -> Result<ExitCode> {
    // A file that cannot be written is told before the run, not after it.
    let mut truth_file = truth_file.map(open_truth).transpose()?;
    let simulation = Simulation::prepare(settings).await?;
    let (out, bar) = (&mut std::io::stdout(), progress_bar(simulation.visits_expected()));
    simulation.run(&|visits| bar.set_position(visits)).await?;
    bar.finish_and_clear();
    let comparison = simulation.settle().await?;
    let truth = simulation.truth();
    if let Some(file) = &mut truth_file {
        let json = report::json(&simulation.traffic, &truth, settings.visits_per_second);
        file.write_all(format!("{json:#}\n").as_bytes()).context("--truth")?;
    }
    report::table(&truth, out)?;
    report::learning(&truth, 6, out)?;
    let good = report::verdict(&simulation.traffic, &truth, &comparison, out)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn open_truth(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("--truth: cannot write {}", path.display()))
}

fn progress_bar(visits: f64) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(visits as u64);
    let template = "{elapsed:>4} {bar:30} {pos}/{len} visits";
    bar.set_style(indicatif::ProgressStyle::with_template(template).expect("the template is good"));
    bar
}

/// A market beside a server.
pub struct Simulation {
    /// What all visits share, the truth among it.
    pub traffic: Arc<Traffic>,
    client: tokio::sync::Mutex<Client>,
    visits_per_second: f64,
    duration: Duration,
    before: Figures,
    rules: ServerRules,
}

impl Simulation {
    /// Registers the market, learns what time it is at the server, and what it has counted before.
    pub async fn prepare(settings: &Settings) -> Result<Self> {
        let market = Arc::new(Market::new(settings.options.clone()));
        let mut client = Client::new(&settings.to, Some(&settings.key))?;
        shop::open(&mut client, &market).await?;
        let name = format!("simulated market {}", settings.options.seed);
        let write_key = WriteKey::make(&mut client, &name).await?;
        let servers = Wire::new(client.another(), CONNECTIONS);
        let time = learn_time(&servers).await?;
        let start = time.now();
        let micros = i64::try_from(settings.duration.as_micros()).context("too long")?;
        let span_us = micros * time.factor();
        let far = (start.floor(Timestamp::HOUR), start.plus(Timestamp::DAY));
        let before = compare::ask(&mut client, &market, far, Width::Minute).await?;
        let rules = ServerRules::ask(&mut client).await?;
        let traffic = Traffic {
            market,
            curve: Curve::new(start, span_us),
            time,
            rules: settings.rules,
            truth: Mutex::new(Truth::new(Judgement::new(start, span_us, PARTS))),
            servers,
            people: Wire::new(Client::new(&settings.to, None)?, CONNECTIONS),
            write_key,
            closing: watch::Sender::new(false),
            offline: traffic::offline_room(),
        };
        Ok(Simulation {
            traffic: Arc::new(traffic),
            client: tokio::sync::Mutex::new(client),
            visits_per_second: settings.visits_per_second,
            duration: settings.duration,
            before,
            rules,
        })
    }

    /// What truly happened, and what the server's behavioural rules make of it by now. Without the
    /// server's word on receive times it is not known in which minute a click was; then it is left out.
    pub fn truth(&self) -> Truth {
        let truth = self.traffic.truth.lock().clone();
        if self.traffic.time.is_told() {
            truth.judged(&self.rules, self.traffic.time.now())
        } else {
            truth
        }
    }

    /// How many visits will come, within the chance of their arrival.
    pub fn visits_expected(&self) -> f64 {
        self.visits_per_second * self.duration.as_secs_f64()
    }

    /// Lets everybody come, and waits for the last. `progress` is told how many visits have begun.
    pub async fn run(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let Traffic { market, curve, time, closing, .. } = &*self.traffic;
        let mut launches = launch_hours(market).into_iter().peekable();
        let places = Arc::new(Semaphore::new(VISITS_MAX));
        let mut running: JoinSet<()> = JoinSet::new();
        for visit in market.visits(curve, self.visits_expected()) {
            tokio::time::sleep(time.until(visit.at)).await;
            while let Some(hour) =
                launches.next_if(|&hour| f64::from(hour) <= curve.hours(visit.at))
            {
                shop::launch(&mut *self.client.lock().await, market, hour).await?;
            }
            let place = Arc::clone(&places).acquire_owned().await.context("never closed")?;
            while let Some(over) = running.try_join_next() {
                over.context("a visit")?;
            }
            progress(visit.number + 1);
            let traffic = Arc::clone(&self.traffic);
            running.spawn(async move { traffic.visit(visit, place).await });
        }
        closing.send_replace(true);
        while let Some(over) = running.join_next().await {
            over.context("a visit")?;
        }
        self.traffic.write_key.revoke(&mut *self.client.lock().await).await
    }

    /// Waits until the server has counted everything, and compares its figures by ad, hour, kind and
    /// verdict with what happened. Gives up once nothing was added for a while.
    pub async fn settle(&self) -> Result<Comparison> {
        let mut last = (0, Instant::now());
        loop {
            let comparison = self.compare(Width::Hour).await?;
            if comparison.holds() {
                return Ok(comparison);
            }
            if comparison.counted != last.0 {
                last = (comparison.counted, Instant::now());
            }
            if last.1.elapsed() > PATIENCE {
                return Ok(comparison);
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Compares the server's figures, as they are now, with what happened.
    pub async fn compare(&self, width: Width) -> Result<Comparison> {
        let Traffic { market, curve, time, .. } = &*self.traffic;
        let span = (curve.start.floor(Timestamp::HOUR), time.now().plus(Timestamp::DAY));
        let mut client = self.client.lock().await;
        let counted = compare::ask(&mut client, market, span, width).await?;
        let added = compare::since(&counted, &compare::widen(&self.before, width));
        let truth = self.truth();
        let expected = compare::expected(market, &truth.counts, width);
        let added = if time.is_told() { added } else { compare::without_behaviour(&added) };
        // Without the server's word an event may lie in either of two hours: then only their sum is
        // known.
        Ok(match truth.near_border {
            0 => Comparison::of(&added, &expected),
            _ => Comparison::of(&compare::over_time(&added), &compare::over_time(&expected)),
        })
    }
}

/// Asks for nothing, which tells the time, and whether the key is good.
async fn learn_time(servers: &Wire) -> Result<ServerTime> {
    let own = Clock::new(1);
    let call = Call::post("/v1/events", "application/json", "[]");
    let (answer, exchange) = servers.send_first(&call, &own).await;
    let answer = answer?;
    if answer.status != axum::http::StatusCode::UNPROCESSABLE_ENTITY {
        answer.clone().success("POST /v1/events")?;
    }
    ServerTime::learn(own, &answer, exchange)
}

/// The hours at which ads begin after the start.
fn launch_hours(market: &Market) -> Vec<u32> {
    let mut hours: Vec<u32> =
        market.ads.iter().map(|ad| ad.launch_hour).filter(|&hour| hour > 0).collect();
    hours.sort_unstable();
    hours.dedup();
    hours
}
