//! Rows that are a prediction and what came of it, and reading them.
//!
//! A row asks `POST /api/predict` about one ad and gets a token. With the token its impression is
//! told, and its click where there was one: so position and propensity arrive as they were logged,
//! sealed with what the model believed before it knew. A row's id is made of its line's number and
//! content and of its file's first row; it is the key under which the server keeps the answer, so the
//! same row sent again gets the same token and adds duplicates only.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use indicatif::ProgressBar;
use reckon_event::{Kind, Timestamp, name_key, valid_name};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc::Sender;

use super::batch::{Ad, Place, event_id};
use super::read::{Account, Summary, each_line, text_of};
use crate::command::client::figures::Span;

/// Rows handed over at once: their ads are registered together.
const CHUNK_ROWS: usize = 64;
/// The most ads told apart.
const ADS_MAX: usize = 1_000_000;

/// A format whose lines are predictions with an outcome.
pub trait Rows: Send {
    /// Under what its ads are registered.
    fn account(&self) -> Account;

    /// Reads one line, without giving the row its id; `None` for a heading. The error names the
    /// column and what is wrong with it.
    fn parse(&mut self, number: u64, line: &str) -> Result<Option<Row>, String>;
}

/// One ad that was shown to somebody, and whether it was clicked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The same row of the same file has the same one.
    pub id: String,
    /// The ad.
    pub ad_id: String,
    /// What was known of the moment.
    pub context: Map<String, Value>,
    /// Where it was shown, from 1, if the log says so.
    pub position: Option<u16>,
    /// The probability with which it was chosen for its place, if the log says so.
    pub propensity: Option<f64>,
    /// When it was shown, if the log says so.
    pub happened: Option<Timestamp>,
    /// It was clicked.
    pub clicked: bool,
}

/// The body of `POST /api/predict`.
#[derive(Serialize)]
struct Question<'a> {
    ad_candidates: [&'a str; 1],
    context: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    positions: Option<[u16; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    propensities: Option<[f64; 1]>,
    mint: usize,
    request_id: &'a str,
}

/// An event of `POST /v1/events`.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    imp: &'a str,
    ad_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u16>,
    request_id: &'a str,
}

impl Row {
    /// The question how likely it is clicked, as JSON.
    pub fn question(&self) -> String {
        let question = Question {
            ad_candidates: [&self.ad_id],
            context: &self.context,
            positions: self.position.map(|position| [position]),
            propensities: self.propensity.map(|propensity| [propensity]),
            mint: 1,
            request_id: &self.id,
        };
        serde_json::to_string(&question).expect("texts and numbers are JSON")
    }

    /// Its impression or its click, as JSON.
    pub fn event(&self, kind: Kind, token: &str) -> String {
        let event = Event {
            kind: kind.name(),
            imp: token,
            ad_id: &self.ad_id,
            occurred_at: self.happened.map(|at| at.to_string()),
            position: self.position,
            request_id: &self.id,
        };
        serde_json::to_string(&event).expect("texts and numbers are JSON")
    }
}

/// An ad's id out of a column.
pub fn ad_id(name: &str, text: &str) -> Result<String, String> {
    valid_name(text).map_err(|error| format!("{name}: is the ad, and {error}"))?;
    Ok(text.to_owned())
}

/// Some rows, and the ads that must be registered before the first of them is asked about.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The rows, in order.
    pub rows: Vec<(Place, Row)>,
    /// Ads that no earlier chunk has named.
    pub ads: Vec<Ad>,
}

/// Collects rows in chunks.
struct Collector<'a> {
    rows: &'a mut dyn Rows,
    named: HashSet<String>,
    /// The file being read, and the key of its first row: alike lines of two files are two rows.
    first_row: Option<(usize, u64)>,
    chunk: Chunk,
    sender: &'a Sender<Chunk>,
    summary: Summary,
}

/// Reads the files in order. Returns early, without an error, when nobody takes chunks any more.
pub fn read(
    files: &[PathBuf],
    rows: &mut dyn Rows,
    sender: &Sender<Chunk>,
    progress: &ProgressBar,
) -> Result<Summary> {
    let mut collector = Collector {
        rows,
        named: HashSet::new(),
        first_row: None,
        chunk: Chunk::default(),
        sender,
        summary: Summary::default(),
    };
    if each_line(files, progress, &mut |place, bytes| collector.take(place, bytes))?.is_continue() {
        // Whoever is gone tells why.
        let _gone = collector.flush();
    }
    Ok(collector.summary)
}

impl Collector<'_> {
    fn take(&mut self, place: Place, bytes: &[u8]) -> ControlFlow<()> {
        match text_of(bytes).and_then(|text| self.parse(place, text)) {
            Ok(None) => return ControlFlow::Continue(()),
            Ok(Some(row)) => {
                self.summary.cover(row.happened.map(Span::at));
                self.chunk.rows.push((place, row));
            }
            Err(reason) => self.summary.refusals.note(place, reason),
        }
        self.summary.rows += 1;
        if self.chunk.rows.len() < CHUNK_ROWS { ControlFlow::Continue(()) } else { self.flush() }
    }

    fn parse(&mut self, place: Place, text: &str) -> Result<Option<Row>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = self.rows.parse(place.line, text);
        if parsed == Ok(None) {
            return parsed;
        }
        let id = self.id(place, text);
        let Some(row) = parsed? else { return Ok(None) };
        self.announce(&row.ad_id)?;
        Ok(Some(Row { id, ..row }))
    }

    fn id(&mut self, place: Place, text: &str) -> String {
        let first_row = match self.first_row {
            Some((file, key)) if file == place.file => key,
            _ => name_key(text),
        };
        self.first_row = Some((place.file, first_row));
        let format = self.rows.account().advertiser_id;
        let file = format!("-{:08x}", first_row >> 32);
        format!("{format}-{}", event_id(place.line, text.as_bytes(), &file))
    }

    /// Notes an ad that must be registered, where it is a new one.
    fn announce(&mut self, ad_id: &str) -> Result<(), String> {
        if self.named.contains(ad_id) {
            return Ok(());
        }
        if self.named.len() >= ADS_MAX {
            return Err(format!("there are more than {ADS_MAX} different ads"));
        }
        self.named.insert(ad_id.to_owned());
        self.chunk.ads.push(ad(self.rows.account(), ad_id));
        Ok(())
    }

    fn flush(&mut self) -> ControlFlow<()> {
        if self.chunk.rows.is_empty() {
            return ControlFlow::Continue(());
        }
        match self.sender.blocking_send(std::mem::take(&mut self.chunk)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_closed) => ControlFlow::Break(()),
        }
    }
}

