//! The promises of [`RollupStore`], one function each, for every engine.
//!
//! An engine's test hands over how its store is opened; each function begins with an empty one. They
//! need cubes with all dimensions by minute and by second, and tiers by hour and day.

mod kept;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reckon_event::{
    Applied, Cell, Currency, Deltas, Epoch, Kind, Measure, Reason, TenantId, Timestamp, Verdict,
};

use crate::{
    Answer, Counts, Dimension, Direction, Error, Field, Filter, Granularity, Metric, Order,
    OrderBy, Query, ROWS_MAX, Refusal, RollupStore,
};

/// How a store under test is opened.
pub trait Engine {
    /// Opens what is durable; the first time nothing is. All stores opened before have been dropped
    /// without any farewell.
    fn open(&self) -> Arc<dyn RollupStore>;

    /// The same with cubes of all dimensions by minute and by second only.
    fn open_with_detail_only(&self) -> Arc<dyn RollupStore>;
}

/// A promise: its name, and a check that panics where it is broken.
pub type Promise = (&'static str, fn(&dyn Engine));

/// All promises.
pub const PROMISES: &[Promise] = &[
    ("the_same_epoch_counts_once", the_same_epoch_counts_once),
    ("a_lower_generation_is_fenced", a_lower_generation_is_fenced),
    ("a_gap_is_refused", a_gap_is_refused),
    ("one_line_of_epochs_is_taken", one_line_of_epochs_is_taken),
    ("what_is_persisted_survives_and_nothing_else", what_is_persisted_survives_and_nothing_else),
    ("readers_see_whole_epochs", readers_see_whole_epochs),
    ("metrics_are_defined_by_kind_and_verdict", metrics_are_defined_by_kind_and_verdict),
    ("reasons_split_rows", reasons_split_rows),
    ("bounds_are_rounded_outwards", bounds_are_rounded_outwards),
    ("windows_slide_whole", windows_slide_whole),
    ("currencies_are_never_added", currencies_are_never_added),
    ("what_cancels_is_left_out", what_cancels_is_left_out),
    ("order_is_total_and_limits_cut_it", order_is_total_and_limits_cut_it),
    ("what_came_to_nothing_has_no_place", what_came_to_nothing_has_no_place),
    ("tenants_never_meet", tenants_never_meet),
    ("texts_come_back", texts_come_back),
    ("bad_questions_name_the_field", bad_questions_name_the_field),
    ("live_is_the_last_seconds", live_is_the_last_seconds),
    ("totals_are_exact", totals_are_exact),
    ("tiers_are_exact_at_their_edges", kept::tiers_are_exact_at_their_edges),
    ("what_comes_late_reaches_all_tiers", kept::what_comes_late_reaches_all_tiers),
    ("exports_are_what_is_kept", kept::exports_are_what_is_kept),
    ("a_rebuilt_span_has_the_sums_given", kept::a_rebuilt_span_has_the_sums_given),
    ("a_rebuild_is_refused_or_whole", kept::a_rebuild_is_refused_or_whole),
    ("other_cubes_give_the_same_answers", kept::other_cubes_give_the_same_answers),
];

/// 2026-11-21T10:00:00Z.
const START: i64 = 1_795_255_200;
const T: TenantId = TenantId(1);

fn epoch(generation: u32, number: u64) -> Epoch {
    Epoch { stage: 1, group: 0, generation, number, bounds: Vec::new() }
}

fn cell(second: i64, ad: u64, kind: Kind, verdict: Verdict) -> Cell {
    Cell {
        second: START + second,
        tenant: T,
        ad,
        campaign: ad / 10,
        region: 0,
        device: 0,
        placement: 0,
        position: 0,
        kind,
        verdict,
        currency: Currency::EUR,
    }
}

fn click(second: i64, ad: u64) -> Cell {
    cell(second, ad, Kind::Click, Verdict::Counted)
}

fn deltas(cells: impl IntoIterator<Item = (Cell, i64, i64)>) -> Deltas {
    let mut deltas = Deltas::default();
    for (cell, count, spend) in cells {
        deltas.add(cell, Measure { count, spend });
    }
    deltas
}

fn clicks(cells: impl IntoIterator<Item = (i64, u64, i64)>) -> Deltas {
    deltas(cells.into_iter().map(|(second, ad, count)| (click(second, ad), count, count * 100)))
}

fn apply(store: &dyn RollupStore, number: u64, deltas: &Deltas) {
    let applied = store.apply(&epoch(1, number), deltas).expect("the epoch follows");
    assert_eq!(applied, Applied::Fresh);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(START + second)
}

fn ask(from: i64, to: i64, granularity: Granularity, group_by: &[Dimension]) -> Query {
    Query { group_by: group_by.to_vec(), ..Query::new(T, at(from), at(to), granularity) }
}

fn answer(store: &dyn RollupStore, query: &Query) -> Answer {
    store.query(query).expect("the question is sound")
}

/// Net clicks from there on for an hour.
fn net(store: &dyn RollupStore) -> i64 {
    let rows = answer(store, &ask(0, 3_600, Granularity::Total, &[])).rows;
    rows.first().map_or(0, |row| row.counts.clicks)
}

/// Bucket, ad and net clicks of each row.
fn triples(answer: &Answer) -> Vec<(i64, u64, i64)> {
    let bucket = |bucket: Option<Timestamp>| bucket.map_or(0, |b| b.seconds() - START);
    let triple =
        |row: &crate::Row| (bucket(row.bucket), row.keys.ad.unwrap_or_default(), row.counts.clicks);
    answer.rows.iter().map(triple).collect()
}

fn the_same_epoch_counts_once(engine: &dyn Engine) {
    let store = engine.open();
    apply(&*store, 1, &clicks([(0, 1, 3)]));
    let again = store.apply(&epoch(1, 1), &clicks([(0, 1, 3)])).expect("it is known");
    assert_eq!((again, net(&*store)), (Applied::Again, 3));
    store.persist().expect("it persists");
    let again = store.apply(&epoch(1, 1), &clicks([(0, 1, 3)])).expect("it is known");
    assert_eq!((again, net(&*store)), (Applied::Again, 3));
    drop(store);
    let store = engine.open();
    let again = store.apply(&epoch(2, 1), &clicks([(0, 1, 3)])).expect("it is known");
    assert_eq!((again, net(&*store)), (Applied::Again, 3));
}

fn a_lower_generation_is_fenced(engine: &dyn Engine) {
    let store = engine.open();
    store.apply(&epoch(3, 1), &clicks([(0, 1, 3)])).expect("the first");
    let refused = store.apply(&epoch(2, 2), &clicks([(0, 1, 3)]));
    assert!(matches!(refused, Err(Error::Refused(Refusal::Fenced(3)))), "{refused:?}");
    store.apply(&epoch(4, 1), &clicks([(0, 1, 3)])).expect("again, by a successor");
    let refused = store.apply(&epoch(3, 2), &clicks([(0, 1, 3)]));
    assert!(matches!(refused, Err(Error::Refused(Refusal::Fenced(4)))), "{refused:?}");
    store.persist().expect("it persists");
    drop(store);
    let store = engine.open();
    let refused = store.apply(&epoch(3, 2), &clicks([(0, 1, 3)]));
    assert!(matches!(refused, Err(Error::Refused(Refusal::Fenced(4)))), "{refused:?}");
    assert_eq!(net(&*store), 3);
}

fn a_gap_is_refused(engine: &dyn Engine) {
    let store = engine.open();
    for (got, expected) in [(0, 1), (2, 1)] {
        let refused = store.apply(&epoch(1, got), &clicks([(0, 1, 1)]));
        let Err(Error::Refused(refusal)) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal, Refusal::Gap { expected, got });
    }
    assert_eq!((net(&*store), store.marks().applied), (0, None));
    apply(&*store, 1, &clicks([(0, 1, 1)]));
    let refused = store.apply(&epoch(1, 3), &clicks([(0, 1, 1)]));
    assert!(matches!(refused, Err(Error::Refused(Refusal::Gap { expected: 2, got: 3 }))));
    assert_eq!((net(&*store), store.marks().applied), (1, Some(1)));
}

