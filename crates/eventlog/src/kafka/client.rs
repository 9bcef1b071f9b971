//! How librdkafka is set up. Whatever a user configures comes last, so that security settings and
//! the like need no key of ours; but nothing that a promise hangs on can be overridden.

use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use super::Options;
use super::topics::Topics;

/// Settings that promises hang on: `Options::settings` may not name them.
const OURS: [&str; 13] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "group.id",
    "isolation.level",
    "message.timeout.ms",
    "request.required.acks",
    "transactional.id",
];

/// The first setting of a user's that is ours to make.
pub(crate) fn forbidden(options: &Options) -> Option<&str> {
    let names = options.settings.iter().map(|(name, _)| name.as_str());
    names.into_iter().find(|name| OURS.contains(name))
}

/// The library takes no less.
const SETUP_MIN: Duration = Duration::from_secs(1);

fn base(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", "reckon")
        .set("allow.auto.create.topics", "false")
        .set("socket.timeout.ms", millis(options.request_timeout))
        .set("socket.connection.setup.timeout.ms", millis(options.request_timeout.max(SETUP_MIN)))
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("log.connection.close", "false");
    config
}

fn with_settings(mut config: ClientConfig, options: &Options) -> ClientConfig {
    for (name, value) in &options.settings {
        config.set(name, value);
    }
    config.set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// For topics, and for retiring.
pub(crate) fn admin(options: &Options) -> ClientConfig {
    with_settings(base(options), options)
}

/// For appends. Messages never time out in the library, and a gap is fatal to it: what is given up
/// is decided by the sender, for a whole partition at once, so that order is kept.
pub(crate) fn producer(options: &Options) -> ClientConfig {
    let mut config = base(options);
    let queue_kbytes = options.staging_bytes_max / 1_024 * 2 + 1_024;
    config
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("request.timeout.ms", millis(options.request_timeout))
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "500")
        .set("linger.ms", millis(options.linger))
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", queue_kbytes.to_string());
    with_settings(config, options)
}

/// For poison values: few, each waited for.
pub(crate) fn undertaker(options: &Options) -> ClientConfig {
    let mut config = base(options);
    config
        .set("acks", "all")
        .set("message.timeout.ms", millis(options.request_timeout))
        .set("linger.ms", "0");
    with_settings(config, options)
}

/// For reading: partitions are assigned by hand, and a position that is not there is an error.
pub(crate) fn consumer(options: &Options, topics: &Topics) -> ClientConfig {
    let mut config = base(options);
    config
        .set("group.id", &topics.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        // A partition that somebody begins to read waits for the answer that is under way.
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "50")
        .set("fetch.message.max.bytes", (options.tail_bytes_max() / 2).to_string())
        .set("queued.max.messages.kbytes", "16384");
    with_settings(config, options)
}

fn millis(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}
