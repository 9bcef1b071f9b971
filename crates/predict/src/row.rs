//! From a request and a candidate to the inputs of the model.
//!
//! Flags say who and what: the user, the ad, the page, the hour, and crosses of them, since a linear
//! model learns of a taste only where user and category meet in one input. Numbers say what the
//! counters know: how far the rates of user, ad and campaign lie from the tenant's. A new ad has no
//! flag the model knows, and is scored by its campaign, category, size and their crosses: that is its
//! prior.

use reckon_event::{Feature, Micros, Pseudonym, TenantId, Timestamp};
use reckon_feature::{Counters, Input, Number};

/// What is known of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whose ads.
    pub tenant: TenantId,
    /// Who asks; [`Pseudonym::NONE`] where that is not known, or may not be used.
    pub user: Pseudonym,
    /// When.
    pub now: Timestamp,
    /// Where on the page; empty where that is not known.
    pub placement: &'a str,
    /// Region of the user and type of the device, as events that follow will name them.
    pub region: &'a str,
    /// See `region`.
    pub device: &'a str,
    /// What else is known: names and values, in the order of the names.
    pub context: &'a [(&'a str, Value<'a>)],
    /// The language of the user's profile, where the context names none; 0 where unknown.
    pub locale: u64,
    /// Categories the user's profile names; none of whoever may not be known.
    pub interests: &'a [u64],
}

/// One value of a request's context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A category.
    Text(&'a str),
    /// A number, taken by its size class.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// What is known of a candidate. Keys are [`reckon_event::name_key`]s, 0 where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The ad.
    pub ad: u64,
    /// Its campaign.
    pub campaign: u64,
    /// What it advertises.
    pub category: u64,
    /// The size of its creative.
    pub size: u64,
    /// The same in pixels, wide and high; zeros where that is not told.
    pub pixels: (u16, u16),
    /// What a click costs now.
    pub price: Micros,
    /// Its language.
    pub locale: u64,
    /// How good it is by the catalog, 0 to 1; `None` where that does not say.
    pub quality: Option<f32>,
    /// When it was registered; `None` where that is not known.
    pub created: Option<Timestamp>,
}

/// What of the context meets ads and categories in crosses: few, and each of few values.
const CROSSED: [&str; 6] = ["device", "device_type", "geo", "region", "page_category", "segment"];

/// The names of inputs, hashed once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    user: Input,
    hour: Input,
    placement: Input,
    ad: Input,
    campaign: Input,
    category: Input,
    size: Input,
    rate_fast: Input,
    rate_slow: Input,
    seen: Input,
    idle: Input,
}

impl Names {
    /// Of a tenant: no tenant's weights are another's.
    pub fn of(tenant: TenantId) -> Self {
        let named = |name| Input::named(name).of(u64::from(tenant.0));
        Names {
            user: named("user"),
            hour: named("hour"),
            placement: named("placement"),
            ad: named("ad"),
            campaign: named("campaign"),
            category: named("category"),
            size: named("size"),
            rate_fast: named("rate, fast"),
            rate_slow: named("rate, slow"),
            seen: named("seen"),
            idle: named("idle"),
        }
    }
}

/// What all candidates of a request share.
pub(crate) struct Shared {
    names: Names,
    /// Inputs that meet ads and categories.
    crossed: Vec<Input>,
    user: Option<Input>,
    hour: Input,
    now: Timestamp,
    /// The rate that others are held against.
    prior: f32,
    pub features: Vec<Feature>,
    /// Those among them that counters brought.
    pub inputs: Counted,
}

/// How much of a row counters have brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    entities: usize,
    inputs: usize,
}

impl Counted {
    pub fn add(&mut self, more: Counted) {
        self.entities += more.entities;
        self.inputs += more.inputs;
    }

    /// The share of `all` inputs that is left where counters are not there or not to be relied on: each
    /// entity's would be two rates and two classes. What the online model makes of which is not known, so
    /// all weigh the same.
    pub fn share_without_counters(self, all: usize) -> f32 {
        let flags = all - self.inputs;
        flags as f32 / (flags + INPUTS_OF_COUNTERS * self.entities).max(1) as f32
    }
}

/// What an entity's counters bring: two rates and two classes.
const INPUTS_OF_COUNTERS: usize = 4;

