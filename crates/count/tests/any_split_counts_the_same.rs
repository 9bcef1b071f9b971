//! However records are batched, partitioned, interrupted and shuffled between slots, every record
//! gets the verdict that plain sets and maps give it.
//!
//! The story: a counter is restarted, moved to another number of partitions, or reads epochs of
//! another size, and a click counts twice, or not at all, or the state differs from what it would
//! have been. One seed is one history; the naive judge decides what is right.

#![expect(clippy::print_stdout, reason = "the test tells how much it compared")]

mod traffic;

use std::collections::BTreeMap;
use std::ops::Range;

use reckon_count::naive::{Line, Recount, Sum};
use reckon_count::{Asked, FirstCopy, Folded, OpaqueKey, Policy, State, Totals, ask, fold};
use reckon_event::{Deltas, Position, Reason, Record, Timestamp, Verdict};
use traffic::{Random, Traffic};

const RECORDS: usize = 6_000;
const SEEDS: Range<u64> = 0..12;

/// Short, so that a history of a day passes all of them.
const POLICY: Policy = Policy {
    minted_horizon: 3 * Timestamp::HOUR,
    opaque_horizon: 5 * Timestamp::HOUR,
    unsigned_window: 10 * Timestamp::SECOND,
    appender_horizon: 4 * Timestamp::HOUR,
    rules_horizon: 1_000 * Timestamp::DAY,
};

/// So long that nothing is forgotten.
const ENDLESS: Policy = Policy {
    minted_horizon: 1_000 * Timestamp::DAY,
    opaque_horizon: 1_000 * Timestamp::DAY,
    unsigned_window: 10 * Timestamp::SECOND,
    appender_horizon: 1_000 * Timestamp::DAY,
    rules_horizon: 1_000 * Timestamp::DAY,
};

type Batch<'a> = Vec<(Position, Record<'a>)>;

/// All first copies ever noted, also those ahead of a restored state.
#[derive(Default)]
struct Ids(BTreeMap<(OpaqueKey, Position), FirstCopy>);

impl Ids {
    fn ask(&self, batch: &Batch<'_>) -> Vec<Option<Asked>> {
        let least = Position { partition: 0, offset: 0 };
        ask(batch, |key, position| {
            self.0.range((key, least)..(key, position)).next_back().map(|(_, copy)| *copy)
        })
    }

    fn insert(&mut self, new: &[(OpaqueKey, FirstCopy)]) {
        self.0.extend(new.iter().map(|(key, copy)| ((*key, copy.position), *copy)));
    }
}

/// What came of a history.
#[derive(Default)]
struct Outcome {
    /// By the record's place in the history.
    verdicts: BTreeMap<usize, Option<Verdict>>,
    deltas: Deltas,
    totals: Totals,
    state: State,
}

fn decode(bytes: &[u8]) -> Record<'_> {
    Record::decode_checked(bytes).expect("it was encoded here").0
}

/// Judges with plain sets and maps.
fn recount(history: &[Vec<u8>], policy: &Policy) -> (Vec<Option<Verdict>>, Recount) {
    let mut recount = Recount::default();
    let verdicts = history.iter().map(|bytes| recount.take(&decode(bytes), policy)).collect();
    (verdicts, recount)
}

/// Folds a history in `partitions`, in random batches, with restarts and replays in between.
fn fold_all(history: &[Vec<u8>], partitions: u16, random: &mut Random, policy: &Policy) -> Outcome {
    let mut outcome = Outcome::default();
    for partition in 0..partitions {
        let mine: Vec<usize> = (0..history.len())
            .filter(|&at| decode(&history[at]).slot.range_of(partitions) == partition)
            .collect();
        let state = fold_partition(history, &mine, partition, random, policy, &mut outcome);
        outcome.state.merge(state);
    }
    outcome
}

