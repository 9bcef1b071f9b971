//! `POST /v1/ads/serve`: which ads to show, each with the URLs that its impression, view and click
//! are told at.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::routing::post;
use axum::{Json, Router};
use reckon_books::Scopes;
use reckon_event::valid_name;
use serde::{Deserialize, Serialize};

use super::door::{stamp, visitor};
use super::{Peer, Problem, body, parse_json};
use crate::app::App;
use crate::catalog::Audience;
use crate::edge::{self, AdRequest, Consent, ServedAd, device_of};

/// The most ads of one request.
const COUNT_MAX: usize = 100;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/ads/serve", post(serve))
}

/// An ad request as a page's server sends it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    placement: String,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    context: Context,
    #[serde(default = "one")]
    count: usize,
    #[serde(default)]
    consent: Consent,
    #[serde(default)]
    request_id: Option<String>,
}

fn one() -> usize {
    1
}

/// What is known of the page and its reader; more may stand in it than is used.
#[derive(Debug, Default, Deserialize)]
struct Context {
    #[serde(default)]
    geo: Option<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    device_type: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Served {
    ads: Vec<Shown>,
    request_id: String,
}

/// One ad to show.
#[derive(Debug, Serialize)]
struct Shown {
    ad_id: String,
    campaign_id: String,
    position: u16,
    creative: Creative,
    impression: String,
    impression_url: String,
    view_url: String,
    click_url: String,
}

/// What is to be drawn.
#[derive(Debug, Serialize)]
struct Creative {
    size: Option<String>,
    category: Option<String>,
}

async fn serve(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Result<(HeaderMap, Json<Served>), Problem> {
    let (head, body) = request.into_parts();
    let holder = app.gate.require(&head.headers, Scopes::PREDICT).await?;
    let bytes = body::read(&head.headers, body, &app.body_limits).await?;
    let asked: Asked = parse_json(&bytes)?;
    check(&asked)?;
    let visitor = visitor(&app, &head.headers, &Method::GET, peer);
    let region =
        asked.context.region.as_deref().or(asked.context.geo.as_deref()).unwrap_or_default();
    let device = asked.context.device_type.as_deref().or(asked.context.device.as_deref());
    let device = device.unwrap_or_else(|| device_of(visitor.agent));
    let audience = Audience { placement: &asked.placement, region, device };
    let request = AdRequest {
        tenant: holder.tenant(),
        user_id: asked.user_id.as_deref().unwrap_or_default(),
        audience,
        count: asked.count,
        consent: asked.consent.0,
    };
    let base = base_url(&app, &head.headers);
    let ads = edge::serve(&app.edge, &visitor, &request);
    let ads = ads.iter().map(|served| shown(served, &base, audience)).collect();
    let request_id = asked.request_id.unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()));
    let mut headers = HeaderMap::new();
    stamp(&app, visitor.received, &mut headers);
    Ok((headers, Json(Served { ads, request_id })))
}

fn check(asked: &Asked) -> Result<(), Problem> {
    let wrong = |field: &str, error: &dyn std::fmt::Display| {
        Problem::unprocessable(format!("{field}: {error}"))
    };
    if !(1..=COUNT_MAX).contains(&asked.count) {
        return Err(wrong("count", &format!("must be 1 to {COUNT_MAX}")));
    }
    let optional = [
        ("user_id", &asked.user_id),
        ("context.geo", &asked.context.geo),
        ("context.region", &asked.context.region),
        ("context.device", &asked.context.device),
        ("context.device_type", &asked.context.device_type),
        ("request_id", &asked.request_id),
    ];
    valid_name(&asked.placement).map_err(|error| wrong("placement", &error))?;
    for (field, text) in optional {
        if let Some(text) = text {
            valid_name(text).map_err(|error| wrong(field, &error))?;
        }
    }
    Ok(())
}

/// The address users reach this server at.
fn base_url(app: &App, headers: &HeaderMap) -> String {
    let configured = app.config.server.public_url.trim_end_matches('/');
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let host =
        headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}")
}

fn shown(served: &ServedAd, base: &str, audience: Audience<'_>) -> Shown {
    let token = served.token.as_str();
    let mut hints = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in
        [("pl", audience.placement), ("rg", audience.region), ("dv", audience.device)]
    {
        if !value.is_empty() {
            hints.append_pair(name, value);
        }
    }
    let hints = hints.finish();
    let tail = if hints.is_empty() { String::new() } else { format!("&{hints}") };
    let ad_id: String = url::form_urlencoded::byte_serialize(served.ad.ad_id.as_bytes()).collect();
    let position = served.position;
    Shown {
        ad_id: served.ad.ad_id.to_string(),
        campaign_id: served.campaign.campaign_id.to_string(),
        position,
        creative: Creative {
            size: served.ad.creative_size.as_deref().map(str::to_owned),
            category: served.ad.category.as_deref().map(str::to_owned),
        },
        impression: token.to_owned(),
        impression_url: format!("{base}/v1/impression?imp={token}&pos={position}{tail}"),
        view_url: format!("{base}/v1/view?imp={token}&pos={position}{tail}"),
        click_url: format!("{base}/click?adId={ad_id}&imp={token}{tail}"),
    }
}
