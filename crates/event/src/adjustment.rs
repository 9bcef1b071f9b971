//! Adjustments: what became known of a day after it was closed.
//!
//! A closed day is never edited. What changes it afterwards stands in the payload of a
//! [`Kind::Adjustment`](crate::Kind::Adjustment) record: a signed difference for one line of the day,
//! that is for one ad (or a whole campaign) in one hour and currency, for one reason. Differences of a
//! line are numbered and each names what it corrects, so the same one posted twice is one.
//!
//! ```text
//! version u8 | reason u8 | hour u8 | currency [3] | day u32 | tenant u32 | number u32 |
//! campaign u64 | ad u64 | clicks i64 | spend i64 | cut u64 | length u16 | corrects
//! ```

use crate::{Currency, Day, DecodeError, Micros, TenantId, Timestamp};

/// The version this build writes.
const VERSION: u8 = 1;
/// The longest key of what is corrected, in bytes.
pub const CORRECTS_BYTES_MAX: usize = 256;

/// Why a closed day is worth something else. Codes are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AdjustmentReason {
    /// Counting itself came to another figure: late events, verdicts revised by rules.
    Recounted = 1,
    /// A copy of an event came after its id was forgotten and has been counted twice.
    DuplicateBeyondHorizon = 2,
    /// A click whose impression never came, where the advertiser does not pay for such.
    ClickWithoutImpression = 3,
    /// Rules found later, applied to what is long counted.
    RuleFound = 4,
    /// What the above changes in the credit for over-delivery; for a whole campaign.
    OverDelivery = 5,
}

impl AdjustmentReason {
    /// All reasons, in the order of their codes.
    pub const ALL: [AdjustmentReason; 5] = [
        AdjustmentReason::Recounted,
        AdjustmentReason::DuplicateBeyondHorizon,
        AdjustmentReason::ClickWithoutImpression,
        AdjustmentReason::RuleFound,
        AdjustmentReason::OverDelivery,
    ];

    /// The stable number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason of a number; `None` for one this build does not know.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The name in ledgers and reports.
    pub const fn name(self) -> &'static str {
        match self {
            AdjustmentReason::Recounted => "recounted",
            AdjustmentReason::DuplicateBeyondHorizon => "duplicate_beyond_horizon",
            AdjustmentReason::ClickWithoutImpression => "click_without_impression",
            AdjustmentReason::RuleFound => "rule_found",
            AdjustmentReason::OverDelivery => "over_delivery",
        }
    }

    /// Reads what [`AdjustmentReason::name`] writes.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// A difference to one line of a closed day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// The closed day.
    pub day: Day,
    /// The start of the hour of that day in which it happened.
    pub hour: Timestamp,
    /// Whose.
    pub tenant: TenantId,
    /// Key of the campaign.
    pub campaign: u64,
    /// Key of the ad; 0 for the whole campaign.
    pub ad: u64,
    /// Currency of `spend`.
    pub currency: Currency,
    /// Counted clicks that come to it, or are taken away.
    pub clicks: i64,
    /// What the advertiser pays more, or less.
    pub spend: Micros,
    /// Why.
    pub reason: AdjustmentReason,
    /// Which adjustment of this line and reason it is, from 1.
    pub number: u32,
    /// Key of the entry it corrects.
    pub corrects: String,
    /// The epoch up to which this is known.
    pub cut: u64,
}

