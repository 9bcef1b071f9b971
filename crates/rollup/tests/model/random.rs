//! Random cells and questions.

use proptest::prelude::*;
use reckon_event::{Cell, Currency, Kind, Measure, Reason, TenantId, Timestamp, Verdict, name_key};
use reckon_rollup::{Dimension, Direction, Filter, Granularity, Metric, Order, OrderBy, Query};

/// A Saturday noon; cells lie in the four days from here on.
pub const START: i64 = 1_795_255_200;

pub const REGIONS: [&str; 4] = ["", "NO", "DE", "FR"];
pub const DIMENSIONS: [Dimension; 7] = [
    Dimension::Ad,
    Dimension::Campaign,
    Dimension::Region,
    Dimension::Device,
    Dimension::Placement,
    Dimension::Position,
    Dimension::Reason,
];
pub const METRICS: [Metric; 9] = [
    Metric::Impressions,
    Metric::Views,
    Metric::Clicks,
    Metric::ClicksGross,
    Metric::Duplicates,
    Metric::Invalid,
    Metric::Conversions,
    Metric::Ctr,
    Metric::SpendMicros,
];

const CURRENCIES: [Currency; 3] = [Currency::EUR, Currency::EUR, Currency::USD];
const KINDS: [Kind; 5] = [Kind::Impression, Kind::View, Kind::Click, Kind::Conversion, Kind::Dwell];
const VERDICTS: [Verdict; 4] =
    [Verdict::Counted, Verdict::Duplicate, Verdict::Forged, Verdict::Invalid(Reason::RapidIp)];

/// Seconds from the start: near each other, across a day's end, and days apart.
fn second() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 0i64..300, 2 => 43_000i64..43_500, 1 => 0i64..345_600, 1 => 345_000i64..345_600]
}

fn kind_and_verdict() -> impl Strategy<Value = (Kind, Verdict)> {
    (prop::sample::select(&KINDS[..]), prop::sample::select(&VERDICTS[..]))
}

/// A cell, and what is added to it; sometimes something is taken away.
pub fn cell() -> impl Strategy<Value = (Cell, Measure)> {
    let place = (1u32..3, 0u64..6, 0usize..4, 0usize..4, 0usize..4, 0u16..3);
    let currency = prop::sample::select(&CURRENCIES[..]);
    (second(), place, kind_and_verdict(), currency, -3i64..10, -200i64..500).prop_map(
        |(second, (tenant, ad, region, device, placement, position), kind, currency, n, spend)| {
            let cell = Cell {
                second: START + second,
                tenant: TenantId(tenant),
                ad: ad.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                campaign: ad % 3,
                region: key(region),
                device: key(device),
                placement: key(placement),
                position,
                kind: kind.0,
                verdict: kind.1,
                currency,
            };
            (cell, Measure { count: n, spend: if kind.0 == Kind::Click { spend } else { 0 } })
        },
    )
}

fn key(text: usize) -> u64 {
    if REGIONS[text].is_empty() { 0 } else { name_key(REGIONS[text]) }
}

fn granularity() -> impl Strategy<Value = Granularity> {
    let sliding = (prop::sample::select(&[60u32, 90, 300, 3_600][..]), 1u32..5)
        .prop_map(|(window, parts)| Granularity::Sliding { window, step: window / parts });
    prop_oneof![
        Just(Granularity::Second),
        Just(Granularity::Minute),
        Just(Granularity::FiveMinutes),
        Just(Granularity::Hour),
        Just(Granularity::Day),
        Just(Granularity::Total),
        sliding,
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let rarely = |strategy| prop::option::weighted(0.15, strategy);
    (
        rarely(0u64..6),
        rarely(0u64..3),
        prop::option::weighted(0.15, 0usize..4),
        prop::option::weighted(0.1, 0usize..4),
        prop::option::weighted(0.1, 0usize..4),
        prop::option::weighted(0.1, 0u16..3),
    )
        .prop_map(|(ad, campaign, region, device, placement, position)| Filter {
            ad: ad.map(|ad| ad.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            campaign,
            region: region.map(key),
            device: device.map(key),
            placement: placement.map(key),
            position,
        })
}

/// A question of any shape.
pub fn query() -> impl Strategy<Value = Query> {
    let bounds = (second(), prop_oneof![1i64..400, 1i64..8_000, 1i64..400_000], 0i64..1_000_000);
    let order = prop_oneof![
        prop::sample::select(&METRICS[..]).prop_map(Order::Metric),
        prop::sample::select(&DIMENSIONS[..]).prop_map(Order::Dimension),
        Just(Order::Bucket),
    ];
    let direction = prop::sample::select(&[Direction::Ascending, Direction::Descending][..]);
    let group_by = prop::sample::subsequence(&DIMENSIONS[..], 0..=7);
    let limit = prop::option::weighted(0.3, 1u32..20);
    let order_by = prop::option::of((order, direction));
    (1u32..3, bounds, granularity(), filter(), group_by, order_by, limit).prop_map(
        |(tenant, (from, length, micros), granularity, filter, group_by, order_by, limit)| {
            // Long spans of narrow windows are the naive model's undoing, not the store's.
            let length = match granularity {
                Granularity::Sliding { step, .. } => length.min(i64::from(step) * 150),
                _ => length,
            };
            let from = Timestamp(Timestamp::from_seconds(START + from).0 + micros);
            let order_by =
                order_by.map(|(by, direction)| OrderBy { by, direction }).filter(|o| match o.by {
                    Order::Metric(_) => true,
                    Order::Bucket => granularity != Granularity::Total,
                    Order::Dimension(dimension) => group_by.contains(&dimension),
                });
            Query {
                filter,
                group_by,
                order_by,
                limit,
                ..Query::new(
                    TenantId(tenant),
                    from,
                    from.plus(length * Timestamp::SECOND),
                    granularity,
                )
            }
        },
    )
}
