//! `POST /v1/ads/serve`: which ads to show, by probability of a click times price, each with the URLs
//! that its impression, view and click are told at.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::routing::post;
use axum::{Json, Router};
use reckon_books::Scopes;
use reckon_event::valid_name;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::door::{stamp, visitor};
use super::{Peer, Problem, body, parse_json};
use crate::app::App;
use crate::catalog::Audience;
use crate::edge::{self, Asker, Said, ServedAd, device_of};

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
    consent: Said,
    #[serde(default)]
    request_id: Option<String>,
}

fn one() -> usize {
    1
}

/// The answer.
#[derive(Debug, Serialize)]
struct Served {
    ads: Vec<Shown>,
    model_version: String,
    degraded: bool,
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
    /// Calibrated, at place 1.
    p_click: f32,
    /// Calibrated, at the place it is served at.
    p_click_here: f32,
    propensity: f32,
    explored: bool,
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
    let region = asked.context.dimension(&["region", "geo"])?.unwrap_or_default();
    let device = asked.context.dimension(&["device_type", "device"])?;
    let device = device.unwrap_or_else(|| device_of(visitor.agent));
    let audience = Audience { placement: &asked.placement, region, device };
    let context = asked.context.values()?;
    let asker = Asker {
        tenant: holder.tenant(),
        user_id: asked.user_id.as_deref().unwrap_or_default(),
        context: &context,
        audience,
        consent: asked.consent.0,
    };
    let offers = edge::eligible(&app.edge, asker.tenant, audience);
    let scored = edge::score(&app.edge, &visitor, &asker, &offers).await;
    let served = edge::serve(&app.edge, &visitor, &asker, &offers, &scored, asked.count);
    let base = base_url(&app, &head.headers);
    let ads =
        served.iter().map(|one| shown(one, &offers[one.index], &scored, &base, audience)).collect();
    let answer = Served {
        ads,
        model_version: model_version(&scored),
        degraded: scored.scores.degraded,
        request_id: asked.request_id.clone().unwrap_or_else(new_request_id),
    };
    let mut headers = HeaderMap::new();
    stamp(&app, visitor.received, &mut headers);
    Ok((headers, Json(answer)))
}

/// A request's id where the client gave none.
pub fn new_request_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// The name of the model that scored.
pub fn model_version(scored: &edge::Scored) -> String {
    super::models::version_name(scored.scores.online.version)
}

fn check(asked: &Asked) -> Result<(), Problem> {
    let wrong = |field: &str, error: &dyn std::fmt::Display| {
        Problem::unprocessable(format!("{field}: {error}"))
    };
    if !(1..=COUNT_MAX).contains(&asked.count) {
        return Err(wrong("count", &format!("must be 1 to {COUNT_MAX}")));
    }
    let optional = [("user_id", &asked.user_id), ("request_id", &asked.request_id)];
    valid_name(&asked.placement).map_err(|error| wrong("placement", &error))?;
    for (field, text) in optional {
        if let Some(text) = text {
            valid_name(text).map_err(|error| wrong(field, &error))?;
        }
    }
    Ok(())
}

/// The address users reach this server at.
pub fn base_url(app: &App, headers: &HeaderMap) -> String {
    let configured = app.config.server.public_url.trim_end_matches('/');
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let host =
        headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}")
}

fn shown(
    served: &ServedAd,
    (ad, campaign): &edge::Offer,
    scored: &edge::Scored,
    base: &str,
    audience: Audience<'_>,
) -> Shown {
    let token = served.token.as_str();
    let position = served.position;
    let tail = hints(audience);
    Shown {
        ad_id: ad.ad_id.to_string(),
        campaign_id: campaign.campaign_id.to_string(),
        position,
        creative: Creative {
            size: ad.creative_size.as_deref().map(str::to_owned),
            category: ad.category.as_deref().map(str::to_owned),
        },
        impression: token.to_owned(),
        impression_url: format!("{base}/v1/impression?imp={token}&pos={position}{tail}"),
        view_url: format!("{base}/v1/view?imp={token}&pos={position}{tail}"),
        click_url: click_url(base, &ad.ad_id, token, audience),
        p_click: scored.scores.candidates[served.index].probability,
        p_click_here: scored.scores.probability_at(served.index, position),
        propensity: served.propensity,
        explored: served.explored,
    }
}

/// Where a click on an ad is told, and answered with its redirect.
pub fn click_url(base: &str, ad_id: &str, token: &str, audience: Audience<'_>) -> String {
    let ad_id: String = url::form_urlencoded::byte_serialize(ad_id.as_bytes()).collect();
    format!("{base}/click?adId={ad_id}&imp={token}{}", hints(audience))
}

/// What the counts are to know of the moment, as the rest of a URL's query.
fn hints(audience: Audience<'_>) -> String {
    let mut hints = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in
        [("pl", audience.placement), ("rg", audience.region), ("dv", audience.device)]
    {
        if !value.is_empty() {
            hints.append_pair(name, value);
        }
    }
    let hints = hints.finish();
    if hints.is_empty() { hints } else { format!("&{hints}") }
}
