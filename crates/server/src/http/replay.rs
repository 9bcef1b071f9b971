//! Writes that may be repeated: `Idempotency-Key`, and writes that are finished once begun.
//!
//! The first request with a key is answered and its answer kept for 24 hours; the same request again
//! gets that answer, another request under the key a 409. Kept is what the request itself led to
//! (2xx, and 4xx about its content), not what the moment led to (401, 403, 408, 429, 5xx): such a
//! request may be repeated in full. Answers above 1 MiB, and those that hold a secret, are not kept
//! either; their repetition is done again, which the ids derived from the key ([`MadeId`]) make
//! harmless.
//!
//! A write runs in a task of its own: a client that hangs up in the middle must not leave the books
//! changed and the edge's catalog not.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use reckon_books::{Claim, RESPONSE_BYTES_MAX, RequestDigest, Scopes, StoredResponse};
use reckon_event::TenantId;
use serde::{Deserialize, Serialize};

use super::{Problem, body};
use crate::app::App;
use crate::secrets::hex;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is that of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Writes that are deduplicated by other means, or change nothing.
const NOT_MANAGED: [&str; 2] = ["/v1/events", "/v1/ads/serve"];
/// When a request that meets its twin in progress should come back, in seconds.
const RETRY_AFTER_S: u32 = 1;

/// In the extensions of an answer that must not be kept: it holds a secret.
#[derive(Clone, Copy, Debug)]
pub struct Unkept;

/// The middleware around all routes.
pub async fn idempotent(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_write = matches!(*request.method(), Method::POST | Method::PATCH | Method::DELETE);
    if !is_write || NOT_MANAGED.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let finished = tokio::spawn(async move {
        match once(&app, request, next).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        }
    });
    match finished.await {
        Ok(response) => response,
        Err(_) => Problem::internal("the request came to no end").into_response(),
    }
}

/// A request that names a key, and may be claimed.
struct Keyed {
    tenant: TenantId,
    key: String,
    digest: RequestDigest,
}

async fn once(app: &App, request: Request, next: Next) -> Result<Response, Problem> {
    let Some(key) = key_of(request.headers())? else {
        return Ok(next.run(request).await);
    };
    let key = key.to_owned();
    let Some(tenant) = manager(app, request.headers()).await else {
        // The handler says why not.
        return Ok(next.run(request).await);
    };
    let (head, body) = request.into_parts();
    let bytes = body::read(&HeaderMap::new(), body, &app.body_limits).await?;
    let digest = digest(&head.method, head.uri.path(), head.uri.query(), &bytes);
    let keyed = Keyed { tenant, key, digest };
    let claim = app.books.begin(tenant, &keyed.key, digest, app.edge.clock.now()).await?;
    if claim != Claim::Fresh {
        // What is not handled is admitted here.
        app.gate.require(&head.headers, Scopes::MANAGE).await?;
    }
    match claim {
        Claim::Fresh => {
            let request = Request::from_parts(head, Body::from(bytes));
            keep(app, &keyed, next.run(request).await).await
        }
        Claim::Replay(stored) => replay(stored),
        Claim::InProgress => Err(Problem {
            retry_after_s: Some(RETRY_AFTER_S),
            ..Problem::conflict("Idempotency-Key: the same request is in progress; come back")
        }),
        Claim::Mismatch => Err(Problem::conflict(
            "Idempotency-Key: the key was used for another request; take a new one",
        )),
    }
}

fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let wrong =
        |problem: &dyn std::fmt::Display| Problem::malformed(format!("Idempotency-Key: {problem}"));
    let text = value.to_str().map_err(|_| wrong(&"must be ASCII text"))?;
    reckon_event::valid_name(text).map(Some).map_err(|error| wrong(&error))
}

/// The tenant of a key that may write at all.
async fn manager(app: &App, headers: &HeaderMap) -> Option<TenantId> {
    let holder = app.gate.identify(headers).await.ok()?;
    holder.key.scopes.contains(Scopes::MANAGE).then(|| holder.tenant())
}

fn digest(method: &Method, path: &str, query: Option<&str>, body: &[u8]) -> RequestDigest {
    let mut hasher = blake3::Hasher::new_derive_key("reckon 2026 idempotent request");
    let query = query.unwrap_or_default();
    for part in [method.as_str().as_bytes(), path.as_bytes(), query.as_bytes(), body] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    RequestDigest(*hasher.finalize().as_bytes())
}

