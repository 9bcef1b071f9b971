//! Adapters that lose something, to see that whoever judges two stacks notices: in debug builds only,
//! where `RECKON_SABOTAGE` names one. A release build has no such switch.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reckon_event::{Applied, Deltas, Epoch, Kind, Slot, TenantId, Timestamp};
use reckon_eventlog::{Chunk, EventLog, ReadError, Receipt};
use reckon_rollup::{
    Answer, Error, Export, Exported, LiveSecond, Marks, Query, RollupStore, Total,
};

/// One in so many is lost.
const EVERY: u64 = 997;

fn is_asked_for(adapter: &str) -> bool {
    let asked = std::env::var("RECKON_SABOTAGE").is_ok_and(|asked| asked == adapter);
    if asked {
        eprintln!("RECKON_SABOTAGE: the adapter of the {adapter} loses one in {EVERY}");
    }
    asked
}

/// The store, or one that loses sums.
pub fn rollup(store: Arc<dyn RollupStore>) -> Arc<dyn RollupStore> {
    match is_asked_for("rollup") {
        true => Arc::new(LosingRollup { store, cells: AtomicU64::new(0) }),
        false => store,
    }
}

/// The log, or one that skips records.
pub fn log(log: Arc<dyn EventLog>) -> Arc<dyn EventLog> {
    match is_asked_for("log") {
        true => Arc::new(LosingLog(log)),
        false => log,
    }
}

struct LosingRollup {
    store: Arc<dyn RollupStore>,
    cells: AtomicU64,
}

impl RollupStore for LosingRollup {
    fn apply(&self, epoch: &Epoch, deltas: &Deltas) -> Result<Applied, Error> {
        let mut deltas = deltas.clone();
        deltas.cells.retain(|_, _| self.cells.fetch_add(1, Ordering::Relaxed) % EVERY != EVERY - 1);
        self.store.apply(epoch, &deltas)
    }

    fn persist(&self) -> Result<u64, Error> {
        self.store.persist()
    }

    fn marks(&self) -> Marks {
        self.store.marks()
    }

    fn query(&self, query: &Query) -> Result<Answer, Error> {
        self.store.query(query)
    }

    fn live(
        &self,
        tenant: TenantId,
        ad: Option<u64>,
        seconds: u32,
    ) -> Result<Vec<LiveSecond>, Error> {
        self.store.live(tenant, ad, seconds)
    }

    fn export(&self, export: &Export) -> Result<Exported, Error> {
        self.store.export(export)
    }

    fn rebuild(
        &self,
        tenant: TenantId,
        from: Timestamp,
        to: Timestamp,
        figures: &Deltas,
    ) -> Result<u64, Error> {
        self.store.rebuild(tenant, from, to, figures)
    }

    fn totals(&self) -> Result<Vec<Total>, Error> {
        self.store.totals()
    }
}

struct LosingLog(Arc<dyn EventLog>);

impl EventLog for LosingLog {
    fn partitions(&self) -> u16 {
        self.0.partitions()
    }

    fn partition_of(&self, kind: Kind, slot: Slot) -> u16 {
        self.0.partition_of(kind, slot)
    }

    fn slots(&self, partition: u16) -> Range<u16> {
        self.0.slots(partition)
    }

    fn append(&self, partition: u16, records: &[u8], count: u32) -> Receipt {
        self.0.append(partition, records, count)
    }

    fn read(&self, partition: u16, from: u64, bytes_max: usize) -> Result<Chunk, ReadError> {
        let mut chunk = self.0.read(partition, from, bytes_max)?;
        chunk.entries.retain(|entry| entry.offset % EVERY != EVERY / 2);
        Ok(chunk)
    }

    fn range(&self, partition: u16) -> Range<u64> {
        self.0.range(partition)
    }

    fn wait(&self, partition: u16, beyond: u64, timeout: Duration) -> u64 {
        self.0.wait(partition, beyond, timeout)
    }

    fn retire(&self, partition: u16, before: u64) -> Result<u64, ReadError> {
        self.0.retire(partition, before)
    }
}
