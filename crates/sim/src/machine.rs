//! The machine: two disks, an object store, the log on one of them, and all that goes wrong with these.
//!
//! At most one thing is armed on each disk. When something fails, it is held against what was armed:
//! a failure that nobody has caused is a bug. A killed process leaves its disks as they are, so it goes
//! on with a fork of them, and whatever it still does on its way out falls on the floor.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reckon_disk::{Disk, SimDisk};
use reckon_eventlog::{DiskLog, EventLog, Options};

use crate::Happening;
use crate::random::Random;
use crate::store::{FlakyStore, PutFault};

pub(crate) const LOG_DIR: &str = "/log";

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    PowerCut,
    Kill,
    Stop,
    /// Only the counter ends; the log goes on.
    CounterOnly,
}

/// Something that is to fail, and when it will have.
#[derive(Clone, Copy, Debug)]
struct Trap {
    happening: Happening,
    due: Due,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Sync(u64),
    Write(u64),
    /// At any time.
    Always,
}

/// A disk with what is armed on it.
pub(crate) struct FaultyDisk {
    pub disk: SimDisk,
    trap: Option<Trap>,
}

/// What the disk's faults are called.
pub(crate) struct Names {
    sync: Happening,
    write: Happening,
    power: Happening,
    full: Happening,
    /// Where all syncs may fail for good.
    syncs: Option<Happening>,
}

pub(crate) const LOG_FAULTS: Names = Names {
    sync: Happening::LogSyncFailed,
    write: Happening::LogWriteFailed,
    power: Happening::LogPowerCut,
    full: Happening::LogFull,
    syncs: Some(Happening::LogSyncsFailed),
};

pub(crate) const COUNTER_FAULTS: Names = Names {
    sync: Happening::SyncFailed,
    write: Happening::WriteFailed,
    power: Happening::SyncPowerCut,
    full: Happening::Full,
    syncs: None,
};

impl FaultyDisk {
    fn new(seed: u64) -> Self {
        FaultyDisk { disk: SimDisk::new(seed), trap: None }
    }

    /// Arms one fault, where none is armed; gives what it is.
    pub fn arm(&mut self, random: &mut Random, names: &Names, reach: u64) -> Option<Happening> {
        if self.trap.is_some() {
            return None;
        }
        let nth = 1 + random.below(reach);
        let (sync, write) = (self.disk.sync_count() + nth, self.disk.write_count() + nth);
        let (happening, due) = match random.below(5) {
            0 => (names.sync, Due::Sync(sync)),
            1 => (names.write, Due::Write(write)),
            2 => (names.power, Due::Sync(sync)),
            3 => (names.full, Due::Always),
            _ => (names.syncs?, Due::Always),
        };
        match (happening, due) {
            (_, Due::Write(_)) => self.disk.fail_write(nth),
            (what, Due::Sync(_)) if what == names.sync => self.disk.fail_sync(nth),
            (_, Due::Sync(_)) => self.disk.cut_power_at_sync(nth),
            (what, Due::Always) if what == names.full => {
                self.disk.set_capacity(Some(self.disk.used_bytes() + random.below(8_000)));
            }
            (_, Due::Always) => self.disk.fail_all_syncs(true),
        }
        self.trap = Some(Trap { happening, due });
        Some(happening)
    }

    /// What was armed, where it may have struck; it is armed no more.
    pub fn take_struck(&mut self, has_failed: bool) -> Option<Happening> {
        let trap = self.trap?;
        let has_struck = match trap.due {
            Due::Sync(at) => self.disk.sync_count() >= at,
            Due::Write(at) => self.disk.write_count() >= at,
            Due::Always => has_failed,
        };
        if !has_struck {
            return None;
        }
        if let Due::Always = trap.due {
            self.disk.set_capacity(None);
            self.disk.fail_all_syncs(false);
        }
        self.trap = None;
        Some(trap.happening)
    }

    pub const fn is_armed(&self) -> bool {
        self.trap.is_some()
    }

    fn crash(&mut self, seed: u64) {
        self.disk.set_capacity(None);
        self.disk.crash(seed);
        self.trap = None;
    }
}

/// The machine with the log on it.
pub(crate) struct Machine {
    pub log_disk: FaultyDisk,
    pub disk: FaultyDisk,
    pub store: Arc<FlakyStore>,
    pub partitions: u16,
    segment_bytes: u64,
    incarnation: u32,
    log: Option<Arc<DiskLog>>,
}

impl Machine {
    pub fn new(seed: u64, partitions: u16, segment_bytes: u64) -> Self {
        Machine {
            log_disk: FaultyDisk::new(seed),
            disk: FaultyDisk::new(!seed),
            store: Arc::default(),
            partitions,
            segment_bytes,
            incarnation: 0,
            log: None,
        }
    }

    /// The log, opened where it is not.
    pub fn log(&mut self) -> Result<Arc<DiskLog>, reckon_eventlog::Error> {
        if let Some(log) = &self.log {
            return Ok(Arc::clone(log));
        }
        self.incarnation += 1;
        let options = Options {
            lanes: self.partitions,
            segment_bytes: self.segment_bytes,
            preallocate_bytes: 0,
            commit_delay_max: Duration::ZERO,
            // Never by the clock: one seed is one history.
            seal_delay: Duration::from_secs(1 << 20),
            ..Options::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(self.log_disk.disk.clone());
        let (log, _) = DiskLog::open(disk, Path::new(LOG_DIR), options, self.incarnation)?;
        let log = Arc::new(log);
        self.log = Some(Arc::clone(&log));
        Ok(log)
    }

    /// Arms faults of the counter's disk or of the store.
    pub fn arm_counter(&mut self, random: &mut Random) -> Option<Happening> {
        if random.percent(60) {
            return self.disk.arm(random, &COUNTER_FAULTS, 12);
        }
        let fault = random.pick(&PutFault::ALL);
        self.store.set_trap(1 + random.below(8), fault);
        Some(fault.happening())
    }

    pub fn has_power(&self) -> bool {
        self.log_disk.disk.has_power() && self.disk.disk.has_power()
    }

    /// Everything that has struck since the last time.
    pub fn take_struck(&mut self, has_failed: bool) -> Vec<Happening> {
        let mut struck: Vec<Happening> =
            self.store.take_struck().into_iter().map(PutFault::happening).collect();
        struck.extend(self.disk.take_struck(has_failed));
        struck
    }

    /// Ends the process; `counter` is whatever runs beside the log.
    pub fn end<T>(&mut self, ending: Ending, counter: T, random: &mut Random) {
        match ending {
            Ending::PowerCut => {
                self.log_disk.disk.cut_power();
                self.disk.disk.cut_power();
                self.store.go();
                drop(counter);
                self.log = None;
                self.log_disk.crash(random.next());
                self.disk.crash(random.next());
            }
            Ending::Kill => {
                let disks = (self.log_disk.disk.fork(), self.disk.disk.fork());
                self.store.go();
                drop(counter);
                self.log = None;
                (self.log_disk.disk, self.disk.disk) = disks;
            }
            Ending::Stop => {
                drop(counter);
                self.log = None;
            }
            Ending::CounterOnly => drop(counter),
        }
        self.store.come_back();
    }

    /// By partition, the offset behind the last durable record; nothing where the log is not open.
    pub fn ends(&self) -> Vec<u64> {
        let Some(log) = &self.log else { return Vec::new() };
        (0..self.partitions).map(|partition| log.range(partition).end).collect()
    }
}
