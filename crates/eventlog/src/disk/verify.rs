//! Checks a whole log that nobody has open: every frame, every record, every border.
//!
//! It changes nothing and does not stop at the first finding. What a crash may leave (a torn tail, a
//! segment that was just being begun) is noted, not blamed.

use std::collections::BTreeSet;
use std::path::Path;

use reckon_disk::{Disk, Open};
use reckon_event::{DecodeError, Record, Slot, peek};

use super::Error;
use super::frame::FrameKind;
use super::layout::{
    Bounds, bounds_path, is_leftover, lane_dir, lock_path, manifest_path, read_bounds,
    read_manifest, segment_base, segment_path,
};
use super::scan::{Found, Frames, Scan, Tail};

/// What [`verify`] looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lanes the log was made with.
    pub lanes: u16,
    /// Segments read.
    pub segments: u64,
    /// Frames whose checksum fits.
    pub frames: u64,
    /// Records whose checksum fits.
    pub records: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Damage, with its place. Empty for a sound log.
    pub findings: Vec<String>,
    /// What a crash left and the next open will settle.
    pub notes: Vec<String>,
}

impl Report {
    /// True where nothing is damaged.
    pub const fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks the log in `dir`. An error means that the disk could not be read; damage is a finding.
pub fn verify(disk: &dyn Disk, dir: &Path) -> Result<Report, Error> {
    let mut report = Report::default();
    match read_manifest(disk, dir) {
        Ok(Some(lanes)) => report.lanes = lanes,
        Ok(None) => report.findings.push(format!("{}: missing", manifest_path(dir).display())),
        Err(error) => report.find(error)?,
    }
    let lanes: BTreeSet<_> = (0..report.lanes).map(|lane| lane_dir(dir, lane)).collect();
    for path in disk.list(dir).map_err(|source| Error::io(dir, source))? {
        let known = lanes.contains(&path) || path == manifest_path(dir) || path == lock_path(dir);
        report.place(&path, known);
    }
    for lane in 0..report.lanes {
        verify_lane(disk, dir, lane, &mut report)?;
    }
    Ok(report)
}

impl Report {
    /// Damage is noted; anything else ends the check.
    fn find(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::Damaged { .. } => {
                self.findings.push(error.to_string());
                Ok(())
            }
            other => Err(other),
        }
    }

    fn place(&mut self, path: &Path, known: bool) {
        if is_leftover(path) {
            self.notes.push(format!("{}: left over from a crash", path.display()));
        } else if !known {
            self.findings.push(format!("{}: does not belong here", path.display()));
        }
    }
}

fn verify_lane(disk: &dyn Disk, dir: &Path, lane: u16, report: &mut Report) -> Result<(), Error> {
    let dir = lane_dir(dir, lane);
    let bounds = match read_bounds(disk, &dir) {
        Ok(bounds) => bounds.unwrap_or_default(),
        Err(error) => return report.find(error),
    };
    let mut bases = Vec::new();
    for path in disk.list(&dir).map_err(|source| Error::io(&dir, source))? {
        let base = segment_base(&path);
        report.place(&path, base.is_some() || path == bounds_path(&dir));
        match base {
            Some(base) if base < bounds.start => {
                report.notes.push(format!("{}: retired, not yet removed", path.display()));
            }
            Some(base) => bases.push(base),
            None => {}
        }
    }
    let mut end = bounds.start;
    for (at, &base) in bases.iter().enumerate() {
        let path = segment_path(&dir, base);
        if base != end {
            let what = format!("{}: begins at {base}, but {end} is next", path.display());
            report.findings.push(what);
        }
        let last = at + 1 == bases.len();
        end = match verify_segment(disk, &path, lane, base, last, report) {
            Ok(next) => next,
            Err(error) => {
                report.find(error)?;
                bases.get(at + 1).copied().unwrap_or(u64::MAX)
            }
        };
    }
    check_end(&dir, bounds, end, report);
    Ok(())
}

fn check_end(dir: &Path, bounds: Bounds, end: u64, report: &mut Report) {
    if end < bounds.end_min {
        let what = format!("{}: ends at {end}, but had reached {}", dir.display(), bounds.end_min);
        report.findings.push(what);
    }
}

/// Returns the offset behind the segment's last record.
fn verify_segment(
    disk: &dyn Disk,
    path: &Path,
    lane: u16,
    base: u64,
    last: bool,
    report: &mut Report,
) -> Result<u64, Error> {
    let io = |source| Error::io(path, source);
    let file = disk.open(path, Open::Read).map_err(io)?;
    let len = file.len().map_err(io)?;
    let frames = Frames { file: &*file, path, lane, segment: base, len };
    let lanes = report.lanes;
    let mut records = 0;
    let scan = frames.scan(|found, payload| {
        records += check_records(path, found, payload, lane, lanes)?;
        Ok(())
    });
    report.segments += 1;
    report.bytes += len;
    report.records += records;
    let scan = scan?;
    report.frames += scan.frame_count;
    check_tail(path, &scan, last, report);
    Ok(scan.next_offset)
}

fn check_tail(path: &Path, scan: &Scan, last: bool, report: &mut Report) {
    let place = format!("{} byte {}", path.display(), scan.end);
    match (scan.tail, last) {
        (Tail::Footer, _) | (Tail::Clean, true) => {}
        (Tail::Torn, true) => report.notes.push(format!("{place}: an unfinished commit")),
        (_, false) => report.findings.push(format!("{place}: a finished segment has no footer")),
    }
}

/// Every record of a block: whole, sound, at home in this lane, stamped; as many as the header says.
fn check_records(
    path: &Path,
    found: &Found,
    payload: &[u8],
    lane: u16,
    lanes: u16,
) -> Result<u64, Error> {
    if found.header.kind != FrameKind::Block {
        return Ok(0);
    }
    let records = &payload[..found.header.payload_bytes as usize];
    let (mut at, mut count) = (0, 0);
    while at < records.len() {
        let damaged = |what: String| {
            let record = found.header.offset + count;
            Error::damaged(path, found.at, format!("record {record}: {what}"))
        };
        let peeked = peek(&records[at..]).map_err(|what| damaged(what.to_string()))?;
        match Record::decode_checked(&records[at..]) {
            Ok((record, _)) if record.id.appender == 0 => return Err(damaged("no id".to_owned())),
            // A later build's kind is at home here too; its checksum has been checked.
            Ok(_) | Err(DecodeError::Kind(_)) => {}
            Err(what) => return Err(damaged(what.to_string())),
        }
        check_home(peeked.slot, lane, lanes).map_err(damaged)?;
        at += peeked.bytes;
        count += 1;
    }
    if count == u64::from(found.header.count) {
        return Ok(count);
    }
    let what = format!("{} records were written, {count} are there", found.header.count);
    Err(Error::damaged(path, found.at, what))
}

fn check_home(slot: Slot, lane: u16, lanes: u16) -> Result<(), String> {
    let home = slot.range_of(lanes);
    if home == lane {
        Ok(())
    } else {
        Err(format!("slot {} belongs to lane {home}", slot.number()))
    }
}
