//! Registering what a command needs: an advertiser, campaigns and ads that may be there already.

use anyhow::{Result, bail};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Call, Client, Retry};

/// The most objects of one request.
const BATCH_MAX: usize = 1_000;

/// What stands already under an id that is to be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It may differ from what is to be registered, and stays as it is.
    Keep,
    /// It must be the same.
    MustMatch,
}

/// Which of the three collections of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Who pays.
    Advertisers,
    /// What is paid for a click.
    Campaigns,
    /// Where a click goes.
    Ads,
}

impl Collection {
    const fn path(self) -> &'static str {
        match self {
            Collection::Advertisers => "/v1/advertisers",
            Collection::Campaigns => "/v1/campaigns",
            Collection::Ads => "/v1/ads",
        }
    }
}

/// An advertiser who pays in euros.
pub fn advertiser(advertiser_id: &str) -> Value {
    json!({"advertiser_id": advertiser_id, "name": advertiser_id, "currency": "EUR"})
}

/// An active campaign.
pub fn campaign(campaign_id: &str, advertiser_id: &str, cpc_micros: i64) -> Value {
    json!({
        "campaign_id": campaign_id, "advertiser_id": advertiser_id, "name": campaign_id,
        "cpc_micros": cpc_micros, "status": "active",
    })
}

/// An active ad.
pub fn ad(ad_id: &str, campaign_id: &str, destination_url: &str) -> Value {
    json!({
        "ad_id": ad_id, "campaign_id": campaign_id, "destination_url": destination_url,
        "status": "active",
    })
}

/// Registers all of them, many a request. May be repeated.
pub async fn register(
    client: &mut Client,
    collection: Collection,
    objects: &[Value],
    existing: Existing,
) -> Result<()> {
    for chunk in objects.chunks(BATCH_MAX) {
        let answer = post(client, collection, &Value::from(chunk)).await?;
        match answer.status {
            // One of them differs: find out which, and let the others be registered.
            StatusCode::CONFLICT => one_by_one(client, collection, chunk, existing).await?,
            _ => drop(answer.success(&format!("POST {}", collection.path()))?),
        }
    }
    Ok(())
}

async fn one_by_one(
    client: &mut Client,
    collection: Collection,
    objects: &[Value],
    existing: Existing,
) -> Result<()> {
    for object in objects {
        let answer = post(client, collection, object).await?;
        match (answer.status, existing) {
            (StatusCode::CONFLICT, Existing::Keep) => {}
            (StatusCode::CONFLICT, Existing::MustMatch) => {
                bail!("{object} is registered already, with other values")
            }
            _ => drop(answer.success(&format!("POST {} {object}", collection.path()))?),
        }
    }
    Ok(())
}

async fn post(client: &mut Client, collection: Collection, body: &Value) -> Result<super::Answer> {
    // The ids are given, so a second request finds the first one's objects.
    client.send(&Call::post_json(collection.path(), body).retry(Retry::Always)).await
}
