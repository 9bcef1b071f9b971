//! Rows as Criteo published them (Display Advertising Challenge, 2014): a label, 13 integers and 26
//! categories, separated by tabs, without a heading and without times. A row happens when it is sent.
//!
//! The ad is the value of `C2`, the second category: it is never empty and has some hundreds of
//! values, none of which has more than an eighth of the rows. All other columns are the context,
//! `I1` to `I13` as numbers and the categories as texts; an empty one is absent.

use serde_json::{Map, Value};

use super::columns::{Columns, flag, number};
use super::read::Account;
use super::row::{Row, Rows, ad_id};

const NUMBERS: usize = 13;
const CATEGORIES: usize = 26;
/// Where the column stands whose value is the ad: label, numbers, `C1`, `C2`.
const AD: usize = 1 + NUMBERS + 1;

/// Reads rows.
pub struct Criteo {
    columns: Columns,
}

impl Default for Criteo {
    fn default() -> Self {
        let numbers = (1..=NUMBERS).map(|number| format!("I{number}"));
        let categories = (1..=CATEGORIES).map(|number| format!("C{number}"));
        let names = std::iter::once("label".to_owned()).chain(numbers).chain(categories);
        Criteo { columns: Columns::new(names, '\t') }
    }
}

impl Rows for Criteo {
    fn account(&self) -> Account {
        Account { advertiser_id: "criteo", campaign_id: "criteo", cpc_micros: 10_000 }
    }

    fn parse(&mut self, _number: u64, line: &str) -> Result<Option<Row>, String> {
        let texts = self.columns.split(line)?;
        Ok(Some(Row {
            ad_id: ad_id(self.columns.name(AD), texts[AD])?,
            context: self.context(&texts)?,
            clicked: flag(self.columns.name(0), texts[0])?,
            ..Row::default()
        }))
    }
}

impl Criteo {
    fn context(&self, texts: &[&str]) -> Result<Map<String, Value>, String> {
        let mut context = Map::new();
        for (place, text) in texts.iter().enumerate().skip(1) {
            let name = self.columns.name(place);
            let value = match place {
                AD => continue,
                _ if text.is_empty() => continue,
                1..=NUMBERS => number::<i64>(name, text)?.into(),
                _ => Value::from(*text),
            };
            context.insert(name.to_owned(), value);
        }
        Ok(context)
    }
}

/// A line with this label and ad.
#[cfg(test)]
pub fn line(clicked: bool, ad: &str) -> String {
    let mut texts = vec![u8::from(clicked).to_string()];
    texts.extend((1..=NUMBERS).map(|number| number.to_string()));
    texts.extend((1..=CATEGORIES).map(|number| format!("c{number:02}")));
    ad.clone_into(&mut texts[AD]);
    texts.join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Row, String> {
        Criteo::default().parse(7, line).map(|row| row.expect("there is no heading"))
    }

    #[test]
    fn a_line_becomes_a_row() {
        let text = line(true, "38a947a1").replacen("\t2\t3\t", "\t-1\t\t", 1);
        let row = parse(&text).expect("a row");
        assert_eq!((row.ad_id.as_str(), row.clicked), ("38a947a1", true));
        assert_eq!(row.context["I2"], -1);
        assert_eq!((&row.context["I13"], &row.context["C26"]), (&13.into(), &"c26".into()));
        assert!(!row.context.contains_key("I3"), "empty is absent");
        assert!(!row.context.contains_key("C2"), "the ad is no context");
        assert_eq!(row.context.len(), 37);
        assert_eq!((row.position, row.propensity, row.happened), (None, None, None));
    }

    #[track_caller]
    fn refused(line: &str, error: &str) {
        let found = parse(line).expect_err("refused");
        assert!(found.contains(error), "{found}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        refused(&line(true, ""), "C2: is the ad, and must not be empty");
        refused(&line(true, "a").replacen('1', "yes", 1), "label: \"yes\" is neither");
        refused(&line(true, "a").replacen("\t13\t", "\t1.5\t", 1), "I13: \"1.5\"");
        refused(line(true, "a").trim_end_matches("\tc26"), "C26: the column is missing");
        refused(&format!("{}\t", line(true, "a")), "more than 40 columns");
        refused("label,I1,I2", "I1: the column is missing");
    }
}
