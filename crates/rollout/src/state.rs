//! The learner's state in a file, replaced whole at each checkpoint.
//!
//! ```text
//! learner-EPOCH       EPOCH in 20 digits
//! magic "RKNL" | version u8 | 3 zeros | epoch u64 | publications u32 | at i64 | rows u64 | clicks u64
//! partitions u16 | cut u64 each
//! linear: length u64, bytes | calibrator: length u64, bytes
//! bucket seconds u64 | buckets u32 | bucket each | known u32 | known each | from u32 | (u16, u64) each
//! early u32 | early each
//! crc u32 over all before it
//! bucket: from i64 | seconds i64 | impressions u64 | clicks u64 | predicted f64 | loss f64 | classes
//! known:  request u64 | index u16 | flags u8 | place u16 | at i64 | logit f32 | probability f32
//! early:  prediction u64 | flag u8 (1 shown, 2 clicked) | place u16 | at i64
//! ```
//!
//! Version 1 knows nothing of early labels and ends before them; it is read.
//!
//! Rows that wait for a label are not in it: they stand in the log, and [`crate::Recall`] reads them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_disk::{Disk, read_all, write_whole};
use reckon_event::{SubscriberError, Timestamp};
use reckon_model::{Calibrator, Linear};

use crate::early::{LABELS_MAX, Label, Sign};
use crate::history::{BUCKETS_MAX, Bucket, CLASSES, History};
use crate::learner::{Progress, Waiting};
use crate::pending::{Known, Shown};

const MAGIC: [u8; 4] = *b"RKNL";
const VERSION: u8 = 2;
/// The first version, in which no label waits for its row.
const VERSION_FIRST: u8 = 1;
const SHOWN: u8 = 1;
const CLICKED: u8 = 2;

/// Everything a learner goes on from.
pub struct State {
    pub linear: Linear,
    pub calibrator: Calibrator,
    pub history: History,
    pub progress: Progress,
    pub waiting: Waiting,
}

