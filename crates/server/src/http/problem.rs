//! Errors as the outside sees them: `application/problem+json` (RFC 9457).
//!
//! A handler returns a [`Problem`]; the outermost layer renders it, because only that one knows the
//! request's id. Whatever error the framework makes by itself is rendered the same way.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reckon_books::ErrorKind;
use serde_json::json;

/// An error with its status; the texts name the field and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// What is wrong, and how to mend it.
    pub detail: String,
    /// For 429 and 503: when to come back, in seconds.
    pub retry_after_s: Option<u32>,
    /// For a batch: what is wrong with which of its items.
    pub errors: Vec<serde_json::Value>,
    /// What stands in the answer's head beyond what every problem has.
    pub headers: Option<Box<HeaderMap>>,
}

impl Problem {
    /// An error of this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Problem { status, detail, retry_after_s: None, errors: Vec::new(), headers: None }
    }

    /// 400: the request is malformed.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: no key, or none that is known.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403: the key may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409: it contradicts what is there.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 413: too large.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 422: well formed, and cannot be done.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 429: too many requests.
    pub fn too_many(retry_after_s: u32) -> Self {
        Problem {
            retry_after_s: Some(retry_after_s),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate limit exceeded; see Retry-After")
        }
    }

    /// 500: a fault of the server's own.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// 503: not now; the client keeps what it has and comes back.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Problem { retry_after_s: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The answer, with the id of the request it belongs to.
    pub fn render(&self, request_id: &str) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let kind = title.to_lowercase().replace(' ', "-");
        let mut body = json!({
            "type": format!("urn:reckon:problem:{kind}"),
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "request_id": request_id,
        });
        if !self.errors.is_empty() {
            body["errors"] = self.errors.clone().into();
        }
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.extend(self.headers.iter().flat_map(|more| (**more).clone()));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// Carries the problem to the outermost layer, which renders it.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<reckon_books::Error> for Problem {
    fn from(error: reckon_books::Error) -> Self {
        let detail = error.to_string();
        match error.kind {
            ErrorKind::NotFound => Self::not_found(detail),
            ErrorKind::Conflict | ErrorKind::Collision => Self::conflict(detail),
            ErrorKind::Invalid { .. } => Self::unprocessable(detail),
            ErrorKind::Unavailable => Self::unavailable(detail),
            ErrorKind::Damaged => Self::internal(detail),
        }
    }
}
