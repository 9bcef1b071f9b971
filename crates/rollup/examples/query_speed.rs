//! Three questions over a month of minute rows, as they are asked of ClickHouse and DuckDB beside it:
//! `cargo run --release -p reckon-rollup --example query_speed -- [million rows] [folder] [csv]`.
//!
//! Rows: one for each ad, region and minute that has clicks, a third of them in the last hour, the
//! others over the 30 days before. 10^6 ads by Zipf (exponent 1), 20 ads a campaign, 20 regions. Every
//! row has clicks and money, so a list of the most clicked has all of them to look at. They go in the
//! way everything does, by `apply` and `persist`; `csv` gets the same rows for others to load.
//!
//! Times are those of the wall, in milliseconds. "merged": work has come to rest. "fresh": ten small
//! markers, revisions of old days among them, are not merged, and an epoch is not persisted. "first":
//! the first question of its kind after the folder has been opened.
#![expect(clippy::print_stdout, reason = "figures are its output")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reckon_disk::{RealDisk, TempDir};
use reckon_event::{
    Cell, Currency, Deltas, Epoch, Kind, Measure, Reason, TenantId, Timestamp, Verdict,
};
use reckon_rollup::files::verify;
use reckon_rollup::{
    Answer, Dimension, Files, Filter, Granularity, Metric, Options, Query, RollupStore,
};

const ADS: u64 = 1_000_000;
const ADS_PER_CAMPAIGN: u64 = 20;
const REGIONS: u64 = 20;
const T: TenantId = TenantId(1);
/// A day's start. The last hour begins 30 days later, so the month asked for is nearly whole.
const START: i64 = 1_795_219_200;
const MINUTES: i64 = 30 * 1_440;
const HOUR: i64 = 60;
/// Minutes of the quiet time that make one epoch.
const QUIET_EPOCH: i64 = 240;
const PRICE: i64 = 1_000;

fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 32
}

fn ad_key(ad: u64) -> u64 {
    mix(ad + 1)
}

fn campaign_key(campaign: u64) -> u64 {
    mix(campaign + 7_000_000)
}

fn region_key(region: u64) -> u64 {
    mix(region + 9_000_000)
}

/// Numbers from a seed.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        mix(self.0)
    }

    /// An ad by Zipf: the k-th is drawn about as often as 1 / k.
    fn ad(&mut self) -> u64 {
        let share = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let rank = ((ADS + 1) as f64).powf(share) as u64;
        // Spread over the numbers, so that popular ads are of many campaigns.
        rank.min(ADS).wrapping_mul(7_919) % ADS
    }
}

fn cell(minute: i64, ad: u64, region: u64) -> Cell {
    Cell {
        second: START + minute * 60,
        tenant: T,
        ad: ad_key(ad),
        campaign: campaign_key(ad / ADS_PER_CAMPAIGN),
        region: region_key(region),
        device: 0,
        placement: 0,
        position: 0,
        kind: Kind::Click,
        verdict: Verdict::Counted,
        currency: Currency::EUR,
    }
}

/// The rows of a minute: clicks by ad and region, `count` of them.
fn minute_rows(draws: &mut Draws, count: usize) -> Vec<((u64, u64), i64)> {
    let mut rows: HashMap<(u64, u64), i64> = HashMap::with_capacity(count);
    while rows.len() < count {
        let ad = draws.ad();
        *rows.entry((ad, draws.next() % REGIONS)).or_default() += 1;
    }
    let mut rows: Vec<((u64, u64), i64)> = rows.into_iter().collect();
    rows.sort_unstable();
    rows
}

fn add(deltas: &mut Deltas, minute: i64, rows: &[((u64, u64), i64)]) {
    for &((ad, region), clicks) in rows {
        let measure = Measure { count: clicks, spend: clicks * PRICE };
        deltas.add(cell(minute, ad, region), measure);
    }
}

fn open(dir: &Path) -> Files {
    Files::open(Arc::new(RealDisk), dir, Options::default()).expect("it opens")
}

