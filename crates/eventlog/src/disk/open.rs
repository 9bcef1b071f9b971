//! Opens a log: finds where each lane ends, cuts off what was in flight, refuses what is damaged.
//!
//! Only the last segment of a lane is read, and only where it has no footer; sealed segments are
//! checked when they are read. So a log of any size opens in the time of one segment a lane.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use reckon_disk::{Disk, Lock, Open};

use super::frame::{FrameKind, Header, frame_bytes};
use super::lane::{Durable, Segment};
use super::layout::{
    Bounds, is_leftover, lane_dir, lock_path, read_bounds, read_manifest, segment_base,
    segment_path, write_bounds, write_manifest,
};
use super::scan::{Frames, Scan, Tail};
use super::writer::Writer;
use super::{Error, Options, appender};

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// True where there was none.
    pub made: bool,
    /// Lane by lane.
    pub lanes: Vec<LaneRecovery>,
}

/// What opening a lane found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneRecovery {
    /// The first offset that is kept.
    pub start: u64,
    /// The offset of the next record.
    pub end: u64,
    /// Segments that are kept.
    pub segments: usize,
    /// True where the lane had not been closed.
    pub crashed: bool,
    /// Where bytes of an unfinished commit were cut off.
    pub torn: Option<String>,
    /// Segments whose retirement was finished.
    pub removed: usize,
}

pub(super) struct Opened {
    pub(super) lock: Lock,
    pub(super) lanes: Vec<OpenedLane>,
    pub(super) recovery: Recovery,
}

pub(crate) struct OpenedLane {
    pub(crate) dir: PathBuf,
    pub(crate) bounds: Bounds,
    pub(crate) durable: Durable,
}

pub(super) fn open(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &Options,
    incarnation: u32,
) -> Result<Opened, Error> {
    disk.create_dir_all(dir).map_err(|source| Error::io(dir, source))?;
    let lock = disk.lock(&lock_path(dir)).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => Error::InUse(dir.to_owned()),
        _ => Error::io(&lock_path(dir), source),
    })?;
    let made = settle_lanes(&**disk, dir, options.lanes)?;
    let mut recovery = Recovery { made, lanes: Vec::new() };
    let mut found = Vec::new();
    for number in 0..options.lanes {
        let lane = LaneOpener::new(disk, dir, number, options, incarnation)?;
        found.push((lane.find_end()?, lane));
    }
    // Nothing is changed before every lane has been found sound.
    let seen = found.iter().map(|(end, _)| (end.appender >> 32) as u32).max().unwrap_or(0);
    if incarnation <= seen {
        return Err(Error::Incarnation { asked: incarnation, seen });
    }
    let mut lanes = Vec::new();
    for (end, lane) in found {
        let (opened, report) = lane.settle(end)?;
        lanes.push(opened);
        recovery.lanes.push(report);
    }
    Ok(Opened { lock, lanes, recovery })
}

/// Makes the manifest, or checks it. True where the log is new.
fn settle_lanes(disk: &dyn Disk, dir: &Path, lanes: u16) -> Result<bool, Error> {
    assert!(lanes > 0, "a log has at least one lane");
    match read_manifest(disk, dir)? {
        // Whoever made it may have been killed, or told of a failure, before its name was durable.
        Some(made) if made == lanes => {
            disk.sync_dir(dir).map_err(|source| Error::io(dir, source)).map(|()| false)
        }
        Some(made) => Err(Error::Lanes { dir: dir.to_owned(), made, asked: lanes }),
        None => {
            let entries = disk.list(dir).map_err(|source| Error::io(dir, source))?;
            if let Some(lane) = entries.iter().find(|path| is_lane(path)) {
                let what = "a lane without a manifest: the manifest was lost";
                return Err(Error::damaged(lane, 0, what));
            }
            write_manifest(disk, dir, lanes)?;
            Ok(true)
        }
    }
}

fn is_lane(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("lane-"))
}

/// Where a lane ends, as its files say.
struct End {
    bounds: Bounds,
    /// Bases of the segments that are kept, rising.
    bases: Vec<u64>,
    /// Bases below the start: their retirement was interrupted.
    retired: Vec<u64>,
    next_offset: u64,
    appender: u64,
    last: Last,
}

/// What is to be done with a lane's last segment.
enum Last {
    /// There is none, or it has its footer.
    Done,
    /// It has records and no footer.
    Unfinished(Scan),
    /// It has no records: it was just being begun.
    Empty(u64),
}

struct LaneOpener<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: PathBuf,
    number: u16,
    options: &'a Options,
    appender: u64,
}

impl<'a> LaneOpener<'a> {
    fn new(
        disk: &'a Arc<dyn Disk>,
        dir: &Path,
        number: u16,
        options: &'a Options,
        incarnation: u32,
    ) -> Result<Self, Error> {
        let dir = lane_dir(dir, number);
        disk.create_dir_all(&dir).map_err(|source| Error::io(&dir, source))?;
        let appender = appender(incarnation, u32::from(number) + 1);
        Ok(LaneOpener { disk, dir, number, options, appender })
    }

    fn find_end(&self) -> Result<End, Error> {
        let bounds = read_bounds(&**self.disk, &self.dir)?.unwrap_or_default();
        let (retired, bases) = self.segments(bounds)?;
        let mut end = End {
            bounds,
            retired,
            next_offset: bounds.start,
            appender: 0,
            last: Last::Done,
            bases,
        };
        if let Some((&last, before)) = end.bases.split_last() {
            let before = before.last().copied();
            self.find_end_in(last, before, &mut end)?;
        }
        if end.next_offset < bounds.end_min {
            let what = format!(
                "the lane ends at offset {}, but it had reached {}: records were lost",
                end.next_offset, bounds.end_min
            );
            return Err(Error::damaged(&self.dir, 0, what));
        }
        Ok(end)
    }

