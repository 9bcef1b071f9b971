//! The log on a disk of our own: lanes of segments, a commit is one write and one sync.
//!
//! A lane is a partition: a folder of segments and a thread that commits to them. Records are staged
//! under a lock, where they get their ids, and a commit takes all that has gathered. Offsets are
//! dense here: the first record of a lane has offset 0.
//!
//! What a file holds is drawn in `docs/log-format.md`; what is synced when an operation answers, and
//! what each failure leaves, in `docs/durability.md`.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use reckon_disk::{Disk, Lock};
use reckon_event::{Kind, Slot};

mod committer;
mod frame;
mod lane;
mod layout;
mod open;
mod read;
mod scan;
mod verify;
mod writer;

use crate::{Chunk, Durability, EventLog, Outcome, ReadError, Receipt, check_records, own_id};
use committer::{Committer, appender};
use lane::{Lane, Status};
use layout::{Bounds, segment_path, write_bounds};
use writer::Writer;

pub use open::{LaneRecovery, Recovery};
pub use verify::{Report, verify};

/// How a log is kept. `examples/append_rate.rs` measures what the delays do on a machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Partitions of the log (`log.lanes`): each has its own files and its own syncs. Fixed for the
    /// life of a log.
    pub lanes: u16,
    /// A segment that is longer is ended. In bytes.
    pub segment_bytes: u64,
    /// A segment whose first record is older than the one to be written is ended, by the records'
    /// receive times.
    pub segment_age: Duration,
    /// Appends beyond this many bytes a lane are refused until a commit has taken them.
    pub staging_bytes_max: usize,
    /// How long a commit waits for more appends, whatever happens.
    pub commit_delay_min: Duration,
    /// How long a commit waits, at most, for appends that are to be expected.
    pub commit_delay_max: Duration,
    /// How long nothing must have been appended before the last block is sealed.
    pub seal_delay: Duration,
    /// Zeros written ahead of small commits, in bytes: a sync that does not grow the file costs
    /// half. 0 for none.
    pub preallocate_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            lanes: 1,
            segment_bytes: 64 * 1_024 * 1_024,
            segment_age: Duration::from_secs(3_600),
            staging_bytes_max: 8 * 1_024 * 1_024,
            commit_delay_min: Duration::ZERO,
            commit_delay_max: Duration::from_millis(1),
            seal_delay: Duration::from_millis(50),
            preallocate_bytes: 1_024 * 1_024,
        }
    }
}

/// Why a log cannot be opened, or has not been closed well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another number of lanes than the log was made with.
    #[error(
        "the log in {dir} was made with {made} lanes and log.lanes says {asked}: the number is \
         fixed for the life of a log, so set log.lanes = {made}"
    )]
    Lanes {
        /// The log's folder.
        dir: PathBuf,
        /// What it was made with.
        made: u16,
        /// What was asked for.
        asked: u16,
    },
    /// Another process has it open.
    #[error("the log in {0} is open in another process")]
    InUse(PathBuf),
    /// An incarnation that has written before: its record ids would be taken for repetitions.
    #[error("incarnation {asked} is not above {seen}, which has written to this log already")]
    Incarnation {
        /// What was asked for.
        asked: u32,
        /// The highest that has written.
        seen: u32,
    },
    /// Bytes that were durable are damaged. Nothing has been changed.
    #[error("damage in {place}: {what}")]
    Damaged {
        /// File and byte.
        place: String,
        /// What was found.
        what: String,
    },
    /// The disk failed.
    #[error("{place}: {source}")]
    Io {
        /// The file or folder.
        place: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl Error {
    fn damaged(path: &Path, byte: u64, what: impl Into<String>) -> Self {
        Error::Damaged { place: format!("{} byte {byte}", path.display()), what: what.into() }
    }

    fn io(path: &Path, source: io::Error) -> Self {
        Error::Io { place: path.to_owned(), source }
    }
}

/// Whether a lane takes appends, for readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneHealth {
    /// It does.
    Writable,
    /// A write or sync failed, and the lane could not be repaired yet.
    Fenced(String),
    /// The log has been closed.
    Closed,
}

/// The log on a disk.
pub struct DiskLog {
    lanes: Vec<Arc<Lane>>,
    committers: Mutex<Vec<JoinHandle<Option<io::Error>>>>,
    _lock: Lock,
}

