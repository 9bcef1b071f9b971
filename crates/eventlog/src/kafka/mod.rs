//! The log on Kafka: three topics, each split by slots, values as JSON that anybody can read.
//!
//! ```text
//!                 append                                         read
//!                   |                                              ^
//!     value: JSON   v                                              |  tail: read ahead
//!          lane: flights in order                         one place a partition
//!                   |                                              ^
//!     sender: one idempotent producer                  follower: one consumer, assigned by hand
//!                   |                                              |
//!                   +---------->  topics of the brokers  ----------+
//!                                          keeper: bounds, positions, poison values
//! ```
//!
//! "Durable" means that at least [`Options::in_sync_min`] brokers have all records of an append in
//! memory (`acks=all`). Everything else is decided here rather than by the library, because it decides
//! value by value: see `lane` for how order is kept, `sender` for what a session is. What stands in
//! the topics, what each setting means, and what each failure leaves, is told in `docs/kafka.md`.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use reckon_event::{Kind, Slot};

mod ask;
mod bounds;
mod client;
mod follower;
mod keeper;
mod lane;
mod sender;
mod tail;
mod topics;
mod value;
#[cfg(test)]
mod value_survives;
mod values;
mod words;

use crate::{
    Chunk, Durability, EventLog, LaneHealth, Outcome, ReadError, Receipt, check_records, own_id,
};
use ask::ask;
use bounds::Bounds;
use follower::{Follower, Inbox, Quiet};
use keeper::Keeper;
use lane::{Lane, Staged};
use sender::{Outbox, Sender, Session, appender};
use tail::{Looked, Tail, Trouble};
use topics::Topics;
use values::Values;

pub use follower::POISON_KIND;

/// How long a read waits where another has just waited in vain.
const DRY_PATIENCE: Duration = Duration::from_millis(50);
/// A partition is read ahead by this much, at least.
const TAIL_BYTES_MIN: usize = 256 * 1_024;
/// So many lanes' worth of what may be staged fits into one.
const LANE_SHARE: usize = 8;

/// Who lets go of old records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retire {
    /// Kafka, by the topics' retention: others may still be reading what Reckon has counted.
    #[default]
    ByRetention,
    /// Reckon, as soon as checkpoint and lake have them: nobody else reads these topics.
    AtOnce,
}

/// How a log is kept.
#[derive(Clone)]
pub struct Options {
    /// Where the brokers are, as `host:port,host:port`; some of them are enough.
    pub brokers: String,
    /// Stands before the names of all topics and of the group.
    pub topic_prefix: String,
    /// Partitions of each topic. Fixed for the life of a log.
    pub partitions: u16,
    /// How many brokers have each record, where topics are made.
    pub replication: u16,
    /// How many of them must have it before it is acknowledged. Topics that are there must not have
    /// less.
    pub in_sync_min: u16,
    /// How long records are kept, where topics are made.
    pub retention: Duration,
    /// Who lets go of records.
    pub retire: Retire,
    /// Values that have been appended and not been answered, in bytes of JSON. Appends beyond are
    /// refused; one partition takes at most an eighth.
    pub staging_bytes_max: usize,
    /// An append is answered within this time and an eighth of it.
    pub delivery_timeout: Duration,
    /// Each question to a broker is answered in this time, or asked again.
    pub request_timeout: Duration,
    /// How long a message waits for others to go with.
    pub linger: Duration,
    /// How long a read waits for a record that is known to be there.
    pub read_timeout: Duration,
    /// Records that are read ahead, in bytes; at least 256 KiB a partition.
    pub read_ahead_bytes: usize,
    /// Further settings of librdkafka by their names, such as `security.protocol`.
    pub settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            brokers: "127.0.0.1:9092".to_owned(),
            topic_prefix: String::new(),
            partitions: 64,
            replication: 3,
            in_sync_min: 2,
            retention: Duration::from_secs(7 * 24 * 3_600),
            retire: Retire::default(),
            staging_bytes_max: 64 * 1_024 * 1_024,
            delivery_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(5),
            linger: Duration::from_millis(2),
            read_timeout: Duration::from_secs(5),
            read_ahead_bytes: 64 * 1_024 * 1_024,
            settings: Vec::new(),
        }
    }
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option makes no sense.
    #[error("log.kafka.{name} {what}")]
    Option {
        /// Which.
        name: &'static str,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// No broker answers.
    #[error(
        "kafka at {brokers} does not answer: {source}: is log.kafka.brokers right, and are they up?"
    )]
    Unreachable {
        /// As configured.
        brokers: String,
        /// What the library says.
        source: KafkaError,
    },
    /// Another number of partitions than the log was made with.
    #[error(
        "topic {topic} of kafka at {brokers} has {found} partitions and log.kafka.partitions says \
         {asked}: the number is fixed for the life of a log, so set log.kafka.partitions = {found}"
    )]
    Partitions {
        /// The topic's name.
        topic: String,
        /// As configured.
        brokers: String,
        /// How many it has.
        found: usize,
        /// How many were asked for.
        asked: u16,
    },
    /// A topic cannot be made, or is not as it must be.
    #[error("topic {topic} of kafka at {brokers}: {what}")]
    Topic {
        /// The topic's name.
        topic: String,
        /// As configured.
        brokers: String,
        /// What is wrong with it.
        what: String,
    },
    /// The library refuses a setting.
    #[error("log.kafka.settings for kafka at {brokers}: {source}")]
    Client {
        /// As configured.
        brokers: String,
        /// What the library says.
        source: KafkaError,
    },
    /// No thread can be started.
    #[error("the log's threads: {0}")]
    Thread(#[from] std::io::Error),
}

