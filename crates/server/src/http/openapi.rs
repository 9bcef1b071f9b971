//! `GET /openapi.json`: the description of the whole interface.
//!
//! It is a file kept by hand and compiled in; a test compares it with the router, with what the
//! endpoints answer, and with its own examples.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;

use crate::app::App;

/// The description (OpenAPI 3.1).
pub const DESCRIPTION: &str = include_str!("../../openapi.json");

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route(
        "/openapi.json",
        get(|| async { ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION) }),
    )
}
