//! Impressions as ZOZO published them (Open Bandit Dataset, 2020): a heading line, then the time, the
//! item, its position from 1 to 3, whether it was clicked, the propensity with which the logging
//! policy chose the item for that position, four features of the user, and the user's affinity to
//! every item.
//!
//! The item is the ad `item-N`. The context holds the user's features and, as `user_item_affinity`,
//! the affinity to the item that was shown. Position and propensity go with the prediction and are
//! sealed in its token. The answers' `p_click` is for position 1, wherever the row was shown.

use reckon_event::Timestamp;
use serde_json::{Map, Value};

use super::columns::{Columns, flag, number, time};
use super::read::Account;
use super::row::{Row, Rows};

const FEATURES: [&str; 4] =
    ["user_feature_0", "user_feature_1", "user_feature_2", "user_feature_3"];

/// Reads impressions.
#[derive(Default)]
pub struct OpenBandit {
    layout: Option<Layout>,
}

/// Where what is needed stands, by the file's heading.
struct Layout {
    columns: Columns,
    timestamp: usize,
    item: usize,
    position: usize,
    click: usize,
    propensity: usize,
    features: [usize; FEATURES.len()],
}

impl Rows for OpenBandit {
    fn account(&self) -> Account {
        Account { advertiser_id: "open-bandit", campaign_id: "open-bandit", cpc_micros: 10_000 }
    }

    fn parse(&mut self, line_number: u64, line: &str) -> Result<Option<Row>, String> {
        if line_number == 1 {
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
        let mut features = [0; FEATURES.len()];
        for (place, name) in features.iter_mut().zip(FEATURES) {
            *place = columns.place(name)?;
        }
        // The data's description calls the propensity `action_prob`, its files `propensity_score`.
        let propensity =
            columns.place("action_prob").or_else(|_| columns.place("propensity_score"))?;
        Ok(Layout {
            timestamp: columns.place("timestamp")?,
            item: columns.place("item_id")?,
            position: columns.place("position")?,
            click: columns.place("click")?,
            propensity,
            features,
            columns,
        })
    }

    fn row(&self, line: &str) -> Result<Row, String> {
        let texts = self.columns.split(line)?;
        let item: u32 = number("item_id", texts[self.item])?;
        Ok(Row {
            ad_id: format!("item-{item}"),
            context: self.context(&texts, item)?,
            position: Some(self.position(&texts)?),
            propensity: Some(self.propensity(&texts)?),
            happened: Some(self.happened(&texts)?),
            clicked: flag("click", texts[self.click])?,
            ..Row::default()
        })
    }

    fn context(&self, texts: &[&str], item: u32) -> Result<Map<String, Value>, String> {
        let mut context = Map::new();
        for (name, &place) in FEATURES.iter().zip(&self.features) {
            if !texts[place].is_empty() {
                context.insert((*name).to_owned(), texts[place].into());
            }
        }
        let affinity = format!("user-item_affinity_{item}");
        if let Ok(place) = self.columns.place(&affinity)
            && !texts[place].is_empty()
        {
            let value: f64 = number(&affinity, texts[place])?;
            context.insert("user_item_affinity".to_owned(), value.into());
        }
        Ok(context)
    }

    fn position(&self, texts: &[&str]) -> Result<u16, String> {
        match number("position", texts[self.position])? {
            0 => Err("position: positions begin with 1".to_owned()),
            position => Ok(position),
        }
    }

    fn propensity(&self, texts: &[&str]) -> Result<f64, String> {
        let name = self.columns.name(self.propensity);
        let propensity: f64 = number(name, texts[self.propensity])?;
        if propensity > 0.0 && propensity <= 1.0 {
            return Ok(propensity);
        }
        Err(format!("{name}: {propensity} is not above 0 and at most 1"))
    }

    fn happened(&self, texts: &[&str]) -> Result<Timestamp, String> {
        time("timestamp", texts[self.timestamp])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HEADING: &str = ",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,\
                           user_feature_2,user_feature_3,user-item_affinity_0,user-item_affinity_1";
    const LINE: &str = "0,2019-11-24 00:01:03.979311+00:00,1,2,1,0.045525,ce,2d,c2,c3,0.0,4.0";

    fn parse(line: &str) -> Result<Row, String> {
        let mut rows = OpenBandit::default();
        assert_eq!(rows.parse(1, HEADING), Ok(None));
        rows.parse(2, line).map(|row| row.expect("no heading"))
    }

    #[test]
    fn an_impression_becomes_a_row() {
        let context = json!({
            "user_feature_0": "ce", "user_feature_1": "2d", "user_feature_2": "c2",
            "user_feature_3": "c3", "user_item_affinity": 4.0,
        });
        let expect = Row {
            ad_id: "item-1".to_owned(),
            context: context.as_object().expect("it is").clone(),
            position: Some(2),
            propensity: Some(0.045525),
            happened: Some(Timestamp::parse("2019-11-24T00:01:03.979311Z").expect("a time")),
            clicked: true,
            ..Row::default()
        };
        assert_eq!(parse(LINE), Ok(expect));
    }

    #[track_caller]
    fn refused(part: &str, other: &str, error: &str) {
        assert!(LINE.contains(part), "{part}");
        let found = parse(&LINE.replacen(part, other, 1)).expect_err("refused");
        assert!(found.contains(error), "{found}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        refused("2019-11-24 00", "yesterday 00", "timestamp: \"yesterday");
        refused(",1,2,", ",one,2,", "item_id: \"one\"");
        refused(",1,2,1,", ",1,0,1,", "position: positions begin with 1");
        refused(",1,2,1,", ",1,2,,", "click: \"\" is neither");
        refused("0.045525", "1.5", "propensity_score: 1.5 is not above 0");
        refused("0.045525", "NaN", "propensity_score: NaN is not above 0");
        refused(",4.0", ",much", "user-item_affinity_1: \"much\"");
        refused(",4.0", "", "user-item_affinity_1: the column is missing");
        refused(",4.0", ",4.0,5.0", "more than 12 columns");
    }

    #[test]
    fn a_file_of_another_kind_is_told_apart() {
        let mut rows = OpenBandit::default();
        let heading = ",item_id,item_feature_0,user_feature_0";
        assert!(
            rows.parse(1, heading).expect_err("refused").starts_with("user_feature_1: the head")
        );
        assert!(rows.parse(2, LINE).expect_err("refused").contains("no heading"));
    }
}
