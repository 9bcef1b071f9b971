//! Leaders: what makes `the 100 ads with most clicks` exact without reading a million ads.
//!
//! A run of ads carries a second copy of the rows of its leaders, the ads with most of any figure, and
//! two bounds of what any other ad can have: over the whole run, and in each pane. A question sums the
//! leaders of each run in its window exactly; an ad that leads nowhere has at most the sum of the
//! bounds. Once the hundredth exact sum is above that, no other ad can be in the answer ([`super::top`];
//! this is the threshold algorithm of Fagin, Lotem and Naor, 2001, over runs instead of lists).
//!
//! Bounds are of what is added, without what revisions take away: so they hold for any part of a run.
//!
//! ```text
//!   tenant count u32 | tenant * | crc32c u32
//!   tenant   id u32 | is all u8 | bound i64 * 7 | pane count u32 | column of pane bounds * 7
//!            row count u32 | columns of ad, pane, figure, currency, count, spend
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::block::{Grid, unzigzag, zigzag};
use super::column;
use super::fold::{NO_FIGURE, Places};
use super::options::Dimensions;
use super::row::{CURRENCY_CODES, Row};
use super::wire::{Reader, seal, unseal};
use crate::Dimension;
use crate::sums::ranking::{GROSS, LIMIT_MAX};

/// Figures ads are ranked by: those of [`crate::Counts`] in their order, and clicks gross.
pub(super) const RANKED: usize = 7;

/// How many ads lead by each figure.
const LEADERS: usize = 4_096;

const _: () = assert!(LEADERS >= 4 * LIMIT_MAX, "the first are found among the leaders");

/// A tenant has leaders in a run where it has this share of its rows, or
const SHARE_MIN: u64 = 64;

/// as many rows: those of others are few, and as quickly read as leaders.
const ROWS_MIN: u64 = 32_768;

/// Runs of more panes have no leaders: coarser tiers answer for long windows.
const PANES_MAX: i64 = 100;

/// The most rows of leaders one tenant can have: all lists differ, and each ad has all it can.
const ROWS_MAX: usize = 1 << 26;

/// A row of a leader, without what no ranking asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaderRow {
    /// Its pane, counted from the start of the run's span.
    pub pane: u32,
    /// The place of its figure; [`NO_FIGURE`] for what no figure counts.
    pub figure: u8,
    pub currency: u16,
    pub count: i64,
    pub spend: i64,
}

const COLUMNS: usize = 6;

impl LeaderRow {
    fn words(&self, ad: u64) -> [u64; COLUMNS] {
        let (figure, currency) = (u64::from(self.figure), u64::from(self.currency));
        let (count, spend) = (zigzag(self.count), zigzag(self.spend));
        [ad, u64::from(self.pane), figure, currency, count, spend]
    }
}

/// True for runs that carry leaders.
pub(super) fn are_kept(dimensions: Dimensions, grid: Grid, width: i64) -> bool {
    let ads = Dimensions::of(&[Dimension::Ad]);
    let with_campaigns = ads.with(Dimension::Campaign);
    dimensions.covers(ads)
        && with_campaigns.covers(dimensions)
        && width / grid.pane_seconds <= PANES_MAX
}

/// The rankings a figure counts in.
fn rankings(figure: u8) -> impl Iterator<Item = usize> {
    let own = (figure != NO_FIGURE).then_some(usize::from(figure));
    own.into_iter().chain((2..=4).contains(&figure).then_some(GROSS))
}

#[derive(Default)]
struct KeptAd {
    ad: u64,
    rows: Vec<LeaderRow>,
    lists: usize,
}

/// Finds the leaders of a run while its rows pass by, sorted.
pub(super) struct Gather {
    grid: Grid,
    panes: usize,
    places: Places,
    tenant: Option<(u32, u64)>,
    ad: u64,
    rows: Vec<LeaderRow>,
    lists: [BinaryHeap<Reverse<(i64, u32)>>; RANKED],
    kept: Vec<KeptAd>,
    free: Vec<u32>,
    bounds: [i64; RANKED],
    /// By ranking, then pane.
    pane_bounds: Vec<i64>,
    scratch: Vec<i64>,
    /// An ad has been left out.
    has_others: bool,
    /// The rows of each tenant, and its bytes.
    tenants: Vec<(u64, Vec<u8>)>,
}

