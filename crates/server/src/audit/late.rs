//! What the lake knows of a closed day and counting does not: copies whose first copy was forgotten,
//! and clicks whose impression never came.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::Result;
use reckon_audit::{Auditor, RecountRange, RuleSet};
use reckon_billing::{Amount, Finding, Line};
use reckon_event::{AdjustmentReason, Currency, Day, Micros, TenantId, Timestamp, name_key};

use super::{cover, horizons, judged_before, options, rule_set};
use crate::app::App;

/// Findings of a day up to a cut, complete for each reason.
pub async fn findings(app: &Arc<App>, day: Day, cut: u64) -> Result<Vec<Finding>> {
    let _turn = app.audit_turn.take().await?;
    let counted = app.progress.snapshot();
    cover(app, cut).await?;
    let _lease = app.lake.lease();
    let auditor = Auditor::open(&app.lake_place, options(app)).await?;
    let range = RecountRange {
        cut,
        from: day.start(),
        to: day.end(),
        received_from: None,
        judged_before: Some(judged_before(&counted)),
    };
    let sets: Vec<RuleSet> = counted.rules.sets().iter().map(rule_set).collect();
    let lines = Lines::of(app).await?;
    let recount = auditor.recount(&range, &horizons(app), &sets).await?;
    let copies = recount.beyond_horizon.iter();
    let copies = copies.map(|it| (it.key.tenant, it.key.ad, it.key.at(), it.price, it.currency));
    let lateness = app.config.time.client_lateness_s * Timestamp::SECOND;
    let unseen = auditor.unseen_clicks(&range, counted.watermark.plus(-lateness)).await?;
    let unseen = unseen.iter().map(|it| (it.tenant, it.ad, it.happened, it.price, it.currency));
    Ok(vec![
        lines.finding(AdjustmentReason::DuplicateBeyondHorizon, copies),
        lines.finding(AdjustmentReason::ClickWithoutImpression, unseen),
    ])
}

/// Which campaign an ad is of.
struct Lines(HashMap<(TenantId, u64), u64>);

impl Lines {
    async fn of(app: &App) -> Result<Self> {
        let catalog = app.books.load_catalog().await?;
        let campaign = |entry: &reckon_books::AdEntry| {
            let key = (entry.tenant, name_key(&entry.ad.ad_id));
            (key, name_key(&entry.campaign.campaign.campaign_id))
        };
        Ok(Lines(catalog.ads.iter().map(campaign).collect()))
    }

    /// Clicks that count and should not. One of no registered ad costs nothing, so nothing is corrected.
    fn finding(
        &self,
        reason: AdjustmentReason,
        clicks: impl Iterator<Item = (TenantId, u64, Timestamp, Micros, Currency)>,
    ) -> Finding {
        let line =
            |(tenant, ad, at, price, currency): (TenantId, u64, Timestamp, Micros, Currency)| {
                let campaign = *self.0.get(&(tenant, ad))?;
                let line = Line { tenant, campaign, currency, hour: at.floor(Timestamp::HOUR), ad };
                Some((line, Amount { clicks: -1, spend: -price }))
            };
        Finding { reason, lines: clicks.filter_map(line).collect(), except: BTreeSet::new() }
    }
}
