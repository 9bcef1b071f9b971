//! One of the two copies.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Counters, Entity, EntityKind, Read, Update};

/// Counters by entity.
pub type Map = HashMap<Entity, Counters, foldhash::fast::RandomState>;

/// All counters, and the cut they belong to.
#[derive(Clone, Debug)]
pub struct Side {
    pub cut: Arc<[u64]>,
    pub counters: Map,
}

impl Side {
    pub fn new(cut: Vec<u64>, counters: Map) -> Self {
        Side { cut: cut.into(), counters }
    }

    pub fn read(&self, entities: &[Entity]) -> Read {
        let counters = entities.iter().map(|entity| self.counters.get(entity).copied()).collect();
        Read { cut: Arc::clone(&self.cut), counters }
    }

    pub fn apply(&mut self, update: &Update, entities_max: usize) {
        for &(entity, step, at) in &update.steps {
            let counters = self.counters.entry(entity).or_insert_with(|| Counters::new(at));
            counters.take(entity.kind, step, at);
        }
        self.move_cut(update);
        if self.counters.len() > entities_max {
            self.forget(entities_max / 10);
        }
    }

    fn move_cut(&mut self, update: &Update) {
        let partitions = update.bounds.iter().map(|bound| usize::from(bound.partition) + 1);
        let mut cut = self.cut.to_vec();
        cut.resize(partitions.max().unwrap_or(0).max(cut.len()), 0);
        for bound in &update.bounds {
            cut[usize::from(bound.partition)] = bound.to;
        }
        self.cut = cut.into();
    }

    /// Lets go of about `count` entities: those longest without an event, all of one time together.
    fn forget(&mut self, count: usize) {
        let mut times: Vec<_> = self.counters.values().map(|counters| counters.at).collect();
        let last = count.clamp(1, times.len()) - 1;
        let (_, &mut latest, _) = times.select_nth_unstable(last);
        self.counters
            .retain(|entity, counters| entity.kind == EntityKind::Tenant || counters.at > latest);
    }
}
