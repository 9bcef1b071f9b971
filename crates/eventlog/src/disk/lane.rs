//! One lane as appenders and readers see it: what is staged, and what is durable.
//!
//! Two locks, never held together: the stage is the hot path of appends and is held for a copy, the
//! durable side is held for a look-up. Neither is ever held over a write, a sync or a read.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use reckon_disk::{Disk, File};
use reckon_event::RecordId;

use super::Options;
use super::layout::Bounds;
use super::open::OpenedLane;
use super::writer::{Placed, Written};
use crate::{Completion, Outcome, Receipt, Refusal};

/// Distance between two entries of a segment's index.
const INDEX_BYTES: u64 = 64 * 1_024;
/// How many readers of a segment are remembered at the byte where they stopped.
const CURSORS_MAX: usize = 8;

/// Whether a lane takes appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Open,
    Fenced,
    Closed,
}

/// What has been appended and not yet been taken by the committer.
pub(crate) struct Stage {
    pub(crate) status: Status,
    bytes: Vec<u8>,
    /// Emptied buffer of the commit before, to be filled next.
    spare: Vec<u8>,
    appends: u32,
    /// The appender's sequence of the first staged record.
    first: u64,
    next: u64,
    appender: u64,
    completion: Arc<Completion>,
    /// The committer sleeps until this many appends are staged; 0 while it is awake.
    wake_at: u32,
    /// Why the lane is fenced.
    pub(crate) trouble: Option<String>,
}

/// One commit's worth of appends.
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) first: u64,
    pub(crate) appends: u32,
    pub(crate) completion: Arc<Completion>,
}

/// Why the committer woke up.
pub(crate) enum Work {
    Commit(Batch),
    /// Nothing was appended for a while.
    Idle,
    /// Closing, and nothing is staged.
    Close,
}

/// What can be read.
pub(crate) struct Durable {
    pub(crate) segments: Vec<Segment>,
    pub(crate) end: u64,
}

/// A segment as readers know it.
pub(crate) struct Segment {
    pub(crate) base: u64,
    /// Some of its frames, rising; derived from what was written or read.
    index: Vec<Placed>,
    /// Where readers stopped.
    cursors: Vec<Placed>,
    /// Open while it is being written or was read lately.
    pub(crate) file: Option<Arc<dyn File>>,
    /// Synced bytes, while it is being written.
    pub(crate) len: Option<u64>,
}

/// One lane.
pub(crate) struct Lane {
    pub(crate) number: u16,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) bounds: Arc<Mutex<Bounds>>,
    staging_bytes_max: usize,
    stage: Mutex<Stage>,
    work: Condvar,
    durable: Mutex<Durable>,
    advanced: Condvar,
    /// Copies of what `durable` and `bounds` hold, for those who only want to look.
    end: AtomicU64,
    start: AtomicU64,
}

impl Segment {
    pub(crate) const fn new(base: u64) -> Self {
        Segment { base, index: Vec::new(), cursors: Vec::new(), file: None, len: None }
    }

    /// A place at or before `offset`; the segment's first frame where none is known.
    pub(crate) fn place_before(&self, offset: u64) -> Placed {
        let known = self.index.partition_point(|place| place.offset <= offset);
        let indexed = known.checked_sub(1).map(|at| self.index[at]);
        let cursors = self.cursors.iter().filter(|place| place.offset <= offset).copied();
        let nearest = cursors.chain(indexed).max_by_key(|place| place.at);
        nearest.unwrap_or(Placed { offset: self.base, at: 0 })
    }

    /// Remembers a frame, where none near it is known.
    pub(crate) fn note(&mut self, place: Placed) {
        let at = self.index.partition_point(|known| known.at <= place.at);
        let far = |known: Option<&Placed>| {
            known.is_none_or(|known| known.at.abs_diff(place.at) >= INDEX_BYTES)
        };
        if far(at.checked_sub(1).and_then(|before| self.index.get(before)))
            && far(self.index.get(at))
        {
            self.index.insert(at, place);
        }
    }

