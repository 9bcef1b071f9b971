//! Rows of an answer: as batches, JSON or CSV, and read by column.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, UInt64Type};

use crate::AuditError;

/// The rows that a question has brought.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// There were more than were let through.
    pub is_cut: bool,
}

impl Answer {
    /// How many rows there are.
    pub fn row_count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The rows as a JSON array of objects. Absent values are left out.
    pub fn to_json(&self) -> Result<Vec<u8>, AuditError> {
        let mut writer = arrow::json::ArrayWriter::new(Vec::new());
        for batch in &self.batches {
            writer.write(batch)?;
        }
        writer.finish()?;
        Ok(writer.into_inner())
    }

    /// The rows as CSV with a line of names.
    pub fn to_csv(&self) -> Result<Vec<u8>, AuditError> {
        let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(Vec::new());
        for batch in &self.batches {
            writer.write(batch)?;
        }
        if self.batches.is_empty() {
            writer.write(&RecordBatch::new_empty(self.schema.clone()))?;
        }
        Ok(writer.into_inner())
    }
}

/// One column of a batch as 64-bit numbers, whatever width it has.
pub(crate) struct Numbers(arrow::array::Int64Array);

/// One column of a batch as unsigned 64-bit numbers.
pub(crate) struct Keys(arrow::array::UInt64Array);

/// One column of a batch as texts.
pub(crate) struct Texts(arrow::array::StringArray);

fn cast(
    batch: &RecordBatch,
    name: &str,
    to: &DataType,
) -> Result<arrow::array::ArrayRef, AuditError> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| AuditError::Question(format!("an answer has no column {name}")))?;
    Ok(arrow::compute::cast(column, to)?)
}

impl Numbers {
    pub fn of(batch: &RecordBatch, name: &str) -> Result<Self, AuditError> {
        let column = cast(batch, name, &DataType::Int64)?;
        Ok(Numbers(column.as_primitive::<Int64Type>().clone()))
    }

    pub fn at(&self, row: usize) -> i64 {
        self.get(row).unwrap_or_default()
    }

    pub fn get(&self, row: usize) -> Option<i64> {
        self.0.is_valid(row).then(|| self.0.value(row))
    }
}

impl Keys {
    pub fn of(batch: &RecordBatch, name: &str) -> Result<Self, AuditError> {
        let column = cast(batch, name, &DataType::UInt64)?;
        Ok(Keys(column.as_primitive::<UInt64Type>().clone()))
    }

    pub fn at(&self, row: usize) -> u64 {
        if self.0.is_valid(row) { self.0.value(row) } else { 0 }
    }
}

impl Texts {
    pub fn of(batch: &RecordBatch, name: &str) -> Result<Self, AuditError> {
        let column = cast(batch, name, &DataType::Utf8)?;
        Ok(Texts(column.as_string::<i32>().clone()))
    }

    pub fn at(&self, row: usize) -> &str {
        if self.0.is_valid(row) { self.0.value(row) } else { "" }
    }
}
