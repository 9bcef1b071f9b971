//! Names of dimensions and figures, and what stands under them in a row.

use std::borrow::Cow;

use reckon_event::{TenantId, Verdict};
use reckon_rollup::{Dimension, Metric, Row, Text};
use serde_json::Value;

use super::question::UNKNOWN;
use crate::catalog::Catalog;

const DIMENSIONS: [(&str, Dimension); 7] = [
    ("ad_id", Dimension::Ad),
    ("campaign_id", Dimension::Campaign),
    ("region", Dimension::Region),
    ("device", Dimension::Device),
    ("placement", Dimension::Placement),
    ("position", Dimension::Position),
    ("reason", Dimension::Reason),
];

/// Reads the name of a dimension.
pub fn dimension_of(name: &str) -> Option<Dimension> {
    DIMENSIONS.into_iter().find(|&(known, _)| known == name).map(|(_, dimension)| dimension)
}

/// The name of a dimension.
pub fn dimension_name(dimension: Dimension) -> &'static str {
    let known = DIMENSIONS.into_iter().find(|&(_, known)| known == dimension);
    known.map(|(name, _)| name).expect("every dimension has a name")
}

/// A figure that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// One that the rollup orders by, too.
    Metric(Metric),
    /// Clicks per viewable impression.
    ViewableCtr,
}

const COLUMNS: [(&str, Column); 10] = [
    ("impressions", Column::Metric(Metric::Impressions)),
    ("views", Column::Metric(Metric::Views)),
    ("clicks", Column::Metric(Metric::Clicks)),
    ("clicks_gross", Column::Metric(Metric::ClicksGross)),
    ("invalid", Column::Metric(Metric::Invalid)),
    ("duplicates", Column::Metric(Metric::Duplicates)),
    ("conversions", Column::Metric(Metric::Conversions)),
    ("ctr", Column::Metric(Metric::Ctr)),
    ("viewable_ctr", Column::ViewableCtr),
    ("spend_micros", Column::Metric(Metric::SpendMicros)),
];

impl Column {
    /// What is answered where nothing is chosen.
    pub const USUAL: [Column; 9] = [
        Column::Metric(Metric::Impressions),
        Column::Metric(Metric::Views),
        Column::Metric(Metric::Clicks),
        Column::Metric(Metric::ClicksGross),
        Column::Metric(Metric::Invalid),
        Column::Metric(Metric::Duplicates),
        Column::Metric(Metric::Ctr),
        Column::ViewableCtr,
        Column::Metric(Metric::SpendMicros),
    ];

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        COLUMNS.into_iter().find(|&(known, _)| known == name).map(|(_, column)| column)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        let known = COLUMNS.into_iter().find(|&(_, known)| known == self);
        known.map(|(name, _)| name).expect("every figure has a name")
    }

    /// The rollup's metric, if it is one.
    pub const fn metric(self) -> Option<Metric> {
        match self {
            Column::Metric(metric) => Some(metric),
            Column::ViewableCtr => None,
        }
    }

    /// True for money.
    pub const fn is_spend(self) -> bool {
        matches!(self, Column::Metric(Metric::SpendMicros))
    }

    /// The figure in a row: a number, or null where there is none.
    pub fn value(self, row: &Row) -> Value {
        let counts = &row.counts;
        match self {
            Column::Metric(metric) => match metric {
                Metric::Impressions => counts.impressions.into(),
                Metric::Views => counts.views.into(),
                Metric::Clicks => counts.clicks.into(),
                Metric::ClicksGross => counts.clicks_gross().into(),
                Metric::Invalid => counts.invalid.into(),
                Metric::Duplicates => counts.duplicates.into(),
                Metric::Conversions => counts.conversions.into(),
                Metric::Ctr => counts.ctr().into(),
                Metric::SpendMicros => row.spend_micros().into(),
            },
            Column::ViewableCtr => {
                let rate = || counts.clicks as f64 / counts.views as f64;
                (counts.views != 0).then(rate).into()
            }
        }
    }
}

