//! Reads a lane: finds the frame of an offset, checks what it reads, never skips anything.
//!
//! A chunk is one `pread` of consecutive frames; its entries point past the headers, so no record is
//! copied. Readers that go on where they stopped are remembered with their byte, so following the
//! live tail costs one look-up, one `pread` and one checksum.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use reckon_disk::{File, Open};
use reckon_event::peek;

use super::Error;
use super::frame::{HEADER_BYTES, Header};
use super::lane::{Durable, Lane};
use super::layout::segment_path;
use super::scan::Frames;
use super::writer::Placed;
use crate::{Chunk, Entry, ReadError};

/// What is read at once, at least: one more call costs more than these bytes.
const READ_BYTES_MIN: usize = 16 * 1_024;
/// Handles of sealed segments kept open in a lane.
const HANDLES_MAX: usize = 8;

/// Where to read: one segment, and how far it counts.
struct Plan {
    path: PathBuf,
    base: u64,
    file: Arc<dyn File>,
    from: Placed,
    len: u64,
    /// The offset behind the segment's last durable record.
    end: u64,
}

impl Lane {
    pub(crate) fn read(&self, from: u64, bytes_max: usize) -> Result<Chunk, ReadError> {
        let start = self.start();
        if from < start {
            return Err(ReadError::Gone { asked: from, start });
        }
        if from >= self.end() {
            return Ok(Chunk { next: from, ..Chunk::default() });
        }
        let plan = match self.plan(from) {
            Ok(plan) => plan,
            // It may have been retired while the file was being opened.
            Err(_) if from < self.start() => {
                return Err(ReadError::Gone { asked: from, start: self.start() });
            }
            Err(error) => return Err(error.into()),
        };
        let (chunk, seen) = plan.read(self.number, from, bytes_max)?;
        self.remember(plan.base, from, &seen);
        Ok(chunk)
    }

    fn plan(&self, from: u64) -> Result<Plan, Error> {
        let mut durable = self.durable();
        let at = durable.segments.partition_point(|segment| segment.base <= from);
        let at = at.checked_sub(1).ok_or_else(|| {
            Error::damaged(&self.dir, 0, format!("no segment holds offset {from}"))
        })?;
        let end = durable.segments.get(at + 1).map_or(durable.end, |next| next.base);
        let segment = &durable.segments[at];
        let (base, place, len) = (segment.base, segment.place_before(from), segment.len);
        let path = segment_path(&self.dir, base);
        let file = match &segment.file {
            Some(file) => Arc::clone(file),
            None => {
                let file = self.disk.open(&path, Open::Read).map_err(|e| Error::io(&path, e))?;
                durable.keep_handle(at, Arc::clone(&file));
                file
            }
        };
        drop(durable);
        let len = match len {
            Some(len) => len,
            None => file.len().map_err(|source| Error::io(&path, source))?,
        };
        Ok(Plan { path, base, file, from: place, len, end })
    }

    fn remember(&self, base: u64, from: u64, seen: &[Placed]) {
        let mut durable = self.durable();
        let found = durable.segments.binary_search_by_key(&base, |segment| segment.base);
        // Retired meanwhile, perhaps.
        let Ok(at) = found else { return };
        let segment = &mut durable.segments[at];
        for &place in seen {
            segment.note(place);
        }
        if let Some(&last) = seen.last() {
            segment.move_cursor(from, last);
        }
    }
}

impl Durable {
    /// Keeps the handle of a sealed segment, and lets go of another when there are many.
    fn keep_handle(&mut self, at: usize, file: Arc<dyn File>) {
        let newest = self.segments.len() - 1;
        let open = self.segments[..newest].iter().filter(|segment| segment.file.is_some()).count();
        if open >= HANDLES_MAX
            && let Some(other) =
                self.segments[..newest].iter_mut().find(|segment| segment.file.is_some())
        {
            other.file = None;
        }
        self.segments[at].file = Some(file);
    }
}

impl Plan {
    /// The chunk, and the places of the frames that were passed; the last one is where to go on.
    fn read(&self, lane: u16, from: u64, bytes_max: usize) -> Result<(Chunk, Vec<Placed>), Error> {
        let frames =
            Frames { file: &*self.file, path: &self.path, lane, segment: self.base, len: self.len };
        let mut seen = Vec::new();
        let first = self.skip_to(&frames, from, &mut seen)?;
        let bytes = self.load(&frames, first.at, bytes_max)?;
        let mut chunk = Chunk { bytes, entries: Vec::new(), next: from };
        let mut taken = Taken { records: 0, bytes_max };
        let mut place = first;
        while place.offset < self.end {
            let at = (place.at - first.at) as usize;
            let Some(header) = self.whole_frame(&frames, &chunk.bytes, at, place)? else { break };
            let payload = at + HEADER_BYTES..at + HEADER_BYTES + header.payload_bytes as usize;
            let whole = self.take(&mut chunk, &mut taken, payload, &header, place)?;
            if !whole {
                break;
            }
            place = Placed { offset: header.next_offset(), at: place.at + header.frame_bytes() };
            seen.push(place);
        }
        if seen.last().is_none_or(|last| last.at != place.at) {
            seen.push(place);
        }
        Ok((chunk, seen))
    }

