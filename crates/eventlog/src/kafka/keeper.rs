//! The thread that keeps house: asks for the bounds of all partitions, tells tools how far reading has
//! come, looks into what the consumer doubts, and takes poison values away.
//!
//! A value that is no record is written to a topic of its own before anybody is shown what stands in
//! for it, so it is never lost. It may be there twice: its key tells where it was found.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::ask::ask;
use super::follower::{Burial, Inbox, Quiet, passing};
use super::tail::Trouble;
use super::{Error, Options, client};

/// Between two looks at the bounds.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks that somebody asks for.
const PAUSE: Duration = Duration::from_millis(100);
/// So many looks, and positions are committed.
const COMMIT_LOOKS: u32 = 5;
/// So many doubts in a row, and records that are not there are gone for good: half a minute, as a
/// broker that has hung tells an old end until it hears who leads.
const DOUBTS_MAX: u32 = 300;
/// A poison value is cut here: with what surrounds it, it must fit into a message.
const VALUE_BYTES_MAX: usize = 900_000;

/// The house-keeping thread.
pub(crate) struct Keeper {
    options: Options,
    inbox: Arc<Inbox>,
    consumer: Arc<BaseConsumer<Quiet>>,
    undertaker: Option<BaseProducer<Told>>,
    /// What was committed last.
    committed: Vec<u64>,
    doubts: u32,
}

/// Whether the one value on its way was delivered.
#[derive(Default)]
struct Told(AtomicBool);

impl ClientContext for Told {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        self.0.store(delivered.is_ok(), Ordering::Release);
    }
}

impl Keeper {
    /// Asks for the bounds of all partitions: a reader must know where the log begins.
    pub fn new(
        options: &Options,
        inbox: Arc<Inbox>,
        consumer: Arc<BaseConsumer<Quiet>>,
    ) -> Result<Self, Error> {
        let committed = vec![0; inbox.tails.len()];
        let options = options.clone();
        let keeper = Keeper { options, inbox, consumer, undertaker: None, committed, doubts: 0 };
        ask(&keeper.options, || keeper.learn())
            .map_err(|source| Error::unreachable(&keeper.options, source))?;
        Ok(keeper)
    }

    /// Runs until the log is closed.
    pub fn run(mut self) {
        let mut looks = 0_u32;
        while !self.inbox.closing.load(Ordering::Acquire) {
            self.inbox.nap(EVERY);
            for burial in self.inbox.burials() {
                self.bury(&burial);
            }
            let is_doubted = self.inbox.is_doubted.swap(false, Ordering::AcqRel);
            match self.look() {
                Ok(ends) if is_doubted => self.settle(&ends),
                Ok(_) => self.doubts = 0,
                Err(error) => {
                    self.inbox.complain(error.to_string());
                    self.inbox.is_doubted.fetch_or(is_doubted, Ordering::AcqRel);
                }
            }
            looks += 1;
            if looks.is_multiple_of(COMMIT_LOOKS) {
                self.commit();
            }
        }
        self.commit();
    }