fn fold_partition(
    history: &[Vec<u8>],
    mine: &[usize],
    partition: u16,
    random: &mut Random,
    policy: &Policy,
    outcome: &mut Outcome,
) -> State {
    let (mut state, mut ids) = (State::new(), Ids::default());
    let mut saved = (Vec::new(), 0);
    let (mut at, mut furthest) = (0, 0);
    while at < mine.len() {
        let size_max = if random.percent(20) { 900 } else { 60 };
        let size = 1 + random.below(size_max) as usize;
        let end = (at + size).min(mine.len());
        let end = if at < furthest { end.min(furthest) } else { end };
        let batch: Batch<'_> = (at..end)
            .map(|n| {
                let offset = n as u64 * 3;
                (Position { partition, offset }, decode(&history[mine[n]]))
            })
            .collect();
        let folded = fold(&mut state, &batch, &ids.ask(&batch), policy);
        ids.insert(&folded.new_ids);
        if at >= furthest {
            outcome.note(&mine[at..end], folded);
            furthest = end;
        } else {
            let again = mine[at..end].iter().map(|n| outcome.verdicts[n]);
            assert!(again.eq(folded.verdicts), "a replay judges as the first time");
        }
        at = end;
        match random.below(12) {
            0 => saved = (state.encode(), at),
            1 => state = State::decode(&state.encode()).expect("as it was written"),
            2 if !saved.0.is_empty() => {
                state = State::decode(&saved.0).expect("as it was written");
                at = saved.1;
            }
            _ => {}
        }
    }
    state
}

impl Outcome {
    fn note(&mut self, places: &[usize], folded: Folded) {
        assert_eq!(folded.totals.seen(), places.len() as u64, "every record is in the sums");
        self.verdicts.extend(places.iter().copied().zip(folded.verdicts));
        self.deltas.merge(folded.deltas);
        self.totals.merge(&folded.totals);
    }

    /// By ad, minute, kind and verdict, as the judge sums.
    fn lines(&self) -> BTreeMap<Line, Sum> {
        let mut lines: BTreeMap<Line, Sum> = BTreeMap::new();
        for (cell, measure) in &self.deltas.cells {
            let minute = cell.second.div_euclid(60);
            let (kind, verdict) = (cell.kind, cell.verdict);
            let sum = lines.entry(Line { ad_key: cell.ad, minute, kind, verdict }).or_default();
            sum.count += measure.count as u64;
            sum.spend += measure.spend;
        }
        lines
    }
}

#[test]
fn batches_restarts_and_partitions_change_nothing() {
    let mut occurred = Totals::default();
    let mut compared = 0;
    for seed in SEEDS {
        let history = Traffic::new(seed, true).take(RECORDS);
        let (verdicts, judge) = recount(&history, &POLICY);
        let mut random = Random::new(seed ^ 0xABCD);
        let mut first_bytes = None;
        for partitions in [1, 7, 64] {
            let outcome = fold_all(&history, partitions, &mut random, &POLICY);
            for (at, expect) in verdicts.iter().enumerate() {
                assert_eq!(outcome.verdicts[&at], *expect, "seed {seed}, record {at}");
                compared += 1;
            }
            assert_eq!(outcome.totals, judge.totals);
            assert_eq!(outcome.state.totals(), judge.totals);
            assert_eq!(outcome.totals.seen(), RECORDS as u64);
            assert_eq!(outcome.lines(), judge.lines);
            let bytes = outcome.state.encode();
            let first = first_bytes.get_or_insert_with(|| bytes.clone());
            assert!(*first == bytes, "seed {seed}: another state in {partitions} partitions");
        }
        occurred.merge(&judge.totals);
    }
    tell(&occurred, compared);
}

/// Prints what occurred; a verdict that never did proves nothing about it.
fn tell(occurred: &Totals, compared: usize) {
    println!("compared {compared} verdicts; {} redelivered", occurred.redelivered);
    let mut by_verdict: BTreeMap<Verdict, u64> = BTreeMap::new();
    for (_, verdict, count) in occurred.iter() {
        *by_verdict.entry(verdict).or_default() += count;
    }
    for verdict in Verdict::all() {
        let count = by_verdict.get(&verdict).copied().unwrap_or(0);
        println!("  {verdict:16} {count}");
        let is_behavioural = matches!(
            verdict,
            Verdict::Invalid(Reason::RapidUser | Reason::RapidIp | Reason::RapidIpAgent)
        );
        assert!(count > 0 || is_behavioural, "{verdict} never occurred");
    }
    assert!(occurred.redelivered > 0 && occurred.skipped > 0 && compared > 0);
}

#[test]
fn shuffling_between_slots_changes_nothing() {
    let mut compared = 0;
    for seed in SEEDS {
        let history = Traffic::new(seed, true).take(RECORDS);
        let (verdicts, _) = recount(&history, &POLICY);
        let mut random = Random::new(seed);
        let order = shuffle_between_slots(&history, &mut random);
        assert_ne!(order, (0..RECORDS).collect::<Vec<_>>());
        let shuffled: Vec<Vec<u8>> = order.iter().map(|&at| history[at].clone()).collect();
        let outcome = fold_all(&shuffled, 1, &mut random, &POLICY);
        for (now, &before) in order.iter().enumerate() {
            assert_eq!(outcome.verdicts[&now], verdicts[before], "seed {seed}, record {before}");
            compared += 1;
        }
    }
    println!("compared {compared} verdicts");
}

