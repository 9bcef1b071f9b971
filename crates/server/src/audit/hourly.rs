//! Every hour of figures is recounted once it is final, whether or not anybody asks.
//!
//! How far that has come stands in a file: what became final while no server was running is recounted
//! at the next start.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use reckon_event::Timestamp;
use reckon_lake::Manifest;

use super::{history, judged_before, reconcile};
use crate::app::App;

/// Between two looks at how far figures are final.
const LOOK: Duration = Duration::from_secs(10);
/// The most that is recounted at once.
const SPAN_MAX: i64 = Timestamp::DAY;

/// Recounts hour by hour until the application ends. What differs is mended or told, and stands in the
/// reports; a recount that cannot be made is tried again.
pub async fn run(app: Arc<App>) {
    let path = app.dir.audit().join("recounted");
    let mut recounted = read(&path).unwrap_or_else(|error| {
        eprintln!("audit: {error:#}; everything is recounted from the beginning");
        None
    });
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut refused = Timestamp::MIN;
    loop {
        looks.tick().await;
        let due = final_hour(&app);
        match catch_up(&app, &mut recounted, due, &path).await {
            Err(error) if refused < due => {
                eprintln!("audit: not everything before {due} could be recounted yet: {error:#}");
                refused = due;
            }
            _ => {}
        }
    }
}

/// Recounts what has become final, a day at once.
async fn catch_up(
    app: &Arc<App>,
    recounted: &mut Option<Timestamp>,
    due: Timestamp,
    path: &Path,
) -> Result<()> {
    loop {
        let Some(from) = recounted.or(first_hour(app).await?).filter(|&from| from < due) else {
            return Ok(());
        };
        let to = due.min(from.plus(SPAN_MAX));
        let report = reconcile(app, from, to).await?;
        if !report.is_equal() {
            eprintln!("audit: {report}");
        }
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || write(&path, to)).await??;
        *recounted = Some(to);
    }
}

/// The first hour that the lake has anything of.
async fn first_hour(app: &App) -> Result<Option<Timestamp>> {
    let _lease = app.lake.lease();
    let manifest = Manifest::latest(&app.lake_place).await?;
    Ok(manifest
        .and_then(|manifest| history(&manifest))
        .map(|(first, _)| first.floor(Timestamp::HOUR)))
}

/// The hour before which everything has been recounted, where anything has.
fn read(path: &Path) -> Result<Option<Timestamp>> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        text => {
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            let hour = Timestamp::parse(text.trim());
            hour.map(Some).with_context(|| format!("{}: {text:?} is not a time", path.display()))
        }
    }
}

fn write(path: &Path, hour: Timestamp) -> Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, format!("{hour}\n"))
        .and_then(|()| std::fs::rename(&fresh, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The end of the last hour whose server part is final.
fn final_hour(app: &App) -> Timestamp {
    let lateness = app.config.time.server_lateness_s * Timestamp::SECOND;
    let counted = app.progress.snapshot();
    judged_before(&counted).plus(-lateness).floor(Timestamp::HOUR)
}
