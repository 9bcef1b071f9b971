//! The spool: clicks that were redirected while the log could not take them.
//!
//! They wait in memory, bounded, and are appended as soon as the log takes records again. A click in
//! the spool was answered with `Reckon-Degraded: unlogged`, so nobody was promised that it counts;
//! one that does not fit, or is still here when the process ends, is lost and counted as lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use reckon_event::{RecordId, stamp};
use reckon_eventlog::{EventLog, Outcome};

use super::Meters;

/// How often a log that refuses is asked again.
const RETRY_EVERY: Duration = Duration::from_millis(50);
/// How many waiting records are appended at once.
const DRAIN_MAX: usize = 1_024;

struct Waiting {
    partition: u16,
    bytes: Vec<u8>,
}

/// Records that wait for the log.
pub struct Spool {
    waiting: Mutex<VecDeque<Waiting>>,
    records_max: usize,
    meters: Arc<Meters>,
    filled: tokio::sync::Notify,
}

impl Spool {
    /// An empty spool.
    pub fn new(records_max: usize, meters: Arc<Meters>) -> Self {
        Spool { waiting: Mutex::default(), records_max, meters, filled: tokio::sync::Notify::new() }
    }

    /// Keeps one encoded record whose append was not answered with "durable". Where the outcome is
    /// unknown the record keeps the id it was appended with, so that readers drop a second copy.
    pub fn keep(&self, partition: u16, mut bytes: Vec<u8>, outcome: Outcome, first: RecordId) {
        match outcome {
            Outcome::Durable(_) => {
                self.meters.logged.fetch_add(1, Relaxed);
                return;
            }
            Outcome::NotWritten(_) => {}
            Outcome::Unknown => {
                stamp(&mut bytes, first).expect("the edge has just encoded it");
            }
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() >= self.records_max {
            self.meters.unlogged.fetch_add(1, Relaxed);
            return;
        }
        waiting.push_back(Waiting { partition, bytes });
        drop(waiting);
        self.filled.notify_one();
    }

    /// How many wait.
    pub fn waiting_count(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Counts what is left as lost; at the end of the process.
    pub fn abandon(&self) {
        let left = std::mem::take(&mut *self.waiting.lock()).len();
        self.meters.unlogged.fetch_add(left as u64, Relaxed);
    }

    /// Appends what waits, for ever. The oldest go first; what is refused goes back to the front.
    pub async fn drain(&self, log: &dyn EventLog) {
        loop {
            if self.waiting_count() == 0 {
                self.filled.notified().await;
            }
            if !self.drain_some(log).await {
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    }

    async fn drain_some(&self, log: &dyn EventLog) -> bool {
        let some: Vec<Waiting> = {
            let mut waiting = self.waiting.lock();
            let count = waiting.len().min(DRAIN_MAX);
            waiting.drain(..count).collect()
        };
        let appended: Vec<_> = some
            .into_iter()
            .map(|kept| (log.append(kept.partition, &kept.bytes, 1), kept))
            .collect();
        let mut refused = VecDeque::new();
        for (mut receipt, mut kept) in appended {
            let first = receipt.first;
            match (&mut receipt).await {
                Outcome::Durable(_) => {
                    self.meters.logged.fetch_add(1, Relaxed);
                    continue;
                }
                Outcome::NotWritten(_) => {}
                Outcome::Unknown => {
                    stamp(&mut kept.bytes, first).expect("the edge has encoded it");
                }
            }
            refused.push_back(kept);
        }
        let all_in = refused.is_empty();
        let mut waiting = self.waiting.lock();
        refused.append(&mut waiting);
        *waiting = refused;
        all_in
    }
}