fn one_line_of_epochs_is_taken(engine: &dyn Engine) {
    let store = engine.open();
    apply(&*store, 1, &clicks([(0, 1, 1)]));
    for (stage, group) in [(2, 0), (1, 1)] {
        let refused = store.apply(&Epoch { stage, group, ..epoch(1, 2) }, &clicks([(0, 1, 1)]));
        let Err(Error::Refused(refusal)) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal, Refusal::OtherLine { stage: 1, group: 0 });
    }
    assert_eq!(net(&*store), 1);
}

fn what_is_persisted_survives_and_nothing_else(engine: &dyn Engine) {
    let store = engine.open();
    assert_eq!(store.persist().expect("nothing to do"), 0);
    assert_eq!((store.marks().applied, store.marks().persisted), (None, None));
    apply(&*store, 1, &clicks([(0, 1, 1), (60, 2, 1)]));
    apply(&*store, 2, &clicks([(0, 1, 2)]));
    assert_eq!(store.persist().expect("it persists"), 2);
    apply(&*store, 3, &clicks([(0, 1, 4)]));
    let marks = store.marks();
    assert_eq!((marks.applied, marks.persisted, marks.newest), (Some(3), Some(2), Some(at(60))));
    assert_eq!(net(&*store), 8);
    drop(store);
    let store = engine.open();
    let marks = store.marks();
    assert_eq!((marks.applied, marks.persisted, marks.newest), (Some(2), Some(2), Some(at(60))));
    assert_eq!(net(&*store), 4);
    apply(&*store, 3, &clicks([(0, 1, 4)]));
    assert_eq!(net(&*store), 8);
}