    /// Remembers where a reader that came from `from` stopped.
    pub(crate) fn move_cursor(&mut self, from: u64, to: Placed) {
        self.cursors.retain(|cursor| cursor.offset != from && cursor.offset != to.offset);
        if self.cursors.len() == CURSORS_MAX {
            self.cursors.remove(0);
        }
        self.cursors.push(to);
    }
}

impl Stage {
    fn refusal(&self, more: usize, bytes_max: usize) -> Option<Refusal> {
        match self.status {
            Status::Fenced => Some(Refusal::Fenced),
            Status::Closed => Some(Refusal::Closed),
            // One append always fits, however long: its length is bounded where it was made.
            Status::Open if self.bytes.is_empty() || self.bytes.len() + more <= bytes_max => None,
            Status::Open => Some(Refusal::Overloaded),
        }
    }

    fn take(&mut self) -> Batch {
        let batch = Batch {
            bytes: std::mem::replace(&mut self.bytes, std::mem::take(&mut self.spare)),
            first: self.first,
            appends: self.appends,
            completion: std::mem::replace(&mut self.completion, Completion::new()),
        };
        self.first = self.next;
        self.appends = 0;
        batch
    }
}

impl Lane {
    pub(crate) fn new(
        number: u16,
        disk: Arc<dyn Disk>,
        options: &Options,
        found: OpenedLane,
        appender: u64,
    ) -> Self {
        let OpenedLane { dir, bounds, durable } = found;
        let (end, start) = (AtomicU64::new(durable.end), AtomicU64::new(bounds.start));
        Lane {
            number,
            disk,
            dir,
            bounds: Arc::new(Mutex::new(bounds)),
            staging_bytes_max: options.staging_bytes_max,
            stage: Mutex::new(Stage {
                status: Status::Open,
                bytes: Vec::new(),
                spare: Vec::new(),
                appends: 0,
                first: 1,
                next: 1,
                appender,
                completion: Completion::new(),
                wake_at: 0,
                trouble: None,
            }),
            work: Condvar::new(),
            durable: Mutex::new(durable),
            advanced: Condvar::new(),
            end,
            start,
        }
    }

