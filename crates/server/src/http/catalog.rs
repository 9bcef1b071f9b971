//! `/v1/advertisers`, `/v1/campaigns`, `/v1/ads`: the catalog, written by people and their tools.
//!
//! A write goes to the books first, durably, and then to the catalog in memory that redirects read.
//! Both happen in one turn ([`crate::catalog::Catalog::writing`]), so the two never disagree on which
//! of two writes was the later one.

mod destination;
mod resource;
mod wire;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use reckon_books::{Ad, Advertiser, BATCH_ITEMS_MAX, Campaign, Outcome, Scopes};
use reckon_event::{TenantId, Timestamp};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::resource::{Resource, Written};
use super::parameters::{Id, Paging, Parameters};
use super::replay::MadeId;
use super::{Problem, body, parse_json};
use crate::app::App;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .merge(routes_of::<Advertiser>())
        .merge(routes_of::<Campaign>())
        .merge(routes_of::<Ad>())
}

fn routes_of<R: Resource>() -> Router<Arc<App>> {
    let many = format!("/v1/{}", R::PLURAL);
    let one = format!("{many}/{{id}}");
    Router::new()
        .route(&many, get(list::<R>).post(create::<R>))
        .route(&one, get(read::<R>).patch(change::<R>))
}

async fn create<R: Resource>(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let holder = app.gate.require(&head.headers, Scopes::MANAGE).await?;
    let bytes = body::read(&head.headers, body, &app.body_limits).await?;
    let made = MadeId::new(R::MADE, holder.tenant(), &head.headers);
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        create_many::<R>(&app, holder.tenant(), &made, &bytes).await
    } else {
        create_one::<R>(&app, holder.tenant(), &made, &bytes).await
    }
}

async fn create_one<R: Resource>(
    app: &App,
    tenant: TenantId,
    made: &MadeId,
    bytes: &Bytes,
) -> Result<Response, Problem> {
    let thing = R::check(parse_json(bytes)?, made.id(0), app.edge.clock.now())?;
    let mut outcomes = write(app, tenant, vec![thing]).await?;
    let created = outcomes.pop().expect("one outcome an item")?;
    let status = if created.is_new() { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(R::View::from(created.into_inner()))).into_response())
}

/// Each item stands for itself: what is acceptable is kept, also where others are not.
async fn create_many<R: Resource>(
    app: &App,
    tenant: TenantId,
    made: &MadeId,
    bytes: &Bytes,
) -> Result<Response, Problem> {
    let items: Vec<Box<RawValue>> = parse_json(bytes)?;
    check_count(items.len())?;
    let now = app.edge.clock.now();
    let mut things = Vec::with_capacity(items.len());
    let mut places = Vec::with_capacity(items.len());
    let mut errors = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match check_item::<R>(item, made.id(index), now) {
            Ok(thing) => {
                things.push(thing);
                places.push(index);
            }
            Err(problem) => errors.push((index, problem)),
        }
    }
    let outcomes = write(app, tenant, things).await?;
    let mut views = Vec::with_capacity(outcomes.len());
    let mut new = 0;
    for (index, outcome) in places.into_iter().zip(outcomes) {
        match outcome {
            Ok(created) => {
                new += usize::from(created.is_new());
                views.push(R::View::from(created.into_inner()));
            }
            Err(error) => errors.push((index, Problem::from(error))),
        }
    }
    if !errors.is_empty() {
        return Err(some_refused(R::PLURAL, items.len(), errors));
    }
    let status = if new == views.len() { StatusCode::CREATED } else { StatusCode::OK };
    let existing = views.len() - new;
    let answer = json!({R::PLURAL: views, "created": new, "existing": existing});
    Ok((status, Json(answer)).into_response())
}

pub(super) fn check_count(count: usize) -> Result<(), Problem> {
    if count == 0 {
        return Err(Problem::unprocessable("body: the list is empty"));
    }
    if count > BATCH_ITEMS_MAX {
        return Err(Problem::too_large(format!(
            "body: the list holds {count} items; at most {BATCH_ITEMS_MAX} are taken at once"
        )));
    }
    Ok(())
}

fn check_item<R: Resource>(item: &RawValue, made_id: String, now: Timestamp) -> Result<R, Problem> {
    R::check(parse_json(item.get().as_bytes())?, made_id, now)
}

/// 409 where anything stands in the way, else 422; which item and why stands in `errors`.
pub(super) fn some_refused(
    plural: &str,
    count: usize,
    mut errors: Vec<(usize, Problem)>,
) -> Problem {
    errors.sort_by_key(|&(index, _)| index);
    let conflict = errors.iter().any(|(_, problem)| problem.status == StatusCode::CONFLICT);
    let status = if conflict { StatusCode::CONFLICT } else { StatusCode::UNPROCESSABLE_ENTITY };
    let detail = format!(
        "{} of {count} {plural} were refused, see errors; the others are registered",
        errors.len()
    );
    let errors = errors.into_iter().map(|(index, problem)| {
        json!({"index": index, "status": problem.status.as_u16(), "detail": problem.detail})
    });
    Problem { errors: errors.collect(), ..Problem::new(status, detail) }
}

/// Books first, then the edge; one writer at a time.
async fn write<R: Resource>(
    app: &App,
    tenant: TenantId,
    things: Vec<R>,
) -> Result<Vec<Outcome<R>>, Problem> {
    let turn = app.edge.catalog.writing.lock().await;
    let outcomes = R::create(app, tenant, things).await?;
    let written: Vec<Written<'_, R>> = outcomes.iter().filter_map(Written::of).collect();
    R::publish(app, tenant, &written).await?;
    drop(turn);
    Ok(outcomes)
}

async fn change<R: Resource>(
    State(app): State<Arc<App>>,
    Id(id): Id,
    request: Request,
) -> Result<Json<R::View>, Problem> {
    let (head, body) = request.into_parts();
    let tenant = app.gate.require(&head.headers, Scopes::MANAGE).await?.tenant();
    let bytes = body::read(&head.headers, body, &app.body_limits).await?;
    let change = parse_json(&bytes)?;
    let turn = app.edge.catalog.writing.lock().await;
    let thing = R::change(&app, tenant, &id, change).await?;
    R::publish(&app, tenant, &[Written::Changed(&thing)]).await?;
    drop(turn);
    Ok(Json(thing.into()))
}

async fn read<R: Resource>(
    State(app): State<Arc<App>>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Json<R::View>, Problem> {
    let tenant = app.gate.require(&headers, Scopes::READ).await?.tenant();
    Ok(Json(R::get(&app, tenant, &id).await?.into()))
}

async fn list<R: Resource>(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let tenant = app.gate.require(&headers, Scopes::READ).await?.tenant();
    let known: Vec<&str> = ["after", "limit"].into_iter().chain(R::PARENT).collect();
    let parameters = Parameters::read(uri.query(), &known)?;
    let paging = Paging::read(&parameters)?;
    let parent = R::PARENT.map(|name| parameters.name(name)).transpose()?.flatten();
    let things = R::list(&app, tenant, parent, paging.page()).await?;
    let next = match things.last() {
        Some(last) if things.len() == paging.limit as usize => {
            let more = R::list(&app, tenant, parent, Paging::probe(last.id())).await?;
            (!more.is_empty()).then(|| last.id().to_owned())
        }
        _ => None,
    };
    let views: Vec<R::View> = things.into_iter().map(Into::into).collect();
    Ok(Json(json!({R::PLURAL: views, "next": next})))
}