fn readers_see_whole_epochs(engine: &dyn Engine) {
    const EPOCHS: u64 = 300;
    let store = engine.open();
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Acquire) {
                let answer = answer(&*store, &ask(0, 3_600, Granularity::Total, &[Dimension::Ad]));
                let epochs = i64::try_from(answer.applied.unwrap_or(0)).expect("few");
                let counts: Vec<i64> = answer.rows.iter().map(|row| row.counts.clicks).collect();
                let expect = if epochs == 0 { vec![] } else { vec![epochs; 50] };
                assert_eq!(counts, expect, "epoch {epochs} is not whole");
                seen.insert(epochs);
            }
            seen
        });
        for number in 1..=EPOCHS {
            let second = i64::try_from(number).expect("few") % 600;
            apply(&*store, number, &clicks((0..50).map(|ad| (second, ad, 1))));
            if number % 40 == 0 {
                store.persist().expect("it persists");
            }
        }
        done.store(true, Ordering::Release);
        reader.join().expect("every answer was whole")
    });
    assert_eq!(net(&*store), 50 * 300);
    assert!(!seen.is_empty(), "at least one answer was compared");
}

fn metrics_are_defined_by_kind_and_verdict(engine: &dyn Engine) {
    let store = engine.open();
    let kinds = [Kind::Impression, Kind::View, Kind::Click, Kind::Conversion, Kind::Dwell];
    let mut cells = Vec::new();
    for (n, kind) in (0..).zip(kinds) {
        for (m, verdict) in (0..).zip(Verdict::all()) {
            cells.push((cell(0, 1, kind, verdict), 1_000 * n + m + 1, 0));
        }
    }
    apply(&*store, 1, &deltas(cells));
    let rows = answer(&*store, &ask(0, 60, Granularity::Total, &[])).rows;
    let invalid = (3..=16).map(|m| 2_000 + m).sum();
    let expect = Counts {
        impressions: 1,
        views: 1_001,
        clicks: 2_001,
        duplicates: 2_002,
        invalid,
        conversions: 3_001,
    };
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].counts, expect);
    assert_eq!(rows[0].counts.clicks_gross(), 2_001 + 2_002 + invalid);
    assert_eq!(rows[0].counts.ctr(), Some(2_001.0));
}

