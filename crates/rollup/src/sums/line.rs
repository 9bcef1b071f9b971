//! The line of epochs a store takes: which one comes next, and who may hand it over.

use reckon_event::Epoch;

use crate::Refusal;

/// Which epochs are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// The stage; 0 before the first epoch.
    pub stage: u8,
    pub group: u16,
    pub generation: u32,
    /// The last epoch; 0 before the first.
    pub number: u64,
}

impl Line {
    /// The last epoch; `None` before the first.
    pub(crate) fn applied(&self) -> Option<u64> {
        (self.number > 0).then_some(self.number)
    }
}

/// What becomes of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It follows the last one.
    Fresh,
    /// It is in already.
    Again,
}

/// New, known, or not to be taken.
pub(crate) fn decide(line: &Line, epoch: &Epoch) -> Result<Decision, Refusal> {
    if line.stage != 0 && (line.stage, line.group) != (epoch.stage, epoch.group) {
        return Err(Refusal::OtherLine { stage: line.stage, group: line.group });
    }
    if epoch.generation < line.generation {
        return Err(Refusal::Fenced(line.generation));
    }
    match epoch.number {
        number if number == line.number + 1 => Ok(Decision::Fresh),
        number if (1..=line.number).contains(&number) => Ok(Decision::Again),
        got => Err(Refusal::Gap { expected: line.number + 1, got }),
    }
}