impl DiskLog {
    /// Opens the log in `dir`, making it where there is none, and says what was found.
    /// `incarnation` must be higher than at every open before.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        incarnation: u32,
    ) -> Result<(DiskLog, Recovery), Error> {
        let opened = open::open(&disk, dir, &options, incarnation)?;
        let generations = Arc::new(AtomicU32::new(u32::from(options.lanes) + 1));
        let starter = Starter { disk, options, incarnation, generations };
        let mut lanes = Vec::with_capacity(opened.lanes.len());
        let mut committers = Vec::with_capacity(opened.lanes.len());
        for (number, found) in (0_u16..).zip(opened.lanes) {
            let committer = starter.committer(number, found);
            let lane = Arc::clone(&committer.lane);
            let thread = thread::Builder::new()
                .name(format!("log-lane-{number}"))
                .spawn(move || committer.run())
                .map_err(|source| Error::io(&lane.dir, source))?;
            committers.push(thread);
            lanes.push(lane);
        }
        let log = DiskLog { lanes, committers: Mutex::new(committers), _lock: opened.lock };
        Ok((log, opened.recovery))
    }

    /// Refuses further appends, commits what is staged, ends the segments and waits for all of it.
    /// A second call does nothing. An error is the first failure; what was acknowledged is durable
    /// all the same.
    pub fn close(&self) -> Result<(), Error> {
        for lane in &self.lanes {
            lane.close();
        }
        let threads = std::mem::take(&mut *self.committers.lock().expect("no holder panics"));
        let mut first = None;
        for (lane, thread) in self.lanes.iter().zip(threads) {
            let failed = thread.join().unwrap_or_else(|_| Some(io::Error::other("it panicked")));
            first = first.or(failed.map(|source| Error::io(&lane.dir, source)));
        }
        first.map_or(Ok(()), Err)
    }

    /// How each lane is.
    pub fn health(&self) -> Vec<LaneHealth> {
        let health = |lane: &Arc<Lane>| {
            let stage = lane.stage();
            match stage.status {
                Status::Open => LaneHealth::Writable,
                Status::Closed => LaneHealth::Closed,
                Status::Fenced => LaneHealth::Fenced(stage.trouble.clone().unwrap_or_default()),
            }
        };
        self.lanes.iter().map(health).collect()
    }

    fn lane(&self, partition: u16) -> &Lane {
        &self.lanes[usize::from(partition)]
    }
}

/// What all lanes of a log begin with.
struct Starter {
    disk: Arc<dyn Disk>,
    options: Options,
    incarnation: u32,
    generations: Arc<AtomicU32>,
}

impl Starter {
    fn committer(&self, number: u16, found: open::OpenedLane) -> Committer {
        let appender = appender(self.incarnation, u32::from(number) + 1);
        let next_offset = found.durable.end;
        let lane = Lane::new(number, Arc::clone(&self.disk), &self.options, found, appender);
        let writer = Writer {
            disk: Arc::clone(&self.disk),
            dir: lane.dir.clone(),
            lane: number,
            options: self.options.clone(),
            active: None,
            next_offset,
            appender,
            bounds: Arc::clone(&lane.bounds),
            out: Vec::new(),
        };
        Committer {
            lane: Arc::new(lane),
            writer,
            incarnation: self.incarnation,
            generations: Arc::clone(&self.generations),
            expected: 0,
        }
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        // Nothing acknowledged hangs on it: closing badly is what a crash does.
        let _ = self.close();
    }
}

impl EventLog for DiskLog {
    fn partitions(&self) -> u16 {
        u16::try_from(self.lanes.len()).expect("opened with a u16")
    }

    /// All kinds of a slot are in one lane.
    fn partition_of(&self, _: Kind, slot: Slot) -> u16 {
        slot.range_of(self.partitions())
    }

    fn slots(&self, partition: u16) -> Range<u16> {
        Slot::range(partition, self.partitions())
    }

    fn append(&self, partition: u16, records: &[u8], count: u32) -> Receipt {
        check_records(self, partition, records, count);
        if count == 0 {
            return Receipt::settled(Outcome::Durable(Durability::Disk));
        }
        self.lane(partition).append(records, count, own_id(records))
    }

    fn read(&self, partition: u16, from: u64, bytes_max: usize) -> Result<Chunk, ReadError> {
        self.lane(partition).read(from, bytes_max)
    }

    fn range(&self, partition: u16) -> Range<u64> {
        let lane = self.lane(partition);
        lane.start()..lane.end()
    }

    fn wait(&self, partition: u16, beyond: u64, timeout: Duration) -> u64 {
        self.lane(partition).wait(beyond, timeout)
    }

    fn retire(&self, partition: u16, before: u64) -> Result<u64, ReadError> {
        Ok(self.lane(partition).retire(before)?)
    }
}

impl Lane {
    /// Removes whole segments below `before`. The newest stays: it is the evidence of where the
    /// lane ends. The new start is durable before anything is removed.
    fn retire(&self, before: u64) -> Result<u64, Error> {
        // The segment that holds `before`, or the newest: everything ahead of it goes.
        let kept = self.durable().segments.iter().rfind(|kept| kept.base <= before).map(|s| s.base);
        let start = kept.unwrap_or(0);
        let mut bounds = self.bounds.lock().expect("no holder panics");
        if start <= bounds.start {
            return Ok(bounds.start);
        }
        let raised = Bounds { start, ..*bounds };
        let io = |source| Error::io(&self.dir, source);
        write_bounds(&*self.disk, &self.dir, raised).map_err(io)?;
        *bounds = raised;
        self.set_start(start);
        let retired: Vec<u64> = {
            let mut durable = self.durable();
            let kept = durable.segments.partition_point(|segment| segment.base < start);
            durable.segments.drain(..kept).map(|segment| segment.base).collect()
        };
        for base in retired {
            let path = segment_path(&self.dir, base);
            self.disk.remove(&path).map_err(|source| Error::io(&path, source))?;
        }
        self.disk.sync_dir(&self.dir).map_err(io)?;
        Ok(start)
    }
}
