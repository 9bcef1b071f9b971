//! How fast the log takes appends on this machine: `cargo run --release --example append_rate DIR`.
//!
//! One thread keeps a number of appends in flight, as an event loop with that many connections does:
//! it waits for the oldest and then replaces all that are done. The last line reads it all back.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reckon_disk::RealDisk;
use reckon_event::{Kind, Record, Slot, Timestamp};
use reckon_eventlog::{DiskLog, EventLog, Options, Outcome, Receipt};

const SECONDS: u64 = 1;

fn main() {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join("reckon-append-rate");
    for delay_micros in [0, 200, 500, 1_000, 2_000] {
        for in_flight in [1, 16, 64, 256] {
            let options = Options {
                commit_delay_max: Duration::from_micros(delay_micros),
                ..Options::default()
            };
            run(&dir, options, in_flight, 1, delay_micros);
        }
    }
    for in_flight in [2, 8] {
        run(&dir, Options::default(), in_flight, 1_000, 1_000);
    }
}

fn run(dir: &Path, options: Options, in_flight: usize, batch: u32, delay_micros: u64) {
    let _ = std::fs::remove_dir_all(dir);
    let (log, _) = DiskLog::open(Arc::new(RealDisk), dir, options, 1).expect("opens");
    let records = click().repeat(batch as usize);
    let mut flying: VecDeque<(Instant, Receipt)> = VecDeque::new();
    let (mut latencies, mut appends) = (Vec::new(), 0_u64);
    let began = Instant::now();
    let cpu = cpu_time();
    while began.elapsed() < Duration::from_secs(SECONDS) {
        while flying.len() < in_flight {
            flying.push_back((Instant::now(), log.append(0, &records, batch)));
            appends += 1;
        }
        if let Some((_, oldest)) = flying.front() {
            assert!(matches!(oldest.wait(), Outcome::Durable(_)));
        }
        while flying.front().is_some_and(|(_, receipt)| receipt.outcome().is_some()) {
            let (sent, _) = flying.pop_front().expect("it was looked at");
            latencies.push(sent.elapsed());
        }
    }
    let elapsed = began.elapsed();
    let cpu = cpu_time().saturating_sub(cpu);
    drop(flying);
    latencies.sort();
    let per_second = (appends * u64::from(batch)) as f64 / elapsed.as_secs_f64();
    println!(
        "linger {delay_micros:>5} us, {in_flight:>3} in flight of {batch:>4}: {per_second:>9.0} records/s, \
         p50 {:>6} us, p99 {:>6} us, cpu {:.2}, read {:>9.0} records/s",
        latencies[latencies.len() / 2].as_micros(),
        latencies[latencies.len() * 99 / 100].as_micros(),
        cpu.as_secs_f64() / elapsed.as_secs_f64(),
        read_rate(&log),
    );
    log.close().expect("closes");
    let _ = std::fs::remove_dir_all(dir);
}

fn read_rate(log: &DiskLog) -> f64 {
    let end = log.range(0).end;
    let (mut next, began) = (0, Instant::now());
    while next < end {
        next = log.read(0, next, 1 << 20).expect("readable").next;
    }
    end as f64 / began.elapsed().as_secs_f64()
}

/// Processor time of this process so far, from the kernel's count of 10 ms ticks.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn click() -> Vec<u8> {
    let slot = Slot::new(7).expect("a slot");
    let base = Record::new(Kind::Click, slot, Timestamp(1_700_000_000_000_000));
    let mut bytes = Vec::new();
    Record {
        ad_id: "ad-000123",
        event_id: "5f0c8a52-1111-4222-8333-944455556666",
        region: "DE",
        device: "mobile",
        placement: "home-top",
        ..base
    }
    .encode(&mut bytes);
    bytes
}
