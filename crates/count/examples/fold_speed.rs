//! How fast records are counted, step by step, and how many bits an impression takes.
//!
//! `cargo run --release -p reckon-count --example fold_speed [impressions a second]`
//!
//! One simulated hour of minted impressions and clicks, as the edge writes them (claims, three
//! dimensions, tag, agent), over 1,024 slots, is decoded and folded in batches of 1,000, as the pipeline does.

#![expect(clippy::print_stdout, reason = "an example that prints figures")]

use std::hint::black_box;
use std::time::Instant;

use reckon_count::{Asked, Policy, State, fold};
use reckon_event::{
    Claims, Currency, ImpressionId, Kind, Position, Pseudonym, Record, RecordId, SLOT_COUNT, Slot,
    TenantId, Timestamp, stamp,
};

const BATCH: usize = 1_000;
const SECONDS: u64 = 3_600;
const ADS: u64 = 1_000;

fn main() {
    let rate = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let mut mint = Mint::new();
    let mut spent = Spent::default();
    let mut state = State::new();
    let impressions = rate * SECONDS;
    let mut log = Vec::new();
    for batch in 0..impressions.div_ceil(BATCH as u64) {
        let count = (impressions - batch * BATCH as u64).min(BATCH as u64);
        for n in 0..count {
            let at = (batch * BATCH as u64 + n) * 1_000_000 / rate;
            mint.impression(&mut log, at);
        }
        spent.fold(&mut state, &log);
        log.clear();
        for _ in 0..count / 10 {
            mint.click(&mut log);
        }
        spent.fold(&mut state, &log);
        log.clear();
    }
    report(&spent, &state, impressions);
    compare_with_roaring(&mint);
}

/// Time by step.
#[derive(Default)]
struct Spent {
    records: u64,
    decode: f64,
    fold: f64,
    clicks: u64,
    fold_clicks: f64,
}

impl Spent {
    fn fold(&mut self, state: &mut State, log: &[u8]) {
        let start = processor_seconds();
        let mut batch = Vec::with_capacity(BATCH);
        let mut at = 0;
        while at < log.len() {
            let (record, length) = Record::decode(&log[at..]).expect("encoded here");
            batch.push((Position { partition: 0, offset: at as u64 }, record));
            at += length;
        }
        let decoded = processor_seconds();
        let seen: Vec<Option<Asked>> = vec![None; batch.len()];
        let folded = fold(state, &batch, &seen, &Policy::default());
        black_box(&folded);
        let seconds = processor_seconds() - decoded;
        self.records += batch.len() as u64;
        self.decode += decoded - start;
        self.fold += seconds;
        if batch.first().is_some_and(|(_, record)| record.kind == Kind::Click) {
            self.clicks += batch.len() as u64;
            self.fold_clicks += seconds;
        }
    }
}

/// Time this thread has run, so that neighbours on the machine do not count.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanos: f64 = text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    nanos / 1e9
}

/// Mints impressions slot by slot and remembers enough of them to click.
struct Mint {
    random: u64,
    record: u64,
    next: Vec<u32>,
    clicked: Vec<(u16, u32)>,
}

impl Mint {
    fn new() -> Self {
        let next = vec![0; usize::from(SLOT_COUNT)];
        Mint { random: 1, record: 0, next, clicked: Vec::new() }
    }

    const fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn impression(&mut self, log: &mut Vec<u8>, micros: u64) {
        let slot = (self.random() >> 54) as u16;
        let sequence = self.next[usize::from(slot)];
        self.next[usize::from(slot)] += 1;
        self.write(log, Kind::Impression, slot, sequence, micros);
    }

    fn click(&mut self, log: &mut Vec<u8>) {
        let slot = (self.random() >> 54) as u16;
        let minted = self.next[usize::from(slot)].max(1);
        let recent = (self.random() % u64::from(minted.min(2_000))) as u32;
        let sequence = minted - 1 - recent;
        self.clicked.push((slot, sequence));
        self.write(log, Kind::Click, slot, sequence, 3_599_000_000);
    }

