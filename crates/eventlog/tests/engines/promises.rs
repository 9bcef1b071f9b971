//! Every promise of the seam, on three brokers.

use std::sync::{Arc, Mutex};

use reckon_eventlog::EventLog;
use reckon_eventlog::conformance::{Harness, PROMISES, a_retired_record_is_gone};
use reckon_eventlog::kafka::{Options, Retire};

use super::cluster::{Cluster, open};

struct KafkaHarness<'a> {
    cluster: &'a Cluster,
    retire: Retire,
    made: Mutex<Option<Options>>,
}

impl Harness for KafkaHarness<'_> {
    fn make(&self, partitions: u16) -> Arc<dyn EventLog> {
        let options = Options { retire: self.retire, ..self.cluster.options(partitions) };
        let log = open(&options);
        *self.made.lock().expect("no holder panics") = Some(options);
        Arc::new(log)
    }

    fn reopen(&self) -> Arc<dyn EventLog> {
        let made = self.made.lock().expect("no holder panics");
        Arc::new(open(made.as_ref().expect("one was made")))
    }
}

#[test]
fn kafka_keeps_every_promise() {
    let cluster = Cluster::take();
    let harness =
        KafkaHarness { cluster: &cluster, retire: Retire::AtOnce, made: Mutex::default() };
    let mut records = 0;
    for (name, promise) in PROMISES {
        let compared = promise(&harness);
        println!("kafka: {name}: {compared} records");
        assert!(compared > 0);
        records += compared;
    }
    println!("kafka: {} promises checked, {records} records compared", PROMISES.len());
}

#[test]
fn kafka_keeps_what_its_retention_keeps() {
    let cluster = Cluster::take();
    let retire = Retire::ByRetention;
    let harness = KafkaHarness { cluster: &cluster, retire, made: Mutex::default() };
    assert_eq!(a_retired_record_is_gone(&harness), 3_000, "nothing was retired");
}
