//! What the store is told at its start: which cubes it keeps, for how long, within which bounds.
//!
//! Cubes are declared, never guessed: each costs a sorted copy of what it keeps, and a question that
//! no cube can answer exactly is refused with the name of what to declare. Kind, verdict and currency
//! are in the key of every cube, so any metric can be had from any of them. Coarse tiers of a cube are
//! filled when their panes are past ([`Filling::WhenPast`]): a marker then costs what the fine ones
//! cost, and a question over months still reads days.

pub(super) use crate::sums::cube::{Cube, Dimensions, Filling, Pane};
use crate::{BrokenKind, Error};

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

impl Options {
    /// The default cubes ([`Cube::defaults`]) and bounds.
    pub fn new(seconds_bytes_max: u64) -> Self {
        Options {
            cubes: Cube::defaults(seconds_bytes_max),
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
