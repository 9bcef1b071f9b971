//! The topics: their names, which partition of the log is which of theirs, and that they are as they
//! must be.
//!
//! Missing topics are made. One that is there is never changed: it may be somebody's on purpose, so
//! what is wrong with it is told, with what to do.

use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;
use reckon_event::{Kind, Slot, Topic};

use super::ask::ask;
use super::{Error, Options};

/// Partitions of the topic of poison values: few are ever written.
const DEAD_PARTITIONS: i32 = 3;
/// A value is never longer (see `value`), with room for what surrounds it.
const MESSAGE_BYTES_MIN: u64 = 256 * 1_024;

/// What a topic of ours is called.
const fn name(topic: Topic) -> &'static str {
    match topic {
        Topic::Impressions => "ad-impressions",
        Topic::Clicks => "ad-clicks",
        Topic::Events => "ad_click_prediction-events",
    }
}

/// The group whose committed positions tools measure lag by.
const GROUP: &str = "ad_click_prediction-processors";
/// Where values go that are no records.
const DEAD: &str = "ad_click_prediction-events-dlq";

/// Names and numbers.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    names: [String; Topic::ALL.len()],
    /// Partitions of each topic.
    partitions: u16,
    /// The consumer group.
    pub group: String,
    /// Where values go that are no records.
    pub dead: String,
}

impl Topics {
    pub fn new(options: &Options) -> Self {
        let prefix = &options.topic_prefix;
        Topics {
            names: Topic::ALL.map(|topic| format!("{prefix}{}", name(topic))),
            partitions: options.partitions,
            group: format!("{prefix}{GROUP}"),
            dead: format!("{prefix}{DEAD}"),
        }
    }

    /// Partitions of the log: those of all topics.
    pub const fn count(&self) -> u16 {
        self.partitions * Topic::ALL.len() as u16
    }

    /// The log's partition of a topic and slot.
    pub const fn place(&self, topic: Topic, slot: Slot) -> u16 {
        topic as u16 * self.partitions + slot.range_of(self.partitions)
    }

    /// True where a record is in its place: see [`crate::EventLog::holds`].
    pub fn holds(&self, place: u16, kind_code: u8, slot: Slot) -> bool {
        match Kind::from_code(kind_code) {
            None | Some(Kind::Control) => self.slots(place).contains(&slot.number()),
            Some(kind) => self.place(kind.topic(), slot) == place,
        }
    }

    /// Topic and partition of a partition of the log.
    pub fn of(&self, place: u16) -> (&str, i32) {
        let (topic, partition) = (place / self.partitions, place % self.partitions);
        (&self.names[usize::from(topic)], i32::from(partition))
    }

    /// The log's partition of what came from a topic.
    pub fn find(&self, topic: &str, partition: i32) -> Option<u16> {
        let at = self.names.iter().position(|name| name == topic)?;
        let partition = u16::try_from(partition).ok().filter(|&one| one < self.partitions)?;
        Some(at as u16 * self.partitions + partition)
    }

    /// The slots of a partition of the log.
    pub const fn slots(&self, place: u16) -> std::ops::Range<u16> {
        Slot::range(place % self.partitions, self.partitions)
    }

    /// Makes what is missing and looks at what is there.
    pub fn prepare(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        options: &Options,
    ) -> Result<(), Error> {
        let mut metadata = self.metadata(admin, options)?;
        let missing: Vec<&String> =
            self.all().filter(|name| partitions_in(&metadata, name) == 0).collect();
        if !missing.is_empty() {
            self.create(admin, options, &missing)?;
            metadata = self.await_leaders(admin, options)?;
        }
        for name in &self.names {
            let found = partitions_in(&metadata, name);
            if found != usize::from(self.partitions) {
                return Err(Error::Partitions {
                    topic: name.clone(),
                    brokers: options.brokers.clone(),
                    found,
                    asked: self.partitions,
                });
            }
        }
        self.check_settings(admin, options)
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.names.iter().chain([&self.dead])
    }

    fn metadata(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        options: &Options,
    ) -> Result<Metadata, Error> {
        ask(options, || admin.inner().fetch_metadata(None, options.request_timeout))
            .map_err(|source| Error::unreachable(options, source))
    }