    /// Walks headers from the known place to the frame that holds `from`.
    fn skip_to(
        &self,
        frames: &Frames<'_>,
        from: u64,
        seen: &mut Vec<Placed>,
    ) -> Result<Placed, Error> {
        let mut place = self.from;
        loop {
            let header = self.expect(frames.header_at(place.at)?, place)?;
            if header.next_offset() > from {
                return Ok(place);
            }
            place = Placed { offset: header.next_offset(), at: place.at + header.frame_bytes() };
            seen.push(place);
        }
    }

    /// The bytes from `at` on: the first frame whole, and more up to `bytes_max`.
    fn load(&self, frames: &Frames<'_>, at: u64, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let first = match frames.header_at(at)? {
            Ok(header) => header.frame_bytes() as usize,
            Err(what) => return Err(Error::damaged(&self.path, at, what.text())),
        };
        let wanted = first.max(bytes_max).max(READ_BYTES_MIN);
        let there = usize::try_from(self.len - at).unwrap_or(usize::MAX);
        let mut bytes = vec![0; wanted.min(there)];
        let read =
            self.file.read_at(&mut bytes, at).map_err(|source| Error::io(&self.path, source))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The frame at `at` of `bytes`, checked; `None` where it goes on beyond them.
    fn whole_frame(
        &self,
        frames: &Frames<'_>,
        bytes: &[u8],
        at: usize,
        place: Placed,
    ) -> Result<Option<Header>, Error> {
        let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else {
            return self.unless_cut_short(place, HEADER_BYTES as u64);
        };
        let header = self.expect(Header::decode(head, frames.lane, self.base), place)?;
        let Some(rest) = bytes.get(at + HEADER_BYTES..at + header.frame_bytes() as usize) else {
            return self.unless_cut_short(place, header.frame_bytes());
        };
        if header.payload_fits(rest) {
            return Ok(Some(header));
        }
        let what = "the checksum of the frame's payload does not fit";
        Err(Error::damaged(&self.path, place.at, what))
    }

    /// Durable records follow, so the file must reach as far.
    fn unless_cut_short(&self, place: Placed, bytes: u64) -> Result<Option<Header>, Error> {
        if place.at + bytes <= self.len {
            return Ok(None);
        }
        Err(Error::damaged(&self.path, place.at, "the file ends where a synced frame belongs"))
    }

    fn expect(
        &self,
        header: Result<Header, super::frame::NotAFrame>,
        place: Placed,
    ) -> Result<Header, Error> {
        let header = header.map_err(|what| Error::damaged(&self.path, place.at, what.text()))?;
        if header.offset == place.offset {
            return Ok(header);
        }
        let what = "a frame that does not follow from the one before";
        Err(Error::damaged(&self.path, place.at, what))
    }

    /// Adds the records of one frame that are wanted and fit; true where none was left.
    fn take(
        &self,
        chunk: &mut Chunk,
        taken: &mut Taken,
        payload: std::ops::Range<usize>,
        header: &Header,
        place: Placed,
    ) -> Result<bool, Error> {
        let fits = taken.records + payload.len() <= taken.bytes_max;
        if !fits && !chunk.entries.is_empty() {
            return Ok(false);
        }
        let mut at = payload.start;
        for offset in header.offset..header.next_offset() {
            let peeked = peek(&chunk.bytes[at..payload.end])
                .map_err(|what| Error::damaged(&self.path, place.at, what.to_string()))?;
            if offset >= chunk.next {
                let over = taken.records + peeked.bytes > taken.bytes_max;
                if over && !chunk.entries.is_empty() {
                    return Ok(false);
                }
                chunk.entries.push(Entry { offset, bytes: at..at + peeked.bytes });
                chunk.next = offset + 1;
                taken.records += peeked.bytes;
            }
            at += peeked.bytes;
        }
        Ok(true)
    }
}

/// How much of what was asked for has been taken.
struct Taken {
    records: usize,
    bytes_max: usize,
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        match error {
            Error::Damaged { place, what } => ReadError::Damaged { place, what },
            other => ReadError::Failed(Box::new(other)),
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        ReadError::Failed(Box::new(error))
    }
}
