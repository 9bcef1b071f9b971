//! Answers: rows of figures.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use reckon_event::{Currency, Kind, Micros, Timestamp, Verdict};

use crate::Metric;

/// The counts behind the metrics of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Counted impressions.
    pub impressions: i64,
    /// Counted viewable impressions.
    pub views: i64,
    /// Counted clicks: net.
    pub clicks: i64,
    /// Duplicate clicks.
    pub duplicates: i64,
    /// Clicks of every verdict but counted and duplicate.
    pub invalid: i64,
    /// Counted conversions.
    pub conversions: i64,
}

impl Counts {
    /// Net, duplicate and invalid clicks.
    pub const fn clicks_gross(&self) -> i64 {
        self.clicks + self.duplicates + self.invalid
    }

    /// Clicks per impression; `None` without impressions.
    pub fn ctr(&self) -> Option<f64> {
        // Adding zero turns a negative zero, which nobody means, into zero.
        (self.impressions != 0).then(|| self.clicks as f64 / self.impressions as f64 + 0.0)
    }

    /// The figure a record of this kind and verdict is counted in; `None` where no metric has it.
    pub fn of(&mut self, kind: Kind, verdict: Verdict) -> Option<&mut i64> {
        Some(match (kind, verdict) {
            (Kind::Impression, Verdict::Counted) => &mut self.impressions,
            (Kind::View, Verdict::Counted) => &mut self.views,
            (Kind::Click, Verdict::Counted) => &mut self.clicks,
            (Kind::Click, Verdict::Duplicate) => &mut self.duplicates,
            (Kind::Click, _) => &mut self.invalid,
            (Kind::Conversion, Verdict::Counted) => &mut self.conversions,
            _ => return None,
        })
    }

    /// Adds another.
    pub const fn add(&mut self, other: &Counts) {
        self.impressions += other.impressions;
        self.views += other.views;
        self.clicks += other.clicks;
        self.duplicates += other.duplicates;
        self.invalid += other.invalid;
        self.conversions += other.conversions;
    }

    /// Takes another away.
    pub const fn subtract(&mut self, other: &Counts) {
        self.impressions -= other.impressions;
        self.views -= other.views;
        self.clicks -= other.clicks;
        self.duplicates -= other.duplicates;
        self.invalid -= other.invalid;
        self.conversions -= other.conversions;
    }

    /// True where nothing is counted.
    pub fn is_zero(&self) -> bool {
        *self == Counts::default()
    }

    /// Compares by a metric that is a count or a rate; [`Metric::SpendMicros`] is not one of them and
    /// compares equal. Without impressions there is no rate, and it ranks below any.
    pub fn compare(&self, other: &Counts, metric: Metric) -> Ordering {
        match metric {
            Metric::Impressions => self.impressions.cmp(&other.impressions),
            Metric::Views => self.views.cmp(&other.views),
            Metric::Clicks => self.clicks.cmp(&other.clicks),
            Metric::ClicksGross => self.clicks_gross().cmp(&other.clicks_gross()),
            Metric::Duplicates => self.duplicates.cmp(&other.duplicates),
            Metric::Invalid => self.invalid.cmp(&other.invalid),
            Metric::Conversions => self.conversions.cmp(&other.conversions),
            Metric::Ctr => compare_rates(self, other),
            Metric::SpendMicros => Ordering::Equal,
        }
    }
}

/// Exact: cross-multiplied, so that equal rates are equal whatever their parts.
fn compare_rates(left: &Counts, right: &Counts) -> Ordering {
    let parts = |counts: &Counts| {
        let sign = i128::from(counts.impressions.signum());
        (i128::from(counts.clicks) * sign, i128::from(counts.impressions.unsigned_abs()))
    };
    match (left.impressions != 0, right.impressions != 0) {
        (true, true) => {
            let ((a, b), (c, d)) = (parts(left), parts(right));
            (a * d).cmp(&(c * b))
        }
        (left, right) => left.cmp(&right),
    }
}

