//! A feature store as one of those to whom the pipeline hands each epoch.

use std::sync::Arc;

use reckon_event::{
    Applied, Consent, Counted, Epoch, Erasures, Kind, NobodyErased, Record, Subscriber,
    SubscriberError, Verdict,
};

use crate::{Entity, EntityKind, Error, FeatureStore, Step, Update};

/// Counts impressions and clicks of users, ads and campaigns into a store.
///
/// Of a user who refuses, or was erased, nothing is kept; ad and campaign count all the same.
pub struct FeatureSubscriber {
    store: Arc<dyn FeatureStore>,
    erasures: Arc<dyn Erasures>,
}

impl FeatureSubscriber {
    /// Feeds `store`.
    pub fn new(store: Arc<dyn FeatureStore>) -> Self {
        FeatureSubscriber { store, erasures: Arc::new(NobodyErased) }
    }

    /// Leaves out whoever is erased.
    #[must_use]
    pub fn without(mut self, erasures: Arc<dyn Erasures>) -> Self {
        self.erasures = erasures;
        self
    }

    /// The user may be remembered by it.
    fn tells_of_user(&self, record: &Record<'_>) -> bool {
        record.user.is_some()
            && Consent(record.consent).allows_features()
            && !self.erasures.is_erased(record.tenant, record.user)
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
    tells_of_user: bool,
) -> impl Iterator<Item = (Entity, Step, reckon_event::Timestamp)> {
    let step = match (record.kind, verdict) {
        (Kind::Impression, Some(Verdict::Counted)) => Some(Step::Impression),
        (Kind::Click, Some(Verdict::Counted)) => Some(Step::Click),
        _ => None,
    };
    let (tenant, at) = (record.tenant, record.received);
    let keys = [
        (EntityKind::Tenant, 0, true),
        (EntityKind::User, record.user.0, tells_of_user),
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
        let steps = pairs
            .flat_map(|((_, record), verdict)| steps(record, *verdict, self.tells_of_user(record)))
            .collect();
        Ok(self.store.apply(epoch, Update { steps, bounds: epoch.bounds.clone() })?)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        Ok(self.store.persist()?)
    }
}

#[cfg(test)]
mod tests {
    use reckon_event::{Pseudonym, Slot, TenantId, Timestamp};

    use super::*;

    struct Erased(Pseudonym);

    impl Erasures for Erased {
        fn is_erased(&self, _: TenantId, user: Pseudonym) -> bool {
            user == self.0
        }
    }

    fn entities(user: u128, consent: Consent) -> Vec<EntityKind> {
        let disk = Arc::new(reckon_disk::SimDisk::new(1));
        let opened =
            crate::Memory::open(disk, std::path::Path::new("/features"), Default::default());
        let (store, _) = opened.expect("it opens");
        let subscriber =
            FeatureSubscriber::new(Arc::new(store)).without(Arc::new(Erased(Pseudonym(7))));
        let slot = Slot::new(0).expect("a slot");
        let record = Record {
            user: Pseudonym(user),
            ad_key: 1,
            consent: consent.0,
            ..Record::new(Kind::Click, slot, Timestamp(0))
        };
        let tells = subscriber.tells_of_user(&record);
        let steps = steps(&record, Some(Verdict::Counted), tells);
        steps.map(|(entity, ..)| entity.kind).collect()
    }

    #[test]
    fn who_refuses_or_is_erased_leaves_nothing() {
        use EntityKind::{Ad, Tenant, User};

        for (user, consent, kept) in [
            (5, Consent::GIVEN, vec![Tenant, User, Ad]),
            (5, Consent::UNSAID, vec![Tenant, User, Ad]),
            (5, Consent::REFUSED, vec![Tenant, Ad]),
            (7, Consent::GIVEN, vec![Tenant, Ad]),
            (0, Consent::GIVEN, vec![Tenant, Ad]),
        ] {
            assert_eq!(entities(user, consent), kept, "{user} {consent:?}");
        }
    }
}
