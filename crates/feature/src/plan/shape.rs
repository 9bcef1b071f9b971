//! The words of a plan: parts, measures, windows; and how windows are tiled.

use serde::Deserialize;

/// What entities are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Everything of the tenant.
    Tenant,
    /// The user.
    User,
    /// The ad.
    Ad,
    /// The campaign of the ad.
    Campaign,
    /// What the ad is about.
    Category,
    /// The page or item it is shown on.
    Page,
    /// Where the user is.
    Geo,
    /// On which kind of device.
    Device,
    /// Where on the page.
    Placement,
    /// The hour of the day, UTC.
    Hour,
}

impl Part {
    /// Known of a candidate only.
    pub fn is_of_candidate(self) -> bool {
        self.bit_of_candidate() != 0
    }

    /// A bit for each part that is known of a candidate only; 0 for the others.
    pub(crate) fn bit_of_candidate(self) -> u8 {
        match self {
            Part::Ad => 1,
            Part::Campaign => 2,
            Part::Category => 4,
            _ => 0,
        }
    }
}

/// What is counted of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Ads served.
    Impressions,
    /// Ads seen.
    Views,
    /// Ads clicked.
    Clicks,
    /// What advertisers want.
    Conversions,
    /// How often somebody stayed.
    Dwells,
    /// How long, in milliseconds, each at most 10 minutes.
    DwellTime,
    /// Items hidden.
    Hides,
    /// Items shared.
    Shares,
    /// What clicks cost, in micros.
    Spend,
}

impl Measure {
    /// What one stands for, in the unit a column shows: seconds, units of money, or itself.
    pub(crate) fn scale(self) -> f32 {
        match self {
            Measure::DwellTime => 0.001,
            Measure::Spend => 0.000_001,
            _ => 1.0,
        }
    }
}

/// A span of time that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Window {
    /// Five minutes, in tiles of 30 seconds.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour, in tiles of 5 minutes.
    #[serde(rename = "1h")]
    Hour,
    /// A day, in tiles of an hour.
    #[serde(rename = "1d")]
    Day,
    /// A week, in tiles of a day.
    #[serde(rename = "7d")]
    Week,
    /// Thirty days, in tiles of a day.
    #[serde(rename = "30d")]
    Month,
    /// Thirty days, each weighing less than the next: half after a week. Sums are in 1,024ths.
    #[serde(rename = "decayed")]
    Decayed,
}

/// The tiles of a level: how many seconds one covers, and how many before the running one are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub seconds: u32,
    pub count: u32,
}

pub(crate) const LEVELS_COUNT: usize = 4;
/// Fine to coarse.
pub(crate) const LEVELS: [Level; LEVELS_COUNT] = [
    Level { seconds: 30, count: 10 },
    Level { seconds: 300, count: 12 },
    Level { seconds: 3_600, count: 24 },
    Level { seconds: 86_400, count: 30 },
];

/// 1,024 times one half to the power of days / 7.
const WEIGHTS: [u64; 31] = [
    1024, 927, 840, 761, 689, 624, 565, 512, 464, 420, 380, 345, 312, 283, 256, 232, 210, 190, 172,
    156, 141, 128, 116, 105, 95, 86, 78, 71, 64, 58, 53,
];

impl Window {
    /// Its name in columns.
    pub fn name(self) -> &'static str {
        match self {
            Window::FiveMinutes => "5m",
            Window::Hour => "1h",
            Window::Day => "1d",
            Window::Week => "7d",
            Window::Month => "30d",
            Window::Decayed => "decayed",
        }
    }

    pub(crate) fn level(self) -> usize {
        match self {
            Window::FiveMinutes => 0,
            Window::Hour => 1,
            Window::Day => 2,
            Window::Week | Window::Month | Window::Decayed => 3,
        }
    }

    /// How many tiles before the running one count as one each; `None` where they count less and less.
    pub(crate) fn reach(self) -> Option<u32> {
        match self {
            Window::Week => Some(7),
            Window::Decayed => None,
            _ => Some(LEVELS[self.level()].count),
        }
    }

    /// What an event in the tile `age` tiles before the running one counts, 0 where it is outside.
    pub(crate) fn weight(self, age: u64) -> u64 {
        match self.reach() {
            None => WEIGHTS.get(age as usize).copied().unwrap_or(0),
            Some(tiles) => u64::from(age <= u64::from(tiles)),
        }
    }

    /// What a sum is divided by.
    pub(crate) fn unit(self) -> f32 {
        if self == Window::Decayed { 1.0 / 1024.0 } else { 1.0 }
    }
}
