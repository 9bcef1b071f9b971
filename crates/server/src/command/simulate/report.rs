//! The truth file, and the table that a run ends with.
//!
//! ```text
//! {
//!   "seed": 1,
//!   "options": {"users", "ads", "mean_ctr", "visits_per_second", "seconds",
//!               "drift": {"hour", "kept"} | null,     after that hour tastes keep that correlation
//!               "troubles": {NAME: rate}},
//!   "clock": {"factor",                               1: the wall's, and hours are by our own clock
//!             "start", "end",                         RFC 3339, of the server's clock
//!             "violations", "first_violation"},       receive times outside of their exchange
//!   "market": {"ads": [{"ad_id", "campaign_id", "category", "creative_size", "cpc_micros", "appeal",
//!                       "launch": RFC 3339}],
//!              "examination": [x, ..],                chance that a position is looked at, from 1
//!              "drift_at": RFC 3339 | null},
//!   "visits": n, "failures": n, "first_failure": TEXT | null,
//!   "uncertain": n,                                   records without an acknowledgement
//!   "near_border": n,                                 records whose hour the server did not tell
//!   "counts": [{"ad_id", "minute": RFC 3339, "kind", "verdict", "count"}],
//!   "troubles": {NAME: times},
//!   "marked": {                                       subsets of the counts
//!     "bots": {"addresses", "user_ids", "counts": [{"ad_id", "minute", "kind", "verdict", "count"}]},
//!     "double_clicks": {"counts"}, "late_phones": {"counts"}},
//!   "judgement": {"total": BUCKET, "buckets": [BUCKET]},
//!   "latency_ms": {"serve" | "click" | "pixel" | "batch" | "order":
//!                  {"count", "p50", "p90", "p99", "p99_9", "max"}}   from when each was due
//! }
//! BUCKET: {"from", "seconds", "shown", "clicks",
//!          "true_clicks", "random_clicks",                  sums of true probabilities: of what was
//!                                                           shown, and of ads by chance
//!          "true_micros", "random_micros", "best_micros",   the same times prices; the best: of the
//!                                                           ads that earn most
//!          "judged",                                        shown with a prediction
//!          "predicted_clicks", "judged_true_clicks",
//!          "log_loss": {"model", "constant", "truth"},      expected, without noise; null if none
//!          "calibration_ratio", "gap_closed"}               (constant - model) / (constant - truth)
//! ```
//!
//! `minute` is its start. An ad of null names none that is registered. All
//! impressions, views and conversions stand in `counts`; `/v1/metrics` shows those that count.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use reckon_event::{Kind, Timestamp, Verdict};
use reckon_market::{Bot, Bucket, CATEGORIES, Counts, Market, SIZES, Trouble, examination};
use serde_json::{Map, Value, json};

use super::compare::Comparison;
use super::traffic::Traffic;
use super::truth::{Asked, Mark, Truth};

/// Positions that the truth file tells the examination of.
const POSITIONS: u16 = 10;

/// The truth file.
pub fn json(traffic: &Traffic, truth: &Truth, visits_per_second: f64) -> Value {
    let market = &traffic.market;
    let violations = traffic.time.violations();
    let end = traffic.curve.start.plus(traffic.curve.span_us);
    json!({
        "seed": market.options.seed,
        "options": options(traffic, visits_per_second),
        "clock": {
            "factor": traffic.time.factor(), "start": text(traffic.curve.start), "end": text(end),
            "violations": violations.count, "first_violation": violations.first,
        },
        "market": market_json(traffic),
        "visits": truth.visit_count, "failures": truth.failures,
        "first_failure": truth.first_failure,
        "uncertain": truth.uncertain, "near_border": truth.near_border,
        "counts": counts(market, &truth.counts),
        "troubles": by_trouble(|trouble| truth.occurrences(trouble).into()),
        "marked": marked(market, truth),
        "judgement": judgement(truth),
        "latency_ms": latencies(truth),
    })
}

fn text(time: Timestamp) -> String {
    time.to_string()
}

fn by_trouble(value: impl Fn(Trouble) -> Value) -> Value {
    let entry = |trouble: Trouble| (trouble.name().to_owned(), value(trouble));
    Trouble::ALL.into_iter().map(entry).collect::<Map<_, _>>().into()
}

fn options(traffic: &Traffic, visits_per_second: f64) -> Value {
    let options = &traffic.market.options;
    let seconds =
        traffic.curve.span_us as f64 / Timestamp::SECOND as f64 / traffic.time.factor() as f64;
    json!({
        "users": options.user_count, "ads": options.ad_count, "mean_ctr": options.mean_ctr,
        "visits_per_second": visits_per_second, "seconds": seconds,
        "drift": options.drift.map(|drift| json!({"hour": drift.hour, "kept": drift.kept})),
        "troubles": by_trouble(|trouble| options.troubles.rate(trouble).into()),
    })
}

