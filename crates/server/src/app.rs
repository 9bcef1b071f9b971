//! The running application as one value: what handlers share, and nothing that listens.
//!
//! A test makes one without a socket and asks it with requests as values.

use std::sync::Arc;

use reckon_books::Books;
use reckon_eventlog::EventLog;
use reckon_pipeline::Progress;
use reckon_rollup::RollupStore;

use crate::config::Config;
use crate::edge::Edge;
use crate::http::Gate;
use crate::http::body::Limits;

/// Everything a handler may need.
pub struct App {
    /// What was configured.
    pub config: Config,
    /// Opens, judges, logs, mints.
    pub edge: Edge,
    /// Catalog, keys and leases, durably.
    pub books: Arc<dyn Books>,
    /// Counters.
    pub rollup: Arc<dyn RollupStore>,
    /// How far counting has come.
    pub progress: Arc<Progress>,
    /// Recognises keys.
    pub gate: Gate,
    /// Bounds of bodies.
    pub body_limits: Limits,
}

impl App {
    /// The log.
    pub fn log(&self) -> &dyn EventLog {
        &*self.edge.log
    }
}