/// An order in which each slot keeps its own.
fn shuffle_between_slots(history: &[Vec<u8>], random: &mut Random) -> Vec<usize> {
    let mut queues: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for (at, bytes) in history.iter().enumerate().rev() {
        queues.entry(decode(bytes).slot.number()).or_default().push(at);
    }
    let slots: Vec<u16> = queues.keys().copied().collect();
    let mut order = Vec::new();
    while order.len() < history.len() {
        order.extend(queues.get_mut(&random.pick(&slots)).and_then(Vec::pop));
    }
    order
}

#[test]
fn shuffling_copies_of_an_id_leaves_which_ids_count_and_the_totals() {
    let mut moved = 0;
    for seed in SEEDS {
        let history = one_payload_each(&Traffic::new(seed, false).take(RECORDS));
        let mut random = Random::new(seed);
        let mut shuffled = history.clone();
        for places in copies(&history).values() {
            for n in (1..places.len()).rev() {
                let other = random.below(n as u64 + 1) as usize;
                shuffled.swap(places[n], places[other]);
                moved += usize::from(n != other);
            }
        }
        let before = fold_all(&history, 1, &mut random, &ENDLESS);
        let after = fold_all(&shuffled, 1, &mut random, &ENDLESS);
        assert_eq!(counted_ids(&history, &before), counted_ids(&shuffled, &after));
        assert_eq!(before.totals, after.totals, "seed {seed}");
    }
    assert!(moved > 1_000, "only {moved} copies were moved");
    println!("moved {moved} copies");
}

/// Without record ids, so that no append is dropped, without what depends on the order by design
/// (unsigned clicks, conflicts).
fn one_payload_each(history: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut plain = Vec::new();
    for bytes in history {
        let mut record = decode(bytes);
        if record.outcome == Verdict::Unsigned {
            continue;
        }
        record.id = Default::default();
        record.payload_digest = 77;
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        reckon_event::stamp(&mut bytes, Default::default()).expect("it was encoded here");
        plain.push(bytes);
    }
    plain
}

/// The id a record is deduplicated by, written out, with its kind: copies are of one kind.
fn id_of(record: &Record<'_>) -> Option<String> {
    let opaque =
        || reckon_count::opaque_key(record).map(|key| format!("{:?} {}", record.kind, key.0));
    let minted = record.claims.map(|claims| format!("{:?} {}", record.kind, claims.impression));
    match record.kind.code() {
        1..=3 => minted.or_else(opaque),
        _ => opaque(),
    }
}

fn copies(history: &[Vec<u8>]) -> BTreeMap<String, Vec<usize>> {
    let mut copies: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, bytes) in history.iter().enumerate() {
        if let Some(id) = id_of(&decode(bytes)) {
            copies.entry(id).or_default().push(at);
        }
    }
    copies
}

fn counted_ids(history: &[Vec<u8>], outcome: &Outcome) -> Vec<String> {
    let counted = |at: &usize| outcome.verdicts[at] == Some(Verdict::Counted);
    let mut ids: Vec<String> =
        (0..history.len()).filter(counted).filter_map(|at| id_of(&decode(&history[at]))).collect();
    ids.sort();
    ids
}

#[test]
fn the_first_append_of_a_slot_is_known_when_it_comes_again() {
    let slot = reckon_event::Slot::new(7).expect("a slot");
    let mut click = Record::new(reckon_event::Kind::Click, slot, Timestamp(1_795_255_200_000_000));
    click.id = reckon_event::RecordId { appender: 1, sequence: 1 };
    let place = |offset| Position { partition: 0, offset };
    let batch = [(place(0), click), (place(1), click)];
    let folded = fold(&mut State::new(), &batch, &[None, None], &POLICY);
    assert_eq!(
        folded.verdicts,
        [Some(Verdict::Counted), None],
        "it names no id: it would count twice"
    );
    let mut naive = Recount::default();
    let judged = batch.map(|(_, record)| naive.take(&record, &POLICY));
    assert_eq!(judged.as_slice(), folded.verdicts);
}