    /// As [`Keeper::look`], but every partition must answer.
    fn learn(&self) -> KafkaResult<()> {
        let is_whole = self.look()?.iter().all(Option::is_some);
        let error = KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable);
        if is_whole { Ok(()) } else { Err(error) }
    }

    /// Asks where each partition begins and ends; returns the ends as they are now, of those whose
    /// beginning is known too.
    fn look(&self) -> KafkaResult<Vec<Option<u64>>> {
        let starts = self.offsets(Offset::Beginning)?;
        let mut ends = self.offsets(Offset::End)?;
        let bounds = &self.inbox.bounds;
        for (partition, (start, end)) in (0..).zip(starts.iter().zip(&mut ends)) {
            *end = end.filter(|_| start.is_some());
            if let (Some(start), Some(end)) = (start, *end) {
                bounds.raise_start(partition, *start);
                bounds.raise_end(partition, end);
            }
        }
        Ok(ends)
    }

    /// One end of all partitions; `None` where a partition did not answer.
    fn offsets(&self, end: Offset) -> KafkaResult<Vec<Option<u64>>> {
        let mut asked = TopicPartitionList::with_capacity(self.inbox.tails.len());
        for (number, _) in (0..).zip(&self.inbox.tails) {
            let (topic, partition) = self.inbox.topics.of(number);
            asked.add_partition_offset(topic, partition, end)?;
        }
        let told = self.consumer.offsets_for_times(asked, self.options.request_timeout)?;
        let mut found = vec![None; self.inbox.tails.len()];
        for one in told.elements() {
            let number = self.inbox.topics.find(one.topic(), one.partition());
            let offset = match one.offset() {
                Offset::Offset(offset) if one.error().is_ok() => u64::try_from(offset).ok(),
                _ => None,
            };
            if let Some(number) = number {
                found[usize::from(number)] = offset;
            }
        }
        Ok(found)
    }

    /// The consumer was told that an offset is not there. Every reader begins again where it is, but
    /// for those whose place is gone.
    fn settle(&mut self, ends: &[Option<u64>]) {
        self.doubts += 1;
        for ((number, tail), end) in (0..).zip(&self.inbox.tails).zip(ends) {
            let Some(cursor) = tail.doubt() else { continue };
            if cursor < self.inbox.bounds.range(number).start {
                tail.let_go();
            } else if let Some(end) = end.filter(|&end| end < cursor) {
                let (topic, partition) = self.inbox.topics.of(number);
                let what = format!("{topic}/{partition} ends at {end}, below {cursor}");
                tail.tell(if self.doubts < DOUBTS_MAX {
                    passing(what)
                } else {
                    Trouble::Damage(what)
                });
            }
            self.inbox.order(number);
        }
        std::thread::sleep(PAUSE);
    }

    /// Tells the group how far everything has been read. Nobody here ever asks for it.
    fn commit(&mut self) {
        let mut positions = TopicPartitionList::new();
        for ((number, tail), committed) in (0..).zip(&self.inbox.tails).zip(&mut self.committed) {
            let Some(reached) = tail.reached().filter(|&reached| reached > *committed) else {
                continue;
            };
            *committed = reached;
            let (topic, partition) = self.inbox.topics.of(number);
            let at = Offset::Offset(i64::try_from(reached).unwrap_or(i64::MAX));
            positions
                .add_partition_offset(topic, partition, at)
                .expect("an offset that is not negative is taken");
        }
        if positions.count() > 0
            && let Err(error) = self.consumer.commit(&positions, CommitMode::Async)
        {
            self.inbox.complain(error.to_string());
        }
    }

    fn bury(&mut self, burial: &Burial) {
        let written = self.write(burial);
        let tail = &self.inbox.tails[usize::from(burial.partition)];
        match written {
            Ok(()) => {
                self.inbox.poisoned.fetch_add(1, Ordering::Relaxed);
                tail.buried(burial.offset);
            }
            Err(error) => {
                self.undertaker = None;
                let (topic, partition) = self.inbox.topics.of(burial.partition);
                let what = format!(
                    "{topic}/{partition} has a value at {} that is no record ({}), and {} does \
                     not take it: {error}",
                    burial.offset, burial.why, self.inbox.topics.dead,
                );
                tail.unburied(burial.offset, passing(what));
                std::thread::sleep(PAUSE);
            }
        }
        self.inbox.order(burial.partition);
    }

    /// Writes a poison value to its topic; done when it is there.
    fn write(&mut self, burial: &Burial) -> KafkaResult<()> {
        let undertaker = match self.undertaker.take() {
            Some(undertaker) => undertaker,
            None => client::undertaker(&self.options).create_with_context(Told::default())?,
        };
        let (topic, partition) = self.inbox.topics.of(burial.partition);
        let place = format!("{topic}/{partition}/{}", burial.offset);
        let cut = burial.value.len().min(VALUE_BYTES_MAX);
        let length = burial.value.len().to_string();
        let headers = OwnedHeaders::new()
            .insert(Header { key: "why", value: Some(&burial.why) })
            .insert(Header { key: "key", value: Some(&burial.key) })
            .insert(Header { key: "bytes", value: Some(&length) });
        let message = BaseRecord::to(&self.inbox.topics.dead)
            .key(&place)
            .payload(&burial.value[..cut])
            .headers(headers);
        undertaker.context().0.store(false, Ordering::Release);
        undertaker.send(message).map_err(|(error, _)| error)?;
        undertaker.flush(self.options.request_timeout)?;
        if !undertaker.context().0.load(Ordering::Acquire) {
            return Err(KafkaError::NoMessageReceived);
        }
        self.undertaker = Some(undertaker);
        Ok(())
    }
}
