//! The store on a Redis Cluster: counters as hashes that everyone can read, each on some node.
//!
//! Redis promises one key at a time, and that a replica has a prefix of what its master had. The
//! promises of [`FeatureStore`] are made of that: an entity keeps its last two versions, a mark names
//! the epoch that every node has, and a read takes from each entity the version of the marked epoch
//! ([`read`]). A version goes in by a script that turns away older epochs and generations
//! ([`write`]). What is marked is on the replicas first, so a master may die. `docs/redis.md` draws
//! keys and fields, and says what to configure.
//!
//! The client runs on threads of its own: whoever reads may wait in any executor, and whoever applies
//! in none.

mod link;
mod mark;
mod plan;
mod read;
mod row;
mod slots;
mod write;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use reckon_event::{Applied, Epoch};
use tokio::runtime::{Builder, Runtime};

use self::link::{Fault, Link, Script};
use self::mark::{Mark, mark_key};
use self::write::Writer;
use crate::{Entity, Error, FeatureStore, Marks, Read, Update};

/// Where the cluster is, and how long it may take.
#[derive(Clone, Debug)]
pub struct Options {
    /// Some nodes of the cluster, as `host:port` or `redis://user:password@host:port`; the others are
    /// learned from them.
    pub nodes: Vec<String>,
    /// Stands before every key; letters, digits and `-_.:`. Two stores need two.
    pub prefix: String,
    /// About how long an entity is kept without an event, in seconds; a fifth more or less by its key.
    pub seconds_to_live: u32,
    /// On how many replicas of each master an epoch must be before it is read, where there are so many.
    pub replicas: usize,
    /// How long replicas are waited for. What they do not have by then is read all the same, and
    /// counted in [`Status::thin`].
    pub replica_wait: Duration,
    /// A read that takes longer has failed.
    pub read_deadline: Duration,
    /// Anything else that takes longer has failed; a failover must fit in.
    pub write_deadline: Duration,
    /// How long connecting to a node may take, or its answer.
    pub connect_deadline: Duration,
    /// The epoch that counting goes on behind, 0 where it begins: a store that has come less far has
    /// lost something, and begins anew.
    pub checkpoint: u64,
    /// Threads of the client.
    pub threads: usize,
}

impl Options {
    /// A store on the cluster at `nodes`, with commas in between.
    pub fn new(nodes: &str) -> Self {
        let nodes = nodes.split(',').map(str::trim).filter(|node| !node.is_empty());
        Options {
            nodes: nodes.map(str::to_owned).collect(),
            prefix: String::new(),
            seconds_to_live: 86_400,
            replicas: 1,
            replica_wait: Duration::from_millis(100),
            read_deadline: Duration::from_millis(20),
            write_deadline: Duration::from_secs(15),
            connect_deadline: Duration::from_secs(1),
            checkpoint: 0,
            threads: 2,
        }
    }

    fn check(&self) -> Result<(), OptionError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if self.nodes.is_empty() {
            return Err(OptionError::NoNodes);
        }
        if self.prefix.len() > PREFIX_BYTES_MAX || !self.prefix.chars().all(is_plain) {
            return Err(OptionError::Prefix(self.prefix.clone()));
        }
        if self.seconds_to_live == 0 || self.threads == 0 {
            return Err(OptionError::Zero);
        }
        Ok(())
    }

    /// Attempts that fill the time for writing even where each fails at once.
    fn attempts_max(&self) -> u128 {
        1 + self.write_deadline.as_millis() / 50
    }
}

const PREFIX_BYTES_MAX: usize = 64;

/// An option that makes no store.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    /// Nowhere to connect to.
    #[error("no node is given; write host:port of one or more, with commas in between")]
    NoNodes,
    /// A prefix that would change the slots of keys, or could not be typed.
    #[error("the prefix {0:?} is not taken; write at most 64 letters, digits and -_.:")]
    Prefix(String),
    /// Nothing would live, or run.
    #[error("seconds_to_live and threads must be at least 1")]
    Zero,
}

