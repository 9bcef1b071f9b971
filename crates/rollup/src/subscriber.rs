//! A rollup store as one of those to whom the pipeline hands each epoch.

use std::sync::Arc;

use reckon_event::{Applied, Counted, Epoch, Subscriber, SubscriberError};

use crate::{Error, Refusal, RollupStore};

/// The thin adapter between pipeline and store.
pub struct RollupSubscriber {
    store: Arc<dyn RollupStore>,
}

impl RollupSubscriber {
    /// Feeds `store`.
    pub fn new(store: Arc<dyn RollupStore>) -> Self {
        RollupSubscriber { store }
    }
}

impl From<Error> for SubscriberError {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(Refusal::Fenced(generation)) => SubscriberError::Fenced(generation),
            error => SubscriberError::Failed(Box::new(error)),
        }
    }
}

impl Subscriber for RollupSubscriber {
    fn name(&self) -> &'static str {
        "rollup"
    }

    fn persisted(&self) -> Option<u64> {
        self.store.marks().persisted
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        Ok(self.store.apply(epoch, counted.deltas)?)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        self.store.persist()?;
        Ok(())
    }
}
