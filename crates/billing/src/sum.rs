//! Sums of ledger entries, by currency.

use reckon_books::{Entry, EntryKind};
use reckon_event::Micros;
use serde::Serialize;

/// What entries of one currency come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Clicks that were charged at close.
    pub clicks: i64,
    /// Clicks that came or went afterwards.
    pub adjusted_clicks: i64,
    /// Charged at close.
    pub charge_micros: Micros,
    /// Given back for over-delivery at close.
    pub credit_micros: Micros,
    /// Owed more, or less, by what became known afterwards.
    pub adjustment_micros: Micros,
    /// What is owed: charge less credit and adjustments.
    pub total_micros: Micros,
}

impl Sum {
    /// Adds an entry.
    pub fn add(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::Charge => {
                self.clicks += entry.clicks;
                self.charge_micros += entry.owed();
            }
            EntryKind::Credit => self.credit_micros -= entry.owed(),
            EntryKind::Adjustment => {
                self.adjusted_clicks += entry.clicks;
                self.adjustment_micros += entry.owed();
            }
        }
        self.total_micros += entry.owed();
    }

    /// Adds another sum.
    pub const fn merge(&mut self, other: &Sum) {
        self.clicks += other.clicks;
        self.adjusted_clicks += other.adjusted_clicks;
        self.charge_micros += other.charge_micros;
        self.credit_micros += other.credit_micros;
        self.adjustment_micros += other.adjustment_micros;
        self.total_micros += other.total_micros;
    }

    /// The clicks that are paid for, all in all.
    pub const fn net_clicks(&self) -> i64 {
        self.clicks + self.adjusted_clicks
    }
}
