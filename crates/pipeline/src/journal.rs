//! The epoch journal: what each epoch reads, durable before it is applied.
//!
//! ```text
//! file epochs-<number>.journal:  frame*
//! frame: | "RKEP" | length u32 | CRC32C u32 | body |      length and CRC of the body, little endian
//! body:  | version u8 | epochs u32 | epoch* |
//! epoch: | stage u8 | group u16 | generation u32 | number u64 | horizons 5 x i64 |   4 in version 1
//!        | bounds u16 | (partition u16, from u64, to u64)* |
//! ```
//!
//! A frame is what one sync makes durable, so it is there or not: with one frame an epoch, a power
//! cut could keep the second epoch of a sync without the first, and that would look like damage.
//!
//! A file is never appended to after it was closed: opening starts a new one and logs the epochs
//! that are still to be applied again in it. So a frame that is read was either synced by its writer
//! or is synced now, even if its own sync had failed. A torn tail is an epoch nobody was handed; a
//! valid frame behind damage, or a hole in the numbers, is damage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_count::Policy;
use reckon_disk::{Disk, File, Open, read_all};
use reckon_event::{Bound, Epoch};

use crate::Error;
use crate::bytes::Reader;

const MAGIC: &[u8; 4] = b"RKEP";
const VERSION: u8 = 2;
const HEAD_BYTES: usize = 12;
const SUFFIX: &str = ".journal";
const PREFIX: &str = "epochs-";

/// An epoch as it was logged, with the horizons it is folded with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    pub epoch: Epoch,
    pub policy: Policy,
}

/// The journal, open for appending.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Closed files, oldest first, each with the highest epoch in it (0: none).
    closed: Vec<(PathBuf, u64)>,
    file: Arc<dyn File>,
    path: PathBuf,
    next_file: u64,
    written: u64,
    highest: u64,
}

/// What the journal's files hold.
#[derive(Default)]
pub(crate) struct Found {
    /// All epochs in it by number. Removing files is not one step, so a crash may leave any of
    /// those that were no longer needed: only behind a checkpoint are there no holes.
    pub epochs: BTreeMap<u64, Logged>,
    /// Its files, oldest first, each with the highest epoch in it (0: none).
    pub files: Vec<(PathBuf, u64)>,
}

/// Reads all of a folder's journal.
pub(crate) fn find(disk: &dyn Disk, dir: &Path) -> Result<Found, Error> {
    let mut found = Found::default();
    for path in list(disk, dir)? {
        let bytes = read_all(disk, &path)
            .map_err(|error| Error::disk(format!("read {}", path.display()), error))?;
        let epochs = read_frames(&path, &bytes.unwrap_or_default())?;
        found.files.push((path.clone(), epochs.last().map_or(0, |last| last.epoch.number)));
        for logged in epochs {
            found.take(&path, logged)?;
        }
    }
    Ok(found)
}

impl Found {
    /// The later file has the later generation's name on the same epoch.
    fn take(&mut self, path: &Path, logged: Logged) -> Result<(), Error> {
        let number = logged.epoch.number;
        let known = self.epochs.get(&number);
        if known.is_some_and(|known| !is_same_input(known, &logged)) {
            let what = format!("epoch {number} in two forms");
            return Err(Error::damaged(path.display().to_string(), what));
        }
        self.epochs.insert(number, logged);
        Ok(())
    }
}

fn is_same_input(one: &Logged, other: &Logged) -> bool {
    one.epoch.bounds == other.epoch.bounds && one.policy == other.policy
}

impl Journal {
    /// Starts a new file behind those `found`, with `pending` in it.
    pub fn start(
        disk: Arc<dyn Disk>,
        dir: &Path,
        found: Vec<(PathBuf, u64)>,
        pending: &[Logged],
    ) -> Result<Self, Error> {
        let next_file = found.last().and_then(|(path, _)| number_of(path)).map_or(1, |n| n + 1);
        let (path, file) = create(&*disk, dir, next_file)?;
        let mut journal = Journal {
            disk,
            dir: dir.to_owned(),
            closed: found,
            file,
            path,
            next_file: next_file + 1,
            written: 0,
            highest: 0,
        };
        if !pending.is_empty() {
            journal.append(pending)?;
        }
        Ok(journal)
    }

    /// Logs epochs; they are durable when it returns.
    pub fn append(&mut self, epochs: &[Logged]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, epochs);
        self.highest = epochs.last().map_or(self.highest, |last| last.epoch.number);
        let failed = |error| Error::disk(format!("log an epoch in {}", self.path.display()), error);
        self.file.write_at(&bytes, self.written).map_err(failed)?;
        self.file.sync().map_err(failed)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Starts a new file and removes those with nothing above `kept` in them.
    pub fn trim(&mut self, kept: u64) -> Result<(), Error> {
        if self.written > 0 {
            let (path, file) = create(&*self.disk, &self.dir, self.next_file)?;
            let old = std::mem::replace(&mut self.path, path);
            self.closed.push((old, self.highest));
            self.file = file;
            (self.next_file, self.written) = (self.next_file + 1, 0);
        }
        let (gone, stay) = self.closed.drain(..).partition(|&(_, highest)| highest <= kept);
        self.closed = stay;
        let gone: Vec<(PathBuf, u64)> = gone;
        for (path, _) in gone {
            remove(&*self.disk, &path)?;
        }
        Ok(())
    }
}

