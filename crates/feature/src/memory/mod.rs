//! The store in this process: two copies, so that readers never wait for the writer.
//!
//! Readers take whichever copy is in front. An epoch is applied to the copy behind, which nobody
//! reads, and the two change places; the copy that is now behind gets the same epoch before the next
//! one. So a read sees whole epochs only, all of one cut, and costs two counted locks that are free.
//! It takes twice the memory and applies everything twice, both cheap beside a reader that waits.
//!
//! What changed since the last [`FeatureStore::persist`] goes into a file of its own, and a whole file
//! replaces all of them once they are longer than it (`files.rs`).

mod files;
mod side;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use reckon_disk::Disk;
use reckon_event::{Applied, Epoch};

use self::files::{Files, Kept};
pub use self::files::{Report, verify};
use self::side::Side;
use crate::{Entity, Error, FeatureStore, Marks, Read, Update};

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most entities kept; beyond it a tenth goes, those longest without an event first.
    pub entities_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { entities_max: 2_000_000 }
    }
}

/// Counters in memory, kept in files.
pub struct Memory {
    sides: [RwLock<Side>; 2],
    front: AtomicUsize,
    writer: Mutex<Writer>,
    options: Options,
}

/// What changes a copy.
enum Change {
    Apply(Update),
    Forget(Vec<Entity>),
}

struct Writer {
    /// What the copy behind has not seen yet.
    owed: Option<Change>,
    applied: u64,
    generation: u32,
    files: Files,
}

impl Memory {
    /// Opens the store in a folder. Damaged files are told and left out: the store is a cache, and
    /// begins anew without them.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
    ) -> Result<(Self, Option<String>), Error> {
        let (files, kept, damage) = Files::open(disk, dir)?;
        let Kept { epoch, cut, counters } = kept;
        let side = Side::new(cut, counters);
        let memory = Memory {
            sides: [RwLock::new(side.clone()), RwLock::new(side)],
            front: AtomicUsize::new(0),
            writer: Mutex::new(Writer { owed: None, applied: epoch, generation: 0, files }),
            options,
        };
        Ok((memory, damage))
    }

    /// How many entities it knows.
    pub fn len(&self) -> usize {
        self.front(|side| side.counters.len())
    }

    /// True where it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at the copy in front. It may be behind by the time its lock is taken; then the other is.
    fn front<T>(&self, look: impl FnOnce(&Side) -> T) -> T {
        loop {
            let front = self.front.load(Ordering::Acquire);
            if let Some(side) = self.sides[front].try_read() {
                return look(&side);
            }
            std::hint::spin_loop();
        }
    }
}

impl Memory {
    /// Changes the copy behind and puts it in front.
    fn turn(&self, writer: &mut Writer, change: Change) {
        let behind = 1 - self.front.load(Ordering::Acquire);
        let mut side = self.sides[behind].write();
        if let Some(owed) = writer.owed.take() {
            self.change(&mut side, &owed);
        }
        self.change(&mut side, &change);
        drop(side);
        self.front.store(behind, Ordering::Release);
        writer.owed = Some(change);
    }

    fn change(&self, side: &mut Side, change: &Change) {
        match change {
            Change::Apply(update) => side.apply(update, self.options.entities_max),
            Change::Forget(entities) => {
                for entity in entities {
                    side.counters.remove(entity);
                }
            }
        }
    }
}

impl Writer {
    /// What is to be done with an epoch: nothing, where it is in already.
    fn check(&mut self, epoch: &Epoch) -> Result<Applied, Error> {
        if epoch.generation < self.generation {
            return Err(Error::Fenced(self.generation));
        }
        self.generation = epoch.generation;
        if epoch.number <= self.applied {
            return Ok(Applied::Again);
        }
        // A store that has nothing yet begins wherever it is fed from.
        if self.applied != 0 && epoch.number != self.applied + 1 {
            return Err(Error::Gap { has: self.applied, got: epoch.number });
        }
        Ok(Applied::Fresh)
    }
}

#[async_trait]
impl FeatureStore for Memory {
    async fn read(&self, entities: &[Entity]) -> Result<Read, Error> {
        Ok(self.front(|side| side.read(entities)))
    }

    fn apply(&self, epoch: &Epoch, update: Update) -> Result<Applied, Error> {
        let mut writer = self.writer.lock();
        if writer.check(epoch)? == Applied::Again {
            return Ok(Applied::Again);
        }
        writer.files.note(update.steps.iter().map(|&(entity, ..)| entity));
        self.turn(&mut writer, Change::Apply(update));
        writer.applied = epoch.number;
        Ok(Applied::Fresh)
    }

    fn forget(&self, entities: &[Entity]) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        writer.files.forget();
        self.turn(&mut writer, Change::Forget(entities.to_vec()));
        Ok(())
    }

    fn persist(&self) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        let applied = writer.applied;
        let side = self.sides[self.front.load(Ordering::Acquire)].read();
        writer.files.persist(applied, &side.cut, &side.counters)
    }

    fn marks(&self) -> Marks {
        let writer = self.writer.lock();
        Marks { applied: writer.applied, persisted: writer.files.persisted() }
    }
}
