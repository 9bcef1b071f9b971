//! Rows that are predictions: asked over several connections, their outcomes told in order.
//!
//! ```text
//!   reader --> ads registered --> row n --> connection n mod N: POST /api/predict --+
//!                                  |                                                | answer
//!                                  +--> in the order of the file ------------------>+--> outcome
//! ```
//!
//! Only so many rows are in flight, from their question until their outcome is learned. So a
//! prediction knows what became of all rows before it but those in flight, which makes the figures
//! progressive ones.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::outcome::{Pace, Told, tell};
use super::read::{Account, Summary};
use super::row::{Chunk, Rows, read};
use super::send::{PATIENCE, Sent, announce, open_account, progress_bar};
use super::{Options, Report};
use crate::command::client::figures::{Caught, Figures, Span, catch_up_to};
use crate::command::client::{Answer, Call, Client, Retry};

/// Chunks of rows that wait to be asked.
const CHUNKS_WAITING_MAX: usize = 2;
/// How often a question is asked whose first copy the server is still busy with. Each waits as long
/// as the server says; a claim whose holder has died lapses after a minute.
const BUSY_MAX: u32 = 75;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer is that of an earlier request.
const REPLAYED: &str = "idempotency-replayed";

/// A question on its way to a connection.
struct Question {
    body: String,
    /// The key under which the server keeps the answer; `None` to be answered anew.
    key: Option<String>,
    reply: oneshot::Sender<Result<Answered>>,
}

/// What came of a question.
#[derive(Debug)]
pub enum Answered {
    /// The prediction.
    Scored(Scored),
    /// The server does not take the row, for this reason.
    Refused(String),
}

/// A prediction.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Of a click at position 1.
    pub probability: f32,
    /// What the row's events must bring.
    pub token: String,
    /// It was made without all the server could know.
    pub is_degraded: bool,
    /// It is the answer to an earlier run's question.
    pub is_repeated: bool,
    /// When it arrived.
    pub at: tokio::time::Instant,
}

/// Reads, asks and tells everything, then waits until it is counted.
pub async fn send(
    mut client: Client,
    mut rows: Box<dyn Rows>,
    options: &Options,
) -> Result<Report> {
    let account = rows.account();
    let before = Figures::ask(&mut client, Span::EVER).await?;
    open_account(&mut client, account).await?;
    let progress = progress_bar(options)?;
    let started = Instant::now();
    let (sender, chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
    let (files, bar) = (options.files.clone(), progress.clone());
    let reader = tokio::task::spawn_blocking(move || read(&files, &mut *rows, &sender, &bar));
    let (told, outcomes) = mpsc::channel(options.in_flight.max(1));
    let pace = Pace { click_after: options.click_after, batch_events: options.batch_events };
    let teller = tokio::spawn(tell(client.another(), outcomes, pace));
    let asked = ask_all(&mut client, account, chunks, told, options).await;
    let read = reader.await.context("the reader stopped")??;
    let sent = teller.await.context("the teller stopped")?;
    asked?;
    let sent = sent?;
    let elapsed = started.elapsed();
    progress.finish_and_clear();
    let is_complete = |added: &Figures| {
        added.clicks_gross() >= sent.clicks && added.impressions >= sent.impressions
    };
    let caught = catch_up_to(&mut client, Span::EVER, &before, is_complete, PATIENCE).await?;
    Ok(report(read, sent, elapsed, caught))
}

fn report(read: Summary, sent: Sent, elapsed: std::time::Duration, caught: Caught) -> Report {
    Report {
        predictions: Some(sent.predictions.clone()),
        ..Report::new(read, sent, elapsed, caught)
    }
}

/// Hands every row to a connection and, in order, to whoever tells its outcome. Ends early, without
/// an error, when nobody tells outcomes any more.
async fn ask_all(
    client: &mut Client,
    account: Account,
    mut chunks: Receiver<Chunk>,
    told: Sender<Told>,
    options: &Options,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    let connections = connections(client, options, &mut tasks);
    let room = Arc::new(Semaphore::new(options.in_flight.max(1)));
    let mut next = 0;
    while let Some(chunk) = chunks.recv().await {
        if !chunk.ads.is_empty() {
            announce(client, account, &chunk.ads).await?;
        }
        for (place, row) in chunk.rows {
            let room = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
            let (reply, answer) = oneshot::channel();
            let key = (!options.anew).then(|| row.id.clone());
            let question = Question { body: row.question(), key, reply };
            if told.send(Told { place, row, answer, room }).await.is_err() {
                return Ok(());
            }
            connections[next % connections.len()]
                .send(question)
                .await
                .ok()
                .context("a connection stopped")?;
            next += 1;
        }
    }
    drop((connections, told));
    while let Some(connection) = tasks.join_next().await {
        connection.context("a connection stopped")?;
    }
    Ok(())
}

fn connections(
    client: &Client,
    options: &Options,
    tasks: &mut JoinSet<()>,
) -> Vec<Sender<Question>> {
    (0..options.connections.max(1))
        .map(|_| {
            // All rows in flight could fall to one connection.
            let (sender, receiver) = mpsc::channel(options.in_flight.max(1));
            tasks.spawn(answer_all(client.another(), receiver));
            sender
        })
        .collect()
}

/// One connection: asks its questions one after the other.
async fn answer_all(mut client: Client, mut questions: Receiver<Question>) {
    while let Some(Question { body, key, reply }) = questions.recv().await {
        let answered = ask(&mut client, body, key).await;
        // Nobody waits where an earlier row has ended it all, and has said why.
        let _gone = reply.send(answered);
    }
}

async fn ask(client: &mut Client, body: String, key: Option<String>) -> Result<Answered> {
    // Without a key a second prediction is made where an answer was lost, which nobody ever shows.
    let mut call = Call::post("/api/predict", "application/json", body).retry(Retry::Always);
    if let Some(key) = key {
        call = call.header(IDEMPOTENCY_KEY, key);
    }
    for _ in 0..BUSY_MAX {
        let answer = client.send(&call).await?;
        match busy_for(&answer) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return read_answer(answer),
        }
    }
    Ok(Answered::Refused("the server is busy with an earlier copy of the question".to_owned()))
}