fn create(disk: &dyn Disk, dir: &Path, number: u64) -> Result<(PathBuf, Arc<dyn File>), Error> {
    let path = dir.join(format!("{PREFIX}{number:020}{SUFFIX}"));
    let failed = |error| Error::disk(format!("create {}", path.display()), error);
    let file = disk.open(&path, Open::Truncate).map_err(failed)?;
    file.sync().map_err(failed)?;
    disk.sync_dir(dir).map_err(failed)?;
    Ok((path, file))
}

pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    disk.remove(path).map_err(|error| Error::disk(format!("remove {}", path.display()), error))
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths =
        disk.list(dir).map_err(|error| Error::disk(format!("list {}", dir.display()), error))?;
    paths.retain(|path| number_of(path).is_some());
    paths.sort_by_key(|path| number_of(path));
    Ok(paths)
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

fn put_frame(out: &mut Vec<u8>, epochs: &[Logged]) {
    let start = out.len();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 8]);
    out.push(VERSION);
    out.extend_from_slice(&(epochs.len() as u32).to_le_bytes());
    for logged in epochs {
        put_epoch(out, logged);
    }
    let body = &out[start + HEAD_BYTES..];
    let (length, sum) = (body.len() as u32, crc32c::crc32c(body));
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out[start + 8..start + 12].copy_from_slice(&sum.to_le_bytes());
}

fn put_epoch(out: &mut Vec<u8>, logged: &Logged) {
    let Logged { epoch, policy } = logged;
    out.push(epoch.stage);
    out.extend_from_slice(&epoch.group.to_le_bytes());
    out.extend_from_slice(&epoch.generation.to_le_bytes());
    out.extend_from_slice(&epoch.number.to_le_bytes());
    for horizon in [
        policy.minted_horizon,
        policy.opaque_horizon,
        policy.unsigned_window,
        policy.appender_horizon,
        policy.rules_horizon,
    ] {
        out.extend_from_slice(&horizon.to_le_bytes());
    }
    out.extend_from_slice(&(epoch.bounds.len() as u16).to_le_bytes());
    for bound in &epoch.bounds {
        out.extend_from_slice(&bound.partition.to_le_bytes());
        out.extend_from_slice(&bound.from.to_le_bytes());
        out.extend_from_slice(&bound.to.to_le_bytes());
    }
}

/// The epochs of a file up to a torn tail.
fn read_frames(path: &Path, bytes: &[u8]) -> Result<Vec<Logged>, Error> {
    let damaged = |at: usize, what: &str| {
        Error::damaged(path.display().to_string(), format!("{what} at byte {at}"))
    };
    let mut epochs = Vec::new();
    let mut at = 0;
    while let Some(body) = frame_body(&bytes[at..]) {
        if body.first().is_some_and(|&version| version > VERSION) {
            let place = path.display().to_string();
            return Err(Error::Newer { place, version: u16::from(body[0]) });
        }
        epochs.append(&mut read_body(body).ok_or_else(|| damaged(at, "no epochs"))?);
        at += HEAD_BYTES + body.len();
    }
    let is_damage = (at + 1..bytes.len()).any(|behind| frame_body(&bytes[behind..]).is_some());
    if is_damage { Err(damaged(at, "no frame")) } else { Ok(epochs) }
}

/// The body of a whole frame.
fn frame_body(bytes: &[u8]) -> Option<&[u8]> {
    let mut head = Reader(bytes);
    if &head.array::<4>()? != MAGIC {
        return None;
    }
    let (length, sum) = (head.u32()? as usize, head.u32()?);
    head.bytes(length).filter(|body| crc32c::crc32c(body) == sum)
}

fn read_body(body: &[u8]) -> Option<Vec<Logged>> {
    let mut body = Reader(body);
    let [version] = body.array()?;
    let count = body.u32()?;
    let epochs = (0..count).map(|_| read_epoch(version, &mut body)).collect::<Option<_>>()?;
    body.0.is_empty().then_some(epochs)
}

fn read_epoch(version: u8, body: &mut Reader<'_>) -> Option<Logged> {
    let [stage] = body.array()?;
    let (group, generation, number) = (body.u16()?, body.u32()?, body.u64()?);
    let policy = Policy {
        minted_horizon: body.i64()?,
        opaque_horizon: body.i64()?,
        unsigned_window: body.i64()?,
        appender_horizon: body.i64()?,
        rules_horizon: if version > 1 { body.i64()? } else { Policy::default().rules_horizon },
    };
    let mut bounds = Vec::new();
    for _ in 0..body.u16()? {
        bounds.push(Bound { partition: body.u16()?, from: body.u64()?, to: body.u64()? });
    }
    Some(Logged { epoch: Epoch { stage, group, generation, number, bounds }, policy })
}
