//! Served rows, computed once more: is what models are trained on what the records say it should have been?
//!
//! The lake has every record with its verdict and the epoch it was counted in. So its events are counted
//! into fresh pasts, epoch by epoch as they were the first time, and at the cut of each sampled request its
//! columns are computed again and held against those that were logged. It shares the arithmetic of pasts with
//! serving, and nothing of its state: files, restarts, room, and forgotten or doubled epochs are what it finds.
//!
//! What a request said of itself is taken from the impression that followed. Where that said something else,
//! by the fields that were logged, the row says nothing of pasts and is left out. Columns that rest on no past
//! are not compared: what profile and catalog said then is nowhere else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{
    Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use reckon_event::{
    Bound, Consent, Epoch, Kind, Position, Pseudonym, Record, ServedRows, Slot, TenantId,
    Timestamp, Verdict, prediction_id,
};
use reckon_feature::plan::Token;
use reckon_feature::skew::Skew;
use reckon_feature::{
    Ad, Candidate, Change, Happened, Parts, Pasts, PastsOptions, Plan, Request, Rows, Views,
};
use reckon_lake::{LakeReader, Table};

/// Events that are held in memory at once, some 150 bytes each.
const EVENTS_MAX: usize = 4_000_000;

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Requests that were computed again.
    pub requests: usize,
    /// Their rows that were shown, column by column of [`Compared::names`].
    pub skew: Skew,
    /// Columns that rest on pasts.
    pub names: Vec<String>,
    /// Rows left out: their impression says something else than their request.
    pub unlike: u64,
    /// Pasts that were let go of for want of room: what rested on them differs.
    pub evicted: u64,
}

impl Compared {
    /// What differs, the column that differs most often first.
    pub fn findings(&self) -> Vec<String> {
        let mut apart: Vec<(u64, &str)> = self
            .skew
            .columns_apart
            .iter()
            .zip(&self.names)
            .filter(|(count, _)| **count > 0)
            .map(|(&count, name)| (count, name.as_str()))
            .collect();
        apart.sort_unstable_by(|one, other| other.cmp(one));
        apart.into_iter().map(|(count, name)| format!("{name} differs in {count} rows")).collect()
    }
}

/// A counted event, where it stands and when it was counted.
type Event = (u64, Position, Happened);

/// A request that is computed again.
struct Sampled {
    user: Pseudonym,
    tenant: TenantId,
    rows: ServedRows,
}

/// Everything that is read of a lake.
#[derive(Default)]
struct Read {
    events: Vec<Event>,
    revisions: Vec<(u64, Position, bool)>,
    /// By a hash of the request: those with the least are the sample.
    sample: BTreeMap<u64, Vec<Sampled>>,
    /// What the counted impression of a row says of where it was.
    shown: HashMap<(TenantId, u64), Parts>,
    /// By partition and epoch, the first offset.
    firsts: BTreeMap<(u16, u64), u64>,
}

/// Computes up to `requests_max` served requests of a plan again, spread over all of the lake.
///
/// # Errors
/// Where the lake cannot be read, or has more events than fit into memory.
pub fn compare(
    lake: &LakeReader,
    plan: &Arc<Plan>,
    options: PastsOptions,
    requests_max: usize,
) -> Result<Compared> {
    let mut read = read(lake, plan, requests_max)?;
    read.events.sort_unstable_by_key(|&(epoch, position, _)| (epoch, position));
    read.revisions.sort_by_key(|&(epoch, ..)| epoch);
    let mut due: BTreeMap<u64, Vec<&Sampled>> = BTreeMap::new();
    for sampled in read.sample.values().flatten() {
        due.entry(read.epoch_of(&sampled.rows.columns_cut)).or_default().push(sampled);
    }
    let mut again = Again::new(plan, options);
    again.look(due.remove(&0).unwrap_or_default(), &read.shown);
    let (mut events, mut revisions) = (read.events.as_slice(), read.revisions.as_slice());
    let epochs: BTreeSet<u64> = events
        .iter()
        .map(|it| it.0)
        .chain(revisions.iter().map(|it| it.0))
        .chain(due.keys().copied())
        .collect();
    for epoch in epochs {
        if due.is_empty() {
            break;
        }
        let (now, later) = events.split_at(events.partition_point(|it| it.0 <= epoch));
        let (revised, more) = revisions.split_at(revisions.partition_point(|it| it.0 <= epoch));
        (events, revisions) = (later, more);
        again.count(now, revised)?;
        again.look(due.remove(&epoch).unwrap_or_default(), &read.shown);
    }
    Ok(again.compared())
}

impl Read {
    /// The epoch that a cut was made by; 0 before the first.
    fn epoch_of(&self, cut: &[u64]) -> u64 {
        let is_below = |(&(partition, epoch), &first): (&(u16, u64), &u64)| {
            let end = cut.get(usize::from(partition)).copied().unwrap_or(0);
            (first < end).then_some(epoch)
        };
        self.firsts.iter().filter_map(is_below).max().unwrap_or(0)
    }

