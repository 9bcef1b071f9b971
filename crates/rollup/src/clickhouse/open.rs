//! Opening: the tables, the commit in force, and whether everything it names is there.

use std::sync::{Arc, Mutex, RwLock};

use clickhouse::Row;
use serde::Deserialize;

use super::commit_row::{CommitRow, LAYOUT};
use super::options::Options;
use super::rows::{KeptName, Partition};
use super::server::Server;
use super::state::State;
use super::{Shared, Visible, Writer, statement};
use crate::sums::hot::Hot;
use crate::sums::names::Names;
use crate::{BrokenKind, Error};

/// Commits in a partition of their table.
pub(super) const COMMITS_CHUNK: u64 = 64;

/// How often the commit in force is read again because it is no longer.
const HEADS_MAX: u32 = 16;

/// A setting that a server has.
#[derive(Row, Deserialize)]
struct Setting {
    name: String,
}

/// Makes the tables where they are missing, and reads what is in force.
pub(super) fn open(options: Options) -> Result<Shared, Error> {
    let server = Server::connect(&options)?;
    let waits_for_disk = make_tables(&server)?;
    let state = State::empty(&options.cubes);
    let visible = Visible {
        claim: None,
        hot: Hot::new(options.segment_rows),
        line: state.line,
        newest: state.newest,
        state: Arc::new(state),
    };
    let shared = Shared {
        server,
        options,
        writer: Mutex::new(Writer::default()),
        visible: RwLock::new(visible),
        names: RwLock::new(Names::default()),
        waits_for_disk,
    };
    shared.read_names()?;
    shared.reload(&Writer::default())?;
    shared.check_runs()?;
    Ok(shared)
}

/// Drops the tables, the one of commits first: without it nothing in the others counts.
pub(super) fn clear(options: &Options) -> Result<(), Error> {
    options.check()?;
    let server = Server::connect(options)?;
    for table in ["commits", "rows", "claims", "names"] {
        let text = statement::fill(include_str!("sql/drop_table.sql"), &[("table", table)]);
        server.repeat("dropping the tables", text)?;
    }
    Ok(())
}

/// Makes the tables; true where an insert into them waits for the disk.
fn make_tables(server: &Server) -> Result<bool, Error> {
    let settings = statement::fill(include_str!("sql/durable_settings.sql"), &[]);
    let settings = server.read::<Setting>("asking for settings", settings)?;
    let durable: String = settings.iter().map(|s| format!(", {} = 1", s.name)).collect();
    let chunk = COMMITS_CHUNK.to_string();
    for text in [
        include_str!("sql/create_rows.sql"),
        include_str!("sql/create_commits.sql"),
        include_str!("sql/create_claims.sql"),
        include_str!("sql/create_names.sql"),
    ] {
        let text = statement::fill(text, &[("durable", &durable), ("chunk", &chunk)]);
        server.repeat("making the tables", text)?;
    }
    Ok(!durable.is_empty())
}

impl Shared {
    /// The commit in force; an empty state before the first.
    pub(super) fn head(&self) -> Result<State, Error> {
        let text = statement::fill(include_str!("sql/head.sql"), &[]);
        let Some(row) = self.server.read::<CommitRow>("reading the commit", text)?.pop() else {
            return Ok(State::empty(&self.options.cubes));
        };
        if row.layout != LAYOUT {
            let what = format!("tables of layout {}, this build has {LAYOUT}", row.layout);
            return Err(Error::broken(BrokenKind::Mismatch, self.server.place(), what));
        }
        row.state().ok_or_else(|| self.damaged("the commit in force does not fit together"))
    }

    /// Reads the texts.
    pub(super) fn read_names(&self) -> Result<(), Error> {
        let limit = self.options.names_max.to_string();
        let text = statement::fill(include_str!("sql/names.sql"), &[("limit", &limit)]);
        let kept = self.server.read::<KeptName>("reading texts", text)?;
        self.names_mut().know(kept.into_iter().map(|name| (name.key, name.kept)));
        Ok(())
    }

    /// Fails where rows of a run are missing that the commit in force names.
    fn check_runs(&self) -> Result<(), Error> {
        for _ in 0..HEADS_MAX {
            let state = Arc::clone(&self.visible().state);
            let partitions = self.partitions("rows")?;
            let held = |id| partitions.iter().find(|p| p.id == id).map_or(0, |p| p.held);
            let Some(short) = state.runs.iter().find(|run| held(run.id) != run.rows) else {
                return Ok(());
            };
            // Another writer may have compacted it meanwhile.
            self.reload(&Writer::default())?;
            if self.visible().state.commit() == state.commit() {
                return Err(self.damaged(format!(
                    "run {} has {} of its {} rows: fill a new database from the log or the lake",
                    short.id,
                    held(short.id),
                    short.rows
                )));
            }
        }
        Err(self.poisoned("the runs change faster than they can be looked at"))
    }

    /// The partitions of a table.
    pub(super) fn partitions(&self, table: &'static str) -> Result<Vec<Partition>, Error> {
        let places = [("database", self.options.database.as_str()), ("table", table)];
        let text = statement::fill(include_str!("sql/partitions.sql"), &places);
        self.server.read("reading partitions", text)
    }
}
