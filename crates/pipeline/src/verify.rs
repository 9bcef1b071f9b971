//! The offline check of a pipeline's folder: every byte that a restart would rely on.

use std::path::Path;

use reckon_disk::Disk;

use crate::{Error, checkpoint, journal, opaque};

/// What was looked at, and every damage found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Checkpoints that could be restored with all they are based on.
    pub checkpoints: u64,
    /// Logged epochs.
    pub epochs: u64,
    /// Opaque ids in the runs of the checkpoints, each block read.
    pub opaque_ids: u64,
    /// Where something is wrong, and what.
    pub damage: Vec<String>,
}

/// Checks a folder that no pipeline is open on. Fails only where the disk does.
pub fn verify(disk: &dyn Disk, dir: &Path) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut newest = 0;
    for number in checkpoint::list(disk, dir)? {
        newest = newest.max(number);
        let found = checkpoint::restore(disk, dir, number)
            .and_then(|restored| opaque::check(disk, dir, &restored.head.runs));
        if let Some(ids) = report.note(found)? {
            report.checkpoints += 1;
            report.opaque_ids += ids;
        }
    }
    let found = journal::find(disk, dir);
    if let Some(found) = report.note(found)? {
        report.epochs = found.epochs.len() as u64;
        let next = found.epochs.iter().map(|logged| logged.epoch.number).find(|&n| n > newest);
        if let Some(next) = next.filter(|&next| next != newest + 1) {
            report.damage.push(format!("epoch {} is missing before {next}", newest + 1));
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