/// A store that is being filled.
struct Filling {
    store: Files,
    epoch: u64,
    applied: Duration,
    persisted: Duration,
    longest: Duration,
    cells: usize,
}

impl Filling {
    fn apply(&mut self, deltas: &Deltas) {
        self.epoch += 1;
        let number = self.epoch;
        let epoch = Epoch { stage: 1, group: 0, generation: 1, number, bounds: Vec::new() };
        let start = Instant::now();
        self.store.apply(&epoch, deltas).expect("it follows");
        self.applied += start.elapsed();
        self.cells += deltas.cells.len();
    }

    fn persist(&mut self) {
        let start = Instant::now();
        self.store.persist().expect("the disk is sound");
        self.persisted += start.elapsed();
        self.longest = self.longest.max(start.elapsed());
    }
}

/// Fills the store with `rows` rows, and the file beside it.
fn fill(filling: &mut Filling, rows: usize, csv: Option<&Path>) {
    let mut csv = csv.map(|path| BufWriter::new(File::create(path).expect("it can be written")));
    let mut draws = Draws(1);
    let per_minute = |minute: i64| {
        let hot = rows / 3;
        match minute < MINUTES {
            true => (rows - hot) / usize::try_from(MINUTES).expect("small"),
            false => hot / usize::try_from(HOUR).expect("small"),
        }
    };
    let mut deltas = Deltas::default();
    for minute in 0..MINUTES + HOUR {
        let rows = minute_rows(&mut draws, per_minute(minute));
        add(&mut deltas, minute, &rows);
        if let Some(csv) = &mut csv {
            for ((ad, region), clicks) in rows {
                let (campaign, at) = (ad / ADS_PER_CAMPAIGN, START + minute * 60);
                let spend = clicks * PRICE;
                writeln!(csv, "{ad},{campaign},{region},{at},{clicks},{spend}").expect("written");
            }
        }
        if minute >= MINUTES || minute % QUIET_EPOCH == QUIET_EPOCH - 1 {
            filling.apply(&std::mem::take(&mut deltas));
            filling.persist();
        }
    }
}

/// Markers without figures, until work has come to rest.
fn rest(filling: &mut Filling) {
    for _ in 0..200 {
        filling.apply(&Deltas::default());
        filling.persist();
    }
}

/// Small epochs that touch everything, with revisions of old days, each with a marker of its own but
/// the last.
fn freshen(filling: &mut Filling) {
    let mut draws = Draws(1 << 40);
    for marker in 0..11 {
        let mut deltas = Deltas::default();
        add(&mut deltas, MINUTES + HOUR - 1, &minute_rows(&mut draws, 3_000));
        let old = i64::try_from(draws.next() % 40_000).expect("small");
        for ((ad, region), _) in minute_rows(&mut draws, 300) {
            let revised = cell(old, ad, region);
            let invalid = Cell { verdict: Verdict::Invalid(Reason::RapidIp), ..revised };
            deltas.add(revised, Measure { count: -1, spend: -PRICE });
            deltas.add(invalid, Measure { count: 1, spend: 0 });
        }
        filling.apply(&deltas);
        if marker < 10 {
            filling.persist();
        }
    }
}

