//! Closing days and adjusting closed ones: what billing needs of counting, and what it tells the log.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use reckon_billing::{
    Adjusted, Cause, CloseOptions, Counting, Error, Figures, Names, Progress, Reconciled,
    adjustment_record, post_adjustment, rollup_figures,
};
use reckon_event::{Adjustment, Day, Timestamp};
use reckon_eventlog::{Outcome, partition_of};

use crate::app::App;
use crate::{audit, beat, engines};

/// Counting, as it runs in this process.
struct Counted<'a>(&'a Arc<App>);

#[async_trait]
impl Counting for Counted<'_> {
    fn progress(&self) -> Progress {
        let counted = self.0.progress.snapshot();
        let lake = Some(self.0.lake.covered().epoch);
        Progress { epoch: counted.epoch, watermark: counted.watermark, lake }
    }

    async fn figures(&self, day: Day) -> Result<Figures, Cause> {
        beat::settle(self.0).await?;
        let tenants = engines::tenants(&*self.0.books).await?;
        let rollup = Arc::clone(&self.0.rollup);
        // All tenants at one cut, however fast counting moves.
        let still = audit::hold(self.0).await?;
        let read = move || rollup_figures(&*rollup, &tenants, day);
        let figures = tokio::task::spawn_blocking(read).await??;
        drop(still);
        audit::cover(self.0, figures.cut).await?;
        Ok(figures)
    }

    async fn reconcile(&self, figures: &Figures) -> Result<Reconciled, Cause> {
        let (from, to) = (figures.day.start(), figures.day.end());
        let report = audit::reconcile(self.0, from, to).await?;
        if report.mended > 0 {
            return Ok(Reconciled::Rebuilt { panes: report.mended });
        }
        if report.is_equal() {
            return Ok(Reconciled::Agrees { rows_compared: report.figures as u64 });
        }
        let differences = report.to_string().lines().skip(2).map(str::to_owned).collect();
        Ok(Reconciled::Differs { differences })
    }
}

/// Closes a day.
pub async fn close(app: &Arc<App>, day: Day) -> Result<(), Error> {
    let options =
        CloseOptions { final_after: app.config.time.server_lateness_s * Timestamp::SECOND };
    // What has come is counted first, and so is the time that has passed without events.
    beat::settle(app).await.map_err(|error| Error::Counting(error.into()))?;
    let now = app.edge.clock.now();
    let (accounts, books) = (&*app.accounts, &*app.books);
    reckon_billing::close(accounts, books, &Counted(app), &options, day, now).await?;
    Ok(())
}

/// What an adjustment has done.
pub struct AdjustedDay {
    /// Amounts in which ledger and counting were compared.
    pub compared: usize,
    /// Adjustments that were new.
    pub posted: usize,
}

/// Compares a closed day with what is known now; what is missing goes into the log, and from there
/// into the ledger.
pub async fn adjust(app: &Arc<App>, day: Day) -> Result<AdjustedDay, Error> {
    let counted = Counted(app);
    let figures = counted.figures(day).await.map_err(Error::Counting)?;
    let findings = audit::findings(app, day, figures.cut).await;
    let findings = findings.map_err(|error| Error::Counting(error.into()))?;
    let differences =
        reckon_billing::adjust(&*app.accounts, &*app.books, figures, findings).await?;
    let now = app.edge.clock.now();
    log(app, &differences.adjustments, now).await.map_err(|error| Error::Counting(error.into()))?;
    let names = Names::of(app.books.load_catalog().await?);
    let mut posted = 0;
    for adjustment in &differences.adjustments {
        let adjusted = post_adjustment(&*app.accounts, &names, adjustment, now).await?;
        posted += usize::from(adjusted == Adjusted::New);
    }
    Ok(AdjustedDay { compared: differences.compared, posted })
}

/// Appends adjustments to the log; done when all of them are durable.
async fn log(app: &App, adjustments: &[Adjustment], now: Timestamp) -> Result<()> {
    let log = app.log();
    for adjustment in adjustments {
        let (mut payload, mut bytes) = (Vec::new(), Vec::new());
        adjustment.encode(&mut payload);
        let record = adjustment_record(adjustment, &payload, now);
        record.encode(&mut bytes);
        let partition = partition_of(record.slot, log.partitions());
        let outcome = log.append(partition, &bytes, 1).await;
        if !matches!(outcome, Outcome::Durable(_)) {
            anyhow::bail!("the log did not take an adjustment: {outcome:?}");
        }
    }
    Ok(())
}
