//! `reckon demo`: the whole system on a temporary folder, a generated day of traffic, and the proof.
//!
//! The proof has three parts, each by a path of its own: the verdicts sum to the records in the log;
//! the rollup equals a naive recount of the log, line by line; and the rollup equals what the
//! generated day knows that it did.

#![expect(clippy::print_stdout, reason = "the proof is the command's data")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reckon_count::naive::Recount;
use reckon_disk::{RealDisk, TempDir};
use reckon_event::{Kind, Micros, TenantId, Timestamp, Verdict, name_key};
use reckon_pipeline::{Reached, recount};
use reckon_rollup::{Dimension, Granularity, Query, RollupStore};

use super::day::{self, Day, Truth};
use super::serve::Listening;
use super::{load_config, runtime};
use crate::app::App;
use crate::args::Demo;
use crate::clock::Clock;
use crate::engines::{self, DataDir};

/// Longest that counting may take to catch up with the log.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Runs the day, then the proof; exit code 1 where the proof fails.
pub fn run(arguments: &Demo) -> Result<ExitCode> {
    let mut config = load_config(None)?;
    "127.0.0.1:0".clone_into(&mut config.server.listen);
    config.server.admin_listen.clear();
    let folder = TempDir::new("demo");
    let dir = DataDir(folder.path().to_owned());
    runtime(config.server.threads)?.block_on(async {
        let system = engines::start(config, &dir, Arc::new(RealDisk), Arc::new(Clock::new(1))).await?;
        let listening = Listening::open(&system).await?;
        let key = system.fresh_admin_key.clone().context("a fresh folder has a fresh key")?;
        let url = format!("http://{}", listening.address);
        eprintln!("reckon is running on {url}");
        eprintln!("  its data   {}  (removed at the end)", folder.path().display());
        eprintln!("  look       curl -s -H 'Authorization: Bearer {key}' '{url}/v1/metrics?granularity=1m'");
        let duration = Duration::from_secs(arguments.seconds);
        let truth = live(&system.app, Day::new(url, key, arguments.seed, duration)).await?;
        catch_up(&system.app).await?;
        let app = Arc::clone(&system.app);
        let proof = tokio::task::spawn_blocking(move || prove(&app, &truth)).await.context("the proof")??;
        listening.close().await;
        system.stop().await?;
        Ok(if proof { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}

/// Runs the day while showing how it goes.
async fn live(app: &Arc<App>, day: Day) -> Result<Truth> {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{elapsed:>4} {bar:30} {pos}/{len} visits  {msg}");
    bar.set_style(style.expect("the template is good"));
    let shown = Arc::clone(app);
    let during = bar.clone();
    let truth = day::run(&day, move |progress| {
        during.set_length(progress.visits);
        during.set_position(progress.visits_done);
        during.set_message(figures(&shown));
    })
    .await?;
    bar.finish_and_clear();
    Ok(truth)
}

/// One line of live figures.
fn figures(app: &App) -> String {
    let totals = &app.progress.snapshot().totals;
    let clicks: u64 = Verdict::all().map(|verdict| totals.get(Kind::Click, verdict)).sum();
    let net = totals.get(Kind::Click, Verdict::Counted);
    let impressions = totals.get(Kind::Impression, Verdict::Counted);
    format!("{impressions} impressions, {clicks} clicks gross, {net} net")
}

async fn catch_up(app: &Arc<App>) -> Result<()> {
    let app = Arc::clone(app);
    let reached = tokio::task::spawn_blocking(move || {
        let log = app.log();
        let cut: Vec<u64> = (0..log.partitions()).map(|lane| log.range(lane).end).collect();
        app.progress.wait_until(&cut, CATCH_UP)
    });
    match reached.await.context("waiting")? {
        Reached::Yes => Ok(()),
        other => bail!("counting did not catch up with the log: {other:?}"),
    }
}

/// A line that two counts must agree on: whose ad, which minute, what happened, what it is worth.
type Line = (u64, i64, Kind, Verdict);
type Lines = BTreeMap<Line, (i64, Micros)>;

fn prove(app: &App, truth: &Truth) -> Result<bool> {
    let policy = engines::count_policy(&app.config);
    let naive = recount(app.log(), None, &policy).context("recounting the log")?;
    let lines = lines_of_recount(&naive);
    let rollup = lines_of_rollup(&*app.rollup)?;
    println!();
    print_verdicts(&naive);
    println!("proof");
    let first = prove_sum(app);
    let second = prove_lines("rollup = naive recount of the log", &rollup, &lines);
    let third = prove_truth(&rollup, truth);
    Ok(first && second && third)
}

fn print_verdicts(naive: &Recount) {
    println!("{:<12} {:<16} {:>9}", "what", "verdict", "records");
    for (kind, verdict, count) in naive.totals.iter().filter(|&(.., count)| count > 0) {
        println!("{:<12} {:<16} {count:>9}", kind.name(), verdict.name());
    }
    println!();
}

fn prove_sum(app: &App) -> bool {
    let log = app.log();
    let records: u64 = (0..log.partitions())
        .map(|lane| log.range(lane))
        .map(|range| range.end - range.start)
        .sum();
    let totals = app.progress.snapshot().totals.clone();
    let verdicts: u64 = totals.iter().map(|(.., count)| count).sum();
    let rest = totals.redelivered + totals.skipped + totals.unknown;
    let holds = records == verdicts + rest;
    println!(
        "  {} records = sum of verdicts: {records} = {verdicts} (and {rest} that are no events)",
        mark(holds)
    );
    holds
}

fn lines_of_recount(naive: &Recount) -> Lines {
    let line = |(line, sum): (&reckon_count::naive::Line, &reckon_count::naive::Sum)| {
        let count = i64::try_from(sum.count).expect("fewer than 2^63 records");
        ((line.ad_key, line.minute, line.kind, line.verdict), (count, sum.spend))
    };
    naive.lines.iter().map(line).filter(|((_, _, kind, _), _)| is_metric(*kind)).collect()
}

const fn is_metric(kind: Kind) -> bool {
    matches!(kind, Kind::Impression | Kind::View | Kind::Click)
}

/// The rollup, asked as a dashboard would: by ad, minute and reason.
fn lines_of_rollup(rollup: &dyn RollupStore) -> Result<Lines> {
    let all_time = (Timestamp::MIN, Timestamp::MAX);
    let mut query = Query::new(TenantId::DEFAULT, all_time.0, all_time.1, Granularity::Minute);
    query.group_by = vec![Dimension::Ad, Dimension::Reason];
    let mut lines = Lines::new();
    for row in rollup.query(&query).context("asking the rollup")?.rows {
        let (Some(ad), Some(verdict), Some(bucket)) = (row.keys.ad, row.keys.reason, row.bucket)
        else {
            bail!("the rollup answered without what was grouped by");
        };
        let minute = bucket.seconds() / 60;
        let clicks = row.counts.clicks_gross();
        let spend = row.spend.iter().map(|&(_, micros)| micros).sum();
        let counts = [
            (Kind::Impression, row.counts.impressions, 0),
            (Kind::View, row.counts.views, 0),
            (Kind::Click, clicks, spend),
        ];
        for (kind, count, spend) in counts.into_iter().filter(|&(_, count, _)| count != 0) {
            lines.insert((ad, minute, kind, verdict), (count, spend));
        }
    }
    Ok(lines)
}

fn prove_lines(what: &str, rollup: &Lines, other: &Lines) -> bool {
    // A dashboard shows counted impressions and views only; clicks it shows with every verdict.
    let shown = |&(&(_, _, kind, verdict), _): &(&Line, &(i64, Micros))| {
        kind == Kind::Click || verdict == Verdict::Counted
    };
    let other: BTreeMap<_, _> = other.iter().filter(shown).collect();
    let different = other.iter().filter(|(line, sum)| rollup.get(**line) != Some(**sum)).count()
        + rollup.keys().filter(|line| !other.contains_key(line)).count();
    let sum: i64 = rollup.values().map(|&(count, _)| count).sum();
    let spend: Micros = rollup.values().map(|&(_, spend)| spend).sum();
    let holds = different == 0 && !rollup.is_empty();
    println!(
        "  {} {what}: {} lines by ad, minute and verdict compared, {different} differ ({sum} events, {spend} micros)",
        mark(holds),
        other.len(),
    );
    holds
}

/// The generated day knows which of its events must have come to what, by ad.
fn prove_truth(rollup: &Lines, truth: &Truth) -> bool {
    let mut counted: BTreeMap<(u64, Kind, Verdict), u64> = BTreeMap::new();
    for (&(ad, _, kind, verdict), &(count, _)) in rollup {
        *counted.entry((ad, kind, verdict)).or_default() += count.unsigned_abs();
    }
    let mut compared = 0;
    let mut different = 0;
    for kind in [Kind::Impression, Kind::View, Kind::Click] {
        for (ad_id, verdict, count) in truth.of_kind(kind) {
            if kind != Kind::Click && verdict != Verdict::Counted {
                continue;
            }
            let key = if ad_id == day::UNKNOWN_AD { 0 } else { name_key(ad_id) };
            compared += 1;
            if counted.remove(&(key, kind, verdict)).unwrap_or(0) != count {
                different += 1;
            }
        }
    }
    different += counted.len();
    let holds = different == 0 && compared > 0 && truth.uncertain == 0;
    println!(
        "  {} rollup = what the day knows it did: {compared} lines by ad and verdict compared, {different} differ, {} uncertain",
        mark(holds),
        truth.uncertain,
    );
    holds
}

const fn mark(holds: bool) -> &'static str {
    if holds { "holds " } else { "FAILS " }
}
