//! `POST /api/predict` at several numbers of candidates.
//!
//! First the server learns something: some thousand ads are shown and clicked, so that counters and
//! weights are looked up and not missed. Then each size is measured by itself. Without a rate it is
//! first asked as fast as answers come, which tells what the machine can do, and then at 70 % of
//! that in an open loop, which tells how long an answer takes while there is headroom.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Deserialize;

use super::crowd::Crowd;
use super::due::Timetable;
use super::engine::{Engine, Reading};
use super::machine::Machine;
use super::measured::{Measured, Size};
use super::mint::{AGE_MIN, Rendered};
use super::outcome::{Settled, Tally};
use super::wire::{Connection, Head, post_head};
use crate::command::client::catalog::{self, Collection, Existing, register};
use crate::command::client::{Address, Client};

/// Requests that are learned from, each about so many ads.
const WARM_REQUESTS: usize = 2_000;
const WARM_ADS: usize = 10;
/// The share of what is shown then that is clicked.
const CLICK_SHARE: f64 = 0.05;
/// Events of one batch.
const BATCH_EVENTS: usize = 5_000;
/// Of what the machine can do, the rate at which latency is measured.
const HEADROOM: f64 = 0.7;

/// What to ask.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's URL.
    pub to: String,
    /// A key with the scopes `collect`, `manage`, `predict` and `read`.
    pub key: Option<String>,
    /// How long each measurement takes.
    pub seconds: u64,
    /// Connections side by side.
    pub connections: usize,
    /// Requests a second; 0 measures what is possible first.
    pub rate: u64,
    /// Tokens in each answer.
    pub mint: usize,
    /// The numbers of candidates.
    pub candidates: Vec<usize>,
    /// People who come back.
    pub users: u32,
    /// Registered ads.
    pub ads: u32,
    /// The seed of who is asked about.
    pub seed: u64,
}

/// Registers, warms up, and measures one size after the other.
pub fn run(options: &Options) -> Result<Measured> {
    let most = options.candidates.iter().max().copied().unwrap_or_default();
    ensure!(options.connections > 0 && options.seconds > 0 && most > 0, "there is nothing to ask");
    ensure!(
        most * 2 <= options.ads as usize,
        "ads: {} are too few to draw {most} different candidates of them; take twice as many",
        options.ads
    );
    let address = Address::parse(&options.to)?;
    let mut crowd = Crowd::new(options.users, options.ads, options.seed);
    crate::command::runtime(1)?.block_on(register_all(options, &crowd))?;
    warm_up(options, &address, &mut crowd)?;
    let mut sizes = Vec::with_capacity(options.candidates.len());
    for &candidates in &options.candidates {
        let key = options.key.as_deref();
        let requests = crowd.requests(&address, key, candidates, options.mint);
        sizes.push(measure(options, &address, &requests, candidates)?);
    }
    let Options { connections, mint, users, ads, .. } = *options;
    Ok(Measured { connections, mint, users, ads, sizes, machine: Machine::here() })
}

async fn register_all(options: &Options, crowd: &Crowd) -> Result<()> {
    let mut client = Client::new(&options.to, options.key.as_deref())?;
    let advertiser = catalog::advertiser("bench");
    register(&mut client, Collection::Advertisers, &[advertiser], Existing::Keep).await?;
    register(&mut client, Collection::Campaigns, &crowd.campaigns(), Existing::Keep).await?;
    register(&mut client, Collection::Ads, &crowd.ads(), Existing::Keep).await
}

fn measure(
    options: &Options,
    address: &Address,
    requests: &Rendered,
    candidates: usize,
) -> Result<Size> {
    let drive = |rate| {
        let end = Duration::from_secs(options.seconds);
        let timetable = Timetable::of_rate(rate);
        Engine::new(address, requests, usize::MAX, timetable, end, options.connections)?.run(read)
    };
    let possible = match options.rate {
        0 => {
            let (tally, elapsed) = drive(0)?;
            Some(Size { candidates, possible: None, rate: 0, tally, elapsed })
        }
        _ => None,
    };
    let rate = match &possible {
        Some(size) => ((size.answers_per_second() * HEADROOM) as u64).max(1),
        None => options.rate,
    };
    let (tally, elapsed) = drive(rate)?;
    let possible = possible.map(|size| size.answers_per_second());
    Ok(Size { candidates, possible, rate, tally, elapsed })
}

