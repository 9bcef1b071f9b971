//! The server is killed in the middle of postings and started again: whatever was answered is there,
//! once, and the ledger balances. A server of its own, because others would die with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reckon_books::{
    Account, Entry, ErrorKind, Leases, Ledger, Periods, PostgresBooks, PostgresOptions, Slice,
    all_entries,
};
use reckon_event::{Micros, Timestamp};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::place::{Place, options};
use crate::things::{HOUR, charge, day, register};

const CLIENTS: usize = 4;
const KILLS: u64 = 3;
/// Answers before every kill, and after the last.
const ANSWERS: u64 = 40;
const ENTRIES: usize = 5;

/// A server in a folder of its own.
struct Server(TempDir);

impl Server {
    fn start() -> Self {
        let server = Server(TempDir::new().expect("a folder"));
        assert!(server.run("start"), "the server did not start");
        server
    }

    /// Whether the script could do it.
    fn run(&self, what: &str) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/engines/postgres.sh");
        let done = Command::new("bash").arg(script).arg(what).arg(self.0.path()).status();
        done.expect("bash runs").success()
    }

    fn kill(&self) {
        let pid = std::fs::read_to_string(self.file("pids")).expect("a process");
        let done = Command::new("kill").arg("-9").arg(pid.trim()).status();
        assert!(done.expect("kill runs").success());
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A value of the file that `start` wrote.
    fn environment(&self, name: &str) -> String {
        let file = std::fs::read_to_string(self.file("env")).expect("an environment");
        let head = format!("export {name}='");
        let line = file.lines().find_map(|line| line.strip_prefix(&head)).expect("is in it");
        line.trim_end_matches('\'').to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("stop");
    }
}

/// What the clients have met so far.
#[derive(Clone, Copy, Default)]
struct Met {
    answered: u64,
    refused: u64,
}

/// Does something until it is answered; a server that is not there may be asked again.
async fn until_answered<T, F>(met: &watch::Sender<Met>, mut call: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, reckon_books::Error>>,
{
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
                met.send_modify(|met| met.refused += 1);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_answered_survives_the_server() {
    let server = Server::start();
    let (url, admin) = ("RECKON_TEST_POSTGRES", "RECKON_TEST_POSTGRES_ADMIN");
    let place = Place::on(server.environment(url), server.environment(admin)).await;
    let books = place.postgres().await;
    register(&books).await;
    books.freeze(day(), 9, Vec::new(), HOUR).await.expect("freezes");
    // Whoever waits for answers is told when all clients are gone: nobody else holds the sender.
    let (met, mut seen) = watch::channel(Met::default());
    let (met, is_over) = (Arc::new(met), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let options = PostgresOptions { acquire_timeout: Duration::from_secs(1), ..options() };
        let books = place.postgres_with(options).await;
        let (met, is_over) = (Arc::clone(&met), Arc::clone(&is_over));
        clients.spawn(async move { post(&books, number, &met, &is_over).await });
    }
    drop(met);
    for _ in 0..KILLS {
        answers(&mut seen).await;
        server.kill();
        // Down until somebody has noticed it: every kill falls into the work.
        let refused = seen.borrow_and_update().refused;
        seen.wait_for(|met| met.refused > refused).await.expect("clients are at work");
        assert!(server.run("start"), "the server did not start again");
    }
    answers(&mut seen).await;
    is_over.store(true, Ordering::Relaxed);
    let mut posted: Vec<Entry> = Vec::new();
    let mut leased = Vec::new();
    for (entries, numbers) in clients.join_all().await {
        posted.extend(entries);
        assert!(numbers.is_sorted(), "a lease fell");
        leased.extend(numbers);
    }
    let lease_count = leased.len();
    leased.sort_unstable();
    leased.dedup();
    assert_eq!(leased.len(), lease_count, "a lease was given twice");
    posted.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    let there = all_entries(&books, &Slice::of_day(day())).await.expect("reads");
    assert_eq!(there, posted, "what was answered is what stands");
    let sum: Micros = posted.iter().map(|entry| entry.amount).sum();
    let balances = books.balances(&Slice::of_day(day())).await.expect("sums");
    let sums: Vec<_> = balances.iter().map(|b| (b.account, b.debits - b.credits)).collect();
    assert_eq!(sums, [(Account::Receivable, sum), (Account::Revenue, -sum)]);
    // A charge without a figure is what this ledger is made of; nothing else is wrong with it.
    let findings = place.findings().await;
    assert!(findings.iter().all(|said| said.ends_with("is a charge without a frozen figure")));
    println!(
        "{} entries and {lease_count} leases over {KILLS} kills, {} calls repeated",
        posted.len(),
        seen.borrow().refused
    );
}

/// Waits for so many answers more.
async fn answers(seen: &mut watch::Receiver<Met>) {
    let enough = seen.borrow_and_update().answered + ANSWERS;
    seen.wait_for(|met| met.answered >= enough).await.expect("clients are at work");
}

/// Posts and leases until it is over; what was answered.
async fn post(
    books: &PostgresBooks,
    number: usize,
    met: &watch::Sender<Met>,
    is_over: &AtomicBool,
) -> (Vec<Entry>, Vec<u32>) {
    let (mut posted, mut numbers) = (Vec::new(), Vec::new());
    let mut batch = 0;
    while !is_over.load(Ordering::Relaxed) {
        let entry = |n| charge(&format!("{number}/{batch}/{n}"), 0, 1 + n as i64);
        let entries: Vec<Entry> = (0..ENTRIES).map(entry).collect();
        let done = until_answered(met, || books.post(entries.clone())).await;
        assert_eq!(done.new + done.same, ENTRIES as u64);
        posted.extend(entries);
        numbers.push(until_answered(met, || books.lease("minter", Timestamp(0))).await);
        met.send_modify(|met| met.answered += 1);
        batch += 1;
    }
    (posted, numbers)
}
