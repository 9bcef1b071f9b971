//! Rows as they travel.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::state::CELLS;
use crate::Counts;
use crate::sums::fold::GroupKey;
use crate::sums::line::Line;
use crate::sums::row::{Key, Row as Sum};
use reckon_event::Measure;

/// A row of the table of rows.
#[derive(Clone, Debug, Row, Serialize)]
pub(super) struct StoredRow {
    run: u64,
    cube: u16,
    tenant: u32,
    day: i32,
    ad: u64,
    campaign: u64,
    region: u64,
    device: u64,
    placement: u64,
    position: u16,
    kind: u8,
    verdict: u8,
    currency: u16,
    bucket: i64,
    slot_group: u16,
    generation: u32,
    epoch: u64,
    count: i64,
    spend: i64,
}

impl StoredRow {
    /// A sum of a cube, in a run that ends with the last epoch of `line`.
    pub(super) fn of(sum: &Sum, run: u64, cube: u16, line: &Line) -> Self {
        let Sum { key, measure } = sum;
        StoredRow {
            run,
            cube,
            tenant: key.tenant,
            day: i32::try_from(key.second.div_euclid(86_400)).unwrap_or(i32::MAX),
            ad: key.ad,
            campaign: key.campaign,
            region: key.region,
            device: key.device,
            placement: key.placement,
            position: key.position,
            kind: key.kind,
            verdict: key.verdict,
            currency: key.currency,
            bucket: key.second,
            slot_group: line.group,
            generation: line.generation,
            epoch: line.number,
            count: measure.count,
            spend: measure.spend,
        }
    }

    /// A cell, as it was handed over.
    pub(super) fn cell(sum: &Sum, run: u64, line: &Line) -> Self {
        Self::of(sum, run, CELLS, line)
    }
}

/// A claim to be the one who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub(super) struct Claim {
    pub session: u32,
    pub generation: u32,
    pub token: u64,
}

/// A text and its key.
#[derive(Clone, Debug, Row, Serialize)]
pub(super) struct NameRow {
    pub key: u64,
    pub text: String,
}

/// A text that is kept.
#[derive(Clone, Debug, Row, Deserialize)]
pub(super) struct KeptName {
    pub key: u64,
    pub kept: String,
}

/// A partition of a table.
#[derive(Clone, Copy, Debug, Row, Deserialize)]
pub(super) struct Partition {
    pub id: u64,
    pub held: u64,
    pub bytes: u64,
}

/// What one cube has in a run.
#[derive(Clone, Copy, Debug, Row, Deserialize)]
pub(super) struct Measured {
    pub of_run: u64,
    pub of_cube: u16,
    pub held: u64,
    pub least: i64,
    pub greatest: i64,
}

/// A group of a question, in one currency.
#[derive(Clone, Copy, Debug, Row, Deserialize)]
pub(super) struct GroupRow {
    at: i64,
    by_ad: u64,
    by_campaign: u64,
    by_region: u64,
    by_device: u64,
    by_placement: u64,
    by_position: u16,
    by_reason: u8,
    pub in_currency: u16,
    impressions: i64,
    views: i64,
    clicks: i64,
    duplicates: i64,
    invalid: i64,
    conversions: i64,
    pub spent: i64,
}

impl GroupRow {
    pub(super) const fn key(&self) -> GroupKey {
        GroupKey {
            bucket: self.at,
            ad: self.by_ad,
            campaign: self.by_campaign,
            region: self.by_region,
            device: self.by_device,
            placement: self.by_placement,
            position: self.by_position,
            reason: self.by_reason,
        }
    }

    pub(super) const fn counts(&self) -> Counts {
        Counts {
            impressions: self.impressions,
            views: self.views,
            clicks: self.clicks,
            duplicates: self.duplicates,
            invalid: self.invalid,
            conversions: self.conversions,
        }
    }
}

/// An ad and the figure it is ranked by.
#[derive(Clone, Copy, Debug, Row, Deserialize)]
pub(super) struct Ranked {
    pub by_ad: u64,
    pub value: i64,
}

/// A sum as it is kept.
#[derive(Clone, Copy, Debug, Row, Deserialize)]
pub(super) struct SumRow {
    of_tenant: u32,
    by_ad: u64,
    by_campaign: u64,
    by_region: u64,
    by_device: u64,
    by_placement: u64,
    by_position: u16,
    of_kind: u8,
    of_verdict: u8,
    in_currency: u16,
    at: i64,
    counted: i64,
    spent: i64,
}

impl SumRow {
    pub(super) const fn sum(&self) -> Sum {
        Sum {
            key: Key {
                tenant: self.of_tenant,
                ad: self.by_ad,
                campaign: self.by_campaign,
                region: self.by_region,
                device: self.by_device,
                placement: self.by_placement,
                position: self.by_position,
                kind: self.of_kind,
                verdict: self.of_verdict,
                currency: self.in_currency,
                second: self.at,
            },
            measure: Measure { count: self.counted, spend: self.spent },
        }
    }
}

/// Records of one kind and verdict.
#[derive(Clone, Copy, Debug, Row, Deserialize)]
pub(super) struct TotalRow {
    pub of_tenant: u32,
    pub of_kind: u8,
    pub of_verdict: u8,
    pub counted: i64,
}
