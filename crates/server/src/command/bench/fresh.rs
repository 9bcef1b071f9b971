//! How long an acknowledged click takes to be visible in `/v1/metrics`, while others load the server.
//!
//! ```text
//! sender:  GET /click -> 302, the time of the answer ---> channel
//! looker:  GET /v1/metrics of the ad: n clicks       ---> the first n of them are visible
//! ```
//!
//! An ad of its own is clicked over one connection, one click after the other, so they are counted in
//! the order in which they were acknowledged, and their number says which of them are visible. Clicks
//! come at random distances: evenly spaced ones could keep step with the counter's epochs. Half of the
//! distance between two looks is in the figures.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reckon_event::Timestamp;
use serde_json::Value;

use super::ingest::Options;
use super::mint::{Minting, Rendered, Shelf, render_click};
use super::outcome::histogram;
use super::wire::Connection;
use crate::command::client::Address;

/// Between two clicks, at least and at most.
const CLICK_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(35));
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A click that is not visible after this long is taken to be lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clicks that are ready to be sent.
pub struct Probe {
    address: Address,
    clicks: Rendered,
    question: Vec<u8>,
}

/// What a probe has seen.
pub struct Seen {
    /// Clicks sent; all of them were acknowledged, and became visible.
    pub clicks: u64,
    /// From the acknowledgement to the first answer that has the click, in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Probe {
    /// Mints as many clicks as can be sent while the load runs.
    pub fn new(address: &Address, options: &Options) -> Result<Self> {
        let seconds = Duration::from_secs(options.seconds).as_millis();
        let count = usize::try_from(seconds / CLICK_PAUSE.0.as_millis())?.max(1);
        let minting = Minting::new(address.clone(), options.key.clone(), count);
        let clicks = Minting { shelf: Shelf::PROBE, ..minting }.run(render_click)?;
        let question = question(address, options.key.as_deref())?;
        Ok(Probe { address: address.clone(), clicks, question })
    }

    /// Clicks and looks until the load is over and every click is visible.
    pub fn run(&self, is_over: &AtomicBool) -> Result<Seen> {
        let mut looks = Connection::open(&self.address)?;
        let before = self.look(&mut looks)?;
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || self.send(is_over, &sender));
            let seen = self.watch(&mut looks, before, &receiver);
            // Whoever sends notices that nobody watches any more.
            drop(receiver);
            sending.join().expect("sending does not panic")?;
            seen
        })
    }

    fn send(&self, is_over: &AtomicBool, acknowledged: &Sender<Instant>) -> Result<()> {
        let mut connection = Connection::open(&self.address)?;
        let mut random = StdRng::seed_from_u64(1);
        for number in 0..self.clicks.len() {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let click = self.clicks.slice(number..number + 1);
            let (head, _) = connection.exchange(click, b"")?;
            ensure!(head.status == 302 && !head.degraded, "/click answered {}", head.status);
            if acknowledged.send(Instant::now()).is_err() {
                break;
            }
            std::thread::sleep(random.random_range(CLICK_PAUSE.0..CLICK_PAUSE.1));
        }
        Ok(())
    }

    fn watch(
        &self,
        connection: &mut Connection,
        before: u64,
        acknowledged: &Receiver<Instant>,
    ) -> Result<Seen> {
        let mut seen = Seen { clicks: 0, latency: histogram() };
        let mut waiting = Waiting::default();
        let mut grown = Instant::now();
        loop {
            let visible = self.look(connection)?.saturating_sub(before);
            let now = Instant::now();
            waiting.take(acknowledged);
            while seen.clicks < visible {
                let Some(click) = waiting.next(acknowledged) else {
                    bail!("{visible} clicks are visible, and {} were acknowledged", seen.clicks);
                };
                let nanos = now.saturating_duration_since(click).as_nanos();
                seen.latency.saturating_record(u64::try_from(nanos).unwrap_or(u64::MAX));
                seen.clicks += 1;
                grown = now;
            }
            if waiting.is_over() {
                return Ok(seen);
            }
            let is_stuck = !waiting.clicks.is_empty() && grown.elapsed() > PATIENCE;
            ensure!(!is_stuck, "a click is not visible after {} s", PATIENCE.as_secs());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// How many clicks of the probe's ad are visible.
    fn look(&self, connection: &mut Connection) -> Result<u64> {
        let (head, body) = connection.exchange(&self.question, b"")?;
        ensure!(head.status == 200, "{}: {}", head.status, String::from_utf8_lossy(body));
        clicks_of(body)
    }
}

/// Clicks that are acknowledged and not visible yet, oldest first.
#[derive(Default)]
struct Waiting {
    clicks: VecDeque<Instant>,
    is_closed: bool,
}

impl Waiting {
    /// Takes in what was acknowledged meanwhile.
    fn take(&mut self, acknowledged: &Receiver<Instant>) {
        loop {
            match acknowledged.try_recv() {
                Ok(click) => self.clicks.push_back(click),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }

    /// The oldest. A click may be visible before its sender has read the answer.
    fn next(&mut self, acknowledged: &Receiver<Instant>) -> Option<Instant> {
        self.clicks.pop_front().or_else(|| acknowledged.recv().ok())
    }

    /// Nothing waits, and nothing more will come.
    fn is_over(&self) -> bool {
        self.is_closed && self.clicks.is_empty()
    }
}

/// Asks for the clicks of the probe's ad from this minute on.
fn question(address: &Address, key: Option<&str>) -> Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let from = Timestamp::from_seconds(i64::try_from(now.as_secs())?).floor(Timestamp::MINUTE);
    let authorization =
        key.map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
    let question = format!(
        "GET /v1/metrics?from={from}&to={}&granularity=total&ad_id={}&metrics=clicks HTTP/1.1\r\n\
         Host: {}\r\n{authorization}\r\n",
        from.plus(Timestamp::DAY),
        Shelf::PROBE.ad_id(0),
        address.authority
    );
    Ok(question.into_bytes())
}

/// The clicks in an answer of one row; no row is no click.
fn clicks_of(body: &[u8]) -> Result<u64> {
    let answer: Value = serde_json::from_slice(body).context("/v1/metrics: not JSON")?;
    let rows = answer["rows"].as_array().context("/v1/metrics: the answer has no rows")?;
    let Some(row) = rows.first() else { return Ok(0) };
    row["clicks"].as_u64().context("/v1/metrics: the row has no clicks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clicks_are_read_from_an_answer() {
        let clicks = |text: &str| clicks_of(text.as_bytes()).ok();
        assert_eq!(clicks(r#"{"as_of":1,"rows":[{"clicks":7}]}"#), Some(7));
        assert_eq!(clicks(r#"{"rows":[]}"#), Some(0));
        assert_eq!([r#"{"rows":[{}]}"#, "{}", "no"].map(clicks), [None; 3]);
    }

    #[test]
    fn a_click_waits_until_it_is_visible() {
        let (sender, receiver) = channel();
        let mut waiting = Waiting::default();
        let first = Instant::now();
        sender.send(first).expect("somebody listens");
        waiting.take(&receiver);
        assert!(!waiting.is_over(), "one waits");
        assert_eq!(waiting.next(&receiver), Some(first));
        assert!(!waiting.is_over(), "another may come");
        drop(sender);
        waiting.take(&receiver);
        assert!(waiting.is_over());
        assert_eq!(waiting.next(&receiver), None, "more are visible than were sent");
    }
}
