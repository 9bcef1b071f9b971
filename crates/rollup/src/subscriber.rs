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
        // A store that has nothing yet is durable all the same: one that lost its files must be told
        // apart from one that keeps nothing.
        Some(self.store.marks().persisted.unwrap_or(0))
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        Ok(self.store.apply(epoch, counted.deltas)?)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        self.store.persist()?;
        Ok(())
    }
}
