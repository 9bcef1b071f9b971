//! `reckon move`: takes an installation from the engines it has to those of another configuration.
//!
//! What cannot be made again is copied: the log, record by record with its ids and times, and the books,
//! row by row. Everything else is derived from these two and counted again by the engines that are to
//! have it. The old log and the old books stay, under names that no server opens.

#![expect(clippy::print_stdout, reason = "what was moved is the command's data")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reckon_books::PostgresBooks;
use reckon_disk::RealDisk;
use reckon_eventlog::copy;

use super::{load_config, rebuild, runtime};
use crate::args::Move;
use crate::clock::Clock;
use crate::config::{Config, LogEngine};
use crate::data_dir::DataDir;
use crate::engines::{self, Log};
use crate::erasure;

/// Between two lines on how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// What the old ones are called from then on.
const MOVED: &str = "before-move";

/// What is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    log: bool,
    books: bool,
}

/// Copies log and books, removes what is derived, counts everything again, and prints the verdicts.
pub fn run(arguments: &Move) -> Result<ExitCode> {
    // The environment is of the server that is to come.
    let from = Config::load(arguments.from.as_deref(), std::iter::empty())?;
    let to = load_config(Some(&arguments.config))?;
    let dir = DataDir(arguments.data.clone());
    if !dir.secrets().exists() {
        bail!("{} is not a data folder: it has no secrets", dir.0.display());
    }
    let plan = plan(&from, &to)?;
    runtime(to.server.threads)?.block_on(async {
        let lock = dir.lock()?;
        if plan.books {
            copy_books(&from, &to, &dir).await?;
        }
        if plan.log {
            copy_log(&from, &to, &dir).await?;
        }
        retire(plan, &from, &dir)?;
        drop(lock);
        rebuild::rebuild(to, &dir).await
    })
}

fn plan(from: &Config, to: &Config) -> Result<Plan> {
    let log = match (from.log.engine, to.log.engine) {
        (LogEngine::Disk, LogEngine::Kafka) => true,
        (LogEngine::Kafka, LogEngine::Disk) => bail!("log.engine: a log on Kafka stays there"),
        _ => false,
    };
    let books = match (engines::postgres(from), engines::postgres(to)) {
        (None, Some(_)) => true,
        (Some(_), None) => bail!("books.url: books on PostgreSQL stay there"),
        (None, None) if from.books.url != to.books.url => {
            bail!("books.url: a file is moved by moving the file")
        }
        _ => false,
    };
    Ok(Plan { log, books })
}

async fn copy_books(from: &Config, to: &Config, dir: &DataDir) -> Result<()> {
    let (old, _) = engines::open_books(from, dir).await?;
    // Asked before anything is copied: the count that follows would refuse.
    let settled = erasure::begin_anew(&*old).await?;
    if settled > 0 {
        bail!(
            "{settled} erased persons are settled: what replaced them in the lake cannot be made again \
             from the log; nothing was moved"
        );
    }
    old.close().await;
    let url = engines::postgres(to).context("books.url")?;
    let options = engines::postgres_options(to);
    let path = dir.books(from)?;
    let moved = PostgresBooks::move_in(&path, url, options).await.context("books")?;
    println!("copied {} rows of the books", moved.rows);
    Ok(())
}

async fn copy_log(from: &Config, to: &Config, dir: &DataDir) -> Result<()> {
    let (books, _) = engines::open_books(to, dir).await?;
    let now = Clock::new(1).now();
    let incarnation = books.lease("incarnation", now).await.context("books")?;
    books.close().await;
    let old = Log::open(from, dir, Arc::new(RealDisk), incarnation)?;
    let new = Log::open(to, dir, Arc::new(RealDisk), incarnation)?;
    let (source, target) = (old.shared(), new.shared());
    let copied = tokio::task::spawn_blocking(move || {
        let mut told = Instant::now();
        copy(&*source, &*target, &mut |records| {
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                eprintln!("{records} records copied");
            }
        })
    });
    let copied = copied.await?.context("log")?;
    new.close()?;
    old.close()?;
    println!(
        "copied {} events, and {} control records into {}",
        copied.events, copied.controls, copied.control_copies
    );
    Ok(())
}

/// Gives the old ones names that no server opens, so that nothing is added to them.
fn retire(plan: Plan, from: &Config, dir: &DataDir) -> Result<()> {
    let mut old: Vec<PathBuf> = Vec::new();
    if plan.log {
        old.push(dir.log());
    }
    if plan.books {
        old.push(dir.books(from)?);
    }
    for path in old {
        let name = path.file_name().context("a path below the data folder")?.to_string_lossy();
        let kept = path.with_file_name(format!("{name}-{MOVED}"));
        rename(&path, &kept)?;
        println!(
            "{} is {} now: remove it when it is not needed any more",
            path.display(),
            kept.display()
        );
    }
    Ok(())
}

fn rename(path: &Path, kept: &Path) -> Result<()> {
    if kept.exists() {
        bail!("{} is there from an earlier move: remove it", kept.display());
    }
    std::fs::rename(path, kept).with_context(|| format!("cannot rename {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let pairs = pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        Config::load(None, pairs).expect("known keys")
    }

    #[test]
    fn what_differs_is_copied_and_there_is_one_direction() {
        let here = config(&[]);
        let there = config(&[
            ("RECKON__LOG__ENGINE", "kafka"),
            ("RECKON__LOG__KAFKA__BROKERS", "one.example:9092"),
            ("RECKON__BOOKS__URL", "postgres://one.example/books"),
        ]);
        assert_eq!(plan(&here, &there).expect("a way"), Plan { log: true, books: true });
        assert_eq!(plan(&here, &here).expect("a way"), Plan { log: false, books: false });
        assert!(plan(&there, &here).is_err());
    }
}
