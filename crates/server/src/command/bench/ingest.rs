//! `POST /v1/events` in batches: one blocking thread a connection, since a batch is large and few are
//! in flight.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use memchr::memmem;

use super::due::Timetable;
use super::fresh::{Probe, Seen};
use super::machine::Machine;
use super::mint::{Minting, Rendered, render_event};
use super::outcome::{Outcome, Settled, Tally};
use super::traffic::Traffic;
use super::wire::{Connection, post_head};
use crate::command::client::Address;

/// What to send.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's URL.
    pub to: String,
    /// A key with the scopes `collect`, `manage`, `predict` and `read`.
    pub key: Option<String>,
    /// No batch is sent later than this.
    pub seconds: u64,
    /// Connections side by side.
    pub connections: usize,
    /// Events a second; 0 sends as fast as answers come.
    pub rate: u64,
    /// Events in a batch.
    pub batch: usize,
    /// Events in all.
    pub count: usize,
    /// What is hot, where events tell an address.
    pub traffic: Option<Traffic>,
    /// Find out how long a click takes to be visible meanwhile.
    pub is_probed: bool,
}

/// What all connections share.
struct Load<'a> {
    address: &'a Address,
    options: &'a Options,
    events: &'a Rendered,
    next: AtomicUsize,
    timetable: Timetable,
    started: Instant,
}

/// Mints, sends, and waits until all is counted.
pub fn run(options: &Options) -> Result<Outcome> {
    ensure!(
        options.batch > 0 && options.connections > 0 && options.count > 0,
        "there is nothing to send"
    );
    let address = Address::parse(&options.to)?;
    let minting = Minting::new(address.clone(), options.key.clone(), options.count);
    let events = match options.traffic {
        Some(traffic) => traffic.minting(minting).run(traffic.render())?,
        None => minting.run(render_event)?,
    };
    let probe = options.is_probed.then(|| Probe::new(&address, options)).transpose()?;
    let settled = Settled::begin(&options.to, options.key.as_deref())?;
    let batches_per_second = options.rate.div_ceil(options.batch as u64);
    let load = Load {
        address: &address,
        options,
        events: &events,
        next: AtomicUsize::new(0),
        timetable: Timetable::of_rate(batches_per_second),
        started: Instant::now(),
    };
    let (mut tally, elapsed, seen) = load.drive_beside(probe.as_ref())?;
    if let Some(seen) = &seen {
        tally.sent += seen.clicks;
        tally.acknowledged += seen.clicks;
    }
    let caught = settled.wait(&tally)?;
    Ok(Outcome {
        what: "ingest",
        connections: options.connections,
        batch: options.batch,
        rate: batches_per_second,
        tally,
        elapsed,
        caught,
        visible: seen.map(|seen| seen.latency),
        machine: Machine::here(),
    })
}

impl Load<'_> {
    /// Sends everything while the probe looks; gives how long the sending took.
    fn drive_beside(&self, probe: Option<&Probe>) -> Result<(Tally, Duration, Option<Seen>)> {
        let is_over = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looking = probe.map(|probe| scope.spawn(move || probe.run(is_over)));
            let tally = self.drive_all();
            let elapsed = self.started.elapsed();
            is_over.store(true, Ordering::Relaxed);
            let seen = looking.map(|thread| thread.join().expect("the probe does not panic"));
            Ok((tally?, elapsed, seen.transpose()?))
        })
    }

    fn drive_all(&self) -> Result<Tally> {
        let shares: Result<Vec<Tally>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..self.options.connections).map(|_| scope.spawn(|| self.drive())).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a connection does not panic"))
                .collect()
        });
        let mut tally = Tally::default();
        shares?.into_iter().for_each(|share| tally.merge(share));
        Ok(tally)
    }

    /// Sends batch after batch until there are none, or the time is over.
    fn drive(&self) -> Result<Tally> {
        let mut connection = Connection::open(self.address)?;
        let mut share = Tally::default();
        let end = Duration::from_secs(self.options.seconds);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let first = number * self.options.batch;
            if first >= self.events.len() || self.started.elapsed() >= end {
                return Ok(share);
            }
            let last = (first + self.options.batch).min(self.events.len());
            let due = self.wait_until_due(number as u64);
            let body = self.events.slice(first..last);
            let key = self.options.key.as_deref();
            let head =
                post_head(self.address, key, "/v1/events", "application/x-ndjson", body.len());
            share.sent += (last - first) as u64;
            match connection.exchange(&head, body) {
                Ok((head, answer)) if head.status == 200 => share.acknowledged += accepted(answer),
                Ok((head, answer)) => {
                    share.fail(format!("{}: {}", head.status, String::from_utf8_lossy(answer)));
                }
                Err(error) => {
                    share.fail(format!("{error:#}"));
                    connection = Connection::open(self.address)?;
                }
            }
            share.latency(self.started.elapsed() - due);
        }
    }

    /// Returns when the batch was due, or now where there is no timetable.
    fn wait_until_due(&self, number: u64) -> Duration {
        let now = self.started.elapsed();
        let due = self.timetable.due(number).unwrap_or(now);
        if due > now {
            std::thread::sleep(due - now);
        }
        due
    }
}

/// The number after `"accepted":`.
fn accepted(answer: &[u8]) -> u64 {
    const NAME: &[u8] = b"\"accepted\":";
    let Some(at) = memmem::find(answer, NAME) else { return 0 };
    let digits = answer[at + NAME.len()..].iter().skip_while(|byte| **byte == b' ');
    digits
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_events_are_read_without_a_parser() {
        assert_eq!(accepted(br#"{"accepted":1000,"rejected":[]}"#), 1_000);
        assert_eq!(accepted(br#"{"rejected":[], "accepted": 7}"#), 7);
        assert_eq!(accepted(br#"{"detail":"no"}"#), 0);
    }
}
