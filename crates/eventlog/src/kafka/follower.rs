//! The thread that fetches: follows every partition that somebody reads, and reads ahead.
//!
//! One consumer for all partitions. They are assigned by hand, each from the offset where its reader
//! is; the group's committed positions are never asked for. A partition without room is taken away
//! from the consumer and given back at its cursor: the same two steps serve for a reader that goes
//! elsewhere, for a fetch that failed, and for backpressure.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use reckon_event::{Kind, Record, RecordId, Slot, Timestamp, peek, stamp};

use super::bounds::Bounds;
use super::tail::{Fate, Tail, Trouble};
use super::topics::Topics;
use super::value;

/// The kind of an entry that stands in for a poison value: no build gives it a meaning.
pub const POISON_KIND: u8 = 255;
/// The longest that an order waits, and a message whose arrival was not told.
const NAP: Duration = Duration::from_millis(50);

/// What readers, the follower and the keeper share.
pub(crate) struct Inbox {
    pub tails: Vec<Tail>,
    pub topics: Arc<Topics>,
    pub bounds: Arc<Bounds>,
    pub closing: AtomicBool,
    /// Values that were taken away.
    pub poisoned: AtomicU64,
    /// A read has waited in vain, and nothing has come since.
    pub is_dry: AtomicBool,
    /// The consumer says that some offset is not there: the keeper has to look.
    pub is_doubted: AtomicBool,
    desk: Mutex<Desk>,
    stirred: Condvar,
}

/// What waits for the follower and the keeper.
#[derive(Default)]
struct Desk {
    has_arrived: bool,
    /// Partitions whose plan has changed.
    orders: BTreeSet<u16>,
    burials: VecDeque<Burial>,
    complaint: String,
}

/// A value that is no record.
pub(crate) struct Burial {
    pub partition: u16,
    pub offset: u64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub why: String,
}

/// The library tells us nothing that we do not ask for.
pub(crate) struct Quiet(pub Arc<Inbox>);

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.complain(format!("{error}: {reason}"));
    }
}

impl ConsumerContext for Quiet {
    // Positions are committed for tools that show lag; that it fails is theirs to show.
    fn commit_callback(&self, _: KafkaResult<()>, _: &TopicPartitionList) {}
}

impl Inbox {
    pub fn new(tails: Vec<Tail>, topics: Arc<Topics>, bounds: Arc<Bounds>) -> Self {
        Inbox {
            tails,
            topics,
            bounds,
            closing: AtomicBool::new(false),
            poisoned: AtomicU64::new(0),
            is_dry: AtomicBool::new(false),
            is_doubted: AtomicBool::new(false),
            desk: Mutex::default(),
            stirred: Condvar::new(),
        }
    }

    fn at_desk<R>(&self, act: impl FnOnce(&mut Desk) -> R) -> R {
        act(&mut self.desk.lock().expect("no holder panics"))
    }

    /// Has the follower look at a partition's plan.
    pub fn order(&self, partition: u16) {
        self.at_desk(|desk| desk.orders.insert(partition));
        self.stirred.notify_all();
    }

    /// Tells the follower that something has come, or that all ends.
    pub fn stir(&self) {
        self.at_desk(|desk| desk.has_arrived = true);
        self.stirred.notify_all();
    }

    /// The values to be taken away.
    pub fn burials(&self) -> VecDeque<Burial> {
        self.at_desk(|desk| std::mem::take(&mut desk.burials))
    }

    /// Sleeps until the keeper has something to do, or for `nap`.
    pub fn nap(&self, nap: Duration) {
        let desk = self.desk.lock().expect("no holder panics");
        let idle = |desk: &mut Desk| {
            desk.burials.is_empty()
                && !self.is_doubted.load(Ordering::Acquire)
                && !self.closing.load(Ordering::Acquire)
        };
        drop(self.stirred.wait_timeout_while(desk, nap, idle));
    }

    pub fn complain(&self, what: String) {
        self.at_desk(|desk| desk.complaint = what);
    }

    /// What the library has complained of last.
    pub fn complaint(&self) -> String {
        self.at_desk(|desk| desk.complaint.clone())
    }
}

/// The fetching thread.
pub(crate) struct Follower {
    inbox: Arc<Inbox>,
    consumer: Arc<BaseConsumer<Quiet>>,
    /// Which partitions the consumer has.
    assigned: Vec<bool>,
    /// Of a record that is being decoded; kept for its memory.
    record: Vec<u8>,
}

impl Follower {
    pub fn new(inbox: Arc<Inbox>, consumer: Arc<BaseConsumer<Quiet>>) -> Self {
        let assigned = vec![false; inbox.tails.len()];
        Follower { inbox, consumer, assigned, record: Vec::new() }
    }

    /// Runs until the log is closed.
    pub fn run(mut self) {
        while !self.inbox.closing.load(Ordering::Acquire) {
            let orders = self.wait();
            self.carry_out(orders);
            self.fetch();
        }
    }

    fn wait(&self) -> BTreeSet<u16> {
        let desk = self.inbox.desk.lock().expect("no holder panics");
        let idle = |desk: &mut Desk| {
            desk.orders.is_empty()
                && !desk.has_arrived
                && !self.inbox.closing.load(Ordering::Acquire)
        };
        let waited = self.inbox.stirred.wait_timeout_while(desk, NAP, idle);
        let (mut desk, _) = waited.expect("no holder panics");
        desk.has_arrived = false;
        std::mem::take(&mut desk.orders)
    }

