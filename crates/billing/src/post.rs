//! Posting: how charges and adjustments reach the ledger.
//!
//! Adjustments go through the log first, as records of their own, and whoever follows the log posts
//! them; the key of each is made of what it says, so the same record read again, or read by two, is
//! posted once.

use reckon_books::{Account, Entry, EntryKind, ErrorKind, LEDGER_ROWS_MAX, Ledger, Posted};
use reckon_event::{Adjustment, AdjustmentReason, Kind, Record, Slot, Timestamp};

use crate::error::Error;
use crate::line::Line;
use crate::names::Names;

/// What became of an adjustment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjusted {
    /// It is in the ledger now.
    New,
    /// It was already.
    Same,
    /// Another adjustment of this line has come before it: this one was reckoned without knowing of
    /// it, and is left out. What is still missing is found when the day is compared again.
    Stale,
}

/// Posts entries in batches that each are whole or not at all.
pub async fn post_all(
    ledger: &(impl Ledger + ?Sized),
    entries: Vec<Entry>,
) -> Result<Posted, Error> {
    let mut posted = Posted::default();
    for batch in entries.chunks(LEDGER_ROWS_MAX) {
        let Posted { new, same } = ledger.post(batch.to_vec()).await?;
        posted.new += new;
        posted.same += same;
    }
    Ok(posted)
}

/// Posts one adjustment; posting it again changes nothing.
pub async fn post_adjustment(
    ledger: &(impl Ledger + ?Sized),
    names: &Names,
    adjustment: &Adjustment,
    at: Timestamp,
) -> Result<Adjusted, Error> {
    match ledger.post(vec![adjustment_entry(adjustment, names, at)?]).await {
        Ok(Posted { new: 0, .. }) => Ok(Adjusted::Same),
        Ok(_) => Ok(Adjusted::New),
        Err(error) if error.kind == ErrorKind::Conflict => Ok(Adjusted::Stale),
        Err(error) => Err(error.into()),
    }
}

/// The line an adjustment is for.
pub const fn adjusted_line(adjustment: &Adjustment) -> Line {
    Line {
        tenant: adjustment.tenant,
        campaign: adjustment.campaign,
        currency: adjustment.currency,
        hour: adjustment.hour,
        ad: adjustment.ad,
    }
}

/// The entry of an adjustment.
pub fn adjustment_entry(
    adjustment: &Adjustment,
    names: &Names,
    at: Timestamp,
) -> Result<Entry, Error> {
    let line = adjusted_line(adjustment);
    let campaign = &names.campaign(line.tenant, line.campaign)?.campaign;
    let ad_id = match line.ad {
        0 => None,
        key => Some(names.ad(line.tenant, key)?.to_owned()),
    };
    let (debit, credit) = accounts(adjustment);
    Ok(Entry {
        key: line.adjustment_key(adjustment.reason, adjustment.number),
        hour: line.hour,
        tenant: line.tenant,
        advertiser_id: campaign.advertiser_id.clone(),
        campaign_id: campaign.campaign_id.clone(),
        ad_id,
        currency: line.currency,
        debit,
        credit,
        amount: adjustment.spend.abs(),
        clicks: adjustment.clicks,
        kind: EntryKind::Adjustment,
        reason: Some(adjustment.reason),
        corrects: Some(adjustment.corrects.clone()),
        cut: adjustment.cut,
        created_at: at,
    })
}

/// The accounts it takes from and to: what is owed more is debited, what is owed less credited.
const fn accounts(adjustment: &Adjustment) -> (Account, Account) {
    let against = match adjustment.reason {
        AdjustmentReason::OverDelivery => Account::OverDelivery,
        _ => Account::Revenue,
    };
    if adjustment.spend < 0 {
        (against, Account::Receivable)
    } else {
        (Account::Receivable, against)
    }
}

/// The log record of an adjustment, whose bytes `payload` must hold ([`Adjustment::encode`]). All of a
/// campaign go to one slot, so they keep their order.
pub fn adjustment_record<'a>(
    adjustment: &Adjustment,
    payload: &'a [u8],
    received: Timestamp,
) -> Record<'a> {
    Record {
        tenant: adjustment.tenant,
        ad_key: adjustment.ad,
        campaign_key: adjustment.campaign,
        currency: adjustment.currency,
        happened: adjustment.hour,
        payload,
        ..Record::new(Kind::Adjustment, Slot::of_key(adjustment.campaign), received)
    }
}
