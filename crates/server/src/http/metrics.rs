//! `GET /v1/metrics` and `GET /v1/ads/top`: counted figures by time and dimension.
//!
//! Every answer names the cut of the log it holds (`as_of`) and whether its figures can still change
//! (`final`). A question runs on a thread of its own, few at a time: whoever asks for millions of rows
//! must not slow a click.

pub mod columns;
pub mod cut;
mod question;
mod render;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use http_body_util::channel::{Channel, Sender};
use reckon_books::Scopes;
use reckon_event::TenantId;
use reckon_rollup::{Answer, Error, Granularity};
use tokio::sync::Semaphore;

use self::cut::{Finality, cut_of};
use self::question::Asked;
use self::render::{Form, Table};
use super::Problem;
use crate::app::App;

/// Questions answered at once; the others wait.
const QUESTIONS_MAX: usize = 8;
/// How long a question waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Rows written in one go.
const ROWS_PER_CHUNK: usize = 1_000;
const AS_OF: HeaderName = HeaderName::from_static("reckon-as-of");
const FINAL: HeaderName = HeaderName::from_static("reckon-final");

/// The turns of questions.
#[derive(Clone)]
struct Turns(Arc<Semaphore>);

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/metrics", get(metrics))
        .route("/v1/ads/top", get(top))
        .layer(Extension(Turns(Arc::new(Semaphore::new(QUESTIONS_MAX)))))
}

async fn metrics(
    State(app): State<Arc<App>>,
    Extension(turns): Extension<Turns>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = app.gate.require(&headers, Scopes::READ).await?.tenant();
    let asked = Asked::metrics(uri.query(), tenant, app.edge.clock.now())?;
    answer(app, &turns, tenant, asked, form_of(&headers)).await
}

async fn top(
    State(app): State<Arc<App>>,
    Extension(turns): Extension<Turns>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = app.gate.require(&headers, Scopes::READ).await?.tenant();
    let asked = Asked::top(uri.query(), tenant, app.edge.clock.now())?;
    answer(app, &turns, tenant, asked, form_of(&headers)).await
}

/// CSV for who accepts nothing else, or names it first.
fn form_of(headers: &HeaderMap) -> Form {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let mut kinds = accept.unwrap_or_default().split(',').map(|kind| {
        kind.split_once(';').map_or(kind, |(kind, _)| kind).trim().to_ascii_lowercase()
    });
    match kinds.find(|kind| kind == "text/csv" || kind == "application/json") {
        Some(kind) if kind == "text/csv" => Form::Csv,
        _ => Form::Json,
    }
}

async fn answer(
    app: Arc<App>,
    turns: &Turns,
    tenant: TenantId,
    asked: Asked,
    form: Form,
) -> Result<Response, Problem> {
    let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(&turns.0).acquire_owned()).await;
    let turn = turn.map_err(|_| Problem::unavailable("too many questions at once; come back"))?;
    let turn = turn.expect("the semaphore is never closed");
    let before = app.progress.snapshot();
    let dimensions = asked.query.group_by.clone();
    let has_buckets = asked.query.granularity != Granularity::Total;
    let is_limited = asked.query.limit.is_some();
    let rollup = Arc::clone(&app.rollup);
    let answer = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        rollup.query(&asked.query)
    });
    let answer = answer.await.map_err(|_| Problem::internal("the question came to no end"))?;
    let answer = answer.map_err(problem_of)?;
    check_rows(&answer, app.config.metrics.rows_max, is_limited)?;
    let times = &app.config.time;
    let table = Table {
        tenant,
        cut: cut_of(answer.applied, &before, &app.progress.snapshot()),
        finality: Finality::at(
            answer.to,
            &before,
            times.server_lateness_s,
            times.client_lateness_s,
        ),
        answer,
        has_buckets,
        dimensions,
        columns: asked.columns,
    };
    Ok(respond(app, table, form))
}

fn problem_of(error: Error) -> Problem {
    match error {
        Error::Question { field, fix } => {
            Problem::unprocessable(format!("{}: {fix}", field.name()))
        }
        Error::Refused(refusal) => Problem::internal(refusal.to_string()),
        error @ Error::Broken { .. } => Problem::unavailable(error.to_string()),
    }
}

fn check_rows(answer: &Answer, rows_max: usize, is_limited: bool) -> Result<(), Problem> {
    let count = answer.rows.len();
    if count <= rows_max {
        return Ok(());
    }
    let fix = if is_limited { "give a lower limit" } else { "give a limit, or ask for less" };
    Err(Problem::unprocessable(format!(
        "limit: {count} rows are more than one answer holds ({rows_max}, metrics.rows_max); {fix}"
    )))
}

/// A small answer is one body, a large one is written while it is sent.
fn respond(app: Arc<App>, table: Table, form: Form) -> Response {
    let cut = table.cut.to_string();
    let finality = table.finality.name();
    let count = table.answer.rows.len();
    let body = if count <= ROWS_PER_CHUNK {
        let rows = table.rows(form, &app.edge.catalog, 0, count);
        Body::from(table.head(form) + &rows + Table::tail(form))
    } else {
        let (sender, body) = Channel::new(1);
        tokio::spawn(send(app, table, form, sender));
        Body::new(body)
    };
    let mut response = Response::new(body);
    let kind = match form {
        Form::Json => "application/json",
        Form::Csv => "text/csv; charset=utf-8",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(cut) = HeaderValue::from_str(&cut) {
        headers.insert(AS_OF, cut);
    }
    headers.insert(FINAL, HeaderValue::from_static(finality));
    response
}

/// Ends early where the client has gone.
async fn send(app: Arc<App>, table: Table, form: Form, mut sender: Sender<Bytes>) {
    let count = table.answer.rows.len();
    let mut text = table.head(form);
    for start in (0..count).step_by(ROWS_PER_CHUNK) {
        let end = count.min(start + ROWS_PER_CHUNK);
        text.push_str(&table.rows(form, &app.edge.catalog, start, end));
        if end == count {
            text.push_str(Table::tail(form));
        }
        if sender.send_data(Bytes::from(std::mem::take(&mut text))).await.is_err() {
            return;
        }
    }
}
