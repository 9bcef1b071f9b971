//! Any Parquet file with plain columns: numbers, texts, truth values.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::delimited::{DelimitedOptions, Held};
use super::key;
use super::output::Output;
use crate::{Progress, RowRef, Table, TrainError};

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, TrainError> {
    let file = File::open(path).map_err(TrainError::file(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file);
    builder.map_err(|error| TrainError::content(path, error.to_string()))
}

fn batches(path: &Path) -> Result<ParquetRecordBatchReader, TrainError> {
    let reader = open(path)?.with_batch_size(4_096).build();
    reader.map_err(|error| TrainError::content(path, error.to_string()))
}

/// A column of a batch as numbers; NaN where it is null.
fn numbers(path: &Path, name: &str, column: &ArrayRef) -> Result<Vec<f64>, TrainError> {
    let column = cast(column, &DataType::Float64)
        .map_err(|error| TrainError::content(path, format!("column {name:?}: {error}")))?;
    Ok(column.as_primitive::<Float64Type>().iter().map(|x| x.unwrap_or(f64::NAN)).collect())
}

/// A column of a batch as texts; empty where it is null.
fn texts(path: &Path, name: &str, column: &ArrayRef) -> Result<Vec<String>, TrainError> {
    let column = cast(column, &DataType::Utf8)
        .map_err(|error| TrainError::content(path, format!("column {name:?}: {error}")))?;
    Ok(column.as_string::<i32>().iter().map(|x| x.unwrap_or("").to_owned()).collect())
}

/// All columns of a file at once, for logs that have to be sorted.
pub(super) struct Columns {
    path: PathBuf,
    batches: Vec<RecordBatch>,
}

impl Columns {
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let batches: Result<Vec<_>, _> = batches(path)?.collect();
        let batches = batches.map_err(|error| TrainError::content(path, error.to_string()))?;
        Ok(Columns { path: path.to_owned(), batches })
    }

    pub fn texts(&self, name: &str) -> Result<Vec<String>, TrainError> {
        self.column(name, texts)
    }

    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, TrainError> {
        self.column(name, numbers)
    }

    fn column<T>(
        &self,
        name: &str,
        read: impl Fn(&Path, &str, &ArrayRef) -> Result<Vec<T>, TrainError>,
    ) -> Result<Vec<T>, TrainError> {
        let mut all = Vec::new();
        for batch in &self.batches {
            let column = batch.column_by_name(name);
            let column = column
                .ok_or_else(|| TrainError::content(&self.path, format!("no column {name:?}")))?;
            all.extend(read(&self.path, name, column)?);
        }
        Ok(all)
    }

    /// A row's column is not what was expected; rows are counted from 1 on, as lines are.
    pub fn error(&self, row: usize, column: &str, problem: &str) -> TrainError {
        TrainError::Line {
            path: self.path.clone(),
            line: row as u64 + 1,
            column: column.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

pub(super) fn import(
    options: &DelimitedOptions,
    log: &Path,
    table: &Path,
    progress: &mut dyn Progress,
) -> Result<Table, TrainError> {
    let arrow = open(log)?.schema().clone();
    let names: Vec<_> = arrow.fields().iter().map(|field| field.name().clone()).collect();
    let is_number = |at: usize| arrow.field(at).data_type().is_numeric();
    let layout = options.layout(log, &names, &is_number)?;
    let schema = options.schema(&layout, &names);
    let mut output = Output::create(table, &schema, progress)?;
    let mut held = Held::new(&schema, options.history);
    let mut line = 0;
    for batch in batches(log)? {
        let batch = batch.map_err(|error| TrainError::content(log, error.to_string()))?;
        let number = |at: usize| numbers(log, &names[at], batch.column(at));
        let maybe = |at: Option<usize>| at.map(number).transpose();
        let labels = number(layout.label)?;
        let (times, weights, truths) =
            (maybe(layout.time)?, maybe(layout.weight)?, maybe(layout.truth)?);
        let positions = maybe(layout.position)?;
        let groups = layout.group.map(|at| texts(log, &names[at], batch.column(at))).transpose()?;
        let numeric = layout.numeric.iter().map(|&at| number(at)).collect::<Result<Vec<_>, _>>()?;
        let text = |&at: &usize| texts(log, &names[at], batch.column(at));
        let fields = layout.fields.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            line += 1;
            let error = |column: usize, problem: &str| TrainError::Line {
                path: log.to_owned(),
                line,
                column: names[column].clone(),
                problem: problem.to_owned(),
            };
            if labels[row] != 0.0 && labels[row] != 1.0 {
                return Err(error(layout.label, "neither 0 nor 1"));
            }
            let weight = weights.as_ref().map_or(1.0, |weights| weights[row] as f32);
            if !(weight > 0.0 && weight.is_finite()) {
                return Err(error(layout.weight.unwrap_or(0), "not a weight above 0"));
            }
            let mut columns: Vec<_> = numeric.iter().map(|column| column[row] as f32).collect();
            let names = layout.fields.iter().map(|&at| &names[at]);
            let keys: Vec<_> =
                fields.iter().zip(names).map(|(texts, name)| key(name, &texts[row])).collect();
            let row = RowRef {
                numeric: &[],
                keys: &keys,
                label: labels[row] == 1.0,
                weight,
                time: times.as_ref().map_or(line as i64, |times| times[row] as i64),
                group: groups.as_ref().map_or(line, |groups| key("group", &groups[row])),
                position: positions.as_ref().map_or(0, |positions| positions[row] as u16),
                truth: truths.as_ref().map_or(f32::NAN, |truths| truths[row] as f32),
            };
            held.push(&mut output, &mut columns, row)?;
        }
    }
    held.flush(&mut output)?;
    output.finish()
}
