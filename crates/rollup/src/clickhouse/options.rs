//! What the engine is told at its start: where the server is, which cubes are kept, within which bounds.

use std::time::Duration;

use crate::sums::cube::Cube;
use crate::{BrokenKind, Error};

/// Where runs are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compacting {
    /// By a thread of its own, beside the counter.
    Thread,
    /// Within the marker that finds it due: for tests that count every request.
    Inline,
}

/// Everything the engine is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's HTTP address, as `http://host:8123`.
    pub url: String,
    /// The database that holds this line of epochs and nothing else. Made where it is missing.
    pub database: String,
    /// The user; the server's default one where not given.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// The cubes. All are filled when fresh runs are compacted, so [`crate::files::Filling`] changes
    /// nothing here. Where a database was made with others, it is changed when it is opened.
    pub cubes: Vec<Cube>,
    /// The most rows in memory that are not on the server yet; beyond it `apply` persists by itself.
    pub hot_rows_max: usize,
    /// Rows after which a part of memory is sorted, frozen and read without a lock.
    pub segment_rows: usize,
    /// The most texts of regions, devices and placements that are remembered.
    pub names_max: usize,
    /// The most groups one question may have on its way to its answer.
    pub groups_max: usize,
    /// How many fresh runs, or runs of about one size, are compacted into one; at least 2.
    pub fan_in: usize,
    /// The most rows one compaction reads.
    pub compact_rows_max: u64,
    /// Where runs are compacted.
    pub compacting: Compacting,
    /// The most time one request may take, however often it is sent.
    pub deadline: Duration,
    /// The most time one statement of a compaction may take.
    pub compact_deadline: Duration,
    /// How often a request is sent that did not reach the server.
    pub attempts_max: u32,
    /// The pause after the first of these; doubled each time.
    pub retry_pause: Duration,
}

impl Options {
    /// The default cubes ([`Cube::defaults`]) and bounds on a server.
    pub fn new(url: &str, database: &str, seconds_bytes_max: u64) -> Self {
        Options {
            url: url.to_owned(),
            database: database.to_owned(),
            user: None,
            password: None,
            cubes: Cube::defaults(seconds_bytes_max),
            hot_rows_max: 1_000_000,
            segment_rows: 1 << 14,
            names_max: 1_000_000,
            groups_max: 4_000_000,
            fan_in: 8,
            compact_rows_max: 64_000_000,
            compacting: Compacting::Thread,
            deadline: Duration::from_secs(30),
            compact_deadline: Duration::from_secs(900),
            attempts_max: 4,
            retry_pause: Duration::from_millis(50),
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::broken(BrokenKind::Mismatch, &"options", what));
        let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        let is_name = self.database.starts_with(is_letter)
            && self.database.chars().all(|c| is_letter(c) || c.is_ascii_digit());
        if !is_name || self.database.len() > 64 {
            return wrong("name the database with up to 64 letters, digits and underscores");
        }
        if self.cubes.is_empty() || self.cubes.len() > 64 {
            return wrong("declare 1 to 64 cubes");
        }
        if self.segment_rows == 0 || self.hot_rows_max == 0 || self.attempts_max == 0 {
            return wrong("`segment_rows`, `hot_rows_max` and `attempts_max` are at least 1");
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
        if !self.cubes.iter().any(Cube::is_kept_for_ever) {
            return wrong("declare a cube that is kept for ever: others are bounded in time");
        }
        Ok(())
    }
}
