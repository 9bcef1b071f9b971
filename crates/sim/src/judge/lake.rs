//! The lake's rows against the records themselves: each position once, with its first verdict and,
//! by its last revision, the one in force.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use reckon_event::{Position, Verdict};
use reckon_lake::{LakePlace, Manifest, Table};

use super::InForce;

/// A record as the lake has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    appender: u64,
    sequence: u64,
    kind: u8,
    tenant: u32,
    ad: u64,
    price: i64,
    received: i64,
    happened: i64,
    verdict: Option<u8>,
}

/// A record's verdicts before and after each revision, by epoch and ordinal.
type Changes = BTreeMap<(u64, u32), (u8, u8)>;

/// All revisions, by record.
type Revisions = BTreeMap<Position, Changes>;

/// Compares everything; returns how many records and how many revisions.
pub(super) fn compare(place: &LakePlace, rows: &[InForce<'_>]) -> Result<(u64, u64), String> {
    let (records, revisions) = read(place)?;
    for (told, in_force) in rows {
        let record = told.record();
        let expected = Kept {
            appender: record.id.appender,
            sequence: record.id.sequence,
            kind: record.kind.code(),
            tenant: record.tenant.0,
            ad: record.ad_key,
            price: record.price,
            received: record.received.0,
            happened: record.happened.0,
            verdict: told.first.map(Verdict::code),
        };
        let found = records.get(&told.position);
        if found != Some(&expected) {
            let at = told.position;
            return Err(format!("the lake has {found:?} at {at:?} instead of {expected:?}"));
        }
        let last = follow(expected.verdict, revisions.get(&told.position))?;
        if last != in_force.map(Verdict::code) {
            let at = told.position;
            return Err(format!("the lake's verdict at {at:?} is {last:?}, not {in_force:?}"));
        }
    }
    let known = |position: &&Position| rows.iter().any(|(told, _)| told.position == **position);
    if records.len() != rows.len() || !revisions.keys().all(|position| known(&position)) {
        return Err(format!("the lake has {} records, the log {}", records.len(), rows.len()));
    }
    let count = revisions.values().map(BTreeMap::len).sum::<usize>();
    Ok((records.len() as u64, count as u64))
}

/// From the first verdict through every revision, each of which must say what it found.
fn follow(first: Option<u8>, revisions: Option<&Changes>) -> Result<Option<u8>, String> {
    let mut now = first;
    for (at, &(before, after)) in revisions.into_iter().flatten() {
        if now != Some(before) {
            return Err(format!("revision {at:?} of the lake is of {before}, not of {now:?}"));
        }
        now = Some(after);
    }
    Ok(now)
}

fn read(place: &LakePlace) -> Result<(BTreeMap<Position, Kept>, Revisions), String> {
    let (mut records, mut revisions) = (BTreeMap::new(), Revisions::new());
    for (table, rows) in batches(place)? {
        for row in 0..rows.num_rows() {
            let at = |name| column(&rows, name).as_primitive::<UInt64Type>().value(row);
            let partition = column(&rows, "log_partition").as_primitive::<UInt16Type>().value(row);
            let position = Position { partition, offset: at("log_offset") };
            let is_new = match table {
                Table::Records => records.insert(position, record(&rows, row)).is_none(),
                Table::Revisions => {
                    let code = |name| column(&rows, name).as_primitive::<UInt8Type>().value(row);
                    let ordinal = column(&rows, "ordinal").as_primitive::<UInt32Type>().value(row);
                    let of = revisions.entry(position).or_default();
                    let verdicts = (code("verdict_before"), code("verdict"));
                    of.insert((at("epoch"), ordinal), verdicts).is_none()
                }
            };
            if !is_new {
                return Err(format!("{position:?} stands twice in the lake's {table:?}"));
            }
        }
    }
    Ok((records, revisions))
}

fn record(rows: &RecordBatch, row: usize) -> Kept {
    let long = |name| column(rows, name).as_primitive::<UInt64Type>().value(row);
    let time = |name| column(rows, name).as_primitive::<TimestampMicrosecondType>().value(row);
    let verdicts = column(rows, "verdict").as_primitive::<UInt8Type>();
    Kept {
        appender: long("appender"),
        sequence: long("append_sequence"),
        kind: column(rows, "kind").as_primitive::<UInt8Type>().value(row),
        tenant: column(rows, "tenant").as_primitive::<UInt32Type>().value(row),
        ad: long("ad_key"),
        price: column(rows, "price").as_primitive::<Int64Type>().value(row),
        received: time("received"),
        happened: time("happened"),
        verdict: verdicts.is_valid(row).then(|| verdicts.value(row)),
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> &'a dyn Array {
    rows.column_by_name(name).expect("the lake's schema has it")
}

/// Everything that the newest manifest names.
fn batches(place: &LakePlace) -> Result<Vec<(Table, RecordBatch)>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let manifest = runtime.block_on(Manifest::latest(place)).map_err(|error| error.to_string())?;
    let mut batches = Vec::new();
    for file in manifest.ok_or("there is no lake")?.files {
        let object = place.object(&file.path);
        let get = async { place.objects().get(&object).await?.bytes().await };
        let bytes = runtime.block_on(get).map_err(|error| error.to_string())?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(|builder| builder.build())
            .map_err(|error| error.to_string())?;
        for rows in reader {
            batches.push((file.table, rows.map_err(|error| error.to_string())?));
        }
    }
    Ok(batches)
}
