//! Scores: log odds and probabilities of all candidates of a request.
//!
//! Beside the inputs of the online model, a request's columns are computed here by the plan of
//! features, for the models that are trained on them; rows are logged with both.

use std::ops::Range;
use std::sync::Arc;

use reckon_event::{Columns, Feature, RECORD_BYTES_MAX, ServedCandidate, ServedRows, Timestamp};
use reckon_feature::{Counters, Entity, EntityKind, FeatureStore, Pasts};
use reckon_model::{log_odds, sigmoid};
use reckon_rollout::{Models, Online};

use crate::champion::{Champion, Said};
use crate::columns::{Computed, Computer};
use crate::freshness::Freshness;
use crate::row::{Candidate, Request, Shared};

/// The rate that rates are held against before a tenant has any of its own.
const PRIOR: f32 = 0.02;
/// How many impressions at that rate a tenant begins with.
const PRIOR_IMPRESSIONS: f32 = 200.0;
/// What of a record is left for rows when envelope and fixed fields are written.
const ROWS_BYTES_MAX: usize = RECORD_BYTES_MAX - 1_024;

/// Scores candidates with the models and counters of the moment.
pub struct Predictor {
    features: Arc<dyn FeatureStore>,
    models: Arc<Models>,
    columns: Option<Computer>,
    champion: Option<Arc<Champion>>,
    freshness: Freshness,
}

/// One candidate's score.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Log odds of a click at place 1 by the online model, before calibration.
    pub logit: f32,
    /// How unsure what this candidate brings is: the variance of its part of the log odds.
    pub variance: f32,
    /// The calibrated probability of a click at place 1, by the champion where one answers.
    pub probability: f32,
    /// The stage of the champion that gave it, from 1; 0 where the online model did.
    pub stage: u8,
    features: Range<usize>,
}

/// The scores of one request: all by one model, from counters of one cut.
pub struct Scores {
    /// The model.
    pub online: Arc<Online>,
    /// The cut the counters belong to; empty where there were none.
    pub cut: Arc<[u64]>,
    /// One for each candidate, in their order.
    pub candidates: Vec<Score>,
    /// Counters could not be read: the scores know less than they might.
    pub degraded: bool,
    /// The share of the answering model's importance that was there and fresh.
    pub confidence: f32,
    /// The bundle that gave the probabilities; `None` where the online model did.
    pub champion: Option<Arc<Champion>>,
    /// When they were asked for.
    at: Timestamp,
    /// The columns of the plan, where one is followed.
    columns: Option<Computed>,
    shared: Vec<Feature>,
    features: Vec<Feature>,
}

impl Predictor {
    /// Scores with what these hold; until somebody tells how fresh that is, it is.
    pub fn new(features: Arc<dyn FeatureStore>, models: Arc<Models>) -> Self {
        let freshness = Freshness::new(i64::MAX);
        freshness.tell(Timestamp(0));
        Predictor { features, models, columns: None, champion: None, freshness }
    }

    /// Has somebody tell how fresh counters and pasts are, which may be so many microseconds old.
    #[must_use]
    pub fn with_age_max(mut self, age_max: i64) -> Self {
        self.freshness = Freshness::new(age_max);
        self
    }

    /// How fresh counters and pasts are.
    pub const fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// Computes the columns of a plan from these pasts too.
    #[must_use]
    pub fn with_columns(mut self, pasts: Arc<Pasts>) -> Self {
        self.columns = Some(Computer::new(pasts));
        self
    }

    /// Has a bundle give the probabilities, from the columns; without columns it is never asked.
    #[must_use]
    pub fn with_champion(mut self, champion: Arc<Champion>) -> Self {
        self.champion = Some(champion);
        self
    }

    /// The bundle that answers.
    pub fn champion(&self) -> Option<&Arc<Champion>> {
        self.champion.as_ref()
    }

    /// The pasts that columns are computed from.
    pub fn pasts(&self) -> Option<&Arc<Pasts>> {
        self.columns.as_ref().map(Computer::pasts)
    }

    /// The models it takes scores from.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Scores all candidates for place 1. It does not fail: without counters it answers by what is
    /// left, and says so.
    pub async fn score(&self, request: &Request<'_>, candidates: &[Candidate]) -> Scores {
        let entities = entities(request, candidates);
        let read = self.features.read(&entities).await;
        let is_read = read.is_ok();
        let read = read.unwrap_or_default();
        let counters = |at: usize| read.counters.get(at).copied().flatten();
        let online = self.models.online();
        let shared = Shared::new(request, prior(counters(0), request), counters(1));
        let base = base(&online, &shared.features);
        let mut features = Vec::with_capacity(candidates.len() * 24);
        let mut scored = Vec::with_capacity(candidates.len());
        let mut inputs = shared.inputs;
        for (at, candidate) in candidates.iter().enumerate() {
            let (ad, campaign) = (counters(2 + 2 * at), counters(3 + 2 * at));
            let start = features.len();
            inputs.add(shared.candidate(&mut features, candidate, ad, campaign));
            let own = online.weights.partial(&features[start..]);
            let logit = base + own.logit;
            scored.push(Score {
                logit,
                variance: own.variance,
                probability: online.calibration.probability(logit),
                stage: 0,
                features: start..features.len(),
            });
        }
        let columns = self.columns.as_ref().map(|computer| computer.columns(request, candidates));
        // Where the champion cannot answer the online model does, which always can.
        let said = columns.as_ref().and_then(|columns| self.ask_champion(columns));
        for (score, said) in scored.iter_mut().zip(said.iter().flatten()) {
            (score.probability, score.stage) = (said.probability, said.stage);
        }
        let champion = self.champion.clone().filter(|_| said.is_some());
        let degraded = !is_read || (self.champion.is_some() && champion.is_none());
        let is_fresh = self.freshness.is_fresh(request.now);
        let confidence = match &champion {
            Some(_) if is_fresh => 1.0,
            Some(champion) => champion.confidence_without_pasts(),
            None if is_fresh && is_read => 1.0,
            None => inputs.share_without_counters(shared.features.len() + features.len()),
        };
        Scores {
            online,
            at: request.now,
            columns,
            champion,
            cut: read.cut,
            candidates: scored,
            degraded,
            confidence,
            shared: shared.features,
            features,
        }
    }
}

