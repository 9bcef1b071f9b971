//! From groups to rows: left out where zero, ordered, cut, and given their texts.
//!
//! The first `limit` of a million groups are selected before they are sorted, so a top list costs one
//! pass and a sort of what is shown.

use std::cmp::Ordering;

use reckon_event::{Currency, Timestamp, Verdict};

use super::fold::{Fold, GroupKey, Sums};
use super::names::Names;
use super::row::currency_of;
use crate::{
    Dimension, Direction, Error, Field, Granularity, Keys, Metric, Order, OrderBy, Query, ROWS_MAX,
    Row, Spend, Text,
};

type Group = (GroupKey, Sums);

/// The rows of an answer.
pub(crate) fn rows(
    mut groups: Vec<Group>,
    query: &Query,
    names: &Names,
) -> Result<Vec<Row>, Error> {
    groups.retain(|(_, sums)| !sums.is_zero());
    let compare = comparison(query, &groups, names)?;
    match query.limit {
        Some(limit) if (limit as usize) < groups.len() => {
            groups.select_nth_unstable_by(limit as usize - 1, &compare);
            groups.truncate(limit as usize);
        }
        None if groups.len() > ROWS_MAX => {
            return Err(Error::question(
                Field::Limit,
                format!("{} rows, of which {ROWS_MAX} can be had: give a limit", groups.len()),
            ));
        }
        _ => {}
    }
    if !groups.is_sorted_by(|a, b| compare(a, b).is_le()) {
        groups.sort_unstable_by(&compare);
    }
    Ok(groups.into_iter().map(|group| row(group, query, names)).collect())
}

/// The rows of an answer in the order of time, from what has that order already. Nothing but time tells
/// them apart, so there is nothing to look up.
pub(crate) fn rows_of_series(fold: Fold, query: &Query) -> Vec<Row> {
    let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut rows = Vec::with_capacity(fold.filled().min(limit));
    let mut last = None;
    rows.extend(fold.into_series().take(limit).map(|(bucket, sums)| Row {
        bucket: Some(Timestamp::from_seconds(bucket)),
        keys: Keys::default(),
        counts: sums.counts,
        spend: spend(&sums, &mut last),
    }));
    rows
}

/// Money with its currencies. Mostly a row has the one of the `last`.
fn spend(sums: &Sums, last: &mut Option<(u16, Currency)>) -> Spend {
    let mut currency = |code| match *last {
        Some((last, currency)) if last == code => currency,
        _ => {
            let found = currency_of(code).expect("other codes are refused when they are read");
            *last = Some((code, found));
            found
        }
    };
    match sums.spend.one() {
        Some((_, 0)) => Spend::default(),
        Some((code, micros)) => Spend::one(currency(code), micros),
        None => sums.spend.list().into_iter().map(|(c, micros)| (currency(c), micros)).collect(),
    }
}

fn comparison<'a>(
    query: &Query,
    groups: &[Group],
    names: &'a Names,
) -> Result<impl Fn(&Group, &Group) -> Ordering + use<'a>, Error> {
    let order = query.order_by;
    if matches!(order, Some(OrderBy { by: Order::Metric(Metric::SpendMicros), .. })) {
        check_one_currency(groups)?;
    }
    Ok(move |left: &Group, right: &Group| {
        let first = match order {
            None => Ordering::Equal,
            Some(OrderBy { by, direction }) => {
                let compared = compare_by(left, right, by, names);
                if direction == Direction::Descending { compared.reverse() } else { compared }
            }
        };
        first.then_with(|| compare_keys(&left.0, &right.0, names))
    })
}

/// Amounts of two currencies have no order.
fn check_one_currency(groups: &[Group]) -> Result<(), Error> {
    let mut first = None;
    for (currency, _) in groups.iter().flat_map(|(_, sums)| sums.spend.list()) {
        if *first.get_or_insert(currency) != currency {
            return Err(Error::question(
                Field::OrderBy,
                "several currencies have no common order: ask for one ad or campaign, or order by \
                 another metric",
            ));
        }
    }
    Ok(())
}

fn compare_by(left: &Group, right: &Group, by: Order, names: &Names) -> Ordering {
    let text = |a, b| compare_texts(a, b, names);
    let (a, b) = (&left.0, &right.0);
    match by {
        Order::Metric(Metric::SpendMicros) => {
            let micros = |group: &Group| group.1.spend.list().first().map_or(0, |(_, m)| *m);
            micros(left).cmp(&micros(right))
        }
        Order::Metric(metric) => left.1.counts.compare(&right.1.counts, metric),
        Order::Bucket => a.bucket.cmp(&b.bucket),
        Order::Dimension(Dimension::Ad) => a.ad.cmp(&b.ad),
        Order::Dimension(Dimension::Campaign) => a.campaign.cmp(&b.campaign),
        Order::Dimension(Dimension::Region) => text(a.region, b.region),
        Order::Dimension(Dimension::Device) => text(a.device, b.device),
        Order::Dimension(Dimension::Placement) => text(a.placement, b.placement),
        Order::Dimension(Dimension::Position) => a.position.cmp(&b.position),
        Order::Dimension(Dimension::Reason) => a.reason.cmp(&b.reason),
    }
}

/// By bucket, then by dimension.
fn compare_keys(a: &GroupKey, b: &GroupKey, names: &Names) -> Ordering {
    (a.bucket, a.ad, a.campaign)
        .cmp(&(b.bucket, b.ad, b.campaign))
        .then_with(|| compare_texts(a.region, b.region, names))
        .then_with(|| compare_texts(a.device, b.device, names))
        .then_with(|| compare_texts(a.placement, b.placement, names))
        .then_with(|| (a.position, a.reason).cmp(&(b.position, b.reason)))
}

/// By text; absent and unknown texts first, these by key.
fn compare_texts(a: u64, b: u64, names: &Names) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    names.get(a).cmp(&names.get(b)).then(a.cmp(&b))
}

fn row((key, sums): Group, query: &Query, names: &Names) -> Row {
    let by = |dimension| query.groups_by(dimension);
    let text = |dimension, key| by(dimension).then(|| Text { key, text: names.get(key).cloned() });
    let has_bucket = query.granularity != Granularity::Total;
    Row {
        bucket: has_bucket.then(|| Timestamp::from_seconds(key.bucket)),
        keys: Keys {
            ad: by(Dimension::Ad).then_some(key.ad),
            campaign: by(Dimension::Campaign).then_some(key.campaign),
            region: text(Dimension::Region, key.region),
            device: text(Dimension::Device, key.device),
            placement: text(Dimension::Placement, key.placement),
            position: by(Dimension::Position).then_some(key.position),
            reason: by(Dimension::Reason).then(|| Verdict::from_code(key.reason)).flatten(),
        },
        counts: sums.counts,
        spend: spend(&sums, &mut None),
    }
}
