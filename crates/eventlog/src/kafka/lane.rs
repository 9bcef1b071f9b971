//! One partition as appenders see it: what is staged, what was handed over, and what became of it.
//!
//! An append is a flight: its values wait here until they are handed over to the producer, and the
//! flight is answered when all of them have been reported. Order is everything:
//!
//! - Flights are handed over and answered in the order of their ids.
//! - The first value of a session goes alone, and so does the first after a long silence: a broker
//!   that does not know a producer (any more) takes whatever number it begins with, so that a second
//!   request could get in although the first has not.
//! - When one value fails, everything behind it in the lane is given up with it. What was handed
//!   over is unknown and may be appended again, in order, with its ids; what was not is certainly
//!   not written. The lane goes on under another appender's number, so that nothing new can stand
//!   above what is still to be repeated.
//! - After that, while nothing has been acknowledged, one flight at a time tries its luck and all
//!   others are refused at once.
//!
//! ```text
//!          hand over             first delivered
//!   Probe ----------> one alone ----------------> Open: everything goes at once
//!     ^                                             |
//!     |  new session                                |  a delivery fails, or comes too late
//!     +------------------ Held <--------------------+
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use reckon_event::RecordId;

use super::Options;
use super::sender::Session;
use super::values::Values;
use crate::{Completion, Durability, Outcome, Receipt, Refusal};

/// So many ticks without an append, and the next one goes alone. A broker forgets a producer after a
/// day; this is minutes.
const SILENT_TICKS: u64 = 4_096;
/// Bits of a flight's number in a ticket; the lane's stand above.
const FLIGHT_BITS: u32 = 48;

const _: () = assert!(usize::BITS == u64::BITS, "a ticket is as long as a pointer");

/// What a delivery report is told by: the lane and the flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub lane: u16,
    pub flight: u64,
}

/// An append on its way.
struct Flight {
    completion: Arc<Completion>,
    values: Values,
    handed: usize,
    delivered: usize,
    /// When it was appended.
    since: u64,
}

/// Whether values may be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    /// One, alone.
    Probe,
    /// All.
    Open,
    /// None: the session is being given up.
    Held,
}

struct State {
    closed: bool,
    session: Option<Arc<Session>>,
    passage: Passage,
    flights: VecDeque<Flight>,
    /// The number of the first flight in `flights`.
    first: u64,
    /// How many of them have been handed over entirely.
    handed: usize,
    bytes: usize,
    /// Values that were handed over and not yet reported.
    out: usize,
    appender: u64,
    next: u64,
    /// When something was appended or reported last.
    stirred: u64,
    /// Something of this session has failed: the session is to be given up.
    failed: bool,
    /// Why nothing gets through; `None` as soon as something does.
    trouble: Option<String>,
}

/// One partition.
pub(crate) struct Lane {
    number: u16,
    /// Of the values in it, at most; one append always fits.
    bytes_max: usize,
    /// How many brokers have what was delivered, at least.
    copies: u8,
    /// Bytes in all lanes together, and their bound.
    staged: Arc<Staged>,
    state: Mutex<State>,
}

/// What all lanes hold together.
pub(crate) struct Staged {
    pub bytes: AtomicUsize,
    pub bytes_max: usize,
}

/// Answers to be given once the lane's lock is free.
pub(crate) type Answers = Vec<(Arc<Completion>, Outcome)>;

/// How a lane looks when a session is about to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing is on its way.
    Still,
    /// Something is on its way, and will probably get there.
    Moving,
    /// Something has failed, or takes too long.
    Lost,
}

impl Ticket {
    pub const fn to_opaque(self) -> usize {
        ((self.lane as u64) << FLIGHT_BITS | self.flight & ((1 << FLIGHT_BITS) - 1)) as usize
    }

    pub const fn from_opaque(opaque: usize) -> Self {
        let number = opaque as u64;
        Ticket { lane: (number >> FLIGHT_BITS) as u16, flight: number & ((1 << FLIGHT_BITS) - 1) }
    }
}

