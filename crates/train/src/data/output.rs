//! The table a reader writes, and who is told how far it has come.

use std::path::Path;

use crate::{Progress, RowRef, Schema, Table, TableWriter, TrainError};

/// How often progress is told.
const ROWS_A_STEP: u64 = 8_192;

/// Where rows go.
pub(super) struct Output<'a> {
    writer: TableWriter,
    progress: &'a mut dyn Progress,
    rows: u64,
}

impl<'a> Output<'a> {
    pub fn create(
        path: &Path,
        schema: &Schema,
        progress: &'a mut dyn Progress,
    ) -> Result<Self, TrainError> {
        Ok(Output { writer: TableWriter::create(path, schema)?, progress, rows: 0 })
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn push(&mut self, row: RowRef<'_>) -> Result<(), TrainError> {
        self.writer.push(row)?;
        self.rows += 1;
        if self.rows.is_multiple_of(ROWS_A_STEP) {
            self.progress.advance("import", self.rows, 0);
        }
        Ok(())
    }

    /// A row that stood in no list and whose log knows no finer time than its own order.
    pub fn push_single(
        &mut self,
        numeric: &[f32],
        keys: &[u64],
        label: bool,
        at: Moment,
    ) -> Result<(), TrainError> {
        let row = self.rows + 1;
        self.push(RowRef {
            numeric,
            keys,
            label,
            weight: 1.0,
            time: at.time,
            group: row,
            position: at.position,
            truth: f32::NAN,
        })
    }

    pub fn finish(self) -> Result<Table, TrainError> {
        self.progress.advance("import", self.rows, self.rows);
        self.writer.finish()
    }
}

/// When and where a single row was shown.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub time: i64,
    pub position: u16,
}
