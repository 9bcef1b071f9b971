//! Names behind the keys that counting knows campaigns and ads by.

use std::collections::HashMap;
use std::sync::Arc;

use reckon_books::{CampaignEntry, Snapshot};
use reckon_event::{TenantId, name_key};

use crate::error::Error;

/// The catalog, by key.
#[derive(Debug, Default)]
pub struct Names {
    campaigns: HashMap<(TenantId, u64), Arc<CampaignEntry>, foldhash::fast::RandomState>,
    ads: HashMap<(TenantId, u64), String, foldhash::fast::RandomState>,
}

impl Names {
    /// The names of a snapshot.
    pub fn of(snapshot: Snapshot) -> Self {
        let campaigns = snapshot.campaigns.into_iter();
        let ads = snapshot.ads.into_iter();
        Names {
            campaigns: campaigns
                .map(|entry| ((entry.tenant, name_key(&entry.campaign.campaign_id)), entry))
                .collect(),
            ads: ads
                .map(|entry| ((entry.tenant, name_key(&entry.ad.ad_id)), entry.ad.ad_id))
                .collect(),
        }
    }

    /// The campaign of a key.
    pub fn campaign(&self, tenant: TenantId, key: u64) -> Result<&CampaignEntry, Error> {
        let found = self.campaigns.get(&(tenant, key)).map(|entry| &**entry);
        found.ok_or(Error::Unknown { what: "campaign", tenant, key })
    }

    /// The id of the ad of a key.
    pub fn ad(&self, tenant: TenantId, key: u64) -> Result<&str, Error> {
        let found = self.ads.get(&(tenant, key)).map(String::as_str);
        found.ok_or(Error::Unknown { what: "ad", tenant, key })
    }
}