/// What has happened since the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// How often the store had to begin anew, because more was lost than replicas could keep.
    pub losses: u64,
    /// What was lost last.
    pub lost: Option<String>,
    /// How often fewer replicas than asked for had everything in time.
    pub thin: u64,
    /// How often commands had to be sent again.
    pub retries: u64,
}

/// Counters on a Redis Cluster.
pub struct Redis {
    shared: Arc<Shared>,
    writer: Arc<tokio::sync::Mutex<Writer>>,
    /// Always there, until it is dropped.
    runtime: Option<Runtime>,
}

/// What reads and writes both need.
struct Shared {
    options: Options,
    /// Apart from the writer's: that one waits for replicas, and everything behind it on a connection.
    reader: Link,
    writer: Link,
    scripts: Scripts,
    mark_key: String,
    mark_slot: u16,
    known: RwLock<Arc<Mark>>,
    losses: Mutex<Losses>,
    thin: AtomicU64,
}

struct Scripts {
    write: Arc<Script>,
    publish: Arc<Script>,
    claim: Arc<Script>,
    begin: Arc<Script>,
}

#[derive(Default)]
struct Losses {
    count: u64,
    last: Option<String>,
}

impl Losses {
    fn push(&mut self, what: String) {
        self.count += 1;
        self.last = Some(what);
    }
}

impl Scripts {
    fn new() -> Self {
        let script = |code| Arc::new(Script::new(code));
        Scripts {
            write: script(include_str!("write.lua")),
            publish: script(include_str!("publish.lua")),
            claim: script(include_str!("claim.lua")),
            begin: script(include_str!("begin.lua")),
        }
    }
}

impl Shared {
    async fn connect(options: Options) -> Result<Self, Error> {
        let (reader, writer) =
            futures::future::try_join(Link::connect(&options), Link::connect(&options))
                .await
                .map_err(Error::redis("open"))?;
        let (mark_key, mark_slot) = mark_key(&options.prefix);
        Ok(Shared {
            options,
            reader,
            writer,
            scripts: Scripts::new(),
            mark_key,
            mark_slot,
            known: RwLock::default(),
            losses: Mutex::default(),
            thin: AtomicU64::new(0),
        })
    }

    /// The mark that was seen last.
    fn known(&self) -> Arc<Mark> {
        Arc::clone(&self.known.read())
    }

    /// The mark is this, whatever was known.
    fn know(&self, mark: &Mark) {
        *self.known.write() = Arc::new(mark.clone());
    }

    /// A mark was read; of answers that overtake each other the newest is kept.
    fn learn(&self, mark: Mark) -> Arc<Mark> {
        let mark = Arc::new(mark);
        let mut known = self.known.write();
        if mark.point() > known.point() {
            *known = Arc::clone(&mark);
        }
        mark
    }

    fn damaged(&self, what: &'static str, key: &str, field: &str) -> Error {
        let told = format!("field {field} of key {key} holds what no store writes");
        Error::redis(what)(self.writer.foreign(told))
    }
}

impl Error {
    fn redis(what: &str) -> impl Fn(Fault) -> Error {
        move |fault| Error::Failed { what: what.to_owned(), error: Box::new(fault) }
    }
}