fn reasons_split_rows(engine: &dyn Engine) {
    let store = engine.open();
    let rapid = Verdict::Invalid(Reason::RapidIp);
    apply(
        &*store,
        1,
        &deltas([
            (cell(0, 1, Kind::Impression, Verdict::Counted), 10, 0),
            (cell(0, 1, Kind::Impression, rapid), 99, 0),
            (click(0, 1), 2, 200),
            (cell(0, 1, Kind::Click, Verdict::Duplicate), 3, 0),
            (cell(0, 1, Kind::Click, rapid), 4, 0),
        ]),
    );
    let rows = answer(&*store, &ask(0, 60, Granularity::Minute, &[Dimension::Reason])).rows;
    let got: Vec<_> = rows.iter().map(|row| (row.keys.reason, row.counts)).collect();
    let none = Counts::default();
    let expect = [
        (Some(Verdict::Counted), Counts { impressions: 10, clicks: 2, ..none }),
        (Some(Verdict::Duplicate), Counts { duplicates: 3, ..none }),
        (Some(rapid), Counts { invalid: 4, ..none }),
    ];
    assert_eq!(got, expect);
}

fn bounds_are_rounded_outwards(engine: &dyn Engine) {
    let store = engine.open();
    apply(&*store, 1, &clicks([(0, 1, 1), (59, 1, 2), (60, 1, 4), (119, 1, 8), (120, 1, 16)]));
    let mut query = ask(0, 0, Granularity::Minute, &[]);
    query.from = Timestamp(at(59).0 + 999_999);
    query.to = Timestamp(at(60).0 + 1);
    let answer = answer(&*store, &query);
    assert_eq!((answer.from, answer.to), (at(0), at(120)));
    assert_eq!(triples(&answer), [(0, 0, 3), (60, 0, 12)]);
}

fn windows_slide_whole(engine: &dyn Engine) {
    let store = engine.open();
    apply(&*store, 1, &clicks([(-60, 1, 1), (0, 1, 2), (70, 2, 4), (300, 1, 8), (1_200, 1, 16)]));
    store.persist().expect("it persists");
    apply(&*store, 2, &clicks([(60, 1, 32)]));
    let sliding = Granularity::Sliding { window: 180, step: 60 };
    let got = answer(&*store, &ask(60, 1_260, sliding, &[]));
    let expect = [
        (120, 0, 39), // -60 .. 120
        (180, 0, 38), // 0 .. 180
        (240, 0, 36), // 60 .. 240
        (360, 0, 8),
        (420, 0, 8),
        (480, 0, 8),
        (1_260, 0, 16),
    ];
    assert_eq!(triples(&got), expect, "windows end after `from` and up to `to`");
    let got = answer(&*store, &ask(180, 240, sliding, &[Dimension::Ad]));
    assert_eq!(triples(&got), [(240, 1, 32), (240, 2, 4)]);
    let uneven = Granularity::Sliding { window: 90, step: 60 };
    let got = answer(&*store, &ask(0, 120, uneven, &[]));
    assert_eq!(triples(&got), [(60, 0, 2), (120, 0, 36)], "-30 .. 60 and 30 .. 120");
}

fn currencies_are_never_added(engine: &dyn Engine) {
    let store = engine.open();
    let dollars = Cell { currency: Currency::USD, ..click(0, 11) };
    apply(&*store, 1, &deltas([(click(0, 1), 1, 100), (dollars, 1, 250)]));
    let rows = answer(&*store, &ask(0, 60, Granularity::Total, &[])).rows;
    assert_eq!(rows[0].spend, [(Currency::EUR, 100), (Currency::USD, 250)]);
    assert_eq!((rows[0].spend_micros(), rows[0].counts.clicks), (None, 2));
    let mut query = ask(0, 60, Granularity::Total, &[Dimension::Ad]);
    let rows = answer(&*store, &query).rows;
    let spends: Vec<_> = rows.iter().map(|row| row.spend_micros()).collect();
    assert_eq!(spends, [Some(100), Some(250)]);
    query.order_by =
        Some(OrderBy { by: Order::Metric(Metric::SpendMicros), direction: Direction::Ascending });
    refuses(&*store, &query, Field::OrderBy);
    query.filter.ad = Some(11);
    assert_eq!(answer(&*store, &query).rows[0].spend, [(Currency::USD, 250)]);
}

