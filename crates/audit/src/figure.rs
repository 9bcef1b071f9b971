//! Figures: what is compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
    UInt64Array,
};
use reckon_event::{Currency, Kind, Micros, TenantId, Timestamp, Verdict};
use reckon_rollup::{Counts, Dimension, Granularity, Query, RollupStore, Row};
use serde::Serialize;

use crate::AuditError;

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FigureKey {
    /// Whose.
    pub tenant: TenantId,
    /// Key of the ad; 0 where it is not registered.
    pub ad: u64,
    /// Minutes since 1970, by event time.
    pub minute: i64,
    /// What happened.
    pub kind: Kind,
    /// What it is worth.
    pub verdict: Verdict,
}

/// What stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    /// Number of records.
    pub count: i64,
    /// Price of the counted clicks, by currency; without zeros.
    pub spend: BTreeMap<Currency, Micros>,
}

impl Figure {
    /// Adds to it.
    pub fn add(&mut self, count: i64, currency: Currency, spend: Micros) {
        self.count += count;
        if spend != 0 {
            *self.spend.entry(currency).or_default() += spend;
            self.spend.retain(|_, spend| *spend != 0);
        }
    }

    /// True where nothing stands there.
    pub fn is_zero(&self) -> bool {
        self.count == 0 && self.spend.is_empty()
    }
}

impl FigureKey {
    /// The start of its minute.
    pub const fn at(&self) -> Timestamp {
        Timestamp(self.minute * Timestamp::MINUTE)
    }
}

/// Records of an hour and a group of slots, in a form that any order of them gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checksum {
    /// How many records.
    pub rows: u64,
    /// XOR of the hashes of (record id, verdict).
    pub xor: u64,
    /// Sum of the same, wrapping.
    pub sum: u64,
}

impl Checksum {
    /// Adds another's records.
    pub const fn add(&mut self, other: &Checksum) {
        self.rows = self.rows.wrapping_add(other.rows);
        self.xor ^= other.xor;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Takes another's records away.
    pub const fn take(&mut self, other: &Checksum) {
        self.rows = self.rows.wrapping_sub(other.rows);
        self.xor ^= other.xor;
        self.sum = self.sum.wrapping_sub(other.sum);
    }
}

/// All figures of a rollup that a metric has: clicks of every verdict, and counted impressions, views
/// and conversions. Asked a day at a time, so that no answer grows beyond bounds.
pub fn rollup_figures(
    store: &dyn RollupStore,
    tenants: &[TenantId],
    from: Timestamp,
    to: Timestamp,
) -> Result<BTreeMap<FigureKey, Figure>, AuditError> {
    let mut figures = BTreeMap::new();
    for &tenant in tenants {
        let mut begin = from;
        while begin < to {
            let end = begin.plus(1).ceil(Timestamp::DAY).min(to);
            let query = Query {
                group_by: vec![Dimension::Ad, Dimension::Reason],
                ..Query::new(tenant, begin, end, Granularity::Minute)
            };
            for row in store.query(&query)?.rows {
                add_row(&mut figures, tenant, &row);
            }
            begin = end;
        }
    }
    figures.retain(|_, figure| !figure.is_zero());
    Ok(figures)
}

/// Figures as rows for SQL, one for each currency of a figure: what [`crate::Auditor::hand_in`] makes the
/// table `metrics` of. The count stands in the first row of a figure alone.
pub fn metrics_table(figures: &BTreeMap<FigureKey, Figure>) -> Result<RecordBatch, AuditError> {
    let mut rows = Vec::new();
    for (key, figure) in figures {
        let money = figure.spend.iter().map(|(currency, spend)| (currency.to_string(), *spend));
        let mut money: Vec<(Option<String>, Micros)> = money.map(|(c, s)| (Some(c), s)).collect();
        if money.is_empty() {
            money.push((None, 0));
        }
        for (at, (currency, spend)) in money.into_iter().enumerate() {
            rows.push((key, if at == 0 { figure.count } else { 0 }, currency, spend));
        }
    }
    let texts = |text: fn(&FigureKey) -> &'static str| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(text(row.0))).collect::<StringArray>())
    };
    let minutes = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0.at().0));
    let columns: [(&str, ArrayRef); 8] = [
        ("tenant", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.0.tenant.0)))),
        ("ad_key", Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.0.ad)))),
        ("minute", Arc::new(minutes.with_timezone("UTC"))),
        ("kind", texts(|key| key.kind.name())),
        ("verdict", texts(|key| key.verdict.name())),
        ("count", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)))),
        ("currency", Arc::new(rows.iter().map(|row| row.2.as_deref()).collect::<StringArray>())),
        ("spend", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3)))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

const METRIC_KINDS: [Kind; 4] = [Kind::Impression, Kind::View, Kind::Click, Kind::Conversion];

fn add_row(figures: &mut BTreeMap<FigureKey, Figure>, tenant: TenantId, row: &Row) {
    let (Some(bucket), Some(ad), Some(verdict)) = (row.bucket, row.keys.ad, row.keys.reason) else {
        return;
    };
    for kind in METRIC_KINDS {
        let mut counts: Counts = row.counts;
        let count = counts.of(kind, verdict).map_or(0, |count| *count);
        let minute = bucket.0.div_euclid(Timestamp::MINUTE);
        let figure = figures.entry(FigureKey { tenant, ad, minute, kind, verdict }).or_default();
        figure.count += count;
        if kind == Kind::Click {
            for &(currency, spend) in &row.spend {
                figure.add(0, currency, spend);
            }
        }
    }
}

/// True for what [`rollup_figures`] can bring.
pub(crate) fn has_metric(key: &FigureKey) -> bool {
    key.kind == Kind::Click || (METRIC_KINDS.contains(&key.kind) && key.verdict == Verdict::Counted)
}
