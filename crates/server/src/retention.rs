//! Lets go of log that nobody needs any more.
//!
//! A record stays until all three have passed: its age ([`log.retain_s`](crate::config::Log)), the
//! oldest checkpoint that is kept, and the lake, which is synced before a checkpoint. Records of a kind
//! that this build does not know are in no lake, so as long as there are any, everything stays.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use reckon_event::{Record, Timestamp};
use reckon_eventlog::EventLog;

use crate::app::App;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(600);

/// Looks now and then until the application ends.
pub async fn run(app: Arc<App>) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let app = Arc::clone(&app);
        let retired = tokio::task::spawn_blocking(move || retire(&app)).await;
        if let Ok(Err(error)) = retired {
            eprintln!("log: nothing is retired: {error:#}");
        }
    }
}

/// Retires what may go; gives where each partition begins now.
pub fn retire(app: &App) -> Result<Vec<u64>> {
    let counted = app.progress.snapshot();
    let log = app.log();
    let is_whole = counted.totals.unknown == 0;
    let past = app.edge.clock.now().plus(-app.config.log.retain_s * Timestamp::SECOND);
    (0..log.partitions())
        .map(|partition| {
            let covered = counted.retirable.get(usize::from(partition)).copied().unwrap_or(0);
            let start = log.range(partition).start;
            if !is_whole || covered <= start {
                return Ok(start);
            }
            let before = first_since(log, partition, start..covered, past)?;
            log.retire(partition, before).with_context(|| format!("partition {partition}"))
        })
        .collect()
}

/// The offset of the first record in a range that was received at `past` or later, or the range's end.
/// Receive times rise but for a few records that were staged side by side: good enough for an age.
fn first_since(
    log: &dyn EventLog,
    partition: u16,
    mut range: std::ops::Range<u64>,
    past: Timestamp,
) -> Result<u64> {
    while range.start < range.end {
        let middle = range.start + (range.end - range.start) / 2;
        let chunk = log.read(partition, middle, 1)?;
        let Some(entry) = chunk.entries.first() else { break };
        let (record, _) = Record::decode_checked(&chunk.bytes[entry.bytes.clone()])
            .with_context(|| format!("record {partition}/{}", entry.offset))?;
        if record.received < past {
            range.start = entry.offset + 1;
        } else {
            range.end = middle;
        }
    }
    Ok(range.start)
}