impl Adjustment {
    /// Appends its bytes to `out`.
    ///
    /// # Panics
    /// Where the key of what it corrects is longer than [`CORRECTS_BYTES_MAX`], or the hour is none
    /// of the day: whoever makes adjustments makes those of lines.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.corrects.len() <= CORRECTS_BYTES_MAX, "keys of entries are bounded");
        let hour = self.hour.since(self.day.start()) / Timestamp::HOUR;
        let hour = u8::try_from(hour).ok().filter(|&hour| self.start_of(hour) == self.hour);
        out.extend_from_slice(&[VERSION, self.reason.code()]);
        out.push(hour.expect("the hour is one of the day's"));
        out.extend_from_slice(&self.currency.bytes());
        out.extend_from_slice(&self.day.number().to_le_bytes());
        out.extend_from_slice(&self.tenant.0.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.campaign.to_le_bytes());
        out.extend_from_slice(&self.ad.to_le_bytes());
        out.extend_from_slice(&self.clicks.to_le_bytes());
        out.extend_from_slice(&self.spend.to_le_bytes());
        out.extend_from_slice(&self.cut.to_le_bytes());
        out.extend_from_slice(&(self.corrects.len() as u16).to_le_bytes());
        out.extend_from_slice(self.corrects.as_bytes());
    }

    fn start_of(&self, hour: u8) -> Timestamp {
        self.day.start().plus(i64::from(hour) * Timestamp::HOUR)
    }

    /// Reads a payload; `None` for one that a later build has made, which is skipped.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let mut at = Cursor(bytes);
        let [version, reason, hour] = at.take()?;
        let (VERSION, Some(reason)) = (version, AdjustmentReason::from_code(reason)) else {
            return Ok(None);
        };
        let currency =
            Currency::from_bytes(at.take()?).map_err(|_| DecodeError::Field("currency"))?;
        let day = Day::new(u32::from_le_bytes(at.take()?)).ok_or(DecodeError::Field("day"))?;
        if hour > 23 {
            return Err(DecodeError::Field("hour"));
        }
        Ok(Some(Adjustment {
            day,
            hour: day.start().plus(i64::from(hour) * Timestamp::HOUR),
            tenant: TenantId(u32::from_le_bytes(at.take()?)),
            number: u32::from_le_bytes(at.take()?),
            campaign: u64::from_le_bytes(at.take()?),
            ad: u64::from_le_bytes(at.take()?),
            currency,
            clicks: i64::from_le_bytes(at.take()?),
            spend: i64::from_le_bytes(at.take()?),
            reason,
            cut: u64::from_le_bytes(at.take()?),
            corrects: at.corrects()?,
        }))
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn corrects(&mut self) -> Result<String, DecodeError> {
        let length = usize::from(u16::from_le_bytes(self.take()?));
        if length > CORRECTS_BYTES_MAX {
            return Err(DecodeError::Field("corrects"));
        }
        let bytes = self.0.get(..length).ok_or(DecodeError::Truncated)?;
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Field("corrects"))?;
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjustment(reason: AdjustmentReason) -> Adjustment {
        let day = Day::parse("2026-11-21").expect("a day");
        Adjustment {
            day,
            hour: day.start().plus(13 * Timestamp::HOUR),
            tenant: TenantId(7),
            campaign: 0x0102_0304_0506_0708,
            ad: 9,
            currency: Currency::EUR,
            clicks: -2,
            spend: -500_000,
            reason,
            number: 3,
            corrects: "charge/1".to_owned(),
            cut: 77,
        }
    }

    #[test]
    fn differences_read_back_and_later_ones_are_skipped() {
        for reason in AdjustmentReason::ALL {
            assert_eq!(AdjustmentReason::parse(reason.name()), Some(reason));
            let mut bytes = Vec::new();
            adjustment(reason).encode(&mut bytes);
            assert_eq!(Adjustment::decode(&bytes), Ok(Some(adjustment(reason))));
            for cut in 3..bytes.len() {
                assert_eq!(Adjustment::decode(&bytes[..cut]), Err(DecodeError::Truncated), "{cut}");
            }
        }
        assert_eq!(Adjustment::decode(&[2, 1, 0]), Ok(None));
        assert_eq!(Adjustment::decode(&[1, 99, 0]), Ok(None));
        assert_eq!(Adjustment::decode(&[1]), Err(DecodeError::Truncated));
    }

    /// Version 1 as it stands in logs; later builds read it for ever.
    #[test]
    fn the_bytes_never_change() {
        let mut bytes = Vec::new();
        adjustment(AdjustmentReason::Recounted).encode(&mut bytes);
        let expected = [
            &[1, 1, 13][..],
            b"EUR",
            &[0x2a, 0x51, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0],
            &[8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0],
            &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xe0, 0x5e, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[77, 0, 0, 0, 0, 0, 0, 0, 8, 0],
            b"charge/1",
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn damage_is_named() {
        let mut sound = Vec::new();
        adjustment(AdjustmentReason::RuleFound).encode(&mut sound);
        let damaged = |at: usize, byte: u8| {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            Adjustment::decode(&bytes)
        };
        assert_eq!(damaged(2, 24), Err(DecodeError::Field("hour")));
        assert_eq!(damaged(3, b'e'), Err(DecodeError::Field("currency")));
        assert_eq!(damaged(9, 1), Err(DecodeError::Field("day")));
        assert_eq!(damaged(sound.len() - 9, 9), Err(DecodeError::Field("corrects")));
        assert_eq!(damaged(sound.len() - 1, 0xff), Err(DecodeError::Field("corrects")));
    }
}
