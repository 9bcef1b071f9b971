//! One seed, one history of epochs, and a plain list of everything that was handed over.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{UInt8Type, UInt16Type, UInt64Type};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use reckon_event::{
    Applied, Bound, Cell, Counted, Currency, Deltas, Epoch, Kind, Position, Pseudonym, Record,
    RecordId, Revision, Slot, Subscriber, SubscriberError, TenantId, Timestamp, Verdict,
};

use crate::{LakePlace, Manifest, Table};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    /// The next of its 64-bit numbers.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One below a bound.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What one epoch brings.
pub struct Step {
    /// Records, by their place.
    pub records: Vec<(Position, Record<'static>)>,
    /// One a record.
    pub verdicts: Vec<Option<Verdict>>,
    /// What was judged again.
    pub revisions: Vec<Revision>,
    /// How far time is.
    pub watermark: Timestamp,
    /// How far each partition is.
    pub bounds: Vec<Bound>,
}

/// A row of the lake as the plain list has it: epoch, partition, offset, then verdict or ordinal and
/// verdict.
pub type Line = (u64, u16, u64, Option<u8>);

const START: i64 = 1_795_255_200_000_000;
const IPS: [&str; 3] = ["203.0.113.0", "198.51.100.0", "2001:db8::"];
const INSTALLS: [&str; 4] = ["", "phone", "tablet", "watch"];
const NAMES: [&str; 3] = ["", "north", "south"];
const IDS: [&str; 4] = ["", "a", "b", "c"];

/// Epochs from 1 on, each with up to `records_max` records over `hours` hours and two tenants.
pub fn history(seed: u64, epochs: u64, records_max: u64, hours: i64) -> Vec<Step> {
    let mut random = Random(seed);
    let mut offsets = [0_u64; 2];
    (1..=epochs)
        .map(|number| step(&mut random, &mut offsets, number, epochs, records_max, hours))
        .collect()
}

fn step(
    random: &mut Random,
    offsets: &mut [u64; 2],
    number: u64,
    epochs: u64,
    records_max: u64,
    hours: i64,
) -> Step {
    let from = *offsets;
    let now = START + hours * Timestamp::HOUR * number as i64 / epochs as i64;
    let mut records = Vec::new();
    let mut verdicts = Vec::new();
    for _ in 0..random.below(records_max + 1) {
        let partition = random.below(2) as u16;
        let offset = &mut offsets[usize::from(partition)];
        let position = Position { partition, offset: *offset };
        *offset += 1 + random.below(3);
        let record = record(random, position, now);
        let is_counted = !matches!(record.kind, Kind::Control | Kind::Prediction);
        let codes = [1, 1, 1, 2, 5, 21];
        let verdict = Verdict::from_code(codes[random.below(6) as usize]);
        records.push((position, record));
        verdicts.push(verdict.filter(|_| is_counted && random.below(30) > 0));
    }
    let picked = records.iter().filter(|_| random.below(9) == 0).map(|(at, r)| revision(*at, r));
    Step {
        revisions: picked.collect(),
        bounds: (0..2)
            .map(|at| Bound {
                partition: at,
                from: from[usize::from(at)],
                to: offsets[usize::from(at)],
            })
            .collect(),
        watermark: Timestamp(now),
        records,
        verdicts,
    }
}

fn record(random: &mut Random, position: Position, now: i64) -> Record<'static> {
    let slot = Slot::new(random.below(1_024) as u16).expect("below 1,024");
    let received = Timestamp(now - random.below(25) as i64 * Timestamp::MINUTE);
    let kinds = [
        Kind::Click,
        Kind::Click,
        Kind::Impression,
        Kind::Conversion,
        Kind::Control,
        Kind::Prediction,
    ];
    let kind = kinds[random.below(6) as usize];
    let is_person = kind != Kind::Control;
    Record {
        id: RecordId {
            appender: 1,
            sequence: u64::from(position.partition) << 40 | position.offset,
        },
        tenant: TenantId(1 + random.below(2) as u32),
        happened: received.plus(-(random.below(600) as i64) * Timestamp::MINUTE),
        ad_key: random.below(5),
        campaign_key: 7,
        price: random.below(1_000) as i64,
        currency: Currency::EUR,
        user: Pseudonym(if is_person { u128::from(random.below(4)) } else { 0 }),
        ip_tag: random.below(3),
        agent_key: random.below(3),
        ip: IPS.get(random.below(4) as usize).and_then(|ip| ip.parse().ok()),
        event_id: IDS[random.below(4) as usize],
        region: NAMES[random.below(3) as usize],
        install_id: INSTALLS[random.below(4) as usize],
        session_id: IDS[random.below(4) as usize],
        session_sequence: (random.below(2) == 0).then_some(position.offset),
        payload: if kind == Kind::Prediction { b"row" } else { b"" },
        ..Record::new(kind, slot, received)
    }
}

