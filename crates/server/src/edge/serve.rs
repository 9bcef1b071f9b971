//! From scores to tokens: the ads a page is to show, and the candidates an exchange asks about.
//!
//! Whatever gets a token was scored, and the row it was scored with goes into the log before the
//! answer goes out. Rows are for learning: where the log is busy they are dropped, and counted as
//! dropped; nothing waits for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rand::Rng;
use reckon_billing::CampaignKey;
use reckon_event::{
    Claims, Consent, Erasures, Kind, Pseudonym, Record, Slot, Stream, TenantId, Timestamp, Token,
    prediction_id,
};
use reckon_eventlog::{EventLog, Outcome, Receipt};
use reckon_predict::{
    Candidate, Chosen, Exploration, Predictor, Request, Scores, Value, best, choose,
};

use super::judge::slot_of;
use super::{Edge, Visitor};
use crate::catalog::{Ad, Audience, Campaign};

/// The most candidates of one request.
pub const CANDIDATES_MAX: usize = 1_000;
/// Appends of rows that may wait for the disk at once; beyond it rows are dropped.
const ROWS_WAITING_MAX: usize = 1_024;

/// Who asks, and what is known of the moment.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Whose ads.
    pub tenant: TenantId,
    /// Who asks; empty where that is not known.
    pub user_id: &'a str,
    /// What else is known, in the order of the names.
    pub context: &'a [(&'a str, Value<'a>)],
    /// What events of this request will say of where it was and on what.
    pub audience: Audience<'a>,
    /// What the user has said of consent.
    pub consent: Consent,
}

/// An ad with its campaign.
pub type Offer = (Arc<Ad>, Arc<Campaign>);

/// One ad to show, or to offer to an exchange.
#[derive(Debug)]
pub struct ServedAd {
    /// Its index among the candidates.
    pub index: usize,
    /// What a click on it must bring.
    pub token: Token,
    /// Where on the page, from 1; 0 where that is not known.
    pub position: u16,
    /// The probability with which it was chosen for its place.
    pub propensity: f32,
    /// It is there to be tried.
    pub explored: bool,
}

/// What makes predictions.
pub struct Scorer {
    /// Scores candidates.
    pub predictor: Predictor,
    /// How to explore.
    pub exploration: Exploration,
    /// The high bits of prediction ids: the lease of this start.
    incarnation: u32,
    requests: AtomicU64,
    waiting: Mutex<VecDeque<Receipt>>,
    /// Requests scored.
    pub scored: AtomicU64,
    /// Candidates scored.
    pub candidates: AtomicU64,
    /// Requests answered without counters.
    pub degraded: AtomicU64,
    /// Rows handed to the log.
    pub rows_logged: AtomicU64,
    /// Rows dropped because the log was busy.
    pub rows_dropped: AtomicU64,
}

impl Scorer {
    /// A scorer of a freshly leased incarnation.
    pub fn new(predictor: Predictor, exploration: Exploration, incarnation: u32) -> Self {
        Scorer {
            predictor,
            exploration,
            incarnation,
            requests: AtomicU64::new(1),
            waiting: Mutex::default(),
            scored: AtomicU64::new(0),
            candidates: AtomicU64::new(0),
            degraded: AtomicU64::new(0),
            rows_logged: AtomicU64::new(0),
            rows_dropped: AtomicU64::new(0),
        }
    }

    /// A request's number, never given twice: 22 bits of incarnation, 32 of count.
    fn next_request(&self) -> u64 {
        let count = self.requests.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff;
        (u64::from(self.incarnation) & 0x3f_ffff) << 32 | count
    }

    /// Gives rows to the log and does not wait: they stand before whatever refers to them, because
    /// appends keep their order.
    fn log_rows(&self, log: &dyn EventLog, slot: Slot, records: &[Vec<u8>], rows: u64) {
        let mut waiting = self.waiting.lock();
        while waiting.front().is_some_and(|receipt| receipt.outcome().is_some()) {
            waiting.pop_front();
        }
        if waiting.len() >= ROWS_WAITING_MAX {
            self.rows_dropped.fetch_add(rows, Ordering::Relaxed);
            return;
        }
        let count = u32::try_from(records.len()).expect("at most 1,000 candidates");
        let partition = log.partition_of(Kind::Prediction, slot);
        let receipt = log.append(partition, &records.concat(), count);
        match receipt.outcome() {
            Some(Outcome::NotWritten(_)) => self.rows_dropped.fetch_add(rows, Ordering::Relaxed),
            _ => self.rows_logged.fetch_add(rows, Ordering::Relaxed),
        };
        waiting.push_back(receipt);
    }
}