    fn write(&mut self, log: &mut Vec<u8>, kind: Kind, slot: u16, sequence: u32, micros: u64) {
        let start = Timestamp(1_795_255_200_000_000);
        let received = start.plus(micros as i64);
        let ad_key = self.random() % ADS + 1;
        let slot = Slot::new(slot).expect("ten bits");
        let mut record = Record {
            ip_tag: self.random(),
            agent_key: 7,
            region: ["DE-BE", "DE-BY", "FR-75", "US-CA"][(ad_key % 4) as usize],
            device: ["mobile", "desktop", "tablet"][(ad_key % 3) as usize],
            placement: "top",
            ..Record::new(kind, slot, received)
        };
        record.adopt(Claims {
            tenant: TenantId(1),
            impression: ImpressionId { incarnation: 1, slot, hour: start.hour(), sequence },
            ad_key,
            campaign_key: ad_key / 10,
            price: 250_000,
            currency: Currency::EUR,
            user: Pseudonym(u128::from(self.random())),
            issued_at: received,
            expires_at: received.plus(Timestamp::DAY),
            model_version: 1,
            delta_version: 1,
            prediction_id: 1,
            arm: 0,
            propensity: 1.0,
            position: 1,
            explored: false,
            consent: 1,
        });
        self.record += 1;
        let from = log.len();
        record.encode(log);
        let id = RecordId { appender: 1, sequence: self.record };
        stamp(&mut log[from..], id).expect("encoded here");
    }
}

fn report(spent: &Spent, state: &State, impressions: u64) {
    let each = |seconds: f64, records: u64| seconds * 1e9 / records as f64;
    let (decode, fold) = (each(spent.decode, spent.records), each(spent.fold, spent.records));
    println!("records            {}", spent.records);
    println!("decode             {decode:.0} ns a record");
    println!("fold and deltas    {fold:.0} ns a record");
    println!("  of clicks        {:.0} ns", each(spent.fold_clicks, spent.clicks));
    println!("together           {:.2} M records/s on one core", 1e3 / (decode + fold));
    let [shown, _, clicks] = state.minted_bytes();
    let bits = |bytes: usize| bytes as f64 * 8.0 / impressions as f64;
    println!("impressions        {:.2} bits each", bits(shown));
    println!("clicks             {:.2} bits an impression shown", bits(clicks));
    println!("state              {:.2} bits an impression shown", bits(state.heap_bytes()));
    let start = Instant::now();
    let bytes = state.encode();
    let took = start.elapsed().as_secs_f64() * 1e3;
    println!("checkpoint         {} KiB in {took:.0} ms", bytes.len() >> 10);
}

fn compare_with_roaring(mint: &Mint) {
    let minted: u64 = mint.next.iter().map(|&count| u64::from(count)).sum();
    let mut sets = vec![roaring::RoaringBitmap::new(); usize::from(SLOT_COUNT)];
    for (set, &count) in sets.iter_mut().zip(&mint.next) {
        set.insert_range(0..count);
        set.remove_run_compression();
    }
    let shown = roaring_bytes(&sets);
    let mut sets = vec![roaring::RoaringBitmap::new(); usize::from(SLOT_COUNT)];
    for &(slot, sequence) in &mint.clicked {
        sets[usize::from(slot)].insert(sequence);
    }
    let bits = |bytes: u64| bytes as f64 * 8.0 / minted as f64;
    println!(
        "roaring's          {:.2} bits an impression, {:.2} for its clicks",
        bits(shown),
        bits(roaring_bytes(&sets))
    );
}

fn roaring_bytes(sets: &[roaring::RoaringBitmap]) -> u64 {
    sets.iter().map(|set| set.serialized_size() as u64).sum()
}
