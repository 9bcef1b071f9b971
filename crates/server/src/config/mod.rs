//! Configuration: what the default file, the user's file and the environment say, taken together.
//!
//! `config/default.toml` is compiled in and is the only place of defaults: a struct here has no
//! default, so a key that is missing there does not compile into a value, and a key that is unknown
//! is an error that names it.

#![expect(missing_docs, reason = "each key is told once, in config/default.toml")]

mod engines;

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use toml::{Table, Value};

pub use engines::{Clickhouse, Kafka, Postgres, Redis, Retire, S3, Secret, Versions};

const DEFAULTS: &str = include_str!("../../../../config/default.toml");
const ENVIRONMENT_PREFIX: &str = "RECKON__";

/// The whole configuration; one field a section of `config/default.toml`, where each key is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub log: Log,
    pub counter: Counter,
    pub rollup: Rollup,
    pub feature: Feature,
    pub model: Model,
    pub explore: Explore,
    pub books: Books,
    pub lake: Lake,
    pub audit: Audit,
    pub token: Token,
    pub click: Click,
    pub events: Events,
    pub rules: Rules,
    pub metrics: Metrics,
    pub time: Time,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: String,
    pub admin_listen: String,
    pub grpc_listen: String,
    pub public_url: String,
    pub body_bytes_max: usize,
    pub body_bytes_decompressed_max: usize,
    pub batch_events_max: usize,
    pub connections_max: usize,
    pub head_timeout_ms: u64,
    pub body_timeout_ms: u64,
    pub shutdown_ms: u64,
    pub client_ip_header: String,
    pub region_header: String,
    pub anonymous_requests_per_second: u32,
    pub threads: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogEngine {
    Disk,
    Kafka,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub engine: LogEngine,
    pub lanes: u16,
    pub segment_bytes: u64,
    pub segment_age_s: u64,
    pub retain_s: i64,
    pub staging_bytes_max: usize,
    pub commit_delay_us: u64,
    pub preallocate_bytes: u64,
    pub kafka: Kafka,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CounterEngine {
    Embedded,
    Flink,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    pub engine: CounterEngine,
    pub epoch_ms: u64,
    pub epoch_records_max: usize,
    pub checkpoint_epochs: u64,
    pub opaque_horizon_s: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RollupEngine {
    Files,
    Clickhouse,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollup {
    pub engine: RollupEngine,
    pub seconds_bytes_max: u64,
    pub clickhouse: Clickhouse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureEngine {
    Memory,
    Redis,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    pub engine: FeatureEngine,
    pub entities_max: usize,
    pub columns: bool,
    pub age_s_max: i64,
    pub persons_max: usize,
    pub plan: String,
    pub bytes_max: usize,
    pub redis: Redis,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub bundle: String,
    pub bits: u8,
    pub attribution_s: i64,
    pub pending_bytes_max: usize,
    pub publish_epochs: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explore {
    pub draws: u32,
    pub floor: f32,
    pub width: f32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Books {
    pub url: Secret,
    pub postgres: Postgres,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lake {
    pub url: String,
    pub s3: S3,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    pub hourly: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub expiry_s: i64,
    pub expiry_batch_s: i64,
    pub horizon_margin_s: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unsigned {
    Gross,
    Count,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Click {
    pub unsigned: Unsigned,
    pub unsigned_window_s: i64,
    pub wait_ms_max: u64,
    pub spool_events_max: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    pub future_skew_s: i64,
    pub age_s_max: i64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub enabled: bool,
    pub too_fast_ms: i64,
    pub robots_file: String,
    pub networks_file: String,
    pub file: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub rows_max: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    pub server_lateness_s: i64,
    pub client_lateness_s: i64,
}

impl Config {
    /// Defaults, then the file, then the environment's variables.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self> {
        let mut table: Table = DEFAULTS.parse().context("config/default.toml")?;
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let over: Table =
                text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
            lay_over(&mut table, over, "").with_context(|| format!("in {}", path.display()))?;
        }
        for (name, value) in environment {
            if let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                set(&mut table, key, &value).with_context(|| format!("in the variable {name}"))?;
            }
        }
        let config: Config = Value::Table(table).try_into().context("in the configuration")?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let bounds = [
            ("log.lanes", i64::from(self.log.lanes), 1, 64),
            ("log.segment_bytes", i64::try_from(self.log.segment_bytes)?, 1 << 16, 1 << 34),
            ("log.retain_s", self.log.retain_s, self.model.attribution_s, 3_650 * 86_400),
            ("server.batch_events_max", i64::try_from(self.server.batch_events_max)?, 1, 1_000_000),
            ("counter.epoch_ms", i64::try_from(self.counter.epoch_ms)?, 1, 10_000),
            (
                "counter.epoch_records_max",
                i64::try_from(self.counter.epoch_records_max)?,
                1,
                10_000_000,
            ),
            ("token.expiry_s", self.token.expiry_s, 1, 7 * 86_400),
            ("token.expiry_batch_s", self.token.expiry_batch_s, 1, 7 * 86_400),
            ("token.horizon_margin_s", self.token.horizon_margin_s, 3_600, 30 * 86_400),
            ("click.wait_ms_max", i64::try_from(self.click.wait_ms_max)?, 1, 60_000),
            ("feature.entities_max", i64::try_from(self.feature.entities_max)?, 1_000, 1 << 30),
            ("feature.age_s_max", self.feature.age_s_max, 1, 86_400),
            ("feature.persons_max", i64::try_from(self.feature.persons_max)?, 1, 1 << 30),
            ("model.bits", i64::from(self.model.bits), 16, 28),
            ("model.attribution_s", self.model.attribution_s, 1, 30 * 86_400),
            (
                "model.pending_bytes_max",
                i64::try_from(self.model.pending_bytes_max)?,
                1 << 20,
                1 << 40,
            ),
            ("model.publish_epochs", i64::from(self.model.publish_epochs), 1, 1_000),
            ("explore.draws", i64::from(self.explore.draws), 1, 10_000),
        ];
        for (key, value, least, most) in bounds {
            if value < least || value > most {
                bail!("{key} = {value}: must be {least} to {most}");
            }
        }
        if !(0.0..=1.0).contains(&self.explore.floor) {
            bail!("explore.floor = {}: must be 0 to 1", self.explore.floor);
        }
        if !(0.0..=100.0).contains(&self.explore.width) {
            bail!("explore.width = {}: must be 0 to 100", self.explore.width);
        }
        self.check_engines()
    }

    /// What engines of others must be told.
    fn check_engines(&self) -> Result<()> {
        if self.counter.engine == CounterEngine::Flink {
            bail!("counter.engine: the engine \"flink\" is not in this build; use the default");
        }
        let missing = [
            (
                "log.kafka.brokers",
                self.log.engine == LogEngine::Kafka && self.log.kafka.brokers.is_empty(),
                "name some of the brokers, as host:port,host:port",
            ),
            (
                "rollup.clickhouse.url",
                self.rollup.engine == RollupEngine::Clickhouse
                    && self.rollup.clickhouse.url.is_empty(),
                "name the server's HTTP interface, as http://host:8123",
            ),
            (
                "feature.redis.nodes",
                self.feature.engine == FeatureEngine::Redis
                    && self.feature.redis.nodes.0.is_empty(),
                "name some nodes of the cluster, as host:port,host:port",
            ),
        ];
        match missing.into_iter().find(|&(_, is_missing, _)| is_missing) {
            Some((key, _, fix)) => bail!("{key} is empty: {fix}"),
            None => Ok(()),
        }
    }

    /// How long the ids of minted impressions must be remembered, in microseconds.
    pub fn minted_horizon_us(&self) -> i64 {
        let seconds =
            self.token.expiry_s.max(self.token.expiry_batch_s) + self.token.horizon_margin_s;
        seconds * 1_000_000
    }
}

fn lay_over(base: &mut Table, over: Table, path: &str) -> Result<()> {
    for (key, value) in over {
        let place = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (base.get_mut(&key), value) {
            (None, _) => bail!("unknown key {place}; every key stands in config/default.toml"),
            (Some(Value::Table(inner)), Value::Table(value)) => lay_over(inner, value, &place)?,
            (Some(Value::Table(_)), _) => bail!("{place} is a section: write [{place}]"),
            (Some(old), value) => *old = value,
        }
    }
    Ok(())
}

/// Sets one key from `SECTION__KEY`, or from `SECTION__ENGINE__KEY`. The text is taken as the type that
/// the default has.
fn set(table: &mut Table, key: &str, text: &str) -> Result<()> {
    let key = key.to_lowercase().replace("__", ".");
    let Some((sections, name)) = key.rsplit_once('.') else {
        bail!("write RECKON__SECTION__KEY");
    };
    let section = sections
        .split('.')
        .try_fold(table, |table, section| table.get_mut(section).and_then(Value::as_table_mut));
    let slot = section
        .and_then(|section| section.get_mut(name))
        .with_context(|| format!("unknown key {key}; every key stands in config/default.toml"))?;
    *slot = match slot {
        Value::Table(_) => bail!("{key} is a section: write RECKON__SECTION__KEY"),
        Value::Integer(_) => {
            Value::Integer(text.parse().with_context(|| format!("{text:?} is not a whole number"))?)
        }
        Value::Float(_) => {
            Value::Float(text.parse().with_context(|| format!("{text:?} is not a number"))?)
        }
        Value::Boolean(_) => {
            Value::Boolean(text.parse().with_context(|| format!("{text:?} is not true or false"))?)
        }
        _ => Value::String(text.to_owned()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Config> {
        Config::load(None, pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())))
    }

    #[test]
    fn the_defaults_are_whole() {
        let config = load(&[]).expect("the default file has every key");
        assert_eq!(config.log.engine, LogEngine::Disk);
        assert!(config.rules.enabled);
    }

    #[test]
    fn the_environment_lies_over_the_defaults() {
        let config = load(&[
            ("RECKON__CLICK__UNSIGNED", "count"),
            ("RECKON__RULES__ENABLED", "false"),
            ("HOME", "x"),
        ])
        .expect("known keys");
        assert_eq!(config.click.unsigned, Unsigned::Count);
        assert!(!config.rules.enabled);
    }

    #[track_caller]
    fn refused(key: &str, value: &str, part: &str) {
        let error = format!("{:#}", load(&[(key, value)]).expect_err("refused"));
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        refused("RECKON__CLICK__UNSINGED", "count", "click.unsinged");
        refused("RECKON__LOG__LANES", "many", "not a whole number");
        refused("RECKON__LOG__LANES", "0", "log.lanes = 0");
        refused("RECKON__LOG__ENGINE", "pulsar", "pulsar");
        refused("RECKON__LOG__ENGINE", "kafka", "log.kafka.brokers");
        refused("RECKON__ROLLUP__ENGINE", "clickhouse", "rollup.clickhouse.url");
        refused("RECKON__COUNTER__ENGINE", "flink", "not in this build");
        refused("RECKON__FEATURE__ENGINE", "redis", "feature.redis.nodes");
        refused("RECKON__FEATURE__REDIS", "x", "is a section");
        refused("RECKON__FEATURE__REDIS__NODE", "x", "feature.redis.node;");
        refused("RECKON__FEATURE__REDIS__REPLICAS", "x", "not a whole number");
    }

    #[test]
    fn what_engines_are_told_is_not_printed() {
        let nodes = "redis://user:pa55word@one.example:6379";
        let pairs =
            [("RECKON__FEATURE__ENGINE", "redis"), ("RECKON__FEATURE__REDIS__NODES", nodes)];
        let config = load(&pairs).expect("known keys");
        assert_eq!(config.feature.redis.nodes.0, nodes);
        assert!(!format!("{config:?}").contains("pa55word"));
    }
}