impl State {
    pub fn encode(
        linear: &Linear,
        calibrator: &Calibrator,
        history: &History,
        progress: &Progress,
        waiting: &Waiting,
    ) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        put_progress(&mut out, progress);
        put_part(&mut out, |out| linear.encode_state(out));
        put_part(&mut out, |out| calibrator.encode(out));
        put_history(&mut out, history);
        put_waiting(&mut out, waiting);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` where the bytes are not what [`State::encode`] writes.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut at = Cursor(body);
        let [magic @ .., version, _, _, _] = at.take::<8>()?;
        if magic != MAGIC || !(VERSION_FIRST..=VERSION).contains(&version) {
            return None;
        }
        let progress = at.progress()?;
        let linear = Linear::decode_state(at.part()?).ok()?;
        let calibrator = Calibrator::decode(at.part()?).ok()?;
        let history = at.history()?;
        let mut waiting = at.waiting()?;
        if version > VERSION_FIRST {
            waiting.early = at.early()?;
        }
        at.0.is_empty().then_some(State { linear, calibrator, history, progress, waiting })
    }
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The last epoch that is durable; 0 before the first.
    pub epoch: u64,
    /// Rows learned up to there.
    pub rows: u64,
    /// What is wrong.
    pub damage: Option<String>,
}

/// Checks the learner's state in a folder without changing it.
pub fn verify(disk: Arc<dyn Disk>, dir: &Path) -> Result<Report, SubscriberError> {
    let store = Store { disk, dir: dir.to_owned(), persisted: None };
    Ok(match store.newest()? {
        None => Report::default(),
        Some((epoch, Some(state))) => Report { epoch, rows: state.progress.rows, damage: None },
        Some((epoch, None)) => Report { epoch, rows: 0, damage: Some(store.damaged(epoch)) },
    })
}

/// The folder.
pub struct Store {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    persisted: Option<u64>,
}

impl Store {
    /// Opens the folder and reads the newest state. Damage is told, and the file removed: a model
    /// is learned again, a wrong one is not served.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
    ) -> Result<(Self, Option<State>, Option<String>), SubscriberError> {
        disk.create_dir_all(dir).map_err(failed)?;
        let mut store = Store { disk, dir: dir.to_owned(), persisted: None };
        match store.newest()? {
            None => Ok((store, None, None)),
            Some((epoch, Some(state))) => {
                store.persisted = Some(epoch);
                Ok((store, Some(state), None))
            }
            Some((epoch, None)) => {
                store.remove(|_| true)?;
                let damage = store.damaged(epoch);
                Ok((store, None, Some(damage)))
            }
        }
    }

    /// The newest file's epoch, and what is in it; `None` for one that is damaged.
    fn newest(&self) -> Result<Option<(u64, Option<State>)>, SubscriberError> {
        let Some(epoch) = self.listed()?.pop() else {
            return Ok(None);
        };
        let bytes = read_all(&*self.disk, &self.path(epoch)).map_err(failed)?.unwrap_or_default();
        let state = State::decode(&bytes).filter(|state| state.progress.epoch == epoch);
        Ok(Some((epoch, state)))
    }

    fn damaged(&self, epoch: u64) -> String {
        format!("{} is damaged", self.path(epoch).display())
    }

    pub const fn persisted(&self) -> Option<u64> {
        self.persisted
    }

    /// Forgets what was read, because it is of no use.
    pub fn forget(&mut self) -> Result<(), SubscriberError> {
        self.persisted = None;
        self.remove(|_| true)
    }

    pub fn write(&mut self, epoch: u64, bytes: &[u8]) -> Result<(), SubscriberError> {
        write_whole(&*self.disk, &self.path(epoch), bytes).map_err(failed)?;
        self.persisted = Some(epoch);
        self.remove(|other| other < epoch)
    }

    fn remove(&self, is_old: impl Fn(u64) -> bool) -> Result<(), SubscriberError> {
        for epoch in self.listed()?.into_iter().filter(|&epoch| is_old(epoch)) {
            self.disk.remove(&self.path(epoch)).map_err(failed)?;
        }
        Ok(())
    }

    /// The epochs that files are named after, rising.
    fn listed(&self) -> Result<Vec<u64>, SubscriberError> {
        let epoch =
            |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("learner-")?.parse().ok();
        Ok(self.disk.list(&self.dir).map_err(failed)?.iter().filter_map(epoch).collect())
    }

    fn path(&self, epoch: u64) -> PathBuf {
        self.dir.join(format!("learner-{epoch:020}"))
    }
}

fn failed(error: std::io::Error) -> SubscriberError {
    SubscriberError::Failed(Box::new(error))
}

fn put_progress(out: &mut Vec<u8>, progress: &Progress) {
    out.extend_from_slice(&progress.epoch.to_le_bytes());
    out.extend_from_slice(&progress.version.to_le_bytes());
    out.extend_from_slice(&progress.at.0.to_le_bytes());
    out.extend_from_slice(&progress.rows.to_le_bytes());
    out.extend_from_slice(&progress.clicks.to_le_bytes());
    let partitions = u16::try_from(progress.cut.len()).expect("a log has at most 1,024 partitions");
    out.extend_from_slice(&partitions.to_le_bytes());
    for offset in &progress.cut {
        out.extend_from_slice(&offset.to_le_bytes());
    }
}

fn put_part(out: &mut Vec<u8>, part: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    part(out);
    let length = (out.len() - start - 8) as u64;
    out[start..start + 8].copy_from_slice(&length.to_le_bytes());
}

fn put_history(out: &mut Vec<u8>, history: &History) {
    out.extend_from_slice(&history.seconds.to_le_bytes());
    out.extend_from_slice(&count(history.buckets.len()));
    for bucket in &history.buckets {
        for number in [bucket.from.0, bucket.seconds] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [bucket.impressions, bucket.clicks] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [bucket.predicted_clicks, bucket.log_loss_sum] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (impressions, clicks) in bucket.classes.iter() {
            out.extend_from_slice(&impressions.to_le_bytes());
            out.extend_from_slice(&clicks.to_le_bytes());
        }
    }
}

fn put_waiting(out: &mut Vec<u8>, waiting: &Waiting) {
    out.extend_from_slice(&count(waiting.known.len()));
    for (request, index, known) in &waiting.known {
        let flags =
            if known.shown.is_some() { SHOWN } else { 0 } | if known.clicked { CLICKED } else { 0 };
        let none = Shown { at: Timestamp::MIN, place: 0, logit: 0.0, probability: 0.0 };
        let shown = known.shown.unwrap_or(none);
        out.extend_from_slice(&request.to_le_bytes());
        out.extend_from_slice(&index.to_le_bytes());
        out.push(flags);
        out.extend_from_slice(&shown.place.to_le_bytes());
        out.extend_from_slice(&shown.at.0.to_le_bytes());
        out.extend_from_slice(&shown.logit.to_le_bytes());
        out.extend_from_slice(&shown.probability.to_le_bytes());
    }
    out.extend_from_slice(&count(waiting.from.len()));
    for (partition, offset) in &waiting.from {
        out.extend_from_slice(&partition.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
    }
    out.extend_from_slice(&count(waiting.early.len()));
    for label in &waiting.early {
        out.extend_from_slice(&label.prediction.to_le_bytes());
        out.push(match label.sign {
            Sign::Shown => SHOWN,
            Sign::Clicked => CLICKED,
        });
        out.extend_from_slice(&label.place.to_le_bytes());
        out.extend_from_slice(&label.at.0.to_le_bytes());
    }
}

fn count(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("bounded long before 2^32").to_le_bytes()
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    fn f32(&mut self) -> Option<f32> {
        self.take().map(f32::from_le_bytes)
    }

    fn f64(&mut self) -> Option<f64> {
        self.take().map(f64::from_le_bytes)
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u64()?).ok()?;
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn progress(&mut self) -> Option<Progress> {
        Some(Progress {
            epoch: self.u64()?,
            version: self.u32()?,
            at: Timestamp(self.i64()?),
            rows: self.u64()?,
            clicks: self.u64()?,
            cut: (0..self.u16()?).map(|_| self.u64()).collect::<Option<_>>()?,
        })
    }

    fn history(&mut self) -> Option<History> {
        let seconds = self.i64()?;
        let count = self.u32()? as usize;
        if count > BUCKETS_MAX {
            return None;
        }
        let buckets = (0..count).map(|_| self.bucket()).collect::<Option<_>>()?;
        Some(History { seconds, buckets })
    }

    fn bucket(&mut self) -> Option<Bucket> {
        let mut bucket = Bucket::new(Timestamp(self.i64()?), self.i64()?);
        bucket.impressions = self.u64()?;
        bucket.clicks = self.u64()?;
        bucket.predicted_clicks = self.f64()?;
        bucket.log_loss_sum = self.f64()?;
        for place in 0..CLASSES {
            bucket.classes[place] = (self.u32()?, self.u32()?);
        }
        Some(bucket)
    }

    fn waiting(&mut self) -> Option<Waiting> {
        let known = (0..self.u32()?).map(|_| self.known()).collect::<Option<_>>()?;
        let from =
            (0..self.u32()?).map(|_| Some((self.u16()?, self.u64()?))).collect::<Option<_>>()?;
        Some(Waiting { known, from, early: Vec::new() })
    }

    fn early(&mut self) -> Option<Vec<Label>> {
        let count = self.u32()? as usize;
        if count > LABELS_MAX {
            return None;
        }
        (0..count).map(|_| self.label()).collect()
    }

    fn label(&mut self) -> Option<Label> {
        let (prediction, [flag]) = (self.u64()?, self.take()?);
        let sign = match flag {
            SHOWN => Sign::Shown,
            CLICKED => Sign::Clicked,
            _ => return None,
        };
        Some(Label { prediction, sign, place: self.u16()?, at: Timestamp(self.i64()?) })
    }

    fn known(&mut self) -> Option<(u64, u16, Known)> {
        let (request, index, [flags]) = (self.u64()?, self.u16()?, self.take()?);
        let shown = Shown {
            place: self.u16()?,
            at: Timestamp(self.i64()?),
            logit: self.f32()?,
            probability: self.f32()?,
        };
        let shown = (flags & SHOWN != 0).then_some(shown);
        Some((request, index, Known { shown, clicked: flags & CLICKED != 0 }))
    }
}
