//! The rollup's answers against sums over the records themselves, at several grains.

use std::collections::BTreeMap;

use reckon_event::{Currency, Kind, Micros, Record, TenantId, Timestamp, Verdict, name_key};
use reckon_rollup::{Counts, Dimension, Files, Granularity, Query, RollupStore, Row, Total};

use super::InForce;

/// Seconds of the live view.
const LIVE_SECONDS: u32 = 600;
const TENANTS: [TenantId; 2] = [TenantId(1), TenantId(2)];

/// What rows are split by: bucket, then dimensions.
struct Grain {
    granularity: Granularity,
    width: i64,
    dimensions: &'static [Dimension],
}

const GRAINS: [Grain; 4] = [
    Grain {
        granularity: Granularity::Minute,
        width: Timestamp::MINUTE,
        dimensions: &[Dimension::Ad, Dimension::Reason],
    },
    Grain {
        granularity: Granularity::Minute,
        width: Timestamp::MINUTE,
        dimensions: &[
            Dimension::Campaign,
            Dimension::Region,
            Dimension::Device,
            Dimension::Placement,
            Dimension::Position,
            Dimension::Reason,
        ],
    },
    Grain {
        granularity: Granularity::Day,
        width: Timestamp::DAY,
        dimensions: &[Dimension::Campaign, Dimension::Region, Dimension::Reason],
    },
    Grain { granularity: Granularity::Hour, width: Timestamp::HOUR, dimensions: &[] },
];

/// What stands in a row: its counts, and its spend by currency, without zeros.
type Figures = (Counts, BTreeMap<Currency, Micros>);

/// Compares everything; returns how many rows that were.
pub(super) fn compare(rollup: &Files, rows: &[InForce<'_>], epoch: u64) -> Result<u64, String> {
    let mut compared = compare_totals(rollup, rows)?;
    for tenant in TENANTS {
        for grain in &GRAINS {
            compared += compare_grain(rollup, rows, tenant, grain, epoch)?;
        }
        compared += compare_live(rollup, rows, tenant)?;
    }
    Ok(compared)
}

/// Records that are summed, with the verdict in force.
fn summed<'a>(
    rows: &'a [InForce<'a>],
    tenant: TenantId,
) -> impl Iterator<Item = (Record<'a>, Verdict)> {
    let judged = rows.iter().filter_map(|(told, verdict)| Some((told.record(), (*verdict)?)));
    judged.filter(move |(record, _)| record.tenant == tenant && record.kind != Kind::Adjustment)
}

