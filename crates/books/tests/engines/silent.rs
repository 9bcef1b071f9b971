//! The server's host is gone and another stands in its place: nobody says so on the connections that
//! were, and new ones work. Nobody opens the books anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reckon_books::{ErrorKind, Leases, PostgresBooks, PostgresOptions};
use reckon_event::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::place::{Place, options, run};

/// Twice what a busy machine needs for some connections at once.
const WAIT: Duration = Duration::from_secs(10);

/// A way to the server, whose connections can be made silent.
struct Way {
    port: u16,
    /// Connections of an earlier one are silent.
    generation: Arc<AtomicU64>,
}

impl Way {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let generation = Arc::new(AtomicU64::new(0));
        let current = Arc::clone(&generation);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a client");
                let server = TcpStream::connect(&server).await.expect("the server is there");
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, Arc::clone(&current)));
                tokio::spawn(pass(from_server, to_client, Arc::clone(&current)));
            }
        });
        Way { port, generation }
    }

    /// From now on nothing passes on any connection there is, and none of them ends.
    fn fall_silent(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, current: Arc<AtomicU64>) {
    let generation = current.load(Ordering::SeqCst);
    let mut buffer = [0; 4_096];
    loop {
        let read = from.read(&mut buffer).await;
        if current.load(Ordering::SeqCst) != generation {
            return std::future::pending().await;
        }
        let count = read.unwrap_or(0);
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// The books of a place over a way of their own.
async fn open(place: &Place, options: PostgresOptions) -> (Way, PostgresBooks) {
    let url = place.url();
    let server = url.split(['@', '/']).nth(3).expect("an address").to_owned();
    let way = Way::to(server.clone()).await;
    let url = url.replace(&server, &format!("127.0.0.1:{}", way.port));
    (way, PostgresBooks::open(&url, options).await.expect("the books open"))
}

/// Current-thread, so that the connection falls silent before it is given back.
#[tokio::test]
async fn connections_that_fall_silent_between_calls_cost_no_call() {
    let place = Place::new().await;
    let one = PostgresOptions { connections_max: 1, acquire_timeout: WAIT, ..options() };
    let (way, books) = open(&place, one).await;
    assert_eq!(books.lease("minter", Timestamp(0)).await.expect("is answered"), 1);
    way.fall_silent();
    assert_eq!(books.lease("minter", Timestamp(0)).await.expect("is answered"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_that_fell_silent_cost_no_call() {
    const CONNECTIONS: u32 = 4;
    let place = Place::new().await;
    let (way, books) = open(&place, PostgresOptions { acquire_timeout: WAIT, ..options() }).await;
    let books = Arc::new(books);
    for round in 0..2 {
        // All of them wait for one row, each on a connection of its own.
        let mut beside = place.beside().await;
        run(&mut beside, "BEGIN; LOCK TABLE leases IN SHARE MODE").await;
        let mut callers = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let books = Arc::clone(&books);
            callers.spawn(async move { books.lease("minter", Timestamp(0)).await });
        }
        tokio::select! {
            () = place.until_waiting(i64::from(CONNECTIONS)) => {}
            Some(ended) = callers.join_next() => panic!("a call did not wait: {ended:?}"),
        }
        run(&mut beside, "COMMIT").await;
        let answers = callers.join_all().await.into_iter().collect::<Result<Vec<_>, _>>();
        let mut numbers = answers.expect("are answered");
        numbers.sort_unstable();
        let first = round * CONNECTIONS + 1;
        assert_eq!(numbers, (first..first + CONNECTIONS).collect::<Vec<_>>());
        way.fall_silent();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_never_answered_is_given_up_and_may_be_asked_again() {
    const ATTEMPTS_MAX: usize = 20;
    let place = Place::new().await;
    let short = Duration::from_millis(700);
    let (way, books) = open(&place, PostgresOptions { call_timeout: short, ..options() }).await;
    let books = Arc::new(books);
    let mut beside = place.beside().await;
    run(&mut beside, "BEGIN; LOCK TABLE leases IN SHARE MODE").await;
    let caller = Arc::clone(&books);
    let call = tokio::spawn(async move { caller.lease("minter", Timestamp(0)).await });
    place.until_waiting(1).await;
    way.fall_silent();
    let error = call.await.expect("no panic").expect_err("nobody answers");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("gave no answer within 700 ms"), "{error}");
    run(&mut beside, "ROLLBACK").await;
    // The server may still hold the row for who was given up, for as long as a call may take.
    for _ in 0..ATTEMPTS_MAX {
        match books.lease("minter", Timestamp(0)).await {
            Ok(number) => return assert!(number <= 2, "{number}"),
            Err(error) => assert_eq!(error.kind, ErrorKind::Unavailable, "{error}"),
        }
    }
    panic!("nobody is answered any more");
}
