//! `GET /click`, `/v1/impression` and `/v1/view`: the open doors. Whatever comes is recorded, and a
//! click is always redirected to where the ad was registered to go, never anywhere else.

use std::sync::Arc;

use reckon_event::{
    Claims, Fact, Facts, Kind, Record, TagKey, TokenError, Verdict, name_key, truncate_ip,
    valid_name,
};

use super::judge::{of_token_error, protocol_reason, slot_of};
use super::{Edge, Lists, Query, Source, Visitor, device_of};
use crate::catalog::Ad;
use crate::mint::click_id;

/// Where a click goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Redirect {
    /// To this registered URL.
    To(String),
    /// Nowhere: no such ad is registered, and no token says otherwise.
    UnknownAd,
}

/// What became of a click or a pixel.
#[derive(Debug, PartialEq, Eq)]
pub struct Landing {
    /// Where it goes; a pixel goes nowhere.
    pub redirect: Redirect,
    /// It is durable: the answer acknowledges it.
    pub logged: bool,
}

/// Takes a click: opens, judges, logs, and says where to go.
pub async fn click(edge: &Edge, visitor: &Visitor<'_>, query: &Query<'_>) -> Landing {
    let opened = open(edge, visitor, query);
    let record = record_of(edge, Kind::Click, visitor, query, &opened);
    let redirect = match &opened.ad {
        None => Redirect::UnknownAd,
        Some(ad) if ad.destination.wants_click_id() => {
            let id = opened.claims.as_ref().map(|claims| click_id(&edge.secrets.click_ids, claims));
            Redirect::To(ad.destination.url(id.as_deref().unwrap_or("unsigned")))
        }
        Some(ad) => Redirect::To(ad.destination.url("")),
    };
    let logged = edge.log_one(&record).await;
    Landing { redirect, logged }
}

/// Takes an impression or a view.
pub async fn pixel(edge: &Edge, kind: Kind, visitor: &Visitor<'_>, query: &Query<'_>) -> bool {
    let opened = open(edge, visitor, query);
    edge.log_one(&record_of(edge, kind, visitor, query, &opened)).await
}

/// What the token and the catalog say of a request.
struct Opened {
    claims: Option<Claims>,
    error: Option<TokenError>,
    ad: Option<Arc<Ad>>,
}

fn open(edge: &Edge, visitor: &Visitor<'_>, query: &Query<'_>) -> Opened {
    let by_name = || edge.catalog.ad_by_id(edge.open_tenant(), &query.ad_id);
    if query.token.is_empty() {
        return Opened { claims: None, error: None, ad: by_name() };
    }
    match edge.open_token(&query.token, visitor.received) {
        Ok(claims) => {
            let age_max = edge.policy.thresholds.token_age(Source::Open);
            let error = claims.judge(claims.tenant, visitor.received, age_max).err();
            let ad = edge.catalog.ad(claims.tenant, claims.ad_key);
            Opened { claims: Some(claims), error, ad: ad.or_else(by_name) }
        }
        Err(error) => Opened { claims: None, error: Some(error), ad: by_name() },
    }
}

fn record_of<'a>(
    edge: &Edge,
    kind: Kind,
    visitor: &Visitor<'a>,
    query: &'a Query<'_>,
    opened: &'a Opened,
) -> Record<'a> {
    let agent_key = if visitor.agent.is_empty() { 0 } else { name_key(visitor.agent) };
    let ip_tag = tag_of(&edge.secrets.tags, visitor);
    let slot = slot_of(reckon_event::Pseudonym::NONE, "", "", ip_tag, agent_key);
    let lists = edge.lists.load();
    let (outcome, facts) = judge(edge, &lists, kind, visitor, opened);
    let mut record = Record {
        tenant: edge.open_tenant(),
        outcome,
        facts,
        lists_version: lists.version,
        rules_version: edge.policy.rules_version,
        ip: visitor.address.map(truncate_ip),
        ip_tag,
        agent_key,
        ad_id: opened.ad.as_ref().map_or("", |ad| &ad.ad_id),
        category_key: opened.ad.as_ref().map_or(0, |ad| ad.category_key),
        region: text_of(&query.region),
        device: if query.device.is_empty() {
            device_of(visitor.agent)
        } else {
            text_of(&query.device)
        },
        placement: text_of(&query.placement),
        position: query.position,
        ..Record::new(kind, slot, visitor.received)
    };
    match (&opened.claims, &opened.ad) {
        (Some(claims), _) => {
            record.adopt(*claims);
            record.position = if query.position == 0 { claims.position } else { query.position };
            record.consent = claims.consent;
        }
        (None, Some(ad)) => price_by_books(edge, ad, &mut record),
        (None, None) => record.ad_id = text_of(&query.ad_id),
    }
    record
}

/// Without a token the price is the one in force.
fn price_by_books(edge: &Edge, ad: &Ad, record: &mut Record<'_>) {
    record.ad_key = ad.key;
    record.campaign_key = ad.campaign_key;
    if let Some(campaign) = edge.catalog.campaign(ad.tenant, ad.campaign_key) {
        record.price = campaign.price_at(record.happened);
        record.currency = campaign.currency;
        record.facts = record.facts.with(Fact::PriceResolved);
    }
}

/// Forged and expired tokens first, then ads nobody registered, then the missing token; what is left
/// has the protocol's reasons against it, or passes.
fn judge(
    edge: &Edge,
    lists: &Lists,
    kind: Kind,
    visitor: &Visitor<'_>,
    opened: &Opened,
) -> (Verdict, Facts) {
    if let Some(error) = opened.error {
        return of_token_error(error);
    }
    let mut facts = Facts(0);
    if opened.claims.is_none() {
        if opened.ad.is_none() {
            return (Verdict::UnknownAd, facts);
        }
        if !edge.policy.unsigned_counts {
            return (Verdict::Unsigned, facts);
        }
        facts = facts.with(Fact::UnsignedCounts);
    }
    // An ad is shown as soon as it is served; only its click can come too fast.
    let clicked = opened.claims.as_ref().filter(|_| kind == Kind::Click);
    match protocol_reason(visitor, clicked, lists, &edge.policy.thresholds) {
        Some(reason) => (Verdict::Invalid(reason), facts),
        None if opened.claims.is_none() => (Verdict::Unsigned, facts),
        None => (Verdict::Counted, facts),
    }
}

pub(super) fn tag_of(key: &TagKey, visitor: &Visitor<'_>) -> u64 {
    visitor.address.map_or(0, |address| key.tag(visitor.received, address))
}

/// A text of the query, if it is one that Reckon takes.
fn text_of(text: &str) -> &str {
    valid_name(text).unwrap_or("")
}