fn compare_totals(rollup: &Files, rows: &[InForce<'_>]) -> Result<u64, String> {
    let mut expected: BTreeMap<(TenantId, Kind, Verdict), i64> = BTreeMap::new();
    for tenant in TENANTS {
        for (record, verdict) in summed(rows, tenant) {
            *expected.entry((tenant, record.kind, verdict)).or_default() += 1;
        }
    }
    let found = rollup.totals().map_err(|error| error.to_string())?;
    let found: BTreeMap<_, _> = found
        .iter()
        .map(|&Total { tenant, kind, verdict, count }| ((tenant, kind, verdict), count))
        .collect();
    differ("totals", &found, &expected)
}

fn compare_grain(
    rollup: &Files,
    rows: &[InForce<'_>],
    tenant: TenantId,
    grain: &Grain,
    epoch: u64,
) -> Result<u64, String> {
    let mut expected: BTreeMap<Vec<u64>, Figures> = BTreeMap::new();
    let mut span: Option<(Timestamp, Timestamp)> = None;
    for (record, verdict) in summed(rows, tenant) {
        let at = record.happened;
        span = span.map_or(Some((at, at)), |(low, high)| Some((low.min(at), high.max(at))));
        let (counts, spend) = expected.entry(grain.key_of(&record, verdict)).or_default();
        if let Some(count) = counts.of(record.kind, verdict) {
            *count += 1;
        }
        if record.kind == Kind::Click && verdict == Verdict::Counted {
            *spend.entry(record.currency).or_default() += record.price;
        }
    }
    for (_, spend) in expected.values_mut() {
        spend.retain(|_, micros| *micros != 0);
    }
    expected.retain(|_, figures| *figures != Figures::default());
    let Some((low, high)) = span else { return Ok(0) };
    let to = high.plus(Timestamp::SECOND);
    let query = Query {
        group_by: grain.dimensions.to_vec(),
        ..Query::new(tenant, low, to, grain.granularity)
    };
    let answer = rollup.query(&query).map_err(|error| error.to_string())?;
    if answer.applied != Some(epoch) {
        return Err(format!("the rollup answers as of {:?}, not {epoch}", answer.applied));
    }
    let found: Vec<_> = answer.rows.iter().map(|row| grain.row(row)).collect();
    let count = found.len();
    let found: BTreeMap<Vec<u64>, Figures> = found.into_iter().collect();
    if found.len() != count {
        return Err(format!("rows of {} stand twice in an answer", answer.cube));
    }
    differ(&answer.cube, &found, &expected)
}

impl Grain {
    fn key_of(&self, record: &Record<'_>, verdict: Verdict) -> Vec<u64> {
        let text = |text: &str| if text.is_empty() { 0 } else { name_key(text) };
        let value = |dimension: &Dimension| match dimension {
            Dimension::Ad => record.ad_key,
            Dimension::Campaign if record.ad_key == 0 => 0,
            Dimension::Campaign => record.campaign_key,
            Dimension::Region => text(record.region),
            Dimension::Device => text(record.device),
            Dimension::Placement => text(record.placement),
            Dimension::Position => match (record.position, record.claims) {
                (0, Some(claims)) => u64::from(claims.position),
                (position, _) => u64::from(position),
            },
            Dimension::Reason => u64::from(verdict.code()),
        };
        let bucket = record.happened.floor(self.width).0 as u64;
        std::iter::once(bucket).chain(self.dimensions.iter().map(value)).collect()
    }

    fn row(&self, row: &Row) -> (Vec<u64>, Figures) {
        let keys = &row.keys;
        let value = |dimension: &Dimension| match dimension {
            Dimension::Ad => keys.ad,
            Dimension::Campaign => keys.campaign,
            Dimension::Region => keys.region.as_ref().map(|text| text.key),
            Dimension::Device => keys.device.as_ref().map(|text| text.key),
            Dimension::Placement => keys.placement.as_ref().map(|text| text.key),
            Dimension::Position => keys.position.map(u64::from),
            Dimension::Reason => keys.reason.map(|verdict| u64::from(verdict.code())),
        };
        let bucket = row.bucket.map_or(0, |bucket| bucket.0 as u64);
        let values = self.dimensions.iter().map(|one| value(one).unwrap_or(u64::MAX));
        let key = std::iter::once(bucket).chain(values).collect();
        (key, (row.counts, row.spend.iter().copied().collect()))
    }
}

/// The last seconds, each by itself.
fn compare_live(rollup: &Files, rows: &[InForce<'_>], tenant: TenantId) -> Result<u64, String> {
    let live = rollup.live(tenant, None, LIVE_SECONDS).map_err(|error| error.to_string())?;
    let mut expected: BTreeMap<i64, Counts> =
        live.iter().map(|second| (second.second.seconds(), Counts::default())).collect();
    for (record, verdict) in summed(rows, tenant) {
        if let Some(counts) = expected.get_mut(&record.happened.seconds())
            && let Some(count) = counts.of(record.kind, verdict)
        {
            *count += 1;
        }
    }
    let found: BTreeMap<i64, Counts> =
        live.iter().map(|second| (second.second.seconds(), second.counts)).collect();
    differ("live", &found, &expected)
}

/// The first key at which two maps differ; else how many they have.
fn differ<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) -> Result<u64, String> {
    for key in found.keys().chain(expected.keys()) {
        let (found, expected) = (found.get(key), expected.get(key));
        if found != expected {
            return Err(format!(
                "the rollup's {what} has {found:?} for {key:?}, plain sums give {expected:?}"
            ));
        }
    }
    Ok(found.len() as u64)
}