    fn sample(&mut self, sampled: Sampled, requests_max: usize) {
        let mixed = sampled.rows.request.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
        self.sample.entry(mixed).or_default().push(sampled);
        if self.sample.len() > requests_max {
            self.sample.pop_last();
        }
    }
}

const COLUMNS: [&str; 21] = [
    "epoch",
    "log_partition",
    "log_offset",
    "kind",
    "verdict",
    "tenant",
    "happened",
    "ad_key",
    "campaign_key",
    "category_key",
    "price",
    "pseudonym",
    "consent",
    "prediction_id",
    "value",
    "region",
    "device",
    "placement",
    "item_id",
    "slot",
    "payload",
];

fn read(lake: &LakeReader, plan: &Plan, requests_max: usize) -> Result<Read> {
    let mut read = Read::default();
    for file in &lake.manifest().files {
        if file.table == Table::Revisions {
            let columns = ["epoch", "log_partition", "log_offset", "verdict", "ordinal"];
            for rows in lake.rows(file, &columns)? {
                revisions(&rows?, &mut read.revisions);
            }
            continue;
        }
        for rows in lake.rows(file, &COLUMNS)? {
            records(&rows?, plan, requests_max, &mut read)?;
        }
        let count = read.events.len();
        ensure!(
            count <= EVENTS_MAX,
            "the lake has more than the {EVENTS_MAX} events that are counted again in memory"
        );
    }
    Ok(read)
}

fn revisions(rows: &RecordBatch, out: &mut Vec<(u64, Position, bool)>) {
    let epochs = rows.column(0).as_primitive::<UInt64Type>();
    let partitions = rows.column(1).as_primitive::<UInt16Type>();
    let offsets = rows.column(2).as_primitive::<UInt64Type>();
    let verdicts = rows.column(3).as_primitive::<UInt8Type>();
    for row in 0..rows.num_rows() {
        let position = Position { partition: partitions.value(row), offset: offsets.value(row) };
        out.push((epochs.value(row), position, verdicts.value(row) == Verdict::Counted.code()));
    }
}

fn records(rows: &RecordBatch, plan: &Plan, requests_max: usize, read: &mut Read) -> Result<()> {
    let byte = |at: usize| rows.column(at).as_primitive::<UInt8Type>();
    let long = |at: usize| rows.column(at).as_primitive::<UInt64Type>();
    let text = |at: usize| rows.column(at).as_string::<i32>();
    let (epochs, offsets, kinds, verdicts) = (long(0), long(2), byte(3), byte(4));
    let partitions = rows.column(1).as_primitive::<UInt16Type>();
    let tenants = rows.column(5).as_primitive::<UInt32Type>();
    let happened = rows.column(6).as_primitive::<TimestampMicrosecondType>();
    let prices = rows.column(10).as_primitive::<Int64Type>();
    let values = rows.column(14).as_primitive::<Int64Type>();
    let slots = rows.column(19).as_primitive::<UInt16Type>();
    let payloads = rows.column(20).as_binary::<i32>();
    for row in 0..rows.num_rows() {
        let Some(kind) = Kind::from_code(kinds.value(row)) else { continue };
        let position = Position { partition: partitions.value(row), offset: offsets.value(row) };
        let epoch = epochs.value(row);
        let first = read.firsts.entry((position.partition, epoch)).or_insert(u64::MAX);
        *first = (*first).min(position.offset);
        let tenant = TenantId(tenants.value(row));
        let user = pseudonym(text(11), row)?;
        let keeps_user = Consent(byte(12).value(row)).allows_features();
        if kind == Kind::Prediction {
            let Some(payload) = (!payloads.is_null(row)).then(|| payloads.value(row)) else {
                continue;
            };
            // Those of a later build are of another plan as well.
            let Ok(rows) = ServedRows::decode(payload) else { continue };
            if rows.plan == plan.version() {
                let user = if keeps_user { user } else { Pseudonym::NONE };
                read.sample(Sampled { user, tenant, rows }, requests_max);
            }
            continue;
        }
        // What does not count now may still by a revision; only what was judged can.
        if verdicts.is_null(row) || verdicts.value(row) != Verdict::Counted.code() {
            continue;
        }
        let slot = Slot::new(slots.value(row)).context("the lake: a slot is none")?;
        let at = Timestamp(happened.value(row));
        let record = Record {
            tenant,
            happened: at,
            ad_key: long(7).value(row),
            campaign_key: long(8).value(row),
            category_key: present(long(9), row).unwrap_or(0),
            price: prices.value(row),
            user,
            value: (!values.is_null(row)).then(|| values.value(row)),
            region: told(text(15), row),
            device: told(text(16), row),
            placement: told(text(17), row),
            item_id: told(text(18), row),
            ..Record::new(kind, slot, at)
        };
        let Some(event) = Happened::of(&record, keeps_user) else { continue };
        if let (Kind::Impression, Some(prediction)) = (kind, present(long(13), row)) {
            read.shown.entry((tenant, prediction)).or_insert(event.parts);
        }
        read.events.push((epoch, position, event));
    }
    Ok(())
}

