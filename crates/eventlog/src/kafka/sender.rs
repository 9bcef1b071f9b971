//! The thread that sends: serves the producer, watches the lanes, and begins again where one is lost.
//!
//! A session is one idempotent producer. It never gives a value up by itself: values have no time
//! limit in the library, and a gap is fatal to it. So what a session has put into a partition is a
//! prefix of what it was given. When a lane has waited too long, or the producer has failed, the
//! whole session ends:
//!
//! 1. Nothing more is handed over. Lanes that are well get a moment to land what is on its way.
//! 2. The producer is purged and destroyed: from now on it sends nothing.
//! 3. What failed is answered, and its lanes go on as new appenders.
//! 4. A new session begins, with another producer's number.
//!
//! A request of the old session that is still on the wire can only put in what has been answered
//! "unknown", with the ids it was answered with.
//!
//! No clock is read: a tick is one wait for the producer's reports.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig,
};

use super::bounds::Bounds;
use super::lane::{Answers, Held, Lane, Sent, Ticket};
use super::topics::Topics;
use super::{Error, Options, client};
use crate::Refusal;

/// Ticks in which a purged producer must have told what it purged.
const PURGE_TICKS: u32 = 8;
const TICK_MIN: Duration = Duration::from_millis(5);
const TICK_MAX: Duration = Duration::from_millis(100);
/// Before the next session begins; twice as long each time until something gets through.
const REST_MIN: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_secs(2);

/// What appenders, reports and the sender share.
pub(crate) struct Outbox {
    pub lanes: Vec<Lane>,
    pub topics: Arc<Topics>,
    pub bounds: Arc<Bounds>,
    /// Rises by one with each wait of the sender.
    pub now: AtomicU64,
    pub closing: AtomicBool,
    /// Something was delivered since the last session began.
    got_through: AtomicBool,
    /// What the library has complained of last.
    complaint: Mutex<String>,
}

/// One producer. Its reports go to the lanes.
pub(crate) struct Session {
    producer: BaseProducer<Reports>,
    outbox: Arc<Outbox>,
}

/// Where the library tells what has become of values.
struct Reports(Arc<Outbox>);

/// The sending thread.
pub(crate) struct Sender {
    options: Options,
    outbox: Arc<Outbox>,
    /// `None` only between two.
    session: Option<Arc<Session>>,
    /// The last that was given to a lane.
    generation: u32,
    incarnation: u32,
    tick: Duration,
    /// How many ticks an append may take.
    patience: u64,
    rest: Duration,
}

impl Outbox {
    pub fn new(lanes: Vec<Lane>, topics: Arc<Topics>, bounds: Arc<Bounds>) -> Self {
        Outbox {
            lanes,
            topics,
            bounds,
            now: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            got_through: AtomicBool::new(false),
            complaint: Mutex::default(),
        }
    }

    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn complain(&self, what: String) {
        *self.complaint.lock().expect("no holder panics") = what;
    }

    /// What the library has complained of last.
    pub fn complaint(&self) -> String {
        self.complaint.lock().expect("no holder panics").clone()
    }
}

fn answer(answers: Answers) {
    for (completion, outcome) in answers {
        completion.settle(outcome);
    }
}

impl Session {
    /// Does not wait for any broker.
    pub fn begin(options: &Options, outbox: &Arc<Outbox>) -> Result<Arc<Self>, Error> {
        let context = Reports(Arc::clone(outbox));
        let producer = client::producer(options)
            .create_with_context(context)
            .map_err(|source| Error::client(options, source))?;
        Ok(Arc::new(Session { producer, outbox: Arc::clone(outbox) }))
    }

    /// True where it takes nothing more.
    fn is_fatal(&self) -> bool {
        self.producer.client().fatal_error().is_some()
    }

