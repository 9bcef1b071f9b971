//! `/v1/billing`: days, what they came to, who owes what, and invoices.
//!
//! Reading needs `read`, closing and adjusting need `manage`. Whatever posts to the ledger can be asked
//! for again: what is there already stays as it is.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use reckon_billing::{Zone, account_answer, invoice, invoices, invoices_csv, period_answer};
use reckon_books::{Scopes, UnseenClicks};
use reckon_event::{Day, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::parameters::{Id, Parameters, wrong};
use super::{Problem, body, parse_json};
use crate::app::App;
use crate::billing;

/// Days of an account where none are asked for: the last so many.
const ACCOUNT_DAYS: u32 = 31;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/billing/periods/{id}", get(period))
        .route("/v1/billing/periods/{id}/close", post(close))
        .route("/v1/billing/periods/{id}/adjust", post(adjust))
        .route("/v1/billing/accounts/{id}", get(account).patch(change_account))
        .route("/v1/billing/invoices", get(invoices_of_days))
}

impl From<reckon_billing::Error> for Problem {
    fn from(error: reckon_billing::Error) -> Self {
        use reckon_billing::Error;

        let detail = error.to_string();
        match error {
            Error::Books(error) => error.into(),
            Error::Rollup(_) | Error::Behind { .. } | Error::Moving(_) | Error::Counting(_) => {
                Self::unavailable(detail)
            }
            Error::TooEarly { .. }
            | Error::Unexplained { .. }
            | Error::NothingCompared { .. }
            | Error::NeverSettled(_)
            | Error::NotClosed(_)
            | Error::MixedCurrencies { .. }
            | Error::Unknown { .. }
            | Error::Negative { .. } => Self::conflict(detail),
            Error::NotTold(_)
            | Error::UnknownZone(_)
            | Error::NotWholeHours { .. }
            | Error::Range => Self::unprocessable(detail),
            Error::Written(_) => Self::internal(detail),
        }
    }
}

fn day(text: &str) -> Result<Day, Problem> {
    Day::parse(text).map_err(|_| wrong("day", &format_args!("{text:?} is not YYYY-MM-DD")))
}

async fn period(
    State(app): State<Arc<App>>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = app.gate.require(&headers, Scopes::READ).await?.tenant();
    Ok(Json(period_answer(&*app.accounts, tenant, day(&id)?).await?).into_response())
}

async fn close(
    State(app): State<Arc<App>>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = app.gate.require(&headers, Scopes::MANAGE).await?.tenant();
    let day = day(&id)?;
    billing::close(&app, day).await?;
    Ok(Json(period_answer(&*app.accounts, tenant, day).await?).into_response())
}

async fn adjust(
    State(app): State<Arc<App>>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    app.gate.require(&headers, Scopes::MANAGE).await?;
    let adjusted = billing::adjust(&app, day(&id)?).await?;
    Ok(Json(json!({ "compared": adjusted.compared, "adjustments": adjusted.posted })))
}

/// `from` and `to`, both included.
fn days(parameters: &Parameters<'_>, now: Timestamp, back: u32) -> Result<(Day, Day), Problem> {
    let last = match (parameters.text("to"), parameters.text("day")) {
        (Some(text), None) | (None, Some(text)) => day(text)?,
        (None, None) => Day::of(now),
        (Some(_), Some(_)) => return Err(wrong("day", &"give `day`, or `from` and `to`")),
    };
    let first = match (parameters.text("from"), parameters.text("day")) {
        (Some(text), None) => day(text)?,
        (None, None) => Day::new(last.number().saturating_sub(back - 1)).unwrap_or(last),
        (None, Some(_)) => last,
        (Some(_), Some(_)) => return Err(wrong("day", &"give `day`, or `from` and `to`")),
    };
    Ok((first, last))
}

async fn account(
    State(app): State<Arc<App>>,
    Id(advertiser_id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = app.gate.require(&headers, Scopes::READ).await?.tenant();
    let parameters = Parameters::read(uri.query(), &["from", "to"])?;
    let (first, last) = days(&parameters, app.edge.clock.now(), ACCOUNT_DAYS)?;
    let answer = account_answer(&*app.accounts, tenant, &advertiser_id, first, last).await?;
    Ok(Json(answer).into_response())
}

/// How an advertiser is billed, as far as it is to change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountChange {
    time_zone: Option<String>,
    unseen_clicks: Option<String>,
}

async fn change_account(
    State(app): State<Arc<App>>,
    Id(advertiser_id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let tenant = app.gate.require(request.headers(), Scopes::MANAGE).await?.tenant();
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, &app.body_limits).await?;
    let change: AccountChange = parse_json(&bytes)?;
    let mut profile = app.accounts.billing_profile(tenant, &advertiser_id).await?;
    if let Some(zone) = change.time_zone {
        profile.time_zone = Zone::parse(&zone)?.name().to_owned();
    }
    if let Some(policy) = change.unseen_clicks {
        profile.unseen_clicks = UnseenClicks::parse(&policy)?;
    }
    app.accounts.set_billing_profile(tenant, &advertiser_id, profile).await?;
    let today = Day::of(app.edge.clock.now());
    let answer = account_answer(&*app.accounts, tenant, &advertiser_id, today, today).await?;
    Ok(Json(answer).into_response())
}

async fn invoices_of_days(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = app.gate.require(&headers, Scopes::READ).await?.tenant();
    let parameters = Parameters::read(uri.query(), &["day", "from", "to", "advertiser_id"])?;
    let (first, last) = days(&parameters, app.edge.clock.now(), 1)?;
    let written = match parameters.name("advertiser_id")? {
        Some(advertiser_id) => {
            vec![invoice(&*app.accounts, tenant, advertiser_id, first, last).await?]
        }
        None => invoices(&*app.accounts, &*app.books, tenant, first, last).await?,
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|kinds| kinds.trim_start().starts_with("text/csv")) {
        let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8")];
        return Ok((kind, invoices_csv(&written)?).into_response());
    }
    Ok(Json(json!({ "invoices": written })).into_response())
}
