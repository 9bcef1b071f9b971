//! The seam: what every engine of the books can do, one trait a subject.

use async_trait::async_trait;
use reckon_event::{TenantId, Timestamp};

use crate::catalog::{
    Ad, AdPatch, Advertiser, AdvertiserPatch, Campaign, CampaignPatch, Price, Snapshot, Terms,
};
use crate::error::Error;
use crate::key::{ApiKey, SecretHash, Tenant};
use crate::person::Persons;
use crate::replay::{Claim, RequestDigest, StoredResponse};
use crate::tombstone::Tombstones;

/// A creation that left the thing in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created<T> {
    /// It was not there before.
    New(T),
    /// It was there, equal but for its `created_at`; this is the one that is there.
    Same(T),
}

impl<T> Created<T> {
    /// What is in the books now.
    pub fn into_inner(self) -> T {
        match self {
            Created::New(thing) | Created::Same(thing) => thing,
        }
    }

    /// Whether this call put it there.
    pub const fn is_new(&self) -> bool {
        matches!(self, Created::New(_))
    }
}

/// What became of one item of a batch. Kinds: `Conflict` (the id is taken by something that
/// differs), `Collision` (its 64-bit key is another name's), `Invalid` (including a parent that does
/// not exist).
pub type Outcome<T> = Result<Created<T>, Error>;

/// Which part of a list, in the byte order of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Ids above this one; `None` begins at the first.
    pub after: Option<String>,
    /// At most so many, 1 to [`crate::PAGE_ITEMS_MAX`].
    pub limit: u32,
}

/// Who pays.
#[async_trait]
pub trait Advertisers: Send + Sync {
    /// Registers up to [`crate::BATCH_ITEMS_MAX`] at once; all that are acceptable, in one
    /// transaction, one outcome an item in their order. Durable when answered.
    async fn create_advertisers(
        &self,
        tenant: TenantId,
        advertisers: Vec<Advertiser>,
    ) -> Result<Vec<Outcome<Advertiser>>, Error>;

    /// The advertiser of this id, or `NotFound`.
    async fn advertiser(&self, tenant: TenantId, advertiser_id: &str) -> Result<Advertiser, Error>;

    /// A page of the tenant's advertisers.
    async fn list_advertisers(
        &self,
        tenant: TenantId,
        page: Page,
    ) -> Result<Vec<Advertiser>, Error>;

    /// Changes what the patch names; answers what stands now.
    async fn patch_advertiser(
        &self,
        tenant: TenantId,
        advertiser_id: &str,
        patch: AdvertiserPatch,
    ) -> Result<Advertiser, Error>;
}

/// What is paid for.
#[async_trait]
pub trait Campaigns: Send + Sync {
    /// As [`Advertisers::create_advertisers`]. The first terms hold from `created_at`.
    async fn create_campaigns(
        &self,
        tenant: TenantId,
        campaigns: Vec<Campaign>,
    ) -> Result<Vec<Outcome<Campaign>>, Error>;

    /// The campaign of this id, or `NotFound`.
    async fn campaign(&self, tenant: TenantId, campaign_id: &str) -> Result<Campaign, Error>;

    /// A page of the tenant's campaigns, or of one advertiser's.
    async fn list_campaigns(
        &self,
        tenant: TenantId,
        advertiser_id: Option<&str>,
        page: Page,
    ) -> Result<Vec<Campaign>, Error>;

    /// Changes what the patch names; answers what stands now. A new price or budget holds from `at`
    /// on, or from the time of the last change if that is later: nothing that was true of the past
    /// changes. A price and budget that already stand add nothing to the history.
    async fn patch_campaign(
        &self,
        tenant: TenantId,
        campaign_id: &str,
        patch: CampaignPatch,
        at: Timestamp,
    ) -> Result<Campaign, Error>;

    /// All terms the campaign ever had, in the order of their writing; at most
    /// [`crate::TERMS_MAX`]. Look up with [`crate::terms_at`].
    async fn terms(&self, tenant: TenantId, campaign_id: &str) -> Result<Vec<Terms>, Error>;

