//! The view of what is spent today: it follows revisions, forgets old days, survives power cuts with the
//! epoch it says it has, and is filled from the rollup where its file is lost.

use std::path::Path;
use std::sync::Arc;

use reckon_billing::{CampaignKey, Opened, Spend, SpendView};
use reckon_disk::SimDisk;
use reckon_event::{
    Applied, Counted, Currency, Deltas, Epoch, Micros, Subscriber, SubscriberError, TenantId,
    Timestamp, Verdict, name_key,
};
use reckon_rollup::{Files, Options, RollupStore};

use crate::market::TENANTS;
use crate::world::{Click, World, day};

const FILE: &str = "/data/spend/spend";

fn rollup() -> Files {
    Files::open(Arc::new(SimDisk::new(1)), Path::new("/rollup"), Options::default()).expect("opens")
}

fn open(disk: &SimDisk, rollup: &Files) -> Opened {
    let opened = SpendView::open(Arc::new(disk.clone()), Path::new(FILE), rollup, &TENANTS);
    opened.unwrap_or_else(|error| panic!("{error}"))
}

fn epoch(number: u64, generation: u32) -> Epoch {
    Epoch { stage: 1, group: 0, generation, number, bounds: Vec::new() }
}

fn apply(
    view: &mut SpendView,
    number: u64,
    deltas: &Deltas,
    watermark: Timestamp,
) -> Result<Applied, SubscriberError> {
    let counted = Counted { records: &[], verdicts: &[], revisions: &[], deltas, watermark };
    view.apply(&epoch(number, 1), &counted)
}

/// A step of counting: its deltas, and everything known after it.
struct Step {
    deltas: Deltas,
    clicks: Vec<Click>,
    watermark: Timestamp,
}

/// A history in which time goes on over the days of the world.
fn history(world: &mut World, steps: usize) -> Vec<Step> {
    let start = day(0).start();
    let mut history = Vec::new();
    for number in 0..steps {
        let mut deltas = Deltas::default();
        for _ in 0..world.random.below(20) {
            let click = world.click();
            world.add_to(&click, 1, &mut deltas);
        }
        if let Some((before, after)) = world.revise() {
            world.add_to(&before, -1, &mut deltas);
            world.add_to(&after, 1, &mut deltas);
        }
        let passed = 3 * Timestamp::DAY / steps as i64 * number as i64;
        history.push(Step { deltas, clicks: world.clicks.clone(), watermark: start.plus(passed) });
    }
    history
}

/// Today's and yesterday's spend of every campaign are those of the list of clicks.
fn check(spend: &Spend, world: &World, step: &Step) -> usize {
    let mut compared = 0;
    let today = reckon_event::Day::of(step.watermark);
    for (number, contract) in world.contracts.iter().enumerate() {
        let key = CampaignKey {
            tenant: contract.tenant,
            campaign: name_key(&contract.campaign),
            currency: contract.currency,
        };
        for of in (0..3).map(day).filter(|of| of.number() + 1 >= today.number()) {
            let is_here = |click: &&Click| {
                click.contract == number
                    && reckon_event::Day::of(click.at) == of
                    && click.verdict == Verdict::Counted
            };
            let spent: Micros = step.clicks.iter().filter(is_here).map(|click| click.price).sum();
            assert_eq!(spend.spent(&key, of), spent, "{key:?} on {of}");
            for budget in [spent - 1, spent, spent + 1] {
                let at = of.start().plus(Timestamp::HOUR);
                let is_exhausted = spend.is_exhausted(&key, Some(budget), at);
                assert_eq!(is_exhausted, budget <= spent, "{budget} of {spent}");
            }
            assert!(!spend.is_exhausted(&key, None, of.start()), "without a budget");
            compared += usize::from(spent > 0);
        }
    }
    compared
}

#[test]
fn what_is_spent_is_what_was_counted() {
    let mut compared = 0;
    for seed in 0..50 {
        let mut world = World::new(seed);
        let Opened { mut view, spend, damage } = open(&SimDisk::new(seed), &rollup());
        assert_eq!((damage, view.persisted()), (None, None));
        for (step, number) in history(&mut world, 30).iter().zip(1..) {
            let applied = apply(&mut view, number, &step.deltas, step.watermark);
            assert_eq!(applied.expect("is taken"), Applied::Fresh);
            let applied = apply(&mut view, number, &step.deltas, step.watermark);
            assert_eq!(applied.expect("is there"), Applied::Again);
            compared += check(&spend, &world, step);
        }
    }
    eprintln!("{compared} sums agree");
    assert!(compared > 2_000, "only {compared} sums were compared");
}

