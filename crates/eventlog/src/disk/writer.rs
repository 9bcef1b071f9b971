//! Writes one lane's segments: a commit is one write and one sync.
//!
//! Nothing here is tried twice on the same handle. A full disk is rolled back to the last synced
//! byte, durably, so that the answer "not written" is true; every other failure is handed up, and
//! [`Writer::repair`] begins again on a fresh handle.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use reckon_disk::{Disk, File, Open, SECTOR_BYTES};
use reckon_event::{RecordId, stamp};

use super::frame::{FrameKind, HEADER_BYTES, Header, frame_bytes, push_frame};
use super::layout::{Bounds, segment_path, write_bounds};
use super::scan::Frames;
use super::{Error, Options};

/// Bytes of records in one frame, at most: what a reader must read to check any of it.
pub(crate) const BLOCK_BYTES_MAX: usize = 256 * 1_024;
const FRAME_BYTES_MIN: u64 = frame_bytes(0) as u64;
/// Where the receive time stands in a record: behind envelope, appender and sequence.
const RECEIVED_AT: usize = 32;

/// Why a commit is not durable.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No room; the segment is as it was before.
    Full(io::Error),
    /// The handle can no longer be trusted.
    Broken(io::Error),
}

/// The segment that is being written.
pub(crate) struct Active {
    pub(crate) base: u64,
    pub(crate) file: Arc<dyn File>,
    /// Everything below is synced frames.
    pub(crate) end: u64,
    /// The file is at least this long; zeros from `end` on.
    reserved: u64,
    /// Receive time of the first record, in microseconds.
    began: i64,
    sealed: bool,
}

/// A block's place, for the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) offset: u64,
    pub(crate) at: u64,
}

/// What a commit added.
pub(crate) struct Written {
    pub(crate) base: u64,
    pub(crate) blocks: Vec<Placed>,
    pub(crate) end: u64,
    pub(crate) next_offset: u64,
}

/// One lane's end.
pub(crate) struct Writer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) lane: u16,
    pub(crate) options: Options,
    pub(crate) active: Option<Active>,
    /// The offset of the next record.
    pub(crate) next_offset: u64,
    pub(crate) appender: u64,
    pub(crate) bounds: Arc<std::sync::Mutex<Bounds>>,
    /// What the next write consists of; kept for its memory.
    pub(crate) out: Vec<u8>,
}

