//! What a run has shown, as a table and as JSON.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::machine::Machine;
use crate::command::client::figures::{Caught, Figures, Span, catch_up};
use crate::command::client::{Call, Client};

/// Counting is taken to be stuck when nothing was added for this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is asked whether everything before is counted.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// Latencies from a microsecond to two minutes, to three digits, in nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("the bounds are in order")
}

/// What the load itself has seen.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Events sent, each with a token of its own.
    pub sent: u64,
    /// Events whose answer says that they are durable.
    pub acknowledged: u64,
    /// Answers that acknowledge nothing (`Reckon-Degraded`).
    pub degraded: u64,
    /// Other answers than expected, broken connections, and no answer at all.
    pub errors: u64,
    /// The first error, in words.
    pub first_error: Option<String>,
    /// From when a request was due to its answer, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Length of all answers, heads included.
    pub answer_bytes: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            sent: 0,
            acknowledged: 0,
            degraded: 0,
            errors: 0,
            first_error: None,
            latency: histogram(),
            answer_bytes: 0,
        }
    }
}

impl Tally {
    /// Notes the latency of one request.
    pub fn latency(&mut self, latency: Duration) {
        self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Notes an error.
    pub fn fail(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    /// Adds another connection's.
    pub fn merge(&mut self, other: Tally) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.degraded += other.degraded;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.answer_bytes += other.answer_bytes;
        self.latency.add(&other.latency).expect("all have the same bounds");
    }
}

/// The counts before a run, to be compared with those after it.
pub struct Settled {
    runtime: tokio::runtime::Runtime,
    client: Client,
    before: Figures,
}

impl Settled {
    /// Asks for the counts once everything before is counted: what was minted left records of its own.
    pub fn begin(to: &str, key: Option<&str>) -> Result<Self> {
        let runtime = crate::command::runtime(1)?;
        let mut client = Client::new(to, key)?;
        runtime.block_on(all_counted(&mut client))?;
        let before = runtime.block_on(Figures::ask(&mut client, Span::EVER))?;
        Ok(Settled { runtime, client, before })
    }

    /// Waits until all that was acknowledged is counted.
    pub fn wait(mut self, tally: &Tally) -> Result<Caught> {
        let clicks = i64::try_from(tally.acknowledged)?;
        let caught = catch_up(&mut self.client, Span::EVER, &self.before, clicks, PATIENCE);
        self.runtime.block_on(caught)
    }
}

/// Waits until no durable record is left uncounted; gives up once they have not become fewer for long.
async fn all_counted(client: &mut Client) -> Result<()> {
    let mut least = (f64::INFINITY, Instant::now());
    loop {
        let answer = client.send(&Call::get("/metrics")).await?.success("GET /metrics")?;
        let lag = gauge(&String::from_utf8_lossy(&answer.body), "reckon_count_lag_records")?;
        if lag == 0.0 {
            return Ok(());
        }
        if lag < least.0 {
            least = (lag, Instant::now());
        }
        ensure!(least.1.elapsed() < PATIENCE, "{lag} records of before are not counted");
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// The value of a gauge without labels, out of a page of metrics.
fn gauge(page: &str, name: &str) -> Result<f64> {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.with_context(|| format!("/metrics tells no {name}"))?;
    value.trim().parse().with_context(|| format!("/metrics: {name} is {value}"))
}

/// The outcome of a run.
pub struct Outcome {
    /// What was sent: `click` or `ingest`.
    pub what: &'static str,
    /// Connections side by side.
    pub connections: usize,
    /// Events in a request.
    pub batch: usize,
    /// Requests a second that were due; 0 without a timetable.
    pub rate: u64,
    /// What the load has seen.
    pub tally: Tally,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// What was counted because of it.
    pub caught: Caught,
    /// From the acknowledgement of a click until it was visible, in nanoseconds, where that was asked.
    pub visible: Option<Histogram<u64>>,
    /// Where it ran.
    pub machine: Machine,
}

impl Outcome {
    /// True where net clicks grew by what was acknowledged. A click that was not acknowledged may
    /// count all the same, since nobody was told that it does not.
    pub fn is_exact(&self) -> bool {
        let net = u64::try_from(self.caught.added.clicks_net()).unwrap_or(0);
        self.tally.acknowledged > 0
            && (self.tally.acknowledged..=self.tally.sent).contains(&net)
            && self.caught.complete
    }

    /// Events acknowledged a second.
    pub fn events_per_second(&self) -> f64 {
        self.tally.acknowledged as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Events a second from the first request until all of them were counted and visible.
    pub fn counted_per_second(&self) -> f64 {
        let until = self.elapsed + self.caught.waited;
        self.caught.added.clicks_gross() as f64 / until.as_secs_f64().max(1e-9)
    }

    fn percentile_ms(&self, quantile: f64) -> f64 {
        millis(&self.tally.latency, quantile)
    }

    fn share(&self, count: u64) -> f64 {
        count as f64 / (self.tally.sent as f64 / self.batch as f64).max(1.0)
    }

    /// Prints it, one line a figure or one line of JSON.
    pub fn print(&self, as_json: bool, out: &mut dyn Write) -> io::Result<()> {
        if as_json { writeln!(out, "{}", self.json()) } else { self.table(out) }
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what, "connections": self.connections, "batch": self.batch, "rate": self.rate,
            "sent": self.tally.sent, "acknowledged": self.tally.acknowledged,
            "degraded_share": self.share(self.tally.degraded), "error_share": self.share(self.tally.errors),
            "first_error": self.tally.first_error, "seconds": self.elapsed.as_secs_f64(),
            "events_per_second": self.events_per_second(), "counted_per_second": self.counted_per_second(),
            "latency_ms": {
                "p50": self.percentile_ms(0.5), "p90": self.percentile_ms(0.9),
                "p99": self.percentile_ms(0.99), "p99_9": self.percentile_ms(0.999),
                "max": self.tally.latency.max() as f64 / 1e6,
            },
            "visible_ms": self.visible.as_ref().map(|visible| json!({
                "p50": millis(visible, 0.5), "p99": millis(visible, 0.99),
                "max": visible.max() as f64 / 1e6, "clicks": visible.len(),
            })),
            "counted_after_seconds": self.caught.waited.as_secs_f64(),
            "net_clicks": self.caught.added.clicks_net(), "clicks": self.caught.added.clicks,
            "exact": self.is_exact(), "machine": self.machine.json(),
        })
    }

    fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        let loop_kind = match self.rate {
            0 => "as fast as answers come; latency from sending".to_owned(),
            rate => format!("{rate} a second; latency from when each was due"),
        };
        let requests = self.tally.sent.div_ceil(self.batch as u64);
        writeln!(out, "{:<26}{} x {}", "machine", self.machine.cores, self.machine.cpu)?;
        writeln!(
            out,
            "{:<26}{}, {} connections, {loop_kind}",
            "load", self.what, self.connections
        )?;
        writeln!(out, "{:<26}{} events in {requests} requests", "sent", self.tally.sent)?;
        writeln!(out, "{:<26}{}", "acknowledged", self.tally.acknowledged)?;
        writeln!(out, "{:<26}{:.4} %", "degraded", 100.0 * self.share(self.tally.degraded))?;
        writeln!(out, "{:<26}{:.4} %", "errors", 100.0 * self.share(self.tally.errors))?;
        if let Some(error) = &self.tally.first_error {
            writeln!(out, "{:<26}{error}", "first error")?;
        }
        writeln!(out, "{:<26}{:.2}", "seconds", self.elapsed.as_secs_f64())?;
        writeln!(out, "{:<26}{:.0}", "acknowledged a second", self.events_per_second())?;
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            writeln!(
                out,
                "{:<26}{:.3}",
                format!("{name} of a request, ms"),
                self.percentile_ms(quantile)
            )?;
        }
        writeln!(out, "{:<26}{:.3}", "max, ms", self.tally.latency.max() as f64 / 1e6)?;
        if let Some(visible) = &self.visible {
            let name = format!("visible after, ms ({})", visible.len());
            let (middle, late) = (millis(visible, 0.5), millis(visible, 0.99));
            let most = visible.max() as f64 / 1e6;
            writeln!(out, "{name:<26}p50 {middle:.1}, p99 {late:.1}, max {most:.1}")?;
        }
        writeln!(out, "{:<26}{:.2}", "counted after, seconds", self.caught.waited.as_secs_f64())?;
        writeln!(out, "{:<26}{:.0}", "counted a second, overall", self.counted_per_second())?;
        for (verdict, count) in &self.caught.added.clicks {
            writeln!(out, "{:<26}{count}", format!("clicks {verdict}"))?;
        }
        let equal = if self.is_exact() {
            "as many as were acknowledged"
        } else {
            "NOT what was acknowledged"
        };
        writeln!(out, "{:<26}{}: {equal}", "net clicks grew by", self.caught.added.clicks_net())
    }
}

