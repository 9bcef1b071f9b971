//! Others append to and delete from the same topics, readers jump about, and tools want to see lag.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use reckon_event::{Kind, Slot};
use reckon_eventlog::conformance::{read_from, record};
use reckon_eventlog::kafka::{KafkaLog, Options, Retire};
use reckon_eventlog::{EventLog, Outcome, ReadError};

use super::cluster::{Cluster, open};

const WAIT: Duration = Duration::from_secs(20);

fn append(log: &KafkaLog, count: u32) -> u16 {
    let partition = log.partition_of(Kind::Click, Slot::of_key(0));
    let bytes: Vec<u8> = (0..count).flat_map(|n| record(0, &format!("{n}"))).collect();
    let outcome = log.append(partition, &bytes, count).wait();
    assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
    partition
}

#[test]
fn what_another_process_appends_wakes_a_reader() {
    let cluster = Cluster::take();
    let options = cluster.options(1);
    let (reader, writer) = (open(&options), open(&options));
    for round in 1..=3 {
        let partition = append(&writer, 10);
        let end = 10 * round;
        assert_eq!(reader.wait(partition, end - 1, WAIT), end);
        assert_eq!(read_from(&reader, partition, 0, 1 << 20).len() as u64, end);
    }
}

#[test]
fn what_another_process_retires_is_gone() {
    let cluster = Cluster::take();
    let options = Options { retire: Retire::AtOnce, ..cluster.options(1) };
    let (reader, writer) = (open(&options), open(&options));
    let partition = append(&writer, 100);
    assert_eq!(reader.wait(partition, 99, WAIT), 100);
    assert_eq!(read_from(&reader, partition, 0, 1 << 20).len(), 100);
    assert_eq!(writer.retire(partition, 60).expect("retired"), 60);
    // The reader learns of it when it looks, or when it asks for what is gone.
    let gone = (0..100).find_map(|_| match reader.read(partition, 0, 1 << 20) {
        Err(ReadError::Gone { asked: 0, start }) => Some(start),
        _ => {
            reader.wait(partition, u64::MAX, Duration::from_millis(100));
            None
        }
    });
    assert_eq!(gone, Some(60));
    assert_eq!(read_from(&reader, partition, 60, 1 << 20).len(), 40);
}

/// Two readers at two places of one partition take turns, and each sees everything.
#[test]
fn readers_at_two_places_both_get_everything() {
    let cluster = Cluster::take();
    let log = open(&cluster.options(1));
    let partition = append(&log, 2_000);
    std::thread::scope(|scope| {
        let readers: Vec<_> = [0, 1_000]
            .into_iter()
            .map(|from| {
                let log = &log;
                scope.spawn(move || read_from(log, partition, from, 20_000).len() as u64 + from)
            })
            .collect();
        for reader in readers {
            assert_eq!(reader.join().expect("no panic"), 2_000);
        }
    });
}

/// More than fits into what is read ahead, read in small pieces.
#[test]
fn a_reader_far_behind_catches_up() {
    let cluster = Cluster::take();
    let options = Options { read_ahead_bytes: 1, ..cluster.options(1) };
    let log = open(&options);
    let mut partition = 0;
    for _ in 0..20 {
        partition = append(&log, 500);
    }
    let seen = read_from(&open(&options), partition, 0, 50_000);
    assert_eq!(seen.len(), 10_000);
    assert!(seen.windows(2).all(|two| two[0].id < two[1].id));
}

#[test]
fn tools_see_how_far_reading_has_come() {
    let cluster = Cluster::take();
    let options = cluster.options(1);
    let log = open(&options);
    let partition = append(&log, 100);
    assert_eq!(read_from(&log, partition, 0, 1 << 20).len(), 100);
    // A reader that asks for more has everything before.
    assert!(log.read(partition, 100, 1).expect("readable").entries.is_empty());
    drop(log);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options.brokers)
        .set("group.id", format!("{}ad_click_prediction-processors", options.topic_prefix))
        .create()
        .expect("a consumer");
    let topic = format!("{}ad-clicks", options.topic_prefix);
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&topic, 0);
    let told = consumer.committed_offsets(asked, WAIT).expect("told");
    assert_eq!(told.elements()[0].offset(), Offset::Offset(100));
}
