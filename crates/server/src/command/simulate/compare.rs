//! The server's figures beside the truth, one by one: by ad, bucket of time, kind and verdict.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use reckon_event::{Kind, Reason, Timestamp, Verdict};
use reckon_market::{Counts, Market};
use serde_json::Value;

use crate::command::client::Client;

/// The ad of records that name none that is registered, as `/v1/metrics` tells it.
pub const UNKNOWN_AD: &str = "(unknown)";
/// Differences that are told in words.
const TOLD_MAX: usize = 5;

/// Widths of buckets that the server can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// By the minute.
    Minute,
    /// By the hour.
    Hour,
}

impl Width {
    /// In seconds.
    pub const fn seconds(self) -> i64 {
        match self {
            Width::Minute => 60,
            Width::Hour => 3_600,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Width::Minute => "1m",
            Width::Hour => "1h",
        }
    }
}

/// What one figure is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Figure {
    /// The ad.
    pub ad_id: String,
    /// The second at which its bucket begins; 0 where all buckets are taken together.
    pub bucket: i64,
    /// What happened.
    pub kind: Kind,
    /// The name of the verdict.
    pub verdict: String,
}

/// Figures that are not 0.
pub type Figures = BTreeMap<Figure, i64>;

/// Asks `/v1/metrics` about a market's ads.
pub async fn ask(
    client: &mut Client,
    market: &Market,
    (from, to): (Timestamp, Timestamp),
    width: Width,
) -> Result<Figures> {
    let path = format!(
        "/v1/metrics?from={from}&to={to}&granularity={}&group_by=ad_id,reason\
         &metrics=clicks_gross,impressions,views,conversions",
        width.name()
    );
    read(&client.get(&path).await?, market)
}

fn read(answer: &Value, market: &Market) -> Result<Figures> {
    let rows = answer["rows"].as_array().context("/v1/metrics: the answer has no rows")?;
    let mut figures = Figures::new();
    for row in rows {
        let text = |name: &str| {
            row[name].as_str().with_context(|| format!("/v1/metrics: a row without {name}"))
        };
        let ad_id = text("ad_id")?;
        if ad_id != UNKNOWN_AD && market.ad_index(ad_id).is_none() {
            continue;
        }
        let bucket = Timestamp::parse(text("bucket")?).context("/v1/metrics: bucket")?.seconds();
        for (kind, name) in [
            (Kind::Click, "clicks_gross"),
            (Kind::Impression, "impressions"),
            (Kind::View, "views"),
            (Kind::Conversion, "conversions"),
        ] {
            let count = row[name].as_i64().with_context(|| format!("/v1/metrics: no {name}"))?;
            if count != 0 {
                let verdict = text("reason")?.to_owned();
                figures.insert(Figure { ad_id: ad_id.to_owned(), bucket, kind, verdict }, count);
            }
        }
    }
    Ok(figures)
}

/// What the server must answer if this is what happened: clicks with every verdict, everything else
/// where it counts.
pub fn expected(market: &Market, counts: &Counts, width: Width) -> Figures {
    let mut figures = Figures::new();
    for (cell, count) in counts.by(width.seconds()).iter() {
        if cell.kind != Kind::Click && cell.verdict != Verdict::Counted {
            continue;
        }
        let ad_id = cell.ad.map_or(UNKNOWN_AD, |ad| &market.ads[ad].ad_id).to_owned();
        let verdict = cell.verdict.name().to_owned();
        let figure = Figure { ad_id, bucket: cell.bucket, kind: cell.kind, verdict };
        figures.insert(figure, i64::try_from(count).expect("fewer than 2^63 records"));
    }
    figures
}

/// What was added since `before`.
pub fn since(after: &Figures, before: &Figures) -> Figures {
    let mut added = after.clone();
    for (figure, count) in before {
        *added.entry(figure.clone()).or_default() -= count;
    }
    added.retain(|_, count| *count != 0);
    added
}

/// Figures in which clicks that behavioural rules have taken stand where they were counted before.
pub fn without_behaviour(figures: &Figures) -> Figures {
    let behavioural =
        [Reason::DoubleClick, Reason::RapidUser, Reason::RapidIp, Reason::RapidIpAgent];
    let names = behavioural.map(|reason| Verdict::Invalid(reason).name());
    let mut before = Figures::new();
    for (figure, count) in figures {
        let mut figure = figure.clone();
        if names.contains(&figure.verdict.as_str()) {
            figure.verdict = Verdict::Counted.name().to_owned();
        }
        *before.entry(figure).or_default() += count;
    }
    before
}

/// Figures by minute in wider buckets.
pub fn widen(figures: &Figures, width: Width) -> Figures {
    let mut wider = Figures::new();
    for (figure, count) in figures {
        let bucket = figure.bucket.div_euclid(width.seconds()) * width.seconds();
        *wider.entry(Figure { bucket, ..figure.clone() }).or_default() += count;
    }
    wider
}

