//! Both stages of counting, step by step with a watch in hand.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use reckon_count::rules::{CLOSED_AFTER, Judged, MinuteKey, MinuteSet, RuleSet, Survivor, judge};
use reckon_count::{Asked, Folded, Policy, State, Totals, fold_into, opaque_key};
use reckon_event::{Cell, Deltas, Kind, Measure, Position, Record, Revision, Timestamp, Verdict};

/// As the pipeline's: a part stays in the cache until it is done.
const PART_RECORDS: usize = 1_000;

/// Counts in memory, one epoch after the other.
pub struct Counter {
    state: State,
    policy: Policy,
    rules: RuleSet,
    minutes: BTreeMap<MinuteKey, MinuteSet>,
    /// The last minute that was judged, for rules that look back.
    before: Option<(MinuteKey, MinuteSet)>,
    watermark: Timestamp,
    offset: u64,
    bytes: u64,
    revisions: u64,
    spent: Spent,
}

/// Time by step.
#[derive(Default)]
struct Spent {
    all: Duration,
    processor: f64,
    decode: Duration,
    fold: Duration,
    keep: Duration,
    judge: Duration,
    free: Duration,
    /// Of the fold: adding to the deltas, measured beside it.
    deltas: Duration,
}

impl Counter {
    /// Has counted nothing.
    pub fn new(rules: RuleSet) -> Self {
        Counter {
            state: State::new(),
            policy: Policy::default(),
            rules,
            minutes: BTreeMap::new(),
            before: None,
            watermark: Timestamp::MIN,
            offset: 0,
            bytes: 0,
            revisions: 0,
            spent: Spent::default(),
        }
    }