    /// The price in force at `time`; before the first price: the first.
    async fn price_at(
        &self,
        tenant: TenantId,
        campaign_id: &str,
        time: Timestamp,
    ) -> Result<Price, Error>;
}

/// What is shown and where it leads.
#[async_trait]
pub trait Ads: Send + Sync {
    /// As [`Advertisers::create_advertisers`].
    async fn create_ads(&self, tenant: TenantId, ads: Vec<Ad>) -> Result<Vec<Outcome<Ad>>, Error>;

    /// The ad of this id, or `NotFound`.
    async fn ad(&self, tenant: TenantId, ad_id: &str) -> Result<Ad, Error>;

    /// A page of the tenant's ads, or of one campaign's.
    async fn list_ads(
        &self,
        tenant: TenantId,
        campaign_id: Option<&str>,
        page: Page,
    ) -> Result<Vec<Ad>, Error>;

    /// Changes what the patch names; answers what stands now.
    async fn patch_ad(&self, tenant: TenantId, ad_id: &str, patch: AdPatch) -> Result<Ad, Error>;
}

/// Tenants, and the keys that speak for them.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Every tenant, by number.
    async fn tenants(&self) -> Result<Vec<Tenant>, Error>;

    /// Registers a tenant under the number it names; a number or name taken otherwise is a
    /// `Conflict`.
    async fn create_tenant(&self, tenant: Tenant) -> Outcome<Tenant>;

    /// Registers a key. The same id with the same secret is `Same`; a secret that is another key's,
    /// or an id with another secret, is a `Conflict`.
    async fn create_key(&self, key: ApiKey, secret: SecretHash) -> Outcome<ApiKey>;

    /// The key of this secret, unless it is revoked.
    async fn key_by_secret(&self, secret: SecretHash) -> Result<Option<ApiKey>, Error>;

    /// A page of the tenant's keys, with the revoked ones.
    async fn list_keys(&self, tenant: TenantId, page: Page) -> Result<Vec<ApiKey>, Error>;

    /// Makes the key good for nothing from now on; revoking it again changes nothing. `at` is noted.
    async fn revoke_key(
        &self,
        tenant: TenantId,
        key_id: &str,
        at: Timestamp,
    ) -> Result<ApiKey, Error>;
}

/// Numbers that nobody else ever gets.
#[async_trait]
pub trait Leases: Send + Sync {
    /// The next number of this name, from 1. Durable before it is answered, so that neither a crash
    /// nor a race hands it out twice; a number may be lost. `now` is noted.
    async fn lease(&self, name: &str, now: Timestamp) -> Result<u32, Error>;
}

/// Answers kept for requests that name an idempotency key.
#[async_trait]
pub trait Replays: Send + Sync {
    /// Asks what to do with a request; of several at once exactly one is told `Fresh`.
    async fn begin(
        &self,
        tenant: TenantId,
        key: &str,
        digest: RequestDigest,
        now: Timestamp,
    ) -> Result<Claim, Error>;

    /// Keeps the answer. The first answer stands; later ones are dropped. A body above
    /// [`crate::RESPONSE_BYTES_MAX`] is `Invalid`: abandon it instead.
    async fn complete(
        &self,
        tenant: TenantId,
        key: &str,
        digest: RequestDigest,
        response: StoredResponse,
    ) -> Result<(), Error>;

    /// Lets go of a request that came to no answer worth keeping.
    async fn abandon(
        &self,
        tenant: TenantId,
        key: &str,
        digest: RequestDigest,
    ) -> Result<(), Error>;

    /// Forgets answers older than [`crate::RESPONSE_KEPT_MICROS`], a bounded number at a time;
    /// returns how many. `begin` takes them for forgotten already.
    async fn expire(&self, now: Timestamp) -> Result<u64, Error>;
}

/// All of it: what the server holds as `Arc<dyn Books>`.
#[async_trait]
pub trait Books:
    Advertisers + Campaigns + Ads + Keys + Leases + Persons + Replays + Tombstones
{
    /// The catalog of every tenant as it stood at one moment.
    async fn load_catalog(&self) -> Result<Snapshot, Error>;

    /// Lets go of the engine in good order. Nothing depends on it but the time of the next start.
    async fn close(&self);
}