impl Staged {
    /// Takes `more` bytes where there is room, or where there is nothing yet.
    fn take(&self, more: usize) -> bool {
        let take =
            |held: usize| (held == 0 || held + more <= self.bytes_max).then_some(held + more);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Lane {
    pub fn new(number: u16, options: &Options, staged: Arc<Staged>, appender: u64) -> Self {
        let state = State {
            closed: false,
            session: None,
            passage: Passage::Held,
            flights: VecDeque::new(),
            first: 0,
            handed: 0,
            bytes: 0,
            out: 0,
            appender,
            next: 1,
            stirred: 0,
            failed: false,
            trouble: None,
        };
        let (bytes_max, copies) = (options.lane_bytes_max(), options.copies());
        Lane { number, bytes_max, copies, staged, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Takes an append. `own` is the id its first record carries already, if it does.
    pub fn append(&self, mut values: Values, own: Option<RecordId>, now: u64) -> Receipt {
        let bytes = values.bytes();
        let mut state = self.state();
        if let Some(refusal) = state.refusal(bytes, self.bytes_max) {
            return Receipt::settled(Outcome::NotWritten(refusal));
        }
        if !self.staged.take(bytes) {
            return Receipt::settled(Outcome::NotWritten(Refusal::Overloaded));
        }
        let first = RecordId { appender: state.appender, sequence: state.next };
        values.stamp(first);
        state.next += values.len() as u64;
        state.bytes += bytes;
        state.stirred = now;
        let completion = Completion::new();
        state.flights.push_back(Flight {
            completion: Arc::clone(&completion),
            values,
            handed: 0,
            delivered: 0,
            since: now,
        });
        state.hand_over(self.number);
        Receipt::pending(own.unwrap_or(first), completion)
    }

    /// Takes a report; returns the answers that follow.
    pub fn report(&self, flight: u64, delivered: bool, now: u64) -> Answers {
        let mut state = self.state();
        state.out -= 1;
        state.stirred = now;
        if !delivered {
            state.failed = true;
            return Answers::new();
        }
        let at = (flight - state.first) as usize;
        state.flights[at].delivered += 1;
        if !state.failed {
            state.trouble = None;
        }
        if state.passage == Passage::Probe && !state.failed {
            state.passage = Passage::Open;
            state.hand_over(self.number);
        }
        self.land(&mut state)
    }

    /// Answers the flights that have been delivered, in order: one that has not stops those behind.
    fn land(&self, state: &mut State) -> Answers {
        let mut answers = Answers::new();
        while let Some(front) = state.flights.front()
            && front.delivered == front.values.len()
        {
            let landed = state.take_front(&self.staged);
            answers
                .push((landed.completion, Outcome::Durable(Durability::Replicated(self.copies))));
        }
        answers
    }

    /// True where the session has to be given up: something has failed, or has been on its way for
    /// more than `patience` ticks. Else hands over what the producer had no room for, and notes a
    /// long silence.
    pub fn look(&self, now: u64, patience: u64) -> bool {
        let mut state = self.state();
        let is_silent = state.flights.is_empty() && now - state.stirred > SILENT_TICKS;
        if is_silent && state.passage == Passage::Open {
            state.passage = Passage::Probe;
        }
        if state.failed || state.is_late(now, patience) {
            return true;
        }
        state.hand_over(self.number);
        state.failed
    }

    /// Hands over nothing more.
    pub fn hold(&self, now: u64, patience: u64) -> Held {
        let mut state = self.state();
        state.passage = Passage::Held;
        if state.failed || state.is_late(now, patience) {
            state.failed = true;
            return Held::Lost;
        }
        if state.out == 0 { Held::Still } else { Held::Moving }
    }

    /// True while something is on its way.
    pub fn is_moving(&self) -> bool {
        let state = self.state();
        state.out > 0 && !state.failed
    }

    /// Lets go of the session.
    pub fn detach(&self) {
        let mut state = self.state();
        state.passage = Passage::Held;
        state.session = None;
    }

    /// Gives up what a session that is gone has left, where anything failed. The lane goes on as
    /// `appender`.
    pub fn give_up(&self, appender: u64, why: &str, refusal: Refusal) -> Answers {
        let mut state = self.state();
        if !state.failed && state.out == 0 {
            return Answers::new();
        }
        (state.failed, state.out) = (false, 0);
        (state.appender, state.next) = (appender, 1);
        state.trouble = Some(why.to_owned());
        let mut answers = Answers::new();
        while !state.flights.is_empty() {
            let lost = state.take_front(&self.staged);
            let outcome = match lost.handed {
                0 => Outcome::NotWritten(refusal),
                _ => Outcome::Unknown,
            };
            answers.push((lost.completion, outcome));
        }
        answers
    }

    /// Begins to hand over to a new session.
    pub fn attach(&self, session: Arc<Session>) {
        let mut state = self.state();
        state.session = Some(session);
        state.passage = Passage::Probe;
        state.hand_over(self.number);
    }

    /// Refuses appends from now on.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Fails what is left, so that [`Lane::give_up`] answers it.
    pub fn abandon(&self) {
        let mut state = self.state();
        state.failed |= !state.flights.is_empty();
    }

    /// True where every append has been answered.
    pub fn is_done(&self) -> bool {
        self.state().flights.is_empty()
    }

    /// True where it takes no appends for good; else why nothing gets through, if so.
    pub fn health(&self) -> (bool, Option<String>) {
        let state = self.state();
        (state.closed, state.trouble.clone())
    }
}

impl State {
    fn refusal(&self, more: usize, bytes_max: usize) -> Option<Refusal> {
        if self.closed {
            return Some(Refusal::Closed);
        }
        let is_troubled = self.failed || self.trouble.is_some();
        if is_troubled && !self.flights.is_empty() {
            return Some(Refusal::Fenced);
        }
        let is_full = !self.flights.is_empty() && self.bytes + more > bytes_max;
        is_full.then_some(Refusal::Overloaded)
    }

    fn is_late(&self, now: u64, patience: u64) -> bool {
        self.flights.front().is_some_and(|oldest| now - oldest.since > patience)
    }

    fn take_front(&mut self, staged: &Staged) -> Flight {
        let flight = self.flights.pop_front().expect("the caller has looked");
        self.first += 1;
        self.handed = self.handed.saturating_sub(1);
        self.bytes -= flight.values.bytes();
        staged.give_back(flight.values.bytes());
        flight
    }

    fn hand_over(&mut self, lane: u16) {
        let Some(session) = self.session.clone() else { return };
        while self.handed < self.flights.len() {
            let number = self.first + self.handed as u64;
            let flight = &mut self.flights[self.handed];
            while flight.handed < flight.values.len() {
                let is_alone = self.out == 0;
                if self.passage == Passage::Held || self.passage == Passage::Probe && !is_alone {
                    return;
                }
                let (slot, value) = flight.values.get(flight.handed);
                match session.send(Ticket { lane, flight: number }, slot, value) {
                    Sent::Taken => {}
                    Sent::Later => return,
                    Sent::Never => {
                        self.failed = true;
                        return;
                    }
                }
                flight.handed += 1;
                self.out += 1;
            }
            self.handed += 1;
        }
    }
}

/// What the producer said to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It will be reported.
    Taken,
    /// Its queue is full.
    Later,
    /// It takes nothing more.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_back() {
        for ticket in [
            Ticket { lane: 0, flight: 0 },
            Ticket { lane: 191, flight: 7 },
            Ticket { lane: u16::MAX, flight: (1 << FLIGHT_BITS) - 1 },
        ] {
            assert_eq!(Ticket::from_opaque(ticket.to_opaque()), ticket);
        }
    }
}
