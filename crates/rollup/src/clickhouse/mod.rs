//! The engine on a ClickHouse server: cells in memory until a marker, runs of sums in one table, a table
//! of markers that name the runs that count.
//!
//! ```text
//!   apply ---> memory: cells since the last marker, merged into every answer
//!                 |
//!   persist       v
//!              rows:    a fresh run of cells, a partition of its own     --- compacted --->
//!                                                   runs of all cubes, runs of bounded cubes
//!              commits: session, number, slot group, generation, epoch, the runs that count
//!              claims:  session, generation: the greatest is who writes
//!              names:   texts by key
//!
//!   query ---> cheapest exact tiers ---> sums of the runs, by the server ---> + memory, windows, order
//! ```
//!
//! A server has no transactions, so nothing is ever changed: rows count once a commit names their run.
//! A run that was cut off, sent twice or written by someone who is fenced is a stranger that the next
//! sweep drops. One insert of rows and one marker are made for each `persist`, never one an epoch.

mod change;
mod claim;
mod commit;
mod commit_row;
mod compact;
mod mend;
mod open;
mod options;
mod question;
mod rows;
mod server;
mod state;
mod statement;
mod sums;
mod sweep;
mod top;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use reckon_event::{Applied, Deltas, Epoch, TenantId, Timestamp};

use self::rows::Claim;
use self::server::Server;
use self::state::{Run, State};
use crate::sums::hot::Hot;
use crate::sums::line::{Decision, Line};
use crate::sums::live;
use crate::sums::names::Names;
use crate::sums::row::Key;
use crate::{
    Answer, BrokenKind, Error, Export, Exported, LiveSecond, Marks, Query, RollupStore, Total,
};

pub use self::options::{Compacting, Options};
pub use self::state::Mended;

/// A rollup on a ClickHouse server, in a database of its own.
pub struct ClickHouse {
    shared: Arc<Shared>,
}

/// What the store and the thread that compacts have in common.
struct Shared {
    server: Server,
    options: Options,
    writer: Mutex<Writer>,
    visible: RwLock<Visible>,
    names: RwLock<Names>,
    waits_for_disk: bool,
}

/// What only those who write touch; its lock is what makes them take turns.
#[derive(Default)]
struct Writer {
    /// The claim this store writes under; `None` while it only reads.
    claim: Option<Claim>,
    /// Runs numbered in the session of the claim.
    runs: u32,
    /// A commit whose outcome is not known yet. It is sent again before anything else is written.
    pending: Option<Pending>,
    /// Runs no commit names any more, while someone may read them.
    retired: Vec<Arc<Run>>,
    /// The thread that compacts.
    job: Option<JoinHandle<()>>,
    /// Why it could not, the last time.
    trouble: Option<Error>,
    /// What others left behind has been dropped.
    is_swept: bool,
    /// Who has taken over from this store.
    lost_to: Option<Lost>,
}

/// A claim that is greater than the one this store wrote under.
#[derive(Clone, Copy)]
struct Lost {
    /// The generation this store wrote for.
    own: u32,
    to: Claim,
}

/// A commit that is on its way.
struct Pending {
    next: Arc<State>,
    /// Frozen segments of memory that it makes durable.
    segments: usize,
}

/// What questions see.
struct Visible {
    /// The claim this store writes under, as in [`Writer`].
    claim: Option<Claim>,
    hot: Hot,
    line: Line,
    newest: i64,
    state: Arc<State>,
}

impl ClickHouse {
    /// Opens the rollup in a database, and makes it where it is missing. Where it was made with other
    /// cubes, new ones are filled from the old and removed ones dropped; [`BrokenKind::Mismatch`] where
    /// no old cube has what a new one keeps.
    ///
    /// Opening takes nothing from a store that writes already: whoever hands over an epoch does.
    pub fn open(options: Options) -> Result<Self, Error> {
        options.check()?;
        let shared = Arc::new(open::open(options)?);
        shared.declare_cubes()?;
        Ok(ClickHouse { shared })
    }

    /// Empties the rollup of a database that nobody has open, so that everything may be counted into it
    /// again from the first epoch.
    pub fn clear(options: &Options) -> Result<(), Error> {
        open::clear(options)
    }

    /// The version of the server.
    pub fn server_version(&self) -> &str {
        self.shared.server.version()
    }