fn millis(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(sent: u64, acknowledged: u64, net: i64) -> Outcome {
        let added = Figures { clicks: [("counted".to_owned(), net)].into(), ..Figures::default() };
        let mut latency = histogram();
        latency.record_n(2_000_000, 99).expect("in bounds");
        latency.record(9_000_000).expect("in bounds");
        Outcome {
            what: "click",
            connections: 4,
            batch: 1,
            rate: 100,
            tally: Tally {
                sent,
                acknowledged,
                degraded: sent - acknowledged,
                latency,
                ..Tally::default()
            },
            elapsed: Duration::from_secs(2),
            caught: Caught { added, complete: true, waited: Duration::ZERO },
            visible: None,
            machine: Machine { cores: 2, cpu: "x".to_owned() },
        }
    }

    #[test]
    fn net_clicks_are_what_was_acknowledged() {
        assert!(outcome(100, 100, 100).is_exact());
        assert!(!outcome(100, 100, 99).is_exact(), "one was lost");
        assert!(!outcome(100, 100, 101).is_exact(), "one was counted twice");
        assert!(outcome(100, 90, 95).is_exact(), "what was not acknowledged may count");
        assert!(!outcome(0, 0, 0).is_exact(), "nothing was compared");
    }

    #[test]
    fn figures_are_in_the_json() {
        let json = outcome(100, 100, 100).json();
        assert_eq!(
            (json["events_per_second"].as_f64(), json["exact"].as_bool()),
            (Some(50.0), Some(true))
        );
        let p50 = json["latency_ms"]["p50"].as_f64().expect("a number");
        assert!((1.99..2.01).contains(&p50), "{p50}");
        assert!(json["latency_ms"]["max"].as_f64().expect("a number") > 8.9);
        assert!(json["visible_ms"].is_null(), "nobody looked");
        let mut visible = histogram();
        visible.record(40_000_000).expect("in bounds");
        let json = Outcome { visible: Some(visible), ..outcome(100, 100, 100) }.json();
        assert_eq!(json["visible_ms"]["clicks"].as_u64(), Some(1));
        assert!(json["visible_ms"]["p99"].as_f64().is_some_and(|p99| p99 > 39.9));
    }

    #[test]
    fn a_gauge_is_found_by_its_whole_name() {
        let page =
            "# TYPE reckon_lag gauge\nreckon_lag_seconds 7\nreckon_lag 3.0\nreckon_lag_x 1\n";
        assert_eq!(gauge(page, "reckon_lag").expect("it is there"), 3.0);
        assert!(gauge(page, "reckon_la").is_err());
    }
}