fn market_json(traffic: &Traffic) -> Value {
    let market = &traffic.market;
    let at = |hours: f64| text(traffic.curve.start.plus((hours * Timestamp::HOUR as f64) as i64));
    let ad = |ad: &reckon_market::Ad| {
        let campaign = &market.campaigns[ad.campaign];
        json!({
            "ad_id": ad.ad_id, "campaign_id": campaign.campaign_id,
            "category": CATEGORIES[ad.category], "creative_size": SIZES[ad.size],
            "cpc_micros": campaign.cpc_micros, "appeal": ad.appeal,
            "launch": at(f64::from(ad.launch_hour)),
        })
    };
    json!({
        "ads": market.ads.iter().map(ad).collect::<Vec<_>>(),
        "examination": (1..=POSITIONS).map(examination).collect::<Vec<_>>(),
        "drift_at": market.options.drift.map(|drift| at(drift.hour)),
    })
}

fn counts(market: &Market, counts: &Counts) -> Value {
    let cell = |(cell, count): (reckon_market::Cell, u64)| {
        json!({
            "ad_id": cell.ad.map(|ad| &market.ads[ad].ad_id),
            "minute": text(Timestamp::from_seconds(cell.bucket)),
            "kind": cell.kind.name(), "verdict": cell.verdict.name(), "count": count,
        })
    };
    counts.iter().map(cell).collect::<Vec<_>>().into()
}

fn marked(market: &Market, truth: &Truth) -> Value {
    let subset = |mark: Mark| {
        let counts = counts(market, &truth.marked[mark as usize]);
        (mark.name().to_owned(), json!({"counts": counts}))
    };
    let mut marked: Map<String, Value> = Mark::ALL.into_iter().map(subset).collect();
    let mut addresses: Vec<String> = Bot::all().map(|bot| bot.address().to_string()).collect();
    addresses.dedup();
    let user_ids: Vec<String> = Bot::all().map(|bot| bot.user_id(market.options.seed)).collect();
    let bots = &mut marked[Mark::Bot.name()];
    bots["addresses"] = addresses.into();
    bots["user_ids"] = user_ids.into();
    marked.into()
}

fn judgement(truth: &Truth) -> Value {
    let judgement = &truth.judgement;
    let parts = judgement.buckets.len() as i64;
    let at = |part: usize| judgement.start.plus(judgement.width_us * part as i64);
    let buckets: Vec<Value> = judgement
        .buckets
        .iter()
        .enumerate()
        .map(|(part, of)| bucket(of, at(part), judgement.width_us))
        .collect();
    json!({
        "total": bucket(&judgement.total(), judgement.start, judgement.width_us * parts),
        "buckets": buckets,
    })
}

fn bucket(bucket: &Bucket, from: Timestamp, width_us: i64) -> Value {
    json!({
        "from": text(from), "seconds": width_us as f64 / Timestamp::SECOND as f64,
        "shown": bucket.shown, "clicks": bucket.clicks, "true_clicks": bucket.truth,
        "random_clicks": bucket.instead.random, "true_micros": bucket.value,
        "random_micros": bucket.instead.random_value, "best_micros": bucket.instead.best_value,
        "judged": bucket.judged,
        "predicted_clicks": bucket.predicted, "judged_true_clicks": bucket.judged_truth,
        "log_loss": {
            "model": bucket.model_log_loss(), "constant": bucket.constant_log_loss(),
            "truth": bucket.truth_log_loss(),
        },
        "calibration_ratio": bucket.calibration_ratio(), "gap_closed": bucket.gap_closed(),
    })
}

fn latencies(truth: &Truth) -> Value {
    let entry = |asked: Asked| {
        let of = &truth.latency[asked as usize];
        let at = |quantile| millis(of, quantile);
        let value = json!({
            "count": of.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999),
            "max": of.max() as f64 / 1e6,
        });
        (asked.name().to_owned(), value)
    };
    Asked::ALL.into_iter().map(entry).collect::<Map<_, _>>().into()
}

fn millis(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e6
}

