//! A lake's rows as a table to train on.

use std::path::Path;

use reckon_feature::Plan;
use reckon_lake::LakeReader;

use super::{LakeCounts, LakeOptions, LakeRow, read};
use crate::{RowRef, Rows, Schema, Table, TableWriter, TrainError};

/// What the columns of a plan are called in a table.
pub fn schema(plan: &Plan) -> Schema {
    Schema {
        numeric: plan.columns().iter().map(|column| column.name.clone()).collect(),
        fields: plan.fields().iter().map(|field| field.name.clone()).collect(),
        user_numeric: plan.user_columns(),
        user_fields: plan.user_fields(),
    }
}

/// Writes the rows of a plan that a lake holds, with their labels, in the order in which they were served.
pub fn table(
    lake: &LakeReader,
    plan: &Plan,
    options: &LakeOptions,
    path: &Path,
) -> Result<(Table, LakeCounts), TrainError> {
    let schema = schema(plan);
    let mut writer = TableWriter::create(path, &schema)?;
    let mut row = Rows::new(&schema);
    let mut outcome = Ok(());
    let options = LakeOptions { plan: plan.version(), ..*options };
    let counts = read(lake, &options, &mut |served| {
        if outcome.is_ok() {
            outcome = push(&mut writer, &mut row, &schema, &served);
        }
    });
    let counts = counts.map_err(|error| TrainError::Data(error.to_string()))?;
    outcome?;
    Ok((writer.finish()?, counts))
}

fn push(
    writer: &mut TableWriter,
    memory: &mut Rows,
    schema: &Schema,
    row: &LakeRow<'_>,
) -> Result<(), TrainError> {
    let (shared, own) = (&row.served.shared_columns, &row.candidate.columns);
    memory.numeric.clear();
    memory.numeric.extend(shared.numeric.iter().chain(&own.numeric));
    memory.keys.clear();
    memory.keys.extend(shared.keys.iter().chain(&own.keys));
    if (memory.numeric.len(), memory.keys.len()) != (schema.numeric.len(), schema.fields.len()) {
        let problem = "a served row has other columns than its plan: the lake is damaged";
        return Err(TrainError::Data(problem.to_owned()));
    }
    writer.push(RowRef {
        numeric: &memory.numeric,
        keys: &memory.keys,
        label: row.is_clicked,
        weight: row.weight,
        time: row.served.at.0.div_euclid(1_000),
        group: row.served.request,
        position: row.position,
        truth: f32::NAN,
    })
}
