//! `POST /api/predict`: how likely each of some ads is clicked by a user at a moment. An ad exchange
//! asks it in its auction path.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Extension, Request, State};
use axum::http::Method;
use axum::routing::post;
use axum::{Json, Router};
use reckon_books::Scopes;
use reckon_event::{Micros, valid_name};
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::door::visitor;
use super::serve::{base_url, click_url, model_version, new_request_id};
use super::{Peer, Problem, body, parse_json};
use crate::app::App;
use crate::catalog::Audience;
use crate::edge::{self, Asker, CANDIDATES_MAX, Offer, Said, Scored, ServedAd, device_of};

/// The longest deadline taken, in milliseconds.
const DEADLINE_MS_MAX: u64 = 60_000;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/predict", post(predict))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    user_id: Option<String>,
    ad_candidates: Vec<String>,
    #[serde(default)]
    context: Context,
    #[serde(default)]
    placement: Option<String>,
    /// Where each candidate is going to be shown, for the log.
    #[serde(default)]
    positions: Option<Vec<u16>>,
    /// With which probability the caller has chosen each candidate for its place, for the log.
    #[serde(default)]
    propensities: Option<Vec<f32>>,
    /// How many of the best get a token.
    #[serde(default = "mint_default")]
    mint: usize,
    #[serde(default)]
    deadline_ms: Option<u64>,
    #[serde(default)]
    consent: Said,
    #[serde(default)]
    request_id: Option<String>,
}

const fn mint_default() -> usize {
    10
}

#[derive(Debug, Serialize)]
struct Answer {
    predictions: Vec<Prediction>,
    unknown_ads: Vec<String>,
    model_version: String,
    latency_ms: f64,
    degraded: bool,
    confidence: f32,
    request_id: String,
}

#[derive(Debug, Serialize)]
struct Prediction {
    ad_id: Box<str>,
    p_click: f32,
    calibrated: bool,
    stage: u8,
    /// What an impression is worth: the price of a click times its probability.
    bid_micros: Micros,
    #[serde(skip_serializing_if = "Option::is_none")]
    propensity: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impression: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_url: Option<String>,
}

