//! The online features that a configuration names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use reckon_disk::Disk;
use reckon_feature::{FeatureStore, Memory, Pasts, PastsOptions, Plan};

use crate::config::{Config, FeatureEngine};
use crate::data_dir::DataDir;

/// Opens them.
pub fn open_features(
    config: &Config,
    dir: &DataDir,
    disk: Arc<dyn Disk>,
) -> Result<Arc<dyn FeatureStore>> {
    match config.feature.engine {
        FeatureEngine::Memory => {
            let options =
                reckon_feature::memory::Options { entities_max: config.feature.entities_max };
            let (store, damage) = Memory::open(disk, &dir.features(), options)
                .with_context(|| format!("features: {}", dir.features().display()))?;
            if let Some(damage) = damage {
                eprintln!("features: {damage}: counters begin anew");
            }
            Ok(Arc::new(store))
        }
        FeatureEngine::Redis => open_redis(config, dir, &*disk).context("features: redis"),
    }
}

/// Opens the pasts that columns are computed from; `None` where none are to be.
pub fn open_pasts(
    config: &Config,
    dir: &DataDir,
    disk: Arc<dyn Disk>,
) -> Result<Option<Arc<Pasts>>> {
    if !config.feature.columns {
        return Ok(None);
    }
    let plan = plan(config)?;
    let options = PastsOptions { bytes_max: config.feature.bytes_max, ..PastsOptions::default() };
    let (pasts, damage) = Pasts::open(disk, &dir.pasts(), Arc::new(plan), options)
        .with_context(|| format!("pasts: {}", dir.pasts().display()))?;
    if let Some(damage) = damage {
        eprintln!(
            "pasts: {damage}: they begin anew; `reckon rebuild` counts the whole log for them"
        );
    }
    Ok(Some(Arc::new(pasts)))
}

/// The plan of features that a configuration names.
pub fn plan(config: &Config) -> Result<Plan> {
    let path = config.feature.plan.as_str();
    if path.is_empty() {
        return Ok(Plan::default());
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("feature.plan: cannot read {path}"))?;
    Plan::parse(&text).with_context(|| format!("feature.plan: {path}"))
}

/// Where counting has not begun in this folder, whatever the cluster has is of another life.
fn open_redis(config: &Config, dir: &DataDir, disk: &dyn Disk) -> Result<Arc<dyn FeatureStore>> {
    let told = &config.feature.redis;
    let has_begun = dir.count().is_dir();
    let checkpoint =
        if has_begun { reckon_pipeline::newest_checkpoint(disk, &dir.count())? } else { 0 };
    let options = reckon_feature::redis::Options {
        prefix: told.prefix.clone(),
        seconds_to_live: told.seconds_to_live,
        replicas: told.replicas,
        read_deadline: Duration::from_millis(told.read_ms_max),
        write_deadline: Duration::from_millis(told.write_ms_max),
        checkpoint,
        ..reckon_feature::redis::Options::new(&told.nodes.0)
    };
    let (store, lost) = reckon_feature::Redis::open(options)?;
    if let Some(lost) = lost {
        eprintln!("features: redis: {lost}: counters begin anew");
    }
    if !has_begun {
        store.begin_anew()?;
    }
    Ok(Arc::new(store))
}
