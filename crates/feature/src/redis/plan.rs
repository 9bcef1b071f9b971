//! What is to be done with an epoch, decided from what was read; whoever writes does it.

use std::collections::HashMap;

use reckon_event::{Epoch, Timestamp};
use redis::Value;

use super::mark::{Mark, text};
use super::row::{Row, Seen, Version, entity_key};
use crate::{Counters, Entity, Step, Update};

/// What has happened to one entity in an epoch.
pub struct Steps {
    pub entity: Entity,
    pub key: String,
    pub steps: Vec<(Step, Timestamp)>,
}

/// What is to be done for one entity.
pub enum Plan {
    /// It has this epoch's version, written by this counter.
    Nothing,
    Write {
        row: Row,
        read: String,
    },
    Fenced(u32),
    Lost(String),
}

/// What is to be done for an entity of which this was found.
pub fn plan(row: Option<Row>, mark: &Mark, epoch: &Epoch, steps: &Steps) -> Plan {
    let read = row.map_or_else(String::new, |row| row.name());
    if let Some(row) = row.filter(|row| row.birth == mark.birth) {
        if row.generation > epoch.generation {
            return Plan::Fenced(row.generation);
        }
        if row.now.epoch > epoch.number {
            return Plan::Lost(format!(
                "{} has come to epoch {}, and the mark is at {}",
                steps.key, row.now.epoch, mark.epoch
            ));
        }
        if row.now.epoch == epoch.number && row.generation == epoch.generation {
            return Plan::Nothing;
        }
    }
    match row.map_or(Seen::Absent, |row| row.seen(mark)) {
        Seen::Absent => Plan::Write { row: step(None, mark, epoch, steps), read },
        Seen::Known(base) => Plan::Write { row: step(Some(base), mark, epoch, steps), read },
        Seen::MovedOn => Plan::Lost(format!("{} is of a later run or epoch", steps.key)),
    }
}

/// The next version of an entity: all that the epoch has of it, in order.
fn step(base: Option<Version>, mark: &Mark, epoch: &Epoch, steps: &Steps) -> Row {
    let (_, first) = steps.steps[0];
    let mut counters = base.map_or_else(|| Counters::new(first), |base| base.counters);
    for &(step, at) in &steps.steps {
        counters.take(steps.entity.kind, step, at);
    }
    Row {
        birth: mark.birth,
        generation: epoch.generation,
        now: Version { epoch: epoch.number, counters },
        before: base,
    }
}

/// What witnesses tell: each has come as far as the mark, or its node has lost something.
pub fn lost(mark: &Mark, witnesses: &[Value]) -> Option<String> {
    mark.witnesses.iter().zip(witnesses).find_map(|(slot, value)| {
        let told = text(value).unwrap_or("nothing");
        let (birth, epoch) = told.split_once('.').unwrap_or_default();
        let is_there = birth.parse() == Ok(mark.birth)
            && epoch.parse().is_ok_and(|epoch: u64| epoch >= mark.epoch);
        (!is_there).then(|| {
            format!(
                "the node that serves slot {slot} tells of {told}, and epoch {} of run {} was there",
                mark.epoch, mark.birth
            )
        })
    })
}

/// An epoch's steps by entity, each in the order they happened.
pub fn by_entity(prefix: &str, update: &Update) -> Vec<Steps> {
    let mut places: HashMap<Entity, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut all: Vec<Steps> = Vec::new();
    for &(entity, step, at) in &update.steps {
        let place = *places.entry(entity).or_insert_with(|| {
            all.push(Steps { entity, key: entity_key(prefix, &entity), steps: Vec::new() });
            all.len() - 1
        });
        all[place].steps.push((step, at));
    }
    all
}

/// The cut behind an epoch.
pub fn moved(cut: &[u64], update: &Update) -> Vec<u64> {
    let mut cut = cut.to_vec();
    for bound in &update.bounds {
        let partition = usize::from(bound.partition);
        cut.resize(cut.len().max(partition + 1), 0);
        cut[partition] = bound.to;
    }
    cut
}

