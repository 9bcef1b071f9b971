//! The commit: rows are handed over, then a marker names their run.
//!
//! The order is what makes it safe: texts, then rows under a number nobody else has, and only when the
//! server has said that it holds them the marker, which is one row. A marker whose answer was lost is
//! sent again, and is the same. Nothing is dropped before the marker that no longer names it is known to
//! be in force.

use std::sync::Arc;

use super::commit_row::CommitRow;
use super::rows::{NameRow, StoredRow};
use super::state::{CELLS, Held, Part, Run, State};
use super::{Pending, Shared, Writer};
use crate::Error;
use crate::sums::hot::Frozen;
use crate::sums::line::Line;

/// What a commit makes durable.
struct Hand {
    frozen: Vec<Arc<Frozen>>,
    line: Line,
    newest: i64,
    before: Arc<State>,
}

impl Shared {
    /// Makes everything applied durable, and returns the last epoch.
    pub(super) fn commit(&self, writer: &mut Writer) -> Result<u64, Error> {
        self.settle_pending(writer)?;
        let claim = match (writer.claim, writer.lost_to) {
            (Some(claim), _) => claim,
            (None, Some(lost)) => return Err(self.lost(lost)),
            // Who has applied something has claimed.
            (None, None) => return Ok(self.visible().line.number),
        };
        let hand = self.hand();
        if hand.frozen.is_empty() && hand.line == hand.before.line {
            return Ok(hand.line.number);
        }
        let mut next = hand.before.next(claim.session);
        next.line = hand.line;
        next.newest = hand.newest;
        next.names = self.keep_names()?;
        if let Some(run) = self.insert_cells(writer, &hand)? {
            next.runs.push(Arc::new(run));
        }
        writer.pending = Some(Pending { next: Arc::new(next), segments: hand.frozen.len() });
        self.settle_pending(writer)?;
        Ok(hand.line.number)
    }

    fn hand(&self) -> Hand {
        let mut visible = self.visible_mut();
        visible.hot.freeze();
        Hand {
            frozen: visible.hot.frozen(),
            line: visible.line,
            newest: visible.newest,
            before: Arc::clone(&visible.state),
        }
    }

    /// Keeps texts that are not kept yet, and returns how many there are.
    pub(super) fn keep_names(&self) -> Result<u64, Error> {
        let (fresh, count) = {
            let names = self.names();
            (names.fresh(), names.len() as u64)
        };
        if !fresh.is_empty() {
            let rows = fresh.into_iter().map(|(key, text)| NameRow { key, text: text.to_string() });
            self.server.insert("keeping texts", "names", rows)?;
            self.names_mut().settle();
        }
        Ok(count)
    }

    /// Hands the cells over as a fresh run; `None` where there are none.
    fn insert_cells(&self, writer: &mut Writer, hand: &Hand) -> Result<Option<Run>, Error> {
        let seconds = hand.frozen.iter().flat_map(|f| f.rows()).map(|row| row.key.second);
        let Some((least, greatest)) = bounds(seconds) else { return Ok(None) };
        let rows: u64 = hand.frozen.iter().map(|frozen| frozen.rows().len() as u64).sum();
        let run = |id| Run {
            id,
            part: Part::Fresh,
            least,
            greatest,
            rows,
            bytes: 0,
            held: vec![Held { cube: CELLS, rows }],
        };
        let id = self.insert_run(writer, |id| {
            let line = hand.line;
            let frozen = hand.frozen.clone();
            let row = move |(frozen, at): (&Frozen, usize)| {
                StoredRow::cell(&frozen.rows()[at], id, &line)
            };
            frozen
                .into_iter()
                .flat_map(move |frozen| (0..frozen.rows().len()).map(move |at| row((&frozen, at))))
        })?;
        Ok(Some(run(id)))
    }

    /// Hands the rows of a run over. Where that fails they are sent as another run: what has come of the
    /// first does not count.
    pub(super) fn insert_run<I>(
        &self,
        writer: &mut Writer,
        rows: impl Fn(u64) -> I,
    ) -> Result<u64, Error>
    where
        I: Iterator<Item = StoredRow> + Send + 'static,
    {
        let mut pause = self.options.retry_pause;
        let mut attempt = 1;
        loop {
            let id = self.next_run(writer)?;
            match self.server.insert("handing rows over", "rows", rows(id)) {
                Ok(()) => return Ok(id),
                Err(error) if attempt >= self.options.attempts_max => return Err(error),
                Err(_) => {}
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2);
            attempt += 1;
        }
    }

    /// A number for a run that nothing else has or will have.
    pub(super) fn next_run(&self, writer: &mut Writer) -> Result<u64, Error> {
        let claim = writer.claim.ok_or_else(|| self.poisoned("somebody else writes"))?;
        let place = writer.runs;
        let left = place.checked_add(1);
        writer.runs = left.ok_or_else(|| self.poisoned("all runs of this session are used up"))?;
        Ok(Run::id(claim.session, place))
    }

    /// Puts a state in force, unless somebody else writes by now.
    pub(super) fn put(&self, writer: &mut Writer, next: &State) -> Result<(), Error> {
        self.server.insert_often("committing", "commits", &CommitRow::of(next))?;
        match self.greater_claim(writer)? {
            Some(greater) => Err(self.give_way(writer, &greater)),
            None => Ok(()),
        }
    }

    /// From here on questions read what the commit names.
    pub(super) fn show(&self, writer: &mut Writer, next: &Arc<State>, segments: usize) {
        let before = {
            let mut visible = self.visible_mut();
            visible.hot.forget(segments);
            std::mem::replace(&mut visible.state, Arc::clone(next))
        };
        let gone = before.runs.iter().filter(|run| !next.names_run(run.id));
        writer.retired.extend(gone.cloned());
    }
}

/// The least and the greatest.
pub(super) fn bounds(seconds: impl Iterator<Item = i64> + Clone) -> Option<(i64, i64)> {
    Some((seconds.clone().min()?, seconds.max()?))
}