impl Writer {
    /// Makes `records` durable, stamped with ids from `first` on. They must be whole records.
    pub(crate) fn commit(&mut self, records: &mut [u8], first: u64) -> Result<Written, Failure> {
        let received = i64::from_le_bytes(
            records[RECEIVED_AT..RECEIVED_AT + 8].try_into().expect("a record is longer"),
        );
        if self.must_roll(records.len(), received) {
            self.finish_segment()?;
        }
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.begin_segment(received)?,
        };
        let (blocks, next_offset) = self.encode(&active, records, first);
        let written = self.write_and_sync(&mut active);
        let (base, end) = (active.base, active.end);
        self.active = Some(active);
        written?;
        self.next_offset = next_offset;
        Ok(Written { base, blocks, end, next_offset })
    }

    fn must_roll(&self, bytes: usize, received: i64) -> bool {
        let Some(active) = &self.active else { return false };
        let has_records = self.next_offset > active.base;
        let age_micros = i64::try_from(self.options.segment_age.as_micros()).unwrap_or(i64::MAX);
        has_records
            && (active.end + bytes as u64 > self.options.segment_bytes
                || received.saturating_sub(active.began) >= age_micros)
    }

    fn header(&self, kind: FrameKind, segment: u64, offset: u64, synced_through: u64) -> Header {
        Header {
            kind,
            lane: self.lane,
            segment,
            offset,
            synced_through,
            count: 0,
            payload_bytes: 0,
            appender: self.appender,
            payload_sum: 0,
        }
    }

    /// Splits the records into frames in `out`, stamping each; returns their places and the offset
    /// behind the last record.
    fn encode(&mut self, active: &Active, records: &mut [u8], first: u64) -> (Vec<Placed>, u64) {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let (mut blocks, mut sequence, mut offset) = (Vec::new(), first, self.next_offset);
        let mut rest = records;
        while !rest.is_empty() {
            let (bytes, count) = self.stamp_block(rest, sequence);
            let (block, behind) = rest.split_at_mut(bytes);
            let mut header = self.header(FrameKind::Block, active.base, offset, self.next_offset);
            header.count = count;
            blocks.push(Placed { offset, at: active.end + out.len() as u64 });
            push_frame(&mut out, header, block);
            sequence += u64::from(count);
            offset += u64::from(count);
            rest = behind;
        }
        self.out = out;
        (blocks, offset)
    }

    /// Stamps the records of the next block; returns its bytes and how many they are.
    fn stamp_block(&self, records: &mut [u8], first: u64) -> (usize, u32) {
        let (mut bytes, mut count) = (0, 0);
        while bytes < records.len() && bytes < BLOCK_BYTES_MAX {
            let id = RecordId { appender: self.appender, sequence: first + u64::from(count) };
            bytes += stamp(&mut records[bytes..], id).expect("append has looked at every record");
            count += 1;
        }
        (bytes, count)
    }

    /// Writes `out` at the segment's end and syncs it. Small commits write some zeros ahead: a sync
    /// that need not grow the file costs half.
    fn write_and_sync(&mut self, active: &mut Active) -> Result<(), Failure> {
        let frames = self.out.len() as u64;
        let ahead = self.options.preallocate_bytes;
        if active.end + frames > active.reserved && frames < ahead / 8 {
            self.out.resize(self.out.len() + ahead as usize, 0);
        }
        let mut written = active.file.write_at(&self.out, active.end);
        if is_full(&written) && self.out.len() as u64 > frames {
            self.roll_back(active)?;
            self.out.truncate(frames as usize);
            written = active.file.write_at(&self.out, active.end);
        }
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.roll_back(active)?;
                return Err(Failure::Full(error));
            }
            Err(error) => return Err(Failure::Broken(error)),
        }
        active.file.sync().map_err(Failure::Broken)?;
        active.reserved = active.reserved.max(active.end + self.out.len() as u64);
        active.end += frames;
        active.sealed = false;
        Ok(())
    }

    /// Removes what a write on a full disk has left, durably.
    fn roll_back(&self, active: &mut Active) -> Result<(), Failure> {
        active.reserved = active.end;
        active.file.truncate(active.end).map_err(Failure::Broken)?;
        active.file.sync().map_err(Failure::Broken)
    }

    /// Begins the segment of the next record. Whatever has its name was begun and never used.
    fn begin_segment(&mut self, began: i64) -> Result<Active, Failure> {
        let base = self.next_offset;
        self.raise_end_min(base)?;
        let path = segment_path(&self.dir, base);
        let file = self.disk.open(&path, Open::Truncate).map_err(failure)?;
        let head = self.header(FrameKind::Head, base, base, base);
        self.out.clear();
        push_frame(&mut self.out, head, &[]);
        file.write_at(&self.out, 0).map_err(failure)?;
        file.sync().map_err(Failure::Broken)?;
        self.disk.sync_dir(&self.dir).map_err(Failure::Broken)?;
        let end = FRAME_BYTES_MIN;
        Ok(Active { base, file, end, reserved: end, began, sealed: true })
    }

    /// Writes down that the lane reached `end`.
    fn raise_end_min(&self, end: u64) -> Result<(), Failure> {
        let mut bounds = self.bounds.lock().expect("no holder panics");
        if end <= bounds.end_min {
            return Ok(());
        }
        let raised = Bounds { end_min: end, ..*bounds };
        write_bounds(&*self.disk, &self.dir, raised).map_err(failure)?;
        *bounds = raised;
        Ok(())
    }

    /// Writes a seal behind the last block, so that it can be told from a torn one for ever.
    pub(crate) fn seal(&mut self) -> Result<(), Failure> {
        let Some(mut active) = self.active.take() else { return Ok(()) };
        let mut sealed = Ok(());
        if !active.sealed {
            let next = self.next_offset;
            let seal = self.header(FrameKind::Seal, active.base, next, next);
            self.out.clear();
            push_frame(&mut self.out, seal, &[]);
            sealed = self.write_and_sync(&mut active);
            active.sealed = sealed.is_ok();
        }
        self.active = Some(active);
        sealed
    }

    /// True where the last block has no seal yet.
    pub(crate) fn wants_seal(&self) -> bool {
        self.active.as_ref().is_some_and(|active| !active.sealed)
    }

    /// Ends the segment with a footer; the next commit begins another.
    pub(crate) fn finish_segment(&mut self) -> Result<(), Failure> {
        let Some(mut active) = self.active.take() else { return Ok(()) };
        if self.next_offset == active.base {
            return Ok(());
        }
        let finished = self.write_footer(&*active.file, active.base, active.end);
        if let Err(Failure::Full(error)) = finished {
            let rolled = self.roll_back(&mut active);
            self.active = Some(active);
            return rolled.and(Err(Failure::Full(error)));
        }
        if finished.is_err() {
            self.active = Some(active);
        }
        finished
    }

    /// Cuts the file behind its last frame and puts a footer there.
    fn write_footer(&self, file: &dyn File, base: u64, end: u64) -> Result<(), Failure> {
        let mut footer = Vec::with_capacity(SECTOR_BYTES);
        let next = self.next_offset;
        push_frame(&mut footer, self.header(FrameKind::Footer, base, next, next), &[]);
        file.truncate(end).map_err(Failure::Broken)?;
        file.write_at(&footer, end).map_err(failure)?;
        file.sync().map_err(Failure::Broken)
    }

    /// Footer and bounds: the next open need not scan, and a lost tail would be noticed.
    pub(crate) fn close(&mut self) -> Result<(), Failure> {
        self.finish_segment()?;
        self.raise_end_min(self.next_offset)
    }

    /// After a failure: reads what was durable again through a fresh handle, cuts off the rest and
    /// ends the segment there. When this succeeds, the failed commit is certainly not in the log.
    pub(crate) fn repair(&mut self) -> Result<(), Error> {
        let Some(active) = &self.active else { return Ok(()) };
        let (base, end) = (active.base, active.end);
        if self.next_offset > base {
            self.end_segment(base, Some(end))?;
        } else {
            self.empty_segment(base)?;
        }
        self.active = None;
        Ok(())
    }

    /// Takes back the first commit of a segment: only its head stays, to be begun anew.
    fn empty_segment(&self, base: u64) -> Result<(), Error> {
        let path = segment_path(&self.dir, base);
        let io = |source| Error::io(&path, source);
        let file = self.disk.open(&path, Open::Write).map_err(io)?;
        file.truncate(FRAME_BYTES_MIN).map_err(io)?;
        file.sync().map_err(io)
    }

    /// Ends the segment `base` with a footer, from whatever state a crash or failure left it in;
    /// `end` where it is known from memory, else the end that a scan finds. The last commit is
    /// written again: a failed sync leaves pages that look written and are not.
    pub(crate) fn end_segment(&self, base: u64, end: Option<u64>) -> Result<(), Error> {
        let path = segment_path(&self.dir, base);
        let io = |source| Error::io(&path, source);
        let file = self.disk.open(&path, Open::Write).map_err(io)?;
        let len = end.map_or_else(|| file.len().map_err(io), Ok)?;
        let frames = Frames { file: &*file, path: &path, lane: self.lane, segment: base, len };
        let scan = frames.scan(|_, _| Ok(()))?;
        if scan.next_offset != self.next_offset {
            let what = "the segment does not hold what was synced";
            return Err(Error::damaged(&path, scan.end, what));
        }
        let mut bytes = vec![0; (scan.end - scan.unproven) as usize];
        file.read_at(&mut bytes, scan.unproven).map_err(io)?;
        file.write_at(&bytes, scan.unproven).map_err(io)?;
        self.write_footer(&*file, base, scan.end).map_err(|failure| io(failure.into_inner()))
    }
}

impl Failure {
    pub(crate) fn into_inner(self) -> io::Error {
        match self {
            Failure::Full(error) | Failure::Broken(error) => error,
        }
    }
}

fn failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull => Failure::Full(error),
        _ => Failure::Broken(error),
    }
}

fn is_full(written: &io::Result<()>) -> bool {
    written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
}

const _: () = assert!(FRAME_BYTES_MIN as usize >= HEADER_BYTES);
