//! What truly happened, gathered while it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use reckon_event::{Kind, Timestamp, Verdict};
use reckon_market::{Cell, Counts, Judgement, Trouble};

use super::behaviour::Clicked;

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `POST /v1/ads/serve`
    Serve,
    /// `GET /click`, also by scanners.
    Click,
    /// `GET /v1/impression`, `GET /v1/view`
    Pixel,
    /// `POST /v1/events` by an app.
    Batch,
    /// `POST /v1/events` by a shop.
    Order,
}

impl Asked {
    /// All of them.
    pub const ALL: [Asked; 5] =
        [Asked::Serve, Asked::Click, Asked::Pixel, Asked::Batch, Asked::Order];

    /// Its name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Asked::Serve => "serve",
            Asked::Click => "click",
            Asked::Pixel => "pixel",
            Asked::Batch => "batch",
            Asked::Order => "order",
        }
    }
}

/// Subsets of the records that are kept apart, for rules that are to find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// By a machine that looks like a browser.
    Bot,
    /// The second click of a double click.
    DoubleClick,
    /// Uploaded hours late.
    Late,
}

impl Mark {
    /// All of them.
    pub const ALL: [Mark; 3] = [Mark::Bot, Mark::DoubleClick, Mark::Late];

    /// Its name in the truth file.
    pub const fn name(self) -> &'static str {
        match self {
            Mark::Bot => "bots",
            Mark::DoubleClick => "double_clicks",
            Mark::Late => "late_phones",
        }
    }
}

/// One acknowledged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Index of its ad; `None` where none that is registered is named.
    pub ad: Option<usize>,
    /// When it happened, as it must have been counted.
    pub happened: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// What it must become.
    pub verdict: Verdict,
}

/// All that has happened so far.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Acknowledged records by ad, minute, kind and verdict.
    pub counts: Counts,
    /// Subsets of them, by [`Mark`].
    pub marked: [Counts; Mark::ALL.len()],
    /// The clicks among them that the first two steps let count, in the order they were received.
    pub clicks: Vec<Clicked>,
    /// Clicks that behavioural rules have taken; see [`Truth::judged`].
    pub taken: BTreeMap<Verdict, u64>,
    /// How often each trouble came, by [`Trouble`].
    pub troubles: [u64; Trouble::ALL.len()],
    /// What was shown and predicted.
    pub judgement: Judgement,
    /// Visits that are over.
    pub visit_count: u64,
    /// Records that were not acknowledged: each may count or not. 0 on a healthy server.
    pub uncertain: u64,
    /// Records whose hour is not known for sure, since the server did not tell it.
    pub near_border: u64,
    /// Answers that were none, or other than they must be.
    pub failures: u64,
    /// The first of them, in words.
    pub first_failure: Option<String>,
    /// From when a request was due to its answer, in nanoseconds, by [`Asked`].
    pub latency: [Histogram<u64>; Asked::ALL.len()],
}

impl Truth {
    /// Nothing yet.
    pub fn new(judgement: Judgement) -> Self {
        Truth {
            counts: Counts::default(),
            marked: Default::default(),
            clicks: Vec::new(),
            taken: BTreeMap::new(),
            troubles: [0; Trouble::ALL.len()],
            judgement,
            visit_count: 0,
            uncertain: 0,
            near_border: 0,
            failures: 0,
            first_failure: None,
            latency: Asked::ALL.map(|_| {
                Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("they are in order")
            }),
        }
    }

    /// Takes a record in, and into the subsets that it is said to be of.
    pub fn note(&mut self, noted: Noted, marks: &[Mark]) {
        let Noted { ad, happened, kind, verdict } = noted;
        let bucket = happened.seconds().div_euclid(60) * 60;
        let cell = Cell { ad, bucket, kind, verdict };
        self.counts.add(cell);
        for mark in marks {
            self.marked[*mark as usize].add(cell);
        }
    }

    /// A trouble came.
    pub fn trouble(&mut self, trouble: Trouble) {
        self.troubles[trouble as usize] += 1;
    }

    /// How often a trouble came.
    pub const fn occurrences(&self, trouble: Trouble) -> u64 {
        self.troubles[trouble as usize]
    }

    /// An answer was not what it must be; so many records may or may not count.
    pub fn fail(&mut self, what: String, records: u64) {
        self.failures += 1;
        self.uncertain += records;
        self.first_failure.get_or_insert(what);
    }

    /// A request was answered so long after it was due.
    pub fn latency(&mut self, asked: Asked, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency[asked as usize].saturating_record(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_fall_into_their_minute_and_their_subsets() {
        let mut truth = Truth::new(Judgement::new(Timestamp(0), Timestamp::DAY, 24));
        let noted = Noted {
            ad: Some(3),
            happened: Timestamp(119_999_999),
            kind: Kind::Click,
            verdict: Verdict::Counted,
        };
        truth.note(noted, &[Mark::Bot]);
        truth.note(Noted { happened: Timestamp(120_000_000), ..noted }, &[]);
        let minutes: Vec<i64> = truth.counts.iter().map(|(cell, _)| cell.bucket).collect();
        assert_eq!(minutes, [60, 120]);
        let marked = Mark::ALL.map(|mark| truth.marked[mark as usize].records());
        assert_eq!(marked, [1, 0, 0]);
    }

    #[test]
    fn names_stand_at_the_place_of_their_number() {
        assert!(Asked::ALL.iter().enumerate().all(|(at, asked)| *asked as usize == at));
        assert!(Mark::ALL.iter().enumerate().all(|(at, mark)| *mark as usize == at));
    }

    #[test]
    fn the_first_failure_is_kept_in_words() {
        let mut truth = Truth::new(Judgement::new(Timestamp(0), Timestamp::DAY, 1));
        truth.fail("one".to_owned(), 2);
        truth.fail("two".to_owned(), 1);
        assert_eq!((truth.failures, truth.uncertain), (2, 3));
        assert_eq!(truth.first_failure.as_deref(), Some("one"));
    }
}
