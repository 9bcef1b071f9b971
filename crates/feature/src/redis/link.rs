//! The way to the cluster: batches of commands, one pipeline a node, in parallel.
//!
//! Commands of many slots go out grouped by the node that serves them. Where a slot has moved, the
//! commands of its group go out again one by one, each with the client's own way of following
//! redirects; where a node is gone, grouped again by what the cluster says by then; until all are
//! answered or the caller's deadline cuts it off. So every command must be one that may come twice:
//! reads are, deletions are, and the scripts know what they have done.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use parking_lot::RwLock;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Arg, Cmd, RedisError, RetryMethod, ServerErrorKind, Value};

use super::Options;
use super::slots::{Master, SLOT_COUNT, Slots};

/// Commands of one pipeline.
const PIPELINE_MAX: usize = 512;
/// Pipelines, or single commands, under way at once.
const IN_FLIGHT_MAX: usize = 32;
/// With the longest pause that is about half a minute.
const ATTEMPTS_MAX: usize = 128;
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// How often the client follows redirects by itself.
const REDIRECTS_MAX: u32 = 4;

/// A script, and the hash it is called by.
pub struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    /// Takes its code.
    pub fn new(code: &'static str) -> Self {
        Script { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// A call on one key; arguments follow.
    pub fn call(&self, key: &str) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.hash).arg(1).arg(key);
        call
    }

    /// The same call with the code in it: the node keeps the code from then on.
    fn with_code(&self, call: &Cmd) -> Cmd {
        let mut eval = redis::cmd("EVAL");
        eval.arg(self.code);
        for argument in call.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                eval.arg(bytes);
            }
        }
        eval
    }
}

/// A command on one key.
pub struct Command {
    /// The key's slot.
    pub slot: u16,
    /// The command.
    pub cmd: Cmd,
    /// The script that it calls.
    pub script: Option<Arc<Script>>,
}

impl Command {
    /// One that calls no script.
    pub fn plain(slot: u16, cmd: Cmd) -> Self {
        Command { slot, cmd, script: None }
    }

    /// One that calls a script.
    pub fn script(slot: u16, cmd: Cmd, script: &Arc<Script>) -> Self {
        Command { slot, cmd, script: Some(Arc::clone(script)) }
    }
}

/// Why the cluster did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It answered with an error, or not at all.
    #[error(
        "redis at {address}: {error}; look at it with `redis-cli --cluster check`, and at feature.url"
    )]
    Engine {
        /// The nodes that were given.
        address: Arc<str>,
        /// What came back.
        #[source]
        error: RedisError,
    },
    /// It answered with something that is not of the store.
    #[error("redis at {address}: {what}; delete the key, or give the store a prefix of its own")]
    Foreign {
        /// The nodes that were given.
        address: Arc<str>,
        /// Which key, and what stands there.
        what: String,
    },
    /// No answer came in time.
    #[error("redis at {address}: no answer within {deadline:?}; a node may be failing over")]
    Late {
        /// The nodes that were given.
        address: Arc<str>,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// What is read or written keeps changing.
    #[error("redis at {address}: {what} changed faster than it could be followed; is it shared?")]
    Restless {
        /// The nodes that were given.
        address: Arc<str>,
        /// What it was.
        what: &'static str,
    },
}

/// The answer to one command of a batch.
type Answer = (usize, Result<Value, RedisError>);

/// What becomes of a command's answer.
enum Next {
    Done(Value),
    /// Again, as it is.
    Again(RedisError),
    /// Again, with the script's code.
    WithCode(RedisError),
    Never(RedisError),
}

fn next(answer: Result<Value, RedisError>) -> Next {
    let error = match answer {
        Ok(Value::ServerError(error)) => RedisError::from(error),
        Ok(value) => return Next::Done(value),
        Err(error) => error,
    };
    if error.kind() == ServerErrorKind::NoScript.into() {
        return Next::WithCode(error);
    }
    match error.retry_method() {
        // A connection that is lost while it waits tells so in words only.
        RetryMethod::NoRetry if !error.is_io_error() => Next::Never(error),
        _ => Next::Again(error),
    }
}

fn is_redirect(error: &RedisError) -> bool {
    matches!(error.retry_method(), RetryMethod::MovedRedirect | RetryMethod::AskRedirect)
}

