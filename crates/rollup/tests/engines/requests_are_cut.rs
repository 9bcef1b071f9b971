//! Every single request of a history is cut: before the server has it, or before its answer is there.
//! The store may fail, and whoever opens the database next, with a higher generation, must find exactly
//! what was persisted; or it goes on, and must not have lost or doubled anything.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reckon_event::{Applied, Cell, Currency, Deltas, Kind, Measure, TenantId, Verdict};
use reckon_rollup::clickhouse::{ClickHouse, Options};
use reckon_rollup::{BrokenKind, Error, Refusal, RollupStore};

use crate::random::START;
use crate::servers::{Database, Server, each_server};
use crate::twins::{Compared, OwnFiles, all_the_same, deltas, epoch, sums_are_the_same, top};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Passes,
    /// The server never sees it.
    CutBefore,
    /// The server does it, and its answer is lost.
    CutAfter,
}

/// Decides by the number of a request, from 0, and its text.
type Decide = dyn Fn(u32, &str) -> Fate + Send + Sync;

/// A way to a server on which requests are cut.
pub struct Proxy {
    pub url: String,
    stops: Arc<AtomicBool>,
    pub seen: Arc<AtomicU32>,
}

impl Proxy {
    pub fn new(
        server: &Server,
        decide: impl Fn(u32, &str) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (stops, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let decide: Arc<Decide> = Arc::new(decide);
        let address = server.address().to_owned();
        let proxy = Proxy { url, stops: stops.clone(), seen: seen.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stops.load(Ordering::Acquire) {
                    return;
                }
                let (decide, address) = (Arc::clone(&decide), address.clone());
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || {
                    // A connection that ends is what this is for.
                    let _ = relay(client, &address, &*decide, &seen);
                });
            }
        });
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Release);
        // The listener looks up, and goes.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

/// One request: connections are not used twice, so that cutting one cuts one request.
fn relay(
    mut client: TcpStream,
    address: &str,
    decide: &Decide,
    seen: &AtomicU32,
) -> std::io::Result<()> {
    let request = read_request(&mut client)?;
    let text = String::from_utf8_lossy(&request).into_owned();
    let number = seen.fetch_add(1, Ordering::AcqRel);
    let fate = decide(number, &text);
    if fate == Fate::CutBefore {
        return Ok(());
    }
    let mut server = TcpStream::connect(address)?;
    server.write_all(&request)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    if fate == Fate::CutAfter {
        return Ok(());
    }
    client.write_all(&answer)
}

/// A whole request, which asks for the connection to be closed.
fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 65_536];
    let mut length = None;
    loop {
        if length.is_some_and(|length| is_whole(&bytes, length)) {
            break;
        }
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..read]);
        if length.is_none() {
            length = find(&bytes, b"\r\n\r\n").map(|at| (at + 4, body_length(&bytes[..at])));
        }
    }
    let line = find(&bytes, b"\r\n").expect("there is a first line") + 2;
    let close = b"Connection: close\r\n";
    Ok([&bytes[..line], close, &bytes[line..]].concat())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The length of a body; `None` where it comes in chunks.
fn body_length(head: &[u8]) -> Option<usize> {
    let head = String::from_utf8_lossy(head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|length| length.trim().parse().ok())
}

fn is_whole(bytes: &[u8], (start, length): (usize, Option<usize>)) -> bool {
    match length {
        Some(length) => bytes.len() >= start + length,
        None => bytes.ends_with(b"\r\n0\r\n\r\n") || &bytes[start..] == b"0\r\n\r\n",
    }
}

/// Epochs that touch each other, several ads, and seconds of two days.
pub fn history() -> Vec<Deltas> {
    let click = |second: i64, ad: u64, count: i64| {
        let cell = Cell {
            second: START + second,
            tenant: TenantId(1),
            ad,
            campaign: ad / 2,
            region: 0,
            device: 0,
            placement: 0,
            position: 0,
            kind: Kind::Click,
            verdict: Verdict::Counted,
            currency: Currency::EUR,
        };
        (cell, Measure { count, spend: count * 100 })
    };
    (0..8i64)
        .map(|n| {
            let ad = n.unsigned_abs() % 3;
            deltas(&[click(n * 7_000, ad, n + 1), click(30, 1, 1), click(n * 60, 9, -n)])
        })
        .collect()
}

