//! Keeps an unfinished fit, so that one that was stopped goes on as if it had not been, bit for bit.
//!
//! ```text
//! magic "RKTF" | version u8 | task u64 | epoch u64 | rows done in it u64 | best epoch u64, 0: none |
//! best loss f64 | learner's length u64 | learner | best model | crc32c u32 of all before it
//! ```
//!
//! Numbers are little-endian. `task` is a hash of the options, the parts and the table's index: what
//! was begun with others is not gone on with. Of trees, epochs are trees; the best of them are the first
//! ones of the learner, and are not kept again.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::batches::Task;
use crate::TrainError;

const MAGIC: &[u8] = b"RKTF\x01";
const HEAD: usize = MAGIC.len() + 6 * 8;
/// A learner and its best model, each of some gigabytes.
const BYTES_MAX: u64 = 64 << 30;

/// Where an unfinished fit is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The file. Where it is there, the fit goes on from it; at the end it is removed.
    pub path: PathBuf,
    /// Batches, or trees, between two writes of it, at least 1. It is also written when the caller says stop.
    pub batches: u64,
}

/// An unfinished fit.
pub(super) struct Kept {
    pub epoch: usize,
    /// Rows of the epoch that were learned.
    pub done: u64,
    pub learner: Vec<u8>,
    /// Epoch, loss and bytes of the best model.
    pub best: Option<(usize, f64, Vec<u8>)>,
}

impl Kept {
    /// Replaces the file, whole or not at all.
    pub fn write(&self, path: &Path, task: u64) -> Result<(), TrainError> {
        let (at, loss, model) = match &self.best {
            Some((at, loss, model)) => (*at, *loss, &model[..]),
            None => (0, 0.0, &[][..]),
        };
        let mut bytes = MAGIC.to_vec();
        let (epoch, at) = (self.epoch as u64, at as u64);
        let learner = self.learner.len() as u64;
        for number in [task, epoch, self.done, at, loss.to_bits(), learner] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.learner);
        bytes.extend_from_slice(model);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let part = path.with_extension("part");
        let mut file = File::create(&part).map_err(TrainError::file(&part))?;
        file.write_all(&bytes).map_err(TrainError::file(&part))?;
        file.sync_all().map_err(TrainError::file(&part))?;
        fs::rename(&part, path).map_err(TrainError::file(path))
    }

    /// What is kept, if anything is.
    pub fn read(path: &Path, task: u64) -> Result<Option<Self>, TrainError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(TrainError::file(path))?,
        };
        let mut bytes = Vec::new();
        let mut file = file.take(BYTES_MAX);
        file.read_to_end(&mut bytes).map_err(TrainError::file(path))?;
        Self::decode(&bytes, path, task).map(Some)
    }

    fn decode(bytes: &[u8], path: &Path, task: u64) -> Result<Self, TrainError> {
        let damaged = || TrainError::content(path, "no whole unfinished fit: remove it");
        if bytes.len() < HEAD + 4 || !bytes.starts_with(MAGIC) {
            return Err(damaged());
        }
        let (body, checksum) = bytes.split_at(bytes.len() - 4);
        if crc32c::crc32c(body).to_le_bytes() != checksum {
            return Err(damaged());
        }
        let number = |index: usize| {
            let start = MAGIC.len() + index * 8;
            u64::from_le_bytes(std::array::from_fn(|byte| body[start + byte]))
        };
        if number(0) != task {
            let problem = "a fit that was begun with other options or rows: remove it, or give \
                           the same ones";
            return Err(TrainError::content(path, problem));
        }
        let learner = usize::try_from(number(5)).unwrap_or(usize::MAX);
        let (learner, model) = body[HEAD..].split_at_checked(learner).ok_or_else(damaged)?;
        let best = (number(3) as usize, f64::from_bits(number(4)), model.to_vec());
        Ok(Kept {
            epoch: number(1) as usize,
            done: number(2),
            learner: learner.to_vec(),
            best: (best.0 > 0).then_some(best),
        })
    }
}

/// The hash of everything that a fit depends on.
pub(super) fn task_hash(task: &Task<'_>) -> u64 {
    let (table, options) = (task.table, task.options);
    let treated = (options.sampling, options.position);
    let of = (&options.learner, treated, options.seed, &task.train, &task.validation);
    xxh3_64(format!("{of:?} {:?} {:?}", table.schema(), table.entries()).as_bytes())
}