/// A connection to every node.
pub struct Link {
    connection: ClusterConnection,
    slots: RwLock<Arc<Slots>>,
    address: Arc<str>,
    retries: AtomicU64,
}

impl Link {
    /// Connects.
    pub async fn connect(options: &Options) -> Result<Self, Fault> {
        let address: Arc<str> = options.nodes.join(",").into();
        let fault = |error| Fault::Engine { address: Arc::clone(&address), error };
        let client = client(options).map_err(fault)?;
        let connection = client.get_async_connection().await.map_err(fault)?;
        let link = Link {
            connection,
            slots: RwLock::default(),
            address: Arc::clone(&address),
            retries: AtomicU64::new(0),
        };
        link.look().await?;
        Ok(link)
    }

    /// The nodes that were given, for messages.
    pub fn address(&self) -> Arc<str> {
        Arc::clone(&self.address)
    }

    /// How often something had to be sent again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Asks who serves what.
    pub async fn look(&self) -> Result<Arc<Slots>, Fault> {
        let mut query = redis::cmd("CLUSTER");
        query.arg("SLOTS");
        let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        let answer = self.connection.clone().route_command(query, route).await;
        let answer = answer.map_err(|error| self.fault(error))?;
        let Some(slots) = Slots::parse(&answer) else {
            return Err(self.foreign(format!("CLUSTER SLOTS answers {answer:?}")));
        };
        let slots = Arc::new(slots);
        *self.slots.write() = Arc::clone(&slots);
        Ok(slots)
    }

    /// Sends commands; one answer each, in their order.
    pub async fn send(&self, commands: &[Command]) -> Result<Vec<Value>, Fault> {
        let mut batch = Batch::new(commands);
        let mut pause = PAUSE_MIN;
        for attempt in 0..ATTEMPTS_MAX {
            let answers = match batch.is_redirected && attempt % 2 == 1 {
                false => self.by_node(&batch).await,
                true => self.one_by_one(&batch).await,
            };
            batch.take(answers).map_err(|error| self.fault(error))?;
            if batch.waiting.is_empty() {
                return Ok(batch.values);
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            if attempt > 0 {
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(PAUSE_MAX);
                // Where nobody answers now, somebody may at the next attempt.
                let _told_again_by_the_commands = self.look().await;
            }
        }
        Err(self.fault(batch.last.expect("what still waits has failed")))
    }

    /// One pipeline to each node.
    async fn by_node(&self, batch: &Batch<'_>) -> Vec<Answer> {
        let slots = Arc::clone(&self.slots.read());
        let mut groups: HashMap<Option<u16>, Vec<usize>> = HashMap::new();
        for &at in &batch.waiting {
            groups.entry(slots.owner(batch.commands[at].slot)).or_default().push(at);
        }
        let pipelines = groups.values().flat_map(|group| group.chunks(PIPELINE_MAX));
        let sent: Vec<_> = pipelines.map(|group| self.one_pipeline(batch, group)).collect();
        let answers: Vec<_> = stream::iter(sent).buffer_unordered(IN_FLIGHT_MAX).collect().await;
        answers.into_iter().flatten().collect()
    }

    async fn one_pipeline(&self, batch: &Batch<'_>, group: &[usize]) -> Vec<Answer> {
        let mut pipeline = redis::Pipeline::with_capacity(group.len());
        for &at in group {
            pipeline.add_command(batch.command(at));
        }
        let slot = batch.commands[group[0]].slot;
        let mut connection = self.connection.clone();
        match connection.route_pipeline(pipeline, 0, group.len(), to(slot)).await {
            Ok(values) => group.iter().copied().zip(values.into_iter().map(Ok)).collect(),
            Err(error) => group.iter().map(|&at| (at, Err(error.clone()))).collect(),
        }
    }

    /// Each command for itself.
    async fn one_by_one(&self, batch: &Batch<'_>) -> Vec<Answer> {
        let sent: Vec<_> = batch.waiting.iter().map(|&at| self.one(batch, at)).collect();
        stream::iter(sent).buffer_unordered(IN_FLIGHT_MAX).collect().await
    }

    async fn one(&self, batch: &Batch<'_>, at: usize) -> Answer {
        let route = RoutingInfo::SingleNode(to(batch.commands[at].slot));
        let mut connection = self.connection.clone();
        (at, connection.route_command(batch.command(at), route).await)
    }

    /// Sends something to each master, and waits until its replicas have whatever it had by then, or
    /// for so long. Tells how many masters have fewer copies than asked for.
    pub async fn replicate(
        &self,
        masters: &[Master],
        copies: usize,
        wait: Duration,
        lead: impl Fn(&Master) -> Cmd + Send + Sync,
    ) -> Result<usize, Fault> {
        let there = |master: &Master| copies.min(master.replicas);
        let sent: Vec<_> = masters
            .iter()
            .map(|master| self.replicate_one(master.slot, lead(master), there(master), wait))
            .collect();
        let answers: Vec<_> = stream::iter(sent).buffer_unordered(IN_FLIGHT_MAX).collect().await;
        let mut thin = 0;
        for has_copies in answers {
            thin += usize::from(has_copies.map_err(|error| self.fault(error))? < copies);
        }
        Ok(thin)
    }

    async fn replicate_one(
        &self,
        slot: u16,
        lead: Cmd,
        copies: usize,
        wait: Duration,
    ) -> Result<usize, RedisError> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.add_command(lead);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        pipeline.cmd("WAIT").arg(copies).arg(wait_ms);
        let mut connection = self.connection.clone();
        let answers = connection.route_pipeline(pipeline, 0, 2, to(slot)).await?;
        let mut answers = answers.into_iter().map(Value::extract_error);
        let (led, waited) = (answers.next(), answers.next());
        led.transpose()?;
        match waited.transpose()? {
            Some(Value::Int(count)) => Ok(usize::try_from(count).unwrap_or(0)),
            _ => Ok(0),
        }
    }

