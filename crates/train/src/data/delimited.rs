//! Any CSV with a header: the label is named, what a column is is told or found out.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::history::Ordered;
use super::lines::{Dialect, Lines};
use super::output::Output;
use super::{clicks, key};
use crate::{Progress, RowRef, Rows, Schema, Table, TrainError};

/// What the columns of a file are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DelimitedOptions {
    /// The column with 0 and 1.
    pub label: String,
    /// When a row was shown: whole milliseconds, or RFC 3339. Without it, the order of lines.
    pub time: Option<String>,
    /// The list a row stood in; rows of a list follow each other. Without it each row stands alone.
    pub group: Option<String>,
    /// Where in its list it stood, from 1 on.
    pub position: Option<String>,
    /// How many rows it stands for.
    pub weight: Option<String>,
    /// The true probability of a click, where a simulation knows it.
    pub truth: Option<String>,
    /// Columns that are numbers; found out where neither this nor `categorical` names one.
    pub numeric: Vec<String>,
    /// Columns that are categories.
    pub categorical: Vec<String>,
    /// Columns that are nothing.
    pub ignored: Vec<String>,
    /// Adds count and click rate of each category so far.
    pub history: bool,
}

/// Lines that are looked at to find out what a column is.
const LINES_TRIED: usize = 10_000;

/// Where the columns are.
pub(super) struct Layout {
    pub label: usize,
    pub time: Option<usize>,
    pub group: Option<usize>,
    pub position: Option<usize>,
    pub weight: Option<usize>,
    pub truth: Option<usize>,
    pub numeric: Vec<usize>,
    pub fields: Vec<usize>,
}

impl DelimitedOptions {
    /// Where the columns are in a file with these names; `is_number` finds out what one is.
    pub(super) fn layout(
        &self,
        path: &Path,
        names: &[String],
        is_number: &dyn Fn(usize) -> bool,
    ) -> Result<Layout, TrainError> {
        let place = |name: &str| {
            names.iter().position(|column| column == name).ok_or_else(|| {
                let problem = format!("no column {name:?}; there are {}", names.join(", "));
                TrainError::content(path, problem)
            })
        };
        let maybe = |name: &Option<String>| name.as_deref().map(place).transpose();
        for name in self.numeric.iter().chain(&self.categorical).chain(&self.ignored) {
            place(name)?;
        }
        let mut layout = Layout {
            label: place(&self.label)?,
            time: maybe(&self.time)?,
            group: maybe(&self.group)?,
            position: maybe(&self.position)?,
            weight: maybe(&self.weight)?,
            truth: maybe(&self.truth)?,
            numeric: Vec::new(),
            fields: Vec::new(),
        };
        let told = [layout.time, layout.group, layout.position, layout.weight, layout.truth];
        for (at, name) in names.iter().enumerate() {
            if at == layout.label || told.contains(&Some(at)) || self.ignored.contains(name) {
                continue;
            }
            let is_numeric =
                self.numeric.contains(name) || !self.categorical.contains(name) && is_number(at);
            if is_numeric { layout.numeric.push(at) } else { layout.fields.push(at) }
        }
        Ok(layout)
    }

    /// The table's schema.
    pub(super) fn schema(&self, layout: &Layout, names: &[String]) -> Schema {
        let named =
            |places: &[usize]| places.iter().map(|&at| names[at].clone()).collect::<Vec<_>>();
        let mut schema = Schema {
            numeric: named(&layout.numeric),
            fields: named(&layout.fields),
            ..Schema::default()
        };
        if self.history {
            schema.numeric.extend(Ordered::names(schema.fields.iter().map(String::as_str)));
        }
        schema
    }
}

/// Rows of one list, held until all of them are computed: then their clicks count for what follows.
pub(super) struct Held {
    rows: Rows,
    history: Option<Ordered>,
}