/// A dimension's value with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// [`reckon_event::name_key`] of the text; 0: absent.
    pub key: u64,
    /// The text; `None` for an absent value, or one beyond the bound of the dictionary.
    pub text: Option<Arc<str>>,
}

/// The dimensions of a row: those grouped by, and only those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Key of the ad; 0: not registered.
    pub ad: Option<u64>,
    /// Key of the campaign; 0: not registered.
    pub campaign: Option<u64>,
    /// The region.
    pub region: Option<Text>,
    /// The device type.
    pub device: Option<Text>,
    /// The placement.
    pub placement: Option<Text>,
    /// Position on the page.
    pub position: Option<u16>,
    /// The verdict of everything in the row.
    pub reason: Option<Verdict>,
}

/// Money by currency, sorted, without zeros; a slice of pairs to all intents. Nearly always there is one
/// currency at most, and that needs no memory of its own: an answer has many rows.
#[derive(Clone, Default)]
pub struct Spend(Amounts);

#[derive(Clone, Default)]
enum Amounts {
    #[default]
    None,
    One([(Currency, Micros); 1]),
    Many(Vec<(Currency, Micros)>),
}

impl Spend {
    /// One amount.
    pub const fn one(currency: Currency, micros: Micros) -> Self {
        Spend(Amounts::One([(currency, micros)]))
    }

    /// The amounts.
    pub fn as_slice(&self) -> &[(Currency, Micros)] {
        self
    }
}

impl Deref for Spend {
    type Target = [(Currency, Micros)];

    fn deref(&self) -> &Self::Target {
        match &self.0 {
            Amounts::None => &[],
            Amounts::One(one) => one,
            Amounts::Many(many) => many,
        }
    }
}

impl fmt::Debug for Spend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Eq for Spend {}

impl<T: AsRef<[(Currency, Micros)]>> PartialEq<T> for Spend {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl AsRef<[(Currency, Micros)]> for Spend {
    fn as_ref(&self) -> &[(Currency, Micros)] {
        self
    }
}

impl From<Vec<(Currency, Micros)>> for Spend {
    fn from(amounts: Vec<(Currency, Micros)>) -> Self {
        match amounts[..] {
            [] => Spend::default(),
            [(currency, micros)] => Spend::one(currency, micros),
            _ => Spend(Amounts::Many(amounts)),
        }
    }
}

impl FromIterator<(Currency, Micros)> for Spend {
    fn from_iter<T: IntoIterator<Item = (Currency, Micros)>>(amounts: T) -> Self {
        amounts.into_iter().collect::<Vec<_>>().into()
    }
}

impl IntoIterator for Spend {
    type Item = (Currency, Micros);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        match self.0 {
            Amounts::Many(many) => many,
            few => Spend(few).to_vec(),
        }
        .into_iter()
    }
}

impl<'a> IntoIterator for &'a Spend {
    type Item = &'a (Currency, Micros);
    type IntoIter = std::slice::Iter<'a, (Currency, Micros)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One row of an answer. Rows where every figure is zero are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The start of the bucket, or the exclusive end of a sliding window; `None` for a total.
    pub bucket: Option<Timestamp>,
    /// The dimensions.
    pub keys: Keys,
    /// The counts.
    pub counts: Counts,
    /// Price of the counted clicks by currency, sorted, without zeros. Currencies are never added.
    pub spend: Spend,
}

impl Row {
    /// The spend where there is at most one currency in the row; `None` where there are several.
    pub fn spend_micros(&self) -> Option<Micros> {
        match &*self.spend {
            [] => Some(0),
            [(_, micros)] => Some(*micros),
            _ => None,
        }
    }
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `from`, rounded down to the granularity.
    pub from: Timestamp,
    /// `to`, rounded up to the granularity.
    pub to: Timestamp,
    /// The last epoch in it; `None` before the first.
    pub applied: Option<u64>,
    /// The name of the cube it was read from.
    pub cube: String,
    /// The rows, in the order asked for.
    pub rows: Vec<Row>,
}