/// A row's value in a dimension it is grouped by.
#[derive(Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A number.
    Number(u16),
}

/// Reads a row's dimension; ids of ads and campaigns come from the catalog.
pub fn key<'a>(row: &'a Row, dimension: Dimension, catalog: &Catalog, tenant: TenantId) -> Key<'a> {
    let keys = &row.keys;
    match dimension {
        Dimension::Ad => {
            let key = keys.ad.unwrap_or_default();
            named(key, || catalog.ad(tenant, key).map(|ad| ad.ad_id.to_string()))
        }
        Dimension::Campaign => {
            let key = keys.campaign.unwrap_or_default();
            named(key, || catalog.campaign(tenant, key).map(|found| found.campaign_id.to_string()))
        }
        Dimension::Region => free(keys.region.as_ref()),
        Dimension::Device => free(keys.device.as_ref()),
        Dimension::Placement => free(keys.placement.as_ref()),
        Dimension::Position => Key::Number(keys.position.unwrap_or_default()),
        Dimension::Reason => Key::Text(keys.reason.map(Verdict::name).unwrap_or_default().into()),
    }
}

fn named<'a>(key: u64, id: impl FnOnce() -> Option<String>) -> Key<'a> {
    match key {
        0 => Key::Text(UNKNOWN.into()),
        key => Key::Text(id().unwrap_or_else(|| format!("{key:016x}")).into()),
    }
}

fn free(text: Option<&Text>) -> Key<'_> {
    Key::Text(match text {
        None | Some(Text { key: 0, .. }) => "".into(),
        Some(Text { text: Some(text), .. }) => (&**text).into(),
        Some(Text { key, text: None }) => format!("{key:016x}").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reckon_event::Currency;
    use reckon_rollup::{Counts, Keys, Spend};

    #[test]
    fn every_name_is_read_back() {
        for (name, column) in COLUMNS {
            assert_eq!((Column::parse(name), column.name()), (Some(column), name));
        }
        for (name, dimension) in DIMENSIONS {
            assert_eq!((dimension_of(name), dimension_name(dimension)), (Some(dimension), name));
        }
    }

    #[test]
    fn rates_without_a_base_and_sums_of_two_currencies_are_null() {
        let row = Row {
            bucket: None,
            keys: Keys::default(),
            counts: Counts { clicks: 3, views: 4, ..Counts::default() },
            spend: vec![(Currency::EUR, 5), (Currency::USD, 7)].into(),
        };
        assert_eq!(Column::Metric(Metric::Ctr).value(&row), Value::Null);
        assert_eq!(Column::ViewableCtr.value(&row), 0.75);
        assert_eq!(Column::Metric(Metric::SpendMicros).value(&row), Value::Null);
        assert_eq!(Column::Metric(Metric::ClicksGross).value(&row), 3);
    }

    #[test]
    fn what_has_no_text_is_shown_all_the_same() {
        let catalog = Catalog::default();
        let row = Row {
            bucket: None,
            keys: Keys {
                ad: Some(0),
                campaign: Some(0xab),
                region: Some(Text { key: 0, text: None }),
                device: Some(Text { key: 0xcd, text: None }),
                ..Keys::default()
            },
            counts: Counts::default(),
            spend: Spend::default(),
        };
        let shown = |dimension| match key(&row, dimension, &catalog, TenantId::DEFAULT) {
            Key::Text(text) => text.into_owned(),
            Key::Number(number) => number.to_string(),
        };
        assert_eq!(shown(Dimension::Ad), "(unknown)");
        assert_eq!(shown(Dimension::Campaign), "00000000000000ab");
        assert_eq!(shown(Dimension::Region), "");
        assert_eq!(shown(Dimension::Device), "00000000000000cd");
    }
}