impl Held {
    pub fn new(schema: &Schema, has_history: bool) -> Self {
        let history = has_history.then(|| Ordered::new(schema.fields.len()));
        Held { rows: Rows::new(schema), history }
    }

    /// Takes the next row; those of the list before it go out. `numeric` gains what the past says.
    pub fn push(
        &mut self,
        output: &mut Output<'_>,
        numeric: &mut Vec<f32>,
        row: RowRef<'_>,
    ) -> Result<(), TrainError> {
        if self.rows.groups.last().is_some_and(|&group| group != row.group) {
            self.flush(output)?;
        }
        if let Some(history) = &self.history {
            history.append(row.keys, numeric);
        }
        self.rows.push(RowRef { numeric, ..row });
        Ok(())
    }

    pub fn flush(&mut self, output: &mut Output<'_>) -> Result<(), TrainError> {
        for row in self.rows.iter() {
            output.push(row)?;
            if let Some(history) = &mut self.history {
                history.count(row.keys, row.label);
            }
        }
        self.rows.clear();
        Ok(())
    }
}

pub(super) fn import(
    options: &DelimitedOptions,
    log: &Path,
    table: &Path,
    progress: &mut dyn Progress,
) -> Result<Table, TrainError> {
    let numbers = number_columns(log)?;
    let mut lines = Lines::open(log, Dialect::Csv, &[])?;
    let layout = options.layout(log, lines.names(), &|at| numbers[at])?;
    let schema = options.schema(&layout, lines.names());
    let field_names: Vec<_> = layout.fields.iter().map(|&at| lines.names()[at].clone()).collect();
    let mut output = Output::create(table, &schema, progress)?;
    let mut held = Held::new(&schema, options.history);
    let (mut numeric, mut keys) = (Vec::new(), Vec::new());
    let mut line = 0;
    while lines.advance()? {
        line += 1;
        numeric.clear();
        for &place in &layout.numeric {
            numeric.push(lines.number(place)?);
        }
        keys.clear();
        let categories = layout.fields.iter().zip(&field_names);
        keys.extend(categories.map(|(&at, name)| key(name, lines.text(at))));
        let number = |place: Option<usize>| place.map(|at| lines.number(at)).transpose();
        let time = layout.time.map_or(Ok(line), |at| {
            let text = lines.text(at);
            let time = text.parse().ok().or_else(|| clicks::milliseconds(text));
            time.ok_or_else(|| lines.error(at, "whole milliseconds or a time as RFC 3339"))
        })?;
        let weight = number(layout.weight)?.unwrap_or(1.0);
        if !(weight > 0.0 && weight.is_finite()) {
            return Err(lines.error(layout.weight.unwrap_or(0), "a weight above 0"));
        }
        let row = RowRef {
            numeric: &[],
            keys: &keys,
            label: lines.label(layout.label)?,
            weight,
            time,
            group: layout.group.map_or(line as u64, |at| key("group", lines.text(at))),
            position: layout.position.map_or(Ok(0), |at| lines.whole(at))?,
            truth: number(layout.truth)?.unwrap_or(f32::NAN),
        };
        held.push(&mut output, &mut numeric, row)?;
    }
    held.flush(&mut output)?;
    output.finish()
}

/// Whether each column of the first lines has nothing but numbers, and at least one.
fn number_columns(log: &Path) -> Result<Vec<bool>, TrainError> {
    let mut lines = Lines::open(log, Dialect::Csv, &[])?;
    let count = lines.names().len();
    let (mut is_number, mut has_any) = (vec![true; count], vec![false; count]);
    for _ in 0..LINES_TRIED {
        if !lines.advance()? {
            break;
        }
        for column in 0..count {
            let text = lines.text(column);
            is_number[column] &= text.is_empty() || text.parse::<f32>().is_ok();
            has_any[column] |= !text.is_empty();
        }
    }
    Ok(is_number.iter().zip(has_any).map(|(&number, any)| number && any).collect())
}
