//! Answers as JSON or CSV, written row by row, so that a million rows are never one text in memory.

use std::fmt::Write as _;

use reckon_event::TenantId;
use reckon_rollup::{Answer, Dimension, Row};

use super::columns::{Column, Key, dimension_name, key};
use super::cut::{Cut, Finality};
use crate::catalog::Catalog;

/// An answer with all that its rows are written with.
pub struct Table {
    /// Whose.
    pub tenant: TenantId,
    /// What the rollup said.
    pub answer: Answer,
    /// Up to where it has counted.
    pub cut: Cut,
    /// Whether it can change.
    pub finality: Finality,
    /// Whether rows carry a bucket.
    pub has_buckets: bool,
    /// Dimensions, in the order they were asked for.
    pub dimensions: Vec<Dimension>,
    /// Figures, in the order they were asked for.
    pub columns: Vec<Column>,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json`
    Json,
    /// `text/csv` with a header line (RFC 4180).
    Csv,
}

impl Table {
    /// What stands before the rows.
    pub fn head(&self, form: Form) -> String {
        match form {
            Form::Json => format!(
                "{{\"as_of\":\"{}\",\"final\":{},\"from\":\"{}\",\"to\":\"{}\",\"rows\":[",
                self.cut,
                self.finality.json(),
                self.answer.from,
                self.answer.to
            ),
            Form::Csv => self.titles().join(",") + "\r\n",
        }
    }

    /// The rows from `start` to before `end`.
    pub fn rows(&self, form: Form, catalog: &Catalog, start: usize, end: usize) -> String {
        let mut text = String::with_capacity((end - start) * 160);
        for (index, row) in self.answer.rows[start..end].iter().enumerate() {
            match form {
                Form::Json => {
                    if start + index > 0 {
                        text.push(',');
                    }
                    self.json_row(catalog, row, &mut text);
                }
                Form::Csv => self.csv_row(catalog, row, &mut text),
            }
        }
        text
    }

    /// What stands behind the rows.
    pub const fn tail(form: Form) -> &'static str {
        match form {
            Form::Json => "]}",
            Form::Csv => "",
        }
    }

    fn json_row(&self, catalog: &Catalog, row: &Row, text: &mut String) {
        text.push('{');
        let field = |name: &str, value: &str, text: &mut String| {
            if !text.ends_with('{') {
                text.push(',');
            }
            write!(text, "\"{name}\":{value}").expect("a text takes all");
        };
        if let Some(bucket) = row.bucket {
            field("bucket", &format!("\"{bucket}\""), text);
        }
        for &dimension in &self.dimensions {
            let value = match key(row, dimension, catalog, self.tenant) {
                Key::Text(value) => serde_json::Value::from(value).to_string(),
                Key::Number(value) => value.to_string(),
            };
            field(dimension_name(dimension), &value, text);
        }
        for column in &self.columns {
            field(column.name(), &column.value(row).to_string(), text);
            if column.is_spend() && row.spend.len() > 1 {
                let each =
                    row.spend.iter().map(|(currency, micros)| format!("\"{currency}\":{micros}"));
                let each: Vec<String> = each.collect();
                field("spend_by_currency", &format!("{{{}}}", each.join(",")), text);
            }
        }
        text.push('}');
    }

    fn titles(&self) -> Vec<&'static str> {
        let mut titles = Vec::new();
        if self.has_buckets {
            titles.push("bucket");
        }
        titles.extend(self.dimensions.iter().map(|&dimension| dimension_name(dimension)));
        for column in &self.columns {
            titles.push(column.name());
            if column.is_spend() && self.has_several_currencies() {
                titles.push("spend_by_currency");
            }
        }
        titles
    }

    fn csv_row(&self, catalog: &Catalog, row: &Row, text: &mut String) {
        let mut cells: Vec<String> = Vec::new();
        if self.has_buckets {
            cells.push(row.bucket.map(|bucket| bucket.to_string()).unwrap_or_default());
        }
        for &dimension in &self.dimensions {
            cells.push(match key(row, dimension, catalog, self.tenant) {
                Key::Text(value) => quoted(&value),
                Key::Number(value) => value.to_string(),
            });
        }
        for column in &self.columns {
            let value = column.value(row);
            cells.push(if value.is_null() { String::new() } else { value.to_string() });
            if column.is_spend() && self.has_several_currencies() {
                let each =
                    row.spend.iter().map(|(currency, micros)| format!("{currency}:{micros}"));
                cells.push(each.collect::<Vec<String>>().join(" "));
            }
        }
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }

    fn has_several_currencies(&self) -> bool {
        self.answer.rows.iter().any(|row| row.spend.len() > 1)
    }
}

/// A cell as RFC 4180 wants it.
fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reckon_event::{Currency, Timestamp};
    use reckon_rollup::{Counts, Keys, Metric, Text};

    fn table(spend: Vec<(Currency, i64)>) -> Table {
        let region = Text { key: 9, text: Some("a \"b\", c".into()) };
        let row = Row {
            bucket: Some(Timestamp(0)),
            keys: Keys { region: Some(region), position: Some(2), ..Keys::default() },
            counts: Counts { clicks: 3, ..Counts::default() },
            spend: spend.into(),
        };
        let answer = Answer {
            from: Timestamp(0),
            to: Timestamp(60_000_000),
            applied: Some(4),
            cube: "all".to_owned(),
            rows: vec![row.clone(), row],
        };
        Table {
            tenant: TenantId::DEFAULT,
            answer,
            cut: Cut(vec![5, 70]),
            finality: Finality::Server,
            has_buckets: true,
            dimensions: vec![Dimension::Position, Dimension::Region],
            columns: vec![
                Column::Metric(Metric::Ctr),
                Column::Metric(Metric::SpendMicros),
                Column::Metric(Metric::Clicks),
            ],
        }
    }

    fn text(table: &Table, form: Form) -> String {
        let catalog = Catalog::default();
        let rows = table.rows(form, &catalog, 0, 1) + &table.rows(form, &catalog, 1, 2);
        table.head(form) + &rows + Table::tail(form)
    }

    #[test]
    fn json_keeps_the_order_that_was_asked_for() {
        let written = text(&table(vec![(Currency::EUR, 7)]), Form::Json);
        let row = r#"{"bucket":"1970-01-01T00:00:00Z","position":2,"region":"a \"b\", c","ctr":null,"spend_micros":7,"clicks":3}"#;
        let head = r#"{"as_of":"0-5,1-70","final":"server","from":"1970-01-01T00:00:00Z","to":"1970-01-01T00:01:00Z","rows":["#;
        assert_eq!(written, format!("{head}{row},{row}]}}"));
    }

    #[test]
    fn currencies_stand_side_by_side() {
        let spend = vec![(Currency::EUR, 7), (Currency::USD, 9)];
        let written: serde_json::Value =
            serde_json::from_str(&text(&table(spend.clone()), Form::Json)).expect("JSON");
        let row = &written["rows"][1];
        assert_eq!(row["spend_micros"], serde_json::Value::Null);
        assert_eq!(row["spend_by_currency"], serde_json::json!({"EUR": 7, "USD": 9}));
        let csv = text(&table(spend), Form::Csv);
        assert!(
            csv.starts_with("bucket,position,region,ctr,spend_micros,spend_by_currency,clicks\r\n")
        );
        assert!(csv.ends_with(",,,EUR:7 USD:9,3\r\n"), "{csv}");
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let written = text(&table(Vec::new()), Form::Csv);
        let row = "1970-01-01T00:00:00Z,2,\"a \"\"b\"\", c\",,0,3\r\n";
        assert_eq!(
            written,
            format!("bucket,position,region,ctr,spend_micros,clicks\r\n{row}{row}")
        );
    }
}
