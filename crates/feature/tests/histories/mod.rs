//! Histories of a store, made at random: epochs, retries, persons forgotten, stores opened again.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use reckon_event::{Bound, Epoch, TenantId, Timestamp};
use reckon_feature::{Entity, EntityKind, FeatureStore, Step, Update};

use super::{Bench, same};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Act {
    /// The next epoch, by the same counter or by the next one.
    Apply { steps: Vec<(Entity, Step, Timestamp)>, takes_over: bool },
    /// The last epoch comes again.
    Again,
    /// These are forgotten.
    Forget(Vec<Entity>),
    /// Everything is made durable.
    Persist,
    /// The store is opened again.
    Reopen,
}

fn entity() -> impl Strategy<Value = Entity> {
    let kind = prop_oneof![
        Just(EntityKind::Tenant),
        Just(EntityKind::User),
        Just(EntityKind::Ad),
        Just(EntityKind::Campaign),
    ];
    (1..3_u32, kind, 0..4_u128).prop_map(|(tenant, kind, key)| Entity {
        tenant: TenantId(tenant),
        kind,
        key,
    })
}

/// Mostly of one minute, so that persons reach what is taken of one; some late, some hours on.
fn time() -> impl Strategy<Value = Timestamp> {
    let minute = 1_800_000_000 * Timestamp::SECOND;
    prop_oneof![
        4 => (0..Timestamp::MINUTE).prop_map(move |micros| Timestamp(minute + micros)),
        1 => (-Timestamp::DAY..20 * Timestamp::DAY).prop_map(move |micros| Timestamp(minute + micros)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(Entity, Step, Timestamp)>> {
    let step = || prop_oneof![3 => Just(Step::Impression), 1 => Just(Step::Click)];
    let mixed = vec((entity(), step(), time()), 0..60);
    // Somebody clicks without end.
    let one = (entity(), vec((step(), time()), 100..160)).prop_map(|(entity, steps)| {
        steps.into_iter().map(|(step, at)| (entity, step, at)).collect()
    });
    prop_oneof![6 => mixed, 1 => one]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (steps(), prop::bool::weighted(0.1))
            .prop_map(|(steps, takes_over)| Act::Apply { steps, takes_over }),
        2 => Just(Act::Again),
        2 => vec(entity(), 1..5).prop_map(Act::Forget),
        1 => Just(Act::Persist),
        1 => Just(Act::Reopen),
    ]
}

/// Everyone a history can tell of.
fn everyone() -> Vec<Entity> {
    let kinds = [EntityKind::Tenant, EntityKind::User, EntityKind::Ad, EntityKind::Campaign];
    let keys = (1..3).flat_map(|tenant| kinds.map(move |kind| (tenant, kind)));
    keys.flat_map(|(tenant, kind)| {
        (0..4).map(move |key| Entity { tenant: TenantId(tenant), kind, key })
    })
    .collect()
}

/// Lives through so many histories on both stores; tells how many counters were the same.
pub fn check(bench: &Bench, count: u32) -> usize {
    let compared = std::cell::Cell::new(0);
    let config = Config {
        cases: count,
        rng_seed: RngSeed::Fixed(17),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let lived = TestRunner::new(config).run(&vec(act(), 10..40), |acts| {
        compared.set(compared.get() + live(bench, &acts));
        Ok(())
    });
    if let Err(error) = lived {
        panic!("{error}");
    }
    compared.get()
}

fn live(bench: &Bench, acts: &[Act]) -> usize {
    let (mut redis, memory, prefix) = bench.pair();
    let (mut compared, mut generation) = (0, 1);
    let mut epochs: Vec<(Epoch, Update)> = Vec::new();
    for act in acts {
        match act {
            Act::Apply { steps, takes_over } => {
                generation += u32::from(*takes_over);
                let next = self::epoch(epochs.len() as u64 + 1, generation);
                let update = Update { steps: steps.clone(), bounds: next.bounds.clone() };
                let taken = [&redis as &dyn FeatureStore, &memory]
                    .map(|store| store.apply(&next, update.clone()).expect("taken"));
                assert_eq!(taken[0], taken[1]);
                epochs.push((next, update));
            }
            Act::Again => {
                for (epoch, update) in epochs.iter().rev().take(3) {
                    let epoch = Epoch { generation, ..epoch.clone() };
                    let taken = [&redis as &dyn FeatureStore, &memory]
                        .map(|store| store.apply(&epoch, update.clone()).expect("taken"));
                    assert_eq!(taken[0], taken[1]);
                }
            }
            Act::Forget(entities) => {
                redis.forget(entities).expect("forgotten");
                memory.forget(entities).expect("forgotten");
            }
            Act::Persist => redis.persist().expect("durable"),
            Act::Reopen => {
                drop(redis);
                redis = bench.open(&prefix);
                assert_eq!(redis.marks().applied, memory.marks().applied);
            }
        }
        compared += same(&redis, &memory, &everyone());
    }
    compared
}

/// Epochs read of three partitions in turn.
fn epoch(number: u64, generation: u32) -> Epoch {
    let partition = u16::try_from(number % 3).expect("small");
    let bound = Bound { partition, from: number * 7, to: number * 7 + 7 };
    Epoch { stage: 1, group: 0, generation, number, bounds: vec![bound] }
}