    fn create(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        options: &Options,
        missing: &[&String],
    ) -> Result<(), Error> {
        let retention = options.retention.as_millis().to_string();
        let in_sync = options.in_sync_min.to_string();
        let topics: Vec<NewTopic<'_>> = missing
            .iter()
            .map(|name| {
                let is_dead = **name == self.dead;
                let count = if is_dead { DEAD_PARTITIONS } else { i32::from(self.partitions) };
                let replication = TopicReplication::Fixed(i32::from(options.replication));
                NewTopic::new(name, count, replication)
                    .set("retention.ms", &retention)
                    .set("min.insync.replicas", &in_sync)
                    .set("cleanup.policy", "delete")
                    .set("unclean.leader.election.enable", "false")
                    // Kept by the broker's clock: what clients believe of the time deletes nothing.
                    .set("message.timestamp.type", "LogAppendTime")
            })
            .collect();
        let mut blamed = missing[0].clone();
        ask(options, || {
            for result in block_on(admin.create_topics(&topics, &admin_options(options)))? {
                match result {
                    // Another process was quicker.
                    Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                    Err((topic, code)) => {
                        blamed = topic;
                        return Err(KafkaError::AdminOp(code));
                    }
                }
            }
            Ok(())
        })
        .map_err(|source| Error::topic(options, &blamed, source.to_string()))
    }

    /// A topic that was just made is known to its brokers a moment later.
    fn await_leaders(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        options: &Options,
    ) -> Result<Metadata, Error> {
        const LOOKS: u32 = 100;
        for _ in 0..LOOKS {
            let metadata = self.metadata(admin, options)?;
            if self.all().all(|name| has_leaders(&metadata, name)) {
                return Ok(metadata);
            }
            std::thread::sleep(options.request_timeout / LOOKS);
        }
        let what = "some partitions have no leader; are enough brokers up?".to_owned();
        Err(Error::topic(options, &self.names[0], what))
    }

    /// What an acknowledgement is worth depends on these.
    fn check_settings(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        options: &Options,
    ) -> Result<(), Error> {
        for name in &self.names {
            let resource = ask(options, || describe(admin, options, name))
                .map_err(|source| Error::topic(options, name, source.to_string()))?;
            if let Some(what) = wrong_setting(&resource, options) {
                return Err(Error::topic(options, name, what));
            }
        }
        Ok(())
    }
}

fn describe(
    admin: &AdminClient<DefaultClientContext>,
    options: &Options,
    topic: &str,
) -> KafkaResult<ConfigResource> {
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = block_on(admin.describe_configs(&asked, &admin_options(options)))?;
    match told.into_iter().next() {
        Some(Ok(resource)) if !resource.entries.is_empty() => Ok(resource),
        Some(Err(code)) => Err(KafkaError::AdminOp(code)),
        // A broker that has not heard of the topic yet knows of no settings.
        _ => Err(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition)),
    }
}

pub(crate) fn admin_options(options: &Options) -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(options.request_timeout))
        .operation_timeout(Some(options.request_timeout))
}

fn partitions_in(metadata: &Metadata, topic: &str) -> usize {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    found.map_or(0, |found| found.partitions().len())
}

fn has_leaders(metadata: &Metadata, topic: &str) -> bool {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    found.is_some_and(|found| {
        !found.partitions().is_empty() && found.partitions().iter().all(|one| one.leader() >= 0)
    })
}

/// Why acknowledged records might be lost in a topic, if they might.
fn wrong_setting(resource: &ConfigResource, options: &Options) -> Option<String> {
    let value =
        |name: &str| resource.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or("");
    let number = |name: &str| value(name).parse().unwrap_or(0_u64);
    let (in_sync, least) = (number("min.insync.replicas"), u64::from(options.in_sync_min));
    if in_sync < least {
        return Some(format!(
            "min.insync.replicas is {in_sync} and log.kafka.in_sync_min says {least}: raise the \
             topic's, or lower ours"
        ));
    }
    if value("cleanup.policy") != "delete" {
        let policy = value("cleanup.policy");
        return Some(format!("cleanup.policy is {policy}, which loses records: set it to delete"));
    }
    if value("unclean.leader.election.enable") == "true" {
        return Some(
            "unclean.leader.election.enable is true, which loses acknowledged records: set it to \
             false"
                .to_owned(),
        );
    }
    let longest = number("max.message.bytes");
    (longest < MESSAGE_BYTES_MIN)
        .then(|| format!("max.message.bytes is {longest}: set it to {MESSAGE_BYTES_MIN} or more"))
}
