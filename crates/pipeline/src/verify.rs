//! The offline check of a pipeline's folder: every byte that a restart would rely on.

use std::path::Path;

use reckon_disk::Disk;

use crate::{Error, checkpoint, journal, judgement, opaque};

/// What was looked at, and every damage found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Checkpoints that could be restored with all they are based on.
    pub checkpoints: u64,
    /// Logged epochs.
    pub epochs: u64,
    /// Opaque ids in the runs of the checkpoints, each block read.
    pub opaque_ids: u64,
    /// Clicks that rules may still judge, in the runs of the checkpoints.
    pub survivors: u64,
    /// Where something is wrong, and what.
    pub damage: Vec<String>,
}

/// Checks a folder that no pipeline is open on. Fails only where the disk does.
pub fn verify(disk: &dyn Disk, dir: &Path) -> Result<Report, Error> {
    let mut report = Report::default();
    let numbers = checkpoint::list(disk, dir)?;
    let newest = numbers.last().copied().unwrap_or(0);
    for (behind, &number) in numbers.iter().rev().enumerate() {
        let restored = checkpoint::restore(disk, dir, number);
        let Some(restored) = report.note(restored)? else { continue };
        report.checkpoints += 1;
        // Older files are there because others are based on them; their runs have been let go of.
        if behind < checkpoint::KEPT {
            let ids = report.note(opaque::check(disk, dir, &restored.head.runs))?;
            report.opaque_ids += ids.unwrap_or(0);
            let clicks = report.note(judgement::check(disk, dir, &restored.head.judgement))?;
            report.survivors += clicks.unwrap_or(0);
        }
    }
    let found = journal::find(disk, dir);
    if let Some(found) = report.note(found)? {
        report.epochs = found.epochs.len() as u64;
        let behind = found.epochs.range(newest + 1..).map(|(&number, _)| number);
        if let Some((expected, next)) = (newest + 1..).zip(behind).find(|(want, is)| want != is) {
            report.damage.push(format!("epoch {expected} is missing before {next}"));
        }
    }
    Ok(report)
}

impl Report {
    fn note<T>(&mut self, found: Result<T, Error>) -> Result<Option<T>, Error> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error @ (Error::Damaged { .. } | Error::Newer { .. })) => {
                self.damage.push(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