fn told(texts: &StringArray, row: usize) -> &str {
    if texts.is_null(row) { "" } else { texts.value(row) }
}

fn present(numbers: &arrow::array::UInt64Array, row: usize) -> Option<u64> {
    (!numbers.is_null(row)).then(|| numbers.value(row)).filter(|&number| number != 0)
}

fn pseudonym(texts: &StringArray, row: usize) -> Result<Pseudonym> {
    match told(texts, row) {
        "" => Ok(Pseudonym::NONE),
        digits => {
            let number = u128::from_str_radix(digits, 16);
            Ok(Pseudonym(number.context("the lake: a pseudonym is none")?))
        }
    }
}

/// Pasts that are filled again, and what was found with them.
struct Again {
    plan: Arc<Plan>,
    pasts: Pasts,
    epoch: u64,
    /// Columns that rest on pasts.
    columns: Vec<usize>,
    /// Fields that say what the request said of itself.
    fields: Vec<usize>,
    views: Views,
    rows: Rows,
    found: Compared,
}

impl Again {
    fn new(plan: &Arc<Plan>, options: PastsOptions) -> Self {
        let all = plan.columns().iter().enumerate();
        let columns: Vec<usize> = all
            .filter(|(_, column)| column.source.rests_on_pasts())
            // Where the client has told the depth of a session, that is nowhere else.
            .filter(|(_, column)| column.name != "session_depth")
            .map(|(at, _)| at)
            .collect();
        let of_parts = |of: &[Token]| of.iter().all(|token| matches!(token, Token::Part(_)));
        let fields = plan.fields().iter().enumerate().filter(|(_, field)| of_parts(&field.of));
        let fields = fields.map(|(at, _)| at).collect();
        let names = columns.iter().map(|&at| plan.columns()[at].name.clone()).collect();
        Again {
            plan: Arc::clone(plan),
            pasts: Pasts::new(Arc::clone(plan), options),
            epoch: 0,
            columns,
            fields,
            views: Views::default(),
            rows: Rows::default(),
            found: Compared { names, ..Compared::default() },
        }
    }

    fn count(&mut self, events: &[Event], revised: &[(u64, Position, bool)]) -> Result<()> {
        let counted = events.iter().map(|&(_, position, event)| Change::Counted(position, event));
        let revised =
            revised.iter().map(|&(_, position, counts)| Change::Revised(position, counts));
        let changes: Vec<Change> = counted.chain(revised).collect();
        self.epoch += 1;
        let bounds: Vec<Bound> = Vec::new();
        let epoch = Epoch { stage: 1, group: 0, generation: 1, number: self.epoch, bounds };
        self.pasts.apply(&epoch, &changes)?;
        Ok(())
    }

    fn look(&mut self, due: Vec<&Sampled>, shown: &HashMap<(TenantId, u64), Parts>) {
        for sampled in due {
            let mut any = false;
            for candidate in &sampled.rows.candidates {
                let prediction = prediction_id(sampled.rows.request, candidate.index);
                if let Some(parts) = shown.get(&(sampled.tenant, prediction)) {
                    let logged = (&candidate.columns.numeric, &candidate.columns.keys);
                    any |= self.row(sampled, *parts, logged);
                }
            }
            self.found.requests += usize::from(any);
        }
    }

    /// Computes one row again; says whether it could be compared.
    fn row(&mut self, sampled: &Sampled, parts: Parts, own: (&Vec<f32>, &Vec<u64>)) -> bool {
        let Parts { ad, campaign, category, .. } = parts;
        let parts = Parts { user: sampled.user, ..parts };
        let request = Request { parts, now: sampled.rows.at, ..Request::default() };
        let ad = Ad { ad, campaign, category, ..Ad::default() };
        let candidate = [Candidate { ad, price: 0, position: 1 }];
        self.pasts.look(&request, &candidate, &mut self.views);
        self.plan.rows(&request, &candidate, &mut self.views, &mut self.rows);
        let shared = &sampled.rows.shared_columns;
        let keys: Vec<u64> = shared.keys.iter().chain(own.1).copied().collect();
        let numeric: Vec<f32> = shared.numeric.iter().chain(own.0).copied().collect();
        if keys.len() != self.rows.keys.len()
            || numeric.len() != self.rows.numeric.len()
            || self.fields.iter().any(|&at| keys[at] != self.rows.keys[at])
        {
            self.found.unlike += 1;
            return false;
        }
        let of = |row: &[f32]| self.columns.iter().map(|&at| row[at]).collect::<Vec<f32>>();
        self.found.skew.compare(&of(&numeric), &of(&self.rows.numeric));
        true
    }

    fn compared(mut self) -> Compared {
        self.found.evicted = self.pasts.evicted();
        self.found
    }
}
