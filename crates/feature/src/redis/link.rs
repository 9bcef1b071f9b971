//! The way to the cluster: batches of commands, one pipeline a node, in parallel.
//!
//! Commands of many slots go out grouped by the node that serves them, and whatever was not answered
//! goes out again, by what the cluster says by then, until the caller's deadline cuts it off. So every
//! command must be one that may come twice: reads are, deletions are, and the scripts know what they
//! have done.
//!
//! The client is told to retry nothing: it would send a whole pipeline after the one command whose
//! slot has moved, and ask for the slots anew at each of a thousand. A slot that is just being moved
//! is found by making the pipelines smaller; its commands follow the cluster's redirection alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::Either;
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
/// So often it goes on without a pause, where it is clear what to do next.
const AT_ONCE_MAX: usize = 8;
/// How often the cluster is asked who serves what, of a node at random each time.
const LOOKS_MAX: usize = 8;

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
struct Answer {
    at: usize,
    /// It was the only one of its pipeline: an error is its own.
    is_alone: bool,
    result: Result<Value, RedisError>,
}

/// What becomes of a command's answer.
enum Next {
    Done(Value),
    Again(Trouble, RedisError),
    Never(RedisError),
}

/// Why a command goes out again; of a batch the last that applies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// The node does not know the script.
    Script,
    /// Another node has the slot, or will have.
    Elsewhere,
    /// The node does not answer, or cannot now.
    Away,
}