    /// True where the server has settings that let an insert wait for its disk. Without them what is
    /// persisted survives the death of the server, and may not survive a power cut.
    pub fn waits_for_disk(&self) -> bool {
        self.shared.waits_for_disk
    }

    /// The spans that were replaced by a recount, the latest last.
    pub fn mended(&self) -> Vec<Mended> {
        self.shared.visible().state.mends.clone()
    }
}

impl Drop for ClickHouse {
    /// Whoever is at work is told that the store is closed; what it was doing does not count.
    fn drop(&mut self) {
        self.shared.server.close();
        let writer = self.shared.writer.lock();
        let job = writer.unwrap_or_else(PoisonError::into_inner).job.take();
        if let Some(job) = job {
            // A panic there has left its message already.
            let _ = job.join();
        }
    }
}

impl Shared {
    /// Takes the writer's turn.
    fn writer(&self) -> Result<MutexGuard<'_, Writer>, Error> {
        self.writer.lock().map_err(|_| self.poisoned("an earlier write failed"))
    }

    fn poisoned(&self, what: &str) -> Error {
        let what = format!("{what}: open the store anew");
        Error::broken(BrokenKind::Poisoned, self.server.place(), what)
    }

    fn damaged(&self, what: impl Into<String>) -> Error {
        Error::damaged(self.server.place(), what)
    }

    // A panic while memory is written to also poisons the writer's lock, so nothing is taken or made
    // durable after it; what readers then see ends with this process.
    fn visible(&self) -> RwLockReadGuard<'_, Visible> {
        self.visible.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn visible_mut(&self) -> RwLockWriteGuard<'_, Visible> {
        self.visible.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn names_mut(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an epoch to what is in memory.
    fn take(&self, epoch: &Epoch, deltas: &Deltas) {
        if !self.names().has_all(deltas) {
            self.names_mut().learn_all(deltas, self.options.names_max);
        }
        let mut visible = self.visible_mut();
        let Visible { hot, line, newest, .. } = &mut *visible;
        for (cell, measure) in &deltas.cells {
            hot.add(Key::of(cell), *measure);
            *newest = (*newest).max(cell.second);
        }
        *line = Line {
            stage: epoch.stage,
            group: epoch.group,
            generation: epoch.generation,
            number: epoch.number,
        };
    }
}

impl RollupStore for ClickHouse {
    fn apply(&self, epoch: &Epoch, deltas: &Deltas) -> Result<Applied, Error> {
        let shared = &self.shared;
        let mut writer = shared.writer()?;
        match shared.admit(&mut writer, epoch)? {
            Decision::Again => {
                shared.visible_mut().line.generation = epoch.generation;
                Ok(Applied::Again)
            }
            Decision::Fresh => {
                let is_full = shared.visible().hot.len() >= shared.options.hot_rows_max;
                if is_full {
                    shared.commit(&mut writer)?;
                    Shared::go_on(shared, &mut writer)?;
                }
                shared.take(epoch, deltas);
                Ok(Applied::Fresh)
            }
        }
    }

    fn persist(&self) -> Result<u64, Error> {
        let mut writer = self.shared.writer()?;
        let number = self.shared.commit(&mut writer)?;
        Shared::go_on(&self.shared, &mut writer)?;
        Ok(number)
    }

    fn marks(&self) -> Marks {
        let visible = self.shared.visible();
        Marks {
            applied: visible.line.applied(),
            persisted: visible.state.line.applied(),
            generation: visible.line.generation,
            newest: (visible.newest != i64::MIN).then(|| Timestamp::from_seconds(visible.newest)),
        }
    }

    fn query(&self, query: &Query) -> Result<Answer, Error> {
        self.shared.answer(query)
    }

    fn live(
        &self,
        tenant: TenantId,
        ad: Option<u64>,
        seconds: u32,
    ) -> Result<Vec<LiveSecond>, Error> {
        live::live(self, tenant, ad, seconds)
    }

    fn export(&self, export: &Export) -> Result<Exported, Error> {
        self.shared.exported(export)
    }

    fn rebuild(
        &self,
        tenant: TenantId,
        from: Timestamp,
        to: Timestamp,
        figures: &Deltas,
    ) -> Result<u64, Error> {
        self.shared.replace(tenant, (from, to), figures)
    }

    fn totals(&self) -> Result<Vec<Total>, Error> {
        self.shared.totals()
    }
}