impl Gather {
    pub(super) fn new(grid: Grid, width: i64) -> Self {
        let panes = usize::try_from(width / grid.pane_seconds).expect("widths are positive");
        Gather {
            grid,
            panes,
            places: Places::new(),
            tenant: None,
            ad: 0,
            rows: Vec::new(),
            lists: Default::default(),
            kept: Vec::new(),
            free: Vec::new(),
            bounds: [0; RANKED],
            pane_bounds: vec![0; RANKED * panes],
            scratch: vec![0; RANKED * panes],
            has_others: false,
            tenants: Vec::new(),
        }
    }

    /// Takes the next row.
    #[inline]
    pub(super) fn push(&mut self, row: &Row) {
        let Row { key, measure } = row;
        match &mut self.tenant {
            Some((tenant, rows)) if *tenant == key.tenant => {
                *rows += 1;
                if self.ad != key.ad {
                    self.end_ad();
                }
            }
            _ => {
                self.end_tenant();
                self.tenant = Some((key.tenant, 1));
            }
        }
        self.ad = key.ad;
        self.rows.push(LeaderRow {
            pane: u32::try_from(self.grid.bucket(key.second)).expect("panes of a run are few"),
            figure: self.places.of(key.kind, key.verdict),
            currency: key.currency,
            count: measure.count,
            spend: measure.spend,
        });
    }