/// Time this thread has spent on a processor; zero where the system does not tell.
fn on_processor() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// The questions, varied by `turn`: popular ads, their campaigns, hours that end a few minutes apart.
fn questions(turn: u64) -> [(&'static str, Query); 3] {
    let at = |minute: i64| Timestamp::from_seconds(START + minute * 60);
    let month = |granularity| Query::new(T, at(HOUR), at(MINUTES + HOUR), granularity);
    let ad = (1 + turn % 8) * 7_919 % ADS;
    let campaign = campaign_key(ad / ADS_PER_CAMPAIGN);
    let one_ad = Filter { ad: Some(ad_key(ad)), ..Filter::default() };
    let one_campaign = Filter { campaign: Some(campaign), ..Filter::default() };
    let end = at(MINUTES + HOUR - i64::try_from(turn % 3).expect("small"));
    [
        ("ad", Query { filter: one_ad, ..month(Granularity::Minute) }),
        ("top", Query::top(T, end, 3_600, Metric::Clicks, 100)),
        (
            "campaign",
            Query {
                filter: one_campaign,
                group_by: vec![Dimension::Region],
                ..month(Granularity::Day)
            },
        ),
    ]
}

fn ask(store: &Files, query: &Query) -> (Duration, Answer) {
    let start = Instant::now();
    let answer = store.query(query).expect("it is kept");
    (start.elapsed(), answer)
}

fn report(question: &str, state: &str, mut times: Vec<Duration>, answer: &Answer) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1_000.0;
    let clicks: i64 = answer.rows.iter().map(|row| row.counts.clicks).sum();
    println!(
        "reckon {question} {state} p50 {:.3} p99 {:.3} rows {} clicks {clicks} from {}",
        at(50),
        at(99),
        answer.rows.len(),
        answer.cube
    );
}

fn measure(store: &Files, state: &str, turns: u64) {
    for place in 0..3 {
        let [(name, first), _, _] = {
            let mut questions = questions(0);
            questions.rotate_left(place);
            questions
        };
        let (_, answer) = ask(store, &first);
        let start = on_processor();
        let times = (0..turns).map(|turn| ask(store, &questions(turn)[place].1).0).collect();
        let each = (on_processor() - start).as_secs_f64() * 1_000.0 / turns as f64;
        report(name, state, times, &answer);
        println!("       on the processor {each:.3} on average");
    }
}

fn measure_first(dir: &Path, turns: u64) {
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let mut answers = None;
    for turn in 0..turns {
        let store = open(dir);
        let asked = questions(turn).map(|(_, query)| ask(&store, &query));
        for (times, (time, _)) in times.iter_mut().zip(&asked) {
            times.push(*time);
        }
        if turn == 0 {
            answers = Some(asked.map(|(_, answer)| answer));
        }
    }
    for ((name, _), (times, answer)) in
        questions(0).into_iter().zip(times.into_iter().zip(answers.into_iter().flatten()))
    {
        report(name, "first", times, &answer);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let millions: usize = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(10);
    let temporary = TempDir::new("rollup-query-speed");
    let dir = arguments.get(1).map_or_else(|| temporary.path().join("rollup"), PathBuf::from);
    let csv = arguments.get(2).map(PathBuf::from);
    let store = open(&dir);
    let zero = Duration::ZERO;
    let mut filling =
        Filling { store, epoch: 0, applied: zero, persisted: zero, longest: zero, cells: 0 };
    let start = Instant::now();
    if filling.store.marks().applied.is_none() {
        fill(&mut filling, millions * 1_000_000, csv.as_deref());
        let per_cell = |time: Duration| time.as_nanos() / filling.cells as u128;
        println!(
            "load {:.1} s: {} cells, apply {} ns a cell, persist {} ns a cell, longest persist {:.2} s",
            start.elapsed().as_secs_f64(),
            filling.cells,
            per_cell(filling.applied),
            per_cell(filling.persisted),
            filling.longest.as_secs_f64()
        );
        rest(&mut filling);
    } else {
        filling.epoch = filling.store.marks().applied.unwrap_or(0);
    }
    measure(&filling.store, "merged", 200);
    freshen(&mut filling);
    measure(&filling.store, "fresh", 200);
    filling.persist();
    drop(filling);
    measure_first(&dir, 20);
    let start = Instant::now();
    let found = verify(&RealDisk, &dir).expect("it can be listed");
    assert!(found.damages.is_empty(), "{:?}", found.damages);
    println!(
        "verified in {:.1} s: {} files, {} rows, {:.2} bytes a row",
        start.elapsed().as_secs_f64(),
        found.files,
        found.rows,
        found.bytes as f64 / found.rows as f64
    );
}