fn options(database: &Database, url: &str) -> Options {
    let mut options = Options { fan_in: 2, url: url.to_owned(), ..database.options() };
    // Fewer cubes, fewer requests to be cut; one that is bounded among them.
    options.cubes.retain(|cube| {
        ["detail_by_minute", "ads_by_hour", "detail_by_second"].contains(&cube.name.as_str())
    });
    options
}

/// Hands the history over until something fails; returns the last epoch that was persisted.
fn feed(options: Options, epochs: &[Deltas]) -> Result<u64, u64> {
    let Ok(store) = ClickHouse::open(options) else { return Err(0) };
    let mut persisted = 0;
    for (number, deltas) in (1..).zip(epochs) {
        if store.apply(&epoch(1, number), deltas).is_err() {
            return Err(persisted);
        }
        match store.persist() {
            Ok(number) => persisted = number,
            Err(_) => return Err(persisted),
        }
    }
    Ok(persisted)
}

/// What is found is what was persisted, or that and the epoch on its way; and all goes on from there.
fn check_found(database: &Database, persisted: u64, epochs: &[Deltas], compared: &mut Compared) {
    let options = options(database, &database.server.url);
    let store = ClickHouse::open(options.clone()).expect("it opens");
    let found = store.marks().applied.unwrap_or(0);
    assert!((persisted..=persisted + 1).contains(&found), "{found} after {persisted}");
    let known = usize::try_from(found).expect("few");
    sums_are_the_same(&store, &OwnFiles::of(&options, &epochs[..known]).store, compared);
    for (number, deltas) in (1..).zip(epochs) {
        let applied = store.apply(&epoch(2, number), deltas).expect("it is known or follows");
        assert_eq!(applied, if number > found { Applied::Fresh } else { Applied::Again });
    }
    store.persist().expect("the server is there");
    sums_are_the_same(&store, &OwnFiles::of(&options, epochs).store, compared);
    assert_eq!(database.runs(), database.named_runs(), "what was cut off has been dropped");
}

#[test]
fn the_writer_dies_at_every_request() {
    each_server(|server| {
        // As many as make fresh runs, runs of all cubes and larger ones of these.
        let epochs = &history()[..4];
        let mut compared = Compared::default();
        let requests = {
            let database = Database::new(server);
            let proxy = Proxy::new(server, |_, _| Fate::Passes);
            let fed = feed(options(&database, &proxy.url), epochs);
            assert_eq!(fed, Ok(epochs.len() as u64));
            proxy.seen.load(Ordering::Acquire)
        };
        let mut cut = 0;
        for number in 0..requests {
            let fates = [Fate::CutBefore, Fate::CutAfter];
            // Each request is cut in one way; in both where there is time.
            let is_long = std::env::var("RECKON_LONG").is_ok();
            for fate in fates.into_iter().filter(|f| is_long || *f == fates[number as usize % 2]) {
                let database = Database::new(server);
                let proxy = Proxy::new(server, move |n, _| match n.cmp(&number) {
                    std::cmp::Ordering::Less => Fate::Passes,
                    std::cmp::Ordering::Equal => fate,
                    std::cmp::Ordering::Greater => Fate::CutBefore,
                });
                let dying = Options { attempts_max: 1, ..options(&database, &proxy.url) };
                let persisted = feed(dying, epochs).expect_err("it was cut off");
                check_found(&database, persisted, epochs, &mut compared);
                cut += 1;
            }
        }
        eprintln!("{}: the writer died at each of {cut} requests; {compared:?}", server.name);
        assert!(cut > 40 && compared.answers > 80);
    });
}

#[test]
fn a_cut_request_is_made_up_for() {
    each_server(|server| {
        let epochs = history();
        let mut compared = Compared::default();
        for fate in [Fate::CutBefore, Fate::CutAfter] {
            let database = Database::new(server);
            // About every third request fails, in no rhythm that what is done again could fall into.
            let is_cut = |n: u32| n.wrapping_mul(0x9e37_79b9) >> 30 == 1 || n % 9 == 4;
            let proxy = Proxy::new(server, move |n, _| if is_cut(n) { fate } else { Fate::Passes });
            let options = options(&database, &proxy.url);
            let store = open_at_last(&options);
            for (number, deltas) in (1..).zip(&epochs) {
                at_last(|| store.apply(&epoch(1, number), deltas));
                at_last(|| store.persist());
            }
            all_the_same_at_last(&database, &epochs, &mut compared);
            drop(store);
        }
        assert!(compared.answers > 50);
    });
}

fn open_at_last(options: &Options) -> ClickHouse {
    at_last(|| ClickHouse::open(options.clone()))
}

