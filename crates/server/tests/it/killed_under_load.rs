//! The server is killed with SIGKILL a hundred times while clicks and batches come in. Whoever got an
//! answer that acknowledges the event must find it counted, once, whatever was in flight.
//!
//! Each life of the server has an ad of its own, so a miss in one cannot hide behind a surplus in
//! another. Per life: acknowledged <= counted <= sent. At the end everything that was ever sent is
//! sent again: what had been counted must come out a duplicate, what had not counts now, so net
//! clicks end equal to the distinct ids sent, and the duplicates prove what was there before.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reckon_disk::TempDir;
use serde_json::{Value, json};

use crate::process::{Client, Process};

const LIVES: usize = 100;
const CLICKERS: usize = 4;
const TOKENS_A_LIFE: usize = 4_000;
const BATCH: usize = 20;
/// A life ends once so many events of it were acknowledged, so every life has something to lose.
const ACKNOWLEDGED_MIN: usize = 200;

/// What became of everything one life was sent.
#[derive(Default)]
struct Life {
    clicked: Vec<String>,
    clicks_acknowledged: usize,
    batched: Vec<String>,
    batched_acknowledged: usize,
}

impl Life {
    fn sent(&self) -> usize {
        self.clicked.len() + self.batched.len()
    }

    fn acknowledged(&self) -> usize {
        self.clicks_acknowledged + self.batched_acknowledged
    }
}

#[test]
fn every_acknowledged_event_is_counted_once_through_a_hundred_kills() {
    let data = TempDir::new("killed-under-load");
    let mut lives = Vec::new();
    for number in 0..LIVES {
        let server = Process::start(data.path());
        let key = key(data.path());
        register(&server, &key, number);
        let tokens = mint(&server, &key, number);
        let life = load(&server, &key, number, &tokens);
        server.kill();
        lives.push(life.into_inner().expect("no thread panicked"));
    }
    let server = Process::start(data.path());
    let mut client = server.connect().with_key(&key(data.path()));
    let before = counted(&mut client);
    for (number, life) in lives.iter().enumerate() {
        let (net, _) = before[number];
        assert!(
            net >= life.acknowledged(),
            "life {number}: {} acknowledged, {net} counted",
            life.acknowledged()
        );
        assert!(net <= life.sent(), "life {number}: {} sent, {net} counted", life.sent());
    }
    send_again(&mut client, &lives);
    let after = counted(&mut client);
    for (number, life) in lives.iter().enumerate() {
        let ((net_before, duplicates_before), (net, duplicates)) = (before[number], after[number]);
        assert_eq!(net, life.sent(), "life {number}: every id counts exactly once");
        assert_eq!(
            duplicates - duplicates_before,
            net_before,
            "life {number}: what was counted is a duplicate now"
        );
    }
    let sum = |of: fn(&Life) -> usize| lives.iter().map(of).sum::<usize>();
    println!(
        "compared {} lives: {} events sent ({} by click, {} in batches), {} acknowledged, {} counted before they were sent again",
        lives.len(),
        sum(Life::sent),
        sum(|life| life.clicked.len()),
        sum(|life| life.batched.len()),
        sum(Life::acknowledged),
        before.iter().map(|(net, _)| net).sum::<usize>(),
    );
}

fn key(data: &std::path::Path) -> String {
    std::fs::read_to_string(data.join("admin.key"))
        .expect("the first start has made it")
        .trim()
        .to_owned()
}

fn register(server: &Process, key: &str, life: usize) {
    let mut client = server.connect().with_key(key);
    let made =
        |answer: crate::process::Answer| assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    made(client.post(
        "/v1/advertisers",
        &json!({"advertiser_id": "adv", "name": "adv", "currency": "EUR"}),
    ));
    made(client.post(
        "/v1/campaigns",
        &json!({"campaign_id": format!("c{life}"), "advertiser_id": "adv", "name": "c", "cpc_micros": 1000,
                "status": "active", "targeting": {"placements": [format!("p{life}")]}}),
    ));
    made(client.post(
        "/v1/ads",
        &json!({"ad_id": format!("ad-{life}"), "campaign_id": format!("c{life}"),
                "destination_url": "https://shop.example/", "status": "active"}),
    ));
}

