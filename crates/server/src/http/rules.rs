//! `GET /v1/rules`: every behavioural rule set that the log was told, and from when each applies.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use reckon_books::Scopes;
use reckon_count::rules::{Rule, RuleSet};
use serde_json::{Value, json};

use super::Problem;
use crate::app::App;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/rules", get(rules))
}

async fn rules(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    app.gate.require(&headers, Scopes::READ).await?;
    let snapshot = app.progress.snapshot();
    let server = &app.config.server;
    Ok(Json(json!({
        "version": snapshot.rules.version(),
        "client_ip_header": server.client_ip_header,
        "sets": snapshot.rules.sets().iter().map(set).collect::<Vec<_>>(),
    })))
}

fn set(set: &RuleSet) -> Value {
    json!({
        "version": set.version,
        "from": set.from.to_string(),
        "rules": set.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn rule(rule: &Rule) -> Value {
    let reason = reckon_event::Verdict::Invalid(rule.reason()).name();
    match rule {
        Rule::DoubleClick { within } => json!({"reason": reason, "within_ms": within / 1_000}),
        Rule::Rapid { most, .. } => json!({"reason": reason, "most": most}),
    }
}