    /// Takes partitions away and gives them, as their readers now need.
    fn carry_out(&mut self, orders: BTreeSet<u16>) {
        let (mut away, mut given) = (TopicPartitionList::new(), TopicPartitionList::new());
        let mut starting = Vec::new();
        for number in orders {
            let plan = self.inbox.tails[usize::from(number)].plan();
            let (topic, partition) = self.inbox.topics.of(number);
            let assigned = &mut self.assigned[usize::from(number)];
            if *assigned && (plan.restart || plan.at.is_none()) {
                away.add_partition(topic, partition);
                *assigned = false;
            }
            if let Some(at) = plan.at.filter(|_| !*assigned) {
                let at = Offset::Offset(i64::try_from(at).expect("Kafka's offsets are below 2^63"));
                given
                    .add_partition_offset(topic, partition, at)
                    .expect("an offset that is not negative is taken");
                *assigned = true;
                starting.push(number);
            }
        }
        let mut done = Ok(());
        if away.count() > 0 {
            done = self.consumer.incremental_unassign(&away);
        }
        if given.count() > 0 {
            done = done.and(self.consumer.incremental_assign(&given));
        }
        if let Err(error) = done {
            self.assign_all(&error);
        }
    }

    /// What the consumer has is no longer what we believe: it is given everything anew.
    fn assign_all(&mut self, error: &KafkaError) {
        self.inbox.complain(error.to_string());
        if let Err(error) = self.consumer.unassign() {
            self.inbox.complain(error.to_string());
        }
        self.assigned.fill(false);
        for (number, tail) in (0..).zip(&self.inbox.tails) {
            if tail.doubt().is_some() {
                self.inbox.order(number);
            }
        }
        std::thread::sleep(NAP);
    }

    /// Takes everything that has arrived, as long as nobody wants anything else.
    fn fetch(&mut self) {
        const MESSAGES_MAX: usize = 1_000;
        let consumer = Arc::clone(&self.consumer);
        for _ in 0..MESSAGES_MAX {
            match consumer.poll(Duration::ZERO) {
                None => return,
                Some(Ok(message)) => self.take(&message),
                Some(Err(error)) => self.note(&error),
            }
        }
        self.inbox.stir();
    }

    fn take(&mut self, message: &impl Message) {
        let found = self.inbox.topics.find(message.topic(), message.partition());
        let (Some(number), Ok(offset)) = (found, u64::try_from(message.offset())) else {
            return;
        };
        self.inbox.is_dry.store(false, Ordering::Relaxed);
        self.record.clear();
        let decoded = decode(message.payload(), number, &self.inbox.topics, &mut self.record);
        let tail = &self.inbox.tails[usize::from(number)];
        if let Err(why) = decoded {
            match tail.judge(offset) {
                Fate::Ignored => return,
                Fate::StandIn => {
                    self.record.clear();
                    stand_in(&self.inbox.topics, number, &mut self.record);
                }
                fate => {
                    if fate == Fate::Bury {
                        self.bury(message, number, offset, why);
                    }
                    return self.carry_out(BTreeSet::from([number]));
                }
            }
        }
        self.inbox.bounds.raise_end(number, offset + 1);
        if !tail.take(offset, &self.record) {
            self.carry_out(BTreeSet::from([number]));
        }
    }

    fn bury(&self, message: &impl Message, partition: u16, offset: u64, why: String) {
        let key = message.key().unwrap_or_default().to_vec();
        let value = message.payload().unwrap_or_default().to_vec();
        let burial = Burial { partition, offset, key, value, why };
        self.inbox.at_desk(|desk| desk.burials.push_back(burial));
        self.inbox.stirred.notify_all();
    }

    fn note(&self, error: &KafkaError) {
        self.inbox.complain(error.to_string());
        let code = error.rdkafka_error_code();
        let is_out_of_range =
            [RDKafkaErrorCode::AutoOffsetReset, RDKafkaErrorCode::OffsetOutOfRange];
        if code.is_some_and(|code| is_out_of_range.contains(&code)) {
            self.inbox.is_doubted.store(true, Ordering::Release);
            self.inbox.stirred.notify_all();
        }
    }
}

/// Reads a value, which must be a record in its place.
fn decode(
    value: Option<&[u8]>,
    number: u16,
    topics: &Topics,
    record: &mut Vec<u8>,
) -> Result<(), String> {
    value::decode(value.unwrap_or_default(), record).map_err(|error| error.to_string())?;
    let peeked = peek(record).map_err(|error| error.to_string())?;
    let is_placed = topics.holds(number, peeked.kind_code, peeked.slot);
    if is_placed { Ok(()) } else { Err("a record of another topic or partition".to_owned()) }
}

/// An entry of a kind that nobody knows: whoever counts notes that there was something, and goes on.
fn stand_in(topics: &Topics, number: u16, out: &mut Vec<u8>) {
    let slot = Slot::new(topics.slots(number).start).expect("every partition has slots");
    Record::new(Kind::Control, slot, Timestamp(0)).encode(out);
    out[3] = POISON_KIND;
    stamp(out, RecordId::default()).expect("encoded here");
}

/// A partition that cannot be read on for now.
pub(crate) fn passing(what: impl Into<String>) -> Trouble {
    Trouble::Passing(what.into())
}
