//! Brokers are killed or hang while records are appended. What was acknowledged is there, what is sent again
//! counts once, and while too few brokers are left nothing is acknowledged.

use std::time::Duration;

use reckon_event::{Kind, Slot};
use reckon_eventlog::conformance::{read_from, record};
use reckon_eventlog::kafka::{KafkaLog, Options};
use reckon_eventlog::{EventLog, LaneHealth, Outcome};

use super::cluster::{Cluster, open};
use super::sender::{Client, Tally, assert_each_once, counted};

fn clicks(log: &KafkaLog) -> u16 {
    log.partition_of(Kind::Click, Slot::of_key(0))
}

fn labels(name: &str, count: u32) -> Vec<String> {
    (0..count).map(|n| format!("{name}-{n:05}")).collect()
}

/// The broker that leads is killed, again and again: nobody notices but by a pause.
#[test]
fn the_leader_is_killed_while_appending() {
    let mut cluster = Cluster::take();
    let options = cluster.options(1);
    let log = open(&options);
    let partition = clicks(&log);
    let (mut sent, mut unknown) = (Vec::new(), 0);
    for round in 1..=2 {
        let expected = labels(&format!("round-{round}"), 3_000);
        let mut client = Client::new(&log, partition, 200);
        for (n, label) in expected.iter().enumerate() {
            client.add(label.clone());
            if n % 500 == 499 {
                if n == 1_499 {
                    cluster.kill(cluster.leader_of_clicks(&options));
                }
                client.send_all();
            }
        }
        assert_eq!(client.tally.durable, 3_000);
        unknown += client.tally.unknown;
        sent.extend(expected);
        cluster.revive();
    }
    let (labels, dropped) = counted(&log, partition);
    assert_each_once(&labels, &sent);
    assert!(labels.is_sorted(), "in the order in which they were sent");
    println!("kafka: 2 leaders killed: {} records, {unknown} unknown, {dropped} twice", sent.len());
}

/// The leader hangs for longer than a delivery may take, and then goes on with what it has been sent
/// meanwhile by session after session. Each record counts once all the same, in order.
#[test]
fn a_producer_that_is_given_up_keeps_the_order() {
    let mut cluster = Cluster::take();
    let short = Duration::from_secs(1);
    let options = Options { delivery_timeout: short, request_timeout: short, ..cluster.options(1) };
    // Topics are made with more patience.
    let patient = Options {
        request_timeout: Duration::from_secs(5),
        delivery_timeout: Duration::from_secs(20),
        ..options.clone()
    };
    drop(open(&patient));
    let log = open(&options);
    let partition = clicks(&log);
    let (mut sent, mut unknown) = (Vec::new(), 0);
    // In the first rounds it comes back while it still leads, in the last another one has taken over.
    for (round, sessions) in [(1, 1), (2, 1), (3, 4)] {
        let expected = labels(&format!("round-{round}"), 1_000);
        let mut client = Client::new(&log, partition, 100);
        for (n, label) in expected.iter().enumerate() {
            client.add(label.clone());
            if n == 499 {
                client.send_all();
                cluster.pause(&[cluster.leader_of_clicks(&options)]);
            }
        }
        for _ in 0..sessions {
            client.send();
        }
        cluster.resume();
        client.send_all();
        unknown += client.tally.unknown;
        sent.extend(expected);
    }
    assert!(unknown > 0, "some session was given up");
    // A broker that comes back may tell an old end until it hears who leads.
    let (reader, end) = (open(&patient), log.range(partition).end);
    let told = reader.range(partition).end;
    assert_eq!(reader.wait(partition, end - 1, Duration::from_secs(60)), end);
    let (labels, dropped) = counted(&reader, partition);
    assert_each_once(&labels, &sent);
    assert!(labels.is_sorted(), "in the order in which they were sent");
    println!(
        "kafka: sessions given up: {} records, {unknown} unknown, {dropped} twice, end {told} of {end}",
        sent.len()
    );
}

/// All but the leader are gone: one copy is not enough, so nothing is acknowledged until one is back. What
/// was acknowledged before can be read, and nothing else.
#[test]
fn two_brokers_gone_acknowledge_nothing() {
    let mut cluster = Cluster::take();
    let limit = Duration::from_secs(3);
    let options = Options { delivery_timeout: limit, request_timeout: limit, ..cluster.options(1) };
    let log = open(&options);
    let partition = clicks(&log);
    let before = labels("before", 100);
    let mut client = Client::new(&log, partition, 50);
    before.iter().for_each(|label| client.add(label.clone()));
    client.send_all();

    let leader = cluster.leader_of_clicks(&options);
    (1..=3).filter(|&broker| broker != leader).for_each(|broker| cluster.kill(broker));
    let during = labels("during", 40);
    let mut client = Client::new(&log, partition, 20);
    during.iter().for_each(|label| client.add(label.clone()));
    for _ in 0..2 {
        assert!(!client.send(), "not all of it can be acknowledged");
    }
    assert_eq!((client.tally.durable, client.tally.refused), (0, 0), "{:?}", client.tally);
    assert!(client.tally.unknown > 0);
    // From now on one at a time tries its luck.
    let others = labels("others", 20);
    let mut later = Client::new(&log, partition, 20);
    others.iter().for_each(|label| later.add(label.clone()));
    assert!(!later.send());
    assert_eq!(later.tally, Tally { durable: 0, unknown: 1, refused: 19 });
    let health = &log.health()[usize::from(partition)];
    assert!(
        matches!(health, LaneHealth::Fenced(why) if why.contains(&cluster.brokers)),
        "{health:?}"
    );
    let seen = read_from(&log, partition, log.range(partition).start, 1 << 20);
    assert!(seen.iter().map(|seen| &seen.label).eq(&before), "{}", seen.len());

    cluster.revive();
    client.send_all();
    later.send_all();
    let after = labels("later", 100);
    after.iter().for_each(|label| client.add(label.clone()));
    client.send_all();
    assert_eq!(log.health()[usize::from(partition)], LaneHealth::Writable);
    let expected = [before, during, others, after].concat();
    let (labels, dropped) = counted(&log, partition);
    assert_each_once(&labels, &expected);
    println!("kafka: two brokers gone: {:?}, {dropped} twice", client.tally);
}

/// A log whose brokers answer nothing closes in bounded time, and says what it does not know.
#[test]
fn closing_without_brokers_answers_everything() {
    let mut cluster = Cluster::take();
    let options = Options { delivery_timeout: Duration::from_secs(5), ..cluster.options(1) };
    let log = open(&options);
    let partition = clicks(&log);
    assert!(matches!(log.append(partition, &record(0, "in"), 1).wait(), Outcome::Durable(_)));
    cluster.pause(&[1, 2, 3]);
    let receipts: Vec<_> =
        (0..50).map(|n| log.append(partition, &record(0, &format!("{n}")), 1)).collect();
    log.close();
    for receipt in receipts {
        let outcome = receipt.outcome().expect("answered by the end of closing");
        assert!(!matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
    }
    let closed = log.append(partition, &record(0, "late"), 1).outcome();
    assert!(matches!(closed, Some(Outcome::NotWritten(_))), "{closed:?}");
}