#[cfg(test)]
mod tests {
    use reckon_event::TenantId;

    use super::*;
    use crate::EntityKind;

    const BIRTH: u64 = 100;

    fn version(epoch: u64, shown: u32) -> Version {
        let mut counters = Counters::new(Timestamp(0));
        (0..shown).for_each(|_| counters.impression(Timestamp(0)));
        Version { epoch, counters }
    }

    fn row(epoch: u64, shown: u32, before: Option<Version>) -> Row {
        Row { birth: BIRTH, generation: 1, now: version(epoch, shown), before }
    }

    /// Epoch 8 of generation 2 shows the entity once; the mark is at 7. The impressions that it is to
    /// have then, and before, or what else is to be done.
    fn planned(row: Option<Row>) -> Result<(f32, Option<f32>), String> {
        let mark = Mark { birth: BIRTH, epoch: 7, generation: 2, ..Mark::default() };
        let epoch = Epoch { stage: 1, group: 0, generation: 2, number: 8, bounds: vec![] };
        let entity = Entity { tenant: TenantId::DEFAULT, kind: EntityKind::Ad, key: 1 };
        let update =
            Update { steps: vec![(entity, Step::Impression, Timestamp(0))], bounds: vec![] };
        let impressions = |version: Version| version.counters.slow.impressions;
        match plan(row, &mark, &epoch, &by_entity("", &update)[0]) {
            Plan::Write { row, .. } => Ok((impressions(row.now), row.before.map(impressions))),
            Plan::Nothing => Err("nothing".to_owned()),
            Plan::Fenced(generation) => Err(format!("fenced {generation}")),
            Plan::Lost(what) => Err(what),
        }
    }

    #[test]
    fn the_next_version_is_made_of_the_marked_one() {
        assert_eq!(planned(None), Ok((1.0, None)));
        assert_eq!(planned(Some(row(5, 3, None))), Ok((4.0, Some(3.0))));
        let older = Row { birth: BIRTH - 1, ..row(5, 3, None) };
        assert_eq!(planned(Some(older)), Ok((1.0, None)), "of a run before");
    }

    #[test]
    fn what_another_counter_has_left_half_written_is_made_again() {
        let half = row(8, 9, Some(version(6, 3)));
        assert_eq!(planned(Some(half)), Ok((4.0, Some(3.0))));
        assert_eq!(planned(Some(row(8, 9, None))), Ok((1.0, None)), "it was new in that epoch");
        let own = Row { generation: 2, ..half };
        assert_eq!(planned(Some(own)), Err("nothing".to_owned()));
        let later = Row { generation: 3, ..half };
        assert_eq!(planned(Some(later)), Err("fenced 3".to_owned()));
    }

    #[test]
    fn an_entity_ahead_of_the_mark_tells_of_a_loss() {
        let told = planned(Some(row(9, 9, Some(version(8, 8))))).expect_err("lost");
        assert!(told.contains("has come to epoch 9, and the mark is at 7"), "{told}");
        let younger = Row { birth: BIRTH + 1, ..row(1, 1, None) };
        assert!(planned(Some(younger)).expect_err("lost").contains("later run"));
    }

    #[test]
    fn a_witness_older_than_the_mark_tells_of_a_loss() {
        let mark = Mark { birth: BIRTH, epoch: 7, witnesses: vec![0, 9], ..Mark::default() };
        let told = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        assert_eq!(lost(&mark, &[told("100.7"), told("100.8")]), None);
        for bad in [told("100.6"), told("99.7"), told("?"), Value::Nil] {
            let found = lost(&mark, &[told("100.7"), bad.clone()]).expect("lost");
            assert!(found.contains("slot 9"), "{bad:?}: {found}");
        }
    }
}
