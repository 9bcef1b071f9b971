//! Closing a day, and comparing a closed one with what is known later.
//!
//! ```text
//!   open: watermark past the day -> figures at cut C -> recount agrees -> freeze
//!   frozen: charges and credits, a pure function of what is frozen, posted by key -> finish
//!   closed: differences to what is known now, as adjustments
//! ```
//!
//! Freezing is one transaction, and all behind it follows from what was frozen. So a close that was
//! cut off anywhere, or runs twice at a time, is finished by running it again, with the same ledger.

use std::collections::BTreeSet;

use async_trait::async_trait;
use reckon_books::{
    Accounts, Books, Entry, ErrorKind, Period, Periods, Posted, Slice, UnseenClicks, all_entries,
    all_figures,
};
use reckon_event::{AdjustmentReason, Day, TenantId, Timestamp};

use crate::adjust::{Differences, Finding, Known, differences};
use crate::charge::{charges, freezable};
use crate::error::{Cause, Error};
use crate::figure::Figures;
use crate::names::Names;
use crate::post::post_all;

/// How often damaged panes are rebuilt and read again.
const REBUILDS_MAX: usize = 3;

/// How far counting has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last epoch.
    pub epoch: u64,
    /// Everything received before this is in it.
    pub watermark: Timestamp,
    /// The last epoch that is durable in the lake; `None` where there is no lake.
    pub lake: Option<u64>,
}

/// What a recount of the figures at their cut has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// Both agree in so many rows.
    Agrees {
        /// Figures that were compared.
        rows_compared: u64,
    },
    /// Derived panes were damaged and have been built anew: read them again.
    Rebuilt {
        /// How many.
        panes: u64,
    },
    /// They differ, and nobody knows why.
    Differs {
        /// Each a sentence that names the place.
        differences: Vec<String>,
    },
}

/// What closing needs of counting; the server hands it in.
#[async_trait]
pub trait Counting: Send + Sync {
    /// How far counting has come.
    fn progress(&self) -> Progress;

    /// The figures of a day at one cut, not before [`Progress::epoch`] of an earlier answer. See
    /// [`crate::rollup_figures`].
    async fn figures(&self, day: Day) -> Result<Figures, Cause>;

    /// Recounts the day up to the cut of `figures` by another path, and compares.
    async fn reconcile(&self, figures: &Figures) -> Result<Reconciled, Cause>;
}

/// How days are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseOptions {
    /// How far behind the day's end the watermark must be, in microseconds: when its server part is
    /// final.
    pub final_after: i64,
}

impl Default for CloseOptions {
    fn default() -> Self {
        CloseOptions { final_after: Timestamp::MINUTE }
    }
}

/// A day that is closed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The day.
    pub period: Period,
    /// What this call has posted; nothing where the day was closed before.
    pub posted: Posted,
}

/// Closes a day. Once closed, closing it again changes nothing.
pub async fn close(
    accounts: &dyn Accounts,
    books: &dyn Books,
    counting: &dyn Counting,
    options: &CloseOptions,
    day: Day,
    now: Timestamp,
) -> Result<Closed, Error> {
    let period = match period(accounts, day).await? {
        Some(period) if period.closed_at.is_some() => {
            return Ok(Closed { period, posted: Posted::default() });
        }
        Some(period) => period,
        None => freeze(accounts, books, counting, options, day, now).await?,
    };
    let figures = all_figures(accounts, &Slice::of_day(day)).await?;
    // What another closer has posted in between is the same, also where the day is closed by now.
    let posted = post_all(accounts, charges(&figures, period.cut, now)).await?;
    let period = accounts.finish(day, now).await?;
    Ok(Closed { period, posted })
}

/// The period of a day; `None` while it is open.
pub async fn period(periods: &(impl Periods + ?Sized), day: Day) -> Result<Option<Period>, Error> {
    Ok(periods.periods(day, day).await?.pop())
}