    pub(crate) fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().expect("no holder panics")
    }

    pub(crate) fn durable(&self) -> MutexGuard<'_, Durable> {
        self.durable.lock().expect("no holder panics")
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    pub(crate) fn set_start(&self, start: u64) {
        self.start.store(start, Ordering::Release);
    }

    /// Stages whole records. `own` is the id the first of them carries already, if it does.
    pub(crate) fn append(&self, records: &[u8], count: u32, own: Option<RecordId>) -> Receipt {
        let mut stage = self.stage();
        if let Some(refusal) = stage.refusal(records.len(), self.staging_bytes_max) {
            return Receipt::settled(Outcome::NotWritten(refusal));
        }
        let first = RecordId { appender: stage.appender, sequence: stage.next };
        stage.bytes.extend_from_slice(records);
        stage.next += u64::from(count);
        stage.appends += 1;
        let completion = Arc::clone(&stage.completion);
        let full_enough = stage.bytes.len() >= self.staging_bytes_max / 2;
        let wakes = stage.wake_at > 0 && (stage.appends >= stage.wake_at || full_enough);
        if wakes {
            stage.wake_at = 0;
        }
        drop(stage);
        if wakes {
            self.work.notify_one();
        }
        Receipt::pending(own.unwrap_or(first), completion)
    }

    /// Waits for something to do. `expected` appends are worth waiting for up to `linger_max`.
    pub(crate) fn next_work(
        &self,
        expected: u32,
        idle: Option<Duration>,
        options: &Options,
    ) -> Work {
        let mut stage = self.stage();
        while stage.bytes.is_empty() {
            if stage.status == Status::Closed {
                return Work::Close;
            }
            stage.wake_at = 1;
            let empty =
                |stage: &mut Stage| stage.bytes.is_empty() && stage.status != Status::Closed;
            match idle {
                None => stage = self.work.wait_while(stage, empty).expect("no holder panics"),
                Some(idle) => {
                    let (back, timeout) =
                        self.work.wait_timeout_while(stage, idle, empty).expect("no holder panics");
                    stage = back;
                    if timeout.timed_out() && stage.bytes.is_empty() {
                        stage.wake_at = 0;
                        return Work::Idle;
                    }
                }
            }
        }
        stage = self.linger(stage, u32::MAX, options.commit_delay_min);
        let more = options.commit_delay_max.saturating_sub(options.commit_delay_min);
        stage = self.linger(stage, expected, more);
        stage.wake_at = 0;
        Work::Commit(stage.take())
    }

    /// Lets more appends come, until there are `expected`, or half a buffer, or `delay` is over.
    fn linger<'a>(
        &self,
        mut stage: MutexGuard<'a, Stage>,
        expected: u32,
        delay: Duration,
    ) -> MutexGuard<'a, Stage> {
        let half = self.staging_bytes_max / 2;
        if delay.is_zero() || stage.appends >= expected || stage.bytes.len() >= half {
            return stage;
        }
        stage.wake_at = expected;
        let wanting = |stage: &mut Stage| {
            stage.appends < expected && stage.bytes.len() < half && stage.status == Status::Open
        };
        self.work.wait_timeout_while(stage, delay, wanting).expect("no holder panics").0
    }

    /// Gives a buffer back and says how many appends have gathered meanwhile.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) -> u32 {
        buffer.clear();
        buffer.shrink_to(self.staging_bytes_max);
        let mut stage = self.stage();
        stage.spare = buffer;
        stage.appends
    }

    /// Stops taking appends and lets go of what is staged: it was never written.
    pub(crate) fn fence(&self, trouble: String) {
        let mut stage = self.stage();
        if stage.status == Status::Open {
            stage.status = Status::Fenced;
        }
        stage.trouble = Some(trouble);
        let dropped = stage.take();
        drop(stage);
        dropped.completion.settle(Outcome::NotWritten(Refusal::Fenced));
    }

    /// Takes appends again, as a new appender.
    pub(crate) fn unfence(&self, appender: u64) {
        let mut stage = self.stage();
        if stage.status == Status::Fenced {
            stage.status = Status::Open;
        }
        (stage.appender, stage.first, stage.next, stage.trouble) = (appender, 1, 1, None);
    }

    /// Refuses appends from now on and wakes the committer.
    pub(crate) fn close(&self) {
        self.stage().status = Status::Closed;
        self.work.notify_all();
    }

    /// Sleeps for `delay`, or until the lane is closed; true where it is.
    pub(crate) fn rest(&self, delay: Duration) -> bool {
        let open = |stage: &mut Stage| stage.status != Status::Closed;
        let waited = self.work.wait_timeout_while(self.stage(), delay, open);
        waited.expect("no holder panics").0.status == Status::Closed
    }

    /// Makes what a commit wrote readable.
    pub(crate) fn publish(&self, written: &Written, file: Option<Arc<dyn File>>) {
        let mut durable = self.durable();
        if durable.segments.last().is_none_or(|last| last.base != written.base) {
            if let Some(before) = durable.segments.last_mut() {
                (before.file, before.len) = (None, None);
            }
            durable.segments.push(Segment::new(written.base));
        }
        let last = durable.segments.last_mut().expect("pushed where there was none");
        for &place in &written.blocks {
            last.note(place);
        }
        (last.file, last.len) = (file, Some(written.end));
        durable.end = written.next_offset;
        drop(durable);
        self.end.store(written.next_offset, Ordering::Release);
        self.advanced.notify_all();
    }

    /// Lets go of the handle of the newest segment: it failed.
    pub(crate) fn forget_handle(&self) {
        if let Some(last) = self.durable().segments.last_mut() {
            last.file = None;
        }
    }

    pub(crate) fn wait(&self, beyond: u64, timeout: Duration) -> u64 {
        if self.end() > beyond {
            return self.end();
        }
        let behind = |durable: &mut Durable| durable.end <= beyond;
        let waited = self.advanced.wait_timeout_while(self.durable(), timeout, behind);
        waited.expect("no holder panics").0.end
    }
}