/// A scored request, and who it is for.
pub struct Scored {
    /// The scores, in the order of the candidates.
    pub scores: Scores,
    candidates: Vec<Candidate>,
    user: Pseudonym,
    slot: Slot,
}

/// Scores offers for an asker.
pub async fn score(
    edge: &Edge,
    visitor: &Visitor<'_>,
    asker: &Asker<'_>,
    offers: &[Offer],
) -> Scored {
    let user = edge.pseudonym(asker.tenant, asker.user_id, visitor.received);
    // Who was erased is nobody, also to tokens; events of theirs that are still to come have theirs.
    let is_erased = edge.erased.is_erased(asker.tenant, user);
    let user = if is_erased { Pseudonym::NONE } else { user };
    // Who has refused is scored as nobody in particular.
    let known = if asker.consent.allows_features() { user } else { Pseudonym::NONE };
    let profile = edge.persons.profile(asker.tenant, known);
    let profile = profile.as_deref();
    let request = Request {
        tenant: asker.tenant,
        user: known,
        now: visitor.received,
        placement: asker.audience.placement,
        region: asker.audience.region,
        device: asker.audience.device,
        context: asker.context,
        locale: profile.map_or(0, |profile| profile.locale),
        interests: profile.map_or(&[], |profile| &profile.interests),
    };
    let candidates: Vec<Candidate> =
        offers.iter().map(|offer| candidate(offer, visitor.received)).collect();
    let scores = edge.scorer.predictor.score(&request, &candidates).await;
    edge.scorer.scored.fetch_add(1, Ordering::Relaxed);
    edge.scorer.candidates.fetch_add(candidates.len() as u64, Ordering::Relaxed);
    edge.scorer.degraded.fetch_add(u64::from(scores.degraded), Ordering::Relaxed);
    let ip_tag = super::click::tag_of(&edge.secrets.tags, visitor);
    let agent_key =
        if visitor.agent.is_empty() { 0 } else { reckon_event::name_key(visitor.agent) };
    Scored { scores, candidates, user, slot: slot_of(user, "", "", ip_tag, agent_key) }
}

fn candidate((ad, campaign): &Offer, now: Timestamp) -> Candidate {
    Candidate {
        ad: ad.key,
        campaign: campaign.key,
        category: ad.category_key,
        size: ad.creative_size.as_deref().map_or(0, reckon_event::name_key),
        pixels: ad.pixels,
        price: campaign.price_at(now),
        locale: ad.locale_key,
        quality: ad.quality,
        created: Some(ad.created_at),
    }
}

/// Chooses up to `count` ads by probability times price, with exploration, and mints their tokens.
pub fn serve(
    edge: &Edge,
    visitor: &Visitor<'_>,
    asker: &Asker<'_>,
    offers: &[Offer],
    scored: &Scored,
    count: usize,
) -> Vec<ServedAd> {
    let prices: Vec<_> =
        offers.iter().map(|(_, campaign)| campaign.price_at(visitor.received)).collect();
    let seed = rand::random();
    let chosen = choose(&scored.scores, &prices, count, &edge.scorer.exploration, seed);
    let placed: Vec<Placed> = chosen
        .iter()
        .zip(1..)
        .map(|(&Chosen { index, propensity, explored }, position)| Placed {
            index,
            position,
            propensity,
            explored,
        })
        .collect();
    mint(edge, visitor, asker, offers, scored, &placed)
}

