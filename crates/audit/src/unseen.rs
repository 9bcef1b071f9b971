//! Counted clicks whose impression never came: somebody clicked what nobody was shown, as far as
//! anybody can tell. What follows from that is the payer's own policy.

use reckon_event::{Currency, Kind, Micros, TenantId, Timestamp, Verdict};

use crate::compare::in_force;
use crate::recount::{RecountRange, currency_of, within};
use crate::table::{Keys, Numbers, Texts};
use crate::{AuditError, Auditor};

/// A click without an impression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnseenClick {
    /// Whose.
    pub tenant: TenantId,
    /// Key of the ad.
    pub ad: u64,
    /// When it happened.
    pub happened: Timestamp,
    /// What it cost.
    pub price: Micros,
    /// In which currency.
    pub currency: Currency,
}

impl Auditor {
    /// Counted clicks of a range on minted impressions of which no impression was counted up to the
    /// cut, in the order of their times. Those received at `received_before` or later may still be
    /// waiting for theirs and are left out.
    pub async fn unseen_clicks(
        &self,
        range: &RecountRange,
        received_before: Timestamp,
    ) -> Result<Vec<UnseenClick>, AuditError> {
        self.check(range)?;
        let mut clicks = Vec::new();
        for batch in self.collect(&unseen_sql(range, received_before)).await? {
            let (tenants, ads) = (Numbers::of(&batch, "tenant")?, Keys::of(&batch, "ad_key")?);
            let (times, prices) = (Numbers::of(&batch, "at")?, Numbers::of(&batch, "price")?);
            let currencies = Texts::of(&batch, "currency")?;
            clicks.extend((0..batch.num_rows()).map(|row| UnseenClick {
                tenant: TenantId(u32::try_from(tenants.at(row)).unwrap_or_default()),
                ad: ads.at(row),
                happened: Timestamp(times.at(row)),
                price: prices.at(row),
                currency: currency_of(currencies.at(row)),
            }));
        }
        Ok(clicks)
    }
}

fn unseen_sql(range: &RecountRange, received_before: Timestamp) -> String {
    format!(
        "SELECT c.tenant, c.ad_key, c.at, c.price, c.currency FROM ({rows}) c
         LEFT ANTI JOIN (
           SELECT slot, minted_incarnation, minted_hour, minted_sequence FROM records
           WHERE kind = {impression} AND verdict = {counted} AND minted_sequence IS NOT NULL
                 AND epoch <= {cut}) i
         ON c.slot = i.slot AND c.minted_incarnation = i.minted_incarnation
            AND c.minted_hour = i.minted_hour AND c.minted_sequence = i.minted_sequence
         WHERE c.kind = {click} AND c.in_force = {counted} AND c.minted_sequence IS NOT NULL
               AND CAST(c.received AS BIGINT) < {received} AND {within}
         ORDER BY c.at, c.log_partition, c.log_offset",
        rows = in_force(range),
        cut = range.cut,
        impression = Kind::Impression.code(),
        click = Kind::Click.code(),
        counted = Verdict::Counted.code(),
        received = received_before.0,
        within = within(range, "c.at"),
    )
}
