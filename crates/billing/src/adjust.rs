//! What became known of a closed day: the difference between what is known now and what the ledger
//! has, as adjustments. Pure.
//!
//! ```text
//!   frozen figures + adjustments of each reason  =  figures now - what is known beside counting
//!   credits + adjustments for over-delivery      =  credits of that, by the same rule of budgets
//! ```
//!
//! What is missing on either side is what [`differences`] answers, one adjustment a line and reason,
//! numbered by how many there are. So it does not matter how often it is asked, or what of an earlier
//! answer was posted: two who ask at the same time make the same key, of which one stands, and whatever
//! is still missing is found the next time. Nothing ever comes below zero.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use reckon_books::{EntryKind, FrozenFigure};
use reckon_event::{Adjustment, AdjustmentReason, TenantId, name_key};

use crate::charge::{Hours, Purse, amount_of, budget_of, due, line_of};
use crate::error::Error;
use crate::figure::Figures;
use crate::line::{Amount, Line};
use crate::names::Names;

/// What is known now.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What counting has now, of the whole day.
    pub figures: &'a Figures,
    /// What is known beside it, by reason: for each reason that is told, everything that is known of
    /// the day. A reason that is not told keeps what is posted.
    pub findings: &'a [Finding],
}

/// What a recount of the lake, or a replay under other rules, knows of a day and counting does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Why.
    pub reason: AdjustmentReason,
    /// Where, and how many of the clicks that count now should not (negative) or should (positive),
    /// with their price. In the currency they were charged in.
    pub lines: Vec<(Line, Amount)>,
    /// Advertisers whom it does not concern: what is posted for them stands.
    pub except: BTreeSet<(TenantId, String)>,
}

/// What was compared, and what is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// How many amounts the ledger and what is known were compared in.
    pub compared: usize,
    /// What is missing in the ledger; nothing where both agree.
    pub adjustments: Vec<Adjustment>,
}

/// What the ledger has for one line and reason.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    amount: Amount,
    length: u32,
}

type Chains = BTreeMap<(Line, AdjustmentReason), Chain>;
type Targets = BTreeMap<(Line, AdjustmentReason), Amount>;

/// Compares a closed day with what is known now. `frozen` and `posted` are all of the day's.
pub fn differences(
    frozen: &[FrozenFigure],
    posted: &[reckon_books::Entry],
    known: &Known<'_>,
    names: &Names,
) -> Result<Differences, Error> {
    let at_close: BTreeMap<Line, Amount> =
        frozen.iter().map(|figure| (line_of(figure), amount_of(figure))).collect();
    let chains = chains_of(posted);
    let mut targets = told(known, &chains, names)?;
    targets.extend(recounted(&at_close, known.figures, &chains));
    let net = net_of(&at_close, &targets)?;
    targets.extend(over_delivery(frozen, &net, &chains, names)?);
    let compared = targets.len();
    let missing = targets.into_iter().filter_map(|(place, target)| {
        let chain = chains.get(&place).copied().unwrap_or_default();
        missing(known.figures, place, chain, target)
    });
    Ok(Differences { compared, adjustments: missing.collect() })
}

/// What adjustments have come to so far.
fn chains_of(posted: &[reckon_books::Entry]) -> Chains {
    let mut chains = Chains::new();
    for entry in posted.iter().filter(|entry| entry.kind == EntryKind::Adjustment) {
        let reason = entry.reason.expect("the books take no adjustment without a reason");
        let chain = chains.entry((line_of_entry(entry), reason)).or_default();
        chain.amount.add(Amount { clicks: entry.clicks, spend: entry.owed() });
        chain.length += 1;
    }
    chains
}

fn line_of_entry(entry: &reckon_books::Entry) -> Line {
    Line {
        tenant: entry.tenant,
        campaign: name_key(&entry.campaign_id),
        currency: entry.currency,
        hour: entry.hour,
        ad: entry.ad_id.as_deref().map_or(0, name_key),
    }
}

/// What each reason that is told beside counting should come to; for all else, what it has come to.
fn told(known: &Known<'_>, chains: &Chains, names: &Names) -> Result<Targets, Error> {
    let is_worked_out =
        |reason| matches!(reason, AdjustmentReason::Recounted | AdjustmentReason::OverDelivery);
    let posted = chains.iter().filter(|((_, reason), _)| !is_worked_out(*reason));
    let mut targets: Targets = posted.map(|(&place, chain)| (place, chain.amount)).collect();
    for finding in known.findings {
        if is_worked_out(finding.reason) {
            return Err(Error::NotTold(finding.reason));
        }
        for ((line, reason), target) in &mut targets {
            if *reason == finding.reason && finding.concerns(line, names)? {
                *target = Amount::default();
            }
        }
    }
    for finding in known.findings {
        for &(line, amount) in &finding.lines {
            if finding.concerns(&line, names)? {
                targets.entry((line, finding.reason)).or_default().add(amount);
            }
        }
    }
    Ok(targets)
}

