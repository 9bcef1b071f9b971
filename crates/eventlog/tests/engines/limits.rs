//! The longest records, the longest appends, and more than fits.

use reckon_event::{Kind, RECORD_BYTES_MAX, Record, Slot, Timestamp};
use reckon_eventlog::conformance::{read_from, record};
use reckon_eventlog::kafka::Options;
use reckon_eventlog::{EventLog, Outcome, Receipt, Refusal};

use super::cluster::{Cluster, open};

/// As long as a record may be, of what JSON has the longest words for.
fn longest(label: &str) -> Vec<u8> {
    let base = Record::new(Kind::Click, Slot::of_key(0), Timestamp(5));
    let worst = "\u{1}".repeat(1_000);
    let texts = Record { event_id: label, ad_id: &worst, source: &worst, region: &worst, ..base };
    let mut bytes = Vec::new();
    texts.encode(&mut bytes);
    let payload = vec![0xff; RECORD_BYTES_MAX - bytes.len() - 3];
    bytes.clear();
    Record { payload: &payload, ..texts }.encode(&mut bytes);
    assert_eq!(bytes.len(), RECORD_BYTES_MAX);
    bytes
}

#[test]
fn the_longest_records_are_taken() {
    let cluster = Cluster::take();
    let log = open(&cluster.options(1));
    let partition = log.partition_of(Kind::Click, Slot::of_key(0));
    let labels: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
    let bytes: Vec<u8> = labels.iter().flat_map(|label| longest(label)).collect();
    let outcome = log.append(partition, &bytes, 200).wait();
    assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
    let seen = read_from(&log, partition, 0, 1 << 20);
    assert!(seen.iter().map(|seen| &seen.label).eq(&labels));
}

#[test]
fn the_longest_appends_are_taken() {
    let cluster = Cluster::take();
    let log = open(&cluster.options(1));
    let partition = log.partition_of(Kind::Click, Slot::of_key(0));
    let bytes: Vec<u8> = (0..10_000).flat_map(|n| record(0, &format!("{n:05}"))).collect();
    let receipts: Vec<Receipt> = (0..3).map(|_| log.append(partition, &bytes, 10_000)).collect();
    for receipt in &receipts {
        assert!(matches!(receipt.wait(), Outcome::Durable(_)));
    }
    let seen = read_from(&log, partition, 0, 1 << 20);
    assert_eq!(seen.len(), 30_000);
    assert!(seen.windows(2).all(|two| two[0].id < two[1].id), "in order, each once");
}

/// What does not fit is refused at once, and certainly not written.
#[test]
fn more_than_may_be_staged_is_refused() {
    let cluster = Cluster::take();
    let log = open(&Options { staging_bytes_max: 8 * 20_000, ..cluster.options(1) });
    let partition = log.partition_of(Kind::Click, Slot::of_key(0));
    let labels: Vec<String> = (0..2_000).map(|n| format!("{n:04}")).collect();
    let receipts: Vec<(&String, Receipt)> =
        labels.iter().map(|label| (label, log.append(partition, &record(0, label), 1))).collect();
    let mut durable = Vec::new();
    let mut refused = 0;
    for (label, receipt) in receipts {
        match receipt.wait() {
            Outcome::Durable(_) => durable.push(label.clone()),
            Outcome::NotWritten(Refusal::Overloaded) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0 && !durable.is_empty());
    let seen = read_from(&log, partition, 0, 1 << 20);
    assert!(seen.iter().map(|seen| &seen.label).eq(&durable), "what was refused is not there");
    println!("kafka: {refused} of 2000 refused");
}
