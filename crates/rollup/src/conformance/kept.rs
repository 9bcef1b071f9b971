//! Promises on what is kept: tiers of time, exports, spans that are replaced, cubes that are changed.

use reckon_event::{Applied, Cell, Deltas, Kind, Measure, Reason, TenantId, Verdict};

use super::{Engine, START, T, answer, apply, ask, at, cell, click, clicks, deltas, epoch, net};
use crate::{
    Counts, Dimension, Dimensions, Error, Export, Field, Granularity, Pane, Query, RollupStore,
};

/// Six days of clicks: in each hour one ad and another, with markers between, so that tiers are made.
fn six_days(store: &dyn RollupStore) -> u64 {
    const HOURS: i64 = 6 * 24;
    let mut number = 0;
    for hour in 0..HOURS {
        let second = hour * 3_600 + hour * 97 % 3_600;
        number += 1;
        apply(store, number, &clicks([(second, 1, 1), (second, 2 + hour.unsigned_abs() % 3, 10)]));
        store.persist().expect("it persists");
    }
    // Tiers may be made beside the markers, a few later.
    for _ in 0..60 {
        number += 1;
        apply(store, number, &Deltas::default());
        store.persist().expect("it persists");
    }
    number
}

/// The clicks of [`six_days`] from one second to another.
fn clicks_of_six_days(from: i64, to: i64) -> i64 {
    let seconds = (0..6 * 24).map(|hour| hour * 3_600 + hour * 97 % 3_600);
    11 * i64::try_from(seconds.filter(|second| (from..to).contains(second)).count()).expect("few")
}