fn ad(account: Account, ad_id: &str) -> Ad {
    let path: String = url::form_urlencoded::byte_serialize(ad_id.as_bytes()).collect();
    let destination_url = format!("https://{}.example/{path}", account.advertiser_id);
    Ad { ad_id: ad_id.to_owned(), destination_url }
}

#[cfg(test)]
mod tests {
    use super::super::criteo::{self, Criteo};
    use super::*;
    use serde_json::json;
    use std::io::Write as _;

    #[test]
    fn a_row_is_a_question_and_its_events() {
        let row = Row {
            id: "x-2-ab".to_owned(),
            ad_id: "item \"3\"".to_owned(),
            context: json!({"device": "mobile", "age": 7}).as_object().expect("it is").clone(),
            position: Some(3),
            propensity: Some(0.25),
            happened: Some(Timestamp(1_500_000)),
            clicked: true,
        };
        let question: Value = serde_json::from_str(&row.question()).expect("JSON");
        let expect = json!({
            "ad_candidates": ["item \"3\""], "context": {"device": "mobile", "age": 7},
            "positions": [3], "propensities": [0.25], "mint": 1, "request_id": "x-2-ab",
        });
        assert_eq!(question, expect);
        let event: Value = serde_json::from_str(&row.event(Kind::Click, "T")).expect("JSON");
        let expect = json!({
            "type": "click", "imp": "T", "ad_id": "item \"3\"", "position": 3,
            "occurred_at": "1970-01-01T00:00:01.5Z", "request_id": "x-2-ab",
        });
        assert_eq!(event, expect);
    }

    #[test]
    fn what_a_log_does_not_say_is_left_out() {
        let row = Row { ad_id: "a".to_owned(), ..Row::default() };
        assert!(!row.question().contains("positions") && !row.question().contains("propensities"));
        let event = row.event(Kind::Impression, "T");
        assert!(!event.contains("occurred_at") && !event.contains("position"), "{event}");
    }

    #[test]
    fn an_ad_is_announced_before_its_first_row_and_once() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        for number in 0..200 {
            writeln!(file, "{}", criteo::line(number % 2 == 0, &format!("ad{}", number % 7)))
                .expect("room");
        }
        writeln!(file, "\nbroken").expect("room");
        let (sender, mut receiver) = tokio::sync::mpsc::channel(100);
        let files = [file.path().to_owned()];
        let mut rows = Criteo::default();
        let summary =
            read(&files, &mut rows, &sender, &ProgressBar::hidden()).expect("it is readable");
        assert_eq!((summary.rows, summary.refusals.count), (201, 1));
        let (mut known, mut lines) = (HashSet::new(), Vec::new());
        while let Ok(chunk) = receiver.try_recv() {
            for ad in chunk.ads {
                assert!(known.insert(ad.ad_id.clone()), "{} is announced twice", ad.ad_id);
                assert_eq!(ad.destination_url, format!("https://criteo.example/{}", ad.ad_id));
            }
            for (place, row) in chunk.rows {
                assert!(known.contains(&row.ad_id), "{}", row.ad_id);
                lines.push(place.line);
            }
        }
        assert_eq!((known.len(), lines), (7, (1..=200).collect()));
    }

    fn ids(texts: &[String]) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |(number, text): (usize, &String)| {
            let path = dir.path().join(number.to_string());
            std::fs::write(&path, text).expect("room");
            path
        };
        let files: Vec<PathBuf> = texts.iter().enumerate().map(write).collect();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(100);
        let mut rows = Criteo::default();
        read(&files, &mut rows, &sender, &ProgressBar::hidden()).expect("they are readable");
        drop(sender);
        let chunks = std::iter::from_fn(|| receiver.try_recv().ok());
        chunks.flat_map(|chunk| chunk.rows).map(|(_, row)| row.id).collect()
    }

    #[test]
    fn a_row_is_known_again_and_told_from_its_like() {
        let [a, b] = [criteo::line(true, "a"), criteo::line(false, "b")];
        let one = format!("{a}\n{b}\n{b}\n");
        let other = format!("{b}\n{b}\n{b}\n");
        let first = ids(&[one.clone(), other.clone()]);
        let distinct: HashSet<&String> = first.iter().collect();
        assert_eq!((first.len(), distinct.len()), (6, 6), "{first:?}");
        assert_eq!(ids(&[other, one.clone()]), [&first[3..], &first[..3]].concat());
        assert_eq!(ids(&[format!("{one}{a}\n")])[..3], first[..3], "a file may grow");
        assert!(first[0].starts_with("criteo-1-"), "{}", first[0]);
    }
}
