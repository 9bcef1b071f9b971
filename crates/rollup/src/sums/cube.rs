//! Cubes: which sums are kept, by which dimensions, in how wide buckets, for how long.
//!
//! Cubes are declared, never guessed: each costs a copy of what it keeps, and a question that no cube
//! can answer exactly is refused with the name of what to declare. Kind, verdict and currency are in
//! the key of every cube, so any metric can be had from any of them. Every engine keeps the same ones,
//! so the same questions are answered and the same ones refused.

use crate::Dimension;

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

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
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
    pub(crate) const fn lag_seconds(self) -> i64 {
        match self {
            Pane::Second | Pane::Minute => 60,
            Pane::Hour => 600,
            Pane::Day => 3_600,
        }
    }

    /// The widest pane that divides `seconds`.
    pub(crate) const fn dividing(seconds: i64) -> Self {
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

/// How far back seconds are kept by default.
const SECONDS_KEPT: u32 = 3_600;

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

    /// The default cubes. At once: full detail, ads, and campaigns by region, all by minute; and for
    /// the last hour full detail by second, within `seconds_bytes_max` bytes of files, and its total,
    /// within as many again at most. When past: the tiers of these by hour and day.
    pub fn defaults(seconds_bytes_max: u64) -> Vec<Self> {
        let ads = Dimensions::of(&[Dimension::Ad, Dimension::Campaign]);
        let regions = Dimensions::of(&[Dimension::Campaign, Dimension::Region]);
        vec![
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
        ]
    }

    /// Filled when its panes are past.
    #[must_use]
    pub fn when_past(self) -> Self {
        Cube { filling: Filling::WhenPast, ..self }
    }

    /// True where nothing is ever dropped.
    pub(crate) const fn is_kept_for_ever(&self) -> bool {
        self.retention.is_none() && self.bytes_max.is_none()
    }

    /// Bounded in time and bytes.
    #[must_use]
    pub fn kept_for(self, seconds: u32, bytes_max: u64) -> Self {
        Cube { retention: Some(seconds), bytes_max: Some(bytes_max), ..self }
    }
}

/// A declared cube, and the second from which on it is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub name: String,
    pub dimensions: Dimensions,
    pub pane: Pane,
    /// Rows before it have been dropped; `i64::MIN` where none ever was.
    pub floor: i64,
    /// It has everything from there to this second, and questions may read that; `i64::MAX` where it
    /// is filled at once.
    pub sealed: i64,
    /// New rows before this second go into it with every marker: `sealed`, or where that will be when
    /// the work under way is done.
    pub taken: i64,
}

impl Declared {
    pub(crate) fn of(cube: &Cube) -> Self {
        let Cube { name, dimensions, pane, .. } = cube;
        let sealed = match cube.filling {
            Filling::AtOnce => i64::MAX,
            Filling::WhenPast => i64::MIN,
        };
        Declared {
            name: name.clone(),
            dimensions: *dimensions,
            pane: *pane,
            floor: i64::MIN,
            sealed,
            taken: sealed,
        }
    }

    pub(crate) fn is(&self, cube: &Cube) -> bool {
        (&self.name, self.dimensions, self.pane) == (&cube.name, cube.dimensions, cube.pane)
    }
}
