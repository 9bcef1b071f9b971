//! The rollup that a configuration names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use reckon_disk::Disk;
use reckon_rollup::clickhouse::{self, ClickHouse};
use reckon_rollup::{Files, RollupStore};

use crate::config::{Config, RollupEngine};
use crate::data_dir::{DataDir, remove};

/// Opens it.
pub fn open_rollup(
    config: &Config,
    dir: &DataDir,
    disk: Arc<dyn Disk>,
) -> Result<Arc<dyn RollupStore>> {
    match config.rollup.engine {
        RollupEngine::Files => {
            let options = reckon_rollup::Options::new(config.rollup.seconds_bytes_max);
            let store = Files::open(disk, &dir.rollup(), options)
                .with_context(|| format!("rollup: {}", dir.rollup().display()))?;
            Ok(Arc::new(store))
        }
        RollupEngine::Clickhouse => {
            let store = ClickHouse::open(clickhouse_options(config)).context("rollup")?;
            if !store.waits_for_disk() {
                eprintln!(
                    "rollup: ClickHouse {} has no setting that waits for its disk: counts since its \
                     last writes may be lost with a power cut there, and are then counted again by \
                     `reckon rebuild`",
                    store.server_version()
                );
            }
            Ok(Arc::new(store))
        }
    }
}

/// Forgets all counts, so that they can be counted again.
pub fn clear_rollup(config: &Config, dir: &DataDir) -> Result<()> {
    match config.rollup.engine {
        RollupEngine::Files => remove(&dir.rollup()),
        RollupEngine::Clickhouse => {
            ClickHouse::clear(&clickhouse_options(config)).context("rollup")
        }
    }
}

fn clickhouse_options(config: &Config) -> clickhouse::Options {
    let told = &config.rollup.clickhouse;
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    clickhouse::Options {
        user: some(&told.user),
        password: some(&told.password.0),
        deadline: Duration::from_millis(told.deadline_ms),
        ..clickhouse::Options::new(&told.url, &told.database, config.rollup.seconds_bytes_max)
    }
}
