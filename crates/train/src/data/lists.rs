//! Lists of search results with clicks: TianGong-ST, and what lists have in common.

use std::path::Path;

use super::history::Tally;
use super::key;
use super::lines::{Dialect, Lines};
use super::output::Output;
use crate::{Progress, RowRef, Schema, Table, TrainError};

/// Documents of a query are at most so many.
const RESULTS_MAX: usize = 1_000;

/// TianGong-ST: `session, query, [documents], [verticals], [clicks]`, in the order they were searched.
pub(super) fn tiangong(
    log: &Path,
    table: &Path,
    progress: &mut dyn Progress,
) -> Result<Table, TrainError> {
    let names = ["session", "query", "documents", "verticals", "clicks"];
    let schema = Schema {
        numeric: [
            "results",
            "query seen",
            "document seen",
            "document rate",
            "pair seen",
            "pair rate",
        ]
        .map(str::to_owned)
        .to_vec(),
        fields: ["query", "document", "vertical", "query and document"].map(str::to_owned).to_vec(),
        user_numeric: 2,
        user_fields: 1,
    };
    let mut lines = Lines::open(log, Dialect::Tabs, &names)?;
    let mut output = Output::create(table, &schema, progress)?;
    let [mut queries, mut documents, mut pairs] = std::array::from_fn(|_| Tally::lasting());
    let mut time = 0;
    while lines.advance()? {
        time += 1;
        let shown = list(&lines, 2)?;
        let (verticals, clicks) = (list(&lines, 3)?, list(&lines, 4)?);
        if verticals.len() != shown.len() || clicks.len() != shown.len() {
            return Err(lines.error(4, "as long as the list of documents"));
        }
        let query = key("query", lines.text(1));
        let asked = queries.seen(query, time).shown.ln_1p();
        let mut keys = Vec::new();
        for (place, (&document, &vertical)) in shown.iter().zip(&verticals).enumerate() {
            let document = key("document", document);
            let pair = super::cross(query, document);
            let (of_document, of_pair) = (documents.seen(document, time), pairs.seen(pair, time));
            let numeric = [
                shown.len() as f32,
                asked,
                of_document.shown.ln_1p(),
                documents.rate(of_document),
                of_pair.shown.ln_1p(),
                pairs.rate(of_pair),
            ];
            let row = RowRef {
                numeric: &numeric,
                keys: &[query, document, key("vertical", vertical), pair],
                label: click(&lines, clicks[place])?,
                weight: 1.0,
                time,
                group: time as u64,
                position: place as u16 + 1,
                truth: f32::NAN,
            };
            output.push(row)?;
            keys.push((document, pair, row.label));
        }
        queries.count(query, false, time);
        for (document, pair, clicked) in keys {
            documents.count(document, clicked, time);
            pairs.count(pair, clicked, time);
        }
    }
    output.finish()
}

fn click(lines: &Lines, text: &str) -> Result<bool, TrainError> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(lines.error(4, "a list of 0 and 1")),
    }
}

/// The parts of `[a, b, c]`.
fn list(lines: &Lines, column: usize) -> Result<Vec<&str>, TrainError> {
    let inner = lines.text(column).strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let parts: Option<Vec<_>> = inner.map(|text| text.split(", ").collect());
    let parts = parts.filter(|parts| parts.len() <= RESULTS_MAX);
    parts.ok_or_else(|| lines.error(column, "a list in square brackets of at most 1,000"))
}

/// The place of each value among all of a list, from 0 for the highest; equal ones share the mean of
/// theirs.
pub(super) fn ranks(values: &[f32]) -> Vec<f32> {
    let rank = |value: &f32| {
        let higher = values.iter().filter(|other| *other > value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        higher as f32 + (equal.max(1) - 1) as f32 / 2.0
    };
    values.iter().map(rank).collect()
}
