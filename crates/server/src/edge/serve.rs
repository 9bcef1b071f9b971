//! `POST /v1/ads/serve` in its first form: the eligible ads of a placement, the next in turn first,
//! each with a token for the click it may get.

use rand::Rng;
use reckon_event::{Claims, Pseudonym, TenantId, Timestamp, Token};

use super::judge::slot_of;
use super::{Edge, Visitor};
use crate::catalog::{Ad, Audience, Campaign};

/// An ad request, checked.
#[derive(Clone, Copy, Debug)]
pub struct AdRequest<'a> {
    /// Whose ads.
    pub tenant: TenantId,
    /// Who asks.
    pub user_id: &'a str,
    /// Where, from where, on what.
    pub audience: Audience<'a>,
    /// How many at the most.
    pub count: usize,
    /// Consent flags of the user.
    pub consent: u8,
}

/// One ad to show.
#[derive(Debug)]
pub struct ServedAd {
    /// The ad.
    pub ad: std::sync::Arc<Ad>,
    /// Its campaign.
    pub campaign: std::sync::Arc<Campaign>,
    /// What a click on it must bring.
    pub token: Token,
    /// Where on the page, from 1.
    pub position: u16,
}

/// Chooses and mints. Fewer than `count` where fewer are eligible.
pub fn serve(edge: &Edge, visitor: &Visitor<'_>, request: &AdRequest<'_>) -> Vec<ServedAd> {
    let user = match request.user_id {
        "" => Pseudonym::NONE,
        user_id => edge.secrets.pseudonyms.pseudonym(request.tenant, user_id),
    };
    let ip_tag = super::click::tag_of(&edge.secrets.tags, visitor);
    let agent_key =
        if visitor.agent.is_empty() { 0 } else { reckon_event::name_key(visitor.agent) };
    let slot = slot_of(user, "", "", ip_tag, agent_key);
    let chosen = edge.catalog.rotate(request.tenant, request.audience, request.count);
    let mut random = rand::rng();
    let mut served = Vec::with_capacity(chosen.len());
    for (at, (ad, campaign)) in chosen.into_iter().enumerate() {
        let Some(impression) = edge.minter.mint(slot, visitor.received) else {
            break;
        };
        let position = u16::try_from(at + 1).expect("at most 100 are served");
        let claims = Claims {
            tenant: request.tenant,
            impression,
            ad_key: ad.key,
            campaign_key: ad.campaign_key,
            price: campaign.price_at(visitor.received),
            currency: campaign.currency,
            user,
            issued_at: visitor.received,
            expires_at: expiry(edge, visitor.received),
            model_version: 0,
            delta_version: 0,
            prediction_id: 0,
            arm: 0,
            propensity: 1.0,
            position,
            explored: false,
            consent: request.consent,
        };
        let token = edge.secrets.ring.seal(&claims, random.random());
        served.push(ServedAd { ad, campaign, token, position });
    }
    served
}

fn expiry(edge: &Edge, now: Timestamp) -> Timestamp {
    now.plus(edge.policy.expiry_us)
}