impl Redis {
    /// Connects, and reads how far the store has come. What was lost is told: the store has then begun
    /// anew.
    pub fn open(options: Options) -> Result<(Self, Option<String>), Error> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Failed {
            what: "open".to_owned(),
            error,
        };
        options.check().map_err(|error| failed(Box::new(error)))?;
        let (deadline, checkpoint) = (options.write_deadline, options.checkpoint);
        let address: Arc<str> = options.nodes.join(",").into();
        let runtime = Builder::new_multi_thread()
            .worker_threads(options.threads)
            .thread_name("features-redis")
            .enable_all()
            .build()
            .map_err(|error| failed(Box::new(error)))?;
        let opened = wait(&runtime, async move {
            tokio::time::timeout(deadline, async {
                let shared = Shared::connect(options).await?;
                let mut writer = Writer::default();
                let lost = writer.open(&shared, checkpoint).await?;
                Ok((shared, writer, lost))
            })
            .await
            .unwrap_or_else(|_| Err(Error::redis("open")(Fault::Late { address, deadline })))
        });
        let (shared, writer, lost) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let redis = Redis {
            shared: Arc::new(shared),
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            runtime: Some(runtime),
        };
        Ok((redis, lost))
    }

    /// Begins the store anew: nothing that was applied so far is read any more. For counting that
    /// begins from the log's start.
    pub fn begin_anew(&self) -> Result<(), Error> {
        self.write(
            "begin anew",
            |shared, mut writer| async move { writer.begin_anew(&shared).await },
        )
    }

    /// What has happened since it was opened.
    pub fn status(&self) -> Status {
        let losses = self.shared.losses.lock();
        Status {
            losses: losses.count,
            lost: losses.last.clone(),
            thin: self.shared.thin.load(Ordering::Relaxed),
            retries: self.shared.reader.retries() + self.shared.writer.retries(),
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken when the store is dropped")
    }

    /// Does something that changes the store, one at a time, until the deadline.
    fn write<T, F>(
        &self,
        what: &'static str,
        work: impl FnOnce(Arc<Shared>, tokio::sync::OwnedMutexGuard<Writer>) -> F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        // Whoever waits here is no executor's thread, or one that may wait.
        let writer = self.lock_writer();
        let (address, deadline) = (shared.writer.address(), shared.options.write_deadline);
        let work = work(shared, writer);
        wait(self.runtime(), async move {
            let late = || Err(Error::redis(what)(Fault::Late { address, deadline }));
            tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| late())
        })
    }

    fn lock_writer(&self) -> tokio::sync::OwnedMutexGuard<Writer> {
        let writer = Arc::clone(&self.writer);
        wait(self.runtime(), writer.lock_owned())
    }
}

/// Runs something to its end on the client's threads, and waits for it on this one.
fn wait<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move {
        // Whoever waits is there until it has the answer.
        let _waits = sender.send(work.await);
    });
    receiver.recv().expect("work runs to its end, or panics")
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Dropping a runtime waits, which an executor's thread must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[async_trait]
impl FeatureStore for Redis {
    async fn read(&self, entities: &[Entity]) -> Result<Read, Error> {
        let (shared, entities) = (Arc::clone(&self.shared), entities.to_vec());
        let deadline = shared.options.read_deadline;
        let task = self.runtime().spawn(async move {
            let read = tokio::time::timeout(deadline, read::read(&shared, &entities)).await;
            let address = shared.reader.address();
            read.unwrap_or_else(|_| Err(Error::redis("read")(Fault::Late { address, deadline })))
        });
        task.await.unwrap_or_else(|error| {
            Err(Error::Failed { what: "read".to_owned(), error: Box::new(error) })
        })
    }

    fn apply(&self, epoch: &Epoch, update: Update) -> Result<Applied, Error> {
        let epoch = epoch.clone();
        self.write("apply", |shared, mut writer| async move {
            writer.apply(&shared, &epoch, &update).await
        })
    }

    fn forget(&self, entities: &[Entity]) -> Result<(), Error> {
        let entities = entities.to_vec();
        self.write(
            "forget",
            |shared, mut writer| async move { writer.forget(&shared, &entities).await },
        )
    }

    fn persist(&self) -> Result<(), Error> {
        self.write("persist", |shared, mut writer| async move { writer.persist(&shared).await })
    }

    fn marks(&self) -> Marks {
        let (_, applied) = self.shared.known().point();
        Marks { applied, persisted: (applied > 0).then_some(applied) }
    }
}
