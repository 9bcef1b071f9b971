//! A log on the disk, and a pipeline that counts what is in it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reckon_count::Totals;
use reckon_count::rules::RuleSet;
use reckon_disk::{Disk, RealDisk, TempDir};
use reckon_event::{Control, Timestamp};
use reckon_eventlog::{DiskLog, EventLog, Outcome};
use reckon_pipeline::{Options, Pipeline, Stepped};

use crate::steps::processor_seconds;
use crate::stream::{Stream, control};

const APPEND_RECORDS: u32 = 2_000;

fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Arc<dyn EventLog> {
    let options = reckon_eventlog::Options::default();
    let (log, _) = DiskLog::open(Arc::clone(disk), dir, options, 1).expect("the disk works");
    Arc::new(log)
}

fn append(log: &dyn EventLog, bytes: &[u8], count: u32) {
    let outcome = log.append(0, bytes, count).wait();
    assert!(matches!(outcome, Outcome::Durable(_)), "{outcome:?}");
}

/// Makes a log of so many bytes and prints how many records that are.
pub fn fill(dir: &Path, mut stream: Stream, bytes: u64) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let log = open(&disk, dir);
    let start = Instant::now();
    let (mut buffer, mut written, mut records) = (Vec::new(), 0, 0_u64);
    while written < bytes {
        buffer.clear();
        (0..APPEND_RECORDS).for_each(|_| stream.next().record(&mut buffer));
        append(&*log, &buffer, APPEND_RECORDS);
        written += buffer.len() as u64;
        records += u64::from(APPEND_RECORDS);
    }
    println!("records {records}");
    println!("bytes {written}");
    println!("seconds {:.1}", start.elapsed().as_secs_f64());
}

/// Lets a pipeline count so many events, with nobody who subscribes; gives its verdicts.
pub fn count(mut stream: Stream, total: u64, rules: &RuleSet, epoch: u64) -> Totals {
    let dir = TempDir::new("count-speed");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let log = open(&disk, &dir.path().join("log"));
    write(&*log, &mut stream, total, rules);
    let options = Options { epoch_records_max: epoch as usize, ..Options::default() };
    let place = dir.path().join("counter");
    let mut pipeline =
        Pipeline::open(log, disk, &place, options, 1, Vec::new()).expect("the disk works");
    let (start, worked) = (Instant::now(), processor_seconds());
    let mut checkpoints = Duration::ZERO;
    while pipeline.step().expect("the disk works") != Stepped::Idle {
        if pipeline.is_checkpoint_due() {
            let began = Instant::now();
            pipeline.checkpoint().expect("the disk works");
            checkpoints += began.elapsed();
        }
    }
    let (took, worked) = (start.elapsed().as_secs_f64(), processor_seconds() - worked);
    let (each, core) = (total as f64 / took, total as f64 / worked);
    let checkpoints = checkpoints.as_secs_f64();
    println!(
        "{:<18} {each:.0} from a log on disk, {checkpoints:.2} s of {took:.2} for checkpoints",
        "pipeline"
    );
    println!("{:<18} {core:.0} of processor time", "pipeline_core");
    pipeline.totals()
}

fn write(log: &dyn EventLog, stream: &mut Stream, total: u64, rules: &RuleSet) {
    let mut bytes = Vec::new();
    let body = rules.encode();
    let told = Control::Rules { version: rules.version, from: rules.from, rules: &body };
    control(told, Timestamp::MIN, &mut bytes);
    append(log, &bytes, 1);
    let mut left = total;
    while left > 0 {
        let count = left.min(APPEND_RECORDS.into());
        bytes.clear();
        (0..count).for_each(|_| stream.next().record(&mut bytes));
        append(log, &bytes, count as u32);
        left -= count;
    }
    bytes.clear();
    control(Control::Tick, stream.closed_at(), &mut bytes);
    append(log, &bytes, 1);
}
