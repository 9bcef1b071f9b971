//! The naive rollup: a list of all cells ever applied, summed anew for each question.

pub mod random;

use std::collections::BTreeMap;

use reckon_event::{Cell, Currency, Kind, Measure, Timestamp, Verdict};
use reckon_rollup::{
    Counts, Dimension, Direction, Granularity, Keys, Metric, Order, Query, Row, Text, Total,
};

/// Everything applied so far.
#[derive(Clone, Default)]
pub struct Model {
    pub cells: Vec<(Cell, Measure)>,
    pub texts: BTreeMap<u64, String>,
}

/// A row's place in the only order there is: bucket, ad, campaign, region, device, placement (texts
/// with their keys), position, reason.
type Place = (i64, u64, u64, [(Option<String>, u64); 3], u16, u8);

#[derive(Clone, Default)]
struct Sums {
    counts: Counts,
    spend: BTreeMap<Currency, i64>,
}

impl Model {
    /// The second of the newest cell.
    pub fn newest(&self) -> Option<i64> {
        self.cells.iter().map(|(cell, _)| cell.second).max()
    }

    pub fn totals(&self) -> Vec<Total> {
        let mut totals: BTreeMap<(u32, Kind, Verdict), i64> = BTreeMap::new();
        for (cell, measure) in &self.cells {
            *totals.entry((cell.tenant.0, cell.kind, cell.verdict)).or_default() += measure.count;
        }
        let of = |((_, kind, verdict), count): ((u32, Kind, Verdict), i64), tenant| Total {
            tenant,
            kind,
            verdict,
            count,
        };
        let totals = totals.into_iter().filter(|(_, count)| *count != 0);
        totals.map(|(key, count)| of((key, count), reckon_event::TenantId(key.0))).collect()
    }

    /// The rows of an answer; `None` where amounts of several currencies would have to be ordered.
    pub fn rows(&self, query: &Query) -> Option<Vec<Row>> {
        let mut groups: BTreeMap<Place, (Keys, Sums)> = BTreeMap::new();
        for (cell, measure) in self.cells.iter().filter(|(cell, _)| takes(query, cell)) {
            for bucket in buckets(query, cell.second) {
                let (place, keys) = self.place(query, cell, bucket);
                let sums = &mut groups.entry(place).or_insert((keys, Sums::default())).1;
                if let Some(count) = sums.counts.of(cell.kind, cell.verdict) {
                    *count += measure.count;
                }
                *sums.spend.entry(cell.currency).or_default() += measure.spend;
            }
        }
        let mut rows: Vec<Row> = groups.into_iter().filter_map(|g| row(query, g)).collect();
        order(query, &mut rows)?;
        rows.truncate(query.limit.map_or(usize::MAX, |limit| limit as usize));
        Some(rows)
    }

    fn place(&self, query: &Query, cell: &Cell, bucket: i64) -> (Place, Keys) {
        let by = |dimension| query.group_by.contains(&dimension);
        let text = |dimension, key: u64| {
            let text = self.texts.get(&key).cloned();
            by(dimension).then(|| Text { key, text: text.map(Into::into) })
        };
        let keys = Keys {
            ad: by(Dimension::Ad).then_some(cell.ad),
            campaign: by(Dimension::Campaign).then_some(cell.campaign),
            region: text(Dimension::Region, cell.region),
            device: text(Dimension::Device, cell.device),
            placement: text(Dimension::Placement, cell.placement),
            position: by(Dimension::Position).then_some(cell.position),
            reason: by(Dimension::Reason).then_some(cell.verdict),
        };
        let part = |text: &Option<Text>| match text {
            Some(text) => (text.text.as_deref().map(str::to_owned), text.key),
            None => (None, 0),
        };
        let place = (
            bucket,
            keys.ad.unwrap_or(0),
            keys.campaign.unwrap_or(0),
            [part(&keys.region), part(&keys.device), part(&keys.placement)],
            keys.position.unwrap_or(0),
            keys.reason.map_or(0, Verdict::code),
        );
        (place, keys)
    }
}

fn takes(query: &Query, cell: &Cell) -> bool {
    let filter = &query.filter;
    let is = |wanted: Option<u64>, value| wanted.is_none_or(|wanted| wanted == value);
    cell.tenant == query.tenant
        && is(filter.ad, cell.ad)
        && is(filter.campaign, cell.campaign)
        && is(filter.region, cell.region)
        && is(filter.device, cell.device)
        && is(filter.placement, cell.placement)
        && filter.position.is_none_or(|position| position == cell.position)
}

