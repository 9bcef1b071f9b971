//! The log that a configuration names.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use reckon_books::Books;
use reckon_disk::Disk;
use reckon_event::Timestamp;
use reckon_eventlog::kafka::{self, KafkaLog};
use reckon_eventlog::{DiskLog, EventLog, LaneHealth};

use crate::config::{Config, LogEngine, Retire};
use crate::data_dir::DataDir;

/// An open log, and what of it is its engine's own.
#[derive(Clone)]
pub enum Log {
    /// Segments below the data folder.
    Disk(Arc<DiskLog>),
    /// Topics of brokers.
    Kafka(Arc<KafkaLog>),
}

impl Log {
    /// Opens it. `incarnation` is higher than at every open before.
    pub fn open(
        config: &Config,
        dir: &DataDir,
        disk: Arc<dyn Disk>,
        incarnation: u32,
    ) -> Result<Self> {
        match config.log.engine {
            LogEngine::Disk => Self::on_disk(config, &dir.log(), disk, incarnation),
            LogEngine::Kafka => {
                let log = KafkaLog::open(kafka_options(config)?, incarnation).context("log")?;
                Ok(Log::Kafka(Arc::new(log)))
            }
        }
    }

    /// Opens the log of a folder.
    pub fn on_disk(
        config: &Config,
        folder: &Path,
        disk: Arc<dyn Disk>,
        incarnation: u32,
    ) -> Result<Self> {
        let options = reckon_eventlog::Options {
            lanes: config.log.lanes,
            segment_bytes: config.log.segment_bytes,
            segment_age: Duration::from_secs(config.log.segment_age_s),
            staging_bytes_max: config.log.staging_bytes_max,
            commit_delay_max: Duration::from_micros(config.log.commit_delay_us),
            preallocate_bytes: config.log.preallocate_bytes,
            ..Default::default()
        };
        let (log, recovery) = DiskLog::open(disk, folder, options, incarnation)
            .with_context(|| format!("log: {}", folder.display()))?;
        for torn in recovery.lanes.iter().filter_map(|lane| lane.torn.as_ref()) {
            eprintln!(
                "log: an unfinished commit was cut off at {torn}; nothing in it was acknowledged"
            );
        }
        Ok(Log::Disk(Arc::new(log)))
    }

    /// The log, as everybody else knows it.
    pub fn shared(&self) -> Arc<dyn EventLog> {
        match self {
            Log::Disk(log) => Arc::clone(log) as _,
            Log::Kafka(log) => Arc::clone(log) as _,
        }
    }

    /// Refuses further appends and waits until all are answered.
    pub fn close(&self) -> Result<()> {
        match self {
            Log::Disk(log) => log.close().context("log"),
            Log::Kafka(log) => {
                log.close();
                Ok(())
            }
        }
    }

    /// What keeps it from taking records; empty where nothing does.
    pub fn troubles(&self) -> Vec<String> {
        let (part, lanes) = match self {
            Log::Disk(log) => ("lane", log.health()),
            Log::Kafka(log) => ("partition", log.health()),
        };
        let sick = lanes.iter().enumerate().filter(|(_, how)| **how != LaneHealth::Writable);
        sick.map(|(at, how)| format!("log {part} {at} is {how:?}").to_lowercase()).collect()
    }
}

fn kafka_options(config: &Config) -> Result<kafka::Options> {
    let told = &config.log.kafka;
    let retain = u64::try_from(config.log.retain_s).context("log.retain_s")?;
    Ok(kafka::Options {
        brokers: told.brokers.clone(),
        topic_prefix: told.topic_prefix.clone(),
        partitions: told.partitions,
        replication: told.replication,
        in_sync_min: told.in_sync_min,
        retention: Duration::from_secs(retain),
        retire: match told.retire {
            Retire::Retention => kafka::Retire::ByRetention,
            Retire::Counted => kafka::Retire::AtOnce,
        },
        staging_bytes_max: config.log.staging_bytes_max,
        delivery_timeout: Duration::from_millis(told.delivery_timeout_ms),
        request_timeout: Duration::from_millis(told.request_timeout_ms),
        linger: Duration::from_millis(told.linger_ms),
        read_timeout: Duration::from_millis(told.read_timeout_ms),
        read_ahead_bytes: told.read_ahead_bytes,
        settings: told.settings.pairs().context("log.kafka.settings")?,
    })
}

/// Where each partition of a log begins that no server has open.
pub async fn log_starts(
    config: &Config,
    dir: &DataDir,
    disk: Arc<dyn Disk>,
    books: &dyn Books,
    now: Timestamp,
) -> Result<Vec<u64>> {
    let incarnation = books.lease("incarnation", now).await.context("books")?;
    let log = Log::open(config, dir, disk, incarnation)?;
    let opened = log.shared();
    let starts = (0..opened.partitions()).map(|partition| opened.range(partition).start).collect();
    log.close()?;
    Ok(starts)
}
