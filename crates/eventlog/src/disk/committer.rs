//! The thread of a lane: takes what is staged, makes it durable, answers.
//!
//! ```text
//!            append            taken                 synced
//!   Open ------------> staged ------> being written --------> Durable, Open
//!                                        |    |
//!                       no room: rolled back  | write or sync failed
//!                       NotWritten(Full), Open|
//!                                             v
//!                        Fenced: appends are refused, readers go on
//!                          |  repair: fresh handle, read again, cut, footer
//!                          |  done at once -> NotWritten(Fenced); else -> Unknown, and again later
//!                          v
//!                        Open, with a new generation
//! ```
//!
//! While one sync runs the next commit gathers. On top of that the committer lingers a little when
//! it has reason to expect more: those it has just answered will come back, so it waits for as many
//! appends as it answered last, plus those that were waiting by then. A lone appender is never made
//! to wait; many share one sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::lane::{Batch, Lane, Work};
use super::writer::{Failure, Writer};
use crate::{Completion, Durability, Outcome, Refusal};

const REPAIR_DELAY_MIN: Duration = Duration::from_millis(10);
const REPAIR_DELAY_MAX: Duration = Duration::from_secs(2);

/// Runs until the lane is closed.
pub(crate) struct Committer {
    pub(crate) lane: Arc<Lane>,
    pub(crate) writer: Writer,
    pub(crate) incarnation: u32,
    /// The log's: each handle of each lane has its own generation.
    pub(crate) generations: Arc<AtomicU32>,
    /// How many appends the next commit may wait for.
    pub(crate) expected: u32,
}

/// Settles a commit as unknown should the committer panic.
struct Answer(Arc<Completion>);

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.settle(Outcome::Unknown);
    }
}

impl Committer {
    /// Returns what kept the lane from being closed well, if anything.
    pub(crate) fn run(mut self) -> Option<std::io::Error> {
        loop {
            let idle = self.writer.wants_seal().then_some(self.writer.options.seal_delay);
            let done = match self.lane.next_work(self.expected, idle, &self.writer.options) {
                Work::Commit(batch) => self.commit(batch),
                Work::Idle => self.seal(),
                Work::Close => return self.writer.close().err().map(Failure::into_inner),
            };
            if let Err(error) = done {
                return Some(error);
            }
        }
    }

    /// An error only where the lane was closed before it could be repaired.
    fn commit(&mut self, mut batch: Batch) -> Result<(), std::io::Error> {
        let answer = Answer(Arc::clone(&batch.completion));
        match self.writer.commit(&mut batch.bytes, batch.first) {
            Ok(written) => {
                let file = self.writer.active.as_ref().map(|active| Arc::clone(&active.file));
                self.lane.publish(&written, file);
                // Counted before the answer: whoever is answered may be back at once.
                self.expected = batch.appends + self.lane.give_back(batch.bytes);
                answer.0.settle(Outcome::Durable(Durability::Disk));
                Ok(())
            }
            Err(Failure::Full(_)) => {
                answer.0.settle(Outcome::NotWritten(Refusal::Full));
                self.lane.give_back(batch.bytes);
                Ok(())
            }
            Err(Failure::Broken(error)) => {
                self.lane.give_back(batch.bytes);
                self.recover(error, Some(&answer.0))
            }
        }
    }

    fn seal(&mut self) -> Result<(), std::io::Error> {
        match self.writer.seal() {
            // A full disk: the block stays unsealed until the next try, which is harmless.
            Ok(()) | Err(Failure::Full(_)) => Ok(()),
            Err(Failure::Broken(error)) => self.recover(error, None),
        }
    }

    /// Fences the lane and repairs it, however long that takes; gives up only when it is closed.
    fn recover(
        &mut self,
        error: std::io::Error,
        waiting: Option<&Completion>,
    ) -> Result<(), std::io::Error> {
        self.lane.fence(error.to_string());
        self.lane.forget_handle();
        let mut delay = REPAIR_DELAY_MIN;
        let mut repaired = self.writer.repair();
        if let Some(waiting) = waiting {
            waiting.settle(match repaired {
                Ok(()) => Outcome::NotWritten(Refusal::Fenced),
                Err(_) => Outcome::Unknown,
            });
        }
        while let Err(again) = repaired {
            self.lane.fence(format!("{error}; then {again}"));
            if self.lane.rest(delay) {
                return Err(error);
            }
            delay = (delay * 2).min(REPAIR_DELAY_MAX);
            repaired = self.writer.repair();
        }
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        self.writer.appender = appender(self.incarnation, generation);
        self.expected = 0;
        self.lane.unfence(self.writer.appender);
        Ok(())
    }
}

/// The appender's number: no two handles of a log ever share one.
pub(crate) const fn appender(incarnation: u32, generation: u32) -> u64 {
    (incarnation as u64) << 32 | generation as u64
}
