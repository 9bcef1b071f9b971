//! A figure is wrong if own files, handed the same epochs, give another. Random epochs (revisions that
//! take away among them), markers, stores that are dropped and opened anew, compactions and questions of
//! every shape; then more ads than a list has, and values at their limits.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reckon_event::{
    Applied, Cell, Currency, Deltas, Kind, Measure, Reason, TenantId, Timestamp, Verdict,
};
use reckon_rollup::clickhouse::{ClickHouse, Options};
use reckon_rollup::{Dimension, Granularity, Metric, Query, RollupStore};

use crate::random::{METRICS, START, cell, query};
use crate::servers::{Database, Server, each_server};
use crate::twins::{Compared, OwnFiles, all_the_same, deltas, epoch, same, sums_are_the_same, top};

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(Cell, Measure)>),
    /// The last epoch again, by a successor.
    Again,
    Persist,
    /// The store is dropped without farewell.
    Reopen,
    Ask(Box<Query>),
    /// The cells of a minute are replaced.
    Rebuild(i64, Vec<(Cell, Measure)>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(cell(), 0..30).prop_map(Step::Apply),
        1 => Just(Step::Again),
        4 => Just(Step::Persist),
        1 => Just(Step::Reopen),
        6 => query().prop_map(|query| Step::Ask(Box::new(query))),
        1 => (0i64..5, prop::collection::vec(cell(), 0..6)).prop_map(|(m, c)| Step::Rebuild(m, c)),
    ]
}

/// A store on a server and its twin in own files.
struct Bench<'a> {
    database: &'a Database,
    options: Options,
    store: Option<ClickHouse>,
    files: OwnFiles,
    generation: u32,
    epochs: Vec<Deltas>,
    /// What both were told, with what was rebuilt between: a store that is dropped forgets the rest.
    compared: Compared,
}

impl<'a> Bench<'a> {
    fn new(database: &'a Database, options: Options) -> Self {
        let store = ClickHouse::open(options.clone()).expect("it opens");
        let files = OwnFiles::of(&options, &[]);
        let (epochs, compared) = (Vec::new(), Compared::default());
        Bench { database, options, store: Some(store), files, generation: 1, epochs, compared }
    }

    fn store(&self) -> &ClickHouse {
        self.store.as_ref().expect("open between steps")
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Apply(cells) => {
                self.epochs.push(deltas(&cells));
                self.apply_last(Applied::Fresh);
                self.files.apply(self.epochs.last().expect("just now"));
            }
            Step::Again if !self.epochs.is_empty() => {
                self.generation += 1;
                self.apply_last(Applied::Again);
            }
            Step::Again => {}
            Step::Persist => {
                let number = self.store().persist().expect("the server is there");
                assert_eq!(number, self.epochs.len() as u64);
                self.files.store.persist().expect("the disk is sound");
            }
            Step::Reopen => self.reopen(),
            Step::Ask(query) => {
                let mut compared = self.compared;
                same(self.store(), &self.files.store, &query, &mut compared);
                self.compared = compared;
            }
            Step::Rebuild(minute, cells) => self.rebuild(minute, &cells),
        }
    }

    fn apply_last(&self, expect: Applied) {
        let epoch = epoch(self.generation, self.epochs.len() as u64);
        let applied = self.store().apply(&epoch, self.epochs.last().expect("there is one"));
        assert_eq!(applied.expect("it is taken"), expect);
    }

    /// Whatever was not persisted comes again, as it was.
    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(ClickHouse::open(self.options.clone()).expect("it opens"));
        let marks = self.store().marks();
        assert_eq!(marks.applied, marks.persisted);
        self.generation = self.generation.max(marks.generation);
        let persisted = usize::try_from(marks.applied.unwrap_or(0)).expect("few");
        for (number, deltas) in (1..).zip(&self.epochs).skip(persisted) {
            let applied = self.store().apply(&epoch(self.generation, number), deltas);
            assert_eq!(applied.expect("it follows"), Applied::Fresh);
        }
    }

    fn rebuild(&mut self, minute: i64, cells: &[(Cell, Measure)]) {
        let from = Timestamp::from_seconds(START + minute * 60);
        let to = from.plus(Timestamp::MINUTE);
        let inside = cells.iter().map(|(cell, measure)| {
            let second = from.seconds() + cell.second.rem_euclid(60);
            (Cell { second, tenant: TenantId(1), ..*cell }, *measure)
        });
        let figures = deltas(&inside.collect::<Vec<_>>());
        let replace = |store: &dyn RollupStore| store.rebuild(TenantId(1), from, to, &figures);
        replace(self.store()).expect("it can be");
        replace(&self.files.store).expect("it can be");
        assert_eq!(replace(self.store()).expect("it can be"), 0, "nothing is wrong any more");
    }

    fn finish(mut self) -> Compared {
        let mut compared = self.compared;
        all_the_same(self.store(), &self.files.store, &mut compared);
        self.step(Step::Persist);
        self.step(Step::Reopen);
        sums_are_the_same(self.store(), &self.files.store, &mut compared);
        self.compared = compared;
        if !self.epochs.is_empty() {
            assert!(self.database.named_runs() <= self.database.runs());
        }
        self.compared
    }
}