/// Asks again while only the way to the server failed.
fn at_last<T>(mut ask: impl FnMut() -> Result<T, Error>) -> T {
    let mut failures = Vec::new();
    for _ in 0..20 {
        match ask() {
            Ok(done) => return done,
            Err(error @ Error::Broken { kind: BrokenKind::Io, .. }) => {
                failures.push(error.to_string());
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it does not get through: {failures:#?}");
}

fn all_the_same_at_last(database: &Database, epochs: &[Deltas], compared: &mut Compared) {
    let options = options(database, &database.server.url);
    let store = ClickHouse::open(options.clone()).expect("it opens");
    all_the_same(&store, &OwnFiles::of(&options, epochs).store, compared);
}

#[test]
fn errors_name_engine_address_and_fix() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}", silent.local_addr().expect("it is bound"));
    each_server(|server| {
        let database = Database::new(server);
        let deadline = Duration::from_millis(300);
        let hung = Options { deadline, attempts_max: 2, ..options(&database, &url) };
        let Err(Error::Broken { kind: BrokenKind::Io, place, source }) = ClickHouse::open(hung)
        else {
            panic!("nobody answers there")
        };
        assert!(place.starts_with("ClickHouse at 127.0.0.1:"), "{place}");
        assert!(source.to_string().contains("see that the server runs"), "{source}");
        let denied = Options { user: Some("nobody".to_owned()), ..options(&database, &server.url) };
        if server.name == "old" {
            let Err(Error::Broken { source, .. }) = ClickHouse::open(denied) else {
                panic!("there is no such user")
            };
            assert!(source.to_string().contains("give a user"), "{source}");
        }
        let other = Options { database: "no;name".to_owned(), ..database.options() };
        assert!(matches!(
            ClickHouse::open(other),
            Err(Error::Broken { kind: BrokenKind::Mismatch, .. })
        ));
    });
}

/// A marker that comes in when somebody else writes already is passed over.
#[test]
fn a_marker_that_comes_too_late_changes_nothing() {
    each_server(|server| {
        let epochs = history();
        let database = Database::new(server);
        let successor: Arc<Mutex<Option<ClickHouse>>> = Arc::new(Mutex::new(None));
        let direct = options(&database, &server.url);
        let fence = {
            let (successor, direct) = (Arc::clone(&successor), direct.clone());
            let other = epochs[2].clone();
            let markers = AtomicU32::new(0);
            // Before the marker of the third epoch reaches the server, a successor opens and takes over; the
            // first of all is the one that takes over an empty database.
            move |_: u32, text: &str| {
                let is_marker = text.contains("INTO") && text.contains("commits");
                if is_marker && markers.fetch_add(1, Ordering::AcqRel) == 3 {
                    let store = ClickHouse::open(direct.clone()).expect("it opens");
                    assert_eq!(store.marks().applied, Some(2));
                    store.apply(&epoch(2, 3), &other).expect("it follows");
                    *successor.lock().expect("nobody panics here") = Some(store);
                }
                Fate::Passes
            }
        };
        let proxy = Proxy::new(server, fence);
        let late = ClickHouse::open(Options { fan_in: 9, ..options(&database, &proxy.url) });
        let late = late.expect("it opens");
        for number in 1..=3 {
            late.apply(&epoch(1, number), &epochs[number as usize - 1]).expect("it follows");
            match late.persist() {
                Ok(persisted) => assert!(persisted == number && number < 3),
                Err(Error::Refused(Refusal::Fenced(2))) => assert_eq!(number, 3),
                Err(error) => panic!("{error}"),
            }
        }
        let refused = late.apply(&epoch(1, 4), &epochs[3]);
        assert!(matches!(refused, Err(Error::Refused(Refusal::Fenced(2)))), "{refused:?}");
        let refused = late.persist();
        assert!(matches!(refused, Err(Error::Refused(Refusal::Fenced(2)))), "{refused:?}");
        let successor =
            successor.lock().expect("nobody panics here").take().expect("it was opened");
        let mut compared = Compared::default();
        all_the_same(&successor, &OwnFiles::of(&direct, &epochs[..3]).store, &mut compared);
        successor.persist().expect("the server is there");
        let reader = ClickHouse::open(direct.clone()).expect("it opens");
        all_the_same(&reader, &OwnFiles::of(&direct, &epochs[..3]).store, &mut compared);
        let answer = late.query(&top(reckon_rollup::Metric::Clicks, 3)).expect("it still answers");
        assert_eq!(answer.applied, Some(3), "by what its successor has persisted");
    });
}
