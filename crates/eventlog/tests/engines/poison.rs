//! Somebody else writes what is no record. It is not skipped without a word, it does not stop anybody,
//! and it is not lost.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use reckon_event::{Kind, Slot, peek};
use reckon_eventlog::conformance::record;
use reckon_eventlog::kafka::{KafkaLog, Options, POISON_KIND};
use reckon_eventlog::{EventLog, Outcome};

use super::cluster::{Cluster, open};

const WAIT: Duration = Duration::from_secs(10);

fn write(options: &Options, topic: &str, values: &[Option<&[u8]>]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &options.brokers)
        .set("acks", "all")
        .create()
        .expect("a producer");
    let topic = format!("{}{topic}", options.topic_prefix);
    for value in values {
        let mut message = BaseRecord::<[u8], [u8]>::to(&topic).partition(0).key(b"theirs");
        message.payload = *value;
        producer.send(message).map_err(|(error, _)| error).expect("queued");
    }
    producer.flush(WAIT).expect("written");
}

/// Keys and values of the topic of poison values.
fn buried(options: &Options, count: usize) -> Vec<(String, Vec<u8>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options.brokers)
        .set("group.id", "test-of-poison")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let topic = format!("{}ad_click_prediction-events-dlq", options.topic_prefix);
    let mut all = TopicPartitionList::new();
    for partition in 0..3 {
        all.add_partition_offset(&topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&all).expect("assigned");
    let mut found = Vec::new();
    while found.len() < count {
        let message = consumer.poll(WAIT).expect("it is there").expect("readable");
        let key = String::from_utf8(message.key().expect("a key").to_vec()).expect("text");
        found.push((key, message.payload().unwrap_or_default().to_vec()));
    }
    found.sort();
    found
}

/// Kind and label of everything in a partition.
fn kinds(log: &KafkaLog, partition: u16, count: usize) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while found.len() < count {
        log.wait(partition, from, WAIT);
        let chunk = log.read(partition, from, 1 << 20).expect("readable");
        for entry in &chunk.entries {
            let bytes = chunk.bytes[entry.bytes.clone()].to_vec();
            found.push((peek(&bytes).expect("a whole record").kind_code, bytes));
        }
        from = chunk.next;
    }
    found
}

#[test]
fn poison_is_taken_away_and_stood_in_for() {
    let cluster = Cluster::take();
    let options = cluster.options(1);
    let log = open(&options);
    let partition = log.partition_of(Kind::Click, Slot::of_key(0));
    let append = |label: &str| {
        let outcome = log.append(partition, &record(0, label), 1).wait();
        assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
    };
    append("first");
    let misplaced = br#"{"type":"impression","slot":1,"received_at":"2026-11-21T10:00:00Z"}"#;
    let garbage: [Option<&[u8]>; 4] =
        [Some(b"not json"), None, Some(misplaced), Some(br#"{"type":"click","slot":"#)];
    write(&options, "ad-clicks", &garbage);
    append("second");
    // What others write is welcome where it is a record.
    let theirs =
        br#"{"type":"click","slot":9,"received_at":"2026-11-21T10:00:00Z","event_id":"x"}"#;
    write(&options, "ad-clicks", &[Some(theirs)]);

    let found = kinds(&log, partition, 7);
    let click = Kind::Click.code();
    let codes: Vec<u8> = found.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(codes, [click, POISON_KIND, POISON_KIND, POISON_KIND, POISON_KIND, click, click]);
    assert_eq!(log.poisoned(), 4);
    let topic = format!("{}ad-clicks", options.topic_prefix);
    let expected: Vec<(String, Vec<u8>)> = (1..)
        .zip(garbage)
        .map(|(at, value)| (format!("{topic}/0/{at}"), value.unwrap_or_default().to_vec()))
        .collect();
    assert_eq!(buried(&options, 4), expected);
    assert_eq!(kinds(&open(&options), partition, 7), found, "a later reader sees the same");
    println!("kafka: {} poison values taken away", log.poisoned());
}

/// The topic of poison values cannot take them: what is behind is not shown before they are safe.
#[test]
fn poison_that_cannot_be_kept_is_not_passed() {
    let mut cluster = Cluster::take();
    let options = Options {
        request_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(1),
        ..cluster.options(1)
    };
    let log = open(&options);
    let partition = log.partition_of(Kind::Click, Slot::of_key(0));
    write(&options, "ad-clicks", &[Some(b"garbage")]);
    log.wait(partition, 0, WAIT);
    cluster.pause(&[1, 2]);
    for _ in 0..3 {
        let read = log.read(partition, 0, 1 << 20);
        assert!(read.is_err() || read.is_ok_and(|chunk| chunk.entries.is_empty()));
    }
    assert_eq!(log.poisoned(), 0);
    cluster.resume();
    let found = (0..60).find_map(|_| log.read(partition, 0, 1 << 20).ok());
    let chunk = found.expect("as soon as it can be kept");
    assert_eq!((chunk.entries.len(), log.poisoned()), (1, 1));
}
