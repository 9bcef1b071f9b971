//! Sweeping: partitions that no commit names are dropped.
//!
//! What is dropped can never count again: it lies in a session that is not above this store's, and this
//! store's own commit, which is in force, does not name it. A run that another thread of this store is
//! writing is not swept, since that waits for its turn or sweeps itself.

use std::sync::Arc;

use super::open::COMMITS_CHUNK;
use super::state::Run;
use super::{Shared, Writer, statement};
use crate::Error;

impl Shared {
    /// Drops what nobody names and nobody reads. What is left is dropped the next time.
    pub(super) fn sweep(&self, writer: &mut Writer) -> Result<(), Error> {
        let Some(claim) = writer.claim else { return Ok(()) };
        let state = Arc::clone(&self.visible().state);
        if state.session != claim.session {
            // Until this session has a commit, one of an earlier session may yet come in.
            return Ok(());
        }
        writer.retired.retain(|run| Arc::strong_count(run) > 1);
        let is_read = |id| writer.retired.iter().any(|run| run.id == id);
        let is_older = |id| Run::session_of(id) <= u64::from(claim.session);
        for partition in self.partitions("rows")? {
            let id = partition.id;
            if is_older(id) && !state.names_run(id) && !is_read(id) {
                self.drop_partition("rows", id)?;
            }
        }
        let chunk = state.number / COMMITS_CHUNK;
        for partition in self.partitions("commits")? {
            if partition.id + 1 < chunk {
                self.drop_partition("commits", partition.id)?;
            }
        }
        writer.is_swept = writer.retired.is_empty();
        Ok(())
    }

    fn drop_partition(&self, table: &str, id: u64) -> Result<(), Error> {
        let places = [("table", table), ("id", &id.to_string())];
        let text = statement::fill(include_str!("sql/drop_partition.sql"), &places);
        self.server.repeat("dropping what nobody reads", text)
    }
}
