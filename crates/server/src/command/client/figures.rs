//! What the server has counted, as `/v1/metrics` tells it, and waiting until it has counted all.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reckon_event::{Timestamp, Verdict};
use serde_json::Value;

use super::Client;

/// Pause between two questions.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// From when to when, in event time; `to` is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant no longer in it.
    pub to: Timestamp,
}

impl Span {
    /// All times Reckon takes.
    pub const EVER: Span =
        Span { from: Timestamp::MIN, to: Timestamp(Timestamp::MAX.0 - Timestamp::MINUTE) };

    /// This instant only.
    pub const fn at(time: Timestamp) -> Self {
        Span { from: time, to: Timestamp(time.0 + 1) }
    }

    /// Both, and what lies between.
    pub fn with(self, other: Span) -> Self {
        Span { from: self.from.min(other.from), to: self.to.max(other.to) }
    }
}

/// Counts of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Clicks by the name of their verdict.
    pub clicks: BTreeMap<String, i64>,
    /// Counted impressions.
    pub impressions: i64,
    /// Counted viewable impressions.
    pub views: i64,
    /// Price of the counted clicks, in micros.
    pub spend_micros: i64,
}

impl Figures {
    /// Asks for all of a span.
    pub async fn ask(client: &mut Client, span: Span) -> Result<Self> {
        let path = format!(
            "/v1/metrics?from={}&to={}&granularity=total&group_by=reason\
             &metrics=clicks_gross,impressions,views,spend_micros",
            span.from, span.to
        );
        Self::read(&client.get(&path).await?)
    }

    fn read(answer: &Value) -> Result<Self> {
        let rows = answer["rows"].as_array().context("/v1/metrics: the answer has no rows")?;
        let mut figures = Figures::default();
        for row in rows {
            let number = |name: &str| row[name].as_i64().unwrap_or(0);
            let reason = row["reason"].as_str().context("/v1/metrics: a row names no reason")?;
            if number("clicks_gross") != 0 {
                *figures.clicks.entry(reason.to_owned()).or_default() += number("clicks_gross");
            }
            figures.impressions += number("impressions");
            figures.views += number("views");
            figures.spend_micros += number("spend_micros");
        }
        Ok(figures)
    }

    /// All clicks received.
    pub fn clicks_gross(&self) -> i64 {
        self.clicks.values().sum()
    }

    /// The clicks that count.
    pub fn clicks_net(&self) -> i64 {
        self.clicks.get(Verdict::Counted.name()).copied().unwrap_or(0)
    }

    /// What was added since `earlier`. Verdicts without a difference are left out.
    pub fn since(&self, earlier: &Figures) -> Figures {
        let mut clicks = self.clicks.clone();
        for (reason, count) in &earlier.clicks {
            *clicks.entry(reason.clone()).or_default() -= count;
        }
        clicks.retain(|_, count| *count != 0);
        Figures {
            clicks,
            impressions: self.impressions - earlier.impressions,
            views: self.views - earlier.views,
            spend_micros: self.spend_micros - earlier.spend_micros,
        }
    }
}

/// What came of waiting.
#[derive(Clone, Debug)]
pub struct Caught {
    /// What was added since the figures that waiting began with.
    pub added: Figures,
    /// All that was waited for is in them.
    pub complete: bool,
    /// How long it took.
    pub waited: Duration,
}

/// Waits until `clicks` more clicks than `before` are counted, whatever their verdict; gives up once
/// nothing was added for `patience`.
pub async fn catch_up(
    client: &mut Client,
    span: Span,
    before: &Figures,
    clicks: i64,
    patience: Duration,
) -> Result<Caught> {
    let is_complete = |added: &Figures| added.clicks_gross() >= clicks;
    catch_up_to(client, span, before, is_complete, patience).await
}

/// Waits until what was added since `before` is complete; gives up once nothing was added for
/// `patience`.
pub async fn catch_up_to(
    client: &mut Client,
    span: Span,
    before: &Figures,
    is_complete: impl Fn(&Figures) -> bool,
    patience: Duration,
) -> Result<Caught> {
    let started = Instant::now();
    let mut last = (Figures::default(), Instant::now());
    loop {
        let added = Figures::ask(client, span).await?.since(before);
        let complete = is_complete(&added);
        if added != last.0 {
            last = (added.clone(), Instant::now());
        }
        if complete || last.1.elapsed() > patience {
            return Ok(Caught { added, complete, waited: started.elapsed() });
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn figures(counted: i64, duplicate: i64) -> Figures {
        let rows = json!({"rows": [
            {"reason": "counted", "clicks_gross": counted, "impressions": 3, "spend_micros": 10 * counted},
            {"reason": "duplicate", "clicks_gross": duplicate, "views": 0},
        ]});
        Figures::read(&rows).expect("well formed")
    }

    #[test]
    fn what_was_added_is_a_difference() {
        let added = figures(7, 4).since(&figures(7, 1));
        assert_eq!(added.clicks, BTreeMap::from([("duplicate".to_owned(), 3)]));
        assert_eq!((added.clicks_gross(), added.clicks_net(), added.spend_micros), (3, 0, 0));
        assert_eq!(figures(7, 4).clicks_gross(), 11);
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error() {
        assert!(Figures::read(&json!({"rows": [{"clicks_gross": 1}]})).is_err());
        assert!(Figures::read(&json!({})).is_err());
    }

    #[test]
    fn spans_grow_to_hold_what_they_are_given() {
        let span = Span::at(Timestamp(5)).with(Span::at(Timestamp(3)));
        assert_eq!(span, Span { from: Timestamp(3), to: Timestamp(6) });
    }
}