    /// Counts the records in `bytes`, at most so many; a tick at the end lets time go on.
    pub fn epoch(&mut self, bytes: &[u8], records_max: u64, tick: Option<Timestamp>) {
        let (start, worked) = (Instant::now(), processor_seconds());
        let mut records = Vec::with_capacity(records_max as usize);
        let mut folded = Folded::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let first = records.len();
            let began = Instant::now();
            rest = self.decode(rest, &mut records);
            self.spent.decode += began.elapsed();
            self.fold(&records[first..], &mut folded);
        }
        self.watermark = self.watermark.max(tick.unwrap_or_default());
        let began = Instant::now();
        let revisions = self.judge();
        for revision in &revisions {
            revision.add_to(&mut folded.deltas);
            self.state.revise(revision);
        }
        self.spent.judge += began.elapsed();
        self.revisions += revisions.len() as u64;
        self.bytes += bytes.len() as u64;
        // Whoever subscribes would have it now.
        black_box((&folded, &revisions));
        let (paused, beside) = (Instant::now(), processor_seconds());
        let cells = cells_of(&records, &folded);
        self.spent.deltas += time_deltas(&cells);
        drop(cells);
        let (paused, beside) = (paused.elapsed(), processor_seconds() - beside);
        let began = Instant::now();
        drop((records, folded, revisions));
        self.spent.free += began.elapsed();
        self.spent.all += start.elapsed() - paused;
        self.spent.processor += processor_seconds() - worked - beside;
    }

    fn decode<'a>(
        &mut self,
        mut bytes: &'a [u8],
        records: &mut Vec<(Position, Record<'a>)>,
    ) -> &'a [u8] {
        for _ in 0..PART_RECORDS {
            if bytes.is_empty() {
                break;
            }
            let (record, length) = Record::decode(bytes).expect("encoded here");
            records.push((Position { partition: 0, offset: self.offset }, record));
            self.watermark = self.watermark.max(record.received);
            self.offset += 1;
            bytes = &bytes[length..];
        }
        bytes
    }

    fn fold(&mut self, part: &[(Position, Record<'_>)], folded: &mut Folded) {
        let began = Instant::now();
        let ask = |record| opaque_key(record).map(|key| Asked { key, first: None });
        let seen: Vec<Option<Asked>> = part.iter().map(|(_, record)| ask(record)).collect();
        fold_into(&mut self.state, part, &seen, &self.policy, folded);
        let folded_at = Instant::now();
        self.spent.fold += folded_at - began;
        self.keep(&folded.survivors);
        folded.survivors.clear();
        self.spent.keep += folded_at.elapsed();
    }

    /// Survivors wait for the end of their minute.
    fn keep(&mut self, survivors: &[Survivor]) {
        for click in survivors {
            let key = MinuteKey::of(click.class, click.happened);
            self.minutes.entry(key).or_default().push(click);
        }
    }

    /// Judges every minute that the watermark has passed.
    fn judge(&mut self) -> Vec<Revision> {
        let mut revisions = Vec::new();
        let closed = |key: &MinuteKey| key.end().plus(CLOSED_AFTER) <= self.watermark;
        while let Some(minute) = self.minutes.first_entry().filter(|entry| closed(entry.key())) {
            let (key, set) = minute.remove_entry();
            let before = self.before.as_ref().filter(|(before, _)| *before == key.before());
            let before = before.map(|(_, set)| Judged::first(set, set.rows.len()));
            let verdicts = judge(&self.rules, Judged::first(&set, set.rows.len()), before);
            for (row, verdict) in set.rows.iter().zip(verdicts) {
                if verdict != Verdict::Counted {
                    let change = (Verdict::Counted, verdict);
                    revisions.push(set.revision(key, row, change, self.rules.version));
                }
            }
            self.before = Some((key, set));
        }
        revisions
    }

    /// How many records got which verdict.
    pub fn totals(&self) -> Totals {
        self.state.totals()
    }

    /// Prints a line a figure.
    pub fn report(&self) {
        let Spent { all, processor, decode, fold, keep, judge, free, deltas } = &self.spent;
        let records = self.offset as f64;
        println!("{:<18} {}", "records", self.offset);
        println!("{:<18} {:.0}", "bytes_a_record", self.bytes as f64 / records);
        println!("{:<18} {}", "revisions", self.revisions);
        println!("{:<18} {:.0} of wall time, one thread", "a_second", records / all.as_secs_f64());
        println!("{:<18} {:.0} of processor time", "a_second_core", records / processor);
        let step = |name: &str, time: Duration, what: &str| {
            let nanos = time.as_secs_f64() * 1e9 / records;
            let share = 100.0 * time.as_secs_f64() / all.as_secs_f64();
            println!("{name:<18} {nanos:6.1} ns {share:5.1} %  {what}");
        };
        step("decode", *decode, "bytes to records");
        step("dedup", fold.saturating_sub(*deltas), "ids, the edge's outcome, verdicts");
        step("deltas", *deltas, "sums by cell, measured beside the fold and taken off it");
        step("keep", *keep, "survivors to their minutes");
        step("rules", *judge, "closed minutes judged, revisions");
        step("free", *free, "memory of an epoch given back");
    }
}

/// What the fold has added to its deltas, in the order of the records.
fn cells_of(records: &[(Position, Record<'_>)], folded: &Folded) -> Vec<Cell> {
    let cell = |(record, verdict): (&Record<'_>, Verdict)| Cell {
        second: record.happened.seconds(),
        tenant: record.tenant,
        ad: record.ad_key,
        campaign: record.campaign_key,
        region: reckon_event::name_key(record.region),
        device: reckon_event::name_key(record.device),
        placement: reckon_event::name_key(record.placement),
        position: record.position,
        kind: record.kind,
        verdict,
        currency: record.currency,
    };
    let judged = records.iter().zip(&folded.verdicts);
    let is_summed = |record: &Record<'_>| record.kind != Kind::Adjustment;
    judged
        .filter_map(|((_, record), verdict)| Some((record, (*verdict)?)))
        .filter(|(record, _)| is_summed(record))
        .map(cell)
        .collect()
}

/// How long it takes to add all of them to deltas that are new.
fn time_deltas(cells: &[Cell]) -> Duration {
    let began = Instant::now();
    let mut deltas = Deltas::default();
    for cell in cells {
        deltas.add(*cell, Measure { count: 1, spend: 0 });
    }
    let time = began.elapsed();
    black_box(&deltas);
    time
}

/// Time this thread has run, so that neighbours on the machine do not count.
pub fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanos: f64 = text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    nanos / 1e9
}
