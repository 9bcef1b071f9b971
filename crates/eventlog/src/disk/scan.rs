//! Reads a segment frame by frame and decides what its end is: whole, torn, or damaged.
//!
//! The decision rests on one rule. A commit is written only after the one before it has been synced,
//! and each frame says up to which offset everything was synced when it was written. So where bytes
//! at some place are no frame,
//!
//! - a later frame in the file that was written with more synced than what precedes this place
//!   proves that synced bytes are missing here: **damage**, reported and never skipped;
//! - without such a frame they belong to the one commit that was in flight when the power went:
//!   a **torn tail**, which nobody was told is durable.

use std::path::Path;

use reckon_disk::{File, SECTOR_BYTES};

use super::Error;
use super::frame::{FrameKind, HEADER_BYTES, Header, NotAFrame};

/// Frames of one segment.
pub(crate) struct Frames<'a> {
    pub(crate) file: &'a dyn File,
    pub(crate) path: &'a Path,
    pub(crate) lane: u16,
    pub(crate) segment: u64,
    /// Length of the file, or less where only a part of it counts.
    pub(crate) len: u64,
}

/// A frame with the place where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) at: u64,
    pub(crate) header: Header,
}

/// How the last segment of a lane ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// With a footer, and nothing behind it.
    Footer,
    /// With a frame; behind it there is nothing but zeros, or nothing at all.
    Clean,
    /// With bytes of a commit nobody was told is durable.
    Torn,
}

/// What a scan found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    /// The last frame that is whole and is not a footer. `None` where the segment's head is missing:
    /// its making was interrupted.
    pub(crate) last: Option<Found>,
    /// Where the frames end, the footer not counted.
    pub(crate) end: u64,
    /// Where the last commit begins: nothing later proves that it was synced.
    pub(crate) unproven: u64,
    /// The offset behind the last record.
    pub(crate) next_offset: u64,
    /// Highest appender of all frames.
    pub(crate) appender: u64,
    pub(crate) frame_count: u64,
    pub(crate) tail: Tail,
}

impl Frames<'_> {
    /// The header at `at`; an inner error where there is none.
    pub(crate) fn header_at(&self, at: u64) -> Result<Result<Header, NotAFrame>, Error> {
        let mut head = [0; HEADER_BYTES];
        if at + HEADER_BYTES as u64 > self.len {
            return Ok(Err(NotAFrame::Zeros));
        }
        self.fill(&mut head, at)?;
        Ok(Header::decode(&head, self.lane, self.segment))
    }

    /// The frame at `at`, its payload checked and left in `payload` (with the padding).
    pub(crate) fn frame_at(
        &self,
        at: u64,
        payload: &mut Vec<u8>,
    ) -> Result<Result<Header, &'static str>, Error> {
        let header = match self.header_at(at)? {
            Ok(header) => header,
            Err(what) => return Ok(Err(what.text())),
        };
        if at + header.frame_bytes() > self.len {
            return Ok(Err("a frame that is cut short"));
        }
        payload.resize(header.frame_bytes() as usize - HEADER_BYTES, 0);
        self.fill(payload, at + HEADER_BYTES as u64)?;
        Ok(if header.payload_fits(payload) {
            Ok(header)
        } else {
            Err("the checksum of the frame's payload does not fit")
        })
    }

    fn fill(&self, buf: &mut [u8], at: u64) -> Result<(), Error> {
        let read = self.file.read_at(buf, at).map_err(|source| Error::io(self.path, source))?;
        if read == buf.len() {
            return Ok(());
        }
        Err(Error::damaged(self.path, at + read as u64, "the file is shorter than its length"))
    }

    /// Walks all frames, handing each with its payload to `visit`, and judges the end.
    pub(crate) fn scan(
        &self,
        mut visit: impl FnMut(&Found, &[u8]) -> Result<(), Error>,
    ) -> Result<Scan, Error> {
        let mut payload = Vec::new();
        let mut scan = Scan {
            last: None,
            end: 0,
            unproven: 0,
            next_offset: self.segment,
            appender: 0,
            frame_count: 0,
            tail: Tail::Clean,
        };
        loop {
            let header = match self.frame_at(scan.end, &mut payload)? {
                Ok(header) => header,
                Err(what) => {
                    scan.tail = self.judge(&scan, scan.end, what)?;
                    return Ok(scan);
                }
            };
            let found = Found { at: scan.end, header };
            self.check_order(&scan, &found)?;
            scan.appender = scan.appender.max(header.appender);
            scan.frame_count += 1;
            visit(&found, &payload)?;
            if header.kind == FrameKind::Footer {
                let behind = scan.end + header.frame_bytes();
                let blank = self.judge(&scan, behind, "bytes behind the footer")?;
                let whole = blank == Tail::Clean && behind == self.len;
                scan.tail = if whole { Tail::Footer } else { Tail::Torn };
                return Ok(scan);
            }
            scan.last = Some(found);
            if header.synced_through == header.offset {
                scan.unproven = scan.end;
            }
            scan.end += header.frame_bytes();
            scan.next_offset = header.next_offset();
        }
    }

    /// A whole frame at the wrong place is damage, whatever follows.
    fn check_order(&self, scan: &Scan, found: &Found) -> Result<(), Error> {
        let header = &found.header;
        let head = header.kind == FrameKind::Head;
        let block = header.kind == FrameKind::Block;
        let fits = head == (found.at == 0)
            && block == (header.count > 0)
            && block == (header.payload_bytes > 0)
            && header.offset == scan.next_offset
            && header.synced_through <= header.offset;
        if fits {
            return Ok(());
        }
        Err(Error::damaged(self.path, found.at, "a frame that does not follow from the one before"))
    }

    /// What the bytes from `at` on are, given that no frame begins there.
    fn judge(&self, scan: &Scan, at: u64, what: &'static str) -> Result<Tail, Error> {
        if let Some(proof) = self.proof_of_damage(scan, at)? {
            let what = format!("{what}, yet a later frame at byte {proof} proves it was synced");
            return Err(Error::damaged(self.path, at, what));
        }
        Ok(if self.is_blank(at)? { Tail::Clean } else { Tail::Torn })
    }

    /// A frame behind `at` that was written when more had been synced than is there.
    fn proof_of_damage(&self, scan: &Scan, at: u64) -> Result<Option<u64>, Error> {
        // The head is synced before the first block is written, so any block proves it.
        let headless = scan.last.is_none();
        let mut place = at.next_multiple_of(SECTOR_BYTES as u64);
        while place + HEADER_BYTES as u64 <= self.len {
            if let Ok(header) = self.header_at(place)? {
                let proves = header.synced_through > scan.next_offset
                    || (headless && header.kind == FrameKind::Block);
                // A seal or footer proves the very frame before it.
                let seals = header.count == 0 && header.synced_through >= scan.next_offset;
                if proves || (seals && place > at && scan.next_offset > self.segment) {
                    return Ok(Some(place));
                }
            }
            place += SECTOR_BYTES as u64;
        }
        Ok(None)
    }

    fn is_blank(&self, at: u64) -> Result<bool, Error> {
        let mut window = vec![0; 64 * 1_024];
        let mut place = at;
        while place < self.len {
            let count = usize::try_from(self.len - place)
                .map_or(window.len(), |rest| rest.min(window.len()));
            self.fill(&mut window[..count], place)?;
            if window[..count].iter().any(|&b| b != 0) {
                return Ok(false);
            }
            place += count as u64;
        }
        Ok(true)
    }
}
