//! Brokers are killed while records are appended. What was acknowledged is there, what is sent again
//! counts once, and while too few brokers are left nothing is acknowledged.

use std::time::Duration;

use reckon_event::{Kind, Slot};
use reckon_eventlog::conformance::{read_from, record};
use reckon_eventlog::kafka::{KafkaLog, Options};
use reckon_eventlog::{EventLog, LaneHealth, Outcome};

use super::cluster::{Cluster, open};
use super::sender::{Client, assert_each_once, counted};

fn clicks(log: &KafkaLog) -> u16 {
    log.partition_of(Kind::Click, Slot::of_key(0))
}

fn labels(name: &str, count: u32) -> Vec<String> {
    (0..count).map(|n| format!("{name}-{n:05}")).collect()
}

/// One broker of three dies, whichever leads: nobody notices but by a pause.
#[test]
fn one_broker_is_killed_while_appending() {
    let mut cluster = Cluster::take();
    let log = open(&cluster.options(1));
    let partition = clicks(&log);
    let (mut sent, mut unknown) = (Vec::new(), 0);
    for broker in 1..=3 {
        let expected = labels(&format!("broker-{broker}"), 3_000);
        let mut client = Client::new(&log, partition, 200);
        for (n, label) in expected.iter().enumerate() {
            client.add(label.clone());
            if n % 500 == 499 {
                if n == 1_499 {
                    cluster.kill(broker);
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
    println!("kafka: 3 brokers killed: {} records, {unknown} unknown, {dropped} twice", sent.len());
}

/// Deliveries time out before the brokers have agreed on a new leader: session after session ends, and
/// each record counts once all the same, in order.
#[test]
fn a_producer_that_is_given_up_keeps_the_order() {
    let mut cluster = Cluster::take();
    let short = Duration::from_millis(500);
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
    for broker in 1..=3 {
        let expected = labels(&format!("broker-{broker}"), 2_000);
        let mut client = Client::new(&log, partition, 100);
        for (n, label) in expected.iter().enumerate() {
            client.add(label.clone());
            if n == 999 {
                client.send_all();
                cluster.kill(broker);
            }
        }
        client.send_all();
        unknown += client.tally.unknown;
        sent.extend(expected);
        cluster.revive();
    }
    assert!(unknown > 0, "some session was given up");
    let reader = open(&patient);
    let (labels, dropped) = counted(&reader, partition);
    assert_each_once(&labels, &sent);
    assert!(labels.is_sorted(), "in the order in which they were sent");
    println!(
        "kafka: sessions given up: {} records, {unknown} unknown, {dropped} twice",
        sent.len()
    );
}

/// Two of three are gone: one copy is not enough, so nothing is acknowledged until one is back.
#[test]
fn two_brokers_gone_acknowledge_nothing() {
    let mut cluster = Cluster::take();
    let options = Options { delivery_timeout: Duration::from_secs(5), ..cluster.options(1) };
    let log = open(&options);
    let partition = clicks(&log);
    let before = labels("before", 100);
    let mut client = Client::new(&log, partition, 50);
    before.iter().for_each(|label| client.add(label.clone()));
    client.send_all();

    cluster.kill(1);
    cluster.kill(2);
    let during = labels("during", 40);
    let mut client = Client::new(&log, partition, 20);
    during.iter().for_each(|label| client.add(label.clone()));
    for _ in 0..3 {
        assert!(!client.send(), "not all of it can be acknowledged");
    }
    assert_eq!(client.tally.durable, 0, "{:?}", client.tally);
    assert!(client.tally.unknown > 0 && client.tally.refused > 0, "{:?}", client.tally);
    let health = &log.health()[usize::from(partition)];
    assert!(
        matches!(health, LaneHealth::Fenced(why) if why.contains(&cluster.brokers)),
        "{health:?}"
    );
    let seen = read_from(&log, partition, log.range(partition).start, 1 << 20);
    assert!(seen.len() <= 140);

    cluster.revive();
    client.send_all();
    let after = labels("later", 100);
    after.iter().for_each(|label| client.add(label.clone()));
    client.send_all();
    assert_eq!(log.health()[usize::from(partition)], LaneHealth::Writable);
    let expected = [before, during, after].concat();
    let (labels, dropped) = counted(&log, partition);
    assert_each_once(&labels, &expected);
    println!("kafka: two brokers gone: {:?}, {dropped} twice", client.tally);
}

/// A log whose brokers are gone closes in bounded time, and says what it does not know.
#[test]
fn closing_without_brokers_answers_everything() {
    let mut cluster = Cluster::take();
    let options = Options { delivery_timeout: Duration::from_secs(5), ..cluster.options(1) };
    let log = open(&options);
    let partition = clicks(&log);
    assert!(matches!(log.append(partition, &record(0, "in"), 1).wait(), Outcome::Durable(_)));
    cluster.kill(1);
    cluster.kill(2);
    cluster.kill(3);
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