impl Error {
    fn unreachable(options: &Options, source: KafkaError) -> Self {
        Error::Unreachable { brokers: options.brokers.clone(), source }
    }

    fn client(options: &Options, source: KafkaError) -> Self {
        Error::Client { brokers: options.brokers.clone(), source }
    }

    fn topic(options: &Options, topic: &str, what: String) -> Self {
        Error::Topic { topic: topic.to_owned(), brokers: options.brokers.clone(), what }
    }
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        let wrong = |name, what: &str| Err(Error::Option { name, what: what.to_owned() });
        if self.brokers.trim().is_empty() {
            return wrong("brokers", "is empty: name a broker as host:port");
        }
        if self.partitions == 0 || self.partitions > reckon_event::SLOT_COUNT {
            return wrong("partitions", "must be 1 to 1024");
        }
        if self.in_sync_min == 0 || self.in_sync_min > self.replication {
            return wrong("in_sync_min", "must be at least 1 and at most log.kafka.replication");
        }
        if self.delivery_timeout < self.request_timeout || self.request_timeout.is_zero() {
            return wrong(
                "delivery_timeout_ms",
                "must be at least log.kafka.request_timeout_ms, and that above 0",
            );
        }
        if let Some(setting) = client::forbidden(self) {
            let what = format!("names {setting}, which is not free to choose: leave it out");
            return Err(Error::Option { name: "settings", what });
        }
        Ok(())
    }

    fn copies(&self) -> u8 {
        u8::try_from(self.in_sync_min).unwrap_or(u8::MAX)
    }

    const fn lane_bytes_max(&self) -> usize {
        self.staging_bytes_max / LANE_SHARE
    }

    fn tail_bytes_max(&self) -> usize {
        (self.read_ahead_bytes / 3 / usize::from(self.partitions)).max(TAIL_BYTES_MIN)
    }
}

