//! From rows as they came to Parquet files: sorted, split by tenant and hour, encoded.
//!
//! Decision: the hour of a record's file is that of its **receive time**. A client says when an event
//! happened, so files by event time would let one phone that uploads its year make a file in every
//! hour of it; receive times come from the server, and one persist touches an hour or two. Whoever
//! wants the events *of* a day finds late ones by the bounds of `happened` that stand in the manifest
//! for each file (and in Parquet's own statistics). Revisions go by the watermark at which they were
//! made, for the same reason.

use std::collections::BTreeMap;

use arrow::array::{AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{
    ArrowPrimitiveType, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type,
};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use reckon_event::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use crate::LakeError;
use crate::manifest::{FILE_FORMAT, LakeFile, Span, Table};

/// Rows of one row group: enough for long runs of one ad, few enough to skip most of a file.
const GROUP_ROWS: usize = 128 << 10;

/// The rows of one file.
pub(crate) struct Part {
    pub table: Table,
    /// 0 for revisions, which are of all tenants.
    pub tenant: u32,
    /// Hours since 1970.
    pub hour: u32,
    pub rows: RecordBatch,
}

/// `tenant=T/day=D/hour=H`, or `revisions/day=D/hour=H`.
pub(crate) fn folder(table: Table, tenant: u32, hour: u32) -> String {
    let start = Timestamp(i64::from(hour) * Timestamp::HOUR).to_string();
    let (day, hour) = (&start[..10], hour % 24);
    match table {
        Table::Records => format!("tenant={tenant}/day={day}/hour={hour:02}"),
        Table::Revisions => format!("revisions/day={day}/hour={hour:02}"),
    }
}

/// True for the names a lake gives to files of rows, and for no other object below its root.
pub(crate) fn is_name(path: &str) -> bool {
    let levels: Vec<&str> = path.split('/').collect();
    let [table, day, hour, name] = levels[..] else { return false };
    let is_table = table == "revisions" || table.starts_with("tenant=");
    let numbers = name.strip_suffix(".parquet").map(|stem| stem.split('-').collect::<Vec<_>>());
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_table
        && day.starts_with("day=")
        && hour.starts_with("hour=")
        && numbers.is_some_and(|numbers| numbers.len() == 4 && numbers.iter().all(is_number))
}

/// A column of a known type.
///
/// # Panics
/// Where the table has no such column.
pub(crate) fn column<'a, T: ArrowPrimitiveType>(
    rows: &'a RecordBatch,
    name: &str,
) -> &'a PrimitiveArray<T> {
    rows.column_by_name(name).expect("the table has this column").as_primitive::<T>()
}

/// What a file's rows are sorted by.
pub(crate) fn sort_keys(table: Table, rows: &RecordBatch) -> Vec<(u64, u64, u64)> {
    match table {
        Table::Records => {
            let ads = column::<UInt64Type>(rows, "ad_key").values();
            let partitions = column::<UInt16Type>(rows, "log_partition").values();
            let offsets = column::<UInt64Type>(rows, "log_offset").values();
            let places = partitions.iter().zip(offsets);
            ads.iter().zip(places).map(|(&ad, (&part, &at))| (ad, u64::from(part), at)).collect()
        }
        Table::Revisions => {
            let epochs = column::<UInt64Type>(rows, "epoch").values();
            let ordinals = column::<UInt32Type>(rows, "ordinal").values();
            epochs.iter().zip(ordinals).map(|(&epoch, &at)| (epoch, u64::from(at), 0)).collect()
        }
    }
}

/// Splits rows by the file they belong to, each part in its file's order.
pub(crate) fn split(table: Table, rows: &RecordBatch) -> Result<Vec<Part>, LakeError> {
    let times = match table {
        Table::Records => column::<TimestampMicrosecondType>(rows, "received").values(),
        Table::Revisions => column::<TimestampMicrosecondType>(rows, "watermark").values(),
    };
    let tenants = column::<UInt32Type>(rows, "tenant").values();
    let keys = sort_keys(table, rows);
    let mut files: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for (row, (&time, &tenant)) in times.iter().zip(tenants).enumerate() {
        let tenant = if table == Table::Records { tenant } else { 0 };
        let row = u32::try_from(row).expect("a buffer is bounded far below");
        files.entry((tenant, Timestamp(time).hour())).or_default().push(row);
    }
    files
        .into_iter()
        .map(|((tenant, hour), mut order)| {
            order.sort_by_key(|&row| keys[row as usize]);
            let rows = take_record_batch(rows, &UInt32Array::from(order))?;
            Ok(Part { table, tenant, hour, rows })
        })
        .collect()
}

