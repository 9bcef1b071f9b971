//! Reading files on a thread of their own: lines in, batches out, as fast as they are taken.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use tokio::sync::mpsc::Sender;

use super::batch::{Batch, Parsed, Place};
use crate::command::client::figures::Span;

/// A longer line is no event.
const LINE_BYTES_MAX: usize = 1 << 20;
/// A batch is sent once it is this large, however few events are in it.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Who pays for the ads of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The advertiser.
    pub advertiser_id: &'static str,
    /// Its campaign.
    pub campaign_id: &'static str,
    /// The price of a click in micros.
    pub cpc_micros: i64,
}

/// A format whose lines stand for themselves.
pub trait Lines: Send {
    /// Under what its ads are registered.
    fn account(&self) -> Account;

    /// Reads one line; the error says what is wrong with it.
    fn parse(&mut self, number: u64, line: &str) -> Result<Parsed, String>;
}

/// A batch and the lane that must send it.
pub type Laned = (usize, Batch);

/// Reasons for which lines or events were not taken, with how many and where the first one stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// By reason; reasons beyond the bound are counted only.
    pub by_reason: BTreeMap<String, (u64, Place)>,
    /// All of them.
    pub count: u64,
}

impl Refusals {
    const REASONS_MAX: usize = 20;

    /// Notes one.
    pub fn note(&mut self, place: Place, reason: String) {
        self.count += 1;
        self.add(reason, (1, place));
    }

    /// Adds another's.
    pub fn merge(&mut self, other: Refusals) {
        self.count += other.count;
        for (reason, entry) in other.by_reason {
            self.add(reason, entry);
        }
    }

    fn add(&mut self, reason: String, (count, place): (u64, Place)) {
        if self.by_reason.len() >= Self::REASONS_MAX && !self.by_reason.contains_key(&reason) {
            return;
        }
        let entry = self.by_reason.entry(reason).or_insert((0, place));
        *entry = (entry.0 + count, entry.1.min(place));
    }
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Lines that stand for something: without headings and empty ones.
    pub rows: u64,
    /// Lines that could not be read.
    pub refusals: Refusals,
    /// From the first to the last event; all times where an event tells none.
    pub span: Option<Span>,
}

impl Summary {
    /// Takes in when something happened; `None` where the log does not say.
    pub fn cover(&mut self, span: Option<Span>) {
        let span = span.unwrap_or(Span::EVER);
        self.span = Some(self.span.map_or(span, |all| all.with(span)));
    }
}

/// Collects events in batches, one growing batch a lane.
struct Collector<'a> {
    lines: &'a mut dyn Lines,
    lanes: Vec<Batch>,
    batch_events: usize,
    sender: &'a Sender<Laned>,
    summary: Summary,
}

/// Reads the files in order. Returns early, without an error, when nobody takes batches any more.
pub fn read(
    files: &[std::path::PathBuf],
    lines: &mut dyn Lines,
    lanes: usize,
    batch_events: usize,
    sender: &Sender<Laned>,
    progress: &ProgressBar,
) -> Result<Summary> {
    let lanes = vec![Batch::default(); lanes];
    let mut collector =
        Collector { lines, lanes, batch_events, sender, summary: Summary::default() };
    if each_line(files, progress, &mut |place, bytes| collector.take(place, bytes))?.is_continue() {
        // Whoever is gone tells why.
        let _gone = collector.flush();
    }
    Ok(collector.summary)
}

