//! The brokers of a test run, and logs on them that do not meet.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use reckon_eventlog::kafka::{KafkaLog, Options};

/// Tests take turns: some of them kill brokers.
static TURN: Mutex<()> = Mutex::new(());
static NUMBER: AtomicU32 = AtomicU32::new(0);
/// No two logs of a run share an incarnation.
static INCARNATION: AtomicU32 = AtomicU32::new(1);

/// The three brokers, for one test at a time.
pub struct Cluster {
    pub brokers: String,
    dir: PathBuf,
    dead: Vec<u8>,
    hanging: Vec<u8>,
    _turn: MutexGuard<'static, ()>,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make engines-test`"))
}

impl Cluster {
    /// # Panics
    /// Where no brokers were started.
    pub fn take() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Cluster {
            brokers: variable("RECKON_TEST_KAFKA"),
            dir: PathBuf::from(variable("RECKON_TEST_KAFKA_DIR")),
            dead: Vec::new(),
            hanging: Vec::new(),
            _turn: turn,
        }
    }

    /// A log of its own: nobody else has its topics.
    pub fn options(&self, partitions: u16) -> Options {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Options {
            brokers: self.brokers.clone(),
            topic_prefix: format!("t{}-{number}-", std::process::id()),
            partitions,
            delivery_timeout: Duration::from_secs(20),
            read_timeout: Duration::from_secs(20),
            ..Options::default()
        }
    }

    /// Kills broker 1, 2 or 3 as a power cut would.
    pub fn kill(&mut self, broker: u8) {
        self.dead.push(broker);
        self.run("kill", &[broker]);
    }

    /// Starts every broker again that was killed, and waits until all know each other.
    pub fn revive(&mut self) {
        let dead = std::mem::take(&mut self.dead);
        if !dead.is_empty() {
            self.run("revive", &dead);
            self.await_all();
        }
    }

    /// Lets brokers hang: their connections stay, and they answer nothing.
    pub fn pause(&mut self, brokers: &[u8]) {
        self.hanging.extend_from_slice(brokers);
        self.run("pause", brokers);
    }

    /// Lets every broker that hangs go on where it was: it first answers what it has been sent since.
    pub fn resume(&mut self) {
        let hanging = std::mem::take(&mut self.hanging);
        if !hanging.is_empty() {
            self.run("resume", &hanging);
        }
    }

    /// Which broker leads the first partition of a log's clicks.
    pub fn leader_of_clicks(&self, options: &Options) -> u8 {
        let topic = format!("{}ad-clicks", options.topic_prefix);
        let told = self.client().fetch_metadata(Some(&topic), Duration::from_secs(20));
        let told = told.expect("brokers answer");
        u8::try_from(told.topics()[0].partitions()[0].leader()).expect("somebody leads")
    }

    fn client(&self) -> BaseConsumer {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create().expect("a client")
    }

    fn await_all(&self) {
        let client = self.client();
        for _ in 0..600 {
            let told = client.fetch_metadata(None, Duration::from_secs(5));
            if told.is_ok_and(|told| told.brokers().len() == 3) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("three brokers do not find each other");
    }

    fn run(&self, act: &str, brokers: &[u8]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/engines/kafka.sh");
        let done = Command::new("bash")
            .args([script, act])
            .arg(&self.dir)
            .args(brokers.iter().map(u8::to_string))
            .status()
            .expect("bash is there");
        assert!(done.success(), "{act} {brokers:?}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The next test needs all of them.
        self.resume();
        self.revive();
        self.await_all();
    }
}

/// Opens a log as a new process would.
pub fn open(options: &Options) -> KafkaLog {
    let incarnation = INCARNATION.fetch_add(1, Ordering::Relaxed);
    KafkaLog::open(options.clone(), incarnation).expect("opens")
}
