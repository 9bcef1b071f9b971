//! `GET /metrics`: the state of the system for Prometheus (OpenMetrics text).
//!
//! Everything counted comes from one snapshot, so at every scrape
//! `sum(reckon_records) = reckon_records_received_total`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use reckon_books::Scopes;
use reckon_event::Timestamp;
use reckon_pipeline::{Snapshot, Status};

use super::metrics::cut::watermark;
use super::{Problem, health};
use crate::app::App;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// When this process began to serve.
#[derive(Clone, Copy)]
struct Started(Instant);

/// The routes of the public listener: behind the scope `read`.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(guarded)).layer(Extension(Started(Instant::now())))
}

/// The operators' listener, without keys: metrics and health.
pub fn admin_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(open))
        .layer(Extension(Started(Instant::now())))
        .merge(health::routes())
        .fallback(|| async {
            Problem::not_found("operators find /metrics, /healthz and /readyz here")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here")
        })
        .with_state(app)
}

async fn guarded(
    State(app): State<Arc<App>>,
    Extension(started): Extension<Started>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.gate.require(&headers, Scopes::READ).await?;
    scrape(&app, started)
}

async fn open(
    State(app): State<Arc<App>>,
    Extension(started): Extension<Started>,
) -> Result<Response, Problem> {
    scrape(&app, started)
}

