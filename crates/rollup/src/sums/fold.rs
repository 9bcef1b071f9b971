//! Folding rows into groups: what a question sums, before it is ordered and cut.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use reckon_event::{Kind, Micros, Verdict};

use super::row::Row;
use crate::{Counts, Dimension, Error, Field, Granularity, Query};

/// What a group's rows have in common. Dimensions that are not grouped by are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    /// Start of the bucket in seconds; of the pane, where windows slide; 0 for a total.
    pub bucket: i64,
    pub ad: u64,
    pub campaign: u64,
    pub region: u64,
    pub device: u64,
    pub placement: u64,
    pub position: u16,
    pub reason: u8,
}

impl Hash for GroupKey {
    /// Only what is grouped by costs anything.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let codes = u64::from(self.position) << 8 | u64::from(self.reason);
        state.write_u64(self.bucket.cast_unsigned() << 24 ^ codes);
        for key in [self.ad, self.campaign, self.region, self.device, self.placement] {
            if key != 0 {
                state.write_u64(key);
            }
        }
    }
}

/// Money by currency. Nearly always there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spend {
    currency: u16,
    micros: Micros,
    more: Option<Box<More>>,
}

/// Further currencies, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct More(Vec<(u16, Micros)>);

impl Spend {
    #[inline]
    pub(crate) fn add(&mut self, currency: u16, micros: Micros) {
        if self.currency == currency || self.micros == 0 && self.more.is_none() {
            self.currency = currency;
            self.micros += micros;
        } else if micros != 0 {
            self.add_more(currency, micros);
        }
    }

    #[cold]
    fn add_more(&mut self, currency: u16, micros: Micros) {
        let More(more) = &mut **self.more.get_or_insert_default();
        match more.iter_mut().find(|(more, _)| *more == currency) {
            Some((_, sum)) => *sum += micros,
            None => more.push((currency, micros)),
        }
    }

    pub(crate) fn add_all(&mut self, other: &Spend, sign: i64) {
        other.parts().for_each(|(currency, micros)| self.add(currency, micros * sign));
    }

    fn parts(&self) -> impl Iterator<Item = (u16, Micros)> {
        let more = self.more.iter().flat_map(|more| more.0.iter().copied());
        std::iter::once((self.currency, self.micros)).chain(more)
    }

    /// The one amount there is; `None` where there are several, or might be.
    pub(crate) const fn one(&self) -> Option<(u16, Micros)> {
        if self.more.is_none() { Some((self.currency, self.micros)) } else { None }
    }

    /// By currency, sorted, without zeros.
    pub(crate) fn list(&self) -> Vec<(u16, Micros)> {
        let mut list: Vec<_> = self.parts().filter(|(_, micros)| *micros != 0).collect();
        list.sort_unstable();
        list
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.micros == 0 && self.parts().all(|(_, micros)| micros == 0)
    }
}

/// What a group adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub counts: Counts,
    pub spend: Spend,
}

impl Sums {
    pub(crate) fn is_zero(&self) -> bool {
        self.counts.is_zero() && self.spend.is_zero()
    }

    /// Adds to the figure at place `figure`.
    #[inline]
    pub(crate) const fn add_figure(&mut self, figure: u8, count: i64) {
        let counts = &mut self.counts;
        match figure {
            0 => counts.impressions += count,
            1 => counts.views += count,
            2 => counts.clicks += count,
            3 => counts.duplicates += count,
            4 => counts.invalid += count,
            5 => counts.conversions += count,
            _ => {}
        }
    }

    pub(crate) fn add(&mut self, other: &Sums) {
        self.counts.add(&other.counts);
        self.spend.add_all(&other.spend, 1);
    }

    pub(crate) fn subtract(&mut self, other: &Sums) {
        self.counts.subtract(&other.counts);
        self.spend.add_all(&other.spend, -1);
    }
}

/// How rows become groups.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Width of buckets in seconds; `None`: one for all.
    bucket_seconds: Option<i64>,
    ad: bool,
    campaign: bool,
    region: bool,
    device: bool,
    placement: bool,
    position: bool,
    reason: bool,
}

impl Shape {
    fn of(query: &Query) -> Self {
        let by = |dimension| query.groups_by(dimension);
        Shape {
            bucket_seconds: bucket_seconds(query.granularity),
            ad: by(Dimension::Ad),
            campaign: by(Dimension::Campaign),
            region: by(Dimension::Region),
            device: by(Dimension::Device),
            placement: by(Dimension::Placement),
            position: by(Dimension::Position),
            reason: by(Dimension::Reason),
        }
    }

