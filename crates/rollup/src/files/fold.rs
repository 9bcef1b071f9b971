//! Folding rows into groups: what a question sums, before it is ordered and cut.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use reckon_event::{Kind, Micros, Verdict};

use super::block::Wanted;
use super::row::Row;
use crate::{Counts, Dimension, Error, Field, Granularity, Query};

/// What a group's rows have in common. Dimensions that are not grouped by are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct GroupKey {
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

/// Money by currency. Nearly always there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spend {
    one: Option<(u16, Micros)>,
    more: BTreeMap<u16, Micros>,
}

impl Spend {
    pub(super) fn add(&mut self, currency: u16, micros: Micros) {
        if micros == 0 {
            return;
        }
        match &mut self.one {
            None => self.one = Some((currency, micros)),
            Some((one, sum)) if *one == currency => *sum += micros,
            Some(_) => *self.more.entry(currency).or_default() += micros,
        }
    }

    pub(super) fn add_all(&mut self, other: &Spend, sign: i64) {
        other.parts().for_each(|(currency, micros)| self.add(currency, micros * sign));
    }

    fn parts(&self) -> impl Iterator<Item = (u16, Micros)> {
        let more = self.more.iter().map(|(currency, micros)| (*currency, *micros));
        self.one.into_iter().chain(more)
    }

    /// By currency, sorted, without zeros.
    pub(super) fn list(&self) -> Vec<(u16, Micros)> {
        let mut list: Vec<_> = self.parts().filter(|(_, micros)| *micros != 0).collect();
        list.sort_unstable();
        list
    }

    pub(super) fn is_zero(&self) -> bool {
        self.parts().all(|(_, micros)| micros == 0)
    }
}

/// What a group adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub counts: Counts,
    pub spend: Spend,
}

impl Sums {
    pub(super) fn is_zero(&self) -> bool {
        self.counts.is_zero() && self.spend.is_zero()
    }

    pub(super) fn add(&mut self, other: &Sums) {
        self.counts.add(&other.counts);
        self.spend.add_all(&other.spend, 1);
    }

    pub(super) fn subtract(&mut self, other: &Sums) {
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
pub(super) const fn bucket_seconds(granularity: Granularity) -> Option<i64> {
    match granularity {
        Granularity::Total => None,
        Granularity::Sliding { window, step } => Some(greatest_divisor(window, step) as i64),
        tumbling => Some(tumbling.rounding()),
    }
}

const fn greatest_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// The columns a question looks at.
pub(super) fn wanted(query: &Query) -> Wanted {
    let filter = &query.filter;
    Wanted::dimensions([
        filter.ad.is_some() || query.groups_by(Dimension::Ad),
        filter.campaign.is_some() || query.groups_by(Dimension::Campaign),
        filter.region.is_some() || query.groups_by(Dimension::Region),
        filter.device.is_some() || query.groups_by(Dimension::Device),
        filter.placement.is_some() || query.groups_by(Dimension::Placement),
        filter.position.is_some() || query.groups_by(Dimension::Position),
    ])
}

/// Groups by key.
pub(super) struct Fold {
    shape: Shape,
    groups_max: usize,
    groups: Vec<(GroupKey, Sums)>,
    places: HashTable<u32>,
    hasher: RandomState,
    last: usize,
}

impl Fold {
    pub(super) fn new(query: &Query, groups_max: usize) -> Self {
        Fold {
            shape: Shape::of(query),
            groups_max,
            groups: Vec::new(),
            places: HashTable::new(),
            hasher: RandomState::default(),
            last: 0,
        }
    }

    /// Adds a row.
    #[inline]
    pub(super) fn add(&mut self, row: &Row) -> Result<(), Error> {
        let place = self.place(self.shape.key(row))?;
        let sums = &mut self.groups[place].1;
        if let Some(kind) = Kind::from_code(row.key.kind)
            && let Some(verdict) = Verdict::from_code(row.key.verdict)
            && let Some(count) = sums.counts.of(kind, verdict)
        {
            *count += row.measure.count;
        }
        sums.spend.add(row.key.currency, row.measure.spend);
        Ok(())
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

    /// The groups, in no order; some may be zero.
    pub(super) fn into_groups(self) -> Vec<(GroupKey, Sums)> {
        self.groups
    }
}

pub(super) fn too_many(groups_max: usize) -> Error {
    Error::question(
        Field::GroupBy,
        format!(
            "more than {groups_max} groups: ask for less time, wider buckets, fewer dimensions or \
             one ad or campaign"
        ),
    )
}