fn what_cancels_is_left_out(engine: &dyn Engine) {
    let store = engine.open();
    apply(&*store, 1, &clicks([(0, 1, 5), (0, 2, 1)]));
    store.persist().expect("it persists");
    let double = cell(0, 1, Kind::Click, Verdict::Invalid(Reason::DoubleClick));
    apply(&*store, 2, &deltas([(click(0, 1), -5, -500), (double, 5, 0)]));
    for _ in 0..2 {
        let query = ask(0, 60, Granularity::Minute, &[Dimension::Ad, Dimension::Reason]);
        let rows = answer(&*store, &query).rows;
        let got: Vec<_> =
            rows.iter().map(|r| (r.keys.ad, r.counts.clicks, r.counts.invalid)).collect();
        assert_eq!(got, [(Some(1), 0, 5), (Some(2), 1, 0)]);
        assert!(rows[0].spend.is_empty());
        store.persist().expect("it persists");
    }
}

fn order_is_total_and_limits_cut_it(engine: &dyn Engine) {
    let store = engine.open();
    apply(
        &*store,
        1,
        &clicks((0..100).map(|ad| (0, ad, i64::try_from(ad % 7).expect("small") + 1))),
    );
    let mut query = Query::top(T, at(60), 60, Metric::Clicks, 20);
    let top = answer(&*store, &query);
    assert_eq!(top.rows.len(), 20);
    assert_eq!(triples(&top)[..2], [(0, 6, 7), (0, 13, 7)]);
    query.limit = None;
    let all = answer(&*store, &query);
    assert_eq!(all.rows.len(), 100);
    assert_eq!(all.rows[..20], top.rows[..], "a limit cuts the same order");
    let keys: Vec<_> = triples(&all).into_iter().map(|(_, ad, clicks)| (-clicks, ad)).collect();
    assert!(keys.is_sorted(), "ties go by key");
    query.order_by =
        Some(OrderBy { by: Order::Dimension(Dimension::Ad), direction: Direction::Descending });
    query.limit = Some(2);
    assert_eq!(triples(&answer(&*store, &query)), [(0, 99, 2), (0, 98, 1)]);
}

fn what_came_to_nothing_has_no_place(engine: &dyn Engine) {
    let store = engine.open();
    let taken_back = cell(0, 3, Kind::Conversion, Verdict::Counted);
    apply(&*store, 1, &clicks([(0, 1, 4), (0, 2, 5), (0, 3, 1)]));
    for (number, deltas) in
        [(2, clicks([(60, 2, -5)])), (3, deltas([(taken_back, -3, 0)])), (4, clicks([(60, 4, 1)]))]
    {
        // What is in memory, and what is written, in several pieces.
        store.persist().expect("it persists");
        apply(&*store, number, &deltas);
    }
    for _ in 0..2 {
        let query = Query::top(T, at(120), 120, Metric::Conversions, 3);
        let rows = answer(&*store, &query).rows;
        let places: Vec<_> = rows.iter().map(|row| (row.keys.ad, row.counts.conversions)).collect();
        assert_eq!(places, [(Some(1), 0), (Some(4), 0), (Some(3), -3)], "ad 2 is in no answer");
        store.persist().expect("it persists");
    }
}

fn tenants_never_meet(engine: &dyn Engine) {
    let store = engine.open();
    let other = Cell { tenant: TenantId(2), ..click(0, 1) };
    apply(&*store, 1, &deltas([(click(0, 1), 1, 0), (other, 2, 0)]));
    for _ in 0..2 {
        for (tenant, clicks) in [(1, vec![1]), (2, vec![2]), (3, vec![])] {
            let query = Query {
                tenant: TenantId(tenant),
                filter: Filter { ad: Some(1), ..Filter::default() },
                ..ask(0, 60, Granularity::Minute, &[])
            };
            let rows = answer(&*store, &query).rows;
            assert_eq!(rows.iter().map(|r| r.counts.clicks).collect::<Vec<_>>(), clicks);
        }
        store.persist().expect("it persists");
    }
}