fn next(result: Result<Value, RedisError>) -> Next {
    let error = match result {
        Ok(Value::ServerError(error)) => RedisError::from(error),
        Ok(value) => return Next::Done(value),
        Err(error) => error,
    };
    if error.kind() == ServerErrorKind::NoScript.into() {
        return Next::Again(Trouble::Script, error);
    }
    match error.retry_method() {
        RetryMethod::MovedRedirect | RetryMethod::AskRedirect => {
            Next::Again(Trouble::Elsewhere, error)
        }
        // A connection that is lost while it waits tells so in words only.
        RetryMethod::NoRetry if !error.is_io_error() => Next::Never(error),
        _ => Next::Again(Trouble::Away, error),
    }
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
        let mut last = None;
        for _ in 0..LOOKS_MAX {
            match self.look_once().await {
                Ok(answer) => return self.see(&answer),
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(PAUSE_MIN).await;
        }
        Err(self.fault(last.expect("every attempt has failed")))
    }

    async fn look_once(&self) -> Result<Value, RedisError> {
        let mut query = redis::cmd("CLUSTER");
        query.arg("SLOTS");
        let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        self.connection.clone().route_command(query, route).await?.extract_error()
    }

    fn see(&self, answer: &Value) -> Result<Arc<Slots>, Fault> {
        let slots = Slots::parse(answer);
        let slots = slots.ok_or_else(|| self.foreign(format!("CLUSTER SLOTS: {answer:?}")))?;
        let slots = Arc::new(slots);
        *self.slots.write() = Arc::clone(&slots);
        Ok(slots)
    }

    /// Sends commands; one answer each, in their order.
    pub async fn send(&self, commands: &[Command]) -> Result<Vec<Value>, Fault> {
        let mut batch = Batch::new(commands);
        let mut pause = PAUSE_MIN;
        for attempt in 0..ATTEMPTS_MAX {
            let answers = self.send_once(&batch).await;
            let trouble = batch.take(answers).map_err(|error| self.fault(error))?;
            match trouble {
                None => return Ok(batch.values),
                Some(Trouble::Script | Trouble::Elsewhere) if attempt < AT_ONCE_MAX => {}
                Some(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(PAUSE_MAX);
                }
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            if trouble > Some(Trouble::Script) {
                // Where nobody answers now, somebody may at the next attempt.
                let _told_again_by_the_commands = self.look().await;
            }
        }
        Err(self.fault(batch.last.expect("what still waits has failed")))
    }

    /// Everything that waits for an answer, once.
    async fn send_once(&self, batch: &Batch<'_>) -> Vec<Answer> {
        let slots = Arc::clone(&self.slots.read());
        let mut groups: HashMap<Option<u16>, Vec<usize>> = HashMap::new();
        let mut sent = Vec::new();
        for &at in &batch.waiting {
            match batch.asked[at].as_deref().and_then(|address| slots.node(address)) {
                Some(node) => sent.push(Either::Left(self.one_asking(batch, at, node))),
                None => groups.entry(slots.owner(batch.commands[at].slot)).or_default().push(at),
            }
        }
        let groups = groups.values().flat_map(|group| group.chunks(batch.pipeline_max));
        sent.extend(groups.map(|group| Either::Right(self.one_pipeline(batch, group))));
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
        let answer = connection.route_pipeline(pipeline, 0, group.len(), to(slot)).await;
        let is_alone = group.len() == 1;
        let answers = |result| group.iter().zip(result);
        match answer {
            Ok(values) => answers(values.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => answers(vec![Err(error); group.len()]),
        }
        .map(|(&at, result)| Answer { at, is_alone, result })
        .collect()
    }

    /// A command to the node that its slot is being moved to.
    async fn one_asking(&self, batch: &Batch<'_>, at: usize, node: (String, u16)) -> Vec<Answer> {
        let mut pipeline = redis::Pipeline::with_capacity(2);
        pipeline.add_command(redis::cmd("ASKING")).add_command(batch.command(at));
        let (host, port) = node;
        let to = SingleNodeRoutingInfo::ByAddress { host, port };
        let answer = self.connection.clone().route_pipeline(pipeline, 0, 2, to).await;
        let result = answer.map(|mut values| values.pop().unwrap_or_default());
        vec![Answer { at, is_alone: true, result }]
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
        .retries(0)
        .connection_timeout(options.connect_deadline)
        // A pipeline waits for replicas at most so long, and for its turn behind another one.
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
    /// Those without an answer.
    waiting: Vec<usize>,
    /// Those that go out with their script's code.
    with_code: Vec<bool>,
    /// The nodes that commands were told to ask.
    asked: Vec<Option<String>>,
    pipeline_max: usize,
    last: Option<RedisError>,
}

impl<'a> Batch<'a> {
    fn new(commands: &'a [Command]) -> Self {
        Batch {
            commands,
            values: vec![Value::Nil; commands.len()],
            waiting: (0..commands.len()).collect(),
            with_code: vec![false; commands.len()],
            asked: vec![None; commands.len()],
            pipeline_max: PIPELINE_MAX,
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

    /// Takes answers in; tells what is in the way of the rest. An error is one that another attempt
    /// would not change.
    fn take(&mut self, answers: Vec<Answer>) -> Result<Option<Trouble>, RedisError> {
        self.waiting.clear();
        let (mut trouble, mut is_hidden) = (None, false);
        for Answer { at, is_alone, result } in answers {
            self.asked[at] = None;
            match next(result) {
                Next::Done(value) => self.values[at] = value,
                Next::Never(error) => return Err(error),
                Next::Again(why, error) => {
                    self.with_code[at] |= why == Trouble::Script;
                    if error.kind() == ServerErrorKind::Ask.into() {
                        is_hidden |= !is_alone;
                        let node = error.redirect_node().filter(|_| is_alone);
                        self.asked[at] = node.map(|(address, _)| address.to_owned());
                    }
                    trouble = trouble.max(Some(why));
                    self.waiting.push(at);
                    self.last = Some(error);
                }
            }
        }
        if is_hidden {
            self.pipeline_max = (self.pipeline_max / 8).max(1);
        }
        Ok(trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(count: usize) -> Vec<Command> {
        let script = Arc::new(Script::new("return 1"));
        (0..count).map(|_| Command::script(7, script.call("key"), &script)).collect()
    }

    fn answer(at: usize, is_alone: bool, line: &str) -> Answer {
        let value = redis::parse_redis_value(format!("{line}\r\n").as_bytes()).expect("a reply");
        Answer { at, is_alone, result: Ok(value) }
    }

    #[test]
    fn what_was_not_answered_goes_out_again() {
        let commands = commands(3);
        let mut batch = Batch::new(&commands);
        let answers = ["+done", "-NOSCRIPT no", "-CLUSTERDOWN down"];
        let answers = answers.iter().enumerate().map(|(at, line)| answer(at, false, line));
        let trouble = batch.take(answers.collect()).expect("it may go on");
        assert!(trouble == Some(Trouble::Away) && batch.waiting == [1, 2]);
        let names =
            [1, 2].map(|at| batch.command(at).args_iter().next().map(|name| format!("{name:?}")));
        assert_ne!(names[0], names[1], "one with its code, one by its hash");
        let done = vec![answer(1, false, "+done"), answer(2, false, "+done")];
        assert!(batch.take(done).expect("done").is_none() && batch.waiting.is_empty());
    }

    #[test]
    fn a_slot_that_is_being_moved_is_found_and_followed() {
        let commands = commands(2);
        let mut batch = Batch::new(&commands);
        let ask = |is_alone| vec![answer(0, is_alone, "-ASK 7 host:7001")];
        batch.take(ask(false)).expect("it may go on");
        assert_eq!((batch.pipeline_max, batch.asked[0].as_deref()), (PIPELINE_MAX / 8, None));
        batch.take(ask(true)).expect("it may go on");
        assert_eq!(batch.asked[0].as_deref(), Some("host:7001"), "its own error");
        batch.take(vec![answer(0, true, "-MOVED 7 host:7001")]).expect("it may go on");
        assert_eq!(batch.asked[0], None, "the cluster knows by now");
    }

    #[test]
    fn an_error_that_stays_is_told_at_once() {
        let commands = commands(1);
        let wrong = Batch::new(&commands).take(vec![answer(0, true, "-WRONGTYPE no hash")]);
        assert!(wrong.err().expect("told").to_string().contains("WRONGTYPE"));
    }
}
