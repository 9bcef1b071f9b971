//! What the store is told at its start: which cubes it keeps, for how long, within which bounds.
//!
//! Cubes are declared, never guessed: each costs a sorted copy of what it keeps, and a question that
//! no cube can answer exactly is refused with the name of what to declare. Kind, verdict and currency
//! are in the key of every cube, so any metric can be had from any of them. Coarse tiers of a cube are
//! filled when their panes are past ([`Filling::WhenPast`]): a marker then costs what the fine ones
//! cost, and a question over months still reads days.

use crate::{BrokenKind, Dimension, Error};

/// A set of the dimensions a cube keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dimensions(u8);

/// The dimensions a cube may keep, in the order of its keys. A verdict is always kept.
const KEPT: [(Dimension, &str); 6] = [
    (Dimension::Ad, "ad"),
    (Dimension::Campaign, "campaign"),
    (Dimension::Region, "region"),
    (Dimension::Device, "device"),
    (Dimension::Placement, "placement"),
    (Dimension::Position, "position"),
];

impl Dimensions {
    /// None: one row a bucket, kind, verdict and currency.
    pub const NONE: Dimensions = Dimensions(0);
    /// All six.
    pub const ALL: Dimensions = Dimensions(0b11_1111);

    /// The set of these. [`Dimension::Reason`] is kept by every cube and changes nothing.
    pub fn of(dimensions: &[Dimension]) -> Self {
        dimensions.iter().fold(Self::NONE, |set, &dimension| set.with(dimension))
    }

    /// The set with one more.
    #[must_use]
    pub const fn with(self, dimension: Dimension) -> Self {
        match dimension {
            Dimension::Reason => self,
            kept => Dimensions(self.0 | 1 << kept as u8),
        }
    }

    /// True where `dimension` is kept.
    pub const fn has(self, dimension: Dimension) -> bool {
        match dimension {
            Dimension::Reason => true,
            kept => self.0 >> kept as u8 & 1 == 1,
        }
    }

    /// True where all of `other` are kept.
    pub const fn covers(self, other: Dimensions) -> bool {
        other.0 & !self.0 == 0
    }

    /// How many there are.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// True where none is kept.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, joined by commas.
    pub fn names(self) -> String {
        let names = KEPT.iter().filter(|(dimension, _)| self.has(*dimension));
        names.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) const fn from_bits(bits: u8) -> Option<Self> {
        if bits <= Self::ALL.0 { Some(Dimensions(bits)) } else { None }
    }
}

/// The width of a cube's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pane {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A UTC day.
    Day,
}

impl Pane {
    /// The width in seconds.
    pub const fn seconds(self) -> i64 {
        match self {
            Pane::Second => 1,
            Pane::Minute => 60,
            Pane::Hour => 3_600,
            Pane::Day => 86_400,
        }
    }

    /// The name of the width.
    pub const fn name(self) -> &'static str {
        match self {
            Pane::Second => "second",
            Pane::Minute => "minute",
            Pane::Hour => "hour",
            Pane::Day => "day",
        }
    }

    /// How long after its end a pane is made where it is made of finer ones: by then most of what
    /// comes late has come, and what comes later costs a row of its own.
    pub(super) const fn lag_seconds(self) -> i64 {
        match self {
            Pane::Second | Pane::Minute => 60,
            Pane::Hour => 600,
            Pane::Day => 3_600,
        }
    }

    /// The widest pane that divides `seconds`.
    pub(super) const fn dividing(seconds: i64) -> Self {
        match seconds {
            s if s % 86_400 == 0 => Pane::Day,
            s if s % 3_600 == 0 => Pane::Hour,
            s if s % 60 == 0 => Pane::Minute,
            _ => Pane::Second,
        }
    }
}

/// When a cube gets its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// With every marker.
    AtOnce,
    /// When its panes are past, from the smallest finer cube that has all of them; what comes later
    /// for these goes in with every marker. Until then questions read the finer cube.
    WhenPast,
}

/// A cube: sums by some dimensions and a width of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cube {
    /// For answers and messages.
    pub name: String,
    /// What rows are kept apart by, beside kind, verdict and currency.
    pub dimensions: Dimensions,
    /// The width of its buckets.
    pub pane: Pane,
    /// How many seconds back from the newest second are kept at least; `None`: for ever.
    pub retention: Option<u32>,
    /// The most bytes of files; beyond it the oldest buckets go first. `None`: no bound.
    pub bytes_max: Option<u64>,
    /// When it gets its rows.
    pub filling: Filling,
}

impl Cube {
    /// A cube that is kept for ever.
    pub fn new(name: &str, dimensions: Dimensions, pane: Pane) -> Self {
        Cube {
            name: name.to_owned(),
            dimensions,
            pane,
            retention: None,
            bytes_max: None,
            filling: Filling::AtOnce,
        }
    }

    /// Filled when its panes are past.
    #[must_use]
    pub fn when_past(self) -> Self {
        Cube { filling: Filling::WhenPast, ..self }
    }

    /// True where nothing is ever dropped.
    pub(super) const fn is_kept_for_ever(&self) -> bool {
        self.retention.is_none() && self.bytes_max.is_none()
    }

    /// Bounded in time and bytes.
    #[must_use]
    pub fn kept_for(self, seconds: u32, bytes_max: u64) -> Self {
        Cube { retention: Some(seconds), bytes_max: Some(bytes_max), ..self }
    }
}

