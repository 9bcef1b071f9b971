//! Those whom the pipeline feeds here: the lake in step with the counter, the witness, and whoever
//! tampers with what another is given.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reckon_event::{Applied, Counted, Deltas, Epoch, Record, Subscriber, SubscriberError, Verdict};
use reckon_lake::{LakeHandle, LakeSubscriber};

use crate::truth::{Seen, Truth};
use crate::{Happening, Tally};

/// Locks what one history shares; a panic elsewhere must not hide its own message.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lake. Its own thread is waited for after each call, so that one seed is one history.
pub(crate) struct LakeFeed {
    lake: LakeSubscriber,
    pub handle: LakeHandle,
    /// Chunks may be written at any epoch.
    is_eager: bool,
}

impl LakeFeed {
    pub fn new(lake: LakeSubscriber, is_eager: bool) -> Self {
        LakeFeed { handle: lake.handle(), lake, is_eager }
    }

    /// Asks for something that its thread does behind all it was given before. Whether that works is
    /// no matter here.
    fn wait(&self) {
        drop(self.handle.merge());
    }
}

impl Subscriber for LakeFeed {
    fn name(&self) -> &'static str {
        self.lake.name()
    }

    fn persisted(&self) -> Option<u64> {
        self.lake.persisted()
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        let applied = self.lake.apply(epoch, counted);
        if self.is_eager || applied.is_err() {
            self.wait();
        }
        applied
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        let persisted = self.lake.persist();
        self.wait();
        persisted
    }
}

/// Holds every epoch against the truth, and keeps nothing.
pub(crate) struct Witness {
    pub truth: Arc<Mutex<Truth>>,
    pub tally: Arc<Mutex<Tally>>,
}

impl Subscriber for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn persisted(&self) -> Option<u64> {
        None
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        let (seen, compared) = lock(&self.truth).look(epoch, counted);
        let mut tally = lock(&self.tally);
        tally.epochs += 1;
        tally.compared.first_verdicts += compared;
        if seen == Seen::Again {
            tally.note(Happening::Again);
        }
        if !counted.revisions.is_empty() {
            tally.note(Happening::Revised);
        }
        Ok(Applied::Fresh)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        Ok(())
    }
}

/// What is done to one epoch of a history on its way to rollup or lake, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The rollup gets no sums.
    DropSums,
    /// The rollup gets its sums twice.
    DoubleSums,
    /// The lake misses a record.
    LoseRecord,
    /// The lake gets a record twice.
    DoubleRecord,
    /// The lake gets another verdict.
    ChangeVerdict,
    /// The lake gets no revisions.
    DropRevisions,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 6] = [
        Mutation::DropSums,
        Mutation::DoubleSums,
        Mutation::LoseRecord,
        Mutation::DoubleRecord,
        Mutation::ChangeVerdict,
        Mutation::DropRevisions,
    ];

    /// Whom it is done to, by name.
    pub(crate) const fn whom(self) -> &'static str {
        match self {
            Mutation::DropSums | Mutation::DoubleSums => "rollup",
            _ => "lake",
        }
    }

    /// True where an epoch has something to be done to.
    fn bites(self, counted: &Counted<'_>) -> bool {
        match self {
            Mutation::DropSums | Mutation::DoubleSums => !counted.deltas.cells.is_empty(),
            Mutation::LoseRecord | Mutation::DoubleRecord => !counted.records.is_empty(),
            Mutation::ChangeVerdict => counted.verdicts.contains(&Some(Verdict::Counted)),
            Mutation::DropRevisions => !counted.revisions.is_empty(),
        }
    }
}

/// Does a [`Mutation`] to the first epoch that it bites, as often as that comes.
pub(crate) struct Tampered {
    pub inner: Box<dyn Subscriber>,
    pub mutation: Mutation,
    /// Which epoch it is; it lives through restarts.
    pub target: Arc<Mutex<Option<u64>>>,
}

impl Tampered {
    fn is_target(&self, number: u64, counted: &Counted<'_>) -> bool {
        let mut target = lock(&self.target);
        if target.is_none() && self.mutation.bites(counted) {
            *target = Some(number);
        }
        *target == Some(number)
    }

    fn tamper(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        let mut deltas = counted.deltas.clone();
        let mut records: Vec<(_, Record<'_>)> = counted.records.to_vec();
        let mut verdicts = counted.verdicts.to_vec();
        let mut revisions = counted.revisions;
        match self.mutation {
            Mutation::DropSums => deltas = Deltas::default(),
            Mutation::DoubleSums => deltas.merge(counted.deltas.clone()),
            Mutation::LoseRecord => drop((records.pop(), verdicts.pop())),
            Mutation::DoubleRecord => {
                records.extend_from_within(records.len() - 1..);
                verdicts.extend_from_within(verdicts.len() - 1..);
            }
            Mutation::ChangeVerdict => {
                let at = verdicts.iter().position(|one| *one == Some(Verdict::Counted));
                verdicts[at.expect("it bites")] = Some(Verdict::Duplicate);
            }
            Mutation::DropRevisions => revisions = &[],
        }
        let counted = Counted {
            records: &records,
            verdicts: &verdicts,
            revisions,
            deltas: &deltas,
            watermark: counted.watermark,
        };
        self.inner.apply(epoch, &counted)
    }
}

impl Subscriber for Tampered {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn persisted(&self) -> Option<u64> {
        self.inner.persisted()
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        if self.is_target(epoch.number, counted) {
            return self.tamper(epoch, counted);
        }
        self.inner.apply(epoch, counted)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        self.inner.persist()
    }
}
