//! Catalog objects as JSON: what may be posted, what may be patched, what is answered.
//!
//! An unknown field is refused by name; a `null` in a patch empties a field, an absent one leaves it.

use reckon_books::{
    Ad, AdPatch, Advertiser, AdvertiserPatch, Campaign, CampaignPatch, Status, Targeting,
};
use reckon_event::{Currency, Micros, Timestamp, valid_name};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::destination::destination;
use crate::http::Problem;

/// An advertiser as it is posted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvertiserDraft {
    pub advertiser_id: Option<String>,
    name: String,
    currency: String,
}

/// A campaign as it is posted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignDraft {
    pub campaign_id: Option<String>,
    advertiser_id: String,
    name: String,
    cpc_micros: Micros,
    daily_budget_micros: Option<Micros>,
    targeting: Option<Map<String, Value>>,
    status: Option<String>,
}

/// An ad as it is posted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdDraft {
    pub ad_id: Option<String>,
    campaign_id: String,
    destination_url: String,
    category: Option<String>,
    creative_size: Option<String>,
    append_click_id: Option<String>,
    locale: Option<String>,
    quality: Option<f64>,
    status: Option<String>,
}

/// A change of an advertiser.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvertiserChange {
    name: Option<String>,
}

/// A change of a campaign.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignChange {
    name: Option<String>,
    cpc_micros: Option<Micros>,
    #[serde(default, deserialize_with = "present")]
    daily_budget_micros: Option<Option<Micros>>,
    #[serde(default, deserialize_with = "present")]
    targeting: Option<Option<Map<String, Value>>>,
    status: Option<String>,
}

/// A change of an ad.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdChange {
    destination_url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    category: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    creative_size: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    append_click_id: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    locale: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    quality: Option<Option<f64>>,
    status: Option<String>,
}

/// Tells `null` from absent.
fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// An advertiser as it is answered.
#[derive(Debug, Serialize)]
pub struct AdvertiserView {
    advertiser_id: String,
    name: String,
    currency: String,
    created_at: String,
}

/// A campaign as it is answered.
#[derive(Debug, Serialize)]
pub struct CampaignView {
    campaign_id: String,
    advertiser_id: String,
    name: String,
    cpc_micros: Micros,
    daily_budget_micros: Option<Micros>,
    targeting: Option<Value>,
    status: &'static str,
    created_at: String,
}

/// An ad as it is answered.
#[derive(Debug, Serialize)]
pub struct AdView {
    ad_id: String,
    campaign_id: String,
    destination_url: String,
    category: Option<String>,
    creative_size: Option<String>,
    append_click_id: Option<String>,
    locale: Option<String>,
    quality: Option<f64>,
    status: &'static str,
    created_at: String,
}

impl AdvertiserDraft {
    pub fn check(self, made_id: String, now: Timestamp) -> Result<Advertiser, Problem> {
        let currency = Currency::parse(&self.currency)
            .map_err(|error| Problem::unprocessable(format!("currency: {error}")))?;
        let advertiser_id = self.advertiser_id.unwrap_or(made_id);
        Ok(Advertiser { advertiser_id, name: self.name, currency, created_at: now })
    }
}

impl CampaignDraft {
    pub fn check(self, made_id: String, now: Timestamp) -> Result<Campaign, Problem> {
        Ok(Campaign {
            campaign_id: self.campaign_id.unwrap_or(made_id),
            advertiser_id: self.advertiser_id,
            name: self.name,
            cpc_micros: self.cpc_micros,
            daily_budget_micros: self.daily_budget_micros,
            targeting: self.targeting.map(targeting).transpose()?,
            status: status(self.status.as_deref())?.unwrap_or_default(),
            created_at: now,
        })
    }
}

impl AdDraft {
    pub fn check(self, made_id: String, now: Timestamp) -> Result<Ad, Problem> {
        Ok(Ad {
            ad_id: self.ad_id.unwrap_or(made_id),
            campaign_id: self.campaign_id,
            destination_url: web_address(&self.destination_url)?,
            category: self.category,
            creative_size: self.creative_size,
            append_click_id: self.append_click_id,
            locale: self.locale,
            quality_micros: self.quality.map(micros),
            status: status(self.status.as_deref())?.unwrap_or_default(),
            created_at: now,
        })
    }
}

