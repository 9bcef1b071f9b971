//! Topics that are not as they must be, and settings that make no sense, are told with what to do.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use reckon_eventlog::kafka::{Error, KafkaLog, Options};

use super::cluster::{Cluster, open};

#[track_caller]
fn check_refused(options: Options, expected: &[&str]) -> Error {
    let error = KafkaLog::open(options, 1).err().expect("refused");
    let text = error.to_string();
    for part in expected {
        assert!(text.contains(part), "{text}");
    }
    error
}

fn create(options: &Options, topic: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &options.brokers).create().expect("a client");
    let name = format!("{}{topic}", options.topic_prefix);
    let mut new = NewTopic::new(&name, i32::from(options.partitions), TopicReplication::Fixed(3));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    let made = futures::executor::block_on(admin.create_topics(&[new], &AdminOptions::new()));
    made.expect("answered")[0].as_ref().expect("made");
}

#[test]
fn another_number_of_partitions_is_refused() {
    let cluster = Cluster::take();
    let options = cluster.options(2);
    drop(open(&options));
    let more = Options { partitions: 3, ..options.clone() };
    let topic = format!("topic {}ad-impressions", options.topic_prefix);
    let error = check_refused(
        more,
        &[&topic, &options.brokers, "has 2 partitions", "set log.kafka.partitions = 2"],
    );
    assert!(matches!(error, Error::Partitions { found: 2, asked: 3, .. }));
}

#[test]
fn topics_that_lose_records_are_refused() {
    let cluster = Cluster::take();
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("min.insync.replicas", "1")], "min.insync.replicas is 1"),
        (
            &[("min.insync.replicas", "2"), ("cleanup.policy", "compact")],
            "cleanup.policy is compact",
        ),
        (
            &[("min.insync.replicas", "2"), ("unclean.leader.election.enable", "true")],
            "unclean.leader.election.enable is true",
        ),
        (
            &[("min.insync.replicas", "2"), ("max.message.bytes", "1000")],
            "max.message.bytes is 1000",
        ),
    ];
    for (settings, expected) in cases {
        let options = cluster.options(1);
        create(&options, "ad-clicks", settings);
        check_refused(options, &["ad-clicks", expected]);
    }
}

#[test]
fn brokers_that_are_not_there_are_named() {
    let options = Options {
        brokers: "127.0.0.1:9".to_owned(),
        request_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    check_refused(options, &["kafka at 127.0.0.1:9", "log.kafka.brokers"]);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let with = |name: &str, value: &str| {
        let settings = vec![(name.to_owned(), value.to_owned())];
        Options { settings, ..Options::default() }
    };
    check_refused(with("acks", "1"), &["log.kafka.settings names acks"]);
    check_refused(with("no.such.setting", "1"), &["no.such.setting"]);
    check_refused(Options { partitions: 0, ..Options::default() }, &["log.kafka.partitions"]);
    check_refused(Options { in_sync_min: 4, ..Options::default() }, &["log.kafka.in_sync_min"]);
    check_refused(Options { brokers: String::new(), ..Options::default() }, &["log.kafka.brokers"]);
}
