//! Reports of recounts, as files: the newest are kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use reckon_audit::Report;
use reckon_event::TenantId;
use serde_json::Value;

use crate::app::App;

/// Reports that are kept.
const REPORTS_KEPT: usize = 1_000;

/// Keeps a report, and lets the oldest go.
pub async fn keep(app: &Arc<App>, report: &Report) -> Result<()> {
    let dir = app.dir.audit();
    let made = app.edge.clock.now();
    let path = dir.join(format!("report-{:020}.json", made.0));
    let text = serde_json::to_vec_pretty(&told(app, report)?)?;
    let write = move || {
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text)
            .with_context(|| format!("cannot write {}", fresh.display()))?;
        std::fs::rename(&fresh, &path)
            .with_context(|| format!("cannot name {}", path.display()))?;
        let mut kept = reports_in(&dir)?;
        kept.drain(..kept.len().saturating_sub(REPORTS_KEPT))
            .try_for_each(std::fs::remove_file)
            .context("cannot remove old reports")
    };
    tokio::task::spawn_blocking(write).await?
}

/// A report as the API tells it: ads by name.
pub fn told(app: &App, report: &Report) -> Result<Value> {
    let mut value = serde_json::to_value(report)?;
    value["equal"] = report.is_equal().into();
    let names = report.differences.iter().map(|one| (TenantId(one.tenant), one.ad));
    name_ads(app, &mut value["differences"], names);
    let names = report.record_differences.iter().map(|one| (TenantId(one.tenant), one.ad));
    name_ads(app, &mut value["record_differences"], names);
    Ok(value)
}

fn name_ads(app: &App, list: &mut Value, names: impl Iterator<Item = (TenantId, u64)>) {
    for (one, (tenant, key)) in list.as_array_mut().into_iter().flatten().zip(names) {
        let ad = app.edge.catalog.ad(tenant, key);
        let name = ad.as_ref().map_or("(unknown)", |ad| &*ad.ad_id);
        one["ad_id"] = name.into();
        one.as_object_mut().expect("it was one").remove("ad");
    }
}

/// The kept reports, the newest first, at most `limit`.
pub async fn newest(app: &Arc<App>, limit: usize) -> Result<Vec<Value>> {
    let dir = app.dir.audit();
    let read = move || {
        let kept = reports_in(&dir)?;
        let newest = kept.iter().rev().take(limit);
        let report = |path: &PathBuf| {
            let text =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
        };
        newest.map(report).collect()
    };
    tokio::task::spawn_blocking(read).await?
}

fn reports_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(Vec::new()) };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths =
        paths.collect::<std::io::Result<Vec<PathBuf>>>().context("cannot list reports")?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    Ok(paths)
}
