//! A lake in a bucket: Amazon S3, or a server that speaks its protocol.
//!
//! What a lake needs of one: strong consistency of gets and lists, durable puts, and
//! `If-None-Match: *`, which makes an object only where none is. The last decides who writes, so a
//! server is asked for it at each opening and refused where it does not know it.
//!
//! **Who tries again.** `object_store` tries server errors (503 `SlowDown` among them), refused
//! connections and broken reads again, at an even pace, until the deadline. What it gives up on because
//! it might have been done (a put or a removal that timed out) is tried again by the lake's own store,
//! which reads what became of it.
//!
//! **One thread for all requests.** Connections belong to the runtime that opened them, and the lake's
//! own stands still between two calls: a connection in its keeping would be found dead or hang. So
//! requests run on a thread of their own, whichever runtime waits for them: the lake's, the audit's.
//!
//! **No multipart.** A file has at most about what one merge reads (64 MB), a single put takes 5 GB,
//! and a single put is whole or not there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
    SpawnedReqwestConnector,
};
use object_store::path::Path as ObjectPath;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use tokio::runtime::{Builder, Runtime};

use crate::place::Remote;
use crate::{LakeError, LakePlace};

/// How to come by a bucket. Nothing is read from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Options {
    /// The bucket, which must be there.
    pub bucket: String,
    /// Where in it the lake is; empty for all of it.
    pub prefix: String,
    /// `http://HOST:PORT` or `https://HOST` of a server; Amazon's of the region where there is none.
    pub endpoint: Option<String>,
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// Who asks; the role of the machine it runs on where there are none.
    pub keys: Option<S3Keys>,
    /// Whether the bucket may keep older versions of objects.
    pub versions: S3Versions,
    /// Further options of `object_store` by their names there, such as `aws_sse_kms_key_id`.
    pub more: BTreeMap<String, String>,
    /// How long one request may take with its answer. A put of 64 MB must fit.
    pub request: Duration,
    /// How long one call may take with all requests that are made for it.
    pub deadline: Duration,
    /// How long to wait before a request is made again; at least a millisecond.
    pub pause: Duration,
}

/// A key and its secret. Only the key is ever printed.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Keys {
    /// The key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The session's token, of keys that are lent for some time.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Keys").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Whether a bucket may keep what is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Versions {
    /// It must not: an erased person would stay in an older version. An opening refuses it.
    Refused,
    /// It may: a rule of the bucket removes older versions, and whoever runs it answers for when.
    Expire,
}

/// How often the lake's store makes a call that `object_store` has given up on.
const TRIES: u32 = 4;
/// Requests for one call, should the deadline allow for more.
const RETRIES_MAX: usize = 1_000;
const CONNECT: Duration = Duration::from_secs(5);
/// What the lake itself decides.
const OURS: [AmazonS3ConfigKey; 2] = [AmazonS3ConfigKey::ConditionalPut, AmazonS3ConfigKey::Bucket];

impl S3Options {
    /// The usual options of a place written `s3://BUCKET/PREFIX` or `s3://BUCKET`.
    pub fn at(url: &str) -> Result<Self, LakeError> {
        let wrong = || refused(url, "must be s3://BUCKET or s3://BUCKET/PREFIX");
        let rest = url.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || bucket.contains(|c: char| c.is_whitespace() || ":@?#".contains(c)) {
            return Err(wrong());
        }
        ObjectPath::parse(prefix).map_err(|error| refused(url, &error.to_string()))?;
        Ok(S3Options {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            endpoint: None,
            region: "us-east-1".to_owned(),
            keys: None,
            versions: S3Versions::Refused,
            more: BTreeMap::new(),
            request: Duration::from_secs(60),
            deadline: Duration::from_secs(180),
            pause: Duration::from_millis(250),
        })
    }

    fn address(&self) -> String {
        let bucket = format!("s3://{}/{}", self.bucket, self.prefix);
        match &self.endpoint {
            Some(endpoint) => format!("{bucket} at {endpoint}"),
            None => format!("{bucket} in {}", self.region),
        }
    }

    /// The options as `object_store` takes them.
    fn builder(&self) -> Result<AmazonS3Builder, LakeError> {
        let is_plain = self.endpoint.as_deref().is_some_and(|one| one.starts_with("http://"));
        let client = ClientOptions::new()
            .with_timeout(self.request)
            .with_connect_timeout(CONNECT.min(self.request))
            .with_allow_http(is_plain);
        let mut builder = AmazonS3Builder::new()
            .with_client_options(client)
            .with_region(&self.region)
            .with_bucket_name(&self.bucket);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(keys) = &self.keys {
            builder = builder
                .with_access_key_id(&keys.access_key_id)
                .with_secret_access_key(&keys.secret_access_key);
            if let Some(token) = &keys.session_token {
                builder = builder.with_token(token);
            }
        }
        for (name, value) in &self.more {
            let key: AmazonS3ConfigKey =
                name.parse().map_err(|_| refused(name, "is no option of a bucket"))?;
            if OURS.contains(&key) {
                return Err(refused(name, "is decided by the lake: leave it out"));
            }
            builder = builder.with_config(key, value);
        }
        Ok(builder.with_retry(self.retries()).with_conditional_put(S3ConditionalPut::ETagMatch))
    }

