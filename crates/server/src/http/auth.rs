//! Who may ask: bearer keys with scopes, public write keys, and rate limits for each.
//!
//! Keys are looked up in the books by the hash of their secret and remembered for a few seconds, so
//! a revoked key dies soon on every node and at once on the one that revoked it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::RwLock;
use reckon_books::{ApiKey, Books, KeyKind, Scopes, SecretHash};
use reckon_event::TenantId;

use super::problem::Problem;

/// How long a key is remembered before the books are asked again.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
/// Keys remembered; the table is emptied when it is full.
const REMEMBERED_MAX: usize = 10_000;

/// A key that was recognised.
pub struct Holder {
    /// The key, without its secret.
    pub key: ApiKey,
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Holder {
    /// Whose data it may see.
    pub const fn tenant(&self) -> TenantId {
        self.key.tenant
    }

    fn admit(&self) -> Result<(), Problem> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        limiter
            .check()
            .map_err(|until| too_many(until.wait_time_from(DefaultClock::default().now())))
    }
}

fn too_many(wait: Duration) -> Problem {
    Problem::too_many(u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX))
}

type Remembered = HashMap<[u8; 32], (Arc<Holder>, Instant)>;

/// Recognises keys and admits requests.
pub struct Gate {
    books: Arc<dyn Books>,
    /// By the hash of the secret, with the time the books were asked.
    remembered: RwLock<Remembered>,
    anonymous: Option<DefaultKeyedRateLimiter<IpAddr>>,
}

impl Gate {
    /// A gate before these books; `anonymous_per_second` is the limit of an address without a key.
    pub fn new(books: Arc<dyn Books>, anonymous_per_second: u32) -> Self {
        let quota = NonZeroU32::new(anonymous_per_second).map(Quota::per_second);
        Gate { books, remembered: RwLock::default(), anonymous: quota.map(RateLimiter::keyed) }
    }

    /// The holder of the request's bearer key with this scope, admitted by its rate limit.
    pub async fn require(
        &self,
        headers: &HeaderMap,
        scope: Scopes,
    ) -> Result<Arc<Holder>, Problem> {
        let holder = self.identify(headers).await?;
        if !holder.key.scopes.contains(scope) {
            let names: Vec<&str> = scope.names().collect();
            return Err(Problem::forbidden(format!(
                "the key's scopes do not hold {}",
                names.join(", ")
            )));
        }
        holder.admit()?;
        Ok(holder)
    }

    /// The holder of the request's bearer key, whatever its scopes; its rate limit is not asked.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Arc<Holder>, Problem> {
        let Some(secret) = bearer(headers)? else {
            return Err(Problem::unauthenticated(
                "this needs an API key: send Authorization: Bearer KEY",
            ));
        };
        self.recognise(secret).await
    }

    /// The holder of a key that may send events: a bearer key with `collect`, or a write key given in
    /// the query or body. `None` where there is no key at all.
    pub async fn sender(
        &self,
        headers: &HeaderMap,
        write_key: Option<&str>,
    ) -> Result<Option<Arc<Holder>>, Problem> {
        if bearer(headers)?.is_some() {
            return self.require(headers, Scopes::COLLECT).await.map(Some);
        }
        let Some(secret) = write_key else {
            return Ok(None);
        };
        let holder = self.recognise(secret).await?;
        if holder.key.kind != KeyKind::Write {
            return Err(Problem::forbidden(
                "a secret key does not belong in a query or body: send it as a bearer key",
            ));
        }
        holder.admit()?;
        Ok(Some(holder))
    }

    /// Admits a request without a key.
    pub fn admit_anonymous(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let (Some(limiter), Some(address)) = (&self.anonymous, address) else {
            return Ok(());
        };
        limiter
            .check_key(&address)
            .map_err(|until| too_many(until.wait_time_from(DefaultClock::default().now())))
    }

    /// Forgets what is remembered of keys; after one was revoked.
    pub fn forget(&self) {
        self.remembered.write().clear();
    }

    /// Forgets addresses that have not asked for a while; called now and then.
    pub fn sweep(&self) {
        if let Some(limiter) = &self.anonymous {
            limiter.retain_recent();
        }
    }

    async fn recognise(&self, secret: &str) -> Result<Arc<Holder>, Problem> {
        let hash = SecretHash::of(secret);
        if let Some((holder, since)) = self.remembered.read().get(&hash.0)
            && since.elapsed() < REMEMBERED_FOR
        {
            return Ok(Arc::clone(holder));
        }
        let key = self.books.key_by_secret(hash).await?;
        let key = key
            .ok_or_else(|| Problem::unauthenticated("the API key is not known, or was revoked"))?;
        let quota = key.requests_per_second.and_then(NonZeroU32::new).map(Quota::per_second);
        let holder = Arc::new(Holder { key, limiter: quota.map(RateLimiter::direct) });
        self.remember(hash, holder)
    }

    /// Keeps the limiter of a key that is remembered already: asking the books again must not refill
    /// its bucket.
    fn remember(&self, hash: SecretHash, fresh: Arc<Holder>) -> Result<Arc<Holder>, Problem> {
        let mut remembered = self.remembered.write();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        let holder = match remembered.remove(&hash.0) {
            Some((old, _)) if old.key == fresh.key => old,
            _ => fresh,
        };
        remembered.insert(hash.0, (Arc::clone(&holder), Instant::now()));
        Ok(holder)
    }
}

/// The bearer key of a request; another scheme is an error that says so.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .map_err(|_| Problem::unauthenticated("Authorization is not readable text"))?;
    match text.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(secret.trim())),
        _ => Err(Problem::unauthenticated("Authorization must be: Bearer KEY")),
    }
}
