//! Registering the market's advertisers, campaigns and ads, those that begin later at their hour.

use anyhow::{Context, Result};
use axum::http::Method;
use reckon_market::{Ad, CATEGORIES, Market, SIZES};
use serde_json::{Value, json};

use crate::command::client::catalog::{self, Collection, Existing, register};
use crate::command::client::{Call, Client, Retry};

/// Registers everything that is there from the start. May be repeated with the same market.
pub async fn open(client: &mut Client, market: &Market) -> Result<()> {
    let advertisers: Vec<Value> = market
        .advertisers
        .iter()
        .map(|advertiser| catalog::advertiser(&advertiser.advertiser_id))
        .collect();
    let campaigns: Vec<Value> = market
        .campaigns
        .iter()
        .map(|campaign| {
            let advertiser = &market.advertisers[campaign.advertiser].advertiser_id;
            catalog::campaign(&campaign.campaign_id, advertiser, campaign.cpc_micros)
        })
        .collect();
    register(client, Collection::Advertisers, &advertisers, Existing::MustMatch).await?;
    register(client, Collection::Campaigns, &campaigns, Existing::MustMatch).await?;
    launch(client, market, 0).await
}

/// Registers the ads that begin so many hours after the start.
pub async fn launch(client: &mut Client, market: &Market, hour: u32) -> Result<()> {
    let begins = |ad: &&Ad| ad.launch_hour == hour;
    let ads: Vec<Value> = market.ads.iter().filter(begins).map(|ad| object(market, ad)).collect();
    register(client, Collection::Ads, &ads, Existing::MustMatch).await
}

fn object(market: &Market, ad: &Ad) -> Value {
    json!({
        "ad_id": ad.ad_id,
        "campaign_id": market.campaigns[ad.campaign].campaign_id,
        "destination_url": format!("https://{}.example/landing?from=reckon#top", ad.ad_id),
        "category": CATEGORIES[ad.category],
        "creative_size": SIZES[ad.size],
        "status": "active",
    })
}

/// A public write key, as an app carries one: with it a phone's batch is taken, and believed no more
/// than a browser is.
#[derive(Clone, Debug)]
pub struct WriteKey {
    /// Its id, to revoke it by.
    pub key_id: String,
    /// What the app sends.
    pub secret: String,
}

impl WriteKey {
    /// Makes one.
    pub async fn make(client: &mut Client, name: &str) -> Result<Self> {
        let body = json!({"name": name, "kind": "write", "scopes": []});
        let answer = client.send(&Call::post_json("/v1/keys", &body)).await?;
        let answer = answer.success("POST /v1/keys")?.json()?;
        let text = |field: &str| answer[field].as_str().map(str::to_owned);
        let (key_id, secret) =
            text("key_id").zip(text("secret")).context("POST /v1/keys: no key")?;
        Ok(WriteKey { key_id, secret })
    }

    /// Revokes it.
    pub async fn revoke(&self, client: &mut Client) -> Result<()> {
        let path = format!("/v1/keys/{}", self.key_id);
        let call = Call { method: Method::DELETE, ..Call::get(path) }.retry(Retry::Always);
        client.send(&call).await?.success("DELETE /v1/keys").map(drop)
    }
}