/// Fewer rows than these prove little.
const ROWS_MIN: u64 = 10_000;
/// Rounds of histories until so many rows are compared.
const ROUNDS_MAX: u32 = 6;

#[test]
fn random_histories() {
    let cases = if std::env::var("RECKON_LONG").is_ok() { 200 } else { 8 };
    each_server(|server| {
        let total = RefCell::new(Compared::default());
        let histories = (
            prop::collection::vec(step(), 1..50),
            prop::sample::select(&[2usize, 3][..]),
            prop::sample::select(&[3usize, 1 << 14][..]),
        );
        // Each attempt at a shorter history takes seconds.
        let max_shrink_iters = 60;
        let config = ProptestConfig {
            cases,
            max_shrink_iters,
            failure_persistence: None,
            ..Default::default()
        };
        let compare = |(steps, fan_in, segment_rows): (Vec<Step>, usize, usize)| {
            let database = Database::new(server);
            let options = Options { fan_in, segment_rows, ..database.options() };
            let mut bench = Bench::new(&database, options);
            steps.into_iter().for_each(|step| bench.step(step));
            let compared = bench.finish();
            let mut total = total.borrow_mut();
            total.answers += compared.answers;
            total.rows += compared.rows;
            total.refused += compared.refused;
            Ok(())
        };
        // Short histories have few rows: there are as many as it takes.
        for _ in 0..ROUNDS_MAX {
            TestRunner::new(config.clone())
                .run(&histories, compare)
                .unwrap_or_else(|failure| panic!("{failure}"));
            if total.borrow().rows > ROWS_MIN {
                break;
            }
        }
        let Compared { answers, rows, refused } = *total.borrow();
        eprintln!(
            "{}: {rows} rows of {answers} answers equal own files', {refused} refused",
            server.name
        );
        assert!(answers > 400 && rows > ROWS_MIN, "{:?}", total.borrow());
    });
}

/// 6,000 ads whose figures differ and tie; some are moved by what is in memory only.
fn many_ads() -> Vec<Vec<(Cell, Measure)>> {
    let click = |ad: u64, second: i64, verdict, count| {
        let cell = Cell {
            second: START + second,
            tenant: TenantId(1),
            ad,
            campaign: ad / 100,
            region: 0,
            device: 0,
            placement: 0,
            position: 0,
            kind: Kind::Click,
            verdict,
            currency: if ad.is_multiple_of(3) { Currency::USD } else { Currency::EUR },
        };
        (cell, Measure { count, spend: count * 10 })
    };
    let counted = Verdict::Counted;
    let figure = |ad: u64| i64::try_from(ad * 7_919 % 1_500).expect("small");
    let first = (0..6_000).map(|ad| click(ad, figure(ad), counted, figure(ad) + 1));
    let second = (0..6_000).step_by(2).map(|ad| click(ad, 90, counted, 3));
    let double = Verdict::Invalid(Reason::DoubleClick);
    let revised =
        (0..6_000).step_by(5).flat_map(|ad| [click(ad, 90, counted, -1), click(ad, 90, double, 1)]);
    // The best ones are not the best any more, others are lifted over them.
    let moved = (0..6_000).filter(|ad| figure(*ad) > 1_490).map(|ad| click(ad, 91, counted, -700));
    let lifted = (0..6_000).step_by(97).map(|ad| click(ad, 91, counted, 900));
    vec![first.collect(), second.collect(), revised.collect(), lifted.collect(), moved.collect()]
}