/// What was sent, what went wrong, and how long it took, for people.
pub fn table(truth: &Truth, out: &mut dyn Write) -> io::Result<()> {
    let total = |kind| Verdict::all().map(|verdict| truth.counts.total(kind, verdict)).sum::<u64>();
    writeln!(out, "{:<24}{:>9}", "visits", truth.visit_count)?;
    writeln!(out, "{:<24}{:>9}", "records", truth.counts.records())?;
    for kind in [Kind::Impression, Kind::View, Kind::Conversion, Kind::Click] {
        writeln!(out, "{:<24}{:>9}", kind.name(), total(kind))?;
    }
    for verdict in Verdict::all() {
        let count = truth.counts.total(Kind::Click, verdict);
        if count > 0 {
            writeln!(out, "{:<24}{count:>9}", format!("  click {}", verdict.name()))?;
        }
    }
    for (verdict, count) in &truth.taken {
        writeln!(out, "{:<24}{count:>9}", format!("  by rules: {}", verdict.name()))?;
    }
    writeln!(out, "troubles")?;
    for trouble in Trouble::ALL {
        writeln!(out, "{:<24}{:>9}", format!("  {}", trouble.name()), truth.occurrences(trouble))?;
    }
    writeln!(out, "{:<24}{:>9}{:>9}{:>9}{:>9}", "ms since due", "count", "p50", "p99", "max")?;
    for asked in Asked::ALL {
        let of = &truth.latency[asked as usize];
        let (p50, p99, max) = (millis(of, 0.5), millis(of, 0.99), of.max() as f64 / 1e6);
        let name = format!("  {}", asked.name());
        writeln!(out, "{name:<24}{:>9}{p50:>9.2}{p99:>9.2}{max:>9.2}", of.len())?;
    }
    Ok(())
}

/// Says whether the server has counted what happened; true where it has.
pub fn verdict(
    traffic: &Traffic,
    truth: &Truth,
    comparison: &Comparison,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let violations = traffic.time.violations();
    let Comparison { compared, different, expected, .. } = comparison;
    let by =
        if truth.near_border == 0 { "ad, hour, kind and verdict" } else { "ad, kind and verdict" };
    let holds = comparison.holds() && truth.uncertain == 0;
    writeln!(
        out,
        "{} counted = happened: {compared} figures by {by} ({expected} records) compared, \
         {different} differ, {} records uncertain, {} near an hour's border",
        if holds { "holds " } else { "FAILS " },
        truth.uncertain,
        truth.near_border,
    )?;
    for line in &comparison.told {
        writeln!(out, "       {line}")?;
    }
    if let Some(failure) = &truth.first_failure {
        writeln!(
            out,
            "FAILS  {} answers were not as they must be; the first: {failure}",
            truth.failures
        )?;
    }
    if let Some(violation) = &violations.first {
        writeln!(
            out,
            "FAILS  {} receive times cannot be; the first: {violation}",
            violations.count
        )?;
    }
    Ok(holds && truth.failures == 0 && violations.count == 0)
}

/// How the served model did by shares of the run, a line each: the click-through rate by chance, true
/// and predicted; log losses, and how much of the gap between a constant and the truth the model
/// closed; and how much of what the best ads would have earned beyond chance was earned.
pub fn learning(truth: &Truth, shares: usize, out: &mut dyn Write) -> io::Result<()> {
    let total = truth.judgement.total();
    if total.judged == 0 {
        return writeln!(out, "the server predicted nothing: its answers held no p_click");
    }
    writeln!(
        out,
        "{:<10}{:>8}{:>10}{:>7}{:>11}{:>10}{:>9}{:>9}{:>8}{:>8}",
        "of the run",
        "shown",
        "by chance",
        "CTR %",
        "predicted",
        "constant",
        "model",
        "truth",
        "closed",
        "earned"
    )?;
    for (at, share) in truth.judgement.shares(shares).iter().enumerate() {
        learning_line(&format!("{}/{shares}", at + 1), share, out)?;
    }
    learning_line("all", &total, out)
}

fn learning_line(name: &str, bucket: &Bucket, out: &mut dyn Write) -> io::Result<()> {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.5}"));
    let share = |value: Option<f64>| {
        value.map_or("-".to_owned(), |value| format!("{:.0} %", 100.0 * value))
    };
    let percent = |sum: f64, of: u64| 100.0 * sum / of.max(1) as f64;
    writeln!(
        out,
        "{name:<10}{:>8}{:>10.2}{:>7.2}{:>11.2}{:>10}{:>9}{:>9}{:>8}{:>8}",
        bucket.shown,
        percent(bucket.instead.random, bucket.shown),
        percent(bucket.truth, bucket.shown),
        percent(bucket.predicted, bucket.judged),
        number(bucket.constant_log_loss()),
        number(bucket.model_log_loss()),
        number(bucket.truth_log_loss()),
        share(bucket.gap_closed()),
        share(bucket.value_gained()),
    )
}