/// How long to wait where the server is still busy with the same question.
fn busy_for(answer: &Answer) -> Option<std::time::Duration> {
    if answer.status != StatusCode::CONFLICT {
        return None;
    }
    let seconds = answer.headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(std::time::Duration::from_secs(seconds))
}

#[derive(Deserialize)]
struct Predicted {
    predictions: Vec<Prediction>,
    degraded: bool,
}

#[derive(Deserialize)]
struct Prediction {
    p_click: f32,
    impression: Option<String>,
}

fn read_answer(answer: Answer) -> Result<Answered> {
    let is_of_row = matches!(
        answer.status,
        StatusCode::BAD_REQUEST
            | StatusCode::CONFLICT
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY
    );
    let answer = match answer.success("POST /api/predict") {
        Err(error) if is_of_row => return Ok(Answered::Refused(format!("{error:#}"))),
        answer => answer?,
    };
    let predicted: Predicted = serde_json::from_slice(&answer.body)
        .context("POST /api/predict: the answer is of another shape")?;
    let Some(prediction) = predicted.predictions.into_iter().next() else {
        return Ok(Answered::Refused("POST /api/predict: the ad is not known there".to_owned()));
    };
    let Some(token) = prediction.impression else {
        return Ok(Answered::Refused("POST /api/predict: gave no token".to_owned()));
    };
    Ok(Answered::Scored(Scored {
        probability: prediction.p_click,
        token,
        is_degraded: predicted.degraded,
        is_repeated: answer.headers.contains_key(REPLAYED),
        at: tokio::time::Instant::now(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use axum::http::{HeaderMap, HeaderValue};

    fn answer(status: u16, header: Option<(&'static str, &'static str)>, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.extend(
            header.map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            }),
        );
        let status = StatusCode::from_u16(status).expect("a status");
        Answer { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[test]
    fn a_prediction_is_read() {
        let body =
            r#"{"predictions":[{"ad_id":"a","p_click":0.25,"impression":"T"}],"degraded":true}"#;
        let read = read_answer(answer(200, Some((REPLAYED, "true")), body)).expect("readable");
        let Answered::Scored(scored) = read else { panic!("{read:?}") };
        assert_eq!((scored.probability, scored.token.as_str()), (0.25, "T"));
        assert!(scored.is_degraded && scored.is_repeated);
    }

    #[track_caller]
    fn refused(status: u16, body: &str, reason: &str) {
        let read = read_answer(answer(status, None, body)).expect("the row's fault");
        let Answered::Refused(found) = read else { panic!("{read:?}") };
        assert!(found.contains(reason), "{found}");
    }

    #[test]
    fn a_row_that_is_not_taken_says_why_and_ends_nothing() {
        refused(422, r#"{"detail":"context.x: must be a text"}"#, "context.x: must be a text");
        refused(409, r#"{"detail":"the key was used for another request"}"#, "another request");
        refused(200, r#"{"predictions":[],"degraded":false}"#, "not known");
        refused(200, r#"{"predictions":[{"p_click":0.1}],"degraded":false}"#, "no token");
    }

    #[test]
    fn what_no_row_is_to_blame_for_ends_it_all() {
        assert!(read_answer(answer(401, None, "{}")).is_err());
        assert!(read_answer(answer(500, None, "{}")).is_err());
        assert!(read_answer(answer(200, None, "[]")).is_err());
    }

    #[test]
    fn who_is_busy_is_asked_again() {
        let seconds = |answer: &Answer| busy_for(answer).map(|pause| pause.as_secs());
        assert_eq!(seconds(&answer(409, Some(("retry-after", "1")), "{}")), Some(1));
        assert_eq!(seconds(&answer(409, None, "{}")), None);
        assert_eq!(seconds(&answer(503, Some(("retry-after", "1")), "{}")), None);
    }
}
