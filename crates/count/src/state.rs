//! All that counting remembers, slot by slot.

use reckon_event::{Revision, SLOT_COUNT, Slot, Timestamp};

use crate::Totals;
use crate::slot::SlotState;

/// The memory of the fold. Split and merged along slots it is the same memory.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) slots: Vec<Option<Box<SlotState>>>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Remembers nothing.
    pub fn new() -> Self {
        State { slots: (0..SLOT_COUNT).map(|_| None).collect() }
    }

    pub(crate) fn slot_mut(&mut self, slot: Slot) -> &mut SlotState {
        self.slots[usize::from(slot.number())].get_or_insert_default()
    }

    /// The highest receive time among a slot's counted records; `None` before the first.
    pub fn clock(&self, slot: Slot) -> Option<Timestamp> {
        let state = self.slots[usize::from(slot.number())].as_ref()?;
        (state.clock > Timestamp::default()).then_some(state.clock)
    }

    /// Notes a record of a kind this build does not know.
    pub fn skip_unknown(&mut self, slot: Slot) {
        let state = self.slot_mut(slot);
        state.totals.unknown += 1;
        state.is_changed = true;
    }

    /// Notes that another verdict is in force for a record of an earlier batch.
    pub fn revise(&mut self, revision: &Revision) {
        let state = self.slot_mut(revision.slot);
        state.totals.revise(revision.cell.kind, revision.cell.verdict, revision.verdict);
        state.is_changed = true;
    }

    /// How many records got which verdict, over all slots.
    pub fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for slot in self.slots.iter().flatten() {
            sum.merge(&slot.totals);
        }
        sum
    }

    /// Takes out the memory of all slots for which `goes` holds.
    #[must_use]
    pub fn split(&mut self, goes: impl Fn(Slot) -> bool) -> State {
        let mut out = State::new();
        for number in 0..SLOT_COUNT {
            if Slot::new(number).is_some_and(&goes) {
                let at = usize::from(number);
                out.slots[at] = self.slots[at].take();
            }
        }
        out
    }

    /// Takes in the memory of other slots.
    ///
    /// # Panics
    /// Where both remember something of one slot.
    pub fn merge(&mut self, other: State) {
        for (mine, theirs) in self.slots.iter_mut().zip(other.slots) {
            assert!(mine.is_none() || theirs.is_none(), "a slot has one memory");
            if theirs.is_some() {
                *mine = theirs;
            }
        }
    }

    /// The bytes it takes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        self.slots.iter().flatten().map(|slot| size_of::<SlotState>() + slot.heap_bytes()).sum()
    }

    /// The bytes the sets of minted ids take, by kind: impressions, views, clicks.
    pub fn minted_bytes(&self) -> [usize; 3] {
        let mut sum = [0; 3];
        for piece in self.slots.iter().flatten().flat_map(|slot| &slot.pieces) {
            for (sum, set) in sum.iter_mut().zip(&piece.sets) {
                *sum += set.heap_bytes();
            }
        }
        sum
    }
}
