//! The catalog in memory: what a redirect needs to know of an ad, without asking the books.
//!
//! Loaded whole at the start and kept in step by the endpoints that change the books. Reads take a
//! shared lock for as long as one look-up lasts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use reckon_event::{Currency, Micros, TenantId, Timestamp};
use serde::Deserialize;

/// May it be shown?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Served and counted.
    Active,
    /// Not served; clicks on what was minted before count.
    Paused,
    /// As paused, and gone from lists.
    Archived,
}

/// One ad.
#[derive(Clone, Debug)]
pub struct Ad {
    /// Whose.
    pub tenant: TenantId,
    /// The id people gave it.
    pub ad_id: Box<str>,
    /// [`reckon_event::name_key`] of the id.
    pub key: u64,
    /// Key of its campaign.
    pub campaign_key: u64,
    /// Where a click goes.
    pub destination: Destination,
    /// What it advertises.
    pub category: Option<Box<str>>,
    /// [`reckon_event::name_key`] of the category; 0 where there is none.
    pub category_key: u64,
    /// Such as `300x250`.
    pub creative_size: Option<Box<str>>,
    /// The same in pixels, wide and high; zeros where it does not tell.
    pub pixels: (u16, u16),
    /// [`reckon_event::name_key`] of its language; 0 where it has none.
    pub locale_key: u64,
    /// How good it is, 0 to 1, where that was said.
    pub quality: Option<f32>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// May it be shown?
    pub status: Status,
}

/// One campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Whose.
    pub tenant: TenantId,
    /// The id people gave it.
    pub campaign_id: Box<str>,
    /// [`reckon_event::name_key`] of the id.
    pub key: u64,
    /// Currency of the advertiser.
    pub currency: Currency,
    /// May its ads be shown?
    pub status: Status,
    /// Prices in the order of the times from which they are in force; never empty.
    pub prices: Vec<(Timestamp, Micros)>,
    /// The most to spend in a UTC day, as it is now; `None` is without limit.
    pub daily_budget: Option<Micros>,
    /// To whom it is shown.
    pub targeting: Targeting,
}

/// To whom a campaign is shown; an absent list takes everyone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targeting {
    /// Placements.
    #[serde(default)]
    pub placements: Option<Vec<String>>,
    /// Regions.
    #[serde(default)]
    pub geo: Option<Vec<String>>,
    /// Device types.
    #[serde(default)]
    pub devices: Option<Vec<String>>,
}

/// What an ad request says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audience<'a> {
    /// Where on which page.
    pub placement: &'a str,
    /// Region of the user.
    pub region: &'a str,
    /// Type of the device.
    pub device: &'a str,
}

impl Targeting {
    /// Is this audience meant?
    pub fn takes(&self, audience: Audience<'_>) -> bool {
        let holds = |list: &Option<Vec<String>>, value: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|entry| entry == value))
        };
        holds(&self.placements, audience.placement)
            && holds(&self.geo, audience.region)
            && holds(&self.devices, audience.device)
    }
}

impl Campaign {
    /// The price in force at a time; before the first price, the first.
    pub fn price_at(&self, time: Timestamp) -> Micros {
        let after = self.prices.partition_point(|&(from, _)| from <= time);
        self.prices[after.saturating_sub(1)].1
    }
}

/// A registered URL, split so that a click id can be put in without parsing it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    before_fragment: Box<str>,
    fragment: Box<str>,
    parameter: Option<Box<str>>,
}

impl Destination {
    /// Takes a URL that the books have accepted. `parameter` is where the advertiser wants the click
    /// id, if at all.
    pub fn new(url: &str, parameter: Option<&str>) -> Self {
        let (before, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
        Destination {
            before_fragment: before.into(),
            fragment: fragment.into(),
            parameter: parameter.map(Into::into),
        }
    }

    /// True where the click id is to be appended.
    pub const fn wants_click_id(&self) -> bool {
        self.parameter.is_some()
    }

    /// The URL to redirect to: query and fragment as registered, the click id in between.
    pub fn url(&self, click_id: &str) -> String {
        let mut url = String::with_capacity(self.before_fragment.len() + self.fragment.len() + 48);
        url.push_str(&self.before_fragment);
        if let Some(parameter) = &self.parameter {
            let joint = match self.before_fragment.find('?') {
                None => "?",
                Some(_) if self.before_fragment.ends_with(['?', '&']) => "",
                Some(_) => "&",
            };
            for part in [joint, parameter, "=", click_id] {
                url.push_str(part);
            }
        }
        url.push_str(&self.fragment);
        url
    }
}

type Map<T> = HashMap<(TenantId, u64), Arc<T>, foldhash::fast::RandomState>;

#[derive(Default)]
struct Inner {
    ads: Map<Ad>,
    campaigns: Map<Campaign>,
    /// Keys of a tenant's ads in the order they came, for rotation.
    order: HashMap<TenantId, Vec<u64>>,
}

/// All tenants' ads and campaigns.
#[derive(Default)]
pub struct Catalog {
    inner: RwLock<Inner>,
    turn: AtomicUsize,
    /// Held by who changes the books and then this catalog, so that both see one order of writes.
    pub writing: tokio::sync::Mutex<()>,
}

impl Catalog {
    /// The ad with this key.
    pub fn ad(&self, tenant: TenantId, key: u64) -> Option<Arc<Ad>> {
        self.inner.read().ads.get(&(tenant, key)).cloned()
    }