    fn end_ad(&mut self) {
        let sums = added(&self.rows);
        let leads = |list: usize, heap: &BinaryHeap<Reverse<(i64, u32)>>| {
            let least = heap.peek().map_or(0, |Reverse((least, _))| *least);
            sums[list] > 0 && (heap.len() < LEADERS || sums[list] > least)
        };
        let lists = self.lists.iter().enumerate().filter(|(list, heap)| leads(*list, heap));
        let lists = lists.fold(0u8, |all, (list, _)| all | 1 << list);
        if lists == 0 {
            let rows = std::mem::take(&mut self.rows);
            self.bound(&rows);
            self.rows = rows;
            self.rows.clear();
            return;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.kept.push(KeptAd::default());
            u32::try_from(self.kept.len() - 1).expect("leaders are few")
        });
        let rows = std::mem::take(&mut self.rows);
        self.kept[place as usize] =
            KeptAd { ad: self.ad, rows, lists: lists.count_ones() as usize };
        for list in (0..RANKED).filter(|list| lists >> list & 1 == 1) {
            self.lists[list].push(Reverse((sums[list], place)));
            self.cut(list);
        }
    }

    /// Drops who no longer leads.
    fn cut(&mut self, list: usize) {
        if self.lists[list].len() <= LEADERS {
            return;
        }
        let Some(Reverse((_, place))) = self.lists[list].pop() else { return };
        let ad = &mut self.kept[place as usize];
        ad.lists -= 1;
        if ad.lists == 0 {
            let rows = std::mem::take(&mut ad.rows);
            self.bound(&rows);
            self.free.push(place);
        }
    }

    /// Raises the bounds to what an ad that does not lead has.
    fn bound(&mut self, rows: &[LeaderRow]) {
        self.has_others = true;
        let sums = added(rows);
        for (bound, sum) in self.bounds.iter_mut().zip(sums) {
            *bound = (*bound).max(sum);
        }
        let panes = self.panes;
        let at = |row: &LeaderRow, list: usize| list * panes + row.pane as usize;
        for row in rows.iter().filter(|row| row.count > 0) {
            rankings(row.figure).for_each(|list| self.scratch[at(row, list)] += row.count);
        }
        for row in rows {
            for list in rankings(row.figure) {
                let sum = std::mem::take(&mut self.scratch[at(row, list)]);
                let bound = &mut self.pane_bounds[at(row, list)];
                *bound = (*bound).max(sum);
            }
        }
    }

    fn end_tenant(&mut self) {
        let Some((tenant, rows)) = self.tenant.take() else { return };
        self.end_ad();
        let bytes = self.encode(tenant);
        self.tenants.push((rows, bytes));
        self.has_others = false;
        self.lists.iter_mut().for_each(BinaryHeap::clear);
        self.kept.clear();
        self.free.clear();
        self.bounds.fill(0);
        self.pane_bounds.fill(0);
    }

    fn encode(&mut self, tenant: u32) -> Vec<u8> {
        let mut out = Vec::new();
        self.kept.retain(|ad| ad.lists > 0);
        self.kept.sort_unstable_by_key(|ad| ad.ad);
        out.extend_from_slice(&tenant.to_le_bytes());
        out.push(u8::from(!self.has_others));
        self.bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes()));
        let panes = u32::try_from(self.panes).expect("panes of a run are few");
        out.extend_from_slice(&panes.to_le_bytes());
        for bounds in self.pane_bounds.chunks(self.panes) {
            let bounds: Vec<u64> = bounds.iter().map(|bound| zigzag(*bound)).collect();
            column::encode(&bounds, &mut out);
        }
        let ads = self.kept.iter().flat_map(|ad| ad.rows.iter().map(move |row| (ad.ad, row)));
        let count = u32::try_from(ads.clone().count()).expect("leaders are few");
        out.extend_from_slice(&count.to_le_bytes());
        let words: Vec<[u64; COLUMNS]> = ads.map(|(ad, row)| row.words(ad)).collect();
        for at in 0..COLUMNS {
            let column: Vec<u64> = words.iter().map(|words| words[at]).collect();
            if !column.is_empty() {
                column::encode(&column, &mut out);
            }
        }
        out
    }

    /// The bytes of all leaders; empty where there are none.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end_tenant();
        let rows: u64 = self.tenants.iter().map(|(rows, _)| rows).sum();
        self.tenants.retain(|(own, _)| *own >= ROWS_MIN || own * SHARE_MIN >= rows);
        let count = u32::try_from(self.tenants.len()).expect("few have such a share");
        let mut out = count.to_le_bytes().to_vec();
        self.tenants.iter().for_each(|(_, bytes)| out.extend_from_slice(bytes));
        seal(&mut out);
        out
    }
}

/// What is added by ranking, without what is taken away.
fn added(rows: &[LeaderRow]) -> [i64; RANKED] {
    let mut sums = [0; RANKED];
    for row in rows.iter().filter(|row| row.count > 0) {
        rankings(row.figure).for_each(|list| sums[list] += row.count);
    }
    sums
}

/// The leaders of one tenant in one run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaders {
    pub tenant: u32,
    /// No ad of the tenant has been left out.
    pub is_all: bool,
    bounds: [i64; RANKED],
    pane_bounds: Vec<Vec<i64>>,
    /// Sorted; each with the end of its rows.
    ads: Vec<(u64, usize)>,
    /// What each ad has over the whole run, by ranking.
    sums: Vec<[i64; RANKED]>,
    rows: Vec<LeaderRow>,
}

impl Leaders {
    /// The most an ad that does not lead can have in some panes.
    pub(super) fn bound(&self, ranking: usize, panes: Range<usize>) -> i64 {
        let bounds = &self.pane_bounds[ranking];
        let panes = panes.start.min(bounds.len())..panes.end.min(bounds.len());
        self.bounds[ranking].min(bounds[panes].iter().sum())
    }

