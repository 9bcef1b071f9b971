//! Criteo's display advertising challenge: `label, I1..I13, C1..C26`, without a header and a time.

use std::path::Path;

use super::history::Ordered;
use super::lines::{Dialect, Lines};
use super::output::{Moment, Output};
use crate::{Progress, Schema, Table, TrainError};

const NUMBERS: usize = 13;
const CATEGORIES: usize = 26;

pub(super) fn import(
    log: &Path,
    table: &Path,
    progress: &mut dyn Progress,
) -> Result<Table, TrainError> {
    let numbers = (1..=NUMBERS).map(|number| format!("I{number}"));
    let fields: Vec<_> = (1..=CATEGORIES).map(|number| format!("C{number}")).collect();
    let names: Vec<_> =
        ["label".to_owned()].into_iter().chain(numbers).chain(fields.clone()).collect();
    let known = Ordered::names(fields.iter().map(String::as_str));
    let schema = Schema {
        numeric: names[1..=NUMBERS].iter().cloned().chain(known).collect(),
        fields: fields.clone(),
        ..Schema::default()
    };
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut lines = Lines::open(log, Dialect::Tabs, &names)?;
    let mut output = Output::create(table, &schema, progress)?;
    let mut ordered = Ordered::new(CATEGORIES);
    let (mut numeric, mut keys) = (Vec::new(), Vec::new());
    while lines.advance()? {
        let label = lines.label(0)?;
        numeric.clear();
        for column in 1..=NUMBERS {
            numeric.push(lines.number(column)?);
        }
        keys.clear();
        let key =
            |(column, field): (usize, &String)| super::key(field, lines.text(1 + NUMBERS + column));
        keys.extend(fields.iter().enumerate().map(key));
        ordered.append(&keys, &mut numeric);
        let at = Moment { time: output.rows() as i64, position: 0 };
        output.push_single(&numeric, &keys, label, at)?;
        ordered.count(&keys, label);
    }
    output.finish()
}
