//! Questions: sums of runs by the server, what is in memory on top, windows and order here.
//!
//! A question works on a snapshot: the runs of one commit, which never change, and memory at the same
//! moment. Runs are dropped by whoever writes once nobody here reads them; where that is somebody else,
//! a question whose runs have gone meanwhile is answered anew.

use std::sync::Arc;

use reckon_event::{Timestamp, Verdict};

use super::rows::GroupRow;
use super::state::State;
use super::statement::{FIGURES, Grouping, counted_as, filter, list, sources};
use super::{Shared, Visible};
use crate::sums::cube::Dimensions;
use crate::sums::fold::{Fold, bucket_seconds, too_many};
use crate::sums::hot::Frozen;
use crate::sums::order;
use crate::sums::plan::{Need, Stretch, plan};
use crate::sums::ranking::Ranking;
use crate::sums::row::{Select, currency_of};
use crate::sums::slide::{Windows, slide};
use crate::{Answer, Error, Filter, Granularity, Query, Row};

/// How often a question is answered anew because its runs have gone.
const ANSWERS_MAX: u32 = 16;

/// What a question is answered from.
pub(super) struct Snapshot {
    pub state: Arc<State>,
    pub applied: Option<u64>,
    pub frozen: Vec<Arc<Frozen>>,
    pub stretches: Vec<Stretch>,
}

impl Shared {
    /// See [`crate::RollupStore::query`].
    pub(super) fn answer(&self, query: &Query) -> Result<Answer, Error> {
        let (from, to) = query.bounds()?;
        self.steadily(|| {
            let (snapshot, mut fold) = self.snapshot_of(query, (from, to))?;
            match Ranking::of(query) {
                Some(ranking) => self.fold_first(&snapshot, query, ranking, &mut fold)?,
                None => self.fold_groups(&snapshot, query, None, &mut fold)?,
            }
            let answer = Answer {
                from: Timestamp::from_seconds(from),
                to: Timestamp::from_seconds(to),
                applied: snapshot.applied,
                cube: snapshot.cubes(),
                rows: self.rows(fold, query, (from, to))?,
            };
            Ok((answer, snapshot.state))
        })
    }

    /// Answers until nobody has taken away what it was answered from.
    pub(super) fn steadily<T>(
        &self,
        mut answer: impl FnMut() -> Result<(T, Arc<State>), Error>,
    ) -> Result<T, Error> {
        for _ in 0..ANSWERS_MAX {
            self.follow()?;
            let outcome = answer();
            if let Err(error @ Error::Question { .. }) = outcome {
                return Err(error);
            }
            let read = match &outcome {
                Ok((_, state)) => Arc::clone(state),
                Err(_) => Arc::clone(&self.visible().state),
            };
            if self.is_still_there(&read)? {
                return outcome.map(|(answer, _)| answer);
            }
        }
        Err(self.poisoned("the runs change faster than they can be read"))
    }

    /// A store that does not write reads what those have committed who do.
    fn follow(&self) -> Result<(), Error> {
        // Where the lock is held the store is writing, or about to.
        if let Ok(writer) = self.writer.try_lock()
            && writer.claim.is_none()
        {
            self.reload(&writer)?;
        }
        Ok(())
    }

    /// True where every run of a state was there to the end of reading it.
    fn is_still_there(&self, state: &State) -> Result<bool, Error> {
        if state.runs.is_empty() {
            return Ok(true);
        }
        let claim = self.greatest_claim()?;
        // While nobody else has claimed, runs are dropped by this store alone, which waits for its
        // readers.
        let own = self.visible().claim;
        if own.is_some() && own == claim {
            return Ok(true);
        }
        if own.is_none() {
            let head = self.head()?;
            return Ok(state.runs.iter().all(|run| head.names_run(run.id)));
        }
        let mut writer = self.writer()?;
        if let Some(greater) = self.greater_claim(&writer)?.filter(|_| writer.claim.is_some()) {
            // What the answer has of memory is the other writer's to count.
            self.give_way(&mut writer, &greater);
        }
        Ok(false)
    }

    /// Takes everything a question needs that can change, and folds what is not shared.
    fn snapshot_of(&self, query: &Query, bounds: (i64, i64)) -> Result<(Snapshot, Fold), Error> {
        let need = Need::of(query, bounds);
        let (from, to) = (need.from, need.to);
        let select = Select { tenant: Some(query.tenant.0), filter: query.filter, from, to };
        let mut fold = Fold::new(query, (from, to), self.options.groups_max);
        let mut outcome = Ok(());
        let snapshot = {
            let visible = self.visible();
            visible.hot.scan_active(&select, |row| {
                if outcome.is_ok() {
                    outcome = fold.add(row);
                }
            });
            Snapshot::of(&visible, &need)?
        };
        for segment in &snapshot.frozen {
            segment.scan(&select, |row| {
                if outcome.is_ok() {
                    outcome = fold.add(row);
                }
            });
        }
        outcome?;
        Ok((snapshot, fold))
    }

