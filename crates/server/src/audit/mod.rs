//! Recounts, and what is behind a figure: the lake held against the rollup while the server runs.
//!
//! ```text
//! settle   every closed minute is judged, in the log's order
//! figures  of the rollup, all of one epoch: the cut
//! lake     a checkpoint brings the lake to the cut
//! recount  by SQL, of events in closed minutes; compared figure by figure, and by checksums
//! mend     derived panes that differ from the records are built again from them
//! ```
//!
//! Every report is kept as a file, the last thousand of them.

pub mod hourly;
mod late;
mod mend;
pub mod reports;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use reckon_audit::{
    AuditOptions, Auditor, Coverage, Explained, Figure, FigureKey, Horizons, RapidKey,
    RecountRange, Report, Rule, RuleSet, rollup_figures,
};
use reckon_count::rules::{self, CLOSED_AFTER, Rules};
use reckon_event::{TenantId, Timestamp, name_key};
use reckon_lake::Manifest;
use reckon_pipeline::{Hold, Reached, Snapshot};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::app::App;
use crate::{beat, engines, erasure};

pub use late::findings;

/// How often figures are read until they are of one epoch in which nothing is left to judge.
const READS_MAX: u32 = 20;
/// How often of these while counting goes on. Then it stands still for as long as reading takes.
const READS_MOVING: u32 = 3;
/// How long it waits for counting to stand still.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// How long a checkpoint may take.
const CHECKPOINT_MAX: Duration = Duration::from_secs(120);

/// How long a question waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The turn of who reads the lake: recounts and questions take memory and disk, so one runs at a time.
pub struct Turn(Semaphore);

impl Default for Turn {
    fn default() -> Self {
        Turn(Semaphore::new(1))
    }
}

impl Turn {
    /// Waits for it, not without end.
    pub async fn take(&self) -> Result<SemaphorePermit<'_>> {
        let turn = tokio::time::timeout(WAIT_MAX, self.0.acquire()).await;
        let turn = turn.map_err(|_| anyhow!("another recount is under way; try again"))?;
        Ok(turn.expect("the semaphore is never closed"))
    }
}

/// Figures of the rollup at one cut.
struct Found {
    cut: u64,
    figures: BTreeMap<FigureKey, Figure>,
    /// The first minute that rules have not judged.
    judged_before: Timestamp,
    rules: Arc<Rules>,
}

/// Recounts the events of `from..to` that lie in closed minutes, and compares. Panes that are wrong
/// while the records are right are built again from these, and all is compared once more.
pub async fn reconcile(app: &Arc<App>, from: Timestamp, to: Timestamp) -> Result<Report> {
    let _turn = app.audit_turn.take().await?;
    let tenants = engines::tenants(&*app.books).await?;
    let report = compared(app, &tenants, from, to).await?;
    reports::keep(app, &report).await?;
    let mended = mend::mend(app, &report).await?;
    if mended == 0 {
        return Ok(report);
    }
    eprintln!("audit: {mended} sums were not what the records add up to; they are built again");
    let mut report = compared(app, &tenants, from, to).await?;
    report.mended = mended;
    reports::keep(app, &report).await?;
    Ok(report)
}

async fn compared(
    app: &Arc<App>,
    tenants: &[TenantId],
    from: Timestamp,
    to: Timestamp,
) -> Result<Report> {
    let Some((from, to)) = within_history(app, from, to).await? else {
        return Ok(Report { from: from.to_string(), to: to.to_string(), ..Report::default() });
    };
    let found = settled(app, tenants, from, to).await?;
    compare(app, &found, from, to.min(found.judged_before)).await
}