/// Hands over every line of the files, in order, with its end, until `take` has enough.
pub fn each_line(
    files: &[std::path::PathBuf],
    progress: &ProgressBar,
    take: &mut dyn FnMut(Place, &[u8]) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    for (file, path) in files.iter().enumerate() {
        if each_line_of(file, path, progress, take)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn each_line_of(
    file: usize,
    path: &Path,
    progress: &ProgressBar,
    take: &mut dyn FnMut(Place, &[u8]) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let opened = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut reader = BufReader::with_capacity(1 << 20, opened);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = reader.by_ref().take(limit).read_until(b'\n', &mut bytes);
        if read.with_context(|| format!("cannot read {}", path.display()))? == 0 {
            break;
        }
        anyhow::ensure!(
            bytes.len() <= LINE_BYTES_MAX,
            "{}:{line}: the line is longer than {LINE_BYTES_MAX} bytes",
            path.display()
        );
        progress.inc(bytes.len() as u64);
        if take(Place { file, line }, &bytes).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A line as text, without its end.
pub fn text_of(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    Ok(text.trim_end_matches(['\n', '\r']))
}

impl Collector<'_> {
    /// Breaks where nobody takes batches any more.
    fn take(&mut self, place: Place, bytes: &[u8]) -> ControlFlow<()> {
        match text_of(bytes).and_then(|text| self.lines.parse(place.line, text)) {
            Ok(parsed) => self.add(place, parsed),
            Err(reason) => {
                self.summary.rows += 1;
                self.summary.refusals.note(place, reason);
                ControlFlow::Continue(())
            }
        }
    }

    fn add(&mut self, place: Place, parsed: Parsed) -> ControlFlow<()> {
        self.summary.rows += u64::from(!parsed.events.is_empty());
        let mut ad = parsed.ad;
        for event in &parsed.events {
            self.summary.cover(event.span);
            let lane =
                usize::try_from(event.lane % self.lanes.len() as u64).expect("below a usize");
            let batch = &mut self.lanes[lane];
            batch.ads.extend(ad.take());
            batch.push(place, event);
            if batch.len() >= self.batch_events || batch.body.len() >= BATCH_BYTES_MAX {
                self.send(lane)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn flush(&mut self) -> ControlFlow<()> {
        (0..self.lanes.len()).try_for_each(|lane| self.send(lane))
    }

    fn send(&mut self, lane: usize) -> ControlFlow<()> {
        // An ad is announced by the lane that names it first; the others' batches that name it too
        // may be full sooner, so whatever was announced goes out with the next batch of all.
        let ads = self.lanes.iter_mut().flat_map(|batch| std::mem::take(&mut batch.ads)).collect();
        let batch = Batch { ads, ..std::mem::take(&mut self.lanes[lane]) };
        if batch.len() == 0 && batch.ads.is_empty() {
            return ControlFlow::Continue(());
        }
        match self.sender.blocking_send((lane, batch)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_closed) => ControlFlow::Break(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::talkingdata::Clicks;
    use super::*;
    use std::collections::HashSet;
    use std::io::Write as _;

    fn rows(count: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "ip,app,device,os,channel,click_time,attributed_time,is_attributed")
            .expect("room");
        for row in 0..count {
            let (ip, app) = (row % 37, row % 11);
            writeln!(file, "{ip},{app},1,19,178,2017-11-06 16:00:{:02},,0", row % 60)
                .expect("room");
        }
        writeln!(file, "broken").expect("room");
        file.flush().expect("room");
        file
    }

    fn collect(file: &tempfile::NamedTempFile, lanes: usize) -> (Vec<Laned>, Summary) {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1_000);
        let files = [file.path().to_owned()];
        let mut clicks = Clicks::new(false);
        let summary = read(&files, &mut clicks, lanes, 50, &sender, &ProgressBar::hidden())
            .expect("readable");
        drop(sender);
        let batches = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        (batches, summary)
    }

    #[test]
    fn every_row_is_sent_once_and_an_ad_is_known_before_its_first_event() {
        let file = rows(1_000);
        let (batches, summary) = collect(&file, 3);
        assert_eq!((summary.rows, summary.refusals.count), (1_001, 1));
        let place = summary.refusals.by_reason.values().next().expect("a reason").1;
        assert_eq!(place, Place { file: 0, line: 1_002 });
        let mut known = HashSet::new();
        let mut lines = HashSet::new();
        for (_, batch) in &batches {
            known.extend(batch.ads.iter().map(|ad| ad.ad_id.clone()));
            let text = std::str::from_utf8(&batch.body).expect("text");
            for (line, place) in text.lines().zip(&batch.places) {
                let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert!(known.contains(event["ad_id"].as_str().expect("an ad")), "{line}");
                assert!(lines.insert(place.line), "line {} was sent twice", place.line);
            }
            assert!(batch.len() <= 50 && batch.clicks == batch.len());
        }
        assert_eq!(lines.len(), 1_000);
    }

    #[test]
    fn one_address_keeps_its_order_in_one_lane() {
        let file = rows(1_000);
        let (batches, _) = collect(&file, 4);
        let mut last: std::collections::HashMap<String, (usize, u64)> =
            std::collections::HashMap::new();
        for (lane, batch) in &batches {
            let text = std::str::from_utf8(&batch.body).expect("text");
            for (line, place) in text.lines().zip(&batch.places) {
                let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let ip = event["ip"].as_str().expect("an address").to_owned();
                let (known_lane, before) =
                    last.insert(ip, (*lane, place.line)).unwrap_or((*lane, 0));
                assert!(known_lane == *lane && before < place.line);
            }
        }
        assert_eq!(last.len(), 37);
    }

    #[test]
    fn a_missing_file_is_named() {
        let (sender, _receiver) = tokio::sync::mpsc::channel(1);
        let files = [std::path::PathBuf::from("/nowhere/at-all.csv")];
        let result = read(&files, &mut Clicks::new(false), 1, 1, &sender, &ProgressBar::hidden());
        assert!(format!("{:#}", result.expect_err("missing")).contains("at-all.csv"));
    }
}
