//! What counting adds to the panes: small sums by cell, so that a hot ad costs one addition.

use std::collections::HashMap;

use crate::{Currency, Kind, Micros, TenantId, Timestamp, Verdict};

/// The finest key anything is summed by. Coarser cubes are sums over it.
///
/// Regions, devices and placements are [`crate::name_key`]s (0: absent) whose texts stand in
/// [`Deltas::names`]; ads and campaigns are keys of the books (0: not registered).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The second it happened in, as seconds since 1970.
    pub second: i64,
    /// Whose.
    pub tenant: TenantId,
    /// Key of the ad.
    pub ad: u64,
    /// Key of the campaign.
    pub campaign: u64,
    /// Key of the region.
    pub region: u64,
    /// Key of the device type.
    pub device: u64,
    /// Key of the placement.
    pub placement: u64,
    /// Position on the page.
    pub position: u16,
    /// What happened.
    pub kind: Kind,
    /// What it is worth.
    pub verdict: Verdict,
    /// Currency of the money in it.
    pub currency: Currency,
}

impl Cell {
    /// The start of its second.
    pub const fn at(&self) -> Timestamp {
        Timestamp::from_seconds(self.second)
    }
}

/// What is summed. Signed: a revision takes away in one cell what it adds to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Number of records.
    pub count: i64,
    /// Price of the counted clicks.
    pub spend: Micros,
}

impl Measure {
    /// Adds another.
    pub const fn add(&mut self, other: Measure) {
        self.count += other.count;
        self.spend += other.spend;
    }
}

/// All that one epoch adds.
#[derive(Clone, Debug, Default)]
pub struct Deltas {
    /// Sums by cell, in no order.
    pub cells: HashMap<Cell, Measure, foldhash::fast::RandomState>,
    /// The texts behind every region, device and placement key in `cells`.
    pub names: HashMap<u64, String, foldhash::fast::RandomState>,
}

impl Deltas {
    /// Adds to one cell.
    pub fn add(&mut self, cell: Cell, measure: Measure) {
        self.cells.entry(cell).or_default().add(measure);
    }

    /// The key of a dimension's text, remembered with it; 0 for the empty text.
    pub fn name(&mut self, text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        let key = crate::name_key(text);
        self.names.entry(key).or_insert_with(|| text.to_owned());
        key
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: Deltas) {
        for (cell, measure) in other.cells {
            self.add(cell, measure);
        }
        self.names.extend(other.names);
    }
}