fn revision(position: Position, record: &Record<'static>) -> Revision {
    Revision {
        position,
        slot: record.slot,
        happened: record.happened,
        cell: Cell {
            second: record.happened.seconds(),
            tenant: record.tenant,
            ad: record.ad_key,
            campaign: record.campaign_key,
            region: 0,
            device: 0,
            placement: 0,
            position: 0,
            kind: record.kind,
            verdict: Verdict::Counted,
            currency: record.currency,
        },
        verdict: Verdict::Duplicate,
        price: record.price,
        rules_version: 3,
    }
}

/// Hands over epoch `number` (from 1).
///
/// # Panics
/// Where the history has no such epoch.
pub fn hand(
    to: &mut dyn Subscriber,
    steps: &[Step],
    number: u64,
    generation: u32,
) -> Result<Applied, SubscriberError> {
    let step = &steps[number as usize - 1];
    let epoch = Epoch { stage: 1, group: 0, generation, number, bounds: step.bounds.clone() };
    let deltas = Deltas::default();
    let counted = Counted {
        records: &step.records,
        verdicts: &step.verdicts,
        revisions: &step.revisions,
        deltas: &deltas,
        watermark: step.watermark,
    };
    to.apply(&epoch, &counted)
}

/// Everything in the first `epochs` epochs, sorted.
pub fn handed_over(steps: &[Step], epochs: u64) -> (Vec<Line>, Vec<Line>) {
    let (mut records, mut revisions) = (Vec::new(), Vec::new());
    for (epoch, step) in (1..=epochs).zip(steps) {
        for ((position, _), verdict) in step.records.iter().zip(&step.verdicts) {
            let code = verdict.map(Verdict::code);
            records.push((epoch, position.partition, position.offset, code));
        }
        for revision in &step.revisions {
            let Position { partition, offset } = revision.position;
            revisions.push((epoch, partition, offset, Some(revision.verdict.code())));
        }
    }
    records.sort_unstable();
    revisions.sort_unstable();
    (records, revisions)
}

/// The batches of a table as the newest manifest names them, by the name of their file.
///
/// # Panics
/// Where there is no lake, or one of its files cannot be read.
pub fn batches(place: &LakePlace, table: Table) -> BTreeMap<String, Vec<RecordBatch>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let manifest = runtime.block_on(Manifest::latest(place)).expect("it reads").expect("a lake");
    let mut found = BTreeMap::new();
    for file in manifest.files.iter().filter(|file| file.table == table) {
        let bytes = runtime
            .block_on(async { place.objects().get(&place.object(&file.path)).await?.bytes().await })
            .expect("a file the manifest names");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(|builder| builder.build())
            .expect("Parquet");
        let batches: Vec<_> = reader.collect::<Result<_, _>>().expect("rows");
        found.insert(file.path.clone(), batches);
    }
    found
}

/// Everything that is in the lake, sorted.
///
/// # Panics
/// Where it cannot be read.
pub fn in_lake(place: &LakePlace) -> (Vec<Line>, Vec<Line>) {
    let lines = |table| {
        let mut lines: Vec<Line> =
            batches(place, table).values().flatten().flat_map(lines_of).collect();
        lines.sort_unstable();
        lines
    };
    (lines(Table::Records), lines(Table::Revisions))
}

pub(super) fn lines_of(rows: &RecordBatch) -> Vec<Line> {
    let column = |name: &str| rows.column_by_name(name).expect("a column").clone();
    let (epochs, partitions) = (column("epoch"), column("log_partition"));
    let (offsets, verdicts) = (column("log_offset"), column("verdict"));
    (0..rows.num_rows())
        .map(|row| {
            let verdict = verdicts.as_primitive::<UInt8Type>();
            (
                epochs.as_primitive::<UInt64Type>().value(row),
                partitions.as_primitive::<UInt16Type>().value(row),
                offsets.as_primitive::<UInt64Type>().value(row),
                verdict.is_valid(row).then(|| verdict.value(row)),
            )
        })
        .collect()
}
