//! `/v1/users/{id}`: what is kept of a person, and erasing it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::routing::{delete, get};
use axum::{Json, Router};
use reckon_books::{ErasureState, Scopes, Tombstone};
use reckon_event::{Erasures, Pseudonym, TenantId, Timestamp, valid_name};
use reckon_feature::Counters;
use serde::Serialize;
use serde_json::{Value, json};

use super::parameters::{Id, Parameters, wrong};
use super::{Problem, profiles};
use crate::access::{self, Place};
use crate::app::App;
use crate::engines;
use crate::erasure::{self, GRACE, Proof};

/// Records of a page where no number is asked for.
const RECORDS: usize = 1_000;
/// The most records of a page.
const RECORDS_MAX: usize = 10_000;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/users/{id}", delete(erase)).route("/v1/users/{id}/data", get(data))
}

/// An erasure as it is answered.
#[derive(Debug, Serialize)]
struct View {
    state: &'static str,
    asked_at: String,
    /// From when on no event names the person.
    quiet_at: String,
    /// When the secrets of the erasure are thrown away, at the earliest.
    settles_at: String,
    proof: Option<Proof>,
    traces_left: Vec<TraceLeft>,
}

/// What still leads to the person, and until when.
#[derive(Debug, Serialize)]
struct TraceLeft {
    place: &'static str,
    what: &'static str,
    /// RFC 3339; `None` where no time can be told.
    until: Option<String>,
}

fn person(app: &App, tenant: TenantId, user_id: &str) -> Result<Pseudonym, Problem> {
    valid_name(user_id).map_err(|error| wrong("id", &error))?;
    Ok(app.edge.secrets.pseudonyms.pseudonym(tenant, user_id))
}

fn digits(person: Pseudonym) -> String {
    format!("{:032x}", person.0)
}

async fn erase(
    State(app): State<Arc<App>>,
    Id(user_id): Id,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let tenant = app.gate.require(&headers, Scopes::MANAGE).await?.tenant();
    let person = person(&app, tenant, &user_id)?;
    let tombstone = erasure::erase(&app, tenant, person).await.map_err(|error| {
        Problem::unavailable(format!(
            "what is noted by now goes on by itself, ask again for the proof: {error:#}"
        ))
    })?;
    let mut answer = json!({ "user_id": user_id, "pseudonym": digits(person) });
    let view = serde_json::to_value(view(&app, &tombstone)?).map_err(broken)?;
    if let (Value::Object(answer), Value::Object(view)) = (&mut answer, view) {
        answer.extend(view);
    }
    Ok(Json(answer))
}

fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::internal(error.to_string())
}

fn view(app: &App, stone: &Tombstone) -> Result<View, Problem> {
    let proof = stone.proof.as_deref().map(serde_json::from_str).transpose().map_err(broken)?;
    Ok(View {
        state: stone.state().as_str(),
        asked_at: stone.asked_at.to_string(),
        quiet_at: stone.quiet_at.to_string(),
        settles_at: stone.quiet_at.plus(GRACE).to_string(),
        traces_left: traces_left(app, stone, proof.as_ref()),
        proof,
    })
}

fn traces_left(app: &App, stone: &Tombstone, proof: Option<&Proof>) -> Vec<TraceLeft> {
    let log = app.log();
    let in_log =
        |proof: &Proof| proof.log.iter().any(|span| log.range(span.partition).start < span.to);
    let now = app.edge.clock.now();
    let policy = engines::count_policy(&app.config);
    let mut left = Vec::new();
    let mut add = |place, what, until: Option<Timestamp>| {
        if until.is_none_or(|until| now < until) {
            left.push(TraceLeft { place, what, until: until.map(|until| until.to_string()) });
        }
    };
    if proof.is_none_or(in_log) {
        add("log", "records, until their segments are retired", None);
    }
    let counted = stone.quiet_at.plus(policy.opaque_horizon.max(policy.rules_horizon));
    add("counter", "hashes of event ids, and the clicks of open minutes", Some(counted));
    if stone.state() != ErasureState::Settled {
        let settles = stone.quiet_at.plus(GRACE);
        add("books", "the key of the surrogate, for events that come late", Some(settles));
    }
    add("books", "the tombstone, so that nothing is computed again", None);
    add("model", "weights of hashed inputs, which fade as others are learned", None);
    left
}

/// Counters of a person as they are answered.
#[derive(Debug, Serialize)]
struct Features {
    impressions_hour: f32,
    clicks_hour: f32,
    impressions_week: f32,
    clicks_week: f32,
    last_event: String,
    last_click: Option<String>,
}

impl Features {
    fn of(counters: &Counters) -> Self {
        let clicked = Some(counters.clicked).filter(|&at| at > Timestamp::MIN);
        Features {
            impressions_hour: counters.fast.impressions,
            clicks_hour: counters.fast.clicks,
            impressions_week: counters.slow.impressions,
            clicks_week: counters.slow.clicks,
            last_event: counters.at.to_string(),
            last_click: clicked.map(|at| at.to_string()),
        }
    }
}

async fn data(
    State(app): State<Arc<App>>,
    Id(user_id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let tenant = app.gate.require(&headers, Scopes::MANAGE).await?.tenant();
    let person = person(&app, tenant, &user_id)?;
    let (after, limit) = page(uri.query())?;
    let tombstone = app.books.tombstone(tenant, person).await?;
    let unavailable = |error: anyhow::Error| Problem::unavailable(format!("{error:#}"));
    let mut records =
        access::records_of(&app, tenant, person, after, limit + 1).await.map_err(unavailable)?;
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|(place, _)| place.to_string());
    let records: Vec<Value> = records.into_iter().map(|(_, record)| record).collect();
    Ok(Json(json!({
        "user_id": user_id,
        "pseudonym": digits(person),
        "erasure": tombstone.map(|stone| view(&app, &stone)).transpose()?,
        "profile": app.books.person(tenant, person).await?.map(profiles::View::from),
        "features": features(&app, tenant, person).await?,
        "records": records,
        "next": next,
    })))
}

async fn features(
    app: &App,
    tenant: TenantId,
    person: Pseudonym,
) -> Result<Option<Features>, Problem> {
    if app.edge.erased.is_erased(tenant, person) {
        return Ok(None);
    }
    let read = app.features.read(&[erasure::entity(tenant, person)]).await;
    let read = read.map_err(|error| Problem::unavailable(error.to_string()))?;
    let now = app.edge.clock.now();
    Ok(read.counters[0].map(|counters| Features::of(&counters.seen_at(now))))
}

fn page(query: Option<&str>) -> Result<(Option<Place>, usize), Problem> {
    let parameters = Parameters::read(query, &["after", "limit"])?;
    let limit = parameters.parse("limit", "a whole number")?.unwrap_or(RECORDS);
    if !(1..=RECORDS_MAX).contains(&limit) {
        return Err(Problem::unprocessable(format!("limit: give 1 to {RECORDS_MAX}")));
    }
    let after = parameters.parse("after", "a `next` of this list, such as 3-1072")?;
    Ok((after, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_by_its_last_place() {
        let (after, limit) = page(Some("after=3-1072&limit=5")).expect("a page");
        assert_eq!((after.map(|place| place.to_string()), limit), (Some("3-1072".to_owned()), 5));
        assert_eq!(page(None).expect("a page").1, RECORDS);
        for wrong in ["after=3", "after=x-1", "limit=0", "limit=10001", "limit=x", "size=3"] {
            assert!(page(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
