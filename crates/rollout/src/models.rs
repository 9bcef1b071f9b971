//! What readers take: the model of the moment, whole, without a lock.
//!
//! A request takes one snapshot and keeps it until it is answered, so no answer mixes two models.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use reckon_event::Timestamp;
use reckon_model::{Calibration, Weights};

use crate::{Bucket, History};

/// A snapshot of the online model.
#[derive(Clone)]
pub struct Online {
    /// Counts publications from 1; 0 before the first.
    pub version: u32,
    /// The epoch it has learned up to.
    pub epoch: u64,
    /// The highest receive time among the records it has seen.
    pub at: Timestamp,
    /// Rows it was trained on.
    pub rows: u64,
    /// Clicks among them.
    pub clicks: u64,
    /// The weights.
    pub weights: Weights,
    /// From log odds to probabilities.
    pub calibration: Calibration,
}

/// How the model has done on rows before it learned from them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Over everything the history holds.
    pub total: Bucket,
    /// By time, oldest first.
    pub history: Vec<Bucket>,
    /// Rows that wait for their label.
    pub pending_rows: u64,
    /// Rows that were let go of before their time, for want of room.
    pub dropped_rows: u64,
    /// Impressions and clicks of predictions whose row was not there and did not come: lost, or too
    /// old.
    pub orphans: u64,
}

/// All models that answer. Shared by those who score and the one who learns.
pub struct Models {
    online: ArcSwap<Online>,
    report: Mutex<Arc<Report>>,
}

impl Models {
    pub(crate) fn new(online: Online) -> Self {
        Models { online: ArcSwap::from_pointee(online), report: Mutex::default() }
    }

    /// The online model of the moment.
    pub fn online(&self) -> Arc<Online> {
        self.online.load_full()
    }

    /// How it has done.
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.report.lock())
    }

    pub(crate) fn publish(&self, online: Online) {
        self.online.store(Arc::new(online));
    }

    pub(crate) fn tell(
        &self,
        history: &History,
        pending_rows: u64,
        dropped_rows: u64,
        orphans: u64,
    ) {
        let report = Report {
            total: history.total(),
            history: history.buckets().to_vec(),
            pending_rows,
            dropped_rows,
            orphans,
        };
        *self.report.lock() = Arc::new(report);
    }
}