/// How the columns are written. Dictionaries where values repeat; none where they never do.
fn properties(table: Table) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("1 is a level of ZSTD");
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("reckon".to_owned());
    for name in ["ad_key", "happened"] {
        builder = builder.set_column_statistics_enabled(name.into(), EnabledStatistics::Page);
    }
    let rising: &[&str] = match table {
        Table::Records => &RISING,
        Table::Revisions => &["log_offset", "ordinal"],
    };
    for &name in rising {
        let path = ColumnPath::from(name);
        builder = builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    for name in UNIQUE {
        builder = builder.set_column_dictionary_enabled(name.into(), false);
    }
    builder.build()
}

/// Columns whose values hardly repeat: a dictionary would be filled and thrown away.
const UNIQUE: [&str; 6] =
    ["payload_digest", "payload", "event_id", "request_id", "ip_tag", "order_key"];

/// Columns that go up, or nearly: their differences are short.
const RISING: [&str; 8] = [
    "log_offset",
    "append_sequence",
    "received",
    "happened",
    "minted_sequence",
    "issued_at",
    "expires_at",
    "prediction_id",
];

/// Writes one file batch by batch, and notes what the manifest will say of it.
pub(crate) struct Encoder {
    table: Table,
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
    epochs: Option<(u64, u64)>,
    received: Option<Span>,
    happened: Option<Span>,
}

impl Encoder {
    pub fn new(table: Table, rows: &RecordBatch) -> Result<Self, LakeError> {
        let writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties(table)))
            .map_err(LakeError::parquet("a new file"))?;
        Ok(Encoder { table, writer, rows: 0, epochs: None, received: None, happened: None })
    }

    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), LakeError> {
        let time = match self.table {
            Table::Records => "received",
            Table::Revisions => "watermark",
        };
        self.rows += rows.num_rows() as u64;
        widen(&mut self.epochs, bounds(column::<UInt64Type>(rows, "epoch").values()));
        for (span, name) in [(&mut self.received, time), (&mut self.happened, "happened")] {
            let times = bounds(column::<TimestampMicrosecondType>(rows, name).values());
            let mut range = span.map(|span| (span.first, span.last));
            widen(&mut range, times);
            *span = range.map(|(first, last)| Span { first, last });
        }
        self.writer.write(rows).map_err(LakeError::parquet("a new file"))
    }

    /// The file's bytes, and its line in the manifest but for the name.
    pub fn finish(self, tenant: u32, hour: u32) -> Result<(LakeFile, Bytes), LakeError> {
        let (first_epoch, last_epoch) = self.epochs.unwrap_or_default();
        let bytes = self.writer.into_inner().map_err(LakeError::parquet("a new file"))?;
        let file = LakeFile {
            path: String::new(),
            table: self.table,
            format: FILE_FORMAT,
            tenant,
            hour,
            first_epoch,
            last_epoch,
            rows: self.rows,
            bytes: bytes.len() as u64,
            checksum: checksum(&bytes),
            received: self.received.unwrap_or_default(),
            happened: self.happened.unwrap_or_default(),
        };
        Ok((file, Bytes::from(bytes)))
    }
}

/// A part as a file.
pub(crate) fn encode(part: &Part) -> Result<(LakeFile, Bytes), LakeError> {
    let mut encoder = Encoder::new(part.table, &part.rows)?;
    encoder.write(&part.rows)?;
    encoder.finish(part.tenant, part.hour)
}

/// XXH3 of an object's bytes, as it stands in the manifest.
pub(crate) fn checksum(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

fn bounds<T: Copy + Ord>(values: &[T]) -> Option<(T, T)> {
    Some((*values.iter().min()?, *values.iter().max()?))
}

fn widen<T: Copy + Ord>(range: &mut Option<(T, T)>, more: Option<(T, T)>) {
    *range = match (*range, more) {
        (Some((first, last)), Some((low, high))) => Some((first.min(low), last.max(high))),
        (range, more) => range.or(more),
    };
}

/// Rows of one batch when a file is read again.
pub(crate) const READ_ROWS: usize = 8 << 10;

/// A file's bytes, which must be those that were written.
pub(crate) fn checked(file: &LakeFile, bytes: Bytes) -> Result<Bytes, LakeError> {
    if bytes.len() as u64 != file.bytes || checksum(&bytes) != file.checksum {
        return Err(LakeError::damaged(&file.path, "its bytes are not those that were written"));
    }
    Ok(bytes)
}

/// The rows of a file, batch by batch.
pub(crate) fn decode(
    path: &str,
    bytes: Bytes,
) -> Result<impl Iterator<Item = Result<RecordBatch, LakeError>> + use<>, LakeError> {
    let path = path.to_owned();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.with_batch_size(READ_ROWS).build())
        .map_err(LakeError::parquet(&path))?;
    Ok(reader.map(move |rows| rows.map_err(|error| LakeError::damaged(&path, error.to_string()))))
}