/// The log on Kafka.
pub struct KafkaLog {
    options: Options,
    topics: Arc<Topics>,
    bounds: Arc<Bounds>,
    outbox: Arc<Outbox>,
    inbox: Arc<Inbox>,
    admin: AdminClient<DefaultClientContext>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl KafkaLog {
    /// Opens the log, making the topics that are missing. `incarnation` must be higher than at every
    /// open before, by any process.
    pub fn open(options: Options, incarnation: u32) -> Result<KafkaLog, Error> {
        options.check()?;
        let topics = Arc::new(Topics::new(&options));
        let admin: AdminClient<DefaultClientContext> =
            client::admin(&options).create().map_err(|source| Error::client(&options, source))?;
        topics.prepare(&admin, &options)?;
        let bounds = Arc::new(Bounds::new(topics.count()));
        let (inbox, follower, keeper) = reading(&options, &topics, &bounds)?;
        let (outbox, sender) = writing(&options, &topics, &bounds, incarnation)?;
        let threads = vec![
            thread::Builder::new().name("log-kafka-send".to_owned()).spawn(|| sender.run())?,
            thread::Builder::new().name("log-kafka-fetch".to_owned()).spawn(|| follower.run())?,
            thread::Builder::new().name("log-kafka-keep".to_owned()).spawn(|| keeper.run())?,
        ];
        let threads = Mutex::new(threads);
        Ok(KafkaLog { options, topics, bounds, outbox, inbox, admin, threads })
    }

    /// How it is kept.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Refuses further appends and waits until all are answered, for the time of a delivery at most.
    /// A second call does nothing.
    pub fn close(&self) {
        self.outbox.lanes.iter().for_each(Lane::close);
        self.outbox.closing.store(true, Ordering::Release);
        self.inbox.closing.store(true, Ordering::Release);
        self.inbox.stir();
        for thread in std::mem::take(&mut *self.threads.lock().expect("no holder panics")) {
            // A panic of its own has been told where it happened.
            thread.join().ok();
        }
    }

    /// How each partition is. One that gets nothing through is fenced: it refuses all appends but one
    /// at a time, which find out when it is well again.
    pub fn health(&self) -> Vec<LaneHealth> {
        let health = |lane: &Lane| match lane.health() {
            (true, _) => LaneHealth::Closed,
            (false, Some(trouble)) => LaneHealth::Fenced(trouble),
            (false, None) => LaneHealth::Writable,
        };
        self.outbox.lanes.iter().map(health).collect()
    }

    /// How many values were found that are no records, and were taken to the topic of poison values.
    pub fn poisoned(&self) -> u64 {
        self.inbox.poisoned.load(Ordering::Relaxed)
    }

    /// Why nothing came, as far as anybody knows.
    fn unavailable(&self, partition: u16) -> ReadError {
        let (topic, number) = self.topics.of(partition);
        ReadError::Unavailable(format!(
            "kafka at {}: no record of {topic}/{number} came within {:?}: {}",
            self.options.brokers,
            self.options.read_timeout,
            self.inbox.complaint(),
        ))
    }

    fn delete_records(&self, partition: u16, before: u64) -> Result<(), ReadError> {
        let (topic, number) = self.topics.of(partition);
        let failed = |what: String| {
            let brokers = &self.options.brokers;
            ReadError::Unavailable(format!("kafka at {brokers}: retiring {topic}/{number}: {what}"))
        };
        let mut list = TopicPartitionList::new();
        let before = Offset::Offset(i64::try_from(before).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, number, before).map_err(|e| failed(e.to_string()))?;
        let options = topics::admin_options(&self.options);
        ask(&self.options, || {
            let told = block_on(self.admin.delete_records(&list, &options))?;
            told.elements().iter().try_for_each(TopicPartitionListElem::error)
        })
        .map_err(|error| failed(error.to_string()))
    }
}

/// What reading needs.
fn reading(
    options: &Options,
    topics: &Arc<Topics>,
    bounds: &Arc<Bounds>,
) -> Result<(Arc<Inbox>, Follower, Keeper), Error> {
    let tails = (0..topics.count()).map(|_| Tail::new(options.tail_bytes_max())).collect();
    let inbox = Arc::new(Inbox::new(tails, Arc::clone(topics), Arc::clone(bounds)));
    let mut consumer: BaseConsumer<Quiet> = client::consumer(options, topics)
        .create_with_context(Quiet(Arc::clone(&inbox)))
        .map_err(|source| Error::client(options, source))?;
    let stirred = Arc::clone(&inbox);
    consumer.set_nonempty_callback(move || stirred.stir());
    let consumer = Arc::new(consumer);
    let keeper = Keeper::new(options, Arc::clone(&inbox), Arc::clone(&consumer))?;
    let follower = Follower::new(Arc::clone(&inbox), consumer);
    Ok((inbox, follower, keeper))
}

/// What appending needs.
fn writing(
    options: &Options,
    topics: &Arc<Topics>,
    bounds: &Arc<Bounds>,
    incarnation: u32,
) -> Result<(Arc<Outbox>, Sender), Error> {
    let bytes_max = options.staging_bytes_max;
    let staged = Arc::new(Staged { bytes: AtomicUsize::new(0), bytes_max });
    let lane = |number: u16| {
        let appender = appender(incarnation, u32::from(number) + 1);
        Lane::new(number, options, Arc::clone(&staged), appender)
    };
    let lanes = (0..topics.count()).map(lane).collect();
    let outbox = Arc::new(Outbox::new(lanes, Arc::clone(topics), Arc::clone(bounds)));
    let session = Session::begin(options, &outbox)?;
    let sender = Sender::new(options, Arc::clone(&outbox), session, incarnation);
    Ok((outbox, sender))
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl EventLog for KafkaLog {
    fn partitions(&self) -> u16 {
        self.topics.count()
    }

    fn partition_of(&self, kind: Kind, slot: Slot) -> u16 {
        self.topics.place(kind.topic(), slot)
    }

    fn slots(&self, partition: u16) -> Range<u16> {
        self.topics.slots(partition)
    }

    fn append(&self, partition: u16, records: &[u8], count: u32) -> Receipt {
        check_records(self, partition, records, count);
        if count == 0 {
            let copies = self.options.copies();
            return Receipt::settled(Outcome::Durable(Durability::Replicated(copies)));
        }
        let values = Values::of(records, count);
        let lane = &self.outbox.lanes[usize::from(partition)];
        lane.append(values, own_id(records), self.outbox.now())
    }

    fn read(&self, partition: u16, from: u64, bytes_max: usize) -> Result<Chunk, ReadError> {
        let tail = &self.inbox.tails[usize::from(partition)];
        let _turn = tail.turn();
        let Range { start, end } = self.bounds.range(partition);
        if from < start {
            return Err(ReadError::Gone { asked: from, start });
        }
        if tail.go_to(from) {
            self.inbox.order(partition);
        }
        let patience = match from < end {
            false => Duration::ZERO,
            true if self.inbox.is_dry.load(Ordering::Relaxed) => DRY_PATIENCE,
            true => self.options.read_timeout,
        };
        let looked = tail.look(bytes_max, patience);
        let start = self.bounds.range(partition).start;
        match looked {
            Looked::Chunk(chunk) => Ok(chunk),
            _ if from < start => Err(ReadError::Gone { asked: from, start }),
            Looked::Trouble(Trouble::Damage(what)) => Err(ReadError::Damaged {
                place: format!("kafka at {}", self.options.brokers),
                what,
            }),
            _ if from >= end => Ok(Chunk { next: from, ..Chunk::default() }),
            Looked::Trouble(Trouble::Passing(what)) => Err(ReadError::Unavailable(what)),
            Looked::Nothing => {
                self.inbox.is_dry.store(true, Ordering::Relaxed);
                Err(self.unavailable(partition))
            }
        }
    }

    fn range(&self, partition: u16) -> Range<u64> {
        self.bounds.range(partition)
    }

    fn wait(&self, partition: u16, beyond: u64, timeout: Duration) -> u64 {
        self.bounds.wait(partition, beyond, timeout)
    }

    fn retire(&self, partition: u16, before: u64) -> Result<u64, ReadError> {
        let Range { start, end } = self.bounds.range(partition);
        let before = before.min(end);
        if self.options.retire == Retire::AtOnce && before > start {
            self.delete_records(partition, before)?;
            self.bounds.raise_start(partition, before);
        }
        Ok(self.bounds.range(partition).start)
    }
}