impl Shared {
    pub fn new(request: &Request<'_>, prior: f32, user: Option<Counters>) -> Self {
        let names = Names::of(request.tenant);
        let hour = names.hour.of(u64::from(request.now.hour() % 24));
        let who = request.user.is_some().then(|| names.user.of(request.user.key()));
        let mut shared = Shared {
            names,
            crossed: Vec::with_capacity(CROSSED.len() + 1),
            user: who,
            hour,
            now: request.now,
            prior,
            features: Vec::with_capacity(request.context.len() + 10),
            inputs: Counted::default(),
        };
        shared.features.push(hour.flag());
        shared.features.extend(who.map(Input::flag));
        if !request.placement.is_empty() {
            let placement = names.placement.text(request.placement);
            shared.features.push(placement.flag());
            shared.crossed.push(placement);
        }
        for (name, value) in request.context {
            shared.take(request.tenant, name, *value);
        }
        if who.is_some() {
            let input = names.user;
            shared.inputs = counted(&mut shared.features, &names, input, user, prior, request.now);
        }
        shared
    }

    fn take(&mut self, tenant: TenantId, name: &str, value: Value<'_>) {
        let input = Input::named(name).of(u64::from(tenant.0));
        let input = match value {
            Value::Text(text) => input.text(text),
            Value::Number(number) => input.of(Number(number).class() as u64),
            Value::Flag(flag) => input.of(u64::from(flag)),
        };
        self.features.push(input.flag());
        if CROSSED.contains(&name) {
            self.crossed.push(input);
        }
    }

    /// Appends a candidate's own inputs; says what counters have brought of them.
    pub fn candidate(
        &self,
        out: &mut Vec<Feature>,
        candidate: &Candidate,
        ad: Option<Counters>,
        campaign: Option<Counters>,
    ) -> Counted {
        let names = &self.names;
        let of = |name: Input, key: u64| (key != 0).then(|| name.of(key));
        let ad_input = names.ad.of(candidate.ad);
        let campaign_input = of(names.campaign, candidate.campaign);
        let category = of(names.category, candidate.category);
        let size = of(names.size, candidate.size);
        out.push(ad_input.flag());
        out.extend([campaign_input, category, size].into_iter().flatten().map(Input::flag));
        if let Some(user) = self.user {
            let others = [campaign_input, category].into_iter().flatten();
            out.extend(others.map(|other| user.with(other).flag()));
        }
        for crossed in &self.crossed {
            out.push(crossed.with(ad_input).flag());
            out.extend(category.map(|category| crossed.with(category).flag()));
        }
        out.extend(category.map(|category| self.hour.with(category).flag()));
        let mut inputs = counted(out, names, names.ad, ad, self.prior, self.now);
        if campaign_input.is_some() {
            inputs.add(counted(out, names, names.campaign, campaign, self.prior, self.now));
        }
        inputs
    }
}

/// Inputs of an entity's counters. What nobody has counted yet has a class of its own and no rate:
/// its rate is the prior's.
fn counted(
    out: &mut Vec<Feature>,
    names: &Names,
    entity: Input,
    counters: Option<Counters>,
    prior: f32,
    now: Timestamp,
) -> Counted {
    let before = out.len();
    let Some(counters) = counters.map(|counters| counters.seen_at(now)) else {
        out.push(names.seen.with(entity).flag());
        return Counted { entities: 1, inputs: 1 };
    };
    let rates = counters.against(prior);
    let seen = (1.0 + counters.slow.impressions).log2() as u64;
    out.push(names.seen.with(entity).of(seen).flag());
    out.push(names.rate_fast.with(entity).number(rates.fast * SCALE));
    out.push(names.rate_slow.with(entity).number(rates.slow * SCALE));
    if counters.clicked > Timestamp::MIN {
        let minutes = (now.since(counters.clicked) / Timestamp::MINUTE).max(0) as f64;
        out.push(names.idle.with(entity).of((1.0 + minutes).log2() as u64).flag());
    }
    Counted { entities: 1, inputs: out.len() - before }
}

/// Brings log odds ratios to the size of flags: the learner's rates are the same for all inputs.
const SCALE: f32 = 0.5;
