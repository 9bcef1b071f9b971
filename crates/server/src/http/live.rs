//! `GET /v1/live`: what was counted each second, as server-sent events.
//!
//! Once a second a stream tells the seconds that have passed since it told the last, up to one second
//! ago, because an event is visible within a second. An event that is older than that by its own
//! time is in `/v1/metrics`, not here. Browsers cannot set headers on an `EventSource`, so here, and
//! only here, a key may come as the parameter `access_token`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use http_body_util::channel::{Channel, Sender};
use reckon_books::Scopes;
use reckon_event::{Currency, Micros, TenantId, Timestamp, name_key};
use reckon_rollup::{Counts, Filter, Granularity, Keys, Query, Row};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;

use super::Problem;
use super::metrics::columns::Column;
use super::parameters::Parameters;
use crate::app::App;

/// Streams open at once.
const STREAMS_MAX: usize = 1_000;
/// How often a stream tells something.
const EVERY: Duration = Duration::from_secs(1);
/// A client that takes nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events that wait for a slow client.
const WAITING_MAX: usize = 4;
/// The most a stream catches up, in microseconds.
const CATCH_UP_MAX: i64 = Timestamp::HOUR / 2;

/// The places of streams.
#[derive(Clone)]
struct Places(Arc<Semaphore>);

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/live", get(live))
        .layer(Extension(Places(Arc::new(Semaphore::new(STREAMS_MAX)))))
}

async fn live(
    State(app): State<Arc<App>>,
    Extension(places): Extension<Places>,
    uri: Uri,
    mut headers: HeaderMap,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(uri.query(), &["ad_id", "access_token"])?;
    if let Some(secret) = parameters.text("access_token")
        && !headers.contains_key(header::AUTHORIZATION)
    {
        headers.insert(header::AUTHORIZATION, bearer(secret)?);
    }
    let tenant = app.gate.require(&headers, Scopes::READ).await?.tenant();
    let place = places.0.try_acquire_owned().map_err(|_| {
        Problem::unavailable(format!("{STREAMS_MAX} streams are open, which is the most"))
    })?;
    let ad = parameters.name("ad_id")?.map(name_key);
    let (sender, body) = Channel::new(WAITING_MAX);
    let watched = Watched { tenant, ad, headers };
    tokio::spawn(run(app, watched, sender, place));
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn bearer(secret: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(&format!("Bearer {secret}"))
        .map_err(|_| Problem::unauthenticated("access_token is not readable text"))
}

/// What a stream tells of, and by whose leave.
struct Watched {
    tenant: TenantId,
    ad: Option<u64>,
    headers: HeaderMap,
}

/// Tells until the client leaves, its key is revoked, or the server stops.
async fn run(
    app: Arc<App>,
    watched: Watched,
    mut sender: Sender<Bytes>,
    _place: OwnedSemaphorePermit,
) {
    let mut stopping = app.stopping.subscribe();
    tokio::select! {
        () = tell(&app, &watched, &mut sender) => {}
        _ = stopping.wait_for(|&stopping| stopping) => {}
    }
}

async fn tell(app: &App, watched: &Watched, sender: &mut Sender<Bytes>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told = whole(app.edge.clock.now()).plus(-Timestamp::SECOND);
    loop {
        every.tick().await;
        if is_revoked(app, &watched.headers).await {
            return;
        }
        let to = whole(app.edge.clock.now());
        // The clock has stood still, or stepped back: the stream shows that it is alive.
        let mut text = ":\n\n".to_owned();
        if to > told {
            let from = told.max(to.plus(-CATCH_UP_MAX));
            let Some(event) = event(app, watched, from, to).await else { return };
            text = format!("data: {event}\n\n");
            told = to;
        }
        let sent = tokio::time::timeout(PATIENCE, sender.send_data(Bytes::from(text))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// The end of the last second that has been counted whole.
fn whole(now: Timestamp) -> Timestamp {
    now.plus(-Timestamp::SECOND).floor(Timestamp::SECOND)
}

/// Books that do not answer revoke nothing.
async fn is_revoked(app: &App, headers: &HeaderMap) -> bool {
    match app.gate.identify(headers).await {
        Ok(_) => false,
        Err(problem) => problem.status == StatusCode::UNAUTHORIZED,
    }
}

/// One event as JSON; `None` where the rollup cannot answer, which ends the stream.
async fn event(app: &App, watched: &Watched, from: Timestamp, to: Timestamp) -> Option<Value> {
    let filter = Filter { ad: watched.ad, ..Filter::default() };
    let query = Query { filter, ..Query::new(watched.tenant, from, to, Granularity::Second) };
    let rollup = Arc::clone(&app.rollup);
    let answer = tokio::task::spawn_blocking(move || rollup.query(&query)).await.ok()?.ok()?;
    let sum = sum(&answer.rows);
    let mut event = Map::new();
    event.insert("at".to_owned(), from.to_string().into());
    event.insert("until".to_owned(), to.to_string().into());
    for column in Column::USUAL {
        event.insert(column.name().to_owned(), column.value(&sum));
    }
    Some(Value::Object(event))
}

fn sum(rows: &[Row]) -> Row {
    let mut counts = Counts::default();
    let mut spend: BTreeMap<Currency, Micros> = BTreeMap::new();
    for row in rows {
        counts.add(&row.counts);
        for &(currency, micros) in &row.spend {
            *spend.entry(currency).or_default() += micros;
        }
    }
    Row { bucket: None, keys: Keys::default(), counts, spend: spend.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_seconds_that_ended_a_second_ago_are_whole() {
        let at = |micros| whole(Timestamp(micros)).0;
        assert_eq!(
            [at(5_000_000), at(5_999_999), at(6_000_000)],
            [4_000_000, 4_000_000, 5_000_000]
        );
    }

    #[test]
    fn seconds_are_summed_by_currency() {
        let row = |clicks, spend: &[(Currency, Micros)]| Row {
            bucket: None,
            keys: Keys::default(),
            counts: Counts { clicks, ..Counts::default() },
            spend: spend.to_vec().into(),
        };
        let total = sum(&[
            row(1, &[(Currency::USD, 5)]),
            row(2, &[(Currency::EUR, 7), (Currency::USD, 1)]),
            row(0, &[]),
        ]);
        assert_eq!(total, row(3, &[(Currency::EUR, 7), (Currency::USD, 6)]));
    }
}