    /// An error of the client's, with where it comes from.
    pub fn fault(&self, error: RedisError) -> Fault {
        Fault::Engine { address: self.address(), error }
    }

    /// Something stands there that the store has not written.
    pub fn foreign(&self, what: String) -> Fault {
        Fault::Foreign { address: self.address(), what }
    }
}

fn client(options: &Options) -> Result<ClusterClient, RedisError> {
    let urls = options.nodes.iter().map(|node| match node.contains("://") {
        true => node.clone(),
        false => format!("redis://{node}"),
    });
    ClusterClientBuilder::new(urls)
        .retries(REDIRECTS_MAX)
        .min_retry_wait(10)
        .max_retry_wait(100)
        .connection_timeout(options.connect_deadline)
        // A pipeline waits for replicas at most so long, and for its turn behind another one. The
        // client holds its own retries to the same time: some of them it would never make.
        .response_timeout(options.connect_deadline + options.replica_wait)
        .build()
}

fn to(slot: u16) -> SingleNodeRoutingInfo {
    assert!(slot < SLOT_COUNT, "{slot} is a slot");
    SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master))
}

/// Commands, and what has become of them.
struct Batch<'a> {
    commands: &'a [Command],
    values: Vec<Value>,
    waiting: Vec<usize>,
    with_code: Vec<bool>,
    /// Somebody was sent to another node.
    is_redirected: bool,
    last: Option<RedisError>,
}

impl<'a> Batch<'a> {
    fn new(commands: &'a [Command]) -> Self {
        Batch {
            commands,
            values: vec![Value::Nil; commands.len()],
            waiting: (0..commands.len()).collect(),
            with_code: vec![false; commands.len()],
            is_redirected: false,
            last: None,
        }
    }

    fn command(&self, at: usize) -> Cmd {
        let command = &self.commands[at];
        match &command.script {
            Some(script) if self.with_code[at] => script.with_code(&command.cmd),
            _ => command.cmd.clone(),
        }
    }

    /// Takes answers in; an error is one that another attempt would not change.
    fn take(&mut self, answers: Vec<Answer>) -> Result<(), RedisError> {
        self.waiting.clear();
        self.is_redirected = false;
        for (at, answer) in answers {
            match next(answer) {
                Next::Done(value) => {
                    self.values[at] = value;
                    continue;
                }
                Next::Again(error) => {
                    self.is_redirected |= is_redirect(&error);
                    self.last = Some(error);
                }
                Next::WithCode(error) => {
                    self.with_code[at] = true;
                    self.last = Some(error);
                }
                Next::Never(error) => return Err(error),
            }
            self.waiting.push(at);
        }
        Ok(())
    }
}