    /// Bases of the files: those whose retirement was interrupted, and those that are kept.
    fn segments(&self, bounds: Bounds) -> Result<(Vec<u64>, Vec<u64>), Error> {
        let paths = self.disk.list(&self.dir).map_err(|source| Error::io(&self.dir, source))?;
        let bases: BTreeSet<u64> = paths.iter().filter_map(|path| segment_base(path)).collect();
        let kept: Vec<u64> = bases.range(bounds.start..).copied().collect();
        let retired: Vec<u64> = bases.range(..bounds.start).copied().collect();
        let first = kept.first().copied();
        if first.is_some_and(|first| first != bounds.start)
            || (first.is_none() && (bounds.start > 0 || bounds.end_min > 0))
        {
            let missing = segment_path(&self.dir, bounds.start);
            return Err(Error::damaged(&missing, 0, "the first segment is missing"));
        }
        Ok((retired, kept))
    }

    fn find_end_in(&self, base: u64, before: Option<u64>, end: &mut End) -> Result<(), Error> {
        if let Some(before) = before {
            // Only a finished segment has a successor.
            let footer = self.footer(before)?.filter(|footer| footer.offset == base);
            let Some(footer) = footer else {
                let path = segment_path(&self.dir, before);
                let what = format!("no footer that leads to the next segment, {base}");
                return Err(Error::damaged(&path, 0, what));
            };
            end.appender = footer.appender;
        }
        // A footer that was never synced may be seen while what it follows is not on the disk; the
        // bounds are written after it was.
        let footer = self.footer(base)?.filter(|footer| footer.offset <= end.bounds.end_min);
        if let Some(footer) = footer {
            end.appender = end.appender.max(footer.appender);
            end.next_offset = footer.offset;
            return Ok(());
        }
        let scan = self.scan(base)?;
        end.appender = end.appender.max(scan.appender);
        end.next_offset = scan.next_offset;
        end.last = if scan.next_offset > base { Last::Unfinished(scan) } else { Last::Empty(base) };
        Ok(())
    }

    /// The footer at the very end of a segment's file, where there is one.
    fn footer(&self, base: u64) -> Result<Option<Header>, Error> {
        self.with_frames(base, |frames| {
            let footer_bytes = frame_bytes(0) as u64;
            let Some(at) = frames.len.checked_sub(footer_bytes) else { return Ok(None) };
            let mut payload = Vec::new();
            let found = frames.frame_at(at, &mut payload)?;
            Ok(found.ok().filter(|header| header.kind == FrameKind::Footer))
        })
    }

    fn scan(&self, base: u64) -> Result<Scan, Error> {
        self.with_frames(base, |frames| frames.scan(|_, _| Ok(())))
    }

    fn with_frames<T>(
        &self,
        base: u64,
        body: impl FnOnce(&Frames<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let path = segment_path(&self.dir, base);
        let io = |source| Error::io(&path, source);
        let file = self.disk.open(&path, Open::Read).map_err(io)?;
        let len = file.len().map_err(io)?;
        body(&Frames { file: &*file, path: &path, lane: self.number, segment: base, len })
    }

    /// Ends the last segment, removes what is left over, and makes the names durable.
    fn settle(&self, end: End) -> Result<(OpenedLane, LaneRecovery), Error> {
        let End { mut bounds, mut bases, retired, next_offset, last, .. } = end;
        let mut report = LaneRecovery {
            start: bounds.start,
            end: next_offset,
            segments: bases.len(),
            crashed: !matches!(last, Last::Done),
            torn: None,
            removed: retired.len(),
        };
        match last {
            Last::Done => {}
            Last::Unfinished(scan) => {
                let base = *bases.last().expect("it was found among them");
                if scan.tail == Tail::Torn {
                    let path = segment_path(&self.dir, base);
                    report.torn = Some(format!("{} byte {}", path.display(), scan.end));
                }
                self.writer(next_offset).end_segment(base, None)?;
                bounds.end_min = bounds.end_min.max(next_offset);
                write_bounds(&**self.disk, &self.dir, bounds)
                    .map_err(|source| Error::io(&self.dir, source))?;
            }
            // The next commit begins it anew.
            Last::Empty(base) => {
                bases.pop();
                report.segments -= 1;
                report.torn = Some(segment_path(&self.dir, base).display().to_string());
            }
        }
        self.remove_leftovers(&retired)?;
        let segments = bases.into_iter().map(Segment::new).collect();
        let durable = Durable { segments, end: next_offset };
        Ok((OpenedLane { dir: self.dir.clone(), bounds, durable }, report))
    }

    fn remove_leftovers(&self, retired: &[u64]) -> Result<(), Error> {
        let paths = self.disk.list(&self.dir).map_err(|source| Error::io(&self.dir, source))?;
        let replacements = paths.into_iter().filter(|path| is_leftover(path));
        let retired = retired.iter().map(|&base| segment_path(&self.dir, base));
        for path in replacements.chain(retired) {
            self.disk.remove(&path).map_err(|source| Error::io(&path, source))?;
        }
        self.disk.sync_dir(&self.dir).map_err(|source| Error::io(&self.dir, source))
    }

    fn writer(&self, next_offset: u64) -> Writer {
        Writer {
            disk: Arc::clone(self.disk),
            dir: self.dir.clone(),
            lane: self.number,
            options: self.options.clone(),
            active: None,
            next_offset,
            appender: self.appender,
            bounds: Arc::new(Mutex::new(Bounds::default())),
            out: Vec::new(),
        }
    }
}
