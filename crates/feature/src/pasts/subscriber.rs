//! The store as one of those to whom the pipeline hands each epoch.

use std::sync::Arc;

use reckon_event::{
    Applied, Consent, Counted, Epoch, Erasures, Record, Subscriber, SubscriberError, Verdict,
};

use super::{Change, Pasts};
use crate::happened::Happened;

/// Feeds a store with what counts, and takes back what rules take.
///
/// Of a user who refuses, or was erased, nothing is kept; everything else counts all the same.
pub struct PastsSubscriber {
    pasts: Arc<Pasts>,
    erasures: Arc<dyn Erasures>,
    changes: Vec<Change>,
}

impl PastsSubscriber {
    /// Feeds `pasts`, without what is told of whoever is erased.
    pub fn new(pasts: Arc<Pasts>, erasures: Arc<dyn Erasures>) -> Self {
        PastsSubscriber { pasts, erasures, changes: Vec::new() }
    }

    fn happened(&self, record: &Record<'_>) -> Option<Happened> {
        let keeps_user = Consent(record.consent).allows_features()
            && !self.erasures.is_erased(record.tenant, record.user);
        Happened::of(record, keeps_user)
    }
}

impl Subscriber for PastsSubscriber {
    fn name(&self) -> &'static str {
        "pasts"
    }

    fn persisted(&self) -> Option<u64> {
        self.pasts.marks().persisted
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        let mut changes = std::mem::take(&mut self.changes);
        changes.clear();
        for ((position, record), verdict) in counted.records.iter().zip(counted.verdicts) {
            if *verdict == Some(Verdict::Counted) {
                changes.extend(self.happened(record).map(|it| Change::Counted(*position, it)));
            }
        }
        let revised = counted.revisions.iter().map(|revision| {
            Change::Revised(revision.position, revision.verdict == Verdict::Counted)
        });
        changes.extend(revised);
        let applied = self.pasts.apply(epoch, &changes);
        self.changes = changes;
        Ok(applied?)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        Ok(self.pasts.persist()?)
    }
}
