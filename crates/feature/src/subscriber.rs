//! A feature store as one of those to whom the pipeline hands each epoch.

use std::sync::Arc;

use reckon_event::{Applied, Counted, Epoch, Kind, Record, Subscriber, SubscriberError, Verdict};

use crate::{Entity, EntityKind, Error, FeatureStore, Step, Update};

/// Counts impressions and clicks of users, ads and campaigns into a store.
pub struct FeatureSubscriber {
    store: Arc<dyn FeatureStore>,
}

impl FeatureSubscriber {
    /// Feeds `store`.
    pub fn new(store: Arc<dyn FeatureStore>) -> Self {
        FeatureSubscriber { store }
    }
}

impl From<Error> for SubscriberError {
    fn from(error: Error) -> Self {
        match error {
            Error::Fenced(generation) => SubscriberError::Fenced(generation),
            error => SubscriberError::Failed(Box::new(error)),
        }
    }
}

/// The entities a record tells something of: only what counts, and only what can be predicted.
fn steps(
    record: &Record<'_>,
    verdict: Option<Verdict>,
) -> impl Iterator<Item = (Entity, Step, reckon_event::Timestamp)> {
    let step = match (record.kind, verdict) {
        (Kind::Impression, Some(Verdict::Counted)) => Some(Step::Impression),
        (Kind::Click, Some(Verdict::Counted)) => Some(Step::Click),
        _ => None,
    };
    let (tenant, at) = (record.tenant, record.received);
    let keys = [
        (EntityKind::Tenant, 0, true),
        (EntityKind::User, record.user.0, record.user.is_some()),
        (EntityKind::Ad, u128::from(record.ad_key), record.ad_key != 0),
        (EntityKind::Campaign, u128::from(record.campaign_key), record.campaign_key != 0),
    ];
    keys.into_iter()
        .filter(|&(_, _, known)| known)
        .filter_map(move |(kind, key, _)| Some((Entity { tenant, kind, key }, step?, at)))
}

impl Subscriber for FeatureSubscriber {
    fn name(&self) -> &'static str {
        "features"
    }

    fn persisted(&self) -> Option<u64> {
        // A folder from before there were features is fed from the checkpoint on.
        self.store.marks().persisted
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        let pairs = counted.records.iter().zip(counted.verdicts);
        let steps = pairs.flat_map(|((_, record), verdict)| steps(record, *verdict)).collect();
        Ok(self.store.apply(epoch, Update { steps, bounds: epoch.bounds.clone() })?)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        Ok(self.store.persist()?)
    }
}
