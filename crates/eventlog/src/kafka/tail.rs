//! One partition as readers see it: what has been read ahead, from where, and up to where.
//!
//! There is one place a partition at which it is followed. A reader that goes on where the last one
//! stopped finds its records here; one that wants another place moves it, which costs a round trip.
//!
//! ```text
//!        from                cursor
//!   -------+--------------------+------------------> offsets
//!          | read, kept here    | comes next
//! ```

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::{Chunk, Entry};

/// How often a value that is no record is fetched before it is taken away.
const TRIES: u8 = 3;

/// One partition's records that were read ahead.
pub(crate) struct Tail {
    bytes_max: usize,
    /// Held for a whole read: two readers at two places take turns.
    reading: Mutex<()>,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    /// Somebody reads here.
    is_followed: bool,
    /// What is fetched has to begin at the cursor again.
    restart: bool,
    from: u64,
    cursor: u64,
    records: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    /// A value that is no record, and how often it was fetched.
    poison: Option<Poison>,
    /// Why nothing comes, for whoever waits.
    trouble: Option<Trouble>,
}

#[derive(Clone, Copy, Debug)]
struct Poison {
    offset: u64,
    tries: u8,
    /// It has been written to the topic of poison values.
    is_buried: bool,
}

/// Why a partition cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// For now.
    Passing(String),
    /// Records that were there are not.
    Damage(String),
}

/// What a reader is told.
#[derive(Debug)]
pub(crate) enum Looked {
    /// Records.
    Chunk(Chunk),
    /// None yet.
    Nothing,
    /// None, and why.
    Trouble(Trouble),
}

/// Where to fetch from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What is being fetched is of no use.
    pub restart: bool,
    /// Fetch from here; `None` while there is nothing to fetch or no room.
    pub at: Option<u64>,
}

/// What becomes of a value that is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody reads here any more.
    Ignored,
    /// It is fetched again.
    Again,
    /// Take it away; nothing is fetched until then.
    Bury,
    /// It was taken away before: something stands in for it.
    StandIn,
}

