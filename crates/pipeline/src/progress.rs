//! How far a pipeline is, for whoever waits for it or shows it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reckon_count::Totals;
use reckon_count::rules::Rules;
use reckon_event::Timestamp;

use crate::{OpaqueStats, Unjudged};

/// Whether it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// It takes epochs.
    #[default]
    Running,
    /// It was stopped.
    Stopped,
    /// It cannot go on, for this reason; the log goes on without it.
    Failed(String),
}

/// How far it is at one moment, after a whole epoch.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The cut: by partition, the offset behind the last record that every subscriber has.
    pub position: Vec<u64>,
    /// By partition, the offset behind the last record that was durable in the log at that moment.
    pub log_end: Vec<u64>,
    /// By partition, the offset below which nothing will be read again by this pipeline.
    pub retirable: Vec<u64>,
    /// By partition, the highest receive time of a record; 1970 before the first.
    pub received: Vec<Timestamp>,
    /// The receive time before which everything has been read: the least over all partitions.
    pub watermark: Timestamp,
    /// Where behavioural rules have work left.
    pub unjudged: Unjudged,
    /// All behavioural rules the log has told of.
    pub rules: Arc<Rules>,
    /// Verdicts that rules have changed since it was opened.
    pub revisions: u64,
    /// How many records got which verdict since the log began.
    pub totals: Totals,
    /// The last epoch that every subscriber has.
    pub epoch: u64,
    /// The epoch of the newest checkpoint.
    pub checkpoint: u64,
    /// The counter's lease.
    pub generation: u32,
    /// The set of opaque ids.
    pub opaque: OpaqueStats,
    /// Bytes the fold remembers on the heap, as of the newest checkpoint.
    pub state_bytes: u64,
    /// How often a subscriber had to be given an epoch again.
    pub retries: u64,
    /// What went wrong last, whether or not it was overcome.
    pub last_error: Option<String>,
    /// It stands still because somebody [holds](Progress::hold) it.
    pub is_held: bool,
    /// Whether it goes on.
    pub status: Status,
}

impl Snapshot {
    /// How far it is behind the log, as the sum of offsets over its partitions.
    pub fn lag(&self) -> u64 {
        self.log_end.iter().zip(&self.position).map(|(end, at)| end.saturating_sub(*at)).sum()
    }

    fn has_reached(&self, cut: &[u64]) -> bool {
        cut.len() <= self.position.len() && cut.iter().zip(&self.position).all(|(to, at)| at >= to)
    }
}

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Every subscriber has everything below the cut.
    Yes,
    /// The time is over.
    TimedOut,
    /// The pipeline has stopped or failed before it got there.
    Ended,
}

/// The latest [`Snapshot`], shared.
#[derive(Debug, Default)]
pub struct Progress {
    latest: Mutex<Arc<Snapshot>>,
    changed: Condvar,
    wants_checkpoint: AtomicBool,
    holds: AtomicU32,
}

/// Counting stands still for as long as this lives: no epoch is made, and nothing is applied to any
/// subscriber. The log takes everything, and checkpoints are still written when asked for.
#[must_use = "counting goes on when it is dropped"]
#[derive(Debug)]
pub struct Hold(Arc<Progress>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Progress {
    /// The latest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.lock())
    }

    /// Blocks until the position of every partition is at least that of `cut`.
    pub fn wait_until(&self, cut: &[u64], timeout: Duration) -> Reached {
        self.wait(timeout, |latest| latest.has_reached(cut))
    }

    /// Asks for a checkpoint soon: every subscriber makes durable what it has. Not waited for; see
    /// [`Progress::wait_checkpoint`].
    pub fn request_checkpoint(&self) {
        self.wants_checkpoint.store(true, Ordering::Release);
    }

    pub(crate) fn take_checkpoint_request(&self) -> bool {
        self.wants_checkpoint.swap(false, Ordering::AcqRel)
    }

    /// Blocks until there is a checkpoint of `epoch` or a later one.
    pub fn wait_checkpoint(&self, epoch: u64, timeout: Duration) -> Reached {
        self.wait(timeout, |latest| latest.checkpoint >= epoch)
    }

    /// Lets counting stand still after the epoch in hand; blocks until it does. For what must see every
    /// subscriber at the same epoch and change one of them behind its back; whoever holds it delays
    /// every figure.
    pub fn hold(self: &Arc<Self>, timeout: Duration) -> Result<Hold, Reached> {
        self.holds.fetch_add(1, Ordering::AcqRel);
        let hold = Hold(Arc::clone(self));
        match self.wait(timeout, |latest| latest.is_held) {
            Reached::Yes => Ok(hold),
            other => Err(other),
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.holds.load(Ordering::Acquire) > 0
    }

    fn wait(&self, timeout: Duration, has: impl Fn(&Snapshot) -> bool) -> Reached {
        let waits = |latest: &mut Arc<Snapshot>| !has(latest) && latest.status == Status::Running;
        let deadline = timeout.min(Duration::from_secs(1 << 30));
        let (latest, _) = self
            .changed
            .wait_timeout_while(self.lock(), deadline, waits)
            .unwrap_or_else(PoisonError::into_inner);
        match (has(&latest), &latest.status) {
            (true, _) => Reached::Yes,
            (false, Status::Running) => Reached::TimedOut,
            (false, _) => Reached::Ended,
        }
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(Arc::make_mut(&mut self.lock()));
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Snapshot>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
