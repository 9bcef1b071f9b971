//! What campaigns have spent today: a view that follows counting within an epoch, so that a campaign
//! whose budget is used up is no longer served within seconds.
//!
//! It decides what is served, never what is charged: clicks that come after the last affordable one
//! are credited when the day is closed. It keeps spend by campaign, currency and UTC day, for the
//! last days only, revisions taken off again; late clicks of days before those are the ledger's.
//!
//! Readers and the one writer share maps by campaign behind locks that are held for one look-up or one
//! addition.

mod file;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use reckon_disk::Disk;
use reckon_event::{
    Applied, Counted, Currency, Day, Deltas, Epoch, Micros, Subscriber, SubscriberError, TenantId,
    Timestamp,
};
use reckon_rollup::{Dimension, Granularity, Query, RollupStore};

use crate::error::Error;
use file::State;

/// How many days are kept: today, yesterday, and tomorrow for clocks that are ahead.
pub const DAYS_KEPT: u32 = 3;

const SHARDS: usize = 64;

/// A campaign's money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CampaignKey {
    /// Whose.
    pub tenant: TenantId,
    /// Key of the campaign.
    pub campaign: u64,
    /// Of its price and budget.
    pub currency: Currency,
}

type Shard = RwLock<HashMap<CampaignKey, Vec<(Day, Micros)>, foldhash::fast::RandomState>>;

/// What campaigns have spent, for reading; clones see the same.
#[derive(Clone)]
pub struct Spend {
    shards: Arc<[Shard]>,
}

/// How a campaign's spend stands to its day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Share of the budget that is spent; above 1 beyond it.
    pub spent: f64,
    /// Share of the UTC day that has passed.
    pub passed: f64,
}

impl Pace {
    /// How many times as fast as evenly the budget is spent; 1 is even.
    pub fn speed(&self) -> f64 {
        // The first second of a day tells nothing of its pace.
        self.spent / self.passed.max(1.0 / 86_400.0)
    }
}

impl Default for Spend {
    fn default() -> Self {
        Spend { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }
}

impl Spend {
    fn shard(&self, key: &CampaignKey) -> &Shard {
        // Keys of names are hashes; their top bits are as good as any.
        &self.shards[(key.campaign >> 58) as usize % SHARDS]
    }

    /// What was spent on a day that is kept; 0 for any other.
    pub fn spent(&self, key: &CampaignKey, day: Day) -> Micros {
        let shard = self.shard(key).read();
        let days = shard.get(key).map_or(&[][..], Vec::as_slice);
        days.iter().find(|(of, _)| *of == day).map_or(0, |&(_, spent)| spent)
    }

    /// True where the day's budget is used up at `at`; never without a budget.
    pub fn is_exhausted(
        &self,
        key: &CampaignKey,
        daily_budget: Option<Micros>,
        at: Timestamp,
    ) -> bool {
        daily_budget.is_some_and(|budget| self.spent(key, Day::of(at)) >= budget)
    }

    /// How the spend stands to the day at `at`; `None` without a budget.
    pub fn pace(
        &self,
        key: &CampaignKey,
        daily_budget: Option<Micros>,
        at: Timestamp,
    ) -> Option<Pace> {
        let (budget, day) = (daily_budget?, Day::of(at));
        // Of a budget of nothing all is spent.
        let spent = if budget == 0 { 1.0 } else { self.spent(key, day) as f64 / budget as f64 };
        let passed = at.since(day.start()) as f64 / Timestamp::DAY as f64;
        Some(Pace { spent, passed })
    }

    fn add(&self, key: CampaignKey, day: Day, spent: Micros) {
        let mut shard = self.shard(&key).write();
        let days = shard.entry(key).or_default();
        match days.iter_mut().find(|(of, _)| *of == day) {
            Some((_, sum)) => *sum += spent,
            None => days.push((day, spent)),
        }
    }

    /// Forgets the days before `first`.
    fn retain(&self, first: Day) {
        for shard in &*self.shards {
            shard.write().retain(|_, days| {
                days.retain(|&(day, _)| day >= first);
                !days.is_empty()
            });
        }
    }