/// Tokens of this life's ad, each for another user so that they spread over slots.
fn mint(server: &Process, key: &str, life: usize) -> Vec<String> {
    let mut client = server.connect().with_key(key);
    let mut tokens = Vec::with_capacity(TOKENS_A_LIFE);
    for user in 0..TOKENS_A_LIFE {
        let asked = json!({"placement": format!("p{life}"), "user_id": format!("u{user}"), "context": {}, "count": 1});
        let answer = client.post("/v1/ads/serve", &asked).json();
        tokens
            .push(answer["ads"][0]["impression"].as_str().expect("one ad is eligible").to_owned());
    }
    tokens
}

/// Clicks and batches from several connections until enough was acknowledged; the kill comes while
/// they are still at it.
fn load(server: &Process, key: &str, life: usize, tokens: &[String]) -> Mutex<Life> {
    let log = Mutex::new(Life::default());
    let stop = AtomicBool::new(false);
    let chunks: Vec<&[String]> = tokens.chunks(TOKENS_A_LIFE / CLICKERS).collect();
    std::thread::scope(|scope| {
        for tokens in chunks {
            scope.spawn(|| click_until_stopped(server, tokens, &log, &stop));
        }
        scope.spawn(|| batch_until_stopped(server, key, life, &log, &stop));
        let deadline = Instant::now() + Duration::from_secs(60);
        while log.lock().expect("no thread panicked").acknowledged() < ACKNOWLEDGED_MIN {
            assert!(Instant::now() < deadline, "life {life} acknowledges nothing");
            std::thread::yield_now();
        }
        // The process dies here, in the middle of everything; connections break one by one.
        server.signal_kill();
        stop.store(true, Ordering::Relaxed);
    });
    log
}

fn click_until_stopped(server: &Process, tokens: &[String], log: &Mutex<Life>, stop: &AtomicBool) {
    let Ok(mut client) = Client::connect(&server.address) else { return };
    for token in tokens {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        log.lock().expect("no thread panicked").clicked.push(token.clone());
        let Ok(answer) = client.get(&format!("/click?imp={token}")) else { return };
        assert_eq!(
            (answer.status, answer.location.as_deref()),
            (302, Some("https://shop.example/"))
        );
        if !answer.degraded {
            log.lock().expect("no thread panicked").clicks_acknowledged += 1;
        }
    }
}

fn batch_until_stopped(
    server: &Process,
    key: &str,
    life: usize,
    log: &Mutex<Life>,
    stop: &AtomicBool,
) {
    let Ok(client) = Client::connect(&server.address) else { return };
    let mut client = client.with_key(key);
    for batch in 0..10_000 {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let ids: Vec<String> = (0..BATCH).map(|at| format!("{life}-{batch}-{at}")).collect();
        let body = Value::from_iter(ids.iter().map(|id| event(life, id))).to_string();
        log.lock().expect("no thread panicked").batched.extend(ids);
        let Ok(answer) = client.ask("POST", "/v1/events", &body) else { return };
        match answer.status {
            200 => log.lock().expect("no thread panicked").batched_acknowledged += BATCH,
            503 => {}
            other => panic!("{other}: {answer:?}"),
        }
    }
}

fn event(life: usize, id: &str) -> Value {
    json!({"type": "click", "ad_id": format!("ad-{life}"), "event_id": id, "user_id": format!("user-{id}"),
           "occurred_at": "2026-11-21T10:00:00Z"})
}

fn send_again(client: &mut Client, lives: &[Life]) {
    for (number, life) in lives.iter().enumerate() {
        let clicks = life.clicked.iter().map(|token| json!({"type": "click", "imp": token}));
        let batched = life.batched.iter().map(|id| event(number, id));
        let events: Vec<Value> = clicks.chain(batched).collect();
        for some in events.chunks(1_000) {
            let answer = client.post("/v1/events", &Value::from(some.to_vec()));
            assert_eq!(
                (answer.status, answer.json()["accepted"].as_u64()),
                (200, Some(some.len() as u64))
            );
        }
    }
}

/// Net clicks and duplicates of each life's ad, once everything that is in the log has been counted.
fn counted(client: &mut Client) -> Vec<(usize, usize)> {
    crate::settle(client);
    let path = "/v1/metrics?from=2026-01-01T00:00:00Z&to=2199-01-01T00:00:00Z&granularity=total&group_by=ad_id";
    let answer = client.get(path).expect("the server answers").json();
    let rows = answer["rows"].as_array().expect("rows");
    let of = |life: usize| {
        let row = rows
            .iter()
            .find(|row| row["ad_id"] == format!("ad-{life}"))
            .expect("every life was counted");
        let figure = |name: &str| row[name].as_u64().expect("a number") as usize;
        (figure("clicks"), figure("duplicates"))
    };
    (0..LIVES).map(of).collect()
}
