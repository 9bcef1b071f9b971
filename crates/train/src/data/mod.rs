//! Makes tables of logs: of those that research knows, and of any CSV or Parquet file.
//!
//! Each reader goes through its log once, in the order of time, and writes one row an impression. What
//! a row may know was known when it was shown: counters and click rates are of the rows before it, and
//! the rows of one list are all computed before the first of their clicks is counted ("ordered target
//! statistics": Prokhorenkova et al., "CatBoost: unbiased boosting with categorical features", NeurIPS
//! 2018). Trees cannot do without such columns: a category of which there are a million is nothing to
//! them by its name.
//!
//! Logs without a time, or with one that is too coarse to order by, get the order in which they lie:
//! each line is a millisecond later than the one before it.

mod clicks;
mod criteo;
mod delimited;
mod history;
mod lines;
mod lists;
mod mind;
mod output;
mod parquet;
mod trivago;

use std::path::Path;

use reckon_event::name_key;

use crate::{Progress, Table, TrainError};

pub use delimited::DelimitedOptions;

/// What a log is.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Criteo's display advertising challenge: a label, 13 numbers and 26 categories, tab-separated.
    Criteo,
    /// Avazu's challenge: a CSV of 24 columns.
    Avazu,
    /// ZOZO's Open Bandit: a CSV, with `item_context.csv` beside it.
    OpenBandit,
    /// Microsoft's MIND: `behaviors.tsv`, with `news.tsv` beside it.
    Mind,
    /// trivago's RecSys Challenge of 2019, as Parquet: sessions with lists of hotels.
    Trivago,
    /// TianGong-ST: queries with ten results, their clicks and their order.
    Tiangong,
    /// Any CSV with a header.
    Csv(DelimitedOptions),
    /// Any Parquet file with plain columns.
    Parquet(DelimitedOptions),
}

impl Format {
    /// The format of this name; the two for any file take options of their own.
    pub fn named(name: &str) -> Option<Format> {
        match name {
            "criteo" => Some(Format::Criteo),
            "avazu" => Some(Format::Avazu),
            "open-bandit" => Some(Format::OpenBandit),
            "mind" => Some(Format::Mind),
            "trivago" => Some(Format::Trivago),
            "tiangong" => Some(Format::Tiangong),
            _ => None,
        }
    }

    /// The names of [`Format::named`].
    pub const NAMES: [&'static str; 6] =
        ["criteo", "avazu", "open-bandit", "mind", "trivago", "tiangong"];
}

/// Reads a log and writes its table.
pub fn import(
    format: &Format,
    log: &Path,
    table: &Path,
    progress: &mut dyn Progress,
) -> Result<Table, TrainError> {
    match format {
        Format::Criteo => criteo::import(log, table, progress),
        Format::Avazu => clicks::avazu(log, table, progress),
        Format::OpenBandit => clicks::open_bandit(log, table, progress),
        Format::Mind => mind::import(log, table, progress),
        Format::Trivago => trivago::import(log, table, progress),
        Format::Tiangong => lists::tiangong(log, table, progress),
        Format::Csv(options) => delimited::import(options, log, table, progress),
        Format::Parquet(options) => parquet::import(options, log, table, progress),
    }
}

/// The key of a category: of its field's name and its text. A text without letters is missing.
pub fn key(field: &str, text: &str) -> u64 {
    key_of(name_key(field), text)
}

fn key_of(field: u64, text: &str) -> u64 {
    if text.is_empty() {
        0
    } else {
        xxhash_rust::xxh3::xxh3_64_with_seed(text.as_bytes(), field).max(1)
    }
}

/// The key of two categories together; missing where one of them is.
fn cross(left: u64, right: u64) -> u64 {
    if left == 0 || right == 0 {
        return 0;
    }
    let mixed = left.rotate_left(25) ^ right.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    xxhash_rust::xxh3::xxh3_64(&mixed.to_le_bytes()).max(1)
}