async fn freeze(
    accounts: &dyn Accounts,
    books: &dyn Books,
    counting: &dyn Counting,
    options: &CloseOptions,
    day: Day,
    now: Timestamp,
) -> Result<Period, Error> {
    let figures = agreed(counting, options, day).await?;
    // Read after the figures, so that whatever they name is in it.
    let names = Names::of(books.load_catalog().await?);
    let figures = figures.priced(&names)?;
    let frozen = accounts.freeze(day, figures.cut, freezable(&figures, &names)?, now).await;
    match frozen {
        Ok(period) => Ok(period.into_inner()),
        // Somebody else was faster, at a cut as good as this one.
        Err(error) if error.kind == ErrorKind::Conflict => {
            Ok(period(accounts, day).await?.ok_or(error)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Figures that a recount agrees with, of a day whose server part is final.
async fn agreed(
    counting: &dyn Counting,
    options: &CloseOptions,
    day: Day,
) -> Result<Figures, Error> {
    let progress = counting.progress();
    let until = day.end().plus(options.final_after);
    if progress.watermark < until {
        return Err(Error::TooEarly { day, watermark: progress.watermark, until });
    }
    for _ in 0..REBUILDS_MAX {
        let figures = counting.figures(day).await.map_err(Error::Counting)?;
        check_reached(&figures, &progress, counting.progress().lake)?;
        match counting.reconcile(&figures).await.map_err(Error::Counting)? {
            Reconciled::Agrees { rows_compared: 0 } if !figures.rows.is_empty() => {
                return Err(Error::NothingCompared { day, figures: figures.rows.len() });
            }
            Reconciled::Agrees { .. } => return Ok(figures),
            Reconciled::Rebuilt { .. } => {}
            Reconciled::Differs { differences } => {
                let first = differences.first().cloned().unwrap_or_default();
                return Err(Error::Unexplained { day, count: differences.len(), first });
            }
        }
    }
    Err(Error::NeverSettled(day))
}

/// The rollup has what the watermark speaks of, and the lake has what the rollup has.
fn check_reached(figures: &Figures, progress: &Progress, lake: Option<u64>) -> Result<(), Error> {
    if figures.cut < progress.epoch {
        return Err(Error::Behind { store: "rollup", has: figures.cut, cut: progress.epoch });
    }
    match lake.filter(|&has| has < figures.cut) {
        Some(has) => Err(Error::Behind { store: "lake", has, cut: figures.cut }),
        None => Ok(()),
    }
}

/// What a closed day lacks, given what is known now. Nothing is posted: append what comes back to the
/// log ([`crate::adjustment_record`]), and post it from there ([`crate::post_adjustment`]). Where
/// nothing comes back, the ledger equals the recount.
pub async fn adjust(
    accounts: &dyn Accounts,
    books: &dyn Books,
    figures: Figures,
    findings: Vec<Finding>,
) -> Result<Differences, Error> {
    let day = figures.day;
    let closed = period(accounts, day).await?.filter(|period| period.closed_at.is_some());
    if closed.is_none() {
        return Err(Error::NotClosed(day));
    }
    let slice = Slice::of_day(day);
    let frozen = all_figures(accounts, &slice).await?;
    let posted = all_entries(accounts, &slice).await?;
    let names = Names::of(books.load_catalog().await?);
    let figures = figures.priced(&names)?;
    let mut findings = findings;
    for finding in &mut findings {
        except_who_pays(accounts, &names, &posted, finding).await?;
    }
    differences(&frozen, &posted, &Known { figures: &figures, findings: &findings }, &names)
}

/// Clicks without an impression concern only those who do not pay for them.
async fn except_who_pays(
    accounts: &dyn Accounts,
    names: &Names,
    posted: &[Entry],
    finding: &mut Finding,
) -> Result<(), Error> {
    if finding.reason != AdjustmentReason::ClickWithoutImpression {
        return Ok(());
    }
    let before = posted.iter().filter(|entry| entry.reason == Some(finding.reason));
    let mut concerned: BTreeSet<(TenantId, String)> =
        before.map(|entry| (entry.tenant, entry.advertiser_id.clone())).collect();
    for (line, _) in &finding.lines {
        let campaign = names.campaign(line.tenant, line.campaign)?;
        concerned.insert((line.tenant, campaign.campaign.advertiser_id.clone()));
    }
    for (tenant, advertiser_id) in concerned {
        let profile = accounts.billing_profile(tenant, &advertiser_id).await?;
        if profile.unseen_clicks == UnseenClicks::Pay {
            finding.except.insert((tenant, advertiser_id));
        }
    }
    Ok(())
}
