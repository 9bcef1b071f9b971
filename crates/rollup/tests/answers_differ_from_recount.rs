//! A figure is wrong if summing every cell anew gives another. Random deltas (revisions that take
//! away among them), markers, reopenings with and without a power cut, merges, and questions of every
//! shape are judged by a model that keeps a plain list of cells.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::Model;
use model::random::{DIMENSIONS, REGIONS, START, cell, query};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reckon_disk::{Disk, SimDisk};
use reckon_event::{Applied, Cell, Deltas, Epoch, Measure, TenantId, Timestamp, name_key};
use reckon_rollup::files::{Merging, Pane, verify};
use reckon_rollup::{
    Cube, Dimension, Dimensions, Error, Field, Files, Granularity, Options, Query, RollupStore,
};

mod model;

const KEPT: u32 = 7_200;

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(Cell, Measure)>),
    /// The last epoch again, by a successor.
    Again,
    Persist,
    /// The process dies; the disk loses power where a seed is given.
    Reopen(Option<u64>),
    Ask(Query),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(cell(), 0..30).prop_map(Step::Apply),
        1 => Just(Step::Again),
        3 => Just(Step::Persist),
        1 => prop::option::of(any::<u64>()).prop_map(Step::Reopen),
        5 => query().prop_map(Step::Ask),
    ]
}

fn options(hot_rows_max: usize, segment_rows: usize, merging: Merging) -> Options {
    let mut options = Options { merging, ..Options::new(1 << 30) };
    options.cubes[3].retention = Some(KEPT);
    options.cubes[4].retention = Some(KEPT);
    let positions = Dimensions::of(&[Dimension::Position, Dimension::Device]);
    options.cubes.push(Cube::new("positions_by_hour", positions, Pane::Hour));
    Options { hot_rows_max, segment_rows, fan_in: 2, ..options }
}

struct Bench {
    disk: SimDisk,
    options: Options,
    store: Option<Files>,
    /// What questions must see, and what a crash must leave; with the epochs in each.
    now: (u64, Model),
    durable: (u64, Model),
    /// The model after each epoch, so that markers set by the store itself can be followed.
    history: Vec<Model>,
    generation: u32,
    last: Deltas,
}

const DIR: &str = "/data/rollup";

static ROWS: AtomicU64 = AtomicU64::new(0);
static ANSWERS: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static REPLACED: AtomicU64 = AtomicU64::new(0);

impl Bench {
    fn new(options: Options) -> Self {
        let disk = SimDisk::new(7);
        let mut bench = Bench {
            disk,
            options,
            store: None,
            now: (0, Model::default()),
            durable: (0, Model::default()),
            history: vec![Model::default()],
            generation: 1,
            last: Deltas::default(),
        };
        bench.open();
        bench
    }

    fn open(&mut self) {
        let disk = Arc::new(self.disk.clone());
        let store = Files::open(disk, Path::new(DIR), self.options.clone()).expect("it opens");
        self.store = Some(store);
    }

    fn store(&self) -> &Files {
        self.store.as_ref().expect("open between steps")
    }

    fn epoch(&self, number: u64) -> Epoch {
        let generation = self.generation;
        Epoch { stage: 1, group: 0, generation, number, bounds: Vec::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Apply(cells) => self.apply(cells),
            Step::Again => self.again(),
            Step::Persist => {
                let marker = self.store().persist().expect("the disk is sound");
                assert_eq!(marker, self.now.0);
            }
            Step::Reopen(power_cut) => self.reopen(power_cut),
            Step::Ask(query) => self.ask(&query),
        }
        self.follow_marker();
    }

    fn apply(&mut self, cells: Vec<(Cell, Measure)>) {
        let mut deltas = Deltas::default();
        for text in REGIONS {
            deltas.name(text);
        }
        for (cell, measure) in &cells {
            deltas.add(*cell, *measure);
        }
        self.now.0 += 1;
        let applied = self.store().apply(&self.epoch(self.now.0), &deltas).expect("it follows");
        assert_eq!(applied, Applied::Fresh);
        self.last = deltas;
        self.now.1.cells.extend(cells);
        self.now.1.texts = REGIONS[1..].iter().map(|t| (name_key(t), (*t).to_owned())).collect();
        self.history.push(self.now.1.clone());
    }

    fn again(&mut self) {
        if self.now.0 > 0 {
            self.generation += 1;
            let again = self.store().apply(&self.epoch(self.now.0), &self.last);
            assert_eq!(again.expect("it is known"), Applied::Again);
        }
    }