/// Keeps an answer where it is one to keep, and lets go of the claim where it is not.
async fn keep(app: &App, keyed: &Keyed, response: Response) -> Result<Response, Problem> {
    let (head, body) = response.into_parts();
    let bytes = whole(body).await?;
    let stored = match head.extensions.get::<Problem>() {
        Some(problem) => StoredProblem::of(problem).to_bytes(),
        None => bytes.to_vec(),
    };
    let Keyed { tenant, key, digest } = keyed;
    let is_kept = is_kept(head.status)
        && stored.len() <= RESPONSE_BYTES_MAX
        && head.extensions.get::<Unkept>().is_none();
    // The write is done, so its answer goes out whatever becomes of its copy: a repetition then
    // does the same write again, and meets it.
    let noted = if is_kept {
        let response = StoredResponse { status: head.status.as_u16(), body: stored };
        app.books.complete(*tenant, key, *digest, response).await
    } else {
        app.books.abandon(*tenant, key, *digest).await
    };
    if let Err(error) = noted {
        eprintln!("books: the answer to an idempotent request was not kept: {error}");
    }
    Ok(Response::from_parts(head, Body::from(bytes)))
}

/// An answer about the request's content, which the same request would get again.
fn is_kept(status: StatusCode) -> bool {
    const OF_THE_MOMENT: [StatusCode; 4] = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    (status.is_success() || status.is_client_error()) && !OF_THE_MOMENT.contains(&status)
}

async fn whole(body: Body) -> Result<Bytes, Problem> {
    let collected = body.collect().await;
    let collected = collected.map_err(|error| Problem::internal(format!("answer: {error}")))?;
    Ok(collected.to_bytes())
}

fn replay(stored: StoredResponse) -> Result<Response, Problem> {
    let status = StatusCode::from_u16(stored.status)
        .map_err(|_| Problem::internal("books: a kept answer has no HTTP status"))?;
    let mut response = if status.is_success() {
        let mut response = Response::new(Body::from(stored.body));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        *response.status_mut() = status;
        response
    } else {
        StoredProblem::from_bytes(&stored.body)?.problem(status).into_response()
    };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// A kept problem, without the id of its request: a replay is a request of its own.
#[derive(Debug, Deserialize, Serialize)]
struct StoredProblem {
    detail: String,
    errors: Vec<serde_json::Value>,
}

impl StoredProblem {
    fn of(problem: &Problem) -> Self {
        StoredProblem { detail: problem.detail.clone(), errors: problem.errors.clone() }
    }

    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and JSON values are JSON")
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(bytes)
            .map_err(|_| Problem::internal("books: a kept problem cannot be read"))
    }

    fn problem(self, status: StatusCode) -> Problem {
        Problem { errors: self.errors, ..Problem::new(status, self.detail) }
    }
}

/// Makes ids for what was posted without one: random, or derived from the idempotency key, so that
/// a write that is done twice makes one thing.
#[derive(Debug)]
pub struct MadeId {
    prefix: &'static str,
    seed: [u8; 32],
}

impl MadeId {
    /// Ids of one request.
    pub fn new(prefix: &'static str, tenant: TenantId, headers: &HeaderMap) -> Self {
        let seed = match headers.get(IDEMPOTENCY_KEY) {
            None => rand::random(),
            Some(key) => {
                let mut hasher = blake3::Hasher::new_derive_key("reckon 2026 made id");
                hasher.update(&tenant.0.to_le_bytes());
                hasher.update(key.as_bytes());
                *hasher.finalize().as_bytes()
            }
        };
        MadeId { prefix, seed }
    }

    /// The id of the item at `index`: the prefix and 24 hex digits.
    pub fn id(&self, index: usize) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.seed);
        hasher.update(self.prefix.as_bytes());
        hasher.update(&(index as u64).to_le_bytes());
        format!("{}{}", self.prefix, hex(&hasher.finalize().as_bytes()[..12]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(prefix: &'static str, tenant: u32, key: Option<&'static str>) -> MadeId {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static(key));
        }
        MadeId::new(prefix, TenantId(tenant), &headers)
    }

    #[test]
    fn made_ids_follow_from_the_key_or_from_nothing() {
        let id = made("ad_", 1, Some("k")).id(0);
        assert_eq!(id, made("ad_", 1, Some("k")).id(0));
        assert_eq!(id.len(), "ad_".len() + 24);
        let others = [
            made("ad_", 1, Some("k")).id(1),
            made("ad_", 1, Some("j")).id(0),
            made("ad_", 2, Some("k")).id(0),
            made("cmp_", 1, Some("k")).id(0),
            made("ad_", 1, None).id(0),
            made("ad_", 1, None).id(0),
        ];
        let mut distinct: Vec<&String> = others.iter().chain([&id]).collect();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 7);
    }

    #[test]
    fn digests_tell_every_part_apart() {
        let one = digest(&Method::POST, "/a", None, b"b");
        assert_eq!(one, digest(&Method::POST, "/a", None, b"b"));
        assert_ne!(one, digest(&Method::PATCH, "/a", None, b"b"));
        assert_ne!(one, digest(&Method::POST, "/ab", None, b""));
        assert_ne!(one, digest(&Method::POST, "/a", Some("b"), b""));
    }

    #[test]
    fn only_answers_about_the_content_are_kept() {
        let kept = |code| is_kept(StatusCode::from_u16(code).expect("a status"));
        assert!([200, 201, 400, 404, 409, 422].into_iter().all(kept));
        assert!(![401, 403, 408, 429, 500, 503].into_iter().any(kept));
    }
}