async fn predict(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let holder = app.gate.require(&head.headers, Scopes::PREDICT).await?;
    let bytes = body::read(&head.headers, body, &app.body_limits).await?;
    let asked: Asked = parse_json(&bytes)?;
    check(&asked)?;
    let visitor = visitor(&app, &head.headers, &Method::GET, peer);
    let context = asked.context.values()?;
    let device = asked.context.dimension(&["device_type", "device"])?;
    let audience = Audience {
        placement: asked.placement.as_deref().unwrap_or_default(),
        region: asked.context.dimension(&["region", "geo"])?.unwrap_or_default(),
        device: device.unwrap_or_else(|| device_of(visitor.agent)),
    };
    let asker = Asker {
        tenant: holder.tenant(),
        user_id: asked.user_id.as_deref().unwrap_or_default(),
        context: &context,
        audience,
        consent: asked.consent.0,
    };
    let Found { offers, places, unknown } = find(&app, &asker, &asked.ad_candidates);
    let scored = edge::score(&app.edge, &visitor, &asker, &offers).await;
    let told = |index: usize| {
        let place = places[index];
        let position = asked.positions.as_ref().map(|positions| positions[place]);
        (position, asked.propensities.as_ref().map(|propensities| propensities[place]))
    };
    let minted = edge::offer(&app.edge, &visitor, &asker, &offers, &scored, asked.mint, told);
    let base = base_url(&app, &head.headers);
    let mut predictions = predictions(&offers, &scored, &visitor);
    for (index, prediction) in predictions.iter_mut().enumerate() {
        prediction.propensity = told(index).1;
    }
    for ServedAd { index, token, .. } in &minted {
        let (prediction, (ad, _)) = (&mut predictions[*index], &offers[*index]);
        prediction.impression = Some(token.as_str().to_owned());
        prediction.click_url = Some(click_url(&base, &ad.ad_id, token.as_str(), audience));
    }
    Ok(Json(Answer {
        predictions,
        unknown_ads: unknown,
        model_version: model_version(&scored),
        latency_ms: (started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        degraded: scored.scores.degraded,
        confidence: scored.scores.confidence,
        request_id: asked.request_id.clone().unwrap_or_else(new_request_id),
    }))
}

/// The candidates that are registered, where each stood among those asked for, and the others.
struct Found {
    offers: Vec<Offer>,
    places: Vec<usize>,
    unknown: Vec<String>,
}

fn find(app: &App, asker: &Asker<'_>, ad_ids: &[String]) -> Found {
    let mut found =
        Found { offers: Vec::with_capacity(ad_ids.len()), places: Vec::new(), unknown: Vec::new() };
    let offers = app.edge.catalog.offers(asker.tenant, ad_ids.iter().map(String::as_str));
    for (place, offer) in offers.into_iter().enumerate() {
        match offer {
            Some(offer) => {
                found.offers.push(offer);
                found.places.push(place);
            }
            None => found.unknown.push(ad_ids[place].clone()),
        }
    }
    found
}

fn predictions(offers: &[Offer], scored: &Scored, visitor: &edge::Visitor<'_>) -> Vec<Prediction> {
    let scores = &scored.scores.candidates;
    offers
        .iter()
        .zip(scores)
        .map(|((ad, campaign), score)| Prediction {
            ad_id: ad.ad_id.clone(),
            p_click: score.probability,
            calibrated: true,
            stage: 1,
            bid_micros: (campaign.price_at(visitor.received) as f64 * f64::from(score.probability))
                .round() as Micros,
            propensity: None,
            impression: None,
            click_url: None,
        })
        .collect()
}

fn check(asked: &Asked) -> Result<(), Problem> {
    let wrong = |field: &str, error: &dyn std::fmt::Display| {
        Problem::unprocessable(format!("{field}: {error}"))
    };
    let count = asked.ad_candidates.len();
    if !(1..=CANDIDATES_MAX).contains(&count) {
        return Err(wrong(
            "ad_candidates",
            &format!("must hold 1 to {CANDIDATES_MAX} ids, not {count}"),
        ));
    }
    for (place, ad_id) in asked.ad_candidates.iter().enumerate() {
        valid_name(ad_id).map_err(|error| wrong(&format!("ad_candidates[{place}]"), &error))?;
    }
    let optional = [
        ("user_id", &asked.user_id),
        ("placement", &asked.placement),
        ("request_id", &asked.request_id),
    ];
    for (field, text) in optional {
        if let Some(text) = text {
            valid_name(text).map_err(|error| wrong(field, &error))?;
        }
    }
    if asked.mint > CANDIDATES_MAX {
        return Err(wrong("mint", &format!("must be 0 to {CANDIDATES_MAX}")));
    }
    if asked.deadline_ms.is_some_and(|deadline| !(1..=DEADLINE_MS_MAX).contains(&deadline)) {
        return Err(wrong("deadline_ms", &format!("must be 1 to {DEADLINE_MS_MAX}")));
    }
    if let Some(positions) = &asked.positions {
        check_each("positions", positions, count, |&position| position > 0, "1 to 65535")?;
    }
    if let Some(propensities) = &asked.propensities {
        let is_share = |&share: &f32| share > 0.0 && share <= 1.0;
        check_each("propensities", propensities, count, is_share, "above 0 and at most 1")?;
    }
    Ok(())
}

/// A list that goes with the candidates, one value for each.
fn check_each<T>(
    field: &str,
    values: &[T],
    count: usize,
    holds: impl Fn(&T) -> bool,
    range: &str,
) -> Result<(), Problem> {
    if values.len() != count {
        return Err(Problem::unprocessable(format!(
            "{field}: must hold one value for each of the {count} candidates, not {}",
            values.len()
        )));
    }
    match values.iter().position(|value| !holds(value)) {
        Some(place) => Err(Problem::unprocessable(format!("{field}[{place}]: must be {range}"))),
        None => Ok(()),
    }
}