impl Finding {
    fn concerns(&self, line: &Line, names: &Names) -> Result<bool, Error> {
        let campaign = &names.campaign(line.tenant, line.campaign)?.campaign;
        Ok(!self.except.contains(&(line.tenant, campaign.advertiser_id.clone())))
    }
}

/// What counting's own figures have changed by since the day was frozen.
fn recounted(at_close: &BTreeMap<Line, Amount>, now: &Figures, chains: &Chains) -> Targets {
    let reason = AdjustmentReason::Recounted;
    let mut targets: Targets = Targets::new();
    for place in chains.keys().filter(|place| place.1 == reason) {
        targets.insert(*place, Amount::default());
    }
    for (&line, frozen) in at_close {
        targets.entry((line, reason)).or_default().add(frozen.to(Amount::default()));
    }
    for figure in &now.rows {
        let counted = Amount { clicks: figure.clicks, spend: figure.spend };
        targets.entry((figure.line, reason)).or_default().add(counted);
    }
    targets
}

/// What each line comes to, all in all; never below zero.
fn net_of(
    at_close: &BTreeMap<Line, Amount>,
    targets: &Targets,
) -> Result<BTreeMap<Line, Amount>, Error> {
    let mut net = at_close.clone();
    for ((line, _), amount) in targets {
        net.entry(*line).or_default().add(*amount);
    }
    match net.iter().find(|(_, amount)| amount.clicks < 0 || amount.spend < 0) {
        Some((&line, &Amount { clicks, spend })) => Err(Error::Negative { line, clicks, spend }),
        None => Ok(net),
    }
}

/// What adjustments for over-delivery should come to: what is credited of the frozen spend, less what
/// is to be credited of the spend as it is known now.
fn over_delivery(
    frozen: &[FrozenFigure],
    net: &BTreeMap<Line, Amount>,
    chains: &Chains,
    names: &Names,
) -> Result<Targets, Error> {
    let reason = AdjustmentReason::OverDelivery;
    let mut targets: Targets = chains
        .keys()
        .filter(|place| place.1 == reason)
        .map(|&place| (place, Amount::default()))
        .collect();
    let at_close = frozen.iter().map(|figure| (line_of(figure), figure.spend));
    let mut budgets: BTreeMap<Line, _> =
        frozen.iter().map(|figure| (line_of(figure).of_campaign(), figure.daily_budget)).collect();
    for line in net.keys().map(|line| line.of_campaign()) {
        if let Entry::Vacant(free) = budgets.entry(line) {
            free.insert(budget_of(names, line)?);
        }
    }
    let now = net.iter().map(|(&line, amount)| (line, amount.spend));
    for (hours_of, sign) in [(hours(at_close, &budgets), 1), (hours(now, &budgets), -1)] {
        for ((tenant, campaign, currency), hours) in hours_of {
            for (hour, amount) in due(&hours) {
                let line = Line { tenant, campaign, currency, hour, ad: 0 };
                let target = targets.entry((line, reason)).or_default();
                target.add(Amount { clicks: 0, spend: sign * amount });
            }
        }
    }
    Ok(targets)
}

fn hours(
    spends: impl Iterator<Item = (Line, i64)>,
    budgets: &BTreeMap<Line, Option<i64>>,
) -> BTreeMap<Purse, Hours> {
    let mut of_purse: BTreeMap<Purse, Hours> = BTreeMap::new();
    for (line, spend) in spends {
        let hours = of_purse.entry((line.tenant, line.campaign, line.currency)).or_default();
        let budget = budgets[&line.of_campaign()];
        hours.entry(line.hour).or_insert((0, budget)).0 += spend;
    }
    of_purse
}

fn missing(
    now: &Figures,
    (line, reason): (Line, AdjustmentReason),
    chain: Chain,
    target: Amount,
) -> Option<Adjustment> {
    let Amount { clicks, spend } = chain.amount.to(target);
    let number = chain.length + 1;
    (clicks != 0 || spend != 0).then(|| Adjustment {
        day: now.day,
        hour: line.hour,
        tenant: line.tenant,
        campaign: line.campaign,
        ad: line.ad,
        currency: line.currency,
        clicks,
        spend,
        reason,
        number,
        corrects: line.corrected_key(reason, number),
        cut: now.cut,
    })
}