    #[inline]
    fn key(&self, row: &Row) -> GroupKey {
        const fn keep(kept: bool, key: u64) -> u64 {
            if kept { key } else { 0 }
        }
        let key = &row.key;
        GroupKey {
            bucket: self.bucket_seconds.map_or(0, |width| key.second.div_euclid(width) * width),
            ad: keep(self.ad, key.ad),
            campaign: keep(self.campaign, key.campaign),
            region: keep(self.region, key.region),
            device: keep(self.device, key.device),
            placement: keep(self.placement, key.placement),
            position: if self.position { key.position } else { 0 },
            reason: if self.reason { key.verdict } else { 0 },
        }
    }
}

/// The width groups are folded at: panes, where windows slide.
pub(crate) const fn bucket_seconds(granularity: Granularity) -> Option<i64> {
    match granularity {
        Granularity::Total => None,
        Granularity::Sliding { window, step } => Some(greatest_divisor(window, step) as i64),
        tumbling => Some(tumbling.rounding()),
    }
}

const fn greatest_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// The place of what no figure counts.
pub(crate) const NO_FIGURE: u8 = 6;

/// The place of the figure that a kind and a verdict are counted in, by their codes.
pub(crate) struct Places([u8; 1 << 9]);

impl Places {
    pub(crate) fn new() -> Self {
        let mut places = [NO_FIGURE; 1 << 9];
        for kind in (0..16).filter_map(Kind::from_code) {
            for verdict in Verdict::all() {
                if let Some(place) = figure_place(kind, verdict) {
                    places[Self::at(kind.code(), verdict.code())] = place;
                }
            }
        }
        Places(places)
    }

    #[inline]
    pub(crate) const fn of(&self, kind: u8, verdict: u8) -> u8 {
        self.0[Self::at(kind, verdict)]
    }

    #[inline]
    const fn at(kind: u8, verdict: u8) -> usize {
        (kind as usize & 15) << 5 | (verdict as usize & 31)
    }
}

/// Found by counting one such record.
fn figure_place(kind: Kind, verdict: Verdict) -> Option<u8> {
    let mut counts = Counts::default();
    *counts.of(kind, verdict)? += 1;
    let Counts { impressions, views, clicks, duplicates, invalid, conversions } = counts;
    let figures = [impressions, views, clicks, duplicates, invalid, conversions];
    figures.iter().position(|figure| *figure == 1).and_then(|place| u8::try_from(place).ok())
}

/// Groups by key.
pub(crate) struct Fold {
    shape: Shape,
    figure_places: Places,
    groups_max: usize,
    groups: Vec<(GroupKey, Sums)>,
    /// Sums by time, where that alone tells groups apart; then there are no others.
    series: Vec<Sums>,
    places: HashTable<u32>,
    hasher: RandomState,
    /// Where time alone tells groups apart.
    by_time: Option<ByTime>,
    last: usize,
}

/// The most buckets that have a slot each.
const SLOTS_MAX: i64 = 1 << 17;

/// The place of a group by its bucket: all there can be stand in the order of time from the beginning,
/// so that nothing is hashed and nothing has to be ordered.
#[derive(Clone, Copy)]
struct ByTime {
    from: i64,
    width: i64,
    count: usize,
}

impl ByTime {
    fn of(query: &Query, (from, to): (i64, i64), groups_max: usize) -> Option<Self> {
        let width = bucket_seconds(query.granularity)?;
        let from = from.div_euclid(width) * width;
        let count = (to - from + width - 1) / width;
        let is_fit = query.group_by.is_empty() && count <= SLOTS_MAX;
        let count = usize::try_from(count).ok().filter(|count| is_fit && *count <= groups_max)?;
        Some(ByTime { from, width, count })
    }

    /// The start of each bucket.
    fn buckets(self) -> impl Iterator<Item = i64> {
        (self.from..).step_by(usize::try_from(self.width).expect("positive")).take(self.count)
    }

    #[inline]
    fn place(self, second: i64) -> usize {
        let place = (second - self.from) / self.width;
        usize::try_from(place).expect("rows are selected by the same seconds")
    }
}

