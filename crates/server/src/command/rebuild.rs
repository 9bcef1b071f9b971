//! `reckon rebuild`: forgets everything that was derived from the log, and counts the log again.
//!
//! For a data folder whose checkpoints, counters or lake are damaged, or were counted by a build that
//! judged wrongly. The log, the books and the secrets stay as they are. Days that are closed stay
//! closed: where the new count differs from what was frozen, adjusting them says so. Who was erased is
//! erased from the new lake as well.

#![expect(clippy::print_stdout, reason = "what was counted is the command's data")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reckon_disk::{Disk, RealDisk};
use reckon_pipeline::Reached;

use super::{load_config, runtime};
use crate::args::Rebuild;
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::engines::{self, System};
use crate::erasure;

/// Between two lines on how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Removes what is derived, counts everything again, and prints the verdicts.
pub fn run(arguments: &Rebuild) -> Result<ExitCode> {
    let config = load_config(arguments.place.config.as_deref())?;
    let dir = DataDir(arguments.place.data.clone());
    if !dir.log().is_dir() {
        bail!("{} is not a data folder: it has no log", dir.0.display());
    }
    runtime(config.server.threads)?.block_on(rebuild(config, &dir))
}

async fn rebuild(config: Config, dir: &DataDir) -> Result<ExitCode> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock = Arc::new(Clock::new(1));
    let lock = dir.lock()?;
    let (books, _) = engines::open_books(&config, dir).await?;
    let starts = engines::log_starts(&config, dir, Arc::clone(&disk), &*books, clock.now()).await?;
    if let Some(start) = starts.into_iter().find(|start| *start > 0) {
        bail!(
            "the log begins at offset {start}: what came before has been retired (log.retain_s) and \
             cannot be counted again; nothing was removed"
        );
    }
    let settled = erasure::begin_anew(&*books).await?;
    if settled > 0 {
        bail!(
            "{settled} erased persons are settled: what replaced them in the lake is thrown away, and \
             the log would bring them back; nothing was removed"
        );
    }
    books.close().await;
    for path in derived(&config, dir)? {
        remove(&path)?;
    }
    drop(lock);
    count_again(config, dir, disk, clock).await
}

/// Everything that the log can make again. Checkpoints go last: as long as they are there, a cut off
/// rebuild is seen at the next start.
fn derived(config: &Config, dir: &DataDir) -> Result<Vec<std::path::PathBuf>> {
    let lake = engines::lake_place(config, dir)?;
    let Some(lake) = lake.as_folder() else {
        bail!("lake.url: only a lake in a folder is rebuilt")
    };
    let spend = dir.spend();
    let spend = spend.parent().context("the spend view has a folder")?;
    let folders = [lake, spend];
    let mut derived: Vec<_> = folders.iter().map(|folder| folder.to_path_buf()).collect();
    derived.extend([dir.rollup(), dir.features(), dir.learner(), dir.count()]);
    Ok(derived)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

async fn count_again(
    config: Config,
    dir: &DataDir,
    disk: Arc<dyn Disk>,
    clock: Arc<Clock>,
) -> Result<ExitCode> {
    let system = engines::start(config, dir, disk, clock).await?;
    let mut counted = wait(&system).await;
    if counted.is_ok() {
        counted = erasure::sweep(Arc::clone(&system.app)).await;
    }
    let totals = system.app.progress.snapshot().totals.clone();
    system.stop().await?;
    counted?;
    println!("counted {} records again", totals.seen());
    for (kind, verdict, count) in totals.iter().filter(|(.., count)| *count > 0) {
        println!("{:<12} {:<24} {count:>12}", kind.name(), verdict.name());
    }
    Ok(ExitCode::SUCCESS)
}

async fn wait(system: &System) -> Result<()> {
    let log = system.app.log();
    let end: Vec<u64> = (0..log.partitions()).map(|partition| log.range(partition).end).collect();
    loop {
        let (progress, end) = (Arc::clone(&system.app.progress), end.clone());
        let wait = move || progress.wait_until(&end, TELL_EVERY);
        match tokio::task::spawn_blocking(wait).await? {
            Reached::Yes => return Ok(()),
            Reached::Ended => {
                bail!("counting has ended: {:?}", system.app.progress.snapshot().status)
            }
            Reached::TimedOut => {
                let counted = system.app.progress.snapshot();
                eprintln!("{} records counted, {} to go", counted.totals.seen(), counted.lag());
            }
        }
    }
}