/// The part of a range in which anything has happened, in whole minutes; `None` where nothing has.
async fn within_history(
    app: &Arc<App>,
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<(Timestamp, Timestamp)>> {
    cover(app, beat::settle(app).await?.epoch).await?;
    let _lease = app.lake.lease();
    let Some(manifest) = Manifest::latest(&app.lake_place).await? else { return Ok(None) };
    let (first, last) = history(&manifest).unwrap_or((from, to));
    let last = app.rollup.marks().newest.map_or(last, |newest| newest.max(last));
    let from = from.max(first.floor(Timestamp::MINUTE));
    let to = to.min(last.floor(Timestamp::MINUTE).plus(Timestamp::MINUTE));
    Ok(Some((from, to)).filter(|(from, to)| from < to))
}

/// When the first and the last of what a lake has happened; `None` while it is empty.
fn history(manifest: &Manifest) -> Option<(Timestamp, Timestamp)> {
    let spans = || manifest.files.iter().filter(|file| file.rows > 0).map(|file| file.happened);
    let first = spans().map(|span| Timestamp(span.first)).min()?;
    Some((first, spans().map(|span| Timestamp(span.last)).max()?))
}

/// Figures of one epoch in which every closed minute of the range is judged.
async fn settled(
    app: &Arc<App>,
    tenants: &[TenantId],
    from: Timestamp,
    to: Timestamp,
) -> Result<Found> {
    for read in 0..READS_MAX {
        let before = beat::settle(app).await?;
        let judged_before = judged_before(&before);
        let to = to.min(judged_before);
        if from >= to {
            bail!(
                "nothing of the range lies in closed minutes yet: these are before {judged_before}"
            );
        }
        let _still = if read < READS_MOVING { None } else { Some(hold(app).await?) };
        let (rollup, tenants) = (Arc::clone(&app.rollup), tenants.to_vec());
        let read = move || {
            let first = rollup.marks().applied;
            let figures = rollup_figures(&*rollup, &tenants, from, to)?;
            anyhow::Ok((first.filter(|_| rollup.marks().applied == first), figures))
        };
        let (cut, figures) = tokio::task::spawn_blocking(read).await??;
        let after = app.progress.snapshot();
        if cut == Some(after.epoch) && is_settled(&after, to) {
            return Ok(Found {
                cut: after.epoch,
                figures,
                judged_before,
                rules: before.rules.clone(),
            });
        }
    }
    bail!("counting moves too fast to read figures of one epoch; try again")
}

/// Lets counting stand still until what it gives is dropped.
pub async fn hold(app: &Arc<App>) -> Result<Hold> {
    let progress = Arc::clone(&app.progress);
    let hold = tokio::task::spawn_blocking(move || progress.hold(HOLD_MAX)).await?;
    hold.map_err(|_| anyhow!("counting does not stand still; try again"))
}

/// The first minute that was not closed.
fn judged_before(counted: &Snapshot) -> Timestamp {
    counted.watermark.plus(-CLOSED_AFTER).floor(Timestamp::MINUTE)
}

fn is_settled(counted: &Snapshot, to: Timestamp) -> bool {
    let is_judged = |from: Option<Timestamp>| from.is_none_or(|from| from >= to);
    is_judged(counted.unjudged.server) && is_judged(counted.unjudged.client)
}

async fn compare(app: &Arc<App>, found: &Found, from: Timestamp, to: Timestamp) -> Result<Report> {
    cover(app, found.cut).await?;
    // Rows of the erased that have come since are replaced as the earlier ones are: equal stays equal.
    erasure::sweep(Arc::clone(app)).await?;
    let range = RecountRange {
        cut: found.cut,
        from,
        to,
        received_from: None,
        judged_before: Some(found.judged_before),
    };
    let lease = app.lake.lease();
    let auditor = Auditor::open(&app.lake_place, options(app)).await?;
    let sets: Vec<RuleSet> = found.rules.sets().iter().map(rule_set).collect();
    let by = (&horizons(app), sets.as_slice());
    let report =
        auditor.reconcile(&app.lake_place, &range, by, &found.figures, Coverage::Metrics).await?;
    drop(lease);
    Ok(report)
}

/// Waits until the lake has an epoch.
pub async fn cover(app: &Arc<App>, epoch: u64) -> Result<()> {
    if app.lake.covered().epoch >= epoch {
        return Ok(());
    }
    app.progress.request_checkpoint();
    let waiting = Arc::clone(app);
    let wait = move || waiting.progress.wait_checkpoint(epoch, CHECKPOINT_MAX);
    match tokio::task::spawn_blocking(wait).await? {
        Reached::Yes => Ok(()),
        Reached::TimedOut => {
            bail!("the lake is behind: no checkpoint of epoch {epoch} came in time")
        }
        Reached::Ended => bail!("counting has stopped"),
    }
}

/// The bounds of one question.
pub fn options(app: &App) -> AuditOptions {
    AuditOptions { scratch: Some(app.dir.scratch()), ..AuditOptions::default() }
}

fn horizons(app: &App) -> Horizons {
    let policy = engines::count_policy(&app.config);
    Horizons {
        minted: policy.minted_horizon,
        opaque: policy.opaque_horizon,
        unsigned: policy.unsigned_window,
    }
}

/// The rules as the recount takes them.
fn rule_set(set: &rules::RuleSet) -> RuleSet {
    let rule = |rule: &rules::Rule| match *rule {
        rules::Rule::DoubleClick { within } => Rule::DoubleClick { within },
        rules::Rule::Rapid { by, most } => {
            let by = match by {
                rules::RapidKey::User => RapidKey::User,
                rules::RapidKey::Ip => RapidKey::Ip,
                rules::RapidKey::IpAgent => RapidKey::IpAgent,
            };
            Rule::Rapid { by, most }
        }
    };
    RuleSet { version: set.version, from: set.from, rules: set.rules.iter().map(rule).collect() }
}

/// Every record behind the figures of an ad in a minute.
pub async fn explain(
    app: &Arc<App>,
    tenant: TenantId,
    ad_id: &str,
    minute: Timestamp,
) -> Result<Explained> {
    let _turn = app.audit_turn.take().await?;
    let ad = if ad_id == "(unknown)" { 0 } else { name_key(ad_id) };
    cover(app, app.progress.snapshot().epoch).await?;
    let _lease = app.lake.lease();
    let auditor = Auditor::open(&app.lake_place, options(app)).await?;
    Ok(auditor.explain(tenant, ad, minute).await?)
}

/// The rows that a question in SQL brings.
pub async fn sql(app: &Arc<App>, text: &str) -> Result<reckon_audit::Answer> {
    let _turn = app.audit_turn.take().await?;
    cover(app, app.progress.snapshot().epoch).await?;
    let _lease = app.lake.lease();
    let auditor = Auditor::open(&app.lake_place, options(app)).await?;
    Ok(auditor.sql(text).await?)
}
