//! `/v1/reconciliations`, `/v1/explain` and `/v1/sql`: whether the figures are right, and why they are
//! what they are.
//!
//! Recounts and questions read the lake and may take long; one runs at a time, and none of them holds
//! up a click.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use reckon_books::Scopes;
use reckon_event::{Day, TenantId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::parameters::{Parameters, wrong};
use super::{Problem, body, parse_json};
use crate::app::App;
use crate::audit;

/// Reports listed where no number is asked for.
const REPORTS_LISTED: usize = 24;
/// The most reports listed.
const REPORTS_LISTED_MAX: usize = 1_000;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/reconciliations", get(list).post(reconcile))
        .route("/v1/explain", get(explain))
        .route("/v1/sql", post(sql))
}

/// What keeps a recount from being made is mostly a matter of time.
fn problem(error: &anyhow::Error) -> Problem {
    match error.downcast_ref::<reckon_audit::AuditError>() {
        Some(reckon_audit::AuditError::Question(question)) => Problem::unprocessable(question),
        _ => Problem::unavailable(format!("{error:#}")),
    }
}

/// What is to be recounted: an hour, a day, or all from one time to another.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    hour: Option<String>,
    day: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

impl Range {
    fn read(&self) -> Result<(Timestamp, Timestamp), Problem> {
        let time =
            |name: &str, text: &str| Timestamp::parse(text).map_err(|error| wrong(name, &error));
        match (&self.hour, &self.day, &self.from, &self.to) {
            (Some(hour), None, None, None) => {
                let from = time("hour", hour)?.floor(Timestamp::HOUR);
                Ok((from, from.plus(Timestamp::HOUR)))
            }
            (None, Some(day), None, None) => {
                let read = Day::parse(day);
                let day =
                    read.map_err(|_| wrong("day", &format_args!("{day:?} is not YYYY-MM-DD")))?;
                Ok((day.start(), day.end()))
            }
            (None, None, Some(from), Some(to)) => Ok((
                time("from", from)?.floor(Timestamp::MINUTE),
                time("to", to)?.ceil(Timestamp::MINUTE),
            )),
            (None, None, None, None) => {
                Ok((Timestamp::MIN, Timestamp::MAX.plus(-1).floor(Timestamp::MINUTE)))
            }
            _ => Err(Problem::malformed(
                "hour: give `hour`, or `day`, or `from` and `to`, or nothing",
            )),
        }
    }
}

async fn reconcile(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, Problem> {
    app.gate.require(request.headers(), Scopes::MANAGE).await?;
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, &app.body_limits).await?;
    let range: Range = if bytes.is_empty() { Range::default() } else { parse_json(&bytes)? };
    let (from, to) = range.read()?;
    let report = audit::reconcile(&app, from, to).await.map_err(|error| problem(&error))?;
    Ok(Json(audit::reports::told(&app, &report).map_err(|error| problem(&error))?))
}

async fn list(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    app.gate.require(&headers, Scopes::READ).await?;
    let parameters = Parameters::read(uri.query(), &["limit"])?;
    let limit = parameters.parse("limit", "a whole number")?.unwrap_or(REPORTS_LISTED);
    if !(1..=REPORTS_LISTED_MAX).contains(&limit) {
        return Err(Problem::unprocessable(format!("limit: give 1 to {REPORTS_LISTED_MAX}")));
    }
    let reports = audit::reports::newest(&app, limit).await.map_err(|error| problem(&error))?;
    Ok(Json(json!({ "reconciliations": reports })))
}

async fn explain(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = app.gate.require(&headers, Scopes::READ).await?.tenant();
    let parameters = Parameters::read(uri.query(), &["ad_id", "minute"])?;
    let missing = |name: &str| wrong(name, &"is needed");
    let ad_id = parameters.name("ad_id")?.ok_or_else(|| missing("ad_id"))?;
    let minute = parameters.text("minute").ok_or_else(|| missing("minute"))?;
    let minute = Timestamp::parse(minute).map_err(|error| wrong("minute", &error))?;
    let explained =
        audit::explain(&app, tenant, ad_id, minute).await.map_err(|error| problem(&error))?;
    let mut told = serde_json::to_value(&explained).map_err(|error| problem(&error.into()))?;
    told["ad_id"] = ad_id.into();
    told.as_object_mut().expect("it is one").remove("ad");
    Ok(Json(told).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    query: String,
}

async fn sql(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let tenant = app.gate.require(request.headers(), Scopes::MANAGE).await?.tenant();
    if tenant != TenantId::DEFAULT {
        return Err(Problem::forbidden(
            "SQL reads the records of all tenants: ask as the operator",
        ));
    }
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, &app.body_limits).await?;
    let asked: Asked = parse_json(&bytes)?;
    let answer = audit::sql(&app, &asked.query).await.map_err(|error| {
        match error.is::<reckon_audit::AuditError>() {
            // A question that cannot be planned is the asker's; it names what is wrong.
            true => Problem::unprocessable(format!("query: {error:#}")),
            false => problem(&error),
        }
    })?;
    let broken = |error: reckon_audit::AuditError| Problem::internal(error.to_string());
    let accept = head.headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok());
    if accept.is_some_and(|kinds| kinds.trim_start().starts_with("text/csv")) {
        let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8")];
        return Ok((kind, answer.to_csv().map_err(broken)?).into_response());
    }
    let rows: Value = serde_json::from_slice(&answer.to_json().map_err(broken)?)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(json!({ "rows": rows, "cut": answer.is_cut })).into_response())
}
