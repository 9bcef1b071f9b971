//! From the books to the catalog in memory: at the start all of it, afterwards what was changed.
//!
//! The books hold what people wrote; the catalog holds what a redirect needs, already split and
//! hashed. Only this file knows both.

use std::sync::Arc;

use anyhow::{Context, Result};
use reckon_books as books;
use reckon_event::{Currency, Micros, TenantId, Timestamp, name_key};

use crate::catalog::{Ad, Campaign, Catalog, Destination, Status, Targeting};

/// Takes in everything that stands in the books.
pub fn load(catalog: &Catalog, snapshot: books::Snapshot) -> Result<()> {
    for entry in snapshot.campaigns {
        let entry = Arc::unwrap_or_clone(entry);
        let campaign = campaign(entry.tenant, &entry.campaign, entry.currency, &entry.terms);
        catalog.put_campaign(campaign?);
    }
    for entry in snapshot.ads {
        catalog.put_ad(ad(entry.tenant, &entry.ad));
    }
    Ok(())
}

/// An ad as the edge wants it.
pub fn ad(tenant: TenantId, ad: &books::Ad) -> Ad {
    Ad {
        tenant,
        key: name_key(&ad.ad_id),
        campaign_key: name_key(&ad.campaign_id),
        destination: Destination::new(&ad.destination_url, ad.append_click_id.as_deref()),
        category: ad.category.as_deref().map(Into::into),
        category_key: ad.category.as_deref().map_or(0, name_key),
        creative_size: ad.creative_size.as_deref().map(Into::into),
        pixels: ad.creative_size.as_deref().map_or((0, 0), pixels),
        locale_key: ad.locale.as_deref().map_or(0, name_key),
        quality: ad.quality_micros.map(|micros| micros as f32 / 1e6),
        created_at: ad.created_at,
        status: status(ad.status),
        ad_id: ad.ad_id.as_str().into(),
    }
}

/// Of `300x250`: 300 and 250; zeros of anything else.
fn pixels(size: &str) -> (u16, u16) {
    let parts = size.split_once('x');
    parts.and_then(|(wide, high)| Some((wide.parse().ok()?, high.parse().ok()?))).unwrap_or((0, 0))
}

/// A campaign as the edge wants it; `terms` is its whole history, never empty.
pub fn campaign(
    tenant: TenantId,
    campaign: &books::Campaign,
    currency: Currency,
    terms: &[books::Terms],
) -> Result<Campaign> {
    let id = campaign.campaign_id.as_str();
    anyhow::ensure!(!terms.is_empty(), "books: campaign {id:?} has no price");
    let targeting = campaign.targeting.as_ref().map(|json| targeting(json.as_str())).transpose();
    Ok(Campaign {
        tenant,
        key: name_key(id),
        currency,
        status: status(campaign.status),
        prices: prices(terms),
        daily_budget: terms.last().and_then(|terms| terms.daily_budget_micros),
        targeting: targeting
            .with_context(|| format!("books: targeting of campaign {id:?}"))?
            .unwrap_or_default(),
        campaign_id: id.into(),
    })
}

/// Reads targeting. A list of nothing restricts nothing: a form that was left empty means everyone.
pub fn targeting(json: &str) -> serde_json::Result<Targeting> {
    let mut targeting: Targeting = serde_json::from_str(json)?;
    for list in [&mut targeting.placements, &mut targeting.geo, &mut targeting.devices] {
        if list.as_ref().is_some_and(Vec::is_empty) {
            *list = None;
        }
    }
    Ok(targeting)
}

/// The price's own history: terms also change with the budget.
fn prices(terms: &[books::Terms]) -> Vec<(Timestamp, Micros)> {
    let mut prices: Vec<(Timestamp, Micros)> = Vec::with_capacity(1);
    for terms in terms {
        if prices.last().is_none_or(|&(_, price)| price != terms.cpc_micros) {
            prices.push((terms.from, terms.cpc_micros));
        }
    }
    prices
}

const fn status(status: books::Status) -> Status {
    match status {
        books::Status::Active => Status::Active,
        books::Status::Paused => Status::Paused,
        books::Status::Archived => Status::Archived,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(from: i64, cpc_micros: Micros, budget: Option<Micros>) -> books::Terms {
        books::Terms { from: Timestamp(from), cpc_micros, daily_budget_micros: budget }
    }

    #[test]
    fn a_new_budget_is_no_new_price() {
        let history =
            [terms(1, 5, None), terms(2, 5, Some(9)), terms(3, 7, Some(9)), terms(4, 5, None)];
        assert_eq!(prices(&history), [(Timestamp(1), 5), (Timestamp(3), 7), (Timestamp(4), 5)]);
    }

    #[test]
    fn an_empty_list_restricts_nothing() {
        let read = targeting(r#"{"geo":["DE"],"devices":[]}"#).expect("known keys");
        assert_eq!(read.geo.as_deref(), Some(&["DE".to_owned()][..]));
        assert_eq!((read.devices, read.placements), (None, None));
        assert!(targeting(r#"{"weather":["sunny"]}"#).is_err());
    }

    #[test]
    fn a_large_snapshot_is_taken_in_whole() {
        let tenant = TenantId::DEFAULT;
        let entry = Arc::new(books::CampaignEntry {
            tenant,
            campaign: books::Campaign {
                campaign_id: "c".to_owned(),
                advertiser_id: "a".to_owned(),
                name: "c".to_owned(),
                cpc_micros: 5,
                daily_budget_micros: None,
                targeting: None,
                status: books::Status::Active,
                created_at: Timestamp(1),
            },
            currency: Currency::EUR,
            terms: vec![terms(1, 5, None)],
        });
        let ads = (0..10_000).map(|number| books::AdEntry {
            tenant,
            ad: books::Ad {
                ad_id: format!("ad-{number}"),
                campaign_id: "c".to_owned(),
                destination_url: format!("https://shop.example/{number}"),
                category: None,
                creative_size: None,
                append_click_id: None,
                locale: None,
                quality_micros: None,
                status: books::Status::Paused,
                created_at: Timestamp(1),
            },
            campaign: Arc::clone(&entry),
        });
        let snapshot = books::Snapshot {
            advertisers: Vec::new(),
            ads: ads.collect(),
            campaigns: vec![Arc::clone(&entry)],
        };
        let catalog = Catalog::default();
        load(&catalog, snapshot).expect("whole");
        for number in 0..10_000 {
            let ad = catalog.ad_by_id(tenant, &format!("ad-{number}")).expect("taken in");
            assert_eq!(ad.destination.url(""), format!("https://shop.example/{number}"));
            assert_eq!(ad.status, Status::Paused);
        }
        let campaign = catalog.campaign(tenant, name_key("c")).expect("taken in");
        assert_eq!(campaign.price_at(Timestamp(0)), 5);
    }
}