    /// An even pace: a first wait that is also the longest leaves nothing to chance. One writer does
    /// not make a herd. All tries together end before the deadline, so that it is their reason that is
    /// told.
    fn retries(&self) -> RetryConfig {
        let (init_backoff, max_backoff) = (self.pause, self.pause);
        RetryConfig {
            backoff: BackoffConfig { init_backoff, max_backoff, base: 2.0 },
            max_retries: RETRIES_MAX,
            retry_timeout: self.deadline.saturating_sub(self.request) / TRIES,
        }
    }
}

impl LakePlace {
    /// A prefix of a bucket. Nothing is asked of it yet; what it cannot do is found at the opening.
    pub fn s3(options: &S3Options) -> Result<Self, LakeError> {
        if options.pause < Duration::from_millis(1) || options.deadline < options.request {
            let what = "the pause must be a millisecond or more, the deadline at least one request";
            return Err(refused("pause, request and deadline", what));
        }
        let prefix = ObjectPath::parse(&options.prefix)
            .map_err(|error| refused(&options.prefix, &error.to_string()))?;
        let builder = options.builder()?.with_http_connector(Connector(Requests::start()?));
        let objects =
            builder.build().map_err(|error| refused(&options.address(), &error.to_string()))?;
        let remote = Remote {
            address: options.address(),
            tries: TRIES,
            pause: options.pause,
            deadline: options.deadline,
            may_keep_versions: options.versions == S3Versions::Expire,
        };
        Ok(LakePlace::remote(Arc::new(objects), prefix, remote))
    }
}

fn refused(name: &str, what: &str) -> LakeError {
    LakeError::Setting { name: name.to_owned(), what: what.to_owned() }
}

/// The thread that makes all requests of a place, for as long as somebody has it.
#[derive(Debug)]
struct Requests(Option<Runtime>);

impl Requests {
    fn start() -> Result<Arc<Self>, LakeError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lake-s3")
            .enable_all()
            .build()
            .map_err(|source| LakeError::Folder { path: "a runtime".to_owned(), source })?;
        Ok(Arc::new(Requests(Some(runtime))))
    }
}

impl Drop for Requests {
    /// Whoever drops it may be within another runtime, which must not wait.
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

#[derive(Debug)]
struct Connector(Arc<Requests>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let runtime = self.0.0.as_ref().expect("it is there until it is dropped");
        let client = SpawnedReqwestConnector::new(runtime.handle().clone()).connect(options)?;
        Ok(HttpClient::new(Client { client, _requests: Arc::clone(&self.0) }))
    }
}

/// A client that keeps its thread alive.
#[derive(Debug)]
struct Client {
    client: HttpClient,
    _requests: Arc<Requests>,
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.client.execute(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Result<(String, String), String> {
        let options = S3Options::at(url).map_err(|error| error.to_string())?;
        Ok((options.bucket, options.prefix))
    }

    #[test]
    fn a_place_is_a_bucket_and_perhaps_a_prefix() {
        let pair = |bucket: &str, prefix: &str| Ok((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(at("s3://clicks"), pair("clicks", ""));
        assert_eq!(at("s3://clicks/"), pair("clicks", ""));
        assert_eq!(at("s3://clicks/eu/lake/"), pair("clicks", "eu/lake"));
        for url in
            ["s3:clicks", "s3://", "s3:///lake", "s3://a b", "s3://key@host/a", "s3://a/b//c"]
        {
            assert!(at(url).expect_err(url).starts_with(url), "{url}");
        }
    }

    #[test]
    fn options_that_cannot_be_are_named() {
        let with = |name: &str, value: &str| {
            let mut options = S3Options::at("s3://clicks/lake").expect("a place");
            options.more.insert(name.to_owned(), value.to_owned());
            LakePlace::s3(&options).expect_err(name).to_string()
        };
        assert!(with("colour", "red").starts_with("colour: "));
        assert!(with("aws_conditional_put", "disabled").contains("decided by the lake"));
        assert!(with("aws_unsigned_payload", "perhaps").contains("perhaps"));
        let base = S3Options::at("s3://clicks/lake").expect("a place");
        let hasty = S3Options { pause: Duration::ZERO, ..base };
        assert!(LakePlace::s3(&hasty).expect_err("no pause").to_string().contains("millisecond"));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let keys = S3Keys {
            access_key_id: "who".to_owned(),
            secret_access_key: "hidden".to_owned(),
            session_token: Some("hidden".to_owned()),
        };
        let options = S3Options { keys: Some(keys), ..S3Options::at("s3://a").expect("a place") };
        let printed = format!("{options:?}");
        assert!(printed.contains("who") && !printed.contains("hidden"), "{printed}");
    }
}