#[test]
fn top_lists_of_many_ads() {
    each_server(|server| {
        let database = Database::new(server);
        let mut bench = Bench::new(&database, database.options());
        let mut asked = 0;
        for cells in many_ads() {
            bench.step(Step::Apply(cells));
            for _ in 0..2 {
                for metric in METRICS {
                    for limit in [1, 10, 1_024, 3_000] {
                        bench.step(Step::Ask(Box::new(top(metric, limit))));
                        asked += 1;
                    }
                }
                bench.step(Step::Persist);
            }
        }
        assert!(
            bench.compared.rows > 100_000
                && asked == bench.compared.answers + bench.compared.refused
        );
        eprintln!("{}: {asked} top lists of 6000 ads equal own files'", server.name);
    });
}

#[test]
fn values_at_their_limits() {
    each_server(|server| {
        let database = Database::new(server);
        let mut bench = Bench::new(&database, database.options());
        for cells in limits(server) {
            bench.step(Step::Apply(vec![cells]));
            bench.step(Step::Persist);
        }
        let tenant = TenantId(u32::MAX);
        let (from, to) = (Timestamp::MIN, Timestamp::MAX);
        for granularity in [Granularity::Hour, Granularity::Day, Granularity::Total] {
            for group_by in [&[][..], &[Dimension::Ad, Dimension::Position], &[Dimension::Reason]] {
                let query = Query::new(tenant, from, to, granularity);
                let query = Query { group_by: group_by.to_vec(), ..query };
                bench.step(Step::Ask(Box::new(query)));
            }
        }
        let asked = Query::top(tenant, to, u32::MAX, Metric::Clicks, 10);
        bench.step(Step::Ask(Box::new(asked)));
        assert_eq!(bench.compared.answers, 10);
        assert_eq!(
            bench.store().totals().expect("it answers"),
            bench.files.store.totals().expect("it answers")
        );
    });
}

fn limits(_: &Server) -> Vec<(Cell, Measure)> {
    let last = Timestamp::MAX.seconds() - 1;
    let cell = |second, ad, position| Cell {
        second,
        tenant: TenantId(u32::MAX),
        ad,
        campaign: u64::MAX,
        region: u64::MAX,
        device: 1,
        placement: u64::MAX - 1,
        position,
        kind: Kind::Click,
        verdict: Verdict::Counted,
        currency: Currency::EUR,
    };
    let most = i64::MAX / 4;
    vec![
        (cell(0, u64::MAX, u16::MAX), Measure { count: most, spend: most }),
        (cell(last, u64::MAX, 0), Measure { count: most, spend: -most }),
        (cell(last, 0, u16::MAX), Measure { count: -most, spend: most }),
        (cell(59, 1 << 63, 1), Measure { count: 1, spend: i64::MIN / 4 }),
    ]
}

#[test]
fn texts_of_all_kinds_come_back() {
    let texts = [
        "it's",
        "a \"b\" ?",
        "tab\t",
        "new\nline",
        "back\\slash",
        "\u{1F600} \u{e9}",
        "{run}",
        "--",
    ];
    each_server(|server| {
        let database = Database::new(server);
        let mut expect = Vec::new();
        let mut deltas = Deltas::default();
        for (n, text) in (1..).zip(texts) {
            let region = deltas.name(text);
            let cell = Cell { region, ..limits(server)[0].0 };
            deltas.add(cell, Measure { count: n, spend: 0 });
            expect.push((Some(text.to_owned()), n));
        }
        expect.sort();
        let store = ClickHouse::open(database.options()).expect("it opens");
        store.apply(&epoch(1, 1), &deltas).expect("it follows");
        store.persist().expect("the server is there");
        drop(store);
        let store = ClickHouse::open(database.options()).expect("it opens");
        let (from, to) = (Timestamp::MIN, Timestamp::from_seconds(60));
        let query = Query::new(TenantId(u32::MAX), from, to, Granularity::Total);
        let query = Query { group_by: vec![Dimension::Region], ..query };
        let rows = store.query(&query).expect("it is kept").rows;
        let text = |row: &reckon_rollup::Row| {
            row.keys.region.clone().and_then(|region| region.text).map(|text| text.to_string())
        };
        let got: Vec<_> = rows.iter().map(|row| (text(row), row.counts.clicks)).collect();
        assert_eq!(got, expect);
    });
}
