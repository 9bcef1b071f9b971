//! Lines: where money is reckoned, and the keys of entries that follow from that.
//!
//! Keys are made of the 64-bit keys of names, so they have one length whatever people call their
//! campaigns, and of nothing that depends on when or by whom they are made. That is what makes a
//! second posting the same posting.

use std::fmt;

use reckon_event::{AdjustmentReason, Currency, Day, Micros, TenantId, Timestamp};

/// An ad in an hour and a currency; with ad 0, the whole campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// Whose.
    pub tenant: TenantId,
    /// Key of the campaign.
    pub campaign: u64,
    /// Of the money.
    pub currency: Currency,
    /// The start of the UTC hour.
    pub hour: Timestamp,
    /// Key of the ad; 0 for the whole campaign.
    pub ad: u64,
}

impl Line {
    /// The line of the whole campaign in the same hour.
    #[must_use]
    pub const fn of_campaign(self) -> Self {
        Line { ad: 0, ..self }
    }

    /// The key of its charge.
    pub fn charge_key(&self) -> String {
        format!("charge/{self}")
    }

    /// The key of its credit for over-delivery.
    pub fn credit_key(&self) -> String {
        format!("credit/{}", self.of_campaign())
    }

    /// The key of the `number`th adjustment for a reason, from 1.
    pub fn adjustment_key(&self, reason: AdjustmentReason, number: u32) -> String {
        format!("adjust/{self}/{}/{number}", reason.name())
    }

    /// The key of what the `number`th adjustment corrects: the one before it, or what was charged or
    /// credited at close.
    pub fn corrected_key(&self, reason: AdjustmentReason, number: u32) -> String {
        match (number, reason) {
            (0 | 1, AdjustmentReason::OverDelivery) => self.credit_key(),
            (0 | 1, _) => self.charge_key(),
            _ => self.adjustment_key(reason, number - 1),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = Day::of(self.hour);
        let hour = self.hour.since(day.start()) / Timestamp::HOUR;
        write!(f, "{day}T{hour:02}/{}/{:016x}/", self.tenant.0, self.campaign)?;
        write!(f, "{:016x}/{}", self.ad, self.currency)
    }
}

/// Clicks and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Counted clicks.
    pub clicks: i64,
    /// Their price.
    pub spend: Micros,
}

impl Amount {
    /// True where there is nothing in it.
    pub const fn is_zero(self) -> bool {
        self.clicks == 0 && self.spend == 0
    }

    /// Adds another.
    pub const fn add(&mut self, other: Amount) {
        self.clicks += other.clicks;
        self.spend += other.spend;
    }

    /// What is missing to `target`.
    #[must_use]
    pub const fn to(self, target: Amount) -> Amount {
        Amount { clicks: target.clicks - self.clicks, spend: target.spend - self.spend }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_change() {
        let line = Line {
            tenant: TenantId(7),
            campaign: 0xabc,
            currency: Currency::EUR,
            hour: Timestamp::from_seconds(1_795_262_400),
            ad: 0x1234_5678_9abc_def0,
        };
        let campaign = "2026-11-21T12/7/0000000000000abc/0000000000000000/EUR";
        let ad = "2026-11-21T12/7/0000000000000abc/123456789abcdef0/EUR";
        assert_eq!(line.charge_key(), format!("charge/{ad}"));
        assert_eq!(line.credit_key(), format!("credit/{campaign}"));
        let late = AdjustmentReason::Recounted;
        assert_eq!(line.corrected_key(late, 1), line.charge_key());
        assert_eq!(line.corrected_key(late, 3), format!("adjust/{ad}/recounted/2"));
        assert_eq!(line.corrected_key(AdjustmentReason::OverDelivery, 1), line.credit_key());
    }
}