/// The same figures over all buckets together.
pub fn over_time(figures: &Figures) -> Figures {
    let mut sums = Figures::new();
    for (figure, count) in figures {
        *sums.entry(Figure { bucket: 0, ..figure.clone() }).or_default() += count;
    }
    sums
}

/// How two sets of figures compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Figures in either of them.
    pub compared: usize,
    /// Records in what was counted.
    pub counted: i64,
    /// Records in what was expected.
    pub expected: i64,
    /// Figures that differ.
    pub different: usize,
    /// The first of them, in words.
    pub told: Vec<String>,
}

impl Comparison {
    /// Compares what was counted with what must have been.
    pub fn of(counted: &Figures, expected: &Figures) -> Self {
        let sum = |figures: &Figures| figures.values().sum();
        let (counted_sum, expected_sum) = (sum(counted), sum(expected));
        let mut comparison =
            Comparison { counted: counted_sum, expected: expected_sum, ..Comparison::default() };
        let only_counted = counted.keys().filter(|figure| !expected.contains_key(figure));
        for figure in expected.keys().chain(only_counted) {
            let of = |figures: &Figures| figures.get(figure).copied().unwrap_or(0);
            let (counted, expected) = (of(counted), of(expected));
            comparison.compared += 1;
            if counted != expected {
                comparison.different += 1;
                if comparison.told.len() < TOLD_MAX {
                    comparison.told.push(tell(figure, counted, expected));
                }
            }
        }
        comparison
    }

    /// True where all are equal, and there was something to compare.
    pub fn holds(&self) -> bool {
        self.different == 0 && self.compared > 0
    }
}

fn tell(figure: &Figure, counted: i64, expected: i64) -> String {
    let Figure { ad_id, bucket, kind, verdict } = figure;
    let when = Timestamp::from_seconds(*bucket);
    format!("{ad_id} {when} {} {verdict}: {counted} counted, {expected} happened", kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reckon_market::{Cell, Options};
    use serde_json::json;

    fn market() -> Market {
        Market::new(Options { user_count: 2, ad_count: 2, ..Options::new(1) })
    }

    fn counts() -> Counts {
        let mut counts = Counts::default();
        for (ad, bucket, kind, verdict) in [
            (Some(0), 60, Kind::Click, Verdict::Counted),
            (Some(0), 120, Kind::Click, Verdict::Counted),
            (Some(0), 120, Kind::Click, Verdict::Duplicate),
            (Some(1), 3_600, Kind::Impression, Verdict::Counted),
            (Some(1), 3_600, Kind::Impression, Verdict::Duplicate),
            (None, 0, Kind::Click, Verdict::UnknownAd),
        ] {
            counts.add(Cell { ad, bucket, kind, verdict });
        }
        counts
    }

    fn answer(bucket: &str) -> Value {
        let row = |ad: &str, reason: &str, clicks: u32, impressions: u32| {
            json!({"ad_id": ad, "bucket": bucket, "reason": reason, "clicks_gross": clicks,
                   "impressions": impressions, "views": 0, "conversions": 0})
        };
        json!({"rows": [
            row("m1-ad-000", "counted", 2, 0), row("m1-ad-000", "duplicate", 1, 0),
            row("(unknown)", "unknown_ad", 1, 0), row("of-somebody-else", "counted", 9, 9),
        ]})
    }

    #[test]
    fn what_the_server_answers_is_what_happened() {
        let market = market();
        let expected = expected(&market, &counts(), Width::Hour);
        let mut counted = read(&answer("1970-01-01T00:00:00Z"), &market).expect("well formed");
        let missing = Comparison::of(&counted, &expected);
        assert_eq!((missing.different, missing.compared), (1, 4));
        assert_eq!((missing.counted, missing.expected), (4, 5));
        assert!(
            missing.told[0].starts_with("m1-ad-001 1970-01-01T01:00:00Z impression counted: 0")
        );
        let late = Figure {
            ad_id: "m1-ad-001".to_owned(),
            bucket: 3_600,
            kind: Kind::Impression,
            verdict: "counted".to_owned(),
        };
        counted.insert(late.clone(), 1);
        assert!(Comparison::of(&counted, &expected).holds());
        counted.insert(Figure { bucket: 7_200, ..late }, 1);
        assert_eq!(Comparison::of(&counted, &expected).different, 1, "one too many");
        assert!(!Comparison::of(&Figures::new(), &Figures::new()).holds(), "nothing was compared");
    }

    #[test]
    fn buckets_matter_but_where_they_are_taken_together() {
        let market = market();
        let expected = expected(&market, &counts(), Width::Minute);
        let elsewhere = read(&answer("1970-01-01T05:00:00Z"), &market).expect("well formed");
        let comparison = Comparison::of(&elsewhere, &expected);
        assert_eq!(comparison.different, 8);
        let comparison = Comparison::of(&over_time(&elsewhere), &over_time(&expected));
        assert_eq!(comparison.different, 1, "{comparison:?}");
        assert!(since(&expected, &expected).is_empty());
    }
}
