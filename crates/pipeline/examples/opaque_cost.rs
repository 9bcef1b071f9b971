//! What an opaque id costs: a look for a new one, a look for a known one, a checkpoint.
//!
//! `cargo run --release -p reckon-pipeline --example opaque_cost [millions of ids]`
//!
//! Ids of one day go into runs on the real disk, a checkpoint every 200,000.

#![expect(clippy::print_stdout, reason = "an example that prints figures")]

use std::sync::Arc;
use std::time::Instant;

use reckon_count::{FirstCopy, OpaqueKey, Policy, Strand};
use reckon_disk::{Disk, RealDisk, TempDir};
use reckon_event::{Position, SLOT_COUNT, Slot, Timestamp, Topic};
use reckon_pipeline::OpaqueIds;

const CHECKPOINT: u64 = 200_000;

fn main() {
    let millions: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(4);
    let total = millions * 1_000_000;
    let dir = TempDir::new("opaque-cost");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut ids = OpaqueIds::open(disk, dir.path(), &[]).expect("the disk works");
    let now = Timestamp(1_795_255_200_000_000);
    let clock = |_: Strand| Some(now);
    let (mut look, mut insert, mut persist) = (0.0, 0.0, 0.0);
    for n in 0..total {
        let (key, position) = (key(n), Position { partition: 0, offset: n });
        look += timed(|| assert!(ids.look(key, position).expect("the disk works").is_none()));
        let copy = FirstCopy { position, digest: n, received: now };
        insert += timed(|| ids.insert(&[(key, copy)]));
        if (n + 1).is_multiple_of(CHECKPOINT) {
            persist += timed(|| drop(ids.persist(&Policy::default(), &clock).expect("it works")));
        }
    }
    let known = 200_000.min(total);
    let behind = Position { partition: 0, offset: total };
    let again = timed(|| {
        for n in 0..known {
            let found = ids.look(key(n * 7_919 % total), behind).expect("the disk works");
            assert!(found.is_some());
        }
    });
    let stats = ids.stats();
    println!("ids                {total}");
    println!("look, new          {:.0} ns", look * 1e9 / total as f64);
    println!("insert             {:.0} ns", insert * 1e9 / total as f64);
    println!("look, known        {:.0} ns", again * 1e9 / known as f64);
    println!("checkpoints        {:.0} ns an id, merges included", persist * 1e9 / total as f64);
    println!("merged             {:.2} times an id", stats.merged as f64 / total as f64);
    println!("memory             {:.1} bits an id", stats.filter_bytes as f64 * 8.0 / total as f64);
    println!("runs               {}", stats.runs);
    let wrong = stats.block_reads.saturating_sub(known);
    println!("filters err        once in {:.0} looks", total as f64 / wrong.max(1) as f64);
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn key(n: u64) -> OpaqueKey {
    let mix = |x: u64| {
        let x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
    };
    let (high, low) = (mix(n + 1), mix(!n));
    let slot = Slot::new((high % u64::from(SLOT_COUNT)) as u16).expect("below their number");
    let strand = Strand { slot, topic: Topic::Clicks };
    OpaqueKey::new(strand, u128::from(high) << 64 | u128::from(low))
}
