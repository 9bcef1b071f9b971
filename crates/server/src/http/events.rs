//! `POST /v1/events`: batches of events, JSON array or NDJSON, plain, gzip or zstd.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use reckon_books::KeyKind;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::door::{stamp, visitor};
use super::{Peer, Problem, body};
use crate::app::App;
use crate::edge::{self, Authority, BatchAnswer, BatchError, Source, Visitor};

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/events", post(events).options(preflight))
}

/// Tells browsers of any origin that they may send events.
async fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    allow_origin(headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, content-encoding, x-request-id"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

fn allow_origin(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}

async fn events(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let visitor = visitor(&app, &head.headers, &Method::GET, peer);
    let mut response = match take(&app, &head, &visitor, body).await {
        Ok(answer) => {
            let status = if answer.accepted == 0 {
                StatusCode::UNPROCESSABLE_ENTITY
            } else {
                StatusCode::OK
            };
            (status, Json(answer)).into_response()
        }
        Err(problem) => problem.into_response(),
    };
    allow_origin(response.headers_mut());
    stamp(&app, visitor.received, response.headers_mut());
    response
}

async fn take(
    app: &App,
    head: &Parts,
    visitor: &Visitor<'_>,
    body: Body,
) -> Result<BatchAnswer, Problem> {
    let bytes = body::read(&head.headers, body, &app.body_limits).await?;
    let is_lines = is_ndjson(&head.headers);
    let wrapped = if is_lines { None } else { Wrapped::of(&bytes) };
    let in_query = edge::parameter(head.uri.query().unwrap_or_default(), "write_key")
        .or_else(|| edge::parameter(head.uri.query().unwrap_or_default(), "key"));
    let write_key =
        wrapped.as_ref().and_then(|wrapped| wrapped.write_key.as_deref()).or(in_query.as_deref());
    let holder = app.gate.sender(&head.headers, write_key).await?;
    if holder.is_none() {
        app.gate.admit_anonymous(visitor.address)?;
    }
    let authority = holder.map(|holder| Authority {
        tenant: holder.tenant(),
        source: if holder.key.kind == KeyKind::Write { Source::Client } else { Source::Trusted },
        name: holder.key.key_id.clone(),
    });
    let events = wrapped
        .and_then(|wrapped| wrapped.events)
        .map_or(bytes.clone(), |events| Bytes::copy_from_slice(events.get().as_bytes()));
    let answer = edge::ingest(&app.edge, authority.as_ref(), visitor, &events, is_lines).await;
    let answer = answer.map_err(|error| problem_of(error, app))?;
    if answer.accepted == 0 && authority.is_none() {
        return Err(Problem::unauthenticated(
            "without an API key or write key every event needs a valid token in imp",
        ));
    }
    Ok(answer)
}

fn problem_of(error: BatchError, app: &App) -> Problem {
    match error {
        BatchError::Malformed(detail) => Problem::malformed(detail),
        BatchError::TooMany(count) => Problem::too_large(format!(
            "the batch holds {count} events; at most {} are taken (server.batch_events_max)",
            app.config.server.batch_events_max
        )),
        BatchError::Unavailable => Problem::unavailable(
            "the log cannot take events now; nothing was accepted, send the batch again",
        ),
    }
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let kind =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.contains("ndjson") || kind.contains("jsonl") || kind.contains("json-lines")
}

/// An object around the events, with the write key of a page: `{"write_key": .., "events": [..]}`,
/// or a lone event with a write key in it.
#[derive(Deserialize)]
struct Wrapped<'a> {
    write_key: Option<String>,
    #[serde(borrow)]
    events: Option<&'a RawValue>,
}

impl<'a> Wrapped<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }
}
