//! The running application as one value: what handlers share, and nothing that listens.
//!
//! A test makes one without a socket and asks it with requests as values.

use std::sync::Arc;

use reckon_books::{Accounts, Books};
use reckon_eventlog::EventLog;
use reckon_feature::FeatureStore;
use reckon_lake::{LakeHandle, LakePlace};
use reckon_pipeline::{Progress, Status};
use reckon_rollup::RollupStore;

use crate::audit::Turn;
use crate::config::Config;
use crate::data_dir::DataDir;
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
    /// The ledger: the same books as above, as billing wants them.
    pub accounts: Arc<dyn Accounts>,
    /// Where the lake is.
    pub lake_place: LakePlace,
    /// Tells how far the lake is, and holds its files for readers.
    pub lake: LakeHandle,
    /// Whose turn it is to read the lake.
    pub audit_turn: Turn,
    /// The data folder.
    pub dir: DataDir,
    /// What models know of the past.
    pub features: Arc<dyn FeatureStore>,
    /// Counters.
    pub rollup: Arc<dyn RollupStore>,
    /// How far counting has come.
    pub progress: Arc<Progress>,
    /// Recognises keys.
    pub gate: Gate,
    /// Bounds of bodies.
    pub body_limits: Limits,
    /// What keeps the log from taking records.
    pub log_health: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Turns true when the process is to end; what runs without end listens to it.
    pub stopping: tokio::sync::watch::Sender<bool>,
}

impl App {
    /// What keeps the system from doing its work; empty where nothing does.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = (self.log_health)();
        match &self.progress.snapshot().status {
            Status::Running => {}
            Status::Stopped => reasons.push("counting has stopped".to_owned()),
            Status::Failed(why) => reasons.push(format!("counting has failed: {why}")),
        }
        reasons
    }

    /// The log.
    pub fn log(&self) -> &dyn EventLog {
        &*self.edge.log
    }
}