    /// The ad with this id.
    pub fn ad_by_id(&self, tenant: TenantId, ad_id: &str) -> Option<Arc<Ad>> {
        self.ad(tenant, reckon_event::name_key(ad_id)).filter(|ad| &*ad.ad_id == ad_id)
    }

    /// Key of what this ad advertises; 0 where the ad or its category is not known.
    pub fn category_of(&self, tenant: TenantId, key: u64) -> u64 {
        self.inner.read().ads.get(&(tenant, key)).map_or(0, |ad| ad.category_key)
    }

    /// The campaign with this key.
    pub fn campaign(&self, tenant: TenantId, key: u64) -> Option<Arc<Campaign>> {
        self.inner.read().campaigns.get(&(tenant, key)).cloned()
    }

    /// The ads with these ids, each with its campaign: `None` for one that is not registered.
    pub fn offers<'a>(
        &self,
        tenant: TenantId,
        ad_ids: impl Iterator<Item = &'a str>,
    ) -> Vec<Option<(Arc<Ad>, Arc<Campaign>)>> {
        let inner = self.inner.read();
        let offer = |ad_id: &str| {
            let ad = inner.ads.get(&(tenant, reckon_event::name_key(ad_id)))?;
            let campaign = inner.campaigns.get(&(tenant, ad.campaign_key))?;
            (&*ad.ad_id == ad_id).then(|| (ad.clone(), campaign.clone()))
        };
        ad_ids.map(offer).collect()
    }

    /// Puts an ad in, or in place of the one with its key.
    pub fn put_ad(&self, ad: Ad) {
        let mut inner = self.inner.write();
        let (tenant, key) = (ad.tenant, ad.key);
        if inner.ads.insert((tenant, key), Arc::new(ad)).is_none() {
            inner.order.entry(tenant).or_default().push(key);
        }
    }

    /// Puts a campaign in, or in place of the one with its key.
    pub fn put_campaign(&self, campaign: Campaign) {
        self.inner.write().campaigns.insert((campaign.tenant, campaign.key), Arc::new(campaign));
    }

    /// Up to `count` distinct ads that may be shown to this audience and whose campaigns have something
    /// left to spend, the next in turn first.
    pub fn rotate(
        &self,
        tenant: TenantId,
        audience: Audience<'_>,
        has_budget: impl Fn(&Campaign) -> bool,
        count: usize,
    ) -> Vec<(Arc<Ad>, Arc<Campaign>)> {
        let inner = self.inner.read();
        let Some(order) = inner.order.get(&tenant) else {
            return Vec::new();
        };
        let start = self.turn.fetch_add(count, Ordering::Relaxed) % order.len();
        let (head, tail) = order.split_at(start);
        let mut chosen = Vec::with_capacity(count);
        for key in tail.iter().chain(head) {
            if chosen.len() == count {
                break;
            }
            let eligible = inner.eligible(tenant, *key, audience);
            chosen.extend(eligible.filter(|(_, campaign)| has_budget(campaign)));
        }
        chosen
    }
}

impl Inner {
    fn eligible(
        &self,
        tenant: TenantId,
        key: u64,
        audience: Audience<'_>,
    ) -> Option<(Arc<Ad>, Arc<Campaign>)> {
        let ad = self.ads.get(&(tenant, key)).filter(|ad| ad.status == Status::Active)?;
        let campaign = self.campaigns.get(&(tenant, ad.campaign_key))?;
        let may = campaign.status == Status::Active && campaign.targeting.takes(audience);
        may.then(|| (ad.clone(), campaign.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, parameter: Option<&str>, expect: &str) {
        assert_eq!(Destination::new(url, parameter).url("ID"), expect);
    }

    #[test]
    fn query_and_fragment_survive_the_click_id() {
        check("https://shop.example/a?b=1#top", None, "https://shop.example/a?b=1#top");
        check("https://shop.example/a", Some("rid"), "https://shop.example/a?rid=ID");
        check("https://shop.example/a#top", Some("rid"), "https://shop.example/a?rid=ID#top");
        check(
            "https://shop.example/a?b=1#top",
            Some("rid"),
            "https://shop.example/a?b=1&rid=ID#top",
        );
        check("https://shop.example/a?", Some("rid"), "https://shop.example/a?rid=ID");
    }

    #[test]
    fn the_price_in_force_is_the_last_before_the_time() {
        let campaign = Campaign {
            tenant: TenantId::DEFAULT,
            campaign_id: "c".into(),
            key: 1,
            currency: Currency::EUR,
            status: Status::Active,
            prices: vec![(Timestamp(10), 100), (Timestamp(20), 200)],
            daily_budget: None,
            targeting: Targeting::default(),
        };
        let prices: Vec<Micros> =
            [5, 10, 19, 20, 99].map(|at| campaign.price_at(Timestamp(at))).to_vec();
        assert_eq!(prices, [100, 100, 100, 200, 200]);
    }
}