pub(super) fn tiers_are_exact_at_their_edges(engine: &dyn Engine) {
    let store = engine.open();
    six_days(&*store);
    let mut compared = 0;
    for from in [0, 60, 3_540, 7_200, 50_400 + 660, 3 * 86_400] {
        for to in [from + 60, 86_400, 4 * 86_400 + 60, 5 * 86_400 + 5 * 3_600 + 120, 6 * 86_400] {
            if from >= to {
                continue;
            }
            let rows = answer(&*store, &ask(from, to, Granularity::Total, &[Dimension::Ad])).rows;
            let got: i64 = rows.iter().map(|row| row.counts.clicks).sum();
            assert_eq!(got, clicks_of_six_days(from, to), "{from} to {to}");
            let hours = answer(&*store, &ask(from, to, Granularity::Hour, &[]));
            let got: i64 = hours.rows.iter().map(|row| row.counts.clicks).sum();
            let (from, to) = (hours.from.seconds() - START, hours.to.seconds() - START);
            assert_eq!(got, clicks_of_six_days(from, to), "the hours of {from} to {to}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared} spans were compared");
}

pub(super) fn what_comes_late_reaches_all_tiers(engine: &dyn Engine) {
    let mut store = engine.open();
    let number = six_days(&*store);
    let double = cell(7_200, 1, Kind::Click, Verdict::Invalid(Reason::DoubleClick));
    apply(&*store, number + 1, &deltas([(click(7_200, 1), -1, -100), (double, 1, 0)]));
    apply(&*store, number + 2, &clicks([(30, 9, 5)]));
    for turn in 0..3 {
        let span = (-4 * 3_600, 7 * 86_400);
        for granularity in
            [Granularity::Minute, Granularity::Hour, Granularity::Day, Granularity::Total]
        {
            for group_by in [&[][..], &[Dimension::Ad], &[Dimension::Campaign, Dimension::Region]] {
                let rows = answer(&*store, &ask(span.0, span.1, granularity, group_by)).rows;
                let sum = |figure: fn(&Counts) -> i64| -> i64 {
                    rows.iter().map(|row| figure(&row.counts)).sum()
                };
                let expect = clicks_of_six_days(span.0, span.1) - 1 + 5;
                assert_eq!(sum(|counts| counts.clicks), expect, "{granularity:?} in turn {turn}");
                assert_eq!(sum(|counts| counts.invalid), 1, "{granularity:?} in turn {turn}");
            }
        }
        store.persist().expect("it persists");
        if turn == 1 {
            drop(store);
            store = engine.open();
        }
    }
}

/// The clicks of a tenant's export, summed.
fn exported(store: &dyn RollupStore, export: &Export) -> Vec<(i64, u64, Kind, i64, i64)> {
    let exported = store.export(export).expect("it is kept");
    let figures = exported.figures.iter();
    figures
        .map(|(cell, measure)| {
            (cell.second - START, cell.campaign, cell.kind, measure.count, measure.spend)
        })
        .collect()
}

pub(super) fn exports_are_what_is_kept(engine: &dyn Engine) {
    let store = engine.open();
    let other = Cell { tenant: TenantId(2), ..click(0, 31) };
    apply(&*store, 1, &clicks([(0, 11, 1), (59, 11, 2), (60, 12, 4), (3_600, 25, 8)]));
    store.persist().expect("it persists");
    apply(&*store, 2, &deltas([(click(0, 11), 3, 300), (other, 5, 500)]));
    apply(&*store, 3, &deltas([(click(60, 12), -4, -400)]));
    let minutes = Export::ads_by_minute(Some(T), at(0), at(3_601));
    let hours = Export::campaigns_by_hour(None, at(60), at(120));
    for _ in 0..2 {
        let got = store.export(&minutes).expect("it is kept");
        assert_eq!((got.applied, got.from, got.to), (Some(3), at(0), at(3_660)));
        let cells: Vec<_> = got
            .figures
            .iter()
            .map(|(c, m)| (c.ad, c.campaign, c.second - START, m.count))
            .collect();
        assert_eq!(cells, [(11, 1, 0, 6), (25, 2, 3_600, 8)], "zeros are left out");
        let got = exported(&*store, &hours);
        assert_eq!(got, [(0, 1, Kind::Click, 6, 600), (0, 3, Kind::Click, 5, 500)]);
        store.persist().expect("it persists");
    }
    let wrong = Export { to: at(0), ..minutes };
    assert!(matches!(store.export(&wrong), Err(Error::Question { field: Field::To, .. })));
}

/// What is kept of a tenant, by all dimensions.
fn detail(store: &dyn RollupStore, pane: Pane) -> Vec<(Cell, Measure)> {
    let dimensions = Dimensions::ALL;
    let (from, to) = (at(-86_400), at(8 * 86_400));
    let export = Export { tenant: Some(T), from, to, dimensions, pane };
    store.export(&export).expect("it is kept").figures
}

pub(super) fn a_rebuilt_span_has_the_sums_given(engine: &dyn Engine) {
    let mut store = engine.open();
    let mut number = six_days(&*store);
    let panes = [Pane::Minute, Pane::Hour, Pane::Day];
    let truth = panes.map(|pane| detail(&*store, pane));
    let totals = store.totals().expect("it is open");
    // One minute of the second day: what is in it comes to nothing, twice as much, or something else.
    let hour: i64 = 30;
    let second = hour * 3_600 + hour * 97 % 3_600;
    let minute = second.div_euclid(60) * 60;
    let right = || clicks([(second, 1, 1), (second, 2, 10)]);
    for wrong in [
        clicks([(second, 1, -1), (second, 2, -10)]),
        right(),
        clicks([(second + 1, 7, 3), (second, 1, 40)]),
    ] {
        number += 1;
        apply(&*store, number, &wrong);
        store.persist().expect("it persists");
        assert_ne!(detail(&*store, Pane::Day), truth[2], "there is something to mend");
        let given = right();
        let mended = store.rebuild(T, at(minute), at(minute + 60), &given).expect("it can be");
        assert!(mended > 0);
        for (pane, truth) in panes.iter().zip(&truth) {
            assert_eq!(&detail(&*store, *pane), truth, "by {}", pane.name());
        }
        assert_eq!(store.totals().expect("it is open"), totals);
        assert_eq!(store.rebuild(T, at(minute), at(minute + 60), &given).expect("it can be"), 0);
        drop(store);
        store = engine.open();
        assert_eq!(store.marks().applied, Some(number));
        assert_eq!(detail(&*store, Pane::Day), truth[2], "it is durable");
    }
}

pub(super) fn a_rebuild_is_refused_or_whole(engine: &dyn Engine) {
    let store = engine.open();
    apply(&*store, 1, &clicks([(0, 1, 3), (60, 1, 4)]));
    let other = Cell { tenant: TenantId(2), ..click(0, 1) };
    apply(&*store, 2, &deltas([(other, 7, 0)]));
    let refuses = |from: i64, to: i64, figures: &Deltas| {
        let refused = store.rebuild(T, at(from), at(to), figures);
        assert!(matches!(refused, Err(Error::Question { field: Field::From, .. })), "{refused:?}");
        assert_eq!(net(&*store), 7);
    };
    refuses(1, 60, &Deltas::default());
    refuses(60, 60, &Deltas::default());
    refuses(0, 60, &clicks([(60, 1, 1)]));
    refuses(0, 60, &deltas([(other, 1, 0)]));
    assert!(store.rebuild(T, at(0), at(60), &Deltas::default()).expect("it can be") > 0);
    assert_eq!((net(&*store), store.marks().persisted), (4, Some(2)), "all applied is durable");
    let query = Query { tenant: TenantId(2), ..ask(0, 60, Granularity::Total, &[]) };
    assert_eq!(answer(&*store, &query).rows[0].counts.clicks, 7, "other tenants keep theirs");
    let again = store.apply(&epoch(1, 2), &Deltas::default()).expect("it is known");
    assert_eq!(again, Applied::Again);
    apply(&*store, 3, &clicks([(0, 1, 1)]));
    assert_eq!(net(&*store), 5);
}

pub(super) fn other_cubes_give_the_same_answers(engine: &dyn Engine) {
    let store = engine.open();
    let number = six_days(&*store);
    let ask_all = |store: &dyn RollupStore| {
        let mut rows = Vec::new();
        for granularity in [Granularity::Minute, Granularity::Hour, Granularity::Day] {
            for group_by in [&[][..], &[Dimension::Ad], &[Dimension::Campaign, Dimension::Region]] {
                rows.push(answer(store, &ask(-3_600, 6 * 86_400 + 60, granularity, group_by)).rows);
            }
        }
        rows
    };
    let expect = ask_all(&*store);
    assert!(expect.iter().all(|rows| !rows.is_empty()));
    drop(store);
    let store = engine.open_with_detail_only();
    assert_eq!(ask_all(&*store), expect, "dropped cubes are summed from what is left");
    apply(&*store, number + 1, &clicks([(100, 1, 1)]));
    store.persist().expect("it persists");
    let expect = ask_all(&*store);
    drop(store);
    let store = engine.open();
    assert_eq!(ask_all(&*store), expect, "new cubes have what was counted before them");
    for number in number + 2..number + 40 {
        apply(&*store, number, &clicks([(200, 1, 1)]));
        store.persist().expect("it persists");
    }
    let day = answer(&*store, &ask(0, 60, Granularity::Day, &[])).rows;
    let expect = clicks_of_six_days(-10 * 3_600, 14 * 3_600) + 1 + 38;
    assert_eq!(day[0].counts.clicks, expect, "{day:?}");
}