/// The power goes at every sync in turn, and whatever is found is the state of the epoch it names.
#[test]
fn a_power_cut_leaves_the_epoch_it_says() {
    let (mut cuts, mut compared) = (0, 0);
    for seed in 0..40 {
        let mut world = World::new(seed);
        let history = history(&mut world, 12);
        let disk = SimDisk::new(seed);
        disk.cut_power_at_sync(1 + seed % 24);
        let rollup = rollup();
        let mut opened =
            SpendView::open(Arc::new(disk.clone()), Path::new(FILE), &rollup, &TENANTS);
        if let Ok(opened) = &mut opened {
            feed_until_dark(&mut opened.view, &history);
        }
        assert!(!disk.has_power(), "the power was to go");
        disk.crash(seed);
        cuts += 1;
        let Opened { mut view, spend, damage } = open(&disk, &rollup);
        assert_eq!(damage, None, "written whole");
        let has = view.persisted().unwrap_or(0);
        if let Some(step) = (has as usize).checked_sub(1).map(|at| &history[at]) {
            compared += check(&spend, &world, step);
        }
        for (step, number) in history.iter().zip(1..) {
            let applied = apply(&mut view, number, &step.deltas, step.watermark).expect("taken");
            assert_eq!(applied, if number <= has { Applied::Again } else { Applied::Fresh });
        }
        compared += check(&spend, &world, &history[11]);
    }
    assert!(cuts == 40 && compared > 100, "only {compared} sums were compared");
}

fn feed_until_dark(view: &mut SpendView, history: &[Step]) {
    for (step, number) in history.iter().zip(1..) {
        apply(view, number, &step.deltas, step.watermark).expect("is taken");
        if view.persist().is_err() {
            return;
        }
        assert_eq!(view.persisted(), Some(number));
    }
}

/// A lost or damaged file costs nothing: the rollup has the same sums at the same epoch.
#[test]
fn a_lost_file_is_made_anew_from_the_rollup() {
    let mut compared = 0;
    for seed in 0..20 {
        let mut world = World::new(seed);
        let history = history(&mut world, 12);
        let (disk, rollup) = (SimDisk::new(seed), rollup());
        let mut view = open(&disk, &rollup).view;
        for (step, number) in history.iter().zip(1..).take(8) {
            rollup.apply(&epoch(number, 1), &step.deltas).expect("is taken");
            apply(&mut view, number, &step.deltas, step.watermark).expect("is taken");
        }
        view.persist().expect("is kept");
        disk.flip(Path::new(FILE), 30, 3);
        let Opened { mut view, spend, damage } = open(&disk, &rollup);
        assert!(damage.is_some_and(|said| said.contains(FILE)), "damage is told");
        assert_eq!(view.persisted(), None);
        for (step, number) in history.iter().zip(1..) {
            let applied = apply(&mut view, number, &step.deltas, step.watermark).expect("taken");
            assert_eq!(applied, if number <= 8 { Applied::Again } else { Applied::Fresh });
        }
        compared += check(&spend, &world, &history[11]);
        view.persist().expect("is kept");
        assert_eq!(open(&disk, &rollup).view.persisted(), Some(12));
    }
    assert!(compared > 30, "only {compared} sums were compared");
}

#[test]
fn holes_and_former_counters_are_refused() {
    let mut view = open(&SimDisk::new(1), &rollup()).view;
    let nothing = Deltas::default();
    apply(&mut view, 4, &nothing, day(0).start()).expect("begins with whichever comes");
    let hole = apply(&mut view, 6, &nothing, day(0).start()).expect_err("a hole");
    assert_eq!(hole.to_string(), "epoch 6 does not follow epoch 4");
    let watermark = day(0).start();
    let counted =
        Counted { records: &[], verdicts: &[], revisions: &[], deltas: &nothing, watermark };
    view.apply(&epoch(5, 3), &counted).expect("is taken");
    let fenced = apply(&mut view, 6, &nothing, watermark).expect_err("generation 1");
    assert!(matches!(fenced, SubscriberError::Fenced(3)), "{fenced}");
}

#[test]
fn pace_is_spend_against_time() {
    let (mut view, spend) = {
        let opened = open(&SimDisk::new(1), &rollup());
        (opened.view, opened.spend)
    };
    let mut world = World::new(1);
    let mut deltas = Deltas::default();
    let mut click = world.click();
    (click.at, click.price, click.verdict) = (day(0).start(), 30, Verdict::Counted);
    world.add_to(&click, 1, &mut deltas);
    apply(&mut view, 1, &deltas, day(0).start()).expect("is taken");
    let contract = &world.contracts[click.contract];
    let key = CampaignKey {
        tenant: contract.tenant,
        campaign: name_key(&contract.campaign),
        currency: contract.currency,
    };
    let noon = day(0).start().plus(12 * Timestamp::HOUR);
    let pace = spend.pace(&key, Some(40), noon).expect("has a budget");
    assert_eq!((pace.spent, pace.passed, pace.speed()), (0.75, 0.5, 1.5));
    assert_eq!(spend.pace(&key, None, noon), None);
    assert_eq!(spend.pace(&key, Some(0), noon).expect("of nothing").spent, 1.0);
    assert!(spend.is_exhausted(&key, Some(0), noon));
    let stranger = CampaignKey { tenant: TenantId(9), currency: Currency::USD, ..key };
    assert_eq!(spend.spent(&stranger, day(0)), 0);
}
