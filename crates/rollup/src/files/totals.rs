//! Exact totals over all time: the figure conservation is checked against.

use std::collections::BTreeMap;

use reckon_event::{Kind, TenantId, Verdict};

use super::wire::Reader;
use crate::Total;

/// Codes of kinds are below 16, those of verdicts below 32.
const SLOTS: usize = 16 * 32;

/// Records by tenant, kind and verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    tenants: BTreeMap<u32, Vec<i64>>,
}

const fn slot(kind: u8, verdict: u8) -> usize {
    (kind as usize & 15) << 5 | (verdict as usize & 31)
}

impl Totals {
    #[inline]
    pub(super) fn add(&mut self, tenant: u32, kind: u8, verdict: u8, count: i64) {
        self.tenants.entry(tenant).or_insert_with(|| vec![0; SLOTS])[slot(kind, verdict)] += count;
    }

    /// All that are not zero, sorted.
    pub(super) fn list(&self) -> Vec<Total> {
        let mut totals = Vec::new();
        for (&tenant, counts) in &self.tenants {
            for (at, &count) in counts.iter().enumerate().filter(|(_, count)| **count != 0) {
                let kind = u8::try_from(at >> 5).ok().and_then(Kind::from_code);
                let verdict = u8::try_from(at & 31).ok().and_then(Verdict::from_code);
                if let Some((kind, verdict)) = kind.zip(verdict) {
                    totals.push(Total { tenant: TenantId(tenant), kind, verdict, count });
                }
            }
        }
        totals
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let totals = self.list();
        let count = u32::try_from(totals.len()).expect("tenants are u32, but few");
        out.extend_from_slice(&count.to_le_bytes());
        for total in totals {
            out.extend_from_slice(&total.tenant.0.to_le_bytes());
            out.extend_from_slice(&[total.kind.code(), total.verdict.code()]);
            out.extend_from_slice(&total.count.to_le_bytes());
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut totals = Totals::default();
        for _ in 0..reader.u32()? {
            let tenant = reader.u32()?;
            let kind = Kind::from_code(reader.u8()?)?;
            let verdict = Verdict::from_code(reader.u8()?)?;
            totals.add(tenant, kind.code(), verdict.code(), reader.i64()?);
        }
        Some(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_verdict_has_a_place_of_its_own() {
        let mut totals = Totals::default();
        let mut expect = Vec::new();
        for kind in (1..=u8::MAX).filter_map(Kind::from_code) {
            for verdict in Verdict::all() {
                let count = i64::try_from(expect.len()).expect("small") + 1;
                totals.add(7, kind.code(), verdict.code(), count);
                expect.push(Total { tenant: TenantId(7), kind, verdict, count });
            }
        }
        assert_eq!(totals.list(), expect);
        let mut bytes = Vec::new();
        totals.put(&mut bytes);
        assert_eq!(Totals::read(&mut Reader::new(&bytes)), Some(totals));
    }
}