    /// Everything, sorted, without zeros.
    fn rows(&self) -> Vec<(CampaignKey, Day, Micros)> {
        let mut rows = Vec::new();
        for shard in &*self.shards {
            for (key, days) in &*shard.read() {
                let spent = days.iter().filter(|&&(_, spent)| spent != 0);
                rows.extend(spent.map(|&(day, spent)| (*key, day, spent)));
            }
        }
        rows.sort_unstable();
        rows
    }
}

/// Keeps [`Spend`] up to date; durable with the number of its last epoch.
pub struct SpendView {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    spend: Spend,
    generation: u32,
    /// The last epoch that is in; `None` where it begins with whichever comes.
    applied: Option<u64>,
    persisted: Option<u64>,
    /// The first day that is kept; never falls.
    first: Day,
}

/// A view as it was opened.
pub struct Opened {
    /// To be fed.
    pub view: SpendView,
    /// To be read.
    pub spend: Spend,
    /// What was wrong with its file, which is then made anew from the rollup.
    pub damage: Option<String>,
}

impl SpendView {
    /// Opens the view kept in the file at `path`, whose folder is made. Where there is none, or a
    /// damaged one, it is filled from `rollup`, which is a sum over the same epochs: nothing must be
    /// feeding that one meanwhile.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        rollup: &dyn RollupStore,
        tenants: &[TenantId],
    ) -> Result<Opened, SubscriberError> {
        if let Some(folder) = path.parent() {
            disk.create_dir_all(folder).map_err(failed)?;
        }
        let bytes = reckon_disk::read_all(&*disk, path).map_err(failed)?;
        let state = bytes.as_deref().map(State::decode);
        let damage = matches!(state, Some(None)).then(|| format!("{} is damaged", path.display()));
        let mut view = SpendView {
            disk,
            path: path.to_owned(),
            spend: Spend::default(),
            generation: 0,
            applied: None,
            persisted: None,
            first: Day::of(Timestamp::MIN),
        };
        match state.flatten() {
            Some(state) => view.resume(&state),
            None => view.fill(rollup, tenants).map_err(failed)?,
        }
        let spend = view.spend.clone();
        Ok(Opened { view, spend, damage })
    }

    fn resume(&mut self, state: &State) {
        self.generation = state.generation;
        self.applied = Some(state.epoch);
        self.persisted = Some(state.epoch);
        self.first = state.first;
        state.rows.iter().for_each(|&(key, day, spent)| self.spend.add(key, day, spent));
    }

    fn fill(&mut self, rollup: &dyn RollupStore, tenants: &[TenantId]) -> Result<(), Error> {
        let marks = rollup.marks();
        let (Some(applied), Some(newest)) = (marks.applied, marks.newest) else { return Ok(()) };
        self.applied = Some(applied);
        let to = Day::of(newest).end();
        let from = Timestamp(to.plus(-i64::from(DAYS_KEPT) * Timestamp::DAY).0.max(0));
        for &tenant in tenants {
            let query = Query {
                group_by: vec![Dimension::Campaign],
                ..Query::new(tenant, from, to, Granularity::Day)
            };
            for row in rollup.query(&query)?.rows {
                let (campaign, bucket) = (row.keys.campaign.unwrap_or(0), row.bucket);
                let day = Day::of(bucket.unwrap_or(Timestamp::MIN));
                for (currency, spent) in row.spend {
                    self.spend.add(CampaignKey { tenant, campaign, currency }, day, spent);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, deltas: &Deltas) {
        for (cell, measure) in &deltas.cells {
            let day = Day::of(cell.at());
            if measure.spend != 0 && day >= self.first {
                let (tenant, campaign, currency) = (cell.tenant, cell.campaign, cell.currency);
                self.spend.add(CampaignKey { tenant, campaign, currency }, day, measure.spend);
            }
        }
    }

    /// The watermark says which day it is; days long before it go.
    fn advance(&mut self, watermark: Timestamp) {
        let newest = Day::of(watermark).number();
        let first = Day::new(newest.saturating_sub(DAYS_KEPT - 2)).unwrap_or(self.first);
        if first > self.first {
            self.first = first;
            self.spend.retain(first);
        }
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> SubscriberError {
    SubscriberError::Failed(Box::new(error))
}

/// An epoch that does not follow the last one.
#[derive(Debug, thiserror::Error)]
#[error("epoch {given} does not follow epoch {last}")]
struct Gap {
    given: u64,
    last: u64,
}

impl Subscriber for SpendView {
    fn name(&self) -> &'static str {
        "spend"
    }

    fn persisted(&self) -> Option<u64> {
        // A folder from before there was a spend view is filled from the rollup, and fed from there.
        self.persisted
    }

    fn apply(&mut self, epoch: &Epoch, counted: &Counted<'_>) -> Result<Applied, SubscriberError> {
        if epoch.generation < self.generation {
            return Err(SubscriberError::Fenced(self.generation));
        }
        self.generation = epoch.generation;
        match self.applied {
            Some(last) if epoch.number <= last => return Ok(Applied::Again),
            Some(last) if epoch.number > last + 1 => {
                return Err(failed(Gap { given: epoch.number, last }));
            }
            _ => {}
        }
        self.take(counted.deltas);
        self.advance(counted.watermark);
        self.applied = Some(epoch.number);
        Ok(Applied::Fresh)
    }

    fn persist(&mut self) -> Result<(), SubscriberError> {
        let Some(epoch) = self.applied.filter(|_| self.applied != self.persisted) else {
            return Ok(());
        };
        let (generation, first) = (self.generation, self.first);
        let state = State { generation, epoch, first, rows: self.spend.rows() };
        reckon_disk::write_whole(&*self.disk, &self.path, &state.encode()).map_err(failed)?;
        self.persisted = Some(epoch);
        Ok(())
    }
}
