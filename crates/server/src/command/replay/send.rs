//! Sending: what a batch needs is registered first, then each lane sends its batches in order.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::body::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;

use super::batch::{Ad, Batch};
use super::judged::Predictions;
use super::read::{Account, Laned, Lines, Refusals, read};
use super::{Options, Report};
use crate::command::client::catalog::{self, Collection, Existing, register};
use crate::command::client::figures::{Figures, Span, catch_up};
use crate::command::client::{Call, Client, Retry};

/// Batches that wait for a lane.
const WAITING_MAX: usize = 2;
/// Counting is taken to be stuck when nothing was added for this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What was sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// Events that are durable.
    pub accepted: u64,
    /// Clicks among them.
    pub clicks: i64,
    /// Impressions among them that must count.
    pub impressions: i64,
    /// Rows and events that the server did not take.
    pub rejected: Refusals,
    /// What was predicted for rows that are predictions.
    pub predictions: Predictions,
}

/// The answer to a batch.
#[derive(Debug, Deserialize)]
pub struct BatchAnswer {
    /// Events that are durable.
    pub accepted: u64,
    /// Those that were not taken, in the order of the batch.
    pub rejected: Vec<Rejected>,
}

/// An event that was not taken.
#[derive(Debug, Deserialize)]
pub struct Rejected {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The field, and what is wrong with it.
    pub reason: String,
}

/// Reads and sends everything, then waits until it is counted.
pub async fn send(
    mut client: Client,
    mut lines: Box<dyn Lines>,
    options: &Options,
) -> Result<Report> {
    let account = lines.account();
    // Asked over all times: the span of the files is known only when they have been read.
    let before = Figures::ask(&mut client, Span::EVER).await?;
    open_account(&mut client, account).await?;
    let progress = progress_bar(options)?;
    let started = Instant::now();
    let lane_count = options.connections.max(1);
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let (files, batch_events, bar) =
        (options.files.clone(), options.batch_events, progress.clone());
    let reader = tokio::task::spawn_blocking(move || {
        read(&files, &mut *lines, lane_count, batch_events, &sender, &bar)
    });
    let sent = dispatch(&mut client, account, receiver, lane_count).await;
    let read = reader.await.context("the reader stopped")??;
    let sent = sent?;
    let elapsed = started.elapsed();
    progress.finish_and_clear();
    let caught = catch_up(&mut client, Span::EVER, &before, sent.clicks, PATIENCE).await?;
    Ok(Report::new(read, sent, elapsed, caught))
}

/// Registers who pays, unless it is there.
pub async fn open_account(client: &mut Client, account: Account) -> Result<()> {
    let advertiser = catalog::advertiser(account.advertiser_id);
    let campaign =
        catalog::campaign(account.campaign_id, account.advertiser_id, account.cpc_micros);
    register(client, Collection::Advertisers, &[advertiser], Existing::Keep).await?;
    register(client, Collection::Campaigns, &[campaign], Existing::Keep).await
}

/// Registers ads, unless they are there.
pub async fn announce(client: &mut Client, account: Account, ads: &[Ad]) -> Result<()> {
    let objects: Vec<_> = ads
        .iter()
        .map(|ad| catalog::ad(&ad.ad_id, account.campaign_id, &ad.destination_url))
        .collect();
    register(client, Collection::Ads, &objects, Existing::Keep).await
}

/// A bar over the bytes of all files; indicatif draws none where stderr is no terminal.
pub fn progress_bar(options: &Options) -> Result<ProgressBar> {
    let mut bytes = 0;
    for path in &options.files {
        let metadata =
            std::fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
        bytes += metadata.len();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {elapsed} ETA {eta}")?;
    Ok(ProgressBar::new(bytes).with_style(style))
}

/// Hands batches to their lanes, each once its ads are registered.
async fn dispatch(
    client: &mut Client,
    account: Account,
    mut batches: Receiver<Laned>,
    lane_count: usize,
) -> Result<Sent> {
    let mut tasks = JoinSet::new();
    let lanes: Vec<Sender<Batch>> = (0..lane_count)
        .map(|_| {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            tasks.spawn(lane(client.another(), receiver));
            sender
        })
        .collect();
    while let Some((lane, batch)) = batches.recv().await {
        if !batch.ads.is_empty() {
            announce(client, account, &batch.ads).await?;
        }
        if batch.len() > 0 && lanes[lane].send(batch).await.is_err() {
            // The lane has failed: its error is collected below.
            break;
        }
    }
    drop((lanes, batches));
    let mut sent = Sent::default();
    while let Some(lane) = tasks.join_next().await {
        let lane = lane.context("a connection stopped")??;
        sent.accepted += lane.accepted;
        sent.clicks += lane.clicks;
        sent.rejected.merge(lane.rejected);
    }
    Ok(sent)
}

/// Sends one lane's batches, one after the other.
async fn lane(mut client: Client, mut batches: Receiver<Batch>) -> Result<Sent> {
    let mut sent = Sent::default();
    while let Some(batch) = batches.recv().await {
        let body = Bytes::from(batch.body);
        let answer = post_events(&mut client, body.clone()).await?;
        sent.accepted += answer.accepted;
        sent.clicks += i64::try_from(batch.clicks).expect("a batch is small");
        let events: Vec<&[u8]> = body.split(|&byte| byte == b'\n').collect();
        for Rejected { index, reason } in answer.rejected {
            let place =
                *batch.places.get(index).context("POST /v1/events: an index beyond the batch")?;
            sent.clicks -= i64::from(is_click(events[index]));
            sent.rejected.note(place, reason);
        }
    }
    Ok(sent)
}

/// Sends a batch. Every event has an id, so what is sent twice is counted once.
pub async fn post_events(client: &mut Client, body: Bytes) -> Result<BatchAnswer> {
    let call = Call::post("/v1/events", "application/x-ndjson", body).retry(Retry::Always);
    let answer = client.send(&call).await?;
    let nothing_accepted = answer.status.as_u16() == 422;
    let answer = if nothing_accepted { answer } else { answer.success("POST /v1/events")? };
    serde_json::from_slice(&answer.body).context("POST /v1/events: the answer is of another shape")
}

/// Is it a click? Rejected events are few, so reading them once more costs nothing.
fn is_click(event: &[u8]) -> bool {
    let event: Option<serde_json::Value> = serde_json::from_slice(event).ok();
    event.is_some_and(|event| event["type"] == "click")
}