    /// Adds the groups of the runs, or of some ads only.
    pub(super) fn fold_groups(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        ads: Option<&[u64]>,
        fold: &mut Fold,
    ) -> Result<(), Error> {
        let groups_max = self.options.groups_max;
        let Some((runs, sources)) = snapshot.read_from() else { return Ok(()) };
        let mut grouping =
            Grouping::new(Dimensions::of(&query.group_by), bucket_seconds(query.granularity));
        let by_reason = query.groups_by(crate::Dimension::Reason);
        grouping.place("reason", if by_reason { "verdict" } else { "toUInt8(0)" });
        if by_reason {
            grouping.also_by(&["by_reason"]);
        }
        grouping.also_by(&["in_currency"]);
        for (figure, name) in FIGURES.into_iter().enumerate() {
            grouping.place(name, &counted_as(figure));
        }
        let mut condition = filter(Some(query.tenant.0), &query.filter);
        if let Some(ads) = ads {
            condition.push_str(&format!(" AND ad IN ({})", list(ads)));
        }
        grouping.place("runs", &runs);
        grouping.place("sources", &sources);
        grouping.place("filter", &condition);
        grouping.place("limit", &(groups_max + 1).to_string());
        let text = grouping.fill(include_str!("sql/groups.sql"));
        let rows = self.server.read::<GroupRow>("asking a question", text)?;
        if rows.len() > groups_max {
            return Err(too_many(groups_max));
        }
        rows.iter().try_for_each(|row| self.fold_group(row, fold))
    }

    fn fold_group(&self, row: &GroupRow, fold: &mut Fold) -> Result<(), Error> {
        let key = row.key();
        let is_sound = currency_of(row.in_currency).is_some()
            && (key.reason == 0 || Verdict::from_code(key.reason).is_some());
        if !is_sound {
            return Err(self.damaged(format!("a row of a kind that nobody has written: {row:?}")));
        }
        fold.add_group(key, row.in_currency, &row.counts(), row.spent)
    }

    /// The rows of what has been folded.
    fn rows(&self, fold: Fold, query: &Query, (from, to): (i64, i64)) -> Result<Vec<Row>, Error> {
        if let Granularity::Sliding { window, step } = query.granularity {
            let windows = Windows { from, to, window: i64::from(window), step: i64::from(step) };
            let groups = slide(fold.into_groups(), windows, self.options.groups_max)?;
            return order::rows(groups, query, &self.names());
        }
        if fold.is_series() && query.order_by.is_none() {
            return Ok(order::rows_of_series(fold, query));
        }
        order::rows(fold.into_groups(), query, &self.names())
    }
}

impl Snapshot {
    /// What is visible now, and the stretches that answer.
    pub(super) fn of(visible: &Visible, need: &Need) -> Result<Self, Error> {
        let state = Arc::clone(&visible.state);
        let stretches = stretches(&state, need)?;
        Ok(Snapshot {
            applied: visible.line.applied(),
            frozen: visible.hot.frozen(),
            state,
            stretches,
        })
    }

    /// The runs, and the condition that tells their rows; `None` where there are no runs.
    pub(super) fn read_from(&self) -> Option<(String, String)> {
        let runs = list(self.state.runs.iter().map(|run| run.id));
        let (_, ids) = self.state.declared();
        (!runs.is_empty()).then(|| (runs, sources(&self.stretches, &ids)))
    }

    /// The names of the cubes it is read from, in the order of time.
    pub(super) fn cubes(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for stretch in &self.stretches {
            let name = self.state.cubes[stretch.cube].cube.name.as_str();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join("+")
    }
}

/// The stretches that answer, told by how many rows the runs have.
pub(super) fn stretches(state: &State, need: &Need) -> Result<Vec<Stretch>, Error> {
    let (cubes, ids) = state.declared();
    plan(need, &cubes, |place, pane| {
        let extent = |run: &Arc<super::state::Run>| {
            let rows = run.rows_of(ids[place]);
            let (first, end) = (run.least.div_euclid(pane) * pane, run.greatest + pane);
            (rows > 0 && first < need.to && end > need.from).then_some((first, end, rows))
        };
        state.runs.iter().filter_map(extent).collect()
    })
}

/// What a store that answers without a question's filter needs.
pub(super) fn need_all(dimensions: Dimensions, pane: i64, (from, to): (i64, i64)) -> Need {
    Need { dimensions, grain: Some(pane), from, to, filter: Filter::default() }
}