impl Tail {
    pub fn new(bytes_max: usize) -> Self {
        Tail {
            bytes_max,
            reading: Mutex::new(()),
            state: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Holds other readers off.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().expect("no holder panics")
    }

    /// Goes to `from`: what lies before is let go. True where something has to be fetched anew.
    pub fn go_to(&self, from: u64) -> bool {
        let mut state = self.state();
        let was_full = state.bytes >= self.bytes_max;
        if !state.is_followed || from < state.from || from > state.cursor {
            *state =
                State { is_followed: true, restart: true, from, cursor: from, ..State::default() };
            return true;
        }
        state.from = from;
        while let Some((offset, record)) = state.records.front()
            && *offset < from
        {
            state.bytes -= record.len();
            state.records.pop_front();
        }
        was_full && state.bytes < self.bytes_max
    }

    /// What there is from where the reader went to, up to `bytes_max` bytes and at least one record;
    /// where there is nothing, waits for it.
    pub fn look(&self, bytes_max: usize, patience: Duration) -> Looked {
        let state = self.state();
        let is_bare = |state: &mut State| state.records.is_empty() && state.trouble.is_none();
        let waited = self.arrived.wait_timeout_while(state, patience, is_bare);
        let (state, _) = waited.expect("no holder panics");
        match (state.records.is_empty(), &state.trouble) {
            (false, _) => Looked::Chunk(state.chunk(bytes_max)),
            (true, Some(trouble)) => Looked::Trouble(trouble.clone()),
            (true, None) => Looked::Nothing,
        }
    }

    /// Takes what has arrived; what is not wanted (any more) is dropped. False where there is no room
    /// for more.
    pub fn take(&self, offset: u64, record: &[u8]) -> bool {
        let mut state = self.state();
        if !state.is_followed || state.restart || offset < state.cursor {
            return true;
        }
        state.cursor = offset + 1;
        state.bytes += record.len();
        state.records.push_back((offset, record.to_vec()));
        state.trouble = None;
        let has_room = state.bytes < self.bytes_max;
        drop(state);
        self.arrived.notify_all();
        has_room
    }

    /// Judges a value that is no record.
    pub fn judge(&self, offset: u64) -> Fate {
        let mut state = self.state();
        if !state.is_followed || state.restart || offset < state.cursor {
            return Fate::Ignored;
        }
        let known = state.poison.filter(|known| known.offset == offset);
        let tries = known.map_or(0, |known| known.tries) + 1;
        let is_buried = known.is_some_and(|known| known.is_buried);
        state.poison = Some(Poison { offset, tries: tries.min(TRIES), is_buried });
        if is_buried {
            return Fate::StandIn;
        }
        // There is nothing between the cursor and it.
        (state.cursor, state.restart) = (offset, true);
        if tries < TRIES { Fate::Again } else { Fate::Bury }
    }

    /// The poison value at `offset` has been written elsewhere.
    pub fn buried(&self, offset: u64) {
        let mut state = self.state();
        if let Some(poison) = state.poison.as_mut().filter(|poison| poison.offset == offset) {
            poison.is_buried = true;
            (state.restart, state.trouble) = (true, None);
        }
    }

    /// The poison value at `offset` could not be written: it is fetched and judged once more.
    pub fn unburied(&self, offset: u64, trouble: Trouble) {
        let mut state = self.state();
        if let Some(poison) = state.poison.as_mut().filter(|poison| poison.offset == offset) {
            poison.tries = TRIES - 1;
            (state.restart, state.trouble) = (true, Some(trouble));
            self.arrived.notify_all();
        }
    }

    /// Tells whoever waits why nothing comes; what is here already can still be read.
    pub fn tell(&self, trouble: Trouble) {
        self.state().trouble = Some(trouble);
        self.arrived.notify_all();
    }

    /// What is to be fetched. Asking takes note of a restart.
    pub fn plan(&self) -> Plan {
        let mut state = self.state();
        let restart = std::mem::take(&mut state.restart);
        let is_waiting = state
            .poison
            .is_some_and(|one| one.offset == state.cursor && one.tries >= TRIES && !one.is_buried);
        let is_wanted = state.is_followed && !is_waiting && state.bytes < self.bytes_max;
        Plan { restart, at: is_wanted.then_some(state.cursor) }
    }

    /// What is fetched began to fail: where it stands, if somebody follows.
    pub fn doubt(&self) -> Option<u64> {
        let mut state = self.state();
        state.restart = state.is_followed;
        state.is_followed.then_some(state.cursor)
    }

    /// Follows no longer: the place is gone. The next reader goes to its own.
    pub fn let_go(&self) {
        let trouble = Some(Trouble::Passing("its place is gone".to_owned()));
        *self.state() = State { trouble, ..State::default() };
        self.arrived.notify_all();
    }

    /// Everything below has been read, if somebody follows.
    pub fn reached(&self) -> Option<u64> {
        let state = self.state();
        state.is_followed.then_some(state.from)
    }
}

impl State {
    fn chunk(&self, bytes_max: usize) -> Chunk {
        let mut chunk = Chunk::default();
        for (offset, record) in &self.records {
            let begin = chunk.bytes.len();
            if begin > 0 && begin + record.len() > bytes_max {
                return chunk;
            }
            chunk.bytes.extend_from_slice(record);
            chunk.entries.push(Entry { offset: *offset, bytes: begin..chunk.bytes.len() });
            chunk.next = offset + 1;
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn following(from: u64) -> Tail {
        let tail = Tail::new(10);
        assert!(tail.go_to(from));
        assert_eq!(tail.plan(), Plan { restart: true, at: Some(from) });
        tail
    }

    fn offsets(tail: &Tail, bytes_max: usize) -> Vec<u64> {
        match tail.look(bytes_max, NOW) {
            Looked::Chunk(chunk) => chunk.entries.iter().map(|entry| entry.offset).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_handed_out_is_kept_until_the_reader_goes_on() {
        let tail = following(5);
        assert!(tail.take(5, b"abc") && tail.take(9, b"def"));
        assert_eq!(offsets(&tail, 3), [5]);
        assert_eq!(offsets(&tail, 6), [5, 9]);
        assert!(!tail.go_to(6));
        assert_eq!(offsets(&tail, 0), [9]);
        assert!(tail.go_to(5), "it has been let go of");
        assert_eq!(tail.plan(), Plan { restart: true, at: Some(5) });
    }

    #[test]
    fn what_comes_late_or_from_before_a_restart_is_dropped() {
        let tail = following(5);
        assert!(tail.take(4, b"x") && tail.take(5, b"a") && tail.take(5, b"again"));
        assert_eq!(offsets(&tail, 100), [5]);
        tail.go_to(50);
        assert!(tail.take(51, b"not yet"));
        assert!(matches!(tail.look(100, NOW), Looked::Nothing));
        assert_eq!(tail.plan(), Plan { restart: true, at: Some(50) });
        tail.take(51, b"now");
        assert_eq!(offsets(&tail, 100), [51]);
    }

    #[test]
    fn nothing_is_fetched_while_there_is_no_room() {
        let tail = following(0);
        assert!(!tail.take(0, b"0123456789"));
        assert_eq!(tail.plan(), Plan { restart: false, at: None });
        assert!(tail.go_to(1), "there is room again");
        assert_eq!(tail.plan(), Plan { restart: false, at: Some(1) });
    }

    #[test]
    fn poison_is_tried_three_times_then_buried_then_stood_in_for() {
        let tail = following(0);
        for _ in 1..TRIES {
            assert_eq!(tail.judge(3), Fate::Again);
            assert_eq!(tail.judge(3), Fate::Ignored, "it is fetched anew first");
            assert_eq!(tail.plan(), Plan { restart: true, at: Some(3) });
        }
        assert_eq!(tail.judge(3), Fate::Bury);
        assert_eq!(tail.plan(), Plan { restart: true, at: None }, "not before it is buried");
        tail.unburied(3, Trouble::Passing("not yet".to_owned()));
        assert_eq!(tail.plan(), Plan { restart: true, at: Some(3) });
        assert_eq!(tail.judge(3), Fate::Bury);
        tail.plan();
        tail.buried(3);
        assert_eq!(tail.plan(), Plan { restart: true, at: Some(3) });
        assert_eq!(tail.judge(3), Fate::StandIn);
        assert!(tail.take(3, b"x"));
        assert_eq!(tail.judge(4), Fate::Again, "the next one is another");
    }

    #[test]
    fn trouble_is_told_until_something_comes() {
        let tail = following(0);
        tail.tell(Trouble::Passing("no broker".to_owned()));
        assert!(matches!(tail.look(1, NOW), Looked::Trouble(_)));
        tail.take(0, b"x");
        assert_eq!(offsets(&tail, 1), [0]);
    }
}
