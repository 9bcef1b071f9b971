//! What advertisers, campaigns and ads have in common, so that the handlers are written once.

use std::collections::HashMap;
use std::future::Future;

use reckon_books::{Ad, Advertiser, Campaign, Created, Error, Outcome, Page, Terms};
use reckon_event::{Currency, TenantId, Timestamp, name_key};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{
    AdChange, AdDraft, AdView, AdvertiserChange, AdvertiserDraft, AdvertiserView, CampaignChange,
    CampaignDraft, CampaignView,
};
use crate::app::App;
use crate::catalog_load;
use crate::http::Problem;

/// A kind of thing in the catalog.
pub trait Resource: Clone + Send + Sync + 'static {
    /// The last part of its path, and the name of its list.
    const PLURAL: &'static str;
    /// How ids that are made begin.
    const MADE: &'static str;
    /// The parameter that lists the things of one parent.
    const PARENT: Option<&'static str>;
    /// What is posted.
    type Draft: DeserializeOwned + Send;
    /// What is patched.
    type Change: DeserializeOwned + Send;
    /// What is answered.
    type View: From<Self> + Serialize + Send;

    /// Its id.
    fn id(&self) -> &str;

    /// The thing that was posted; `made_id` is taken where it brings no id.
    fn check(draft: Self::Draft, made_id: String, now: Timestamp) -> Result<Self, Problem>;

    /// Writes many to the books.
    fn create(
        app: &App,
        tenant: TenantId,
        things: Vec<Self>,
    ) -> impl Future<Output = Result<Vec<Outcome<Self>>, Error>> + Send;

    /// Reads one.
    fn get(
        app: &App,
        tenant: TenantId,
        id: &str,
    ) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Reads a page, of one parent where given.
    fn list(
        app: &App,
        tenant: TenantId,
        parent: Option<&str>,
        page: Page,
    ) -> impl Future<Output = Result<Vec<Self>, Error>> + Send;

    /// Changes one in the books.
    fn change(
        app: &App,
        tenant: TenantId,
        id: &str,
        change: Self::Change,
    ) -> impl Future<Output = Result<Self, Problem>> + Send;

    /// Tells the edge's catalog what stands in the books now. Called in the order of the writes.
    fn publish(
        app: &App,
        tenant: TenantId,
        written: &[Written<'_, Self>],
    ) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// A thing that a request has written, or has found as it wanted to write it.
#[derive(Debug)]
pub enum Written<'a, R> {
    /// It is new.
    New(&'a R),
    /// It stood there before.
    Same(&'a R),
    /// It was changed.
    Changed(&'a R),
}

impl<'a, R> Written<'a, R> {
    /// What a creation did; nothing where it was refused.
    pub fn of(outcome: &'a Outcome<R>) -> Option<Self> {
        match outcome {
            Ok(Created::New(thing)) => Some(Written::New(thing)),
            Ok(Created::Same(thing)) => Some(Written::Same(thing)),
            Err(_) => None,
        }
    }

    const fn thing(&self) -> &'a R {
        match self {
            Written::New(thing) | Written::Same(thing) | Written::Changed(thing) => thing,
        }
    }
}

impl Resource for Advertiser {
    const PLURAL: &'static str = "advertisers";
    const MADE: &'static str = "adv_";
    const PARENT: Option<&'static str> = None;
    type Draft = AdvertiserDraft;
    type Change = AdvertiserChange;
    type View = AdvertiserView;

    fn id(&self) -> &str {
        &self.advertiser_id
    }

    fn check(draft: AdvertiserDraft, made_id: String, now: Timestamp) -> Result<Self, Problem> {
        draft.check(made_id, now)
    }

    async fn create(
        app: &App,
        tenant: TenantId,
        things: Vec<Self>,
    ) -> Result<Vec<Outcome<Self>>, Error> {
        app.books.create_advertisers(tenant, things).await
    }

    async fn get(app: &App, tenant: TenantId, id: &str) -> Result<Self, Error> {
        app.books.advertiser(tenant, id).await
    }

    async fn list(
        app: &App,
        tenant: TenantId,
        _parent: Option<&str>,
        page: Page,
    ) -> Result<Vec<Self>, Error> {
        app.books.list_advertisers(tenant, page).await
    }

    async fn change(
        app: &App,
        tenant: TenantId,
        id: &str,
        change: AdvertiserChange,
    ) -> Result<Self, Problem> {
        Ok(app.books.patch_advertiser(tenant, id, change.check()).await?)
    }

    /// The edge knows no advertisers: their currency stands in its campaigns, and never changes.
    async fn publish(_: &App, _: TenantId, _: &[Written<'_, Self>]) -> Result<(), Problem> {
        Ok(())
    }
}

impl Resource for Campaign {
    const PLURAL: &'static str = "campaigns";
    const MADE: &'static str = "cmp_";
    const PARENT: Option<&'static str> = Some("advertiser_id");
    type Draft = CampaignDraft;
    type Change = CampaignChange;
    type View = CampaignView;

    fn id(&self) -> &str {
        &self.campaign_id
    }

    fn check(draft: CampaignDraft, made_id: String, now: Timestamp) -> Result<Self, Problem> {
        draft.check(made_id, now)
    }

    async fn create(
        app: &App,
        tenant: TenantId,
        things: Vec<Self>,
    ) -> Result<Vec<Outcome<Self>>, Error> {
        app.books.create_campaigns(tenant, things).await
    }

    async fn get(app: &App, tenant: TenantId, id: &str) -> Result<Self, Error> {
        app.books.campaign(tenant, id).await
    }

    async fn list(
        app: &App,
        tenant: TenantId,
        parent: Option<&str>,
        page: Page,
    ) -> Result<Vec<Self>, Error> {
        app.books.list_campaigns(tenant, parent, page).await
    }

    async fn change(
        app: &App,
        tenant: TenantId,
        id: &str,
        change: CampaignChange,
    ) -> Result<Self, Problem> {
        let at = app.edge.clock.now();
        Ok(app.books.patch_campaign(tenant, id, change.check()?, at).await?)
    }

    async fn publish(
        app: &App,
        tenant: TenantId,
        written: &[Written<'_, Self>],
    ) -> Result<(), Problem> {
        let catalog = &app.edge.catalog;
        let mut currencies = HashMap::new();
        for entry in written {
            let campaign = entry.thing();
            let known = || catalog.campaign(tenant, name_key(&campaign.campaign_id)).is_some();
            let terms = match entry {
                Written::New(_) => vec![first_terms(campaign)],
                Written::Same(_) if known() => continue,
                _ => app.books.terms(tenant, &campaign.campaign_id).await?,
            };
            let currency = currency(app, tenant, &campaign.advertiser_id, &mut currencies).await?;
            let campaign = catalog_load::campaign(tenant, campaign, currency, &terms)
                .map_err(|error| Problem::internal(format!("{error:#}")))?;
            catalog.put_campaign(campaign);
        }
        Ok(())
    }
}

/// What the books write for a campaign that is new.
const fn first_terms(campaign: &Campaign) -> Terms {
    Terms {
        from: campaign.created_at,
        cpc_micros: campaign.cpc_micros,
        daily_budget_micros: campaign.daily_budget_micros,
    }
}

async fn currency<'a>(
    app: &App,
    tenant: TenantId,
    advertiser_id: &'a str,
    known: &mut HashMap<&'a str, Currency>,
) -> Result<Currency, Problem> {
    if let Some(&currency) = known.get(advertiser_id) {
        return Ok(currency);
    }
    let currency = app.books.advertiser(tenant, advertiser_id).await?.currency;
    known.insert(advertiser_id, currency);
    Ok(currency)
}

impl Resource for Ad {
    const PLURAL: &'static str = "ads";
    const MADE: &'static str = "ad_";
    const PARENT: Option<&'static str> = Some("campaign_id");
    type Draft = AdDraft;
    type Change = AdChange;
    type View = AdView;

    fn id(&self) -> &str {
        &self.ad_id
    }

    fn check(draft: AdDraft, made_id: String, now: Timestamp) -> Result<Self, Problem> {
        draft.check(made_id, now)
    }

    async fn create(
        app: &App,
        tenant: TenantId,
        things: Vec<Self>,
    ) -> Result<Vec<Outcome<Self>>, Error> {
        app.books.create_ads(tenant, things).await
    }

    async fn get(app: &App, tenant: TenantId, id: &str) -> Result<Self, Error> {
        app.books.ad(tenant, id).await
    }

    async fn list(
        app: &App,
        tenant: TenantId,
        parent: Option<&str>,
        page: Page,
    ) -> Result<Vec<Self>, Error> {
        app.books.list_ads(tenant, parent, page).await
    }

    async fn change(
        app: &App,
        tenant: TenantId,
        id: &str,
        change: AdChange,
    ) -> Result<Self, Problem> {
        Ok(app.books.patch_ad(tenant, id, change.check()?).await?)
    }

    async fn publish(
        app: &App,
        tenant: TenantId,
        written: &[Written<'_, Self>],
    ) -> Result<(), Problem> {
        for entry in written {
            app.edge.catalog.put_ad(catalog_load::ad(tenant, entry.thing()));
        }
        Ok(())
    }
}
