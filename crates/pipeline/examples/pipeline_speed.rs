//! How fast a pipeline counts what is in the log: read, journal, decode, fold, checkpoint.
//!
//! `cargo run --release -p reckon-pipeline --example pipeline_speed [millions of records] [records an epoch]`
//!
//! Ten minted impressions to a click over 1,024 slots stand in a log on the real disk; nobody
//! subscribes, so this is what counting itself costs.

#![expect(clippy::print_stdout, reason = "an example that prints figures")]

use std::sync::Arc;
use std::time::Instant;

use reckon_disk::{Disk, RealDisk, TempDir};
use reckon_event::{
    Claims, Currency, ImpressionId, Kind, Pseudonym, Record, SLOT_COUNT, Slot, TenantId, Timestamp,
};
use reckon_eventlog::{DiskLog, EventLog, Outcome};
use reckon_pipeline::{Options, Pipeline, Stepped};

const APPEND_RECORDS: u64 = 2_000;

fn main() {
    let millions: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let total = millions * 1_000_000;
    let dir = TempDir::new("pipeline-speed");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let options = reckon_eventlog::Options::default();
    let opened = DiskLog::open(Arc::clone(&disk), &dir.path().join("log"), options, 1);
    let log: Arc<dyn EventLog> = Arc::new(opened.expect("the disk works").0);
    fill(&*log, total);
    let place = dir.path().join("counter");
    let mut options = Options::default();
    if let Some(records) = std::env::args().nth(2).and_then(|text| text.parse().ok()) {
        options.epoch_records_max = records;
    }
    let mut pipeline =
        Pipeline::open(log, disk, &place, options, 1, Vec::new()).expect("the disk works");
    let (start, worked) = (Instant::now(), processor_seconds());
    let mut epochs = 0;
    while pipeline.step().expect("the disk works") != Stepped::Idle {
        epochs += 1;
    }
    let (counted, worked) = (start.elapsed().as_secs_f64(), processor_seconds() - worked);
    let start = Instant::now();
    pipeline.checkpoint().expect("the disk works");
    let saved = start.elapsed().as_secs_f64();
    assert_eq!(pipeline.totals().seen(), total);
    println!("records            {total} in {epochs} epochs");
    println!("counted            {:.2} M records/s of wall time", total as f64 / counted / 1e6);
    println!("processor          {:.0} ns a record", worked * 1e9 / total as f64);
    println!("checkpoint         {:.0} ms", saved * 1e3);
}

/// Time this thread has run, so that neighbours on the machine do not count.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanos: f64 = text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    nanos / 1e9
}

fn fill(log: &dyn EventLog, total: u64) {
    let mut bytes = Vec::new();
    for first in (0..total).step_by(APPEND_RECORDS as usize) {
        bytes.clear();
        (first..first + APPEND_RECORDS).for_each(|n| record(n).encode(&mut bytes));
        let outcome = log.append(0, &bytes, APPEND_RECORDS as u32).wait();
        assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
    }
}

fn record(n: u64) -> Record<'static> {
    let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let slot = Slot::of_key(hash);
    let start = Timestamp(1_795_255_200_000_000);
    let received = start.plus(n as i64 * 100);
    let kind = if n % 11 == 10 { Kind::Click } else { Kind::Impression };
    let ad_key = hash % 1_000 + 1;
    let mut record = Record {
        ip_tag: hash,
        agent_key: 7,
        region: ["DE-BE", "DE-BY", "FR-75", "US-CA"][(ad_key % 4) as usize],
        device: ["mobile", "desktop", "tablet"][(ad_key % 3) as usize],
        placement: "top",
        ..Record::new(kind, slot, received)
    };
    record.adopt(Claims {
        tenant: TenantId(1),
        impression: ImpressionId {
            incarnation: 1,
            slot,
            hour: start.hour(),
            sequence: (n / u64::from(SLOT_COUNT)) as u32,
        },
        ad_key,
        campaign_key: ad_key / 10,
        price: 250_000,
        currency: Currency::EUR,
        user: Pseudonym(u128::from(hash)),
        issued_at: received,
        expires_at: received.plus(Timestamp::DAY),
        model_version: 1,
        delta_version: 1,
        prediction_id: 1,
        arm: 0,
        propensity: 1.0,
        position: 1,
        explored: false,
        consent: 1,
    });
    record
}
