//! Mends panes that are wrong while the records behind them are right.
//!
//! ```text
//! hold     counting stands still: rollup, lake and log are of one epoch
//! sums     of the records in the lake, under the verdicts in force, minute by minute
//! rebuild  the rollup has these instead; then counting goes on
//! ```
//!
//! Records whose verdict itself is wrong are left alone: those are judged again from the log, by
//! `reckon rebuild`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use reckon_audit::{Auditor, Mend, RecountRange, Report};
use reckon_event::{TenantId, Timestamp};

use super::{cover, hold, options};
use crate::app::App;

/// Minutes that are built at a time.
const SPAN_MAX: i64 = 24 * 60;

/// Builds every pane again that the report calls damaged; gives how many sums were wrong.
pub async fn mend(app: &Arc<App>, report: &Report) -> Result<u64> {
    let spans = spans(report);
    if spans.is_empty() || !report.damage.is_empty() {
        return Ok(0);
    }
    let hold = hold(app).await?;
    let cut = app.progress.snapshot().epoch;
    cover(app, cut).await?;
    let _lease = app.lake.lease();
    let auditor = Auditor::open(&app.lake_place, options(app)).await?;
    let mut mended = 0;
    for (tenant, from, to) in spans {
        let range = RecountRange { cut, from, to, received_from: None, judged_before: None };
        let sums = auditor.sums(tenant, &range).await?;
        let rollup = Arc::clone(&app.rollup);
        let rebuild = move || rollup.rebuild(tenant, from, to, &sums);
        mended += tokio::task::spawn_blocking(rebuild).await??;
    }
    drop(hold);
    Ok(mended)
}

/// The minutes to be built again, as few spans as there are, none longer than [`SPAN_MAX`] minutes.
fn spans(report: &Report) -> Vec<(TenantId, Timestamp, Timestamp)> {
    let mut minutes: BTreeMap<u32, BTreeSet<i64>> = BTreeMap::new();
    let damaged = report.differences.iter().filter(|one| one.mend == Mend::RebuildPane);
    for one in damaged {
        if let Ok(at) = Timestamp::parse(&one.minute) {
            minutes.entry(one.tenant).or_default().insert(at.0.div_euclid(Timestamp::MINUTE));
        }
    }
    let mut spans: Vec<(u32, i64, i64)> = Vec::new();
    for (tenant, minutes) in minutes {
        for minute in minutes {
            match spans.last_mut() {
                Some((whose, from, to))
                    if *whose == tenant && *to == minute && *to - *from < SPAN_MAX =>
                {
                    *to += 1;
                }
                _ => spans.push((tenant, minute, minute + 1)),
            }
        }
    }
    let at = |minute: i64| Timestamp(minute * Timestamp::MINUTE);
    spans.into_iter().map(|(tenant, from, to)| (TenantId(tenant), at(from), at(to))).collect()
}
