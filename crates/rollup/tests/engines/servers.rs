//! The servers under test, databases that vanish, and a plain request for looking behind the store.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reckon_rollup::clickhouse::{Compacting, Options};

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// `old` or `current`.
    pub name: String,
    pub url: String,
}

/// One test at a time: some kill the servers.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a test on each server, on all of them at the same time: each is mostly waited for.
pub fn each_server(test: impl Fn(&Server) + Sync) {
    let _turn: MutexGuard<'_, ()> = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let list = std::env::var("RECKON_TEST_CLICKHOUSE")
        .expect("RECKON_TEST_CLICKHOUSE is not set: run `make engines-test`");
    let servers: Vec<Server> = list.split_whitespace().map(Server::parse).collect();
    assert!(!servers.is_empty(), "RECKON_TEST_CLICKHOUSE names no server");
    let test = &test;
    std::thread::scope(|scope| {
        let run = |server| scope.spawn(move || test(server));
        let tests: Vec<_> = servers.iter().map(run).collect();
        for test in tests {
            test.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
}

impl Server {
    fn parse(text: &str) -> Self {
        let (name, url) = text.split_once('=').expect("RECKON_TEST_CLICKHOUSE is NAME=URL ...");
        Server { name: name.to_owned(), url: url.to_owned() }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Ends it as a power cut would end its process.
    pub fn kill(&self) {
        self.script("kill");
    }

    /// Starts it on what it has left.
    pub fn again(&self) {
        self.script("again");
    }

    fn script(&self, verb: &str) {
        let dir = std::env::var("RECKON_TEST_CLICKHOUSE_DIR").expect("it is set with the servers");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/engines/clickhouse.sh");
        let status = Command::new("bash").args([script, verb, &dir, &self.name]).status();
        assert!(status.expect("bash is there").success(), "clickhouse.sh {verb} {}", self.name);
    }

    /// The answer to a statement, as text.
    pub fn ask(&self, statement: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(300))).expect("a socket");
        let length = statement.len();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it is sent");
        stream.write_all(statement.as_bytes()).expect("it is sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{statement}: {answer}");
        match head.to_lowercase().contains("transfer-encoding: chunked") {
            true => unchunk(body),
            false => body.to_owned(),
        }
    }
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("the length of a chunk");
        if length == 0 {
            break;
        }
        text.push_str(&rest[..length]);
        body = &rest[length + 2..];
    }
    text
}

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database of one test.
pub struct Database {
    pub server: Server,
    pub name: String,
}

impl Database {
    pub fn new(server: &Server) -> Self {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("reckon_{}_{number}", std::process::id());
        Database { server: server.clone(), name }
    }

    /// Small bounds, so that everything happens.
    pub fn options(&self) -> Options {
        Options {
            fan_in: 3,
            compacting: Compacting::Inline,
            deadline: Duration::from_secs(30),
            ..Options::new(&self.server.url, &self.name, 1 << 30)
        }
    }

    /// The answer to a statement in which `{db}` stands for the database.
    pub fn ask(&self, statement: &str) -> String {
        self.server.ask(&statement.replace("{db}", &self.name))
    }

    /// How many runs lie on the server, named or not.
    pub fn runs(&self) -> usize {
        self.ask("SELECT DISTINCT run FROM {db}.rows").lines().count()
    }

    /// How many runs the commit in force names.
    pub fn named_runs(&self) -> usize {
        let statement =
            "SELECT length(run_ids) FROM {db}.commits ORDER BY session DESC, number DESC LIMIT 1";
        self.ask(statement).trim().parse().expect("there is a commit")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ask("DROP DATABASE IF EXISTS {db}");
        }
    }
}
