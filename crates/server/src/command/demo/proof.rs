//! The proof: each part counts by a path of its own.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use reckon_billing::period_answer;
use reckon_count::naive::{Recount, Sum};
use reckon_event::{Day, Kind, Micros, TenantId, Timestamp, Verdict};
use reckon_market::Judgement;
use reckon_pipeline::recount;
use reckon_rollup::{Dimension, Granularity, Query, RollupStore};

use crate::app::App;
use crate::command::simulate::{Simulation, report};
use crate::{audit, billing, engines};

/// Shares of the run that the model is judged in.
const SHARES: usize = 6;
/// Ads shown with a prediction below which a model has not seen enough to be judged.
const JUDGED_MIN: u64 = 30_000;
/// The least of the gap between constant and truth that the model must have closed at the end.
const GAP_CLOSED_MIN: f64 = 0.5;

/// A line that two counts must agree on: whose ad, which minute, what happened, what it is worth.
pub type Line = (u64, i64, Kind, Verdict);
pub type Lines = BTreeMap<Line, (i64, Micros)>;

/// Records = sum of verdicts; rollup = recount. Gives what the recount has counted, too.
pub fn by_log(app: &App) -> Result<(bool, Lines)> {
    let policy = engines::count_policy(&app.config);
    let counted = app.progress.snapshot();
    let cut = Some(counted.position.as_slice());
    let mut naive = recount(app.log(), cut, &policy).context("recounting the log")?;
    naive.settle(counted.watermark);
    let lines = lines_of_recount(&naive);
    let rollup = lines_of_rollup(&*app.rollup)?;
    println!();
    print_verdicts(&naive);
    println!("proof");
    let sum = prove_sum(app);
    let equal = prove_lines(&rollup, &lines);
    Ok((sum && equal, lines))
}

/// Rollup = recount by SQL over the lake.
pub async fn by_lake(app: &Arc<App>) -> Result<bool> {
    let report = audit::reconcile(app, Timestamp::MIN, Timestamp::MAX).await?;
    let holds = report.is_equal() && report.figures > 0;
    println!(
        "{} rollup = recount of the lake by SQL: {} records, {} figures, {} checksums by hour",
        mark(holds),
        report.records,
        report.figures,
        report.groups
    );
    if !holds {
        println!("{report}");
    }
    Ok(holds)
}

/// Ledger = naive recount, of the market's first day, which is closed for that.
pub async fn by_books(app: &Arc<App>, lines: &Lines) -> Result<bool> {
    let first = lines.keys().map(|(_, minute, ..)| *minute).min().context("nothing was counted")?;
    let day = Day::of(Timestamp(first * Timestamp::MINUTE));
    billing::close(app, day).await?;
    let closed = period_answer(&*app.accounts, TenantId::DEFAULT, day).await?;
    let owed = closed.totals.first().map(|total| (total.sum.clicks, total.sum.charge_micros));
    let minutes = day.start().0 / Timestamp::MINUTE..day.end().0 / Timestamp::MINUTE;
    let is_charged = |(_, minute, kind, verdict): &Line| {
        minutes.contains(minute) && *kind == Kind::Click && *verdict == Verdict::Counted
    };
    let charged = lines.iter().filter(|(line, _)| is_charged(line));
    let counted = charged.fold((0, 0), |sum, (_, line)| (sum.0 + line.0, sum.1 + line.1));
    let holds = owed == Some(counted) && closed.totals.len() == 1;
    let (clicks, micros) = owed.unwrap_or_default();
    println!(
        "{} ledger = naive recount: {day} is {}, {clicks} clicks charged at {:.2} in all",
        mark(holds),
        closed.state,
        micros as f64 / 1e6
    );
    Ok(holds)
}

/// What was answered = what happened; and what the model has learned.
pub async fn by_market(simulation: &Simulation) -> Result<bool> {
    let comparison = simulation.settle().await?;
    let truth = simulation.truth();
    let out = &mut io::stdout();
    let counted = report::verdict(&simulation.traffic, &truth, &comparison, out)?;
    writeln!(out, "\nlearning: log loss of what was served, against the true probabilities")?;
    report::learning(&truth, SHARES, out)?;
    let learned = match learning(&truth.judgement) {
        Learning::NotJudged => return Ok(counted),
        Learning::TooFew(judged) => {
            writeln!(out, "too few to judge: {judged} predictions of at least {JUDGED_MIN}")?;
            return Ok(counted);
        }
        Learning::Closed(closed) => closed,
    };
    let holds = learned >= GAP_CLOSED_MIN;
    writeln!(
        out,
        "{} at the end the model closes {:.0} % of the gap between the best constant and the truth \
         (at least {:.0} %)",
        mark(holds),
        100.0 * learned,
        100.0 * GAP_CLOSED_MIN
    )?;
    Ok(counted && holds)
}

