//! Where each partition begins and ends, as far as this process knows.
//!
//! Asking a broker costs a round trip, and `range` is asked all the time. So both ends are kept: they
//! are raised by what was delivered and by what has arrived, and asked for once in a while for what
//! others have done. Neither ever falls, so an old answer is a true one.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// The bounds of all partitions.
pub(crate) struct Bounds {
    spans: Vec<Span>,
    /// Threads in [`Bounds::wait`]; nobody is notified for none.
    waiting: AtomicU32,
    gate: Mutex<()>,
    advanced: Condvar,
}

#[derive(Default)]
struct Span {
    start: AtomicU64,
    end: AtomicU64,
}

impl Bounds {
    pub fn new(partitions: u16) -> Self {
        Bounds {
            spans: (0..partitions).map(|_| Span::default()).collect(),
            waiting: AtomicU32::new(0),
            gate: Mutex::new(()),
            advanced: Condvar::new(),
        }
    }

    pub fn range(&self, partition: u16) -> Range<u64> {
        let span = &self.spans[usize::from(partition)];
        let start = span.start.load(Ordering::SeqCst);
        start..span.end.load(Ordering::SeqCst).max(start)
    }

    pub fn raise_start(&self, partition: u16, start: u64) {
        self.spans[usize::from(partition)].start.fetch_max(start, Ordering::SeqCst);
    }

    pub fn raise_end(&self, partition: u16, end: u64) {
        let before = self.spans[usize::from(partition)].end.fetch_max(end, Ordering::SeqCst);
        // Whoever waits has said so before looking at the end, so either it is seen here or the end
        // is seen there.
        if before < end && self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.gate.lock().expect("no holder panics"));
            self.advanced.notify_all();
        }
    }

    pub fn wait(&self, partition: u16, beyond: u64, timeout: Duration) -> u64 {
        let end = || self.range(partition).end;
        if end() <= beyond {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let gate = self.gate.lock().expect("no holder panics");
            let waited = self.advanced.wait_timeout_while(gate, timeout, |()| end() <= beyond);
            drop(waited.expect("no holder panics"));
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn neither_bound_falls() {
        let bounds = Bounds::new(2);
        bounds.raise_end(1, 7);
        bounds.raise_end(1, 5);
        bounds.raise_start(1, 3);
        bounds.raise_start(1, 2);
        assert_eq!((bounds.range(0), bounds.range(1)), (0..0, 3..7));
    }

    #[test]
    fn a_start_beyond_the_known_end_is_an_empty_range() {
        let bounds = Bounds::new(1);
        bounds.raise_start(0, 9);
        assert_eq!(bounds.range(0), 9..9);
    }

    #[test]
    fn a_wait_ends_with_the_first_offset_beyond() {
        let bounds = Bounds::new(1);
        assert_eq!(bounds.wait(0, 0, Duration::from_millis(1)), 0);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| bounds.wait(0, 2, Duration::from_secs(60)));
            for end in 1..=3 {
                bounds.raise_end(0, end);
            }
            assert_eq!(waiting.join().expect("no panic"), 3);
        });
    }
}
