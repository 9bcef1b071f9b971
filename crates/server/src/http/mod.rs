//! The HTTP interface: doors, routes, and what every answer has in common.

pub mod audit;
pub mod auth;
pub mod billing;
pub mod body;
pub mod catalog;
pub mod console;
pub mod context;
pub mod door;
pub mod events;
pub mod health;
pub mod keys;
pub mod listen;
pub mod live;
pub mod metrics;
pub mod models;
pub mod openapi;
pub mod parameters;
pub mod predict;
pub mod problem;
pub mod profiles;
pub mod replay;
pub mod rules;
pub mod scrape;
pub mod serve;
pub mod users;

use std::future::poll_fn;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

pub use auth::Gate;
pub use problem::Problem;

use crate::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The address at the other end of the connection; in the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// All routes of the public interface but the doors. Each module tells its own.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(events::routes())
        .merge(serve::routes())
        .merge(predict::routes())
        .merge(models::routes())
        .merge(catalog::routes())
        .merge(keys::routes())
        .merge(metrics::routes())
        .merge(live::routes())
        .merge(rules::routes())
        .merge(billing::routes())
        .merge(audit::routes())
        .merge(users::routes())
        .merge(profiles::routes())
        .merge(health::routes())
        .merge(openapi::routes())
        .merge(console::routes())
        .merge(scrape::routes())
        .fallback(|| async {
            Problem::not_found("there is no such path; GET /openapi.json lists them all")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path is there, the method is not")
        })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), replay::idempotent))
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}

/// Answers one request: at a door, or by a route; errors become problems with the request's id, and so
/// does a handler that panics: the connection goes on.
pub async fn handle<B>(app: &App, router: &Router, request: Request<B>, peer: IpAddr) -> Response
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let Some(kind) = door::door(request.uri().path()) else {
        let request_id = request_id(request.headers());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        let answered = caught(router.clone().oneshot(request)).await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Err(problem) => problem.into_response(),
        };
        return with_request_id(response, &request_id);
    };
    let (head, _body) = request.into_parts();
    match caught(door::answer(app, kind, &head, peer)).await.and_then(|answer| answer) {
        Ok(response) => response,
        Err(problem) => problem.render(&request_id(&head.headers)),
    }
}

/// Lets a panic end the request it happened in and nothing else. What it left half done in memory is
/// guarded by locks of its own; what it told the log or the books is whole or not there.
async fn caught<T>(answer: impl Future<Output = T>) -> Result<T, Problem> {
    let mut answer = pin!(answer);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context)));
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Problem::internal(
                "the server failed at this request; what it printed says where",
            ))),
        }
    })
    .await
}

/// Renders problems, and errors that the framework made by itself, and names the request.
fn with_request_id(mut response: Response, request_id: &str) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let mut headers = std::mem::take(response.headers_mut());
        // It was the length of the empty answer that carried the problem here.
        headers.remove(header::CONTENT_LENGTH);
        response = problem.render(request_id);
        response.headers_mut().extend(headers);
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The client's id for the request where it sent a good one, else one of our own.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.and_then(|text| reckon_event::valid_name(text).ok()) {
        Some(text) => text.to_owned(),
        None => format!("{:016x}", rand::random::<u64>()),
    }
}

/// Extracts the body as JSON of a known shape; the error names the field.
pub fn parse_json<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        let is_shape = error.inner().is_data() && path != ".";
        Problem::malformed(if is_shape {
            format!("{path}: {message}")
        } else {
            format!("body: {message}")
        })
    })?;
    reader.end().map_err(|error| Problem::malformed(format!("body: {error}")))?;
    Ok(value)
}
