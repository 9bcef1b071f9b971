//! Rows: the key everything in the store is sorted by, and what is summed under it.
//!
//! One order fits every cube: tenant, ad, campaign, ..., time last. A dimension a cube does not keep
//! is 0 in all its rows and so does not disturb the order of the others. Time comes last because then
//! equal series lie side by side, which is what makes the columns small.

use std::hash::{Hash, Hasher};

use reckon_event::{Cell, Currency, Measure};

use super::cube::Dimensions;
use crate::{Dimension, Filter};

/// The key of a row. The order of the fields is the order of rows in every run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub tenant: u32,
    pub ad: u64,
    pub campaign: u64,
    pub region: u64,
    pub device: u64,
    pub placement: u64,
    pub position: u16,
    pub kind: u8,
    pub verdict: u8,
    pub currency: u16,
    /// The start of the bucket in seconds since 1970.
    pub second: i64,
}

impl Hash for Key {
    /// Seven words instead of eleven fields: this is the hot path of `apply`.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let codes = u64::from(self.currency) << 16
            | u64::from(self.kind) << 8
            | u64::from(self.verdict)
            | u64::from(self.tenant) << 32;
        state.write_u64(codes);
        state.write_u64(self.second.cast_unsigned() << 16 | u64::from(self.position));
        state.write_u64(self.ad);
        state.write_u64(self.campaign);
        state.write_u64(self.region);
        state.write_u64(self.device);
        state.write_u64(self.placement);
    }
}

/// A row: a key and its sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub key: Key,
    pub measure: Measure,
}

impl Row {
    pub(crate) fn is_zero(&self) -> bool {
        self.measure == Measure::default()
    }
}

impl Key {
    pub(crate) fn of(cell: &Cell) -> Self {
        Key {
            tenant: cell.tenant.0,
            ad: cell.ad,
            campaign: cell.campaign,
            region: cell.region,
            device: cell.device,
            placement: cell.placement,
            position: cell.position,
            kind: cell.kind.code(),
            verdict: cell.verdict.code(),
            currency: currency_code(cell.currency),
            second: cell.second,
        }
    }

    /// The key of the row a cube keeps this one in.
    #[must_use]
    pub(crate) const fn project(self, kept: Dimensions, pane_seconds: i64) -> Self {
        const fn keep(kept: Dimensions, dimension: Dimension, key: u64) -> u64 {
            if kept.has(dimension) { key } else { 0 }
        }
        Key {
            ad: keep(kept, Dimension::Ad, self.ad),
            campaign: keep(kept, Dimension::Campaign, self.campaign),
            region: keep(kept, Dimension::Region, self.region),
            device: keep(kept, Dimension::Device, self.device),
            placement: keep(kept, Dimension::Placement, self.placement),
            position: if kept.has(Dimension::Position) { self.position } else { 0 },
            second: self.second.div_euclid(pane_seconds) * pane_seconds,
            ..self
        }
    }
}

/// Which rows a question is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Select {
    /// One tenant, or all.
    pub tenant: Option<u32>,
    pub filter: Filter,
    /// The first second.
    pub from: i64,
    /// The first second no longer in it.
    pub to: i64,
}

impl Select {
    pub(crate) fn takes(&self, key: &Key) -> bool {
        fn is<T: Copy + PartialEq>(wanted: Option<T>, value: T) -> bool {
            wanted.is_none_or(|wanted| wanted == value)
        }
        let filter = &self.filter;
        is(self.tenant, key.tenant)
            && (self.from..self.to).contains(&key.second)
            && is(filter.ad, key.ad)
            && is(filter.campaign, key.campaign)
            && is(filter.region, key.region)
            && is(filter.device, key.device)
            && is(filter.placement, key.placement)
            && is(filter.position, key.position)
    }

    /// The least and the greatest of the leading parts of keys that can be taken, in rows that keep
    /// `kept`. A campaign bounds them only where there is one ad: else it has rows between all ads.
    pub(crate) fn lead(&self, kept: Dimensions) -> (Lead, Lead) {
        let bounds = |dimension, wanted: Option<u64>| match wanted {
            _ if !kept.has(dimension) => (0, 0),
            Some(key) => (key, key),
            None => (0, u64::MAX),
        };
        let ad = bounds(Dimension::Ad, self.filter.ad);
        let one_ad = ad.0 == ad.1 && self.tenant.is_some();
        let campaign = bounds(Dimension::Campaign, self.filter.campaign.filter(|_| one_ad));
        let (least, greatest) = match self.tenant {
            Some(tenant) => (tenant, tenant),
            None => (0, u32::MAX),
        };
        ((least, ad.0, campaign.0), (greatest, ad.1, campaign.1))
    }
}

/// The leading part of a key: tenant, ad, campaign.
pub(crate) type Lead = (u32, u64, u64);

/// From the least leading part to the greatest.
pub(crate) const LEADS_ALL: (Lead, Lead) = ((0, 0, 0), (u32::MAX, u64::MAX, u64::MAX));

impl Key {
    pub(crate) const fn lead(&self) -> Lead {
        (self.tenant, self.ad, self.campaign)
    }
}

/// How many codes of currencies there are.
pub(crate) const CURRENCY_CODES: u16 = 26 * 26 * 26;

/// Three capital letters as a number to base 26, so that codes sort as the letters do.
pub(crate) fn currency_code(currency: Currency) -> u16 {
    currency.bytes().iter().fold(0, |code, letter| code * 26 + u16::from(letter - b'A'))
}

/// The currency of a code; `None` for a number that is none.
pub(crate) fn currency_of(code: u16) -> Option<Currency> {
    let letter = |value: u16| u8::try_from(value).ok().filter(|v| *v < 26).map(|v| v + b'A');
    let bytes = [letter(code / 676)?, letter(code / 26 % 26)?, letter(code % 26)?];
    Currency::from_bytes(bytes).ok()
}

/// Merges neighbours with equal keys and drops rows that have become zero.
pub(crate) fn merge_neighbours(rows: &mut Vec<Row>) {
    rows.dedup_by(|row, kept| {
        let same = row.key == kept.key;
        if same {
            kept.measure.add(row.measure);
        }
        same
    });
    rows.retain(|row| !row.is_zero());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currencies_read_back_and_keep_their_order() {
        let texts = ["AAA", "AED", "EUR", "USD", "XXX", "ZZZ"];
        let codes: Vec<u16> =
            texts.map(|t| currency_code(Currency::parse(t).expect("a code"))).into();
        assert!(codes.is_sorted());
        for (text, code) in texts.iter().zip(codes) {
            assert_eq!(currency_of(code).map(|c| c.to_string()).as_deref(), Some(*text));
        }
        assert_eq!(currency_of(26 * 676), None);
    }
}
