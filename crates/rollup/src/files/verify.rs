//! An offline check of a folder: every byte, every order, and that the figures add up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reckon_disk::Disk;
use reckon_event::{Kind, Verdict};

use super::manifest::{Declared, Manifest, Mend};
use super::names::read_names;
use super::open::{is_own, named_files, read_newest_manifest};
use super::row::{Key, Row};
use super::run::{Run, run_path};
use super::totals::Totals;
use crate::Error;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, or the folder where it is about all of it.
    pub path: PathBuf,
    /// What was found.
    pub what: String,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The last epoch that is durable; 0: none.
    pub epoch: u64,
    /// Files that were read.
    pub files: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Bytes of runs that were read.
    pub bytes: u64,
    /// Files of the store that no manifest names: left by a crash, harmless, removed when opened.
    pub strays: Vec<PathBuf>,
    /// The last spans whose sums were replaced, oldest first.
    pub mends: Vec<Mend>,
    /// Everything that is wrong.
    pub damages: Vec<Damage>,
}

impl Report {
    fn damage(&mut self, path: &Path, what: &impl ToString) {
        self.damages.push(Damage { path: path.to_owned(), what: what.to_string() });
    }
}

/// Checks the rollup in `dir` without changing it: checksums, order and range of every row, that each
/// cube that keeps everything adds up to the exact totals, that each tier adds up to what the cube it
/// was made of has up to where it is sealed, and which files are strays. Fails only where the folder
/// cannot be listed.
pub fn verify(disk: &dyn Disk, dir: &Path) -> io::Result<Report> {
    let files = disk.list(dir)?;
    let mut report = Report::default();
    match read_newest_manifest(disk, dir, &files) {
        Ok(manifest) => {
            let manifest = manifest.unwrap_or_default();
            let named = named_files(dir, &manifest);
            let begun: Vec<PathBuf> =
                manifest.pending.jobs.iter().map(|job| run_path(dir, job.id)).collect();
            let is_stray = |p: &PathBuf| is_own(p) && !named.contains(p) && !begun.contains(p);
            report.strays = files.into_iter().filter(is_stray).collect();
            report.mends.clone_from(&manifest.mends);
            report.epoch = manifest.line.number;
            report.files = u64::from(manifest.number > 0);
            verify_names(disk, dir, &manifest, &mut report);
            verify_runs(disk, dir, &manifest, &mut report);
        }
        Err(error) => report.damage(dir, &error),
    }
    Ok(report)
}

fn verify_names(disk: &dyn Disk, dir: &Path, manifest: &Manifest, report: &mut Report) {
    for id in &manifest.names {
        report.files += 1;
        if let Err(error) = read_names(disk, dir, *id) {
            report.damage(&super::names::names_path(dir, *id), &error);
        }
    }
}

fn verify_runs(disk: &dyn Disk, dir: &Path, manifest: &Manifest, report: &mut Report) {
    let mut sums = Sums::of(manifest);
    for meta in &manifest.runs {
        let run = Arc::new(Run::new(dir, *meta));
        let cube = &manifest.cubes[usize::from(meta.cube)];
        report.files += 1;
        report.bytes += meta.bytes;
        match check_run(disk, &run, cube, |row| sums.add(usize::from(meta.cube), row)) {
            Ok(rows) => report.rows += rows,
            Err(error) => report.damage(run.path(), &error),
        }
    }
    if report.damages.is_empty() {
        sums.compare(manifest, dir, report);
    }
}

/// What cubes add up to: each up to the ends of the sealed parts of all, and at all.
struct Sums {
    /// Where tiers are sealed, and the end of time.
    ends: Vec<i64>,
    /// By cube and end.
    totals: Vec<Vec<Totals>>,
}

impl Sums {
    fn of(manifest: &Manifest) -> Self {
        let mut ends: Vec<i64> = manifest.cubes.iter().map(|cube| cube.sealed).collect();
        ends.push(i64::MAX);
        ends.sort_unstable();
        ends.dedup();
        let totals = manifest.cubes.iter().map(|_| vec![Totals::default(); ends.len()]).collect();
        Sums { ends, totals }
    }

    fn add(&mut self, cube: usize, row: &Row) {
        let Row { key, measure } = row;
        for (end, totals) in self.ends.iter().zip(&mut self.totals[cube]).rev() {
            if key.second >= *end {
                return;
            }
            totals.add(key.tenant, key.kind, key.verdict, measure.count);
        }
    }

    /// A cube that has dropped nothing has up to its end what any other such has that is filled at once.
    fn compare(&self, manifest: &Manifest, dir: &Path, report: &mut Report) {
        let kept = || manifest.cubes.iter().enumerate().filter(|(_, cube)| cube.floor == i64::MIN);
        let Some((whole, _)) =
            kept().filter(|(_, c)| c.sealed == i64::MAX).min_by_key(|(_, cube)| cube.pane)
        else {
            return;
        };
        for (place, cube) in kept() {
            let end = self.ends.iter().position(|end| *end == cube.sealed).expect("all are in");
            let expect = match cube.sealed {
                i64::MAX => manifest.totals.list(),
                _ => self.totals[whole][end].list(),
            };
            if self.totals[place][end].list() != expect {
                report.damage(dir, &format!("cube {} does not add up to the totals", cube.name));
            }
        }
    }
}

/// Reads all of a run; returns how many rows it has.
fn check_run(
    disk: &dyn Disk,
    run: &Arc<Run>,
    cube: &Declared,
    mut sink: impl FnMut(&Row),
) -> Result<u64, Error> {
    let damaged = |what: String| Error::damaged(&run.path().display(), what);
    run.check_leaders(disk)?;
    let mut cursor = run.cursor(disk, cube.pane.seconds())?;
    let (mut rows, mut last, mut least, mut greatest) = (0, None, i64::MAX, i64::MIN);
    while let Some(row) = cursor.next()? {
        check_row(&row, last, run, cube).map_err(|what| damaged(format!("row {rows} {what}")))?;
        sink(&row);
        (least, greatest) = (least.min(row.key.second), greatest.max(row.key.second));
        last = Some(row.key);
        rows += 1;
    }
    if (rows, least, greatest) != (run.meta.rows, run.meta.least, run.meta.greatest) {
        return Err(damaged("its rows are not those the manifest says".to_owned()));
    }
    Ok(rows)
}

fn check_row(row: &Row, last: Option<Key>, run: &Run, cube: &Declared) -> Result<(), &'static str> {
    let key = &row.key;
    let span = run.meta.span;
    if last.is_some_and(|last| last >= *key) {
        return Err("is out of order");
    }
    if key.project(cube.dimensions, cube.pane.seconds()) != *key {
        return Err("has dimensions its cube does not keep");
    }
    if key.second < span.start || key.second >= span.end() {
        return Err("lies outside its span");
    }
    if Kind::from_code(key.kind).is_none() || Verdict::from_code(key.verdict).is_none() {
        return Err("has a kind or verdict nobody knows");
    }
    if row.is_zero() {
        return Err("is zero");
    }
    Ok(())
}