fn scrape(app: &App, Started(started): Started) -> Result<Response, Problem> {
    let snapshot = app.progress.snapshot();
    let mut page = Page::default();
    records(&mut page, &snapshot);
    counting(&mut page, &snapshot);
    log(&mut page, app, &snapshot);
    edge(&mut page, app);
    model(&mut page, app);
    process(&mut page, started);
    let mut text = String::with_capacity(8_192);
    text::encode(&mut text, &page.registry)
        .map_err(|error| Problem::internal(format!("metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Judged {
    kind: &'static str,
    verdict: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Partition {
    partition: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// One scrape: figures are read from the snapshot, not kept here.
#[derive(Default)]
struct Page {
    registry: Registry,
}

impl Page {
    /// A figure that only grows; its name gets `reckon_` in front and `_total` behind.
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        self.registry.register(format!("reckon_{name}"), help, counter);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value as f64);
        self.registry.register(format!("reckon_{name}"), help, gauge);
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        self.registry.register(format!("reckon_{name}_seconds"), help, gauge);
    }

    fn by_partition(&mut self, name: &str, help: &str, values: impl Iterator<Item = u64>) {
        let family = Family::<Partition, Gauge<f64, AtomicU64>>::default();
        for (partition, value) in (0..).zip(values) {
            family.get_or_create(&Partition { partition }).set(value as f64);
        }
        self.registry.register(format!("reckon_{name}"), help, family);
    }
}

fn records(page: &mut Page, snapshot: &Snapshot) {
    let totals = &snapshot.totals;
    let family = Family::<Judged, Gauge<f64, AtomicU64>>::default();
    for (kind, verdict, count) in totals.iter() {
        let labels = Judged { kind: kind.name(), verdict: verdict.name() };
        family.get_or_create(&labels).set(count as f64);
    }
    page.registry.register("reckon_records", "Records by kind and verdict in force", family);
    let without = totals.redelivered + totals.skipped + totals.unknown;
    let help = "Records counted; the sum of reckon_records";
    page.counter("records_received", help, totals.seen() - without);
    let help = "Second copies of one append, dropped before any verdict";
    page.counter("records_redelivered", help, totals.redelivered);
    let help = "Control records and predictions, which get no verdict";
    page.counter("records_skipped", help, totals.skipped);
    let help = "Records of a kind this build does not know";
    page.counter("records_unknown", help, totals.unknown);
}

fn counting(page: &mut Page, snapshot: &Snapshot) {
    page.counter("epochs", "Epochs counted since the log began", snapshot.epoch);
    page.gauge("checkpoint_epoch", "The epoch of the newest checkpoint", snapshot.checkpoint);
    let help = "Verdicts that rules on closed minutes have changed";
    page.counter("revisions", help, snapshot.revisions);
    let help = "The version of the behavioural rules that the log was told last";
    page.gauge("rules_version", help, snapshot.rules.version().into());
    let help = "The receive time before which everything has been counted, in seconds since 1970";
    page.gauge("watermark_seconds", help, snapshot.watermark.seconds().cast_unsigned());
    page.gauge("counter_generation", "The lease of the counter", snapshot.generation.into());
    page.gauge("counter_state_bytes", "What the counter remembers in memory", snapshot.state_bytes);
    page.counter("pipeline_retries", "Epochs given again to a subscriber", snapshot.retries);
    let failed = matches!(snapshot.status, Status::Failed(_));
    page.gauge("pipeline_failed", "1 when counting cannot go on", failed.into());
}

fn log(page: &mut Page, app: &App, snapshot: &Snapshot) {
    let log = app.log();
    let ranges: Vec<_> = (0..log.partitions()).map(|partition| log.range(partition)).collect();
    let ends: Vec<u64> = ranges.iter().map(|range| range.end).collect();
    let position = |partition: usize| snapshot.position.get(partition).copied().unwrap_or(0);
    let positions: Vec<u64> = (0..ends.len()).map(position).collect();
    let behind = ends.iter().zip(&positions).map(|(end, at)| end.saturating_sub(*at)).sum();
    page.by_partition("log_start", "The first offset kept", ranges.iter().map(|range| range.start));
    page.by_partition("log_end", "The offset behind the last durable record", ends.iter().copied());
    page.by_partition("log_counted", "The offset up to which is counted", positions.into_iter());
    page.gauge("count_lag_records", "Durable records that are not counted yet", behind);
    let now = app.edge.clock.now();
    let lag = match watermark(snapshot, &ends, now) {
        // Nothing of a partition is counted yet: the age of its first record is not known.
        Timestamp::MIN => 0,
        watermark => now.since(watermark).max(0),
    };
    page.seconds("count_lag", "Age of the last record counted where others wait", lag as f64 / 1e6);
}

fn edge(page: &mut Page, app: &App) {
    let meters = &app.edge.meters;
    let help = "Events acknowledged as durable";
    page.counter("events_logged", help, meters.logged.load(Relaxed));
    let help = "Clicks and pixels answered without being durable";
    page.counter("events_degraded", help, meters.degraded.load(Relaxed));
    let help = "Events lost: neither logged nor kept by their sender";
    page.counter("events_unlogged", help, meters.unlogged.load(Relaxed));
    let help = "Events of batches refused, each told to its sender";
    page.counter("events_rejected", help, meters.rejected.load(Relaxed));
    let waiting = app.edge.spool.waiting_count() as u64;
    page.gauge("spool_waiting", "Clicks that wait for the log to come back", waiting);
    page.gauge("ready", "1 when everything works", app.not_ready().is_empty().into());
}

fn model(page: &mut Page, app: &App) {
    let scorer = &app.edge.scorer;
    let models = scorer.predictor.models();
    let (online, report) = (models.online(), models.report());
    page.counter("predict_requests", "Requests scored", scorer.scored.load(Relaxed));
    page.counter("predictions", "Candidates scored", scorer.candidates.load(Relaxed));
    let help = "Requests scored without counters";
    page.counter("predict_degraded", help, scorer.degraded.load(Relaxed));
    let help = "Served rows handed to the log";
    page.counter("rows_logged", help, scorer.rows_logged.load(Relaxed));
    let help = "Served rows dropped because the log was busy";
    page.counter("rows_dropped", help, scorer.rows_dropped.load(Relaxed));
    if let Some(age) = scorer.predictor.freshness().age(app.edge.clock.now()) {
        let help = "Since when features may lack what was acknowledged";
        page.seconds("features_age", help, age as f64 / 1e6);
    }
    page.gauge("persons", "Users whose profile is kept", app.edge.persons.count() as u64);
    page.gauge("rows_pending", "Served rows that wait for their label", report.pending_rows);
    let help = "Rows let go of before their time, for want of room";
    page.counter("rows_let_go", help, report.dropped_rows);
    let help = "Impressions and clicks whose row was not there";
    page.counter("rows_orphaned", help, report.orphans);
    page.gauge("model_version", "The snapshot of the online model", online.version.into());
    page.counter("model_rows_trained", "Rows the online model has learned", online.rows);
    page.counter("model_clicks_trained", "Clicks among them", online.clicks);
    if online.at > Timestamp::MIN {
        let age = app.edge.clock.now().since(online.at).max(0) as f64 / 1e6;
        page.seconds("model_age", "Age of the last record the online model has seen", age);
    }
}

fn process(page: &mut Page, started: Instant) {
    page.seconds("uptime", "How long it has been serving", started.elapsed().as_secs_f64());
    if let Some(bytes) = resident_bytes() {
        page.gauge("resident_memory_bytes", "Memory in use", bytes);
    }
    let build = Family::<Build, Gauge>::default();
    build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
    page.registry.register("reckon_build", "The version that runs", build);
}

/// `VmRSS` of this process; `None` where there is no such file.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1_024)
}
