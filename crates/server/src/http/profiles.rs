//! `POST /v1/users` and `GET /v1/users/{id}`: what persons say of themselves, for predictions.
//!
//! A write goes to the books first, durably, and then to the persons in memory that predictions read,
//! both in one turn ([`crate::persons::Persons::writing`]). Answers to writes name nobody: with an
//! idempotency key they are kept for a day, and ids of persons are kept nowhere.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use reckon_books::{BATCH_ITEMS_MAX, Person, Scopes};
use reckon_event::{TenantId, Timestamp, valid_name};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::catalog::{check_count, some_refused};
use super::parameters::{Id, wrong};
use super::{Problem, body, parse_json};
use crate::app::App;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/users", post(set)).route("/v1/users/{id}", get(read))
}

/// A person as posted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    user_id: String,
    #[serde(default)]
    locale: Option<String>,
    #[serde(default)]
    interests: Vec<String>,
}

/// A person as answered.
#[derive(Debug, Serialize)]
pub struct View {
    locale: Option<String>,
    interests: Vec<String>,
    updated_at: String,
}

impl From<Person> for View {
    fn from(person: Person) -> Self {
        View {
            locale: person.locale,
            interests: person.interests,
            updated_at: person.updated_at.to_string(),
        }
    }
}

async fn set(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, Problem> {
    let (head, body) = request.into_parts();
    let tenant = app.gate.require(&head.headers, Scopes::MANAGE).await?.tenant();
    let bytes = body::read(&head.headers, body, &app.body_limits).await?;
    let (items, is_lone) = items(&bytes)?;
    let now = app.edge.clock.now();
    let (mut persons, mut places, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        match draft(item).and_then(|draft| checked(&app, tenant, draft, now)) {
            Ok(person) => {
                persons.push(person);
                places.push(index);
            }
            Err(problem) if is_lone => return Err(problem),
            Err(problem) => errors.push((index, problem)),
        }
    }
    // Whoever asked may hang up: what is in the books comes into memory all the same.
    let written = tokio::spawn(write(Arc::clone(&app), tenant, persons)).await;
    let outcomes = written.map_err(|error| Problem::internal(error.to_string()))??;
    for (index, outcome) in places.into_iter().zip(outcomes) {
        match outcome {
            Err(error) if is_lone => return Err(error.into()),
            Err(error) => errors.push((index, error.into())),
            Ok(()) => {}
        }
    }
    if !errors.is_empty() {
        return Err(some_refused("users", items.len(), errors));
    }
    Ok(Json(json!({ "users": items.len() })))
}

/// The items of a list, of lines, or the one that stands alone.
fn items(bytes: &Bytes) -> Result<(Vec<Box<RawValue>>, bool), Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let items: Vec<Box<RawValue>> = parse_json(bytes)?;
        check_count(items.len())?;
        return Ok((items, false));
    }
    let mut items = Vec::new();
    let lines = serde_json::Deserializer::from_slice(bytes).into_iter::<Box<RawValue>>();
    for item in lines.take(BATCH_ITEMS_MAX + 1) {
        items.push(item.map_err(|error| Problem::malformed(format!("body: {error}")))?);
    }
    check_count(items.len())?;
    let is_lone = items.len() == 1;
    Ok((items, is_lone))
}

fn draft(item: &RawValue) -> Result<Draft, Problem> {
    parse_json(item.get().as_bytes())
}

fn checked(app: &App, tenant: TenantId, draft: Draft, now: Timestamp) -> Result<Person, Problem> {
    valid_name(&draft.user_id)
        .map_err(|error| Problem::unprocessable(format!("user_id: {error}")))?;
    Ok(Person {
        person: app.edge.secrets.pseudonyms.pseudonym(tenant, &draft.user_id),
        locale: draft.locale,
        interests: draft.interests,
        updated_at: now,
    })
}

/// Books first, then memory; one writer at a time.
async fn write(
    app: Arc<App>,
    tenant: TenantId,
    persons: Vec<Person>,
) -> Result<Vec<Result<(), reckon_books::Error>>, Problem> {
    if persons.is_empty() {
        return Ok(Vec::new());
    }
    let known = &app.edge.persons;
    let turn = known.writing.lock().await;
    if !known.has_room(tenant, &persons) {
        return Err(Problem::unprocessable(format!(
            "body: more persons than the {} that are kept: raise feature.persons_max",
            known.count_max()
        )));
    }
    let outcomes = app.books.set_persons(tenant, persons.clone()).await?;
    let set = persons.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
    known.put(tenant, set.map(|(person, _)| person));
    drop(turn);
    Ok(outcomes)
}

async fn read(
    State(app): State<Arc<App>>,
    Id(user_id): Id,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let tenant = app.gate.require(&headers, Scopes::MANAGE).await?.tenant();
    valid_name(&user_id).map_err(|error| wrong("id", &error))?;
    let person = app.edge.secrets.pseudonyms.pseudonym(tenant, &user_id);
    let Some(person) = app.books.person(tenant, person).await? else {
        return Err(Problem::not_found("nothing is known of this user; POST /v1/users sets it"));
    };
    let View { locale, interests, updated_at } = person.into();
    Ok(Json(json!({
        "user_id": user_id, "locale": locale, "interests": interests, "updated_at": updated_at,
    })))
}
