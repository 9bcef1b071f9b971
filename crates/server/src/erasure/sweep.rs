//! Sweeping the lake: all erasures that are not settled, in one pass over what is new in it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reckon_books::{ErasureState, ErasureWork, Tombstone};
use reckon_event::Timestamp;
use reckon_lake::{Erased, Erasure, ErasureRequest, Traces};
use reckon_pipeline::Reached;

use super::{Proof, Span, entity, forget_counters};
use crate::app::App;
use crate::{audit, beat};

/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Before an erasure that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long counting may take to catch up with what was acknowledged.
const COUNTED_MAX: Duration = Duration::from_secs(120);
/// The most erasures at work at once.
pub(super) const AT_WORK_MAX: u32 = 100_000;
/// How often persons are found with something new before the lake's thread stops to look for it.
const TRACED_MAX: u32 = 8;
/// After it is quiet, what was under way by then arrives within this.
pub const GRACE: i64 = Timestamp::DAY;

/// Sweeps until the application ends, at once after it has begun: what a crash has broken off goes on.
pub async fn run(app: Arc<App>) {
    loop {
        let pause = match sweep(Arc::clone(&app)).await {
            Ok(()) => SWEEP_EVERY,
            Err(error) => {
                eprintln!("erasure: {error:#}; it is tried again");
                AGAIN_AFTER
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = app.edge.erased.unfinished.notified() => tokio::time::sleep(AGAIN_AFTER).await,
        }
    }
}

/// Erases everyone who is at work from what is in the lake, and from what was acknowledged by now.
pub async fn sweep(app: Arc<App>) -> Result<()> {
    let _turn = app.edge.erased.turn.lock().await;
    let mut work = app.books.erasures_at_work(AT_WORK_MAX).await.context("books")?;
    if work.is_empty() {
        return Ok(());
    }
    let begun = app.edge.clock.now();
    let log = counted(&app).await?;
    // What was being counted while a tombstone was set has been by now.
    forget_known(&app, &work).await?;
    // Other questions hold files of the lake by a lease; this one removes them.
    for _ in 0..TRACED_MAX {
        let requests: Vec<ErasureRequest> = work.iter().map(request).collect::<Result<_>>()?;
        let lake = app.lake.clone();
        match tokio::task::spawn_blocking(move || lake.erase(requests)).await?.context("lake")? {
            Erasure::Traced(traced) => {
                for (at, traces) in traced {
                    note_traces(&mut work[at], traces)?;
                    app.books.keep_erasure(&work[at]).await.context("books")?;
                }
            }
            Erasure::Done(erased) => return keep(&app, work, &erased, &log, begun).await,
        }
    }
    bail!("persons are found with new installs and addresses faster than they can be noted")
}

/// Lets go of counters and pasts that were read from files, or built while the tombstone was set.
async fn forget_known(app: &Arc<App>, work: &[Tombstone]) -> Result<()> {
    if let Some(pasts) = app.edge.scorer.predictor.pasts().cloned() {
        let persons: Vec<_> = work.iter().map(|stone| (stone.tenant, stone.person)).collect();
        tokio::task::spawn_blocking(move || pasts.forget_all(&persons)).await?;
    }
    let persons: Vec<_> = work.iter().map(|stone| entity(stone.tenant, stone.person)).collect();
    let read = app.features.read(&persons).await.context("features")?;
    let known = persons.into_iter().zip(read.counters).filter(|(_, counters)| counters.is_some());
    let known: Vec<_> = known.map(|(person, _)| person).collect();
    if known.is_empty() { Ok(()) } else { forget_counters(app, known).await }
}

/// Waits until what is in the log now is in the lake; tells how far that was.
async fn counted(app: &Arc<App>) -> Result<Vec<Span>> {
    let (cut, waiting) = (beat::ends(app.log()), Arc::clone(app));
    let log = (0..).zip(&cut).map(|(partition, &to)| Span { partition, to }).collect();
    let wait = move || waiting.progress.wait_until(&cut, COUNTED_MAX);
    match tokio::task::spawn_blocking(wait).await? {
        Reached::Yes => audit::cover(app, app.progress.snapshot().epoch).await.map(|()| log),
        Reached::TimedOut => bail!("counting is behind"),
        Reached::Ended => bail!("counting has stopped"),
    }
}

fn work_of(stone: &Tombstone) -> &ErasureWork {
    stone.work.as_ref().expect("only those at work were read")
}

fn request(stone: &Tombstone) -> Result<ErasureRequest> {
    let work = work_of(stone);
    let known = serde_json::from_str(&work.traces).context("books: the traces of an erasure")?;
    Ok(ErasureRequest {
        person: stone.person,
        surrogate: work.surrogate,
        key: work.key,
        known,
        after_epoch: work.swept_epoch,
    })
}

/// What is new must be replaced everywhere: the next pass looks at everything.
fn note_traces(stone: &mut Tombstone, traces: Traces) -> Result<()> {
    let mut known: Traces = serde_json::from_str(&work_of(stone).traces)?;
    known.merge(traces);
    let work = stone.work.as_mut().expect("only those at work were read");
    (work.traces, work.swept_epoch) = (serde_json::to_string(&known)?, 0);
    Ok(())
}

/// Keeps what was done, and throws away the secrets of what is settled by it.
async fn keep(
    app: &Arc<App>,
    work: Vec<Tombstone>,
    erased: &Erased,
    log: &[Span],
    begun: Timestamp,
) -> Result<()> {
    for (at, mut stone) in work.into_iter().enumerate() {
        let is_whole = work_of(&stone).swept_epoch == 0;
        let is_first = stone.state() == ErasureState::Asked;
        let before = stone.proof.as_deref().map(serde_json::from_str).transpose();
        let before: Option<Proof> = before.context("books: the proof of an erasure")?;
        let mut proof = Proof::note(before, erased, at, is_whole, app.edge.clock.now());
        if is_first || erased.persons[at].found > 0 {
            proof.log = log.to_vec();
        }
        stone.proof = Some(serde_json::to_string(&proof)?);
        stone.work = stone.work.filter(|_| begun < stone.quiet_at.plus(GRACE));
        if let Some(work) = &mut stone.work {
            work.swept_epoch = erased.epoch;
        }
        app.books.keep_erasure(&stone).await.context("books")?;
    }
    Ok(())
}
