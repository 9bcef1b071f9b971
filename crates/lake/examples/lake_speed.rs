//! How fast a lake is written: `cargo run --release -p reckon-lake --example lake_speed [records]`.
//!
//! Clicks and impressions with claims, as an edge logs them, in epochs of 20,000; a persist every 25.
//! Prints what `apply` costs the counter's thread, and what a record costs in all: sorting, encoding,
//! compressing, syncing, on one other thread.

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::time::{Duration, Instant};

use reckon_disk::TempDir;
use reckon_event::{
    Bound, Claims, Counted, Currency, Deltas, Epoch, ImpressionId, Kind, Position, Pseudonym,
    Record, RecordId, Slot, Subscriber, TenantId, Timestamp, Verdict,
};
use reckon_lake::{LakeOptions, LakePlace, LakeSubscriber};

const EPOCH_RECORDS: u64 = 20_000;
const REGIONS: [&str; 6] = ["eu-north", "eu-south", "us-east", "us-west", "apac", "latam"];

/// A record of a busy hour: 3,000 ads, 200,000 people.
fn record(number: u64, ad_ids: &[String]) -> Record<'_> {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number >> 7;
    let slot = Slot::of_key(mixed);
    let received = Timestamp(1_795_255_200_000_000 + number as i64 * 2);
    let ad = (mixed >> 20) % 3_000;
    let kind = if number.is_multiple_of(10) { Kind::Click } else { Kind::Impression };
    let mut record = Record {
        id: RecordId { appender: 7, sequence: number + 1 },
        ip_tag: mixed | 1,
        agent_key: mixed % 50,
        ip: Some(std::net::IpAddr::from([203, (mixed >> 8) as u8, mixed as u8, 0])),
        ad_id: &ad_ids[ad as usize],
        region: REGIONS[(mixed % 6) as usize],
        device: if mixed.is_multiple_of(3) { "desktop" } else { "mobile" },
        placement: "feed",
        ..Record::new(kind, slot, received)
    };
    record.adopt(Claims {
        tenant: TenantId(1),
        impression: ImpressionId { incarnation: 3, slot, hour: 498_681, sequence: number as u32 },
        ad_key: reckon_event::name_key(&ad_ids[ad as usize]),
        campaign_key: ad % 400,
        price: 250_000,
        currency: Currency::EUR,
        user: Pseudonym(u128::from(mixed % 200_000 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c)),
        issued_at: received.plus(-(mixed as i64 & 0xFF_FFFF)),
        expires_at: received.plus(Timestamp::DAY),
        model_version: 3,
        delta_version: (number / 500_000) as u32,
        prediction_id: number << 10,
        arm: (mixed % 4) as u16,
        propensity: (mixed % 1_000) as f32 / 1_000.0,
        position: (mixed % 8) as u16,
        explored: mixed.is_multiple_of(20),
        consent: 3,
    });
    record
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let records: u64 = std::env::args().nth(1).map_or(Ok(4_000_000), |text| text.parse())?;
    let folder = TempDir::new("lake-speed");
    let place = LakePlace::folder(folder.path())?;
    let mut lake = LakeSubscriber::open(place, LakeOptions::new(1))?;
    let ad_ids: Vec<String> = (0..3_000).map(|ad| format!("ad-{ad}")).collect();
    let (mut making, mut applying) = (Duration::ZERO, Duration::ZERO);
    let begun = Instant::now();
    for number in 1..=records.div_ceil(EPOCH_RECORDS) {
        let from = (number - 1) * EPOCH_RECORDS;
        let made = Instant::now();
        let batch: Vec<(Position, Record<'_>)> = (from..from + EPOCH_RECORDS)
            .map(|at| (Position { partition: 0, offset: at * 300 }, record(at, &ad_ids)))
            .collect();
        let verdicts = vec![Some(Verdict::Counted); batch.len()];
        making += made.elapsed();
        let bounds =
            vec![Bound { partition: 0, from: from * 300, to: (from + EPOCH_RECORDS) * 300 }];
        let epoch = Epoch { stage: 1, group: 0, generation: 1, number, bounds };
        let deltas = Deltas::default();
        let counted = Counted {
            records: &batch,
            verdicts: &verdicts,
            revisions: &[],
            deltas: &deltas,
            watermark: batch[0].1.received,
        };
        let applied = Instant::now();
        lake.apply(&epoch, &counted)?;
        applying += applied.elapsed();
        if number.is_multiple_of(25) {
            lake.persist()?;
        }
    }
    lake.persist()?;
    let whole = begun.elapsed() - making;
    let covered = lake.handle().covered();
    let found = lake.handle().verify()?;
    assert_eq!((found.damage.len(), found.rows), (0, covered.record_count));
    let each = |time: Duration| time.as_nanos() as f64 / covered.record_count as f64;
    println!("records          {}", covered.record_count);
    println!("apply            {:.0} ns a record, waiting for the lake included", each(applying));
    println!("in all           {:.0} ns a record", each(whole));
    println!("records/s        {:.0}", 1e9 / each(whole));
    println!("bytes a record   {:.1}", found.bytes as f64 / found.rows as f64);
    println!("files            {}", covered.file_count);
    Ok(())
}