/// A prediction, and of all candidates.
fn read(head: &Head, body: &[u8]) -> Reading {
    let says = |text: &str| memmem::find(body, text.as_bytes()).is_some();
    match head.status {
        200 if !says("\"unknown_ads\":[]") => Reading::Wrong("some ads are not known".to_owned()),
        200 if says("\"degraded\":false") => Reading::Good,
        200 => Reading::Degraded,
        status => {
            let start = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            Reading::Wrong(format!("/api/predict answered {status}: {start}"))
        }
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    predictions: Vec<Prediction<'a>>,
}

#[derive(Deserialize)]
struct Prediction<'a> {
    impression: Option<&'a str>,
}

/// Shows ads to people and clicks some of them, and waits until that is counted.
fn warm_up(options: &Options, address: &Address, crowd: &mut Crowd) -> Result<()> {
    let key = options.key.as_deref();
    let settled = Settled::begin(&options.to, key)?;
    let mut connection = Connection::open(address)?;
    let mut tokens = Vec::with_capacity(WARM_REQUESTS * WARM_ADS);
    for _ in 0..WARM_REQUESTS {
        let body = crowd.body(WARM_ADS.min(options.ads as usize / 2), WARM_ADS, false);
        let answer =
            post(&mut connection, address, key, "/api/predict", "application/json", &body)?;
        let answer: Answer<'_> = serde_json::from_slice(answer)
            .context("POST /api/predict: the answer is of another shape")?;
        tokens
            .extend(answer.predictions.iter().filter_map(|one| one.impression.map(str::to_owned)));
    }
    std::thread::sleep(AGE_MIN);
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut tally = Tally::default();
    for batch in tokens.chunks(BATCH_EVENTS / 2) {
        let mut body = String::new();
        for token in batch {
            body.push_str(&event("impression", token));
            if random.random::<f64>() < CLICK_SHARE {
                body.push_str(&event("click", token));
                tally.acknowledged += 1;
            }
        }
        post(&mut connection, address, key, "/v1/events", "application/x-ndjson", &body)?;
    }
    let caught = settled.wait(&tally)?;
    ensure!(caught.complete, "the server does not count what the warm-up has sent");
    Ok(())
}

fn event(kind: &str, token: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"imp\":\"{token}\",\"placement\":\"bench\"}}\n")
}

fn post<'a>(
    connection: &'a mut Connection,
    address: &Address,
    key: Option<&str>,
    path: &str,
    content_type: &str,
    body: &str,
) -> Result<&'a [u8]> {
    let head = post_head(address, key, path, content_type, body.len());
    let (head, answer) = connection.exchange(&head, body.as_bytes())?;
    ensure!(
        head.status == 200,
        "POST {path} answered {}: {}",
        head.status,
        String::from_utf8_lossy(answer)
    );
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expect: &Reading) {
        let head = Head { status, degraded: false, head_bytes: 0, body_bytes: body.len() };
        assert_eq!(&read(&head, body.as_bytes()), expect, "{body}");
    }

    #[test]
    fn only_a_whole_answer_is_good() {
        check(200, r#"{"predictions":[],"unknown_ads":[],"degraded":false}"#, &Reading::Good);
        check(200, r#"{"predictions":[],"unknown_ads":[],"degraded":true}"#, &Reading::Degraded);
        let wrong = |what: &str| Reading::Wrong(what.to_owned());
        check(200, r#"{"unknown_ads":["a"],"degraded":false}"#, &wrong("some ads are not known"));
        check(503, "{}", &wrong("/api/predict answered 503: {}"));
    }
}