impl Predictor {
    fn ask_champion(&self, columns: &Computed) -> Option<Vec<Said>> {
        self.champion.as_ref()?.score(columns.plan(), columns.rows()).ok()
    }
}

/// Tenant, user, then ad and campaign of each candidate.
fn entities(request: &Request<'_>, candidates: &[Candidate]) -> Vec<Entity> {
    let tenant = request.tenant;
    let entity = |kind, key| Entity { tenant, kind, key };
    let mut entities = Vec::with_capacity(2 + 2 * candidates.len());
    entities.push(entity(EntityKind::Tenant, 0));
    entities.push(entity(EntityKind::User, request.user.0));
    for candidate in candidates {
        entities.push(entity(EntityKind::Ad, u128::from(candidate.ad)));
        entities.push(entity(EntityKind::Campaign, u128::from(candidate.campaign)));
    }
    entities
}

fn prior(tenant: Option<Counters>, request: &Request<'_>) -> f32 {
    let counters = tenant.map(|counters| counters.seen_at(request.now));
    counters.map_or(PRIOR, |counters| counters.slow.smoothed(PRIOR, PRIOR_IMPRESSIONS))
}

/// Log odds of what all candidates share, at place 1.
fn base(online: &Online, shared: &[Feature]) -> f32 {
    let place = Feature::place(1).map_or(0.0, |place| online.weights.partial(&[place]).logit);
    online.weights.bias() + online.weights.partial(shared).logit + place
}

impl Scores {
    /// A candidate's calibrated probability at a place from 1 on.
    pub fn probability_at(&self, index: usize, place: u16) -> f32 {
        let weight = |place| {
            Feature::place(place).map_or(0.0, |input| self.online.weights.partial(&[input]).logit)
        };
        let (score, shift) = (&self.candidates[index], weight(place) - weight(1));
        if score.stage > 0 {
            return sigmoid(log_odds(score.probability) + shift);
        }
        self.online.calibration.probability(score.logit + shift)
    }

    /// The number of the bundle that answered; 0 where the online model did.
    pub fn model_version(&self) -> u32 {
        self.champion.as_ref().map_or(0, |champion| champion.version())
    }

    /// The rows of some candidates, as they are logged: in as many parts as fit into records. Each
    /// comes with the probability it was chosen with.
    pub fn rows(
        &self,
        request: u64,
        ads: &[Candidate],
        minted: &[(usize, f32)],
    ) -> Vec<ServedRows> {
        let mut parts: Vec<ServedRows> = Vec::new();
        let mut bytes = usize::MAX;
        for &(index, propensity) in minted {
            let candidate = self.served(index, ads[index].ad, propensity);
            bytes = bytes.saturating_add(candidate.encoded_bytes());
            if bytes > ROWS_BYTES_MAX {
                parts.push(self.part(request));
                bytes =
                    parts.last().map_or(0, ServedRows::encoded_bytes) + candidate.encoded_bytes();
            }
            parts.last_mut().expect("one was pushed").candidates.push(candidate);
        }
        parts
    }

    fn part(&self, request: u64) -> ServedRows {
        ServedRows {
            request,
            model_version: self.model_version(),
            delta_version: self.online.version,
            at: self.at,
            plan: self.columns.as_ref().map_or(0, Computed::plan_version),
            columns_cut: self.columns.as_ref().map_or(Vec::new(), Computed::cut),
            shared_columns: self.columns.as_ref().map_or_else(Columns::default, Computed::shared),
            cut: self.cut.to_vec(),
            shared: self.shared.clone(),
            ..ServedRows::default()
        }
    }

    fn served(&self, index: usize, ad_key: u64, propensity: f32) -> ServedCandidate {
        let score = &self.candidates[index];
        ServedCandidate {
            index: u16::try_from(index).expect("at most 1,000 candidates"),
            ad_key,
            logit: score.logit,
            probability: score.probability,
            propensity,
            features: self.features[score.features.clone()].to_vec(),
            columns: self.columns.as_ref().map_or_else(Columns::default, |it| it.own(index)),
        }
    }
}