/// All buckets a second is counted in.
fn buckets(query: &Query, second: i64) -> Vec<i64> {
    let width = match query.granularity {
        Granularity::Second => 1,
        Granularity::Minute | Granularity::Total => 60,
        Granularity::FiveMinutes => 300,
        Granularity::Hour => 3_600,
        Granularity::Day => 86_400,
        Granularity::Sliding { step, .. } => i64::from(step),
    };
    let from = query.from.seconds().div_euclid(width) * width;
    let to = Timestamp(query.to.0 + 999_999).seconds();
    let to = (to + width - 1).div_euclid(width) * width;
    match query.granularity {
        Granularity::Sliding { window, .. } => (1..)
            .map(|n| from + n * width)
            .take_while(|end| *end <= to)
            .filter(|end| (*end - i64::from(window)..*end).contains(&second))
            .collect(),
        _ if !(from..to).contains(&second) => vec![],
        Granularity::Total => vec![0],
        _ => vec![second.div_euclid(width) * width],
    }
}

fn row(query: &Query, (place, (keys, sums)): (Place, (Keys, Sums))) -> Option<Row> {
    let spend: Vec<_> = sums.spend.into_iter().filter(|(_, micros)| *micros != 0).collect();
    if sums.counts == Counts::default() && spend.is_empty() {
        return None;
    }
    let is_total = query.granularity == Granularity::Total;
    let bucket = (!is_total).then(|| Timestamp::from_seconds(place.0));
    Some(Row { bucket, keys, counts: sums.counts, spend: spend.into() })
}

/// Rows come in the order of their places; a stable sort keeps that for ties.
fn order(query: &Query, rows: &mut [Row]) -> Option<()> {
    let Some(order) = query.order_by else { return Some(()) };
    if order.by == Order::Metric(Metric::SpendMicros) {
        let mut currencies: Vec<_> = rows.iter().flat_map(|row| &row.spend).map(|s| s.0).collect();
        currencies.sort_unstable();
        currencies.dedup();
        (currencies.len() <= 1).then_some(())?;
    }
    rows.sort_by(|a, b| {
        let compared = match order.by {
            Order::Metric(Metric::SpendMicros) => a.spend_micros().cmp(&b.spend_micros()),
            Order::Metric(Metric::Ctr) => {
                let rate = |row: &Row| row.counts.ctr().unwrap_or(f64::NEG_INFINITY);
                rate(a).total_cmp(&rate(b))
            }
            Order::Metric(metric) => figure(&a.counts, metric).cmp(&figure(&b.counts, metric)),
            Order::Bucket => a.bucket.cmp(&b.bucket),
            Order::Dimension(dimension) => compare(&a.keys, &b.keys, dimension),
        };
        if order.direction == Direction::Descending { compared.reverse() } else { compared }
    });
    Some(())
}

fn figure(counts: &Counts, metric: Metric) -> i64 {
    match metric {
        Metric::Impressions => counts.impressions,
        Metric::Views => counts.views,
        Metric::Clicks => counts.clicks,
        Metric::ClicksGross => counts.clicks + counts.duplicates + counts.invalid,
        Metric::Duplicates => counts.duplicates,
        Metric::Invalid => counts.invalid,
        Metric::Conversions => counts.conversions,
        Metric::Ctr | Metric::SpendMicros => unreachable!("compared elsewhere"),
    }
}

fn compare(a: &Keys, b: &Keys, dimension: Dimension) -> std::cmp::Ordering {
    let text = |text: &Option<Text>| text.clone().map(|text| (text.text, text.key));
    match dimension {
        Dimension::Ad => a.ad.cmp(&b.ad),
        Dimension::Campaign => a.campaign.cmp(&b.campaign),
        Dimension::Region => text(&a.region).cmp(&text(&b.region)),
        Dimension::Device => text(&a.device).cmp(&text(&b.device)),
        Dimension::Placement => text(&a.placement).cmp(&text(&b.placement)),
        Dimension::Position => a.position.cmp(&b.position),
        Dimension::Reason => a.reason.map(Verdict::code).cmp(&b.reason.map(Verdict::code)),
    }
}
