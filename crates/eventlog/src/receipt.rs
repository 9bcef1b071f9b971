//! The promise of an answer to an append.
//!
//! All appends of one commit share one [`Completion`], so an append costs a pointer copy and no
//! channel: with 100,000 appends a second the answers must not cost more than the log itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use reckon_event::RecordId;

use crate::{Durability, Outcome, Refusal};

/// Where one commit's outcome will stand, once, for everyone who waits for it.
#[derive(Debug, Default)]
pub struct Completion {
    /// 0 while pending, else [`encode`]d: the fast path takes no lock.
    outcome: AtomicU8,
    waiters: Mutex<Waiters>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct Waiters {
    wakers: Vec<Waker>,
    /// Threads in [`Receipt::wait`]; nobody is notified for none.
    threads: u32,
}

impl Completion {
    /// One that is pending.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Settles it and wakes everyone; later calls change nothing.
    pub fn settle(&self, outcome: Outcome) {
        let mut waiters = self.lock();
        if self.outcome.load(Ordering::Relaxed) != 0 {
            return;
        }
        self.outcome.store(encode(outcome), Ordering::Release);
        let wakers = std::mem::take(&mut waiters.wakers);
        let threads = waiters.threads;
        drop(waiters);
        if threads > 0 {
            self.settled.notify_all();
        }
        for waker in wakers {
            waker.wake();
        }
    }

    /// The outcome, where it is known.
    pub fn outcome(&self) -> Option<Outcome> {
        decode(self.outcome.load(Ordering::Acquire))
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> Outcome {
        let mut waiters = self.lock();
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            waiters.threads += 1;
            waiters = self.settled.wait(waiters).unwrap_or_else(PoisonError::into_inner);
            waiters.threads -= 1;
        }
    }
}

const fn encode(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Durable(Durability::Disk) => 1,
        Outcome::Unknown => 2,
        Outcome::NotWritten(Refusal::Overloaded) => 3,
        Outcome::NotWritten(Refusal::Full) => 4,
        Outcome::NotWritten(Refusal::Fenced) => 5,
        Outcome::NotWritten(Refusal::Closed) => 6,
        // A replication factor beyond 119 exists nowhere.
        Outcome::Durable(Durability::Replicated(n)) => 136 + if n > 119 { 119 } else { n },
    }
}

const fn decode(code: u8) -> Option<Outcome> {
    Some(match code {
        0 => return None,
        1 => Outcome::Durable(Durability::Disk),
        3 => Outcome::NotWritten(Refusal::Overloaded),
        4 => Outcome::NotWritten(Refusal::Full),
        5 => Outcome::NotWritten(Refusal::Fenced),
        6 => Outcome::NotWritten(Refusal::Closed),
        136.. => Outcome::Durable(Durability::Replicated(code - 136)),
        _ => Outcome::Unknown,
    })
}

/// The answer to one append: a future for handlers, [`Receipt::wait`] for threads.
#[derive(Debug)]
#[must_use = "an append is not durable before its receipt says so"]
pub struct Receipt {
    /// The id of the append's first record; the others follow by one. After
    /// [`Outcome::Unknown`] the records are appended again with these ids. The zero id where the
    /// append was refused at once.
    pub first: RecordId,
    state: State,
}

#[derive(Debug)]
enum State {
    Settled(Outcome),
    Pending { completion: Arc<Completion>, waker: Option<usize> },
}

impl Receipt {
    /// One that is answered already.
    pub const fn settled(outcome: Outcome) -> Self {
        Receipt { first: RecordId { appender: 0, sequence: 0 }, state: State::Settled(outcome) }
    }

    /// One that will be answered by `completion`.
    pub const fn pending(first: RecordId, completion: Arc<Completion>) -> Self {
        Receipt { first, state: State::Pending { completion, waker: None } }
    }

    /// Blocks until the outcome is known.
    pub fn wait(&self) -> Outcome {
        match &self.state {
            State::Settled(outcome) => *outcome,
            State::Pending { completion, .. } => completion.wait(),
        }
    }

    /// The outcome, where it is known by now.
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.state {
            State::Settled(outcome) => Some(*outcome),
            State::Pending { completion, .. } => completion.outcome(),
        }
    }
}

impl Future for Receipt {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let State::Pending { completion, waker } = &mut self.state else {
            return self.outcome().map_or(Poll::Pending, Poll::Ready);
        };
        if let Some(outcome) = completion.outcome() {
            return Poll::Ready(outcome);
        }
        let mut waiters = completion.lock();
        // Settling takes the same lock, so either it is seen here or the waker is seen there.
        if let Some(outcome) = completion.outcome() {
            return Poll::Ready(outcome);
        }
        match waker.and_then(|at| waiters.wakers.get_mut(at)) {
            Some(known) => known.clone_from(context.waker()),
            None => {
                *waker = Some(waiters.wakers.len());
                waiters.wakers.push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;
    use std::thread;

    struct Count(AtomicU8);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn outcomes_survive_their_code() {
        let outcomes = [
            Outcome::Durable(Durability::Disk),
            Outcome::Durable(Durability::Replicated(0)),
            Outcome::Durable(Durability::Replicated(3)),
            Outcome::NotWritten(Refusal::Overloaded),
            Outcome::NotWritten(Refusal::Full),
            Outcome::NotWritten(Refusal::Fenced),
            Outcome::NotWritten(Refusal::Closed),
            Outcome::Unknown,
        ];
        for outcome in outcomes {
            assert_eq!(decode(encode(outcome)), Some(outcome));
        }
        assert_eq!(decode(0), None);
    }

    #[test]
    fn a_future_is_woken_once_however_often_it_was_polled() {
        let completion = Completion::new();
        let count = Arc::new(Count(AtomicU8::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let mut receipt = Receipt::pending(RecordId::default(), Arc::clone(&completion));
        for _ in 0..3 {
            assert!(Pin::new(&mut receipt).poll(&mut context).is_pending());
        }
        completion.settle(Outcome::Unknown);
        completion.settle(Outcome::Durable(Durability::Disk));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(Pin::new(&mut receipt).poll(&mut context), Poll::Ready(Outcome::Unknown));
    }

    #[test]
    fn threads_wait_for_one_completion_together() {
        let completion = Completion::new();
        let outcome = Outcome::Durable(Durability::Disk);
        thread::scope(|scope| {
            let waits: Vec<_> = (0..4)
                .map(|_| Receipt::pending(RecordId::default(), Arc::clone(&completion)))
                .map(|receipt| scope.spawn(move || receipt.wait()))
                .collect();
            completion.settle(outcome);
            for wait in waits {
                assert_eq!(wait.join().expect("no panic"), outcome);
            }
        });
    }
}