fn texts_come_back(engine: &dyn Engine) {
    let store = engine.open();
    let mut deltas = Deltas::default();
    for (region, count) in [("NO", 1), ("DE", 2), ("", 4)] {
        let region = deltas.name(region);
        deltas.add(Cell { region, ..click(0, 1) }, Measure { count, spend: 0 });
    }
    apply(&*store, 1, &deltas);
    let mut store = store;
    for _ in 0..2 {
        let rows = answer(&*store, &ask(0, 60, Granularity::Total, &[Dimension::Region])).rows;
        let got: Vec<_> = rows
            .iter()
            .map(|row| (row.keys.region.clone().and_then(|r| r.text), row.counts.clicks))
            .collect();
        assert_eq!(got, [(None, 4), (Some("DE".into()), 2), (Some("NO".into()), 1)]);
        store.persist().expect("it persists");
        drop(store);
        store = engine.open();
    }
}

fn refuses(store: &dyn RollupStore, query: &Query, expect: Field) {
    match store.query(query) {
        Err(Error::Question { field, fix }) => {
            assert_eq!(field, expect, "{fix}");
            assert!(!fix.is_empty());
        }
        other => panic!("{other:?} for {query:?}"),
    }
}

fn bad_questions_name_the_field(engine: &dyn Engine) {
    let store = engine.open();
    let good = ask(0, 3_600, Granularity::Minute, &[]);
    let sliding = |window, step| Granularity::Sliding { window, step };
    let order = |by| Some(OrderBy { by, direction: Direction::Ascending });
    let by_ad = order(Order::Dimension(Dimension::Ad));
    let by_bucket = order(Order::Bucket);
    let too_many = u32::try_from(ROWS_MAX + 1).ok();
    let cases = [
        (Query { to: good.from, ..good.clone() }, Field::To),
        (Query { from: Timestamp(-1), ..good.clone() }, Field::From),
        (Query { granularity: sliding(0, 1), ..good.clone() }, Field::Window),
        (Query { granularity: sliding(60, 61), ..good.clone() }, Field::Step),
        (Query { limit: Some(0), ..good.clone() }, Field::Limit),
        (Query { limit: too_many, ..good.clone() }, Field::Limit),
        (Query { order_by: by_ad, ..good.clone() }, Field::OrderBy),
        (Query { order_by: by_bucket, granularity: Granularity::Total, ..good }, Field::OrderBy),
    ];
    for (query, field) in cases {
        refuses(&*store, &query, field);
    }
    assert!(matches!(store.live(T, None, 0), Err(Error::Question { field: Field::Seconds, .. })));
}

fn live_is_the_last_seconds(engine: &dyn Engine) {
    let store = engine.open();
    assert_eq!(store.live(T, None, 5).expect("it is empty"), []);
    apply(&*store, 1, &clicks([(5, 1, 1), (7, 1, 2), (9, 2, 4)]));
    for _ in 0..2 {
        let live = |ad| -> Vec<(i64, i64)> {
            let live = store.live(T, ad, 4).expect("it is kept");
            live.iter().map(|l| (l.second.seconds() - START, l.counts.clicks)).collect()
        };
        assert_eq!(live(None), [(6, 0), (7, 2), (8, 0), (9, 4)]);
        assert_eq!(live(Some(1)), [(6, 0), (7, 2), (8, 0), (9, 0)]);
        store.persist().expect("it persists");
    }
}

fn totals_are_exact(engine: &dyn Engine) {
    let store = engine.open();
    let duplicate = cell(0, 1, Kind::Click, Verdict::Duplicate);
    apply(&*store, 1, &deltas([(click(0, 1), 7, 700), (duplicate, 2, 0)]));
    store.persist().expect("it persists");
    apply(&*store, 2, &deltas([(click(0, 1), -3, -300), (duplicate, 3, 0)]));
    store.persist().expect("it persists");
    drop(store);
    let store = engine.open();
    let totals = store.totals().expect("it is open");
    let got: Vec<_> = totals.iter().map(|t| (t.tenant, t.kind, t.verdict, t.count)).collect();
    let expect = [(T, Kind::Click, Verdict::Counted, 4), (T, Kind::Click, Verdict::Duplicate, 5)];
    assert_eq!(got, expect);
}
