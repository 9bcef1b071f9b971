//! How large epochs are and how often they become a checkpoint. None of it changes a result.

use std::time::Duration;

use reckon_count::Policy;

/// The knobs of a pipeline.
#[derive(Clone, Debug)]
pub struct Options {
    /// The slot group it covers.
    pub group: u16,
    /// The horizons of the fold. An epoch is folded with those in force when it was logged.
    pub policy: Policy,
    /// The most log bytes of one epoch, over all partitions; at least one record each is taken.
    pub epoch_bytes_max: usize,
    /// The most records of one epoch.
    pub epoch_records_max: usize,
    /// How long the thread gathers before it makes an epoch of what there is.
    pub epoch_interval: Duration,
    /// A checkpoint is written after so many epochs ...
    pub checkpoint_epochs: u64,
    /// ... or so many records ...
    pub checkpoint_records: u64,
    /// ... or so many opaque ids that stand only in memory ...
    pub opaque_memory_max: usize,
    /// ... or so many clicks that rules may still judge and that stand only in memory ...
    pub survivors_memory_max: usize,
    /// ... or so many looks in a row that found nothing new.
    pub checkpoint_idle_looks: u32,
    /// How often a failing subscriber is given the same epoch before the pipeline halts.
    pub attempts_max: u32,
    /// The pause before another attempt; doubled each time.
    pub retry_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            group: 0,
            policy: Policy::default(),
            epoch_bytes_max: 8 << 20,
            epoch_records_max: 20_000,
            epoch_interval: Duration::from_millis(50),
            checkpoint_epochs: 600,
            checkpoint_records: 5_000_000,
            opaque_memory_max: 500_000,
            survivors_memory_max: 5_000_000,
            checkpoint_idle_looks: 100,
            attempts_max: 5,
            retry_pause: Duration::from_millis(50),
        }
    }
}