    /// Gives a value to the producer. Never blocks.
    pub fn send(&self, ticket: Ticket, slot: u16, value: &[u8]) -> Sent {
        let (topic, partition) = self.outbox.topics.of(ticket.lane);
        let key = slot.to_string();
        let message = BaseRecord::with_opaque_to(topic, ticket.to_opaque())
            .partition(partition)
            .key(&key)
            .payload(value);
        match self.producer.send(message) {
            Ok(()) => Sent::Taken,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Sent::Later,
            Err((error, _)) => {
                self.outbox.complain(error.to_string());
                Sent::Never
            }
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.complain(format!("{error}: {reason}"));
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivered: &DeliveryResult<'_>, opaque: usize) {
        use rdkafka::Message;

        let Ticket { lane, flight } = Ticket::from_opaque(opaque);
        match delivered {
            Ok(message) => {
                self.0.got_through.store(true, Ordering::Relaxed);
                if let Ok(offset) = u64::try_from(message.offset()) {
                    self.0.bounds.raise_end(lane, offset + 1);
                }
            }
            Err((error, _)) => self.0.complain(error.to_string()),
        }
        let place = &self.0.lanes[usize::from(lane)];
        answer(place.report(flight, delivered.is_ok(), self.0.now()));
    }
}

impl Sender {
    pub fn new(
        options: &Options,
        outbox: Arc<Outbox>,
        session: Arc<Session>,
        incarnation: u32,
    ) -> Self {
        let tick = (options.delivery_timeout / 64).clamp(TICK_MIN, TICK_MAX);
        let patience = (options.delivery_timeout.as_nanos() / tick.as_nanos()).max(1) as u64;
        let generation = outbox.lanes.len() as u32;
        let options = options.clone();
        let sender = Sender {
            options,
            outbox,
            session: Some(session),
            generation,
            incarnation,
            tick,
            patience,
            rest: REST_MIN,
        };
        sender.attach();
        sender
    }

    /// Runs until the log is closed and everything has been answered.
    pub fn run(mut self) {
        let mut left = self.patience;
        while left > 0 {
            self.wait();
            let now = self.outbox.now();
            let lost = self.outbox.lanes.iter().filter(|lane| lane.look(now, self.patience));
            if lost.count() > 0 {
                self.begin_again();
            }
            if self.outbox.closing.load(Ordering::Acquire) {
                let is_done = self.outbox.lanes.iter().all(Lane::is_done);
                left = if is_done { 0 } else { left - 1 };
            }
        }
        self.outbox.lanes.iter().for_each(Lane::abandon);
        self.end_session("the log is closed", Refusal::Closed);
    }

    /// One tick.
    fn wait(&self) {
        match &self.session {
            Some(session) => session.producer.poll(self.tick),
            None => std::thread::sleep(self.tick),
        }
        self.outbox.now.fetch_add(1, Ordering::Relaxed);
    }

    fn attach(&self) {
        let Some(session) = &self.session else { return };
        for lane in &self.outbox.lanes {
            lane.attach(Arc::clone(session));
        }
    }

    /// Ends the session and begins another.
    fn begin_again(&mut self) {
        let (now, patience) = (self.outbox.now(), self.patience);
        let held: Vec<Held> =
            self.outbox.lanes.iter().map(|lane| lane.hold(now, patience)).collect();
        self.drain();
        let lost = held.iter().filter(|held| **held == Held::Lost).count();
        let why = format!(
            "kafka at {}: {lost} of {} partitions got nothing through within {:?}: {}",
            self.options.brokers,
            held.len(),
            self.options.delivery_timeout,
            self.outbox.complaint(),
        );
        self.end_session(&why, Refusal::Fenced);
        if self.outbox.got_through.swap(false, Ordering::Relaxed) {
            self.rest = REST_MIN;
        }
        std::thread::sleep(self.rest);
        self.rest = (self.rest * 2).min(REST_MAX);
        match Session::begin(&self.options, &self.outbox) {
            Ok(session) => self.session = Some(session),
            Err(error) => self.outbox.complain(error.to_string()),
        }
        self.attach();
    }

    /// Lets lanes that are well land what is on its way, for a while.
    fn drain(&self) {
        let ticks = (self.patience / 8).clamp(4, 32);
        for _ in 0..ticks {
            let is_fatal = self.session.as_ref().is_none_or(|session| session.is_fatal());
            if is_fatal || !self.outbox.lanes.iter().any(Lane::is_moving) {
                return;
            }
            self.wait();
        }
    }

    /// After this the producer sends nothing, and every append that it had is answered.
    fn end_session(&mut self, why: &str, refusal: Refusal) {
        for lane in &self.outbox.lanes {
            lane.detach();
        }
        if let Some(session) = &self.session {
            session.producer.purge(PurgeConfig::default().queue().inflight());
            for _ in 0..PURGE_TICKS {
                if session.producer.in_flight_count() == 0 {
                    break;
                }
                self.wait();
            }
        }
        // The last handle: its connections close here.
        self.session = None;
        for lane in &self.outbox.lanes {
            self.generation += 1;
            answer(lane.give_up(appender(self.incarnation, self.generation), why, refusal));
        }
    }
}

/// The appender's number: no two sessions of a partition, and no two partitions, share one.
pub(crate) const fn appender(incarnation: u32, generation: u32) -> u64 {
    (incarnation as u64) << 32 | generation as u64
}