/// What can be said of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Learning {
    /// The server predicted nothing.
    NotJudged,
    /// So few predictions say nothing.
    TooFew(u64),
    /// The share of the gap closed at the end of the run.
    Closed(f64),
}

fn learning(judgement: &Judgement) -> Learning {
    let judged = judgement.total().judged;
    let last = judgement.shares(SHARES).pop().and_then(|share| share.gap_closed());
    match last {
        _ if judged == 0 => Learning::NotJudged,
        Some(closed) if judged >= JUDGED_MIN => Learning::Closed(closed),
        _ => Learning::TooFew(judged),
    }
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
    let counted = app.progress.snapshot();
    let lanes = (0..log.partitions()).zip(&counted.position);
    let records: u64 = lanes.map(|(lane, &end)| end - log.range(lane).start).sum();
    let totals = counted.totals.clone();
    let verdicts: u64 = totals.iter().map(|(.., count)| count).sum();
    let rest = totals.redelivered + totals.skipped + totals.unknown;
    let holds = records == verdicts + rest;
    println!(
        "{} records = sum of verdicts: {records} = {verdicts} (and {rest} that are no events)",
        mark(holds)
    );
    holds
}

fn lines_of_recount(naive: &Recount) -> Lines {
    let line = |(line, sum): (&reckon_count::naive::Line, &Sum)| {
        let count = i64::try_from(sum.count).expect("fewer than 2^63 records");
        ((line.ad_key, line.minute, line.kind, line.verdict), (count, sum.spend))
    };
    naive.lines.iter().map(line).filter(|((_, _, kind, _), _)| is_metric(*kind)).collect()
}

const fn is_metric(kind: Kind) -> bool {
    matches!(kind, Kind::Impression | Kind::View | Kind::Click | Kind::Conversion)
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
        let spend = row.spend.iter().map(|&(_, micros)| micros).sum();
        let counts = [
            (Kind::Impression, row.counts.impressions, 0),
            (Kind::View, row.counts.views, 0),
            (Kind::Click, row.counts.clicks_gross(), spend),
            (Kind::Conversion, row.counts.conversions, 0),
        ];
        for (kind, count, spend) in counts.into_iter().filter(|&(_, count, _)| count != 0) {
            lines.insert((ad, minute, kind, verdict), (count, spend));
        }
    }
    Ok(lines)
}

fn prove_lines(rollup: &Lines, recounted: &Lines) -> bool {
    // A dashboard shows what counts; clicks it shows with every verdict.
    let shown = |&(&(_, _, kind, verdict), _): &(&Line, &(i64, Micros))| {
        kind == Kind::Click || verdict == Verdict::Counted
    };
    let recounted: BTreeMap<_, _> = recounted.iter().filter(shown).collect();
    let different =
        recounted.iter().filter(|(line, sum)| rollup.get(**line) != Some(**sum)).count()
            + rollup.keys().filter(|line| !recounted.contains_key(line)).count();
    let holds = different == 0 && !recounted.is_empty();
    println!(
        "{} rollup = naive recount of the log: {} lines by ad, minute, kind and verdict compared, \
         {different} differ",
        mark(holds),
        recounted.len()
    );
    holds
}

const fn mark(holds: bool) -> &'static str {
    if holds { "holds " } else { "FAILS " }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reckon_market::{Alternative, Served};

    fn judged(count: u64, predict: impl Fn(f64) -> Option<f64>) -> Learning {
        let mut judgement = Judgement::new(Timestamp(0), 24, 24);
        for at in 0..count {
            let truth = if at % 2 == 0 { 0.02 } else { 0.2 };
            let served = Served {
                truth,
                price: 1.0,
                instead: Alternative::default(),
                predicted: predict(truth),
                clicked: false,
            };
            judgement.note(Timestamp(i64::try_from(at % 24).expect("small")), &served);
        }
        learning(&judgement)
    }

    #[test]
    fn a_model_is_judged_at_the_end_and_by_enough() {
        assert_eq!(judged(60_000, |_| None), Learning::NotJudged);
        assert_eq!(judged(1_000, Some), Learning::TooFew(1_000));
        let Learning::Closed(closed) = judged(60_000, Some) else { panic!("enough to be judged") };
        assert!((closed - 1.0).abs() < 1e-9);
        let Learning::Closed(closed) = judged(60_000, |_| Some(0.11)) else { panic!("enough") };
        assert!(closed < GAP_CLOSED_MIN);
    }
}