/// The place of the cube that one filled when its panes are past is made of: the smallest finer one.
pub(super) fn source_of(cubes: &[Cube], place: usize) -> Option<usize> {
    let cube = &cubes[place];
    let holds = |other: &Cube| {
        other.is_kept_for_ever()
            && other.pane < cube.pane
            && other.dimensions.covers(cube.dimensions)
    };
    let sources = cubes.iter().enumerate().filter(|(_, other)| holds(other));
    sources
        .min_by_key(|(place, other)| (other.dimensions.len(), -other.pane.seconds(), *place))
        .map(|(place, _)| place)
}

/// Where runs are merged and tiers are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merging {
    /// On a thread of its own, beside the counter. What it made is named by a later marker, and by
    /// which one is decided when the work is: the files are the same as with [`Merging::Inline`].
    Thread,
    /// Within the marker that names what it made.
    Inline,
}

/// Everything the store is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The cubes. Where a folder was made with others, it is changed when it is opened.
    pub cubes: Vec<Cube>,
    /// The most rows in memory that are not in files yet; beyond it `apply` persists by itself.
    pub hot_rows_max: usize,
    /// Rows after which a part of memory is sorted, frozen and read without a lock.
    pub segment_rows: usize,
    /// The most texts of regions, devices and placements that are remembered.
    pub names_max: usize,
    /// The most groups one question may touch on its way to its answer.
    pub groups_max: usize,
    /// How many runs of about one size are merged into one; at least 2.
    pub fan_in: usize,
    /// The most rows one merge reads.
    pub merge_rows_max: u64,
    /// Where runs are merged and tiers are made.
    pub merging: Merging,
    /// The most bytes of leaders, read for top lists, that are held from one marker to the next;
    /// those of the latest runs stay.
    pub leaders_bytes_max: usize,
}

/// How far back seconds are kept by default.
const SECONDS_KEPT: u32 = 3_600;

impl Options {
    /// The default cubes. At once: full detail, ads, and campaigns by region, all by minute; and for
    /// the last hour full detail by second, within `seconds_bytes_max` bytes of files, and its total,
    /// within as many again at most. When past: the tiers of these by hour and day.
    pub fn new(seconds_bytes_max: u64) -> Self {
        let ads = Dimensions::of(&[Dimension::Ad, Dimension::Campaign]);
        let regions = Dimensions::of(&[Dimension::Campaign, Dimension::Region]);
        Options {
            cubes: vec![
                Cube::new("detail_by_minute", Dimensions::ALL, Pane::Minute),
                Cube::new("ads_by_minute", ads, Pane::Minute),
                Cube::new("campaign_regions_by_minute", regions, Pane::Minute),
                Cube::new("detail_by_second", Dimensions::ALL, Pane::Second)
                    .kept_for(SECONDS_KEPT, seconds_bytes_max),
                Cube::new("total_by_second", Dimensions::NONE, Pane::Second)
                    .kept_for(SECONDS_KEPT, seconds_bytes_max),
                Cube::new("detail_by_day", Dimensions::ALL, Pane::Day).when_past(),
                Cube::new("ads_by_hour", ads, Pane::Hour).when_past(),
                Cube::new("ads_by_day", ads, Pane::Day).when_past(),
                Cube::new("campaign_regions_by_hour", regions, Pane::Hour).when_past(),
                Cube::new("campaign_regions_by_day", regions, Pane::Day).when_past(),
            ],
            hot_rows_max: 1_000_000,
            segment_rows: 1 << 14,
            names_max: 1_000_000,
            groups_max: 4_000_000,
            fan_in: 8,
            merge_rows_max: 32_000_000,
            merging: Merging::Thread,
            leaders_bytes_max: 128 << 20,
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::broken(BrokenKind::Mismatch, &"options", what));
        if self.cubes.is_empty() || self.cubes.len() > 64 {
            return wrong("declare 1 to 64 cubes");
        }
        if self.segment_rows == 0 || self.hot_rows_max == 0 {
            return wrong("`segment_rows` and `hot_rows_max` are at least 1");
        }
        if self.fan_in < 2 {
            return wrong("`fan_in` is at least 2");
        }
        if self.cubes.iter().any(|cube| cube.name.is_empty() || cube.name.len() > 64) {
            return wrong("names of cubes are 1 to 64 bytes long");
        }
        let same = |a: &Cube, b: &Cube| a.name == b.name;
        let twice = |(at, cube): (usize, &Cube)| self.cubes[..at].iter().any(|c| same(c, cube));
        if self.cubes.iter().enumerate().any(twice) {
            return wrong("names of cubes differ");
        }
        let sourceless = (0..self.cubes.len()).find(|&place| {
            let cube = &self.cubes[place];
            cube.filling == Filling::WhenPast
                && (!cube.is_kept_for_ever() || source_of(&self.cubes, place).is_none())
        });
        if let Some(place) = sourceless {
            let name = &self.cubes[place].name;
            return wrong(&format!(
                "{name} is filled when past: declare a finer cube with its dimensions, and keep both"
            ));
        }
        Ok(())
    }
}

impl Default for Options {
    /// With 256 MiB of seconds.
    fn default() -> Self {
        Options::new(256 << 20)
    }
}