    /// About the bytes of memory they take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.rows[..]) + size_of_val(&self.ads[..]) + size_of_val(&self.sums[..])
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ads.len()
    }

    /// The rows of an ad; `None` where it does not lead.
    pub(super) fn rows_of(&self, ad: u64) -> Option<&[LeaderRow]> {
        let at = self.ads.binary_search_by_key(&ad, |(ad, _)| *ad).ok()?;
        let start = at.checked_sub(1).map_or(0, |before| self.ads[before].1);
        Some(&self.rows[start..self.ads[at].1])
    }

    /// What each has of a ranking: in some panes, or in all where none are given.
    pub(super) fn sums(
        &self,
        ranking: usize,
        panes: Option<Range<u32>>,
    ) -> impl Iterator<Item = (u64, i64)> {
        let mut start = 0;
        self.ads.iter().zip(&self.sums).map(move |((ad, end), sums)| {
            let rows = &self.rows[std::mem::replace(&mut start, *end)..*end];
            let sum = match &panes {
                None => sums[ranking],
                Some(panes) => sum_of(rows, ranking, panes),
            };
            (*ad, sum)
        })
    }
}

fn sum_of(rows: &[LeaderRow], ranking: usize, panes: &Range<u32>) -> i64 {
    // Three figures are in clicks gross; any other ranking is the figure itself.
    let figures = if ranking == GROSS { 2..5 } else { ranking..ranking + 1 };
    let counts = rows.iter().map(|row| {
        let is_in = panes.contains(&row.pane) && figures.contains(&usize::from(row.figure));
        if is_in { row.count } else { 0 }
    });
    counts.sum()
}

/// What an ad has by ranking.
fn all_of(rows: &[LeaderRow]) -> [i64; RANKED] {
    let mut sums = [0; RANKED];
    for row in rows {
        rankings(row.figure).for_each(|list| sums[list] += row.count);
    }
    sums
}

/// The leaders of each tenant; `None` where the bytes are not leaders.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Leaders>> {
    let mut reader = Reader::new(unseal(bytes)?);
    let tenants: Option<Vec<_>> = (0..reader.u32()?).map(|_| read_tenant(&mut reader)).collect();
    reader.is_empty().then_some(tenants).flatten()
}

fn read_tenant(reader: &mut Reader<'_>) -> Option<Leaders> {
    let tenant = reader.u32()?;
    let is_all = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut bounds = [0; RANKED];
    for bound in &mut bounds {
        *bound = reader.i64()?;
    }
    let panes = reader.u32().filter(|panes| i64::from(*panes) <= PANES_MAX)? as usize;
    let pane_bounds: Option<Vec<Vec<i64>>> = (0..RANKED)
        .map(|_| Some(read_column(reader, panes)?.into_iter().map(unzigzag).collect()))
        .collect();
    let pane_bounds = pane_bounds?;
    let count = reader.u32().filter(|count| *count as usize <= ROWS_MAX)? as usize;
    let mut column = || read_column(reader, count);
    let columns = [column()?, column()?, column()?, column()?, column()?, column()?];
    let (ads, rows) = (ads(&columns[0])?, rows(&columns, panes)?);
    let mut start = 0;
    let own = ads.iter().map(|(_, end)| &rows[std::mem::replace(&mut start, *end)..*end]);
    let sums = own.map(all_of).collect();
    Some(Leaders { tenant, is_all, bounds, pane_bounds, ads, sums, rows })
}

fn read_column(reader: &mut Reader<'_>, count: usize) -> Option<Vec<u64>> {
    let mut words = Vec::new();
    if count > 0 {
        column::decode(reader, count, 0..count, &mut words)?;
    }
    Some(words)
}

/// Each ad with the end of its rows; `None` where they are not sorted.
fn ads(column: &[u64]) -> Option<Vec<(u64, usize)>> {
    let mut ads = Vec::new();
    let mut end = 0;
    for same in column.chunk_by(|a, b| a == b) {
        end += same.len();
        ads.push((same[0], end));
    }
    ads.is_sorted_by(|a, b| a.0 < b.0).then_some(ads)
}

