//! Statements: the texts in `sql/`, and what is put into their places.
//!
//! Only numbers, and names of our own, are put into a statement; whatever came from outside travels as
//! data.

use std::fmt::Write as _;

use reckon_event::{Kind, Verdict};

use super::state::CELLS;
use crate::sums::cube::Dimensions;
use crate::sums::fold::Places;
use crate::sums::plan::Stretch;
use crate::sums::ranking::GROSS;
use crate::{Dimension, Filter};

/// The text with each `{name}` replaced.
pub(super) fn fill(text: &str, places: &[(&str, &str)]) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("--"));
    let mut statement = lines.collect::<Vec<_>>().join("\n");
    for (name, value) in places {
        statement = statement.replace(&format!("{{{name}}}"), value);
    }
    assert!(!statement.contains('{'), "every place is filled: {statement}");
    statement
}

/// Numbers, joined by commas.
pub(super) fn list<T: ToString>(numbers: impl IntoIterator<Item = T>) -> String {
    numbers.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
}

/// The six columns of dimensions: their names and types.
const COLUMNS: [(Dimension, &str, &str); 6] = [
    (Dimension::Ad, "ad", "toUInt64(0)"),
    (Dimension::Campaign, "campaign", "toUInt64(0)"),
    (Dimension::Region, "region", "toUInt64(0)"),
    (Dimension::Device, "device", "toUInt64(0)"),
    (Dimension::Placement, "placement", "toUInt64(0)"),
    (Dimension::Position, "position", "toUInt16(0)"),
];

/// What rows are grouped under: the places of dimensions and bucket in a statement, and its keys.
pub(super) struct Grouping {
    places: Vec<(&'static str, String)>,
    keys: Vec<String>,
}

impl Grouping {
    /// By dimensions, and by buckets of so many seconds; `None`: one for all.
    pub(super) fn new(dimensions: Dimensions, bucket_seconds: Option<i64>) -> Self {
        let mut grouping = Grouping { places: Vec::new(), keys: Vec::new() };
        for (dimension, column, zero) in COLUMNS {
            let is_kept = dimensions.has(dimension);
            grouping.place(column, if is_kept { column } else { zero });
            if is_kept {
                grouping.keys.push(format!("by_{column}"));
            }
        }
        grouping.place("bucket", &bucket(bucket_seconds));
        if bucket_seconds.is_some() {
            grouping.keys.push("at".to_owned());
        }
        grouping
    }

    pub(super) fn place(&mut self, name: &'static str, value: &str) {
        self.places.push((name, value.to_owned()));
    }

    /// Adds keys that are no dimensions.
    pub(super) fn also_by(&mut self, keys: &[&str]) {
        self.keys.extend(keys.iter().map(|key| (*key).to_owned()));
    }

    /// The statement.
    pub(super) fn fill(mut self, text: &str) -> String {
        let keys = self.keys.join(", ");
        self.place("keys", &keys);
        let places: Vec<(&str, &str)> =
            self.places.iter().map(|(name, value)| (*name, value.as_str())).collect();
        fill(text, &places)
    }
}

/// The start of a row's bucket; also before 1970.
fn bucket(seconds: Option<i64>) -> String {
    match seconds {
        None => "toInt64(0)".to_owned(),
        Some(1) => "bucket".to_owned(),
        Some(width) => format!("bucket - (bucket % {width} + {width}) % {width}"),
    }
}

const DAY: i64 = 86_400;

/// Rows of a cube, or the cells, in a stretch of time.
pub(super) fn source(cube: u16, from: i64, to: i64) -> String {
    // Days lead in the order of rows, so that little of a long run is read.
    let (first, last) = (from.div_euclid(DAY), (to - 1).div_euclid(DAY));
    format!(
        "(cube = {cube} AND day >= {first} AND day <= {last} AND bucket >= {from} AND bucket < {to})"
    )
}

/// Rows of each stretch, from the cube of that place, and the cells of all of them.
pub(super) fn sources(stretches: &[Stretch], ids: &[u16]) -> String {
    let cubes = stretches.iter().map(|s| source(ids[s.cube], s.from, s.to));
    let cells = stretches.iter().map(|s| source(CELLS, s.from, s.to));
    cubes.chain(cells).collect::<Vec<_>>().join(" OR ")
}

/// What a filter adds to a condition.
pub(super) fn filter(tenant: Option<u32>, filter: &Filter) -> String {
    let Filter { ad, campaign, region, device, placement, position } = *filter;
    let wanted = [
        ("tenant", tenant.map(u64::from)),
        ("ad", ad),
        ("campaign", campaign),
        ("region", region),
        ("device", device),
        ("placement", placement),
        ("position", position.map(u64::from)),
    ];
    let mut condition = String::new();
    for (column, value) in wanted {
        if let Some(value) = value {
            let _ = write!(condition, " AND {column} = {value}");
        }
    }
    condition
}

/// The names of the six figures in a statement, in the order of [`crate::Counts`].
pub(super) const FIGURES: [&str; 6] =
    ["impressions", "views", "clicks", "duplicates", "invalid", "conversions"];

/// Kinds and verdicts that a figure counts, each as one number.
pub(super) fn counted_as(figure: usize) -> String {
    let places = Places::new();
    let is_counted = |kind: Kind, verdict: Verdict| {
        let place = usize::from(places.of(kind.code(), verdict.code()));
        match figure {
            // Its number is no place: that one is of what no figure counts.
            GROSS => (2..=4).contains(&place),
            _ => place == figure,
        }
    };
    let kinds = (0..16).filter_map(Kind::from_code);
    list(kinds.flat_map(|kind| {
        let verdicts = Verdict::all().filter(move |&v| is_counted(kind, v));
        verdicts.map(move |verdict| u32::from(kind.code()) * 32 + u32::from(verdict.code()))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled_and_comments_stay_behind() {
        let text = "-- what it is for\nSELECT {a} FROM {b}";
        assert_eq!(fill(text, &[("a", "1"), ("b", "t")]), "SELECT 1 FROM t");
    }

    #[test]
    fn gross_clicks_are_clicks_of_any_verdict() {
        let parts: usize = (2..=4).map(|figure| counted_as(figure).split(',').count()).sum();
        assert_eq!(counted_as(GROSS).split(',').count(), parts);
        assert_eq!(parts, Verdict::all().count());
    }
}
