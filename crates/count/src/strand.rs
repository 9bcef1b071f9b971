//! What order is known in: a slot of a topic.

use reckon_event::{Record, SLOT_COUNT, Slot, Topic};

/// A strand of records whose order is known: one slot of one topic. Nothing that counting remembers is
/// shared by two strands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Strand {
    /// Its slot.
    pub slot: Slot,
    /// Its topic.
    pub topic: Topic,
}

impl Strand {
    /// How many strands there are.
    pub const COUNT: usize = SLOT_COUNT as usize * Topic::ALL.len();

    /// The strand a record stands in.
    pub const fn of(record: &Record<'_>) -> Self {
        Strand { slot: record.slot, topic: record.kind.topic() }
    }

    /// Its number, below [`Strand::COUNT`]; strands of one slot are neighbours.
    pub const fn number(self) -> usize {
        self.slot.number() as usize * Topic::ALL.len() + self.topic as usize
    }

    /// The strand of a number.
    pub fn from_number(number: usize) -> Option<Self> {
        let slot = Slot::new(u16::try_from(number / Topic::ALL.len()).ok()?)?;
        Some(Strand { slot, topic: Topic::ALL[number % Topic::ALL.len()] })
    }

    /// All strands, ascending by number.
    pub fn all() -> impl Iterator<Item = Strand> {
        (0..Strand::COUNT).filter_map(Strand::from_number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strand_has_one_number() {
        let strands: Vec<Strand> = Strand::all().collect();
        assert_eq!(strands.len(), Strand::COUNT);
        assert!(strands.iter().zip(0..).all(|(strand, number)| strand.number() == number));
        assert!(strands.is_sorted(), "strands of one slot are neighbours");
        assert_eq!(Strand::from_number(Strand::COUNT), None);
    }
}
