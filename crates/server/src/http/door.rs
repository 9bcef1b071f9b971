//! The doors that everyone may use, answered before any routing: `/click` and the two pixels.
//!
//! They carry most of the traffic, so they touch the catalog, the log and nothing else. Everything
//! else goes to the router.

use std::net::IpAddr;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use reckon_event::{Kind, Timestamp};

use super::problem::Problem;
use crate::app::App;
use crate::edge::{self, Query, Redirect, Visitor};

/// Says that the answer does not acknowledge the event.
pub const DEGRADED: HeaderName = HeaderName::from_static("reckon-degraded");

/// When the server received the request, as it stands on the record; where the clock is scaled only.
pub const RECEIVED: HeaderName = HeaderName::from_static("reckon-received");

/// How the server's clock runs, in the words of `--clock`; where it is scaled only.
pub const CLOCK: HeaderName = HeaderName::from_static("reckon-clock");

/// A transparent GIF of one pixel.
const PIXEL: &[u8] = &[
    0x47, 0x49, 0x46, 0x38, 0x39, 0x61, 0x01, 0x00, 0x01, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x21, 0xf9, 0x04, 0x01, 0x00, 0x00, 0x00, 0x00, 0x2c, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x01, 0x00, 0x00, 0x02, 0x02, 0x44, 0x01, 0x00, 0x3b,
];

/// Which door a path is; `None` goes to the router.
pub fn door(path: &str) -> Option<Kind> {
    match path {
        "/click" => Some(Kind::Click),
        "/v1/impression" => Some(Kind::Impression),
        "/v1/view" => Some(Kind::View),
        _ => None,
    }
}

/// Answers a request at a door.
pub async fn answer(
    app: &App,
    kind: Kind,
    request: &Parts,
    peer: IpAddr,
) -> Result<Response, Problem> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only GET is counted here"));
    }
    let visitor = visitor(app, &request.headers, &request.method, peer);
    let region = region(app, &request.headers);
    let mut query = Query::parse(request.uri.query().unwrap_or_default());
    if query.region.is_empty() {
        query.region = region.into();
    }
    match kind {
        Kind::Click => click(app, &visitor, &query).await,
        kind => {
            let logged = edge::pixel(&app.edge, kind, &visitor, &query).await;
            Ok(pixel(app, &visitor, logged))
        }
    }
}

async fn click(app: &App, visitor: &Visitor<'_>, query: &Query<'_>) -> Result<Response, Problem> {
    let landing = edge::click(&app.edge, visitor, query).await;
    let Redirect::To(url) = landing.redirect else {
        let detail = "adId: no such ad is registered, and imp holds no valid token";
        let mut headers = HeaderMap::new();
        finish(app, visitor, &mut headers, landing.logged);
        return Err(Problem { headers: Some(Box::new(headers)), ..Problem::not_found(detail) });
    };
    let location = HeaderValue::try_from(url)
        .map_err(|_| Problem::internal("the registered URL cannot stand in a header"))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    finish(app, visitor, headers, landing.logged);
    Ok(response)
}

fn pixel(app: &App, visitor: &Visitor<'_>, logged: bool) -> Response {
    let mut response = Response::new(Body::from(Bytes::from_static(PIXEL)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/gif"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    finish(app, visitor, headers, logged);
    response
}

fn finish(app: &App, visitor: &Visitor<'_>, headers: &mut HeaderMap, logged: bool) {
    stamp(app, visitor.received, headers);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !logged {
        headers.insert(DEGRADED, HeaderValue::from_static("unlogged"));
    }
}

/// Tells when the server received a request, where its clock is scaled: who watches the wall cannot
/// know in which second or hour of such a clock an event has fallen.
pub fn stamp(app: &App, received: Timestamp, headers: &mut HeaderMap) {
    let factor = app.edge.clock.factor();
    if factor == 1 {
        return;
    }
    for (name, text) in [(RECEIVED, format!("{received:.6}")), (CLOCK, format!("scaled:{factor}"))]
    {
        headers.insert(name, HeaderValue::try_from(text).expect("times and numbers are ASCII"));
    }
}

/// Who asks. The receive time is taken here, before anything can delay it.
pub fn visitor<'a>(
    app: &App,
    headers: &'a HeaderMap,
    method: &Method,
    peer: IpAddr,
) -> Visitor<'a> {
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Visitor {
        received: app.edge.clock.now(),
        address: Some(client_address(app, headers).unwrap_or(peer)),
        agent: text("user-agent"),
        is_get: *method != Method::HEAD,
        is_prefetch: ["sec-purpose", "purpose", "x-moz"]
            .iter()
            .any(|name| text(name).contains("prefetch")),
    }
}

/// The address a trusted proxy tells; the last one of a list is the one it saw itself.
fn client_address(app: &App, headers: &HeaderMap) -> Option<IpAddr> {
    let name = app.config.server.client_ip_header.as_str();
    if name.is_empty() {
        return None;
    }
    headers.get(name)?.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

fn region<'a>(app: &App, headers: &'a HeaderMap) -> &'a str {
    let name = app.config.server.region_header.as_str();
    if name.is_empty() {
        return "";
    }
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
