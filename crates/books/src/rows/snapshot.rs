//! The whole catalog in memory, put together from rows: campaigns come first and are shared by their
//! ads.

use std::collections::HashMap;
use std::sync::Arc;

use reckon_event::{Currency, TenantId};

use super::catalog::{TermsColumns, terms_of};
use super::entity::Entity;
use super::tenant_of;
use crate::catalog::{Ad, AdEntry, Advertiser, Campaign, CampaignEntry, Terms};
use crate::error::Error;

/// Rows held at once beside what is made of them.
pub(crate) const ROWS_PER_PAGE: usize = 10_000;

/// `tenant, campaign_id, sequence`: where a row of the terms stands.
pub(crate) type TermsPlace = (i64, String, i64);

/// Terms by campaign, filled in the order of the rows.
#[derive(Default)]
pub(crate) struct Histories(HashMap<(TenantId, String), Vec<Terms>>);

impl Histories {
    pub(crate) fn add(&mut self, place: &TermsPlace, terms: TermsColumns) -> Result<(), Error> {
        let (tenant, campaign_id, _) = place;
        let of_campaign = self.0.entry((tenant_of(*tenant)?, campaign_id.clone())).or_default();
        of_campaign.push(terms_of(terms));
        Ok(())
    }
}

/// Campaigns with their currency and history, in their order.
pub(crate) fn campaigns(
    advertisers: &[(TenantId, Advertiser)],
    mut histories: Histories,
    campaigns: Vec<(TenantId, Campaign)>,
) -> Result<Vec<Arc<CampaignEntry>>, Error> {
    let currency_of: HashMap<(TenantId, &str), Currency> = advertisers
        .iter()
        .map(|(tenant, advertiser)| ((*tenant, advertiser.id()), advertiser.currency))
        .collect();
    let entry = |(tenant, campaign): (TenantId, Campaign)| {
        let currency = currency_of.get(&(tenant, campaign.parent_id()));
        let terms = histories.0.remove(&(tenant, campaign.campaign_id.clone()));
        let (Some(&currency), Some(terms)) = (currency, terms) else {
            let id = &campaign.campaign_id;
            return Err(Error::damaged(format!("campaign `{id}` has no advertiser or no terms")));
        };
        Ok(Arc::new(CampaignEntry { tenant, campaign, currency, terms }))
    };
    campaigns.into_iter().map(entry).collect()
}

/// Finds the campaign of an ad.
pub(crate) struct Payers<'a>(HashMap<(TenantId, &'a str), &'a Arc<CampaignEntry>>);

impl<'a> Payers<'a> {
    pub(crate) fn new(campaigns: &'a [Arc<CampaignEntry>]) -> Self {
        let by_id = |entry: &'a Arc<CampaignEntry>| ((entry.tenant, entry.campaign.id()), entry);
        Payers(campaigns.iter().map(by_id).collect())
    }

    pub(crate) fn entry(&self, tenant: TenantId, ad: Ad) -> Result<AdEntry, Error> {
        let Some(&campaign) = self.0.get(&(tenant, ad.parent_id())) else {
            return Err(Error::damaged(format!("ad `{}` has no campaign", ad.ad_id)));
        };
        Ok(AdEntry { tenant, ad, campaign: Arc::clone(campaign) })
    }
}
