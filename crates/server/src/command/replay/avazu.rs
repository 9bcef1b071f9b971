//! Rows as Avazu published them (Click-Through Rate Prediction, 2014): 24 columns separated by commas,
//! with a heading. `hour` is `YYMMDDHH` in UTC and gives the time of the event.
//!
//! The ad is the value of `C14`. All other columns but `id` and `click` are the context, as texts:
//! also those of digits, which are codes of categories and no quantities. Of `hour` the context holds
//! the hour of the day.

use reckon_event::Timestamp;
use serde_json::{Map, Value};

use super::columns::{Columns, flag};
use super::read::Account;
use super::row::{Row, Rows, ad_id};

/// Reads rows.
#[derive(Default)]
pub struct Avazu {
    layout: Option<Layout>,
}

/// Where what is needed stands, by the file's heading.
struct Layout {
    columns: Columns,
    id: usize,
    click: usize,
    hour: usize,
    ad: usize,
}

impl Rows for Avazu {
    fn account(&self) -> Account {
        Account { advertiser_id: "avazu", campaign_id: "avazu", cpc_micros: 10_000 }
    }

    fn parse(&mut self, number: u64, line: &str) -> Result<Option<Row>, String> {
        if number == 1 {
            self.layout = None;
            self.layout = Some(Layout::of(line)?);
            return Ok(None);
        }
        let layout = self.layout.as_ref().ok_or("the first line is no heading of this log")?;
        layout.row(line).map(Some)
    }
}

impl Layout {
    fn of(heading: &str) -> Result<Self, String> {
        let columns = Columns::of_heading(heading, ',');
        Ok(Layout {
            id: columns.place("id")?,
            click: columns.place("click")?,
            hour: columns.place("hour")?,
            ad: columns.place("C14")?,
            columns,
        })
    }

    fn row(&self, line: &str) -> Result<Row, String> {
        let texts = self.columns.split(line)?;
        let (happened, hour) = time("hour", texts[self.hour])?;
        Ok(Row {
            ad_id: ad_id("C14", texts[self.ad])?,
            context: self.context(&texts, hour),
            happened: Some(happened),
            clicked: flag("click", texts[self.click])?,
            ..Row::default()
        })
    }

    fn context(&self, texts: &[&str], hour: &str) -> Map<String, Value> {
        let mut context = Map::new();
        for (place, text) in texts.iter().enumerate() {
            let is_elsewhere = [self.id, self.click, self.ad].contains(&place);
            if is_elsewhere || text.is_empty() {
                continue;
            }
            let value = if place == self.hour { hour } else { text };
            context.insert(self.columns.name(place).to_owned(), value.into());
        }
        context
    }
}

/// `YYMMDDHH` as the beginning of that hour, and `HH`.
fn time<'a>(name: &str, text: &'a str) -> Result<(Timestamp, &'a str), String> {
    let wrong = || format!("{name}: {text:?} is not an hour as YYMMDDHH");
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let [year, month, day, hour] = [0, 2, 4, 6].map(|at| &text[at..at + 2]);
    let rfc3339 = format!("20{year}-{month}-{day}T{hour}:00:00Z");
    Timestamp::parse(&rfc3339).map(|time| (time, hour)).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = "id,click,hour,C1,banner_pos,site_id,device_type,C14,C15";
    const LINE: &str = "1000009418151094273,1,14102123,1005,0,1fbe01fe,1,15706,";

    fn parse(line: &str) -> Result<Row, String> {
        let mut rows = Avazu::default();
        assert_eq!(rows.parse(1, HEADING), Ok(None));
        rows.parse(2, line).map(|row| row.expect("no heading"))
    }

    #[test]
    fn a_line_becomes_a_row() {
        let row = parse(LINE).expect("a row");
        assert_eq!((row.ad_id.as_str(), row.clicked), ("15706", true));
        assert_eq!(row.happened.map(|at| at.to_string()).as_deref(), Some("2014-10-21T23:00:00Z"));
        let expect = serde_json::json!({
            "hour": "23", "C1": "1005", "banner_pos": "0", "site_id": "1fbe01fe", "device_type": "1",
        });
        assert_eq!(Value::Object(row.context), expect);
    }

    #[track_caller]
    fn refused(part: &str, other: &str, error: &str) {
        assert!(LINE.contains(part), "{part}");
        let found = parse(&LINE.replacen(part, other, 1)).expect_err("refused");
        assert!(found.contains(error), "{found}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        refused(",1,1410", ",x,1410", "click: \"x\" is neither");
        refused("14102123", "14102124", "hour: \"14102124\" is not an hour");
        refused("14102123", "2014102123", "hour: \"2014102123\" is not an hour");
        refused("14102123", "141021+1", "hour: \"141021+1\" is not an hour");
        refused("15706", "", "C14: is the ad, and must not be empty");
        refused(",15706,", ",15706", "C15: the column is missing");
        refused(",15706,", ",15706,,", "more than 9 columns");
        let mut rows = Avazu::default();
        assert_eq!(rows.parse(1, LINE), Err("id: the heading has no such column".to_owned()));
    }
}
