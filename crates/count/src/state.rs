//! All that counting remembers, strand by strand.

use reckon_event::{Revision, Slot, Timestamp, Topic};

use crate::slot::StrandState;
use crate::{Strand, Totals};

/// The memory of the fold. Split and merged along slots it is the same memory.
#[derive(Clone, Debug)]
pub struct State {
    /// By [`Strand::number`].
    pub(crate) strands: Vec<Option<Box<StrandState>>>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Remembers nothing.
    pub fn new() -> Self {
        State { strands: (0..Strand::COUNT).map(|_| None).collect() }
    }

    pub(crate) fn strand_mut(&mut self, strand: Strand) -> &mut StrandState {
        self.strands[strand.number()].get_or_insert_default()
    }

    /// The highest receive time among a strand's counted records; `None` before the first.
    pub fn clock(&self, strand: Strand) -> Option<Timestamp> {
        let state = self.strands[strand.number()].as_ref()?;
        (state.clock > Timestamp::default()).then_some(state.clock)
    }

    /// Notes a record of a kind this build does not know.
    pub fn skip_unknown(&mut self, slot: Slot) {
        let state = self.strand_mut(Strand { slot, topic: Topic::Events });
        state.totals.unknown += 1;
        state.is_changed = true;
    }

    /// Notes that another verdict is in force for a record of an earlier batch.
    pub fn revise(&mut self, revision: &Revision) {
        let topic = revision.cell.kind.topic();
        let state = self.strand_mut(Strand { slot: revision.slot, topic });
        state.totals.revise(revision.cell.kind, revision.cell.verdict, revision.verdict);
        state.is_changed = true;
    }

    /// How many records got which verdict, over all strands.
    pub fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for slot in self.strands.iter().flatten() {
            sum.merge(&slot.totals);
        }
        sum
    }

    /// Takes out the memory of all slots for which `goes` holds.
    #[must_use]
    pub fn split(&mut self, goes: impl Fn(Slot) -> bool) -> State {
        let mut out = State::new();
        for strand in Strand::all().filter(|strand| goes(strand.slot)) {
            let at = strand.number();
            out.strands[at] = self.strands[at].take();
        }
        out
    }

    /// Takes in the memory of other slots.
    ///
    /// # Panics
    /// Where both remember something of one slot.
    pub fn merge(&mut self, other: State) {
        for (mine, theirs) in self.strands.iter_mut().zip(other.strands) {
            assert!(mine.is_none() || theirs.is_none(), "a strand has one memory");
            if theirs.is_some() {
                *mine = theirs;
            }
        }
    }

    /// The bytes it takes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        self.strands.iter().flatten().map(|slot| size_of::<StrandState>() + slot.heap_bytes()).sum()
    }

    /// The bytes the sets of minted ids take, by kind: impressions, views, clicks.
    pub fn minted_bytes(&self) -> [usize; 3] {
        let mut sum = [0; 3];
        for piece in self.strands.iter().flatten().flat_map(|slot| &slot.pieces) {
            for (sum, set) in sum.iter_mut().zip(&piece.sets) {
                *sum += set.heap_bytes();
            }
        }
        sum
    }
}