impl AdvertiserChange {
    pub fn check(self) -> AdvertiserPatch {
        AdvertiserPatch { name: self.name }
    }
}

impl CampaignChange {
    pub fn check(self) -> Result<CampaignPatch, Problem> {
        let targeting = match self.targeting {
            Some(Some(json)) => Some(Some(targeting(json)?)),
            Some(None) => Some(None),
            None => None,
        };
        Ok(CampaignPatch {
            name: self.name,
            cpc_micros: self.cpc_micros,
            daily_budget_micros: self.daily_budget_micros,
            targeting,
            status: status(self.status.as_deref())?,
        })
    }
}

impl AdChange {
    pub fn check(self) -> Result<AdPatch, Problem> {
        Ok(AdPatch {
            destination_url: self.destination_url.as_deref().map(web_address).transpose()?,
            category: self.category,
            creative_size: self.creative_size,
            append_click_id: self.append_click_id,
            locale: self.locale,
            quality_micros: self.quality.map(|quality| quality.map(micros)),
            status: status(self.status.as_deref())?,
        })
    }
}

fn status(text: Option<&str>) -> Result<Option<Status>, Problem> {
    Ok(text.map(Status::parse).transpose()?)
}

/// Millionths of a share; what is none stays outside of 0 to 1.
fn micros(share: f64) -> i64 {
    (share * 1e6).round() as i64
}

fn web_address(text: &str) -> Result<String, Problem> {
    destination(text)
        .map_err(|problem| Problem::unprocessable(format!("destination_url {problem}")))
}

/// The lists that serving knows; each holds names.
const TARGETING: [&str; 3] = ["placements", "geo", "devices"];

fn targeting(json: Map<String, Value>) -> Result<Targeting, Problem> {
    for (key, list) in &json {
        if !TARGETING.contains(&key.as_str()) {
            return Err(Problem::unprocessable(format!(
                "targeting.{key}: there is no such targeting; known are placements, geo, devices"
            )));
        }
        names(key, list)?;
    }
    Ok(Targeting::parse(&Value::Object(json).to_string())?)
}

fn names(key: &str, list: &Value) -> Result<(), Problem> {
    let entries = match list {
        Value::Null => return Ok(()),
        Value::Array(entries) => entries,
        _ => return Err(Problem::malformed(format!("targeting.{key}: must be a list of texts"))),
    };
    for (index, entry) in entries.iter().enumerate() {
        let field = format_args!("targeting.{key}[{index}]");
        let Value::String(text) = entry else {
            return Err(Problem::malformed(format!("{field}: must be a text")));
        };
        valid_name(text).map_err(|error| Problem::unprocessable(format!("{field}: {error}")))?;
    }
    Ok(())
}

impl From<Advertiser> for AdvertiserView {
    fn from(advertiser: Advertiser) -> Self {
        AdvertiserView {
            advertiser_id: advertiser.advertiser_id,
            name: advertiser.name,
            currency: advertiser.currency.to_string(),
            created_at: advertiser.created_at.to_string(),
        }
    }
}

impl From<Campaign> for CampaignView {
    fn from(campaign: Campaign) -> Self {
        CampaignView {
            campaign_id: campaign.campaign_id,
            advertiser_id: campaign.advertiser_id,
            name: campaign.name,
            cpc_micros: campaign.cpc_micros,
            daily_budget_micros: campaign.daily_budget_micros,
            targeting: campaign
                .targeting
                .map(|json| serde_json::from_str(json.as_str()).expect("the books keep JSON")),
            status: campaign.status.as_str(),
            created_at: campaign.created_at.to_string(),
        }
    }
}

impl From<Ad> for AdView {
    fn from(ad: Ad) -> Self {
        AdView {
            ad_id: ad.ad_id,
            campaign_id: ad.campaign_id,
            destination_url: ad.destination_url,
            category: ad.category,
            creative_size: ad.creative_size,
            append_click_id: ad.append_click_id,
            locale: ad.locale,
            quality: ad.quality_micros.map(|micros| micros as f64 / 1e6),
            status: ad.status.as_str(),
            created_at: ad.created_at.to_string(),
        }
    }
}
