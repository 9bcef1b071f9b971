//! The rows of one state of a lake, file by file and column by column: for whoever reads much of it and
//! wants no SQL engine for that.
//!
//! A reader holds no lease. Files that a merge has replaced stay for some states longer; one that takes
//! longer than that is told that a file is gone, and opens the lake again.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::part::{READ_ROWS, checked};
use crate::store::Store;
use crate::{LakeError, LakeFile, LakePlace, Manifest, schema};

/// One state of a lake, to be read outside of any async runtime.
pub struct LakeReader {
    store: Store,
    manifest: Manifest,
}

impl LakeReader {
    /// The newest state; `None` where there is no lake.
    pub fn open(place: LakePlace) -> Result<Option<Self>, LakeError> {
        let store = Store::new(place)?;
        Ok(store.latest()?.map(|manifest| LakeReader { store, manifest }))
    }

    /// The state that is read.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Some columns of a file's rows, batch by batch, in the order they are asked for. A column that
    /// older builds did not write is NULL in files of theirs.
    ///
    /// # Panics
    /// Where the table has no such column.
    pub fn rows(
        &self,
        file: &LakeFile,
        columns: &[&str],
    ) -> Result<impl Iterator<Item = Result<RecordBatch, LakeError>> + use<>, LakeError> {
        let wanted = project(&schema(file.table), columns);
        let path = file.path.clone();
        let bytes = checked(file, self.store.get(&file.path)?)?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(|builder| {
                let mask =
                    ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
                builder.with_projection(mask).with_batch_size(READ_ROWS).build()
            })
            .map_err(LakeError::parquet(&path))?;
        Ok(reader.map(move |rows| {
            let rows = rows.map_err(|error| LakeError::damaged(&path, error.to_string()))?;
            arrange(&wanted, &rows)
        }))
    }
}

fn project(schema: &Schema, columns: &[&str]) -> SchemaRef {
    let field = |name: &&str| schema.field_with_name(name).expect("a column of the table").clone();
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// The columns that were asked for, in that order.
fn arrange(wanted: &SchemaRef, rows: &RecordBatch) -> Result<RecordBatch, LakeError> {
    let column = |name: &String, data_type| -> ArrayRef {
        let found = rows.column_by_name(name).cloned();
        found.unwrap_or_else(|| new_null_array(data_type, rows.num_rows()))
    };
    let columns =
        wanted.fields().iter().map(|field| column(field.name(), field.data_type())).collect();
    Ok(RecordBatch::try_new(Arc::clone(wanted), columns)?)
}