impl Fold {
    /// Folds rows of the seconds in `bounds`.
    pub(crate) fn new(query: &Query, bounds: (i64, i64), groups_max: usize) -> Self {
        let by_time = ByTime::of(query, bounds, groups_max);
        Fold {
            by_time,
            shape: Shape::of(query),
            figure_places: Places::new(),
            groups_max,
            series: vec![Sums::default(); by_time.map_or(0, |by_time| by_time.count)],
            groups: Vec::new(),
            places: HashTable::new(),
            hasher: RandomState::default(),
            last: 0,
        }
    }

    /// Adds a row.
    #[inline]
    pub(crate) fn add(&mut self, row: &Row) -> Result<(), Error> {
        let Row { key, measure } = row;
        let sums = match self.by_time {
            Some(by_time) => &mut self.series[by_time.place(key.second)],
            None => {
                let place = self.place(self.shape.key(row))?;
                &mut self.groups[place].1
            }
        };
        sums.add_figure(self.figure_places.of(key.kind, key.verdict), measure.count);
        sums.spend.add(key.currency, measure.spend);
        Ok(())
    }

    /// Adds what is summed under a group's key already, in one currency.
    #[cfg(feature = "clickhouse")]
    pub(crate) fn add_group(
        &mut self,
        key: GroupKey,
        currency: u16,
        counts: &Counts,
        spend: Micros,
    ) -> Result<(), Error> {
        let sums = match self.by_time {
            Some(by_time) => &mut self.series[by_time.place(key.bucket)],
            None => {
                let place = self.place(key)?;
                &mut self.groups[place].1
            }
        };
        sums.counts.add(counts);
        sums.spend.add(currency, spend);
        Ok(())
    }

    /// The place of the group of an ad, where ads alone tell groups apart.
    pub(crate) fn place_of_ad(&mut self, ad: u64) -> Result<usize, Error> {
        self.place(GroupKey { ad, ..GroupKey::default() })
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    /// The ad of the group at `place`, and its sums.
    pub(crate) fn group(&mut self, place: usize) -> (u64, &mut Sums) {
        let (key, sums) = &mut self.groups[place];
        (key.ad, sums)
    }

    /// The place of a group. Rows of one group mostly follow each other.
    #[inline]
    fn place(&mut self, key: GroupKey) -> Result<usize, Error> {
        if self.groups.get(self.last).is_some_and(|(last, _)| *last == key) {
            return Ok(self.last);
        }
        let Fold { groups, places, hasher, .. } = self;
        let hash = hasher.hash_one(key);
        if let Some(&place) = places.find(hash, |&place| groups[place as usize].0 == key) {
            self.last = place as usize;
            return Ok(self.last);
        }
        if groups.len() >= self.groups_max {
            return Err(too_many(self.groups_max));
        }
        let place = u32::try_from(groups.len()).expect("groups are bounded below 2^32");
        groups.push((key, Sums::default()));
        places.insert_unique(hash, place, |&place| hasher.hash_one(groups[place as usize].0));
        self.last = place as usize;
        Ok(self.last)
    }

    /// Forgets all groups but those at `places`, which differ.
    pub(crate) fn keep(&mut self, places: Vec<usize>) {
        let groups = &mut self.groups;
        let kept = places.into_iter().map(|place| {
            let (key, sums) = &mut groups[place];
            (*key, std::mem::take(sums))
        });
        self.groups = kept.collect();
        self.places.clear();
        self.last = usize::MAX;
    }

    /// The groups, in no order; some may be zero.
    pub(crate) fn into_groups(self) -> Vec<(GroupKey, Sums)> {
        let of = |(bucket, sums)| (GroupKey { bucket, ..GroupKey::default() }, sums);
        match self.by_time {
            Some(_) => self.into_series().map(of).collect(),
            None => self.groups,
        }
    }

    /// True where time alone tells groups apart.
    pub(crate) const fn is_series(&self) -> bool {
        self.by_time.is_some()
    }

    /// How many buckets of a series are not zero.
    pub(crate) fn filled(&self) -> usize {
        self.series.iter().filter(|sums| !sums.is_zero()).count()
    }

    /// What is not zero, by the start of its bucket, in the order of time.
    pub(crate) fn into_series(self) -> impl Iterator<Item = (i64, Sums)> {
        let buckets = self.by_time.into_iter().flat_map(ByTime::buckets);
        buckets.zip(self.series).filter(|(_, sums)| !sums.is_zero())
    }
}

pub(crate) fn too_many(groups_max: usize) -> Error {
    Error::question(
        Field::GroupBy,
        format!(
            "more than {groups_max} groups: ask for less time, wider buckets, fewer dimensions or \
             one ad or campaign"
        ),
    )
}
