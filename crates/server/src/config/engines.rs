//! What the engines of others are told, each in a section below that of the seam it serves.

use std::fmt;

use anyhow::{Context, Result};
use serde::Deserialize;

/// A text that is not printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    pub nodes: Secret,
    pub prefix: String,
    pub seconds_to_live: u32,
    pub replicas: usize,
    pub read_ms_max: u64,
    pub write_ms_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retire {
    Retention,
    Counted,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    pub brokers: String,
    pub topic_prefix: String,
    pub partitions: u16,
    pub replication: u16,
    pub in_sync_min: u16,
    pub retire: Retire,
    pub delivery_timeout_ms: u64,
    pub request_timeout_ms: u64,
    pub linger_ms: u64,
    pub read_timeout_ms: u64,
    pub read_ahead_bytes: usize,
    pub settings: Secret,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clickhouse {
    pub url: String,
    pub database: String,
    pub user: String,
    pub password: Secret,
    pub deadline_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    pub connections_max: u32,
    pub acquire_timeout_ms: u64,
    pub call_timeout_ms: u64,
    pub bulk_timeout_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Versions {
    Refused,
    Expire,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    pub endpoint: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Secret,
    pub versions: Versions,
    pub request_ms: u64,
    pub deadline_ms: u64,
    pub settings: Secret,
}

impl Secret {
    /// The pairs of a text `name=value;name=value`.
    pub fn pairs(&self) -> Result<Vec<(String, String)>> {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').context("write name=value;name=value")?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        self.0.split(';').filter(|part| !part.trim().is_empty()).map(pair).collect()
    }
}
