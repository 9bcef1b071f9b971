//! What the ledger must be: closed days, their entries and their corrections, each rule as a query
//! for whatever breaks it. The rule of budgets stands here once more, in SQL, so that two ways of
//! reckoning credits must agree.

use reckon_event::Day;

use super::period::{Digest, StoredPeriod};
use super::verify::Verification;
use crate::ledger::FrozenFigure;

/// A query that answers the key or place of whatever is wrong, and what is wrong with it.
pub(crate) const RULES: [(&str, &str); 7] = [
    (
        "takes from and to accounts that its kind does not have",
        "SELECT entry_key FROM ledger_entries WHERE NOT ( \
           (kind = 'charge' AND debit = 'receivable' AND credit = 'revenue') OR \
           (kind = 'credit' AND debit = 'over_delivery' AND credit = 'receivable') OR \
           (kind = 'adjustment' AND reason = 'over_delivery' \
             AND debit <> 'revenue' AND credit <> 'revenue') OR \
           (kind = 'adjustment' AND reason <> 'over_delivery' \
             AND debit <> 'over_delivery' AND credit <> 'over_delivery'))",
    ),
    (
        "is frozen in a closed period, but not charged as it was counted",
        "SELECT f.figure_key FROM period_figures f JOIN period_closings c ON c.day = f.day \
         LEFT JOIN ledger_entries e ON e.entry_key = f.figure_key AND e.kind = 'charge' \
           AND e.hour = f.hour AND e.tenant = f.tenant AND e.advertiser_id = f.advertiser_id \
           AND e.campaign_id = f.campaign_id AND e.ad_id = f.ad_id AND e.currency = f.currency \
           AND e.clicks = f.clicks AND e.amount_micros = f.spend_micros \
         WHERE (f.clicks <> 0 OR f.spend_micros <> 0) AND e.entry_key IS NULL",
    ),
    (
        "is a charge without a frozen figure",
        "SELECT e.entry_key FROM ledger_entries e \
         LEFT JOIN period_figures f ON f.figure_key = e.entry_key \
         WHERE e.kind = 'charge' AND f.figure_key IS NULL",
    ),
    (
        "is credited otherwise than its budget tells",
        "WITH hours AS (SELECT day, tenant, campaign_id, currency, hour, \
             SUM(spend_micros) AS spend, MAX(daily_budget_micros) AS budget \
           FROM period_figures GROUP BY day, tenant, campaign_id, currency, hour), \
         running AS (SELECT day, tenant, campaign_id, currency, hour, spend, budget, \
             SUM(spend) OVER (PARTITION BY day, tenant, campaign_id, currency ORDER BY hour) \
               AS total FROM hours), \
         due AS (SELECT tenant, campaign_id, currency, hour, \
             CASE WHEN budget IS NULL OR total <= budget THEN 0 \
                  WHEN total - spend >= budget THEN spend ELSE total - budget END AS amount \
           FROM running WHERE day IN (SELECT day FROM period_closings)), \
         paid AS (SELECT tenant, campaign_id, currency, hour, SUM(amount_micros) AS amount \
           FROM ledger_entries WHERE kind = 'credit' \
             AND day IN (SELECT day FROM period_closings) \
           GROUP BY tenant, campaign_id, currency, hour), \
         both_ways AS (SELECT tenant, campaign_id, currency, hour, amount FROM due UNION ALL \
           SELECT tenant, campaign_id, currency, hour, -amount FROM paid) \
         SELECT 'campaign `' || campaign_id || '` in hour ' || hour FROM both_ways \
         GROUP BY tenant, campaign_id, currency, hour HAVING SUM(amount) <> 0",
    ),
    (
        "corrects an adjustment that is not there",
        "SELECT e.entry_key FROM ledger_entries e \
         LEFT JOIN ledger_entries p ON p.entry_key = e.corrects \
         WHERE e.corrects LIKE 'adjust/%' AND p.entry_key IS NULL",
    ),
    (
        "has a net of less than no clicks",
        "SELECT 'ad `' || ad_id || '` in hour ' || hour FROM ledger_entries \
         WHERE ad_id IS NOT NULL GROUP BY tenant, campaign_id, ad_id, currency, hour \
         HAVING SUM(clicks) < 0",
    ),
    (
        "is posted to a day in a state that does not take it",
        "SELECT e.entry_key FROM ledger_entries e \
         LEFT JOIN period_closings c ON c.day = e.day \
         WHERE e.kind = 'adjustment' AND c.day IS NULL",
    ),
];

/// The day of a period, or a finding.
pub(crate) fn day_of(number: i64, found: &mut Verification) -> Option<Day> {
    let day = u32::try_from(number).ok().and_then(Day::new);
    if day.is_none() {
        found.find(format!("ledger: a period names {number}, which is no day"));
    }
    day
}

/// The figures of a frozen day are, byte for byte, those it was frozen with.
pub(crate) struct FigureCheck {
    digest: Digest,
    count: u64,
}

impl FigureCheck {
    pub(crate) fn new() -> Self {
        FigureCheck { digest: Digest::new(), count: 0 }
    }

    /// Looks at the next figures, in the order of hour and key.
    pub(crate) fn add(&mut self, figures: &[FrozenFigure]) {
        figures.iter().for_each(|figure| self.digest.add(figure));
        self.count += figures.len() as u64;
    }

    pub(crate) fn finish(self, stored: &StoredPeriod, found: &mut Verification) {
        let is_same = self.digest.finish().as_bytes()[..] == stored.digest;
        if self.count != stored.period.figure_count || !is_same {
            let day = stored.period.day;
            found.find(format!("ledger: the figures of {day} are not those it was frozen with"));
        }
        found.rows_checked += self.count;
    }
}