/// Mints tokens for the `count` candidates that are worth most. Where and with which probability each
/// is shown is the caller's decision, told in `positions` and `propensities` or not at all.
pub fn offer(
    edge: &Edge,
    visitor: &Visitor<'_>,
    asker: &Asker<'_>,
    offers: &[Offer],
    scored: &Scored,
    count: usize,
    told: impl Fn(usize) -> (Option<u16>, Option<f32>),
) -> Vec<ServedAd> {
    let prices: Vec<_> =
        offers.iter().map(|(_, campaign)| campaign.price_at(visitor.received)).collect();
    let placed: Vec<Placed> = best(&scored.scores, &prices, count)
        .into_iter()
        .map(|index| {
            let (position, propensity) = told(index);
            Placed {
                index,
                position: position.unwrap_or(0),
                propensity: propensity.unwrap_or(1.0),
                explored: false,
            }
        })
        .collect();
    mint(edge, visitor, asker, offers, scored, &placed)
}

/// A candidate that gets a token.
struct Placed {
    index: usize,
    position: u16,
    propensity: f32,
    explored: bool,
}

fn mint(
    edge: &Edge,
    visitor: &Visitor<'_>,
    asker: &Asker<'_>,
    offers: &[Offer],
    scored: &Scored,
    placed: &[Placed],
) -> Vec<ServedAd> {
    if placed.is_empty() {
        return Vec::new();
    }
    let request = edge.scorer.next_request();
    log_rows(edge, visitor, asker, scored, request, placed);
    let mut random = rand::rng();
    let mut served = Vec::with_capacity(placed.len());
    for one in placed {
        let Some(impression) = edge.minter.mint(scored.slot, visitor.received) else {
            break;
        };
        let (ad, campaign) = &offers[one.index];
        let index = u16::try_from(one.index).expect("at most 1,000 candidates");
        let claims = Claims {
            tenant: asker.tenant,
            impression,
            ad_key: ad.key,
            campaign_key: ad.campaign_key,
            price: campaign.price_at(visitor.received),
            currency: campaign.currency,
            user: scored.user,
            issued_at: visitor.received,
            expires_at: expiry(edge, visitor.received),
            model_version: scored.scores.model_version(),
            delta_version: scored.scores.online.version,
            prediction_id: prediction_id(request, index),
            arm: 0,
            propensity: one.propensity,
            position: one.position,
            explored: one.explored,
            consent: asker.consent.0,
        };
        let token = edge.secrets.ring.seal(&claims, random.random());
        let Placed { index, position, propensity, explored } = *one;
        served.push(ServedAd { index, token, position, propensity, explored });
    }
    served
}

fn log_rows(
    edge: &Edge,
    visitor: &Visitor<'_>,
    asker: &Asker<'_>,
    scored: &Scored,
    request: u64,
    placed: &[Placed],
) {
    let minted: Vec<(usize, f32)> = placed.iter().map(|one| (one.index, one.propensity)).collect();
    let parts = scored.scores.rows(request, &scored.candidates, &minted);
    let records: Vec<Vec<u8>> = parts
        .iter()
        .map(|rows| {
            let mut payload = Vec::with_capacity(rows.encoded_bytes());
            rows.encode(&mut payload);
            let record = Record {
                stream: Stream::Predictions,
                tenant: asker.tenant,
                user: scored.user,
                consent: asker.consent.0,
                payload: &payload,
                ..Record::new(Kind::Prediction, scored.slot, visitor.received)
            };
            let mut bytes = Vec::with_capacity(payload.len() + 192);
            record.encode(&mut bytes);
            bytes
        })
        .collect();
    edge.scorer.log_rows(&*edge.log, scored.slot, &records, placed.len() as u64);
}

fn expiry(edge: &Edge, now: Timestamp) -> Timestamp {
    now.plus(edge.policy.expiry_us)
}

/// The ads that may be shown to an audience and whose campaigns have budget left, at most [`CANDIDATES_MAX`] of them, another stretch of a
/// longer catalog each time.
pub fn eligible(edge: &Edge, tenant: TenantId, audience: Audience<'_>) -> Vec<Offer> {
    let now = edge.clock.now();
    let has_budget = |campaign: &Campaign| {
        let (campaign_key, currency) = (campaign.key, campaign.currency);
        let key = CampaignKey { tenant, campaign: campaign_key, currency };
        !edge.spend.is_exhausted(&key, campaign.daily_budget, now)
    };
    edge.catalog.rotate(tenant, audience, has_budget, CANDIDATES_MAX)
}