fn rows(columns: &[Vec<u64>; COLUMNS], panes: usize) -> Option<Vec<LeaderRow>> {
    let [_, pane, figure, currency, count, spend] = columns;
    let row = |at: usize| {
        let figure = u8::try_from(figure[at]).ok().filter(|figure| *figure <= NO_FIGURE)?;
        let currency = u16::try_from(currency[at]).ok().filter(|code| *code < CURRENCY_CODES)?;
        let pane = u32::try_from(pane[at]).ok().filter(|pane| (*pane as usize) < panes)?;
        let (count, spend) = (unzigzag(count[at]), unzigzag(spend[at]));
        Some(LeaderRow { pane, figure, currency, count, spend })
    };
    (0..pane.len()).map(row).collect()
}

#[cfg(test)]
mod tests {
    use reckon_event::{Currency, Kind, Measure, Verdict};

    use super::*;
    use crate::files::row::{Key, currency_code};

    const ADS: u64 = 10_000;

    fn row(tenant: u32, ad: u64, minute: i64, count: i64) -> Row {
        let key = Key {
            tenant,
            ad,
            kind: Kind::Click.code(),
            verdict: Verdict::Counted.code(),
            currency: currency_code(Currency::EUR),
            second: minute * 60,
            ..Key::default()
        };
        Row { key, measure: Measure { count, spend: count * 10 } }
    }

    #[test]
    fn no_other_ad_is_above_the_bounds() {
        let mut gather = Gather::new(Grid { start: 0, pane_seconds: 60 }, 3_600);
        let mut rows: Vec<Row> = Vec::new();
        for ad in 0..ADS {
            let size = i64::try_from(400_000 / (ad * 7_919 % ADS + 1)).expect("small");
            rows.extend((0..10).map(|minute| row(7, ad, minute * 6, size + minute)));
            rows.push(row(7, ad, 59, -3));
        }
        rows.push(row(8, 1, 0, 1));
        rows.iter().for_each(|row| gather.push(row));
        let leaders = decode(&gather.finish()).expect("leaders");
        assert_eq!(leaders.len(), 1, "a small tenant has none");
        let leaders = &leaders[0];
        assert_eq!((leaders.tenant, leaders.is_all, leaders.len()), (7, false, LEADERS));
        for (ad, sum) in leaders.sums(2, None) {
            let kept = leaders.rows_of(ad).expect("it leads");
            assert_eq!(sum, kept.iter().map(|row| row.count).sum::<i64>());
            let own: Vec<i64> =
                rows.iter().filter(|r| r.key.ad == ad).map(|r| r.measure.count).collect();
            let own = if ad == 1 { &own[..11] } else { &own[..] };
            assert!(kept.iter().map(|row| row.count).eq(own.iter().copied()), "ad {ad}");
        }
        let mut compared = 0;
        for window in [0..60, 0..1, 6..13, 30..60, 59..60, 1..6] {
            let bound = leaders.bound(2, window.clone());
            assert_eq!(bound, leaders.bound(GROSS, window.clone()), "clicks are gross clicks");
            for ad in (0..ADS).filter(|ad| leaders.rows_of(*ad).is_none()) {
                let minutes = window.start as i64 * 60..window.end as i64 * 60;
                let own = rows.iter().skip(ad as usize * 11).take(11);
                let inside = own.filter(|row| minutes.contains(&row.key.second));
                assert!(inside.map(|row| row.measure.count).sum::<i64>() <= bound);
                compared += 1;
            }
        }
        assert_eq!(compared, 6 * (ADS as usize - LEADERS));
        assert_eq!((leaders.bound(2, 59..60), leaders.bound(0, 0..60)), (0, 0));
    }

    #[test]
    fn damaged_bytes_are_no_leaders() {
        let mut gather = Gather::new(Grid { start: 0, pane_seconds: 60 }, 3_600);
        (0..2_000).for_each(|ad| gather.push(&row(1, ad, 3, 1)));
        let bytes = gather.finish();
        let leaders = decode(&bytes).expect("leaders");
        assert_eq!((leaders[0].len(), leaders[0].is_all), (2_000, true), "few ads all lead");
        for at in (0..bytes.len()).step_by(97) {
            let mut wrong = bytes.clone();
            wrong[at] ^= 4;
            assert_eq!(decode(&wrong), None, "byte {at}");
        }
    }
}