    fn follow_marker(&mut self) {
        let persisted = self.store().marks().persisted.unwrap_or(0);
        assert!(persisted >= self.durable.0 && persisted <= self.now.0);
        let model = self.history[usize::try_from(persisted).expect("few")].clone();
        self.durable = (persisted, model);
    }

    fn reopen(&mut self, power_cut: Option<u64>) {
        self.store = None;
        if let Some(seed) = power_cut {
            self.disk.crash(seed);
        }
        self.open();
        self.now = self.durable.clone();
        self.history.truncate(usize::try_from(self.now.0).expect("few") + 1);
        let report = verify(&self.disk, Path::new(DIR)).expect("it can be listed");
        assert_eq!((&report.damages[..], &report.strays[..]), (&[][..], &[][..]));
        assert_eq!(report.epoch, self.now.0);
        let marks = self.store().marks();
        assert_eq!(marks.applied.unwrap_or(0), self.now.0);
        assert_eq!(marks.newest.map(Timestamp::seconds), self.now.1.newest());
    }

    fn ask(&self, query: &Query) {
        let expect = self.now.1.rows(query);
        match (self.store().query(query), expect) {
            (Ok(answer), Some(rows)) => {
                assert_eq!(answer.rows, rows, "{query:?} from {}", answer.cube);
                assert_eq!(answer.applied.unwrap_or(0), self.now.0);
                ROWS.fetch_add(rows.len() as u64, Ordering::Relaxed);
                ANSWERS.fetch_add(1, Ordering::Relaxed);
            }
            (Err(Error::Question { field: Field::OrderBy, .. }), None) => {}
            (Err(Error::Question { field: Field::From, fix }), _) => {
                let newest = self.now.1.newest().expect("something was dropped");
                let window = match query.granularity {
                    Granularity::Sliding { window, .. } => i64::from(window),
                    _ => 0,
                };
                let kept_from = newest + 1 - i64::from(KEPT);
                assert!(query.from.seconds() - window < kept_from, "{fix}: {query:?}");
                REFUSED.fetch_add(1, Ordering::Relaxed);
            }
            (answer, rows) => panic!("{answer:?} where {rows:?} was expected for {query:?}"),
        }
    }

    /// True where runs were merged or dropped: their numbers have holes.
    fn has_replaced_runs(&self) -> bool {
        let files = self.disk.list(Path::new(DIR)).expect("it can be listed");
        let number = |path: &PathBuf| -> Option<(bool, u64)> {
            let (kind, number) = path.file_name()?.to_str()?.rsplit_once('-')?;
            Some((kind == "manifest", number.parse().ok()?))
        };
        let numbers = files.iter().filter_map(number).filter(|(is_manifest, _)| !is_manifest);
        let (count, highest) =
            numbers.fold((0, 0), |(count, highest), (_, n)| (count + 1, n.max(highest)));
        highest > count
    }

    /// What holds at the end of every history.
    fn finish(mut self) {
        assert_eq!(self.store().totals().expect("it is open"), self.now.1.totals());
        self.step(Step::Persist);
        self.step(Step::Reopen(Some(3)));
        assert_eq!(self.store().totals().expect("it is open"), self.now.1.totals());
        for granularity in [Granularity::Minute, Granularity::Day, Granularity::Total] {
            let from = Timestamp::from_seconds(START - 60);
            let to = from.plus(5 * Timestamp::DAY);
            let mut query = Query::new(TenantId(1), from, to, granularity);
            self.ask(&query);
            query.group_by = DIMENSIONS.to_vec();
            self.ask(&query);
            query.group_by = vec![Dimension::Campaign, Dimension::Region];
            self.ask(&query);
        }
        REPLACED.fetch_add(u64::from(self.has_replaced_runs()), Ordering::Relaxed);
    }
}

#[test]
fn every_answer_equals_the_recount() {
    let histories = (
        prop::collection::vec(step(), 1..60),
        prop::sample::select(&[20usize, 200, 1_000_000][..]),
        prop::sample::select(&[3usize, 50, 1 << 16][..]),
        prop::sample::select(&[Merging::Inline, Merging::Thread][..]),
    );
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() };
    TestRunner::new(config)
        .run(&histories, |(steps, hot_rows_max, segment_rows, merging)| {
            let mut bench = Bench::new(options(hot_rows_max, segment_rows, merging));
            steps.into_iter().for_each(|step| bench.step(step));
            bench.finish();
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    let [rows, answers, refused, replaced] =
        [&ROWS, &ANSWERS, &REFUSED, &REPLACED].map(|count| count.load(Ordering::Relaxed));
    eprintln!(
        "{rows} rows of {answers} answers compared, {refused} refused, {replaced} with runs replaced"
    );
    assert!(rows > 10_000 && answers > 1_000 && refused > 0 && replaced > 0);
}
